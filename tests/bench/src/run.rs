//! The runner: starts everybody, measures in interleaved rounds, compares, tells.
//!
//! Every round measures every candidate once, one after the other, in an order that changes from round to round; so
//! whatever else the machine does meets all of them. Ratios are taken within a round, and what is told is the median of
//! the rounds with the least and the most.

mod candidate;
mod placement;
mod scenario;
mod stage;
mod table;
mod tokens;

use std::path::PathBuf;

use self::{candidate::Peer, scenario::Scenario, stage::Stage};
use crate::{Failure, load::Measured};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The binary of mcp-deputy
    #[arg(long)]
    binary: PathBuf,
    /// Another build of it, measured beside it under this name; may be given several times
    #[arg(long, value_name = "NAME=PATH")]
    extra: Vec<String>,
    /// Where stores, logs and results are kept
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Where the candidates' configurations are
    #[arg(long, default_value = "tests/bench/configs")]
    configs: PathBuf,
    /// Only these candidates, separated by commas
    #[arg(long, value_delimiter = ',')]
    candidates: Vec<String>,
    /// Only scenarios whose name holds one of these, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Few short rounds: to see that everything works
    #[arg(long)]
    quick: bool,
    /// Candidates and load generator wherever the system puts them, instead of on processors of their own
    #[arg(long)]
    no_pin: bool,
    /// Seed people anew, even where there are some whose tokens are still good
    #[arg(long)]
    reseed: bool,
    /// People, and so distinct tokens
    #[arg(long, default_value_t = 2000)]
    people: usize,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 7 })
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.5 } else { 2.0 })
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| scenario.name.contains(part.as_str()))
    }

    fn peers(&self) -> Result<Vec<Peer>, Failure> {
        let mut peers = Peer::all(&self.binary);
        if let Some(unknown) =
            self.candidates.iter().find(|name| peers.iter().all(|peer| peer.name != **name))
        {
            let known: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
            return Err(format!("there is no candidate {unknown}; there are {}", known.join(", ")).into());
        }
        peers.retain(|peer| self.candidates.is_empty() || self.candidates.contains(&peer.name));
        for extra in &self.extra {
            let (name, path) = extra.split_once('=').ok_or("--extra is NAME=PATH")?;
            peers.push(Peer::deputy(name, path.into()));
        }
        Ok(peers)
    }
}

/// What was measured: in the order of the scenarios, the rounds and the candidates.
#[derive(serde::Serialize)]
struct Sample {
    scenario: &'static str,
    candidate: String,
    round: usize,
    #[serde(flatten)]
    measured: Measured,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    crate::clock::raise_open_files()?;
    let scenarios: Vec<_> = scenario::ALL.iter().filter(|scenario| options.wants(scenario)).collect();
    if scenarios.is_empty() {
        let known: Vec<_> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
        return Err(format!("there is no such scenario; there are {}", known.join(", ")).into());
    }
    let mut stage = Stage::set(options)?;
    let mut running =
        options.peers()?.into_iter().map(|peer| stage.start(peer)).collect::<Result<Vec<_>, _>>()?;
    let mut samples = Vec::new();
    for scenario in scenarios {
        eprint!("{}:", scenario.name);
        for round in 0..options.rounds() {
            eprint!(" {}", round + 1);
            let candidates = running.len();
            for turn in 0..candidates {
                let candidate = &mut running[(turn + round) % candidates];
                if scenario.once {
                    stage.restart(candidate)?;
                }
                let measured = stage.measure(scenario, candidate, options.seconds())?;
                let candidate = candidate.peer.name.clone();
                samples.push(Sample { scenario: scenario.name, candidate, round, measured });
            }
        }
        eprintln!();
    }
    std::fs::write(options.folder.join("results.json"), serde_json::to_string_pretty(&samples)?)?;
    print!("{}", table::of(&samples));
    Ok(())
}
