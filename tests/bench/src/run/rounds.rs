//! All scenarios, round by round.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Options, Sample,
    candidate::{Peer, Running, Setting},
    measure::{Idle, cold, start, twice, warm},
    people::People,
    scenario::{Scenario, Way},
    stage::Stage,
};
use crate::{Failure, load::Measured};

/// Everybody who takes part.
pub(super) struct Bench<'a> {
    options: &'a Options,
    peers: Vec<Peer>,
    crowds: Crowds,
    /// Those that are measured warm, which run all the time; the others are started for each measurement.
    running: Vec<Running>,
    // Behind the candidates: its backend ends after them.
    stage: Stage,
}

/// How many people there are where a store must be small: fewer than a thousand records.
const FEW: usize = 100;

/// The people of each build of ours; those of the first one are for everybody else as well.
struct Crowds {
    usual: Vec<(PathBuf, People)>,
    few: Vec<(PathBuf, People)>,
    /// For those who are measured cold.
    fresh: Vec<(PathBuf, People)>,
}

impl Crowds {
    fn new(
        options: &Options,
        peers: &[Peer],
        scenarios: &[&Scenario],
        stage: &Stage,
    ) -> Result<Self, Failure> {
        let mut crowds = Self { usual: Vec::new(), few: Vec::new(), fresh: Vec::new() };
        let has_start = scenarios.iter().any(|scenario| scenario.way == Way::Start);
        for binary in [options.binary.as_path()].into_iter().chain(peers.iter().filter_map(Peer::binary)) {
            if crowds.usual.iter().any(|(known, _)| known == binary) {
                continue;
            }
            let crowd = |count| People::new(count, binary, stage, options);
            crowds.usual.push((binary.to_owned(), crowd(options.people)?));
            if has_start {
                crowds.few.push((binary.to_owned(), crowd(FEW)?));
            }
        }
        Ok(crowds)
    }

    /// People who were seeded just now, where these are wanted: others may have been here for long.
    fn refresh(&mut self, options: &Options, stage: &Stage) -> Result<(), Failure> {
        let binaries = self.usual.iter().map(|(binary, _)| binary);
        let fresh = |binary: &PathBuf| Ok((binary.clone(), People::fresh(options.people, binary, stage)?));
        self.fresh = binaries.map(fresh).collect::<Result<_, Failure>>()?;
        Ok(())
    }

    fn of(&self, scenario: &Scenario, peer: &Peer) -> Result<&People, Failure> {
        let crowds = match scenario.way {
            Way::Start => &self.few,
            Way::Cold => &self.fresh,
            _ => &self.usual,
        };
        let own = |binary: &Path| crowds.iter().find(|(known, _)| known == binary);
        let (_, people) =
            peer.binary().and_then(own).or_else(|| crowds.first()).ok_or("there are no people")?;
        Ok(people)
    }
}

impl<'a> Bench<'a> {
    /// Starts who runs all the time.
    pub(super) fn set(options: &'a Options, scenarios: &[&Scenario]) -> Result<Self, Failure> {
        let peers = options.peers()?;
        let stage = Stage::set(options)?;
        let crowds = Crowds::new(options, &peers, scenarios, &stage)?;
        let mut running = Vec::new();
        for setting in [Setting::Usual, Setting::Tls] {
            for peer in &peers {
                let is_it = |it: &&&Scenario| it.is_warm() && it.setting() == setting && it.is_for(peer);
                let Some(scenario) = scenarios.iter().find(is_it) else { continue };
                let (place, people) =
                    (format!("{}-{}", peer.name, setting.name()), crowds.of(scenario, peer)?);
                running.push(Running::start(peer.clone(), setting, &place, &stage, people)?);
            }
        }
        Ok(Self { options, peers, crowds, running, stage })
    }

    /// Who runs where, in words.
    pub(super) fn placement(&self) -> String {
        self.stage.placement.told()
    }

    /// Measures everything. What was measured before something failed is in `samples`, and in a file.
    pub(super) fn measure(
        &mut self,
        scenarios: &[&Scenario],
        samples: &mut Vec<Sample>,
    ) -> Result<(), Failure> {
        for scenario in scenarios {
            if scenario.way == Way::Cold {
                self.crowds.refresh(self.options, &self.stage)?;
            }
            eprint!("{}:", scenario.name);
            for round in 0..self.options.rounds_of(scenario) {
                eprint!(" {}", round + 1);
                let measured = self.round(scenario, round)?;
                samples.extend(measured.into_iter().map(|(peer, measured)| Sample {
                    scenario: scenario.name,
                    candidate: peer.name,
                    round,
                    measured,
                }));
            }
            eprintln!();
            let results = self.options.folder.join("results.json");
            fs::write(results, serde_json::to_string_pretty(&samples)?)?;
        }
        Ok(())
    }

    /// Every candidate once, beginning with another one in each round.
    fn round(&mut self, scenario: &Scenario, round: usize) -> Result<Vec<(Peer, Measured)>, Failure> {
        let mut peers: Vec<_> = self.peers.iter().filter(|peer| scenario.is_for(peer)).cloned().collect();
        let turn = round % peers.len().max(1);
        peers.rotate_left(turn);
        if scenario.way == Way::Idle {
            return self.idle(scenario, &peers);
        }
        let mut measured = Vec::new();
        for peer in peers {
            let one = twice(scenario, &peer, || self.one(scenario, &peer))?;
            measured.push((peer, one));
        }
        Ok(measured)
    }

    fn one(&mut self, scenario: &Scenario, peer: &Peer) -> Result<Measured, Failure> {
        let people = self.crowds.of(scenario, peer)?;
        match scenario.way {
            Way::Cold => cold(scenario, peer, &self.stage, people),
            Way::Start => start(peer, &self.stage, people),
            Way::Answers | Way::Events | Way::Idle => {
                let is_it = |it: &&mut Running| it.peer.name == peer.name && it.setting == scenario.setting();
                let candidate = self.running.iter_mut().find(is_it).ok_or("it does not run")?;
                warm(scenario, candidate, &self.stage, people, self.options.seconds())
            }
        }
    }

    /// While one gives back what it had, the next one is measured.
    fn idle(&self, scenario: &Scenario, peers: &[Peer]) -> Result<Vec<(Peer, Measured)>, Failure> {
        let begin =
            |peer| Idle::begin(scenario, peer, &self.stage, self.crowds.of(scenario, peer)?, self.options);
        let mut closed = Vec::new();
        for peer in peers {
            let first = begin(peer).or_else(|failure| {
                eprint!(" ({} is void: {failure}; again)", peer.name);
                begin(peer)
            });
            closed.push(first?);
        }
        let mut measured = Vec::new();
        for idle in closed {
            let (peer, one) = idle.end()?;
            if let Some(wrong) = one.wrong {
                return Err(format!("{} of {} is void: {wrong}", scenario.name, peer.name).into());
            }
            measured.push((peer, one));
        }
        Ok(measured)
    }
}
