//! Faults: what went wrong inside (store, third party, cryptography), as opposed to a refusal, which is an outcome.
//!
//! A fault is opaque outside: its answer is a fixed text with a support id; the chain of causes goes to the log. A fault
//! must never carry a token, a code, or text that came from a third party's body.

use std::{borrow::Cow, error::Error, fmt};

/// Something inside failed. Displays what was attempted; the cause, where there is one, is its [`Error::source`].
#[derive(Debug)]
pub struct Fault {
    attempted: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault without a deeper cause. `attempted` completes the sentence "could not …".
    pub fn new(attempted: impl Into<Cow<'static, str>>) -> Self {
        Self { attempted: attempted.into(), source: None }
    }

    /// A fault with its cause.
    pub fn caused(
        attempted: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { attempted: attempted.into(), source: Some(source.into()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.attempted)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The chain of causes on one line, for the log.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
