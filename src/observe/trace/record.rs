//! What a finished span says, and how many there were.

use std::{borrow::Cow, sync::atomic::AtomicU64, time::Duration};

/// A span that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Which trace it belongs to.
    pub trace: [u8; 16],
    /// Its own id.
    pub id: [u8; 8],
    /// Under which span it hangs.
    pub parent: Option<Parent>,
    /// What kind of work it was.
    pub kind: Kind,
    /// Its name: words of ours and paths of the configuration.
    pub name: Cow<'static, str>,
    /// When it began, since the Unix epoch.
    pub begun: Duration,
    /// When it ended.
    pub ended: Duration,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// Whether it failed by a fault, ours or another machine's; a refusal is no failure.
    pub failed: bool,
}

/// The span above another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parent {
    /// Its id.
    pub id: [u8; 8],
    /// Whether it is a span of somebody else.
    pub is_remote: bool,
}

/// What kind of work a span is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A request that was answered here.
    Served,
    /// A call to another machine.
    Called,
}

/// A value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A word of ours, an id of ours, or a name of the configuration.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// Something that happened: an entry of the journal.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its slug.
    pub name: &'static str,
    /// When.
    pub at: Duration,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// How many spans there were, by what became of them.
#[derive(Debug, Default)]
pub struct TraceTally {
    /// The collector took them.
    pub exported: AtomicU64,
    /// The queue was full.
    pub dropped: AtomicU64,
    /// The collector did not take them.
    pub failed: AtomicU64,
}
