//! The runner: starts everybody, measures in interleaved rounds, compares, tells.
//!
//! Every round measures every candidate once, one after the other, in an order that changes from round to round; so
//! whatever else the machine does meets all of them. Ratios are taken within a round, and what is told is the median of
//! the rounds with the least and the most.

mod candidate;
mod chart;
mod checks;
mod document;
mod figures;
mod machine;
mod measure;
mod people;
mod placement;
mod rounds;
mod scenario;
mod stage;
mod table;
mod tokens;

use std::path::PathBuf;

use self::{
    candidate::Peer,
    figures::Median,
    rounds::Bench,
    scenario::{Scenario, Way},
};
use crate::{Failure, load::Measured};

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
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
    /// Only these scenarios, or those whose names hold these texts, separated by commas
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
    /// Write the figures into docs/performance.md and the chart beside it
    #[arg(long)]
    write: bool,
    /// How this was started, as the document tells it
    #[arg(long, default_value = "tests/bench/run", hide = true)]
    told_command: String,
    /// End with status 1 where a limit is not met
    #[arg(long)]
    check: bool,
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

    /// Streams take long, and their memory is much the same in every round.
    fn rounds_of(&self, scenario: &Scenario) -> usize {
        match scenario.way {
            Way::Idle if self.quick => 1,
            Way::Idle => self.rounds().min(3),
            _ => self.rounds(),
        }
    }

    /// Seconds from the end of idle streams to the last look at the memory.
    fn after(&self) -> f64 {
        if self.quick { 5.0 } else { 60.0 }
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        // A whole name means that one: `json-1` is not `json-16` as well.
        let is_name = |part: &str| scenario::ALL.iter().any(|known| known.name == part);
        let is_meant = |part: &String| {
            scenario.name == part || (!is_name(part) && scenario.name.contains(part.as_str()))
        };
        self.only.is_empty() || self.only.iter().any(is_meant)
    }

    /// The names of other builds.
    fn extras(&self) -> Vec<&str> {
        self.extra.iter().filter_map(|extra| extra.split_once('=')).map(|(name, _)| name).collect()
    }

    fn peers(&self) -> Result<Vec<Peer>, Failure> {
        let mut peers = Peer::all(&self.binary);
        if let Some(unknown) =
            self.candidates.iter().find(|name| peers.iter().all(|peer| peer.name != **name))
        {
            let known: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
            return Err(format!("there is no candidate {unknown}; there are {}", known.join(", ")).into());
        }
        let all = peers.len();
        peers.retain(|peer| self.candidates.is_empty() || self.candidates.contains(&peer.name));
        for (index, extra) in self.extra.iter().enumerate() {
            let (name, path) = extra.split_once('=').ok_or("--extra is NAME=PATH")?;
            if peers.iter().any(|peer| peer.name == name) {
                return Err(format!("there is a candidate {name} already").into());
            }
            peers.push(Peer::deputy(name, all + index, path.into()));
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
    let scenarios: Vec<_> = scenario::ALL.iter().filter(|scenario| options.wants(scenario)).collect();
    if scenarios.is_empty() {
        let known: Vec<_> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
        return Err(format!("there is no such scenario; there are {}", known.join(", ")).into());
    }
    let mut bench = Bench::set(options, &scenarios)?;
    let mut samples = Vec::new();
    let measured = bench.measure(&scenarios, &mut samples);
    // What there is of a long run is not lost with its end.
    print!("{}", table::of(&samples));
    print!("{}", table::builds(&samples, &options.extras()));
    let noise = figures::noise(&samples).map_or_else(|| "unknown".to_owned(), noise);
    println!("\nMeanwhile: {noise}.");
    let checks = checks::of(&samples);
    println!("\nWhat it must show:\n");
    for check in &checks {
        println!("{}", check.told());
    }
    measured?;
    if options.write {
        let told = [
            ("Placement", bench.placement()),
            ("Tokens", format!("{} people, each with a token of their own", options.people)),
            ("Meanwhile", noise),
            ("Measured for", format!("{} s each time", options.seconds())),
            ("Command", format!("`{}`", options.told_command)),
        ];
        document::write("docs".as_ref(), &options.binary, &told, &samples, &checks)?;
    }
    let failed = checks.iter().filter(|check| !check.holds()).count();
    if options.check && failed > 0 {
        return Err(format!("{failed} of {} limits are not met", checks.len()).into());
    }
    Ok(())
}

/// What else the machine did.
fn noise((others, host): (Median, Median)) -> String {
    let part = |part: f64| format!("{:.0} %", 100.0 * part);
    format!(
        "others and interrupts used {} of the processors (at most {}), the host kept {} (at most {})",
        part(others.middle),
        part(others.most),
        part(host.middle),
        part(host.most)
    )
}
