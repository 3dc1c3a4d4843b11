//! Moments, as values.
//!
//! The domain never asks what time it is: it is told. [`Timestamp`] is what the clock port returns and what records hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, the unit of RFC 7591 and RFC 7662.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment and `span` more; the end of time instead of an overflow.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This moment less `span`; the epoch instead of an underflow.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whether something that ends at this moment has ended at `now`.
    pub fn has_passed(self, now: Self) -> bool {
        self <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_added_and_measured_without_overflow() {
        let noon = Timestamp::from_millis(12_000);
        assert_eq!(noon.after(Duration::from_secs(1)).as_millis(), 13_000);
        assert_eq!(noon.before(Duration::from_secs(100)).as_millis(), 0);
        assert_eq!(Timestamp::from_millis(u64::MAX).after(Duration::from_secs(1)).as_millis(), u64::MAX);
        assert_eq!(noon.since(Timestamp::from_millis(11_000)), Duration::from_secs(1));
        assert_eq!(noon.since(Timestamp::from_millis(13_000)), Duration::ZERO);
    }

    #[test]
    fn what_ends_now_has_ended() {
        let noon = Timestamp::from_millis(12_000);
        assert!(noon.has_passed(noon));
        assert!(!noon.has_passed(Timestamp::from_millis(11_999)));
    }
}
