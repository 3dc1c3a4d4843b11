//! What is measured.

use super::candidate::Peer;
use crate::load::Kind;

/// A kind of answer, and how many ask for it at the same time.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What people read above its table.
    pub(super) title: &'static str,
    pub(super) way: Way,
    pub(super) kind: Kind,
    pub(super) connections: usize,
}

/// How it is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// Whole answers, for a while, by candidates that run and know every token.
    Answers,
    /// The same with every token once, by candidates that have just started.
    Cold,
    /// Event streams for a while.
    Events,
    /// Event streams on which nothing happens.
    Idle,
    /// The start.
    Start,
}

impl Scenario {
    /// Whether this candidate takes part.
    pub(super) fn is_for(&self, peer: &Peer) -> bool {
        match self.way {
            Way::Answers | Way::Cold if self.kind == Kind::Json => !peer.is_http2(),
            Way::Idle if self.connections >= 10_000 => !peer.is_variant(),
            Way::Answers | Way::Cold | Way::Events | Way::Idle => !peer.is_http2() && !peer.is_variant(),
            Way::Start => !peer.is_http2() && !peer.is_variant() && !peer.is_direct(),
        }
    }
}

/// All of them, in the order in which they are told.
pub(super) const ALL: &[Scenario] = &[
    answers("json-1", "Small JSON answers, 1 connection", Kind::Json, 1),
    answers("json-16", "Small JSON answers, 16 connections", Kind::Json, 16),
    answers("json-64", "Small JSON answers, 64 connections", Kind::Json, 64),
    Scenario {
        name: "json-cold",
        title: "The same with 16 connections, just started: every token for the first time",
        way: Way::Cold,
        kind: Kind::Json,
        connections: 16,
    },
    answers("big-16", "JSON answers of 1 MiB, 16 connections", Kind::Big, 16),
    events("sse-full", "Event streams at full speed, 16 at a time", Kind::Burst, 16),
    events("sse-paced", "Event streams with an event every 10 ms, 100 at a time", Kind::Paced, 100),
    idle("idle-1000", "1,000 idle event streams", 1_000),
    idle("idle-10000", "10,000 idle event streams", 10_000),
    Scenario { name: "start", title: "Start and rest", way: Way::Start, kind: Kind::Json, connections: 1 },
];

const fn answers(name: &'static str, title: &'static str, kind: Kind, connections: usize) -> Scenario {
    Scenario { name, title, way: Way::Answers, kind, connections }
}

const fn events(name: &'static str, title: &'static str, kind: Kind, connections: usize) -> Scenario {
    Scenario { name, title, way: Way::Events, kind, connections }
}

const fn idle(name: &'static str, title: &'static str, connections: usize) -> Scenario {
    Scenario { name, title, way: Way::Idle, kind: Kind::Idle, connections }
}
