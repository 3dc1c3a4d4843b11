//! All scenarios, round by round.

use std::fs;

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
    people: People,
    /// For whom the store must be small.
    few: Option<People>,
    /// Those that are measured warm, which run all the time; the others are started for each measurement.
    running: Vec<Running>,
    // Behind the candidates: its backend ends after them.
    stage: Stage,
}

impl<'a> Bench<'a> {
    /// Starts who runs all the time.
    pub(super) fn set(options: &'a Options, scenarios: &[&Scenario]) -> Result<Self, Failure> {
        let peers = options.peers()?;
        let stage = Stage::set(options)?;
        let (people, few) = stage.people(options, scenarios.iter().any(|it| it.way == Way::Start))?;
        let mut running = Vec::new();
        for setting in [Setting::Usual, Setting::Tls] {
            let is_here = |peer: &Peer| {
                scenarios.iter().any(|it| it.is_warm() && it.setting() == setting && it.is_for(peer))
            };
            for peer in peers.iter().filter(|peer| is_here(peer)) {
                let place = format!("{}-{}", peer.name, setting.name());
                running.push(Running::start(peer.clone(), setting, &place, &stage, &people)?);
            }
        }
        Ok(Self { options, peers, people, few, running, stage })
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
        let few = self.few.as_ref().unwrap_or(&self.people);
        match scenario.way {
            Way::Cold => cold(scenario, peer, &self.stage, &self.people),
            Way::Start => start(peer, &self.stage, few),
            Way::Answers | Way::Events | Way::Idle => {
                let is_it = |it: &&mut Running| it.peer.name == peer.name && it.setting == scenario.setting();
                let candidate = self.running.iter_mut().find(is_it).ok_or("it does not run")?;
                warm(scenario, candidate, &self.stage, &self.people, self.options.seconds())
            }
        }
    }

    /// While one gives back what it had, the next one is measured.
    fn idle(&self, scenario: &Scenario, peers: &[Peer]) -> Result<Vec<(Peer, Measured)>, Failure> {
        let begin = |peer| Idle::begin(scenario, peer, &self.stage, &self.people, self.options);
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
