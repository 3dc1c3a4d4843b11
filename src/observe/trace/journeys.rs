//! Where journeys go on: what one request gave away, as a hash, and which span that was in.
//!
//! Bounded in number and in time. What is forgotten costs a connection between two spans and nothing else; so does a restart.
//! Each is taken once: whoever sends the same form again begins a trace of its own, by the ratio.

use std::time::Duration;

use quick_cache::sync::Cache;

use crate::domain::secret::Digest;

/// How many are remembered.
const MOST: usize = 4096;
/// How long: longer than anybody looks at a page.
const LONGEST: Duration = Duration::from_hours(1);

/// A span that another one may hang under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    /// When.
    pub(super) at: Duration,
}

pub(super) struct Journeys(Cache<[u8; 32], Left>);

impl Default for Journeys {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl Journeys {
    /// Whoever brings this goes on there.
    pub(super) fn leave(&self, given: &str, left: Left) {
        self.0.insert(*Digest::of(given).as_bytes(), left);
    }

    /// Where whoever brings this goes on.
    pub(super) fn take(&self, brought: &str, now: Duration) -> Option<Left> {
        let (_, left) = self.0.remove(Digest::of(brought).as_bytes())?;
        Some(left).filter(|left| now.saturating_sub(left.at) <= LONGEST)
    }
}
