//! The comparison as Markdown: a table for each scenario.

use std::fmt::Write as _;

use super::{
    Sample,
    candidate::{BARE, DEPUTY, DIRECT, HAPROXY},
    figures::{self, Median, Rounds},
    scenario::{ALL, Scenario, Way},
};
use crate::load::{Front, Kind, Measured};

/// A column: its head, and what stands in it for a candidate.
type Column = (&'static str, fn(Rounds<'_>, &str) -> String);

/// What stands where there is no figure.
const NOTHING: &str = "–";

type Figure = fn(&Measured) -> Option<f64>;

/// All tables.
pub(super) fn of(samples: &[Sample]) -> String {
    let mut text = String::new();
    for scenario in ALL {
        let rounds = Rounds::of(samples, scenario.name);
        if rounds.count() > 0 {
            table(&mut text, scenario, rounds);
        }
    }
    text
}

fn table(text: &mut String, scenario: &Scenario, rounds: Rounds<'_>) {
    let columns = columns(scenario);
    let heads: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
    let _ = write!(
        text,
        "\n### {}\n\n`{}`, {} round{}.\n\n| | {} |\n| --- |{}\n",
        scenario.title,
        scenario.name,
        rounds.count(),
        if rounds.count() == 1 { "" } else { "s" },
        heads.join(" | "),
        " ---: |".repeat(columns.len())
    );
    for name in rounds.candidates() {
        let cells: Vec<_> = columns.iter().map(|(_, cell)| cell(rounds, name)).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
}

/// Other builds of ours, seen from the one that everybody else is compared with.
pub(super) fn builds(samples: &[Sample], names: &[&str]) -> String {
    let mut text = String::new();
    for name in names {
        let _ = write!(
            text,
            "\n### {name}, {DEPUTY} is 1\n\n| | processor time | throughput | p50 | p99 | memory per stream |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n"
        );
        for scenario in ALL {
            let rounds = Rounds::of(samples, scenario.name);
            let figures: [Figure; 5] =
                [figures::processor, figures::throughput, figures::p50, figures::p99, figures::per_stream];
            let cells = figures.map(|figure| ratio(rounds, name, DEPUTY, figure));
            if cells.iter().any(|cell| cell != NOTHING) {
                let _ = writeln!(text, "| {} | {} |", scenario.name, cells.join(" | "));
            }
        }
    }
    text
}

fn columns(scenario: &Scenario) -> &'static [Column] {
    match (scenario.way, scenario.kind) {
        (Way::Answers, _) if scenario.front != Front::Plain => BEHIND_TLS,
        (Way::Answers | Way::Cold, _) => ANSWERS,
        (Way::Events, Kind::Paced) => PACED,
        (Way::Events, _) => EVENTS,
        (Way::Idle, _) => IDLE,
        (Way::Start, _) => START,
    }
}

const ANSWERS: &[Column] = &[
    ("µs of processor", |rounds, name| plain(rounds, name, figures::processor, 1)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::processor)),
    ("× bare", |rounds, name| ratio(rounds, name, BARE, figures::processor)),
    ("answers/s", |rounds, name| plain(rounds, name, figures::throughput, 0)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::throughput)),
    ("× direct", |rounds, name| ratio(rounds, name, DIRECT, figures::throughput)),
    ("p50 µs", |rounds, name| plain(rounds, name, figures::p50, 0)),
    ("p99 µs", |rounds, name| plain(rounds, name, figures::p99, 0)),
    ("p99.9 µs", |rounds, name| plain(rounds, name, figures::p999, 0)),
];

const BEHIND_TLS: &[Column] = &[
    ("µs of processor", |rounds, name| plain(rounds, name, figures::processor, 1)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::processor)),
    ("answers/s", |rounds, name| plain(rounds, name, figures::throughput, 0)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::throughput)),
    ("p50 µs", |rounds, name| plain(rounds, name, figures::p50, 0)),
    ("p99 µs", |rounds, name| plain(rounds, name, figures::p99, 0)),
    ("p99.9 µs", |rounds, name| plain(rounds, name, figures::p999, 0)),
];

const EVENTS: &[Column] = &[
    ("µs of processor per event", |rounds, name| plain(rounds, name, figures::processor, 3)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::processor)),
    ("× bare", |rounds, name| ratio(rounds, name, BARE, figures::processor)),
    ("events/s", |rounds, name| plain(rounds, name, figures::throughput, 0)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::throughput)),
    ("× direct", |rounds, name| ratio(rounds, name, DIRECT, figures::throughput)),
];

const PACED: &[Column] = &[
    ("µs of processor per event", |rounds, name| plain(rounds, name, figures::processor, 1)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::processor)),
    ("delay p50 µs", |rounds, name| plain(rounds, name, figures::p50, 0)),
    ("added to direct", |rounds, name| told(rounds.more(name, DIRECT, figures::p50), 0)),
    ("delay p99 µs", |rounds, name| plain(rounds, name, figures::p99, 0)),
    ("added to direct", |rounds, name| told(rounds.more(name, DIRECT, figures::p99), 0)),
    ("delay p99.9 µs", |rounds, name| plain(rounds, name, figures::p999, 0)),
];

const IDLE: &[Column] = &[
    ("streams", |rounds, name| {
        rounds.median(name, figures::streams).map_or_else(String::new, |it| format!("{:.0}", it.middle))
    }),
    ("MiB before", |rounds, name| plain(rounds, name, figures::before, 1)),
    ("KiB per stream", |rounds, name| plain(rounds, name, figures::per_stream, 1)),
    ("× HAProxy", |rounds, name| ratio(rounds, name, HAPROXY, figures::per_stream)),
    ("× bare", |rounds, name| ratio(rounds, name, BARE, figures::per_stream)),
    ("given back", |rounds, name| plain(rounds, name, figures::given_back, 2)),
    ("an event's delay p50 µs", |rounds, name| plain(rounds, name, figures::p50, 0)),
    ("added to direct", |rounds, name| told(rounds.more(name, DIRECT, figures::p50), 0)),
    ("delay p99 µs", |rounds, name| plain(rounds, name, figures::p99, 0)),
];

const START: &[Column] = &[
    ("ms to the first answer", |rounds, name| plain(rounds, name, figures::first, 1)),
    ("ms to the first proxied one", |rounds, name| plain(rounds, name, figures::proxied, 1)),
    ("MiB resident at rest", |rounds, name| plain(rounds, name, figures::resident, 1)),
    ("MiB anonymous at rest", |rounds, name| plain(rounds, name, figures::anonymous, 1)),
    ("MiB of binary", |rounds, name| {
        rounds
            .median(name, figures::binary)
            .map_or_else(|| NOTHING.to_owned(), |it| format!("{:.1}", it.middle))
    }),
];

fn plain(rounds: Rounds<'_>, name: &str, figure: Figure, digits: usize) -> String {
    told(rounds.median(name, figure), digits)
}

fn ratio(rounds: Rounds<'_>, name: &str, to: &str, figure: Figure) -> String {
    if name == to { "1".to_owned() } else { told(rounds.ratio(name, to, figure), 2) }
}

fn told(median: Option<Median>, digits: usize) -> String {
    median.map_or_else(|| NOTHING.to_owned(), |it| it.told(digits))
}
