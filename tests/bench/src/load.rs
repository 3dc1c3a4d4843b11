//! The load generator: a closed loop over kept connections, each with one request under way at a time.
//!
//! It is lean (requests are bytes made before, answers are read with httparse), so that it costs less than what it
//! measures, and it believes nothing: the status and every byte of every answer are compared with what was to come for
//! the person whose token was sent. One wrong answer makes the whole measurement void.
//!
//! The processor time of the candidate is read here, at the very moments at which the measured span begins and ends:
//! after the connections stand, and after every token was used at least once.

mod idle;
mod measured;
mod requests;
mod streams;
mod wire;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;

pub(crate) use self::{
    measured::{Measured, Spread, Start},
    wire::request,
};
use crate::{Failure, clock};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What is asked for
    #[arg(long, value_enum, default_value_t = Kind::Json)]
    kind: Kind,
    /// Whom to ask
    #[arg(long)]
    target: SocketAddr,
    /// File with what to send as bearer tokens, one a line: line n (from 0) is person n's
    #[arg(long)]
    credentials: PathBuf,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Instead: every token once, from the first request on
    #[arg(long)]
    once: bool,
    /// For idle streams: where the backend is, which sends the event
    #[arg(long)]
    ring: Option<SocketAddr>,
    /// For idle streams: seconds from closing to the last look at the memory
    #[arg(long, default_value_t = 60.0)]
    after: f64,
    /// Processes whose processor time is measured
    #[arg(long, value_delimiter = ',')]
    watch: Vec<i32>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// A small JSON answer.
    Json,
    /// A JSON answer of 1 MiB.
    Big,
    /// Events as fast as they come.
    Burst,
    /// An event every ten milliseconds.
    Paced,
    /// Streams on which nothing happens.
    Idle,
}

impl Kind {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Big => "big",
            Self::Burst => "burst",
            Self::Paced => "paced",
            Self::Idle => "idle",
        }
    }

    /// As the backend is asked for it.
    fn asked(self) -> Option<&'static str> {
        (self != Self::Json).then(|| self.name())
    }

    fn is_stream(self) -> bool {
        matches!(self, Self::Burst | Self::Paced | Self::Idle)
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    clock::raise_open_files()?;
    let measured = match options.kind {
        Kind::Idle => idle::measure(options)?,
        _ => requests::measure(options)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// How long is warmed up at least.
const WARM: Duration = Duration::from_millis(400);
