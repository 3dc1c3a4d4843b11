//! From samples to figures: medians over rounds, and ratios that are taken within a round.

use super::Sample;
use crate::load::Measured;

const MIB: f64 = 1_048_576.0;

/// The median of some rounds, with the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
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

    /// As it stands in a table.
    pub(super) fn told(self, digits: usize) -> String {
        let Self { middle, least, most } = self;
        format!("{middle:.digits$} ({least:.digits$}…{most:.digits$})")
    }
}

/// The samples of one scenario.
#[derive(Clone, Copy)]
pub(super) struct Rounds<'a> {
    samples: &'a [Sample],
    scenario: &'a str,
}

impl<'a> Rounds<'a> {
    pub(super) fn of(samples: &'a [Sample], scenario: &'a str) -> Self {
        Self { samples, scenario }
    }

    fn all(self) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.scenario == self.scenario)
    }

    /// Who was measured, in the order in which they are told.
    pub(super) fn candidates(self) -> Vec<&'a str> {
        self.all().filter(|it| it.round == 0).map(|it| it.candidate.as_str()).collect()
    }

    /// How many rounds there were.
    pub(super) fn count(self) -> usize {
        self.all().map(|it| it.round + 1).max().unwrap_or_default()
    }

    /// `figure` over the rounds; rounds in which there is none do not count.
    pub(super) fn median(self, candidate: &str, figure: impl Fn(&Measured) -> Option<f64>) -> Option<Median> {
        let of_it = self.all().filter(|it| it.candidate == candidate);
        Median::of(of_it.filter_map(|it| figure(&it.measured)).collect())
    }

    /// What `compare` makes of the figures of one and of another in the same round, over the rounds.
    pub(super) fn compared(
        self,
        candidate: &str,
        other: &str,
        figure: impl Fn(&Measured) -> Option<f64>,
        compare: impl Fn(f64, f64) -> f64,
    ) -> Option<Median> {
        let of_it = self.all().filter(|it| it.candidate == candidate);
        let values = of_it.filter_map(|it| {
            let other = self.all().find(|found| found.round == it.round && found.candidate == other)?;
            Some(compare(figure(&it.measured)?, figure(&other.measured)?))
        });
        Median::of(values.collect())
    }

    /// How many times as much.
    pub(super) fn ratio(
        self,
        candidate: &str,
        other: &str,
        figure: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Median> {
        self.compared(candidate, other, figure, |one, other| one / other)
    }

    /// How much more.
    pub(super) fn more(
        self,
        candidate: &str,
        other: &str,
        figure: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Median> {
        self.compared(candidate, other, figure, |one, other| one - other)
    }
}

/// Which part of all processors others used, and the host, over all samples that can tell.
pub(super) fn noise(samples: &[Sample]) -> Option<(Median, Median)> {
    let telling = || samples.iter().map(|it| &it.measured).filter(|it| it.seconds > 0.0);
    let others = Median::of(telling().map(|it| it.others).collect())?;
    Some((others, Median::of(telling().map(|it| it.stolen).collect())?))
}

/// Processor time per answer or event, in microseconds.
pub(super) fn processor(measured: &Measured) -> Option<f64> {
    (measured.count > 0 && measured.processor > 0.0).then(|| measured.processor / measured.count as f64)
}

/// Answers or events per second.
pub(super) fn throughput(measured: &Measured) -> Option<f64> {
    (measured.seconds > 0.0).then(|| measured.count as f64 / measured.seconds)
}

pub(super) fn p50(measured: &Measured) -> Option<f64> {
    (measured.latency.most > 0.0).then_some(measured.latency.p50)
}

pub(super) fn p99(measured: &Measured) -> Option<f64> {
    (measured.latency.most > 0.0).then_some(measured.latency.p99)
}

pub(super) fn p999(measured: &Measured) -> Option<f64> {
    (measured.latency.most > 0.0).then_some(measured.latency.p999)
}

/// KiB of anonymous memory for each idle stream.
pub(super) fn per_stream(measured: &Measured) -> Option<f64> {
    let memory = measured.memory?;
    Some((memory.open as f64 - memory.before as f64) / 1024.0 / measured.count as f64)
}

/// The part of the streams' memory that was given back, of one.
pub(super) fn given_back(measured: &Measured) -> Option<f64> {
    let memory = measured.memory?;
    Some((memory.open as f64 - memory.after as f64) / (memory.open as f64 - memory.before as f64))
}

/// MiB before the streams.
pub(super) fn before(measured: &Measured) -> Option<f64> {
    Some(measured.memory?.before as f64 / MIB)
}

pub(super) fn streams(measured: &Measured) -> Option<f64> {
    measured.memory.map(|_| measured.count as f64)
}

/// Milliseconds to the first answer.
pub(super) fn first(measured: &Measured) -> Option<f64> {
    Some(measured.start?.first / 1000.0)
}

/// Milliseconds to the first answer that came from the backend.
pub(super) fn proxied(measured: &Measured) -> Option<f64> {
    Some(measured.start?.proxied / 1000.0)
}

/// MiB at rest, files that are mapped included.
pub(super) fn resident(measured: &Measured) -> Option<f64> {
    Some(measured.start?.resident as f64 / MIB)
}

/// MiB at rest.
pub(super) fn anonymous(measured: &Measured) -> Option<f64> {
    Some(measured.start?.anonymous as f64 / MIB)
}

/// MiB of the binary.
pub(super) fn binary(measured: &Measured) -> Option<f64> {
    Some(measured.start?.binary? as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(candidate: &str, round: usize, count: u64) -> Sample {
        let measured = Measured { count, seconds: 1.0, ..Measured::default() };
        Sample { scenario: "s", candidate: candidate.to_owned(), round, measured }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is ten times as slow in the second round, which is nobody's fault.
        let samples = [
            sample("a", 0, 100),
            sample("b", 0, 50),
            sample("b", 1, 5),
            sample("a", 1, 10),
            sample("a", 2, 7),
        ];
        let rounds = Rounds::of(&samples, "s");
        assert_eq!(rounds.ratio("a", "b", throughput), Some(Median { middle: 2.0, least: 2.0, most: 2.0 }));
        assert_eq!(rounds.more("a", "b", throughput), Some(Median { middle: 27.5, least: 5.0, most: 50.0 }));
        assert_eq!(rounds.median("a", throughput).map(|it| it.middle), Some(10.0));
        assert_eq!(rounds.median("c", throughput), None);
        assert_eq!((rounds.candidates(), rounds.count()), (vec!["a", "b"], 3));
    }
}
