//! Our own signing keys: when one is made, published, used and forgotten.
//!
//! One record holds them all, so every step is one conditional write. A key is published a day before it signs and for a
//! day after it has signed last: whoever keeps our key set for a while has the key before it meets a signature of it, and
//! still has it when the last one arrives. The first key of all signs at once, since nobody can know an older one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{jwk::PublicKey, time::Timestamp};

/// How long a key signs.
pub const INTERVAL: Duration = Duration::from_hours(30 * 24);
/// How long a key is published before it signs.
pub const LEAD: Duration = Duration::from_hours(24);
/// How long a key is published after it has signed last.
pub const KEEP: Duration = Duration::from_hours(24);

/// A key pair.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RingKey {
    /// Its name.
    pub kid: String,
    /// What is published.
    pub public: PublicKey,
    /// The private key, sealed.
    #[serde(with = "super::secret::base64url")]
    pub sealed: Vec<u8>,
    /// From when on it signs.
    pub signs_from: Timestamp,
}

/// The keys, by the moment from which they sign.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

impl KeyRing {
    /// The key that signs now.
    pub fn signing(&self, now: Timestamp) -> Option<&RingKey> {
        self.keys.iter().rfind(|key| key.signs_from <= now)
    }

    /// All keys that are published.
    pub fn published(&self) -> impl Iterator<Item = &RingKey> {
        self.keys.iter()
    }

    /// All keys, whose private halves may be sealed anew.
    pub fn sealed_mut(&mut self) -> impl Iterator<Item = &mut RingKey> {
        self.keys.iter_mut()
    }

    /// The moment from which a new key has to sign, if it is time to make one.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let Some(newest) = self.keys.last() else { return Some(now) };
        let (next, soonest) = (newest.signs_from.after(INTERVAL), now.after(LEAD));
        (next <= soonest).then(|| next.max(soonest))
    }

    /// With one more key.
    #[must_use]
    pub fn with(&self, key: RingKey) -> Self {
        let mut keys = self.keys.clone();
        keys.push(key);
        keys.sort_by_key(|key| key.signs_from);
        Self { keys }
    }

    /// Without the keys that have signed last long ago, if there are such.
    pub fn without_old(&self, now: Timestamp) -> Option<Self> {
        let successors = self.keys.iter().skip(1).map(|next| Some(next.signs_from));
        let kept: Vec<RingKey> = self
            .keys
            .iter()
            .zip(successors.chain([None]))
            .filter(|(_, next)| next.is_none_or(|next| !next.after(KEEP).has_passed(now)))
            .map(|(key, _)| key.clone())
            .collect();
        (kept.len() < self.keys.len()).then_some(Self { keys: kept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn key(kid: &str, signs_from: Timestamp) -> RingKey {
        let mut point = [1; 65];
        point[0] = 4;
        RingKey {
            kid: kid.to_owned(),
            public: PublicKey::es256(&point, kid).unwrap(),
            sealed: vec![],
            signs_from,
        }
    }

    fn kids(ring: &KeyRing) -> Vec<&str> {
        ring.published().map(|key| key.kid.as_str()).collect()
    }

    #[test]
    fn keys_overlap_in_publication_and_never_in_use() {
        let mut ring = KeyRing::default();
        assert_eq!(ring.due(START), Some(START), "the first one signs at once");
        ring = ring.with(key("a", START));
        assert_eq!(ring.due(START.after(DAY * 28)), None);
        let time = START.after(DAY * 29);
        assert_eq!(ring.due(time), Some(START.after(DAY * 30)));
        ring = ring.with(key("b", START.after(DAY * 30)));
        assert_eq!(kids(&ring), ["a", "b"]);
        assert_eq!(ring.signing(time).unwrap().kid, "a");
        assert_eq!(ring.due(time), None);
        let time = START.after(DAY * 30);
        assert_eq!(ring.signing(time).unwrap().kid, "b");
        assert_eq!(ring.without_old(time), None);
        let time = START.after(DAY * 31);
        ring = ring.without_old(time).unwrap();
        assert_eq!(kids(&ring), ["b"]);
        assert_eq!(ring.without_old(time), None);
    }

    #[test]
    fn after_a_long_sleep_a_new_key_is_still_published_before_it_signs() {
        let ring = KeyRing::default().with(key("a", START));
        let late = START.after(DAY * 100);
        assert_eq!(ring.due(late), Some(late.after(LEAD)));
        let ring = ring.with(key("b", late.after(LEAD)));
        assert_eq!(ring.signing(late).unwrap().kid, "a");
        assert_eq!(ring.without_old(late), None);
    }

    #[test]
    fn a_clock_before_the_first_key_has_none_to_sign_with() {
        assert!(KeyRing::default().with(key("a", START)).signing(START.before(DAY)).is_none());
    }
}
