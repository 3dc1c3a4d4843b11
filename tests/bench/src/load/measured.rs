//! What one measurement says.

use serde::{Deserialize, Serialize};

/// One measurement: a candidate, a kind of answer, a number of connections.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// Answers (or events) within the span.
    pub(crate) count: u64,
    /// The span, in seconds.
    pub(crate) seconds: f64,
    /// Processor time of the candidate within the span, in microseconds.
    pub(crate) processor: f64,
    /// That of the load generator itself.
    pub(crate) own_processor: f64,
    /// Which part of all processors somebody else used meanwhile: neither candidate nor backend nor load generator. What the
    /// kernel does in interrupts is in it.
    pub(crate) others: f64,
    /// Which part the host of this machine kept for itself.
    pub(crate) stolen: f64,
    /// How long answers took (or events were on their way), in microseconds.
    pub(crate) latency: Spread,
    /// Memory with idle streams.
    pub(crate) memory: Option<Memory>,
    /// How it starts.
    pub(crate) start: Option<Start>,
    /// What was wrong, if anything: the measurement is void then.
    pub(crate) wrong: Option<String>,
}

/// Anonymous memory of the candidate, in bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Memory {
    /// Before the streams.
    pub(crate) before: u64,
    /// With all of them open.
    pub(crate) open: u64,
    /// A while after they have closed.
    pub(crate) after: u64,
}

/// How a candidate starts, and what it is then.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Start {
    /// From exec to the first answer, in microseconds.
    pub(crate) first: f64,
    /// From exec to the first answer that comes from the backend, in microseconds.
    pub(crate) proxied: f64,
    /// Resident memory at rest, in bytes: files that are mapped, such as the binary, included.
    pub(crate) resident: u64,
    /// The anonymous part of it.
    pub(crate) anonymous: u64,
    /// Size of the binary, in bytes; none where it is not one of its own.
    pub(crate) binary: Option<u64>,
}

/// Quantiles.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of durations in nanoseconds; in microseconds.
    pub(crate) fn of(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let at = |part: f64| {
            let last = nanoseconds.len().saturating_sub(1);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in the list, which is far shorter than 2^52"
            )]
            let index = (part * last as f64).round() as usize;
            nanoseconds.get(index).map_or(0.0, |&value| value as f64 / 1000.0)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), most: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let spread = Spread::of((0..=1000).rev().map(|value| value * 1000).collect());
        assert_eq!((spread.p50, spread.p99, spread.p999, spread.most), (500.0, 990.0, 999.0, 1000.0));
        assert!(Spread::of(Vec::new()).p99.abs() < f64::EPSILON);
    }
}
