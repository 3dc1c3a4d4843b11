//! What is measured.

use crate::load::Kind;

/// A kind of answer, and how many ask for it at the same time.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) connections: usize,
    /// Every token once, by a candidate that has just started.
    pub(super) once: bool,
}

const fn warm(name: &'static str, kind: Kind, connections: usize) -> Scenario {
    Scenario { name, kind, connections, once: false }
}

/// All of them, in the order in which they are told.
pub(super) const ALL: &[Scenario] = &[
    warm("json-1", Kind::Json, 1),
    warm("json-16", Kind::Json, 16),
    warm("json-64", Kind::Json, 64),
    Scenario { name: "json-cold", kind: Kind::Json, connections: 16, once: true },
    warm("big-16", Kind::Big, 16),
];
