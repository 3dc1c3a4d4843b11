//! The benchmark of the request journey: one program that plays every part which is not the product or a peer.
//!
//! `run` starts the candidates, drives them in interleaved rounds and compares; it starts the other parts as processes of
//! their own: the MCP server behind everybody (`backend`), the load generator (`load`), a bare pair of hyper connections
//! to compare with (`bare`), and whoever fills a gateway's store with people (`seed`). `tests/bench/run` is the command.
//!
//! Nothing here is part of the product, and nothing of the product is linked into it: the binary that is measured is
//! the one that is shipped.

mod auth;
mod backend;
mod bare;
mod clock;
mod load;
mod run;
mod seed;
mod serve;
mod tell;

use clap::{Parser, Subcommand};

/// What can go wrong: told to whoever started this, and the end of the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "The benchmark of mcp-deputy; start it with tests/bench/run")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// The MCP server behind all candidates
    Backend(backend::Options),
    /// A server and a client connection of hyper with a token look-up between them, nothing else
    Bare(bare::Options),
    /// The server that nginx asks about tokens
    Auth(auth::Options),
    /// The load generator: one measurement, told as one line of JSON
    Load(load::Options),
    /// Fills the store of a gateway with people and their tokens, by the real journey
    Seed(seed::Options),
    /// Starts everybody, measures, compares
    Run(run::Options),
}

fn main() -> Result<(), Failure> {
    match Arguments::parse().part {
        Part::Backend(options) => backend::run(&options),
        Part::Bare(options) => bare::run(&options),
        Part::Auth(options) => auth::run(&options),
        Part::Load(options) => load::run(&options),
        Part::Seed(options) => seed::run(&options),
        Part::Run(options) => run::run(&options),
    }
}
