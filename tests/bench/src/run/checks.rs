//! What a run must show, as sentences that hold or do not.

use super::{
    Sample,
    candidate::{BARE, DEPUTY, DEPUTY_HTTP2, DIRECT, HAPROXY, HAPROXY_JWT},
    figures::{self, Median, Rounds},
};

/// One sentence.
#[derive(Debug)]
pub(super) struct Check {
    /// What is looked at.
    what: String,
    /// What was measured.
    value: f64,
    /// The most that it may be, or the least.
    limit: Limit,
    unit: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Most(f64),
    Least(f64),
}

impl Check {
    pub(super) fn holds(&self) -> bool {
        match self.limit {
            Limit::Most(limit) => self.value <= limit,
            Limit::Least(limit) => self.value >= limit,
        }
    }

    /// One line.
    pub(super) fn told(&self) -> String {
        let Self { what, value, limit, unit } = self;
        let verdict = if self.holds() { "PASS" } else { "FAIL" };
        let limit = match limit {
            Limit::Most(limit) => format!("at most {limit:.2}"),
            Limit::Least(limit) => format!("at least {limit:.2}"),
        };
        format!("{verdict}  {what}: {value:.2}{unit} ({limit})")
    }
}

/// What can be said of these samples; of what was not measured, nothing.
pub(super) fn of(samples: &[Sample]) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |what: String, value: Option<Median>, limit: Limit, unit| {
        if let Some(Median { middle: value, .. }) = value {
            checks.push(Check { what, value, limit, unit });
        }
    };
    for scenario in ["json-16", "json-64"] {
        let rounds = Rounds::of(samples, scenario);
        for (to, most) in [(BARE, 1.1), (HAPROXY, 1.15), (HAPROXY_JWT, 0.3)] {
            let ratio = rounds.ratio(DEPUTY, to, figures::processor);
            check(format!("1. {scenario}: processor time, {to} is 1"), ratio, Limit::Most(most), "");
        }
    }
    for (scenario, least) in [("json-16", 0.9), ("json-64", 0.9), ("big-16", 0.8), ("sse-full", 0.8)] {
        let ratio = Rounds::of(samples, scenario).ratio(DEPUTY, HAPROXY, figures::throughput);
        check(format!("2. {scenario}: throughput, {HAPROXY} is 1"), ratio, Limit::Least(least), "");
    }
    let p99 = Rounds::of(samples, "json-16").ratio(DEPUTY, HAPROXY, figures::p99);
    check(format!("2. json-16: p99, {HAPROXY} is 1"), p99, Limit::Most(1.25), "");

    for (number, scenario) in [(3, "json-1"), (5, "sse-paced"), (5, "idle-1000"), (5, "idle-10000")] {
        let rounds = Rounds::of(samples, scenario);
        if let Some(theirs) = rounds.more(HAPROXY, DIRECT, figures::p50) {
            let ours = rounds.more(DEPUTY, DIRECT, figures::p50);
            let what = format!("{number}. {scenario}: added to the median latency");
            check(what, ours, Limit::Most(theirs.middle), " µs");
        }
    }
    let start = Rounds::of(samples, "start");
    check(
        "4. anonymous memory at rest".into(),
        start.median(DEPUTY, figures::anonymous),
        Limit::Most(12.0),
        " MiB",
    );
    check("4. first proxied answer".into(), start.median(DEPUTY, figures::proxied), Limit::Most(50.0), " ms");
    check("4. binary".into(), start.median(DEPUTY, figures::binary), Limit::Most(12.0), " MiB");

    let idle = Rounds::of(samples, "idle-10000");
    let ratio = idle.ratio(DEPUTY, BARE, figures::per_stream);
    check(format!("5. memory per idle stream, {BARE} is 1"), ratio, Limit::Most(1.15), "");
    let http2 = idle.median(DEPUTY_HTTP2, figures::per_stream);
    check("5. memory per idle stream, HTTP/2 behind".into(), http2, Limit::Most(16.0), " KiB");
    for name in [DEPUTY, DEPUTY_HTTP2] {
        let given_back = idle.median(name, figures::given_back);
        check(format!("5. {name}: part of it given back"), given_back, Limit::Least(0.75), "");
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Measured;

    #[test]
    fn only_what_was_measured_is_judged_and_can_fail() {
        let sample = |candidate: &str, processor| {
            let measured = Measured { count: 1, processor, ..Measured::default() };
            Sample { scenario: "json-16", candidate: candidate.to_owned(), round: 0, measured }
        };
        let samples = [sample(HAPROXY, 10.0), sample(BARE, 20.0), sample(DEPUTY, 12.0)];
        let told: Vec<_> = of(&samples).iter().map(Check::told).collect();
        assert!(
            told.contains(&"PASS  1. json-16: processor time, bare is 1: 0.60 (at most 1.10)".to_owned()),
            "{told:?}"
        );
        assert!(
            told.contains(&"FAIL  1. json-16: processor time, haproxy is 1: 1.20 (at most 1.15)".to_owned())
        );
        assert!(!told.iter().any(|line| line.contains("json-64")));
    }
}
