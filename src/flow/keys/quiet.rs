//! When nothing outside of the store is expected under a previous key any more.
//!
//! Pages end half an hour after they were shown. The session id of an MCP server has no end: it counts as gone when it was not
//! seen for a day. Which were seen is known since this process began; who is restarted every day waits a week instead.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    domain::{consent::PAGE_TTL, time::Timestamp},
    flow::ports::{KeyId, KnownKey},
};

/// How long nothing must have been seen under a key.
pub(super) const QUIET: Duration = Duration::from_hours(24);
/// After this long, what was seen before the process began does not matter.
const LONG: Duration = Duration::from_hours(7 * 24);
/// How long the process must have run in any case.
const AT_LEAST: Duration = Duration::from_hours(1);
const _: () = assert!(QUIET.as_secs() > PAGE_TTL.as_secs());

/// What was seen.
#[derive(Debug)]
pub(super) struct Quiet {
    started: Timestamp,
    seen: BTreeMap<KeyId, Timestamp>,
}

impl Quiet {
    /// Nothing yet.
    pub(super) fn since(started: Timestamp) -> Self {
        Self { started, seen: BTreeMap::new() }
    }

    /// A session came under this key.
    pub(super) fn note(&mut self, id: KeyId, now: Timestamp) {
        self.seen.insert(id, now);
    }

    /// From when on nothing more is expected, if nothing comes until then.
    pub(super) fn of(&self, key: &KnownKey) -> Timestamp {
        let replaced = key.replaced_at.unwrap_or(self.started);
        let seen = match self.seen.get(&key.id) {
            Some(seen) => seen.after(QUIET),
            None => self.started.after(QUIET).min(replaced.after(LONG)),
        };
        seen.max(replaced.after(QUIET)).max(self.started.after(AT_LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::ports::KeyOrigin;

    const DAY: Duration = Duration::from_hours(24);
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_key_is_quiet_a_day_after_it_was_seen_last() {
        let start = Timestamp::from_millis(1_800_000_000_000);
        let key =
            |replaced_at| KnownKey { id: KeyId([1; 8]), origin: KeyOrigin::File, made_at: None, replaced_at };
        let mut quiet = Quiet::since(start);
        // Replaced while the process ran.
        let replaced = start.after(HOUR);
        assert_eq!(quiet.of(&key(Some(replaced))), replaced.after(DAY));
        // Before: a session may have been seen a moment before the start.
        assert_eq!(quiet.of(&key(Some(start.before(DAY * 2)))), start.after(DAY));
        assert_eq!(quiet.of(&key(None)), start.after(DAY));
        // Long before, over many starts.
        assert_eq!(quiet.of(&key(Some(start.before(DAY * 30)))), start.after(HOUR));
        assert_eq!(quiet.of(&key(Some(start.before(DAY * 6 + HOUR * 6)))), start.after(HOUR * 18));
        let seen = start.after(DAY * 3);
        quiet.note(KeyId([1; 8]), seen);
        assert_eq!(quiet.of(&key(Some(start.before(DAY * 30)))), seen.after(DAY));
        quiet.note(KeyId([2; 8]), seen.after(DAY));
        assert_eq!(quiet.of(&key(Some(replaced))), seen.after(DAY), "another key's");
    }
}
