//! The load generator: a closed loop over kept connections, each with one request under way at a time.
//!
//! It is lean (requests are bytes made before, answers are read with httparse), so that it costs less than what it
//! measures, and it believes nothing: the status and every byte of every answer are compared with what was to come for
//! the person whose token was sent. One wrong answer makes the whole measurement void.
//!
//! The processor time of the candidate is read here, at the very moments at which the measured span begins and ends:
//! after the connections stand, and after every token was used at least once.

mod door;
mod idle;
mod measured;
mod requests;
mod streams;
#[cfg(test)]
mod tests;
mod wire;

use std::{net::SocketAddr, path::PathBuf, thread, time::Duration};

use clap::ValueEnum;

pub(crate) use self::{
    door::Front,
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
    /// How to get in
    #[arg(long, value_enum, default_value_t = Front::Plain)]
    front: Front,
    /// With TLS: whom to believe
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// For idle streams: where the backend is, which sends the event
    #[arg(long)]
    ring: Option<SocketAddr>,
    /// For idle streams: seconds from closing to the last look at the memory
    #[arg(long, default_value_t = 60.0)]
    after: f64,
    /// Processes whose processor time is measured
    #[arg(long, value_delimiter = ',')]
    watch: Vec<i32>,
    /// Processes that take part besides
    #[arg(long, value_delimiter = ',')]
    beside: Vec<i32>,
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
    /// A small JSON answer on a new connection with a whole handshake.
    Handshake,
    /// The same with a handshake that resumes.
    Resume,
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
            Self::Handshake => "handshake",
            Self::Resume => "resume",
        }
    }

    /// As the backend is asked for it.
    fn asked(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::Handshake | Self::Resume => None,
            _ => Some(self.name()),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    clock::raise_open_files()?;
    let patience = PATIENCE + Duration::from_secs_f64(options.seconds + options.after);
    thread::spawn(move || {
        thread::sleep(patience);
        eprintln!("an answer never came");
        std::process::exit(1);
    });
    let measured = match options.kind {
        Kind::Idle => idle::measure(options)?,
        _ => requests::measure(options)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// Beyond what is measured: after that somebody has left a request without an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long is warmed up at least.
const WARM: Duration = Duration::from_millis(400);
