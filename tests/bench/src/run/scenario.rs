//! What is measured.

use super::candidate::{Peer, Setting};
use crate::{
    load::{Front, Kind},
    tell::PACED_AT_ONCE,
};

/// A kind of answer, and how many ask for it at the same time.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// What people read above its table.
    pub(super) title: &'static str,
    pub(super) way: Way,
    pub(super) front: Front,
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
    /// How candidates are configured for it.
    pub(super) fn setting(&self) -> Setting {
        match (self.way, self.front) {
            (Way::Idle, _) => Setting::Streams(self.connections),
            (_, Front::Plain) => Setting::Usual,
            (_, Front::Tls | Front::Http2) => Setting::Tls,
        }
    }

    /// Whether those that run all the time are measured, instead of some that are started for it.
    pub(super) fn is_warm(&self) -> bool {
        matches!(self.way, Way::Answers | Way::Events)
    }

    /// Whether this candidate takes part.
    pub(super) fn is_for(&self, peer: &Peer) -> bool {
        if self.front != Front::Plain {
            return peer.has_tls();
        }
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
        front: Front::Plain,
        kind: Kind::Json,
        connections: 16,
    },
    answers("big-16", "JSON answers of 1 MiB, 16 connections", Kind::Big, 16),
    events("sse-full", "Event streams at full speed, 16 at a time", Kind::Burst, 16),
    events(
        "sse-paced",
        "Event streams with an event every 10 ms, 100 at a time",
        Kind::Paced,
        PACED_AT_ONCE as usize,
    ),
    idle("idle-1000", "1,000 idle event streams", 1_000),
    idle("idle-10000", "10,000 idle event streams", 10_000),
    behind_tls("tls-16", "Small JSON answers behind TLS, 16 connections", Front::Tls, Kind::Json),
    behind_tls(
        "tls-http2",
        "Small JSON answers behind TLS, HTTP/2 in front: 16 at a time on one connection",
        Front::Http2,
        Kind::Json,
    ),
    behind_tls(
        "tls-full",
        "A connection with a whole TLS handshake and one answer",
        Front::Tls,
        Kind::Handshake,
    ),
    behind_tls(
        "tls-resumed",
        "A connection with a resumed TLS handshake and one answer",
        Front::Tls,
        Kind::Resume,
    ),
    Scenario {
        name: "start",
        title: "Start and rest",
        way: Way::Start,
        front: Front::Plain,
        kind: Kind::Json,
        connections: 1,
    },
];

const fn answers(name: &'static str, title: &'static str, kind: Kind, connections: usize) -> Scenario {
    Scenario { name, title, way: Way::Answers, front: Front::Plain, kind, connections }
}

const fn events(name: &'static str, title: &'static str, kind: Kind, connections: usize) -> Scenario {
    Scenario { name, title, way: Way::Events, front: Front::Plain, kind, connections }
}

const fn idle(name: &'static str, title: &'static str, connections: usize) -> Scenario {
    Scenario { name, title, way: Way::Idle, front: Front::Plain, kind: Kind::Idle, connections }
}

const fn behind_tls(name: &'static str, title: &'static str, front: Front, kind: Kind) -> Scenario {
    Scenario { name, title, way: Way::Answers, front, kind, connections: 16 }
}
