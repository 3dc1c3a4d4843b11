//! The comparison as Markdown: a table for each scenario.

use std::fmt::Write as _;

use super::{
    Sample,
    candidate::{BARE, DIRECT, HAPROXY},
};
use crate::load::Measured;

/// The median of some rounds, with the least and the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Median {
    pub(super) middle: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Median {
    /// `None` of nothing.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { middle: f64::midpoint(lower, upper), least, most })
    }

    fn with(self, digits: usize) -> String {
        let Self { middle, least, most } = self;
        format!("{middle:.digits$} ({least:.digits$}…{most:.digits$})")
    }
}

/// The samples of one scenario.
pub(super) struct Rounds<'a> {
    pub(super) scenario: &'static str,
    samples: Vec<&'a Sample>,
}

impl<'a> Rounds<'a> {
    /// Scenario by scenario, in their order.
    pub(super) fn of(samples: &'a [Sample]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for sample in samples {
            match all.iter_mut().find(|rounds| rounds.scenario == sample.scenario) {
                Some(rounds) => rounds.samples.push(sample),
                None => all.push(Self { scenario: sample.scenario, samples: vec![sample] }),
            }
        }
        all
    }

    /// Who was measured, in the order in which they are told.
    pub(super) fn candidates(&self) -> Vec<&'a str> {
        self.samples.iter().filter(|it| it.round == 0).map(|it| it.candidate.as_str()).collect()
    }

    /// `figure` over the rounds.
    pub(super) fn median(&self, candidate: &str, figure: impl Fn(&Measured) -> f64) -> Option<Median> {
        let of_it = self.samples.iter().filter(|it| it.candidate == candidate);
        Median::of(of_it.map(|it| figure(&it.measured)).collect())
    }

    /// `figure` of one in relation to that of another, in the same round.
    pub(super) fn ratio(
        &self,
        candidate: &str,
        to: &str,
        figure: impl Fn(&Measured) -> f64,
    ) -> Option<Median> {
        let of_it = self.samples.iter().filter(|it| it.candidate == candidate);
        let ratios = of_it.filter_map(|it| {
            let other = self.samples.iter().find(|other| other.round == it.round && other.candidate == to)?;
            Some(figure(&it.measured) / figure(&other.measured))
        });
        Median::of(ratios.collect())
    }
}

/// Processor time per answer, in microseconds.
pub(super) fn processor(measured: &Measured) -> f64 {
    measured.processor / measured.count as f64
}

/// Answers per second.
pub(super) fn throughput(measured: &Measured) -> f64 {
    measured.count as f64 / measured.seconds
}

/// All tables.
pub(super) fn of(samples: &[Sample]) -> String {
    let mut text = String::new();
    for rounds in Rounds::of(samples) {
        let _ = write!(
            text,
            "\n{}:\n\n| | µs of processor | × HAProxy | × bare | answers/s | × HAProxy | × direct | p50 µs | p99 µs | p99.9 µs |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
            rounds.scenario
        );
        for name in rounds.candidates() {
            let told = |median: Option<Median>, digits| median.map_or("–".to_owned(), |it| it.with(digits));
            let cells = [
                told(rounds.median(name, processor), 1),
                told(rounds.ratio(name, HAPROXY, processor), 2),
                told(rounds.ratio(name, BARE, processor), 2),
                told(rounds.median(name, throughput), 0),
                told(rounds.ratio(name, HAPROXY, throughput), 2),
                told(rounds.ratio(name, DIRECT, throughput), 2),
                told(rounds.median(name, |it| it.latency.p50), 0),
                told(rounds.median(name, |it| it.latency.p99), 0),
                told(rounds.median(name, |it| it.latency.p999), 0),
            ];
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
    }
    text
}
