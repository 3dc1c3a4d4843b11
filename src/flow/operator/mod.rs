//! What the operator sees and does: which apps there are, what people approved for them, what they hold; and the end of it.
//!
//! - [`view`]: what is shown of a record. Never anything that is secret, nor the hash of it.
//! - [`list`]: pages of them, by person and by app through the index, each of bounded work.
//! - [`find`]: which record an id, or the beginning of one, means.
//! - [`backup`]: what a backup holds, and how it comes back.
//! - [`act`]: revoking. Each act is in the journal with the reason `operator`.
//!
//! Must never decide who the operator is: whoever calls this has done that. Called by the admin API of the web room.

mod act;
mod backup;
mod find;
mod list;
mod view;

pub use self::{
    act::Revoked,
    backup::{BackingUp, PutBack, Readmission, Restoring},
    find::{ClientMatch, GrantMatch},
    list::{MOST, Page, Query},
    view::{ClientView, ConsentView, GrantView, PersonView, rfc3339},
};
use super::{Failure, fault::Fault};

/// Why the operator's question has no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// Something inside failed.
    Fault(Fault),
    /// What was written means nothing here; the sentence says what.
    Bad(&'static str),
    /// There is no such record.
    NotFound(Kind),
    /// Several begin like that: these, and perhaps more.
    Ambiguous(Kind, Vec<String>),
}

/// What there are records of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Apps.
    Client,
    /// What people approved.
    Consent,
    /// What apps hold.
    Grant,
    /// People.
    Person,
}

impl Kind {
    /// What it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Consent => "consent",
            Self::Grant => "grant",
            Self::Person => "user",
        }
    }
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(fault) => Self::Fault(fault),
            Failure::Refused(_) | Failure::TooFast(_) => {
                Self::Fault(Fault::new("do what the operator asked"))
            }
        }
    }
}
