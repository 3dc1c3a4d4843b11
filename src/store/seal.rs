//! Seals: authenticated encryption of what must be readable again, and message authentication, under the master keys.
//!
//! An envelope is AES-256-GCM under a key of its own, derived by HKDF-SHA256 (RFC 5869) from the master key, a fresh
//! 256-bit salt, the purpose and the key of the record:
//!
//! ```text
//! version (1) · key id (8) · salt (32) · ciphertext · tag (16)
//! ```
//!
//! A key per seal means that strangers who make us seal billions of forms never wear out a key, and that a blob moved to
//! another record or purpose does not open. The head is authenticated too. The key id names the master key, so that the
//! previous ones go on opening what they sealed; nothing is sealed under them any more.
//!
//! Key material is wiped when it is dropped, and never printed.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    hmac,
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    domain::secret::Digest,
    flow::{
        fault::Fault,
        ports::{Entropy, KeyId, Purpose, Sealer, random},
    },
};

/// A master key: 256 random bits.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// The key of these bytes, which must be random.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, to be written to a key file.
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// The seals under a current master key and previous ones. The keys may change while they are in use.
pub struct Seals {
    /// The current one first. What is taken out is wiped as soon as nobody is sealing or opening with it.
    known: RwLock<Arc<Vec<Keys>>>,
    macs: Macs,
    entropy: Arc<dyn Entropy>,
}

impl Seals {
    /// Seals with `current`; opens and recognizes what `previous` keys made as well. Salts come from `entropy`.
    pub fn new(
        current: &MasterKey,
        previous: &[MasterKey],
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Fault> {
        let known = derive(current, previous)?;
        let macs = Macs::of(&known, &[]);
        Ok(Self { known: RwLock::new(Arc::new(known)), macs, entropy })
    }

    /// From now on seals with `current`, and knows `previous` and no other.
    pub(super) fn install(&self, current: &MasterKey, previous: &[MasterKey]) -> Result<(), Fault> {
        let next = derive(current, previous)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Nobody else changes them meanwhile: the lock is held.
        let latest = self.macs.latest();
        _ = latest.next.set(Box::new(Macs::of(&next, &latest.keys)));
        *known = Arc::new(next);
        Ok(())
    }

    /// The ids of the keys, the current one first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().iter().map(|keys| keys.id).collect()
    }

    /// The previous keys under which a MAC has matched since this was asked last.
    pub(super) fn used(&self) -> Vec<KeyId> {
        let previous = self.macs.latest().keys.iter().skip(1);
        previous.filter(|key| key.used.swap(false, Ordering::Relaxed)).map(|key| key.id).collect()
    }

    fn all(&self) -> Arc<Vec<Keys>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The id of a master key.
pub(super) fn id_of(master: &MasterKey) -> Result<KeyId, Fault> {
    Keys::id(master).map_err(|_| Fault::new("name a master key"))
}

/// The current key first, none twice.
fn derive(current: &MasterKey, previous: &[MasterKey]) -> Result<Vec<Keys>, Fault> {
    let mut known: Vec<Keys> = Vec::with_capacity(1 + previous.len());
    for key in std::iter::once(current).chain(previous) {
        if known.iter().all(|known| known.master.as_bytes() != key.as_bytes()) {
            known.push(Keys::derive(key).map_err(|_| Fault::new("derive keys from a master key"))?);
        }
    }
    Ok(known)
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals").field("previous", &self.all().len().saturating_sub(1)).finish_non_exhaustive()
    }
}

impl Sealer for Seals {
    fn current(&self) -> KeyId {
        self.all().first().map_or(KeyId([0; KEY_ID_LENGTH]), |keys| keys.id)
    }

    fn key_of(&self, envelope: &[u8]) -> Option<KeyId> {
        let (head, _) = envelope.split_at_checked(HEAD_LENGTH)?;
        let (&version, rest) = head.split_first()?;
        rest.first_chunk::<KEY_ID_LENGTH>().filter(|_| version == VERSION).map(|id| KeyId(*id))
    }

    fn seal(&self, purpose: Purpose, record: &[u8], plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let known = self.all();
        let current = known.first().ok_or_else(|| Fault::new("seal: there is no key"))?;
        let salt = random::<SALT_LENGTH>(&*self.entropy)?;
        let head = [&[VERSION], current.id.0.as_slice(), &salt].concat();
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(plain);
        current
            .seal_key(&salt, purpose, record)
            .and_then(|(key, nonce)| key.seal_in_place_append_tag(nonce, Aad::from(&head), &mut *sealed))
            .map_err(|_| Fault::new("seal"))?;
        Ok([head.as_slice(), &sealed].concat())
    }

    fn open(&self, purpose: Purpose, record: &[u8], envelope: &[u8]) -> Option<Vec<u8>> {
        let id = self.key_of(envelope)?;
        let (head, sealed) = envelope.split_at_checked(HEAD_LENGTH)?;
        let salt = head.last_chunk::<SALT_LENGTH>()?;
        // Ids are short, so two keys could share one: each that bears it is tried.
        self.all().iter().filter(|keys| keys.id == id).find_map(|keys| {
            let mut buffer = Zeroizing::new(sealed.to_vec());
            let (key, nonce) = keys.seal_key(salt, purpose, record).ok()?;
            let plain = key.open_in_place(nonce, Aad::from(head), &mut buffer).ok()?;
            Some(plain.to_vec())
        })
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.macs.latest().keys.first().map_or([0; 32], |current| current.mac(parts))
    }

    fn mac_matches(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let Some((current, previous)) = self.macs.latest().keys.split_first() else { return false };
        let mut matches = current.mac(parts).as_slice().ct_eq(tag);
        for key in previous {
            let one = key.mac(parts).as_slice().ct_eq(tag);
            // Under which key a tag was made is no secret.
            if one.into() {
                key.used.store(true, Ordering::Relaxed);
            }
            matches |= one;
        }
        matches.into()
    }
}

/// What is derived from one master key to seal and open.
struct Keys {
    id: KeyId,
    master: MasterKey,
    mac: hmac::Key,
}

impl Keys {
    fn id(master: &MasterKey) -> Result<KeyId, Unspecified> {
        let mut named = Zeroizing::new(KEY_ID_LABEL.to_vec());
        named.extend_from_slice(master.as_bytes());
        digest(&SHA256, &named).as_ref().first_chunk().map(|id| KeyId(*id)).ok_or(Unspecified)
    }

    fn derive(master: &MasterKey) -> Result<Self, Unspecified> {
        let id = Self::id(master)?;
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(master.as_bytes());
        let mac = hmac::Key::from(extracted.expand(&[MAC_LABEL], hmac::HMAC_SHA256)?);
        Ok(Self { id, master: master.clone(), mac })
    }

    /// The key of one seal. The nonce may be constant since the key is used for one message only: its salt is random.
    fn seal_key(
        &self,
        salt: &[u8; SALT_LENGTH],
        purpose: Purpose,
        record: &[u8],
    ) -> Result<(LessSafeKey, Nonce), Unspecified> {
        let info = Digest::of_list(&[SEAL_LABEL, purpose.name().as_bytes(), record]);
        let extracted = Salt::new(HKDF_SHA256, salt).extract(self.master.as_bytes());
        let key = UnboundKey::from(extracted.expand(&[info.as_bytes()], &AES_256_GCM)?);
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; NONCE_LEN])))
    }
}

/// The keys of MACs, the current one first, and those that came after them.
///
/// Requests look here, so there is no lock: whoever asks goes to the end of a list that grows by one with every change of the
/// keys and never shrinks. So what remains of a dropped key until the process ends is the key of its MACs, which follows from
/// the master key and leads nowhere.
struct Macs {
    keys: Vec<MacKey>,
    next: OnceLock<Box<Macs>>,
}

struct MacKey {
    id: KeyId,
    key: hmac::Key,
    /// Whether something matched, since somebody asked.
    used: Arc<AtomicBool>,
}

impl Macs {
    fn of(known: &[Keys], before: &[MacKey]) -> Self {
        let key = |keys: &Keys| {
            let same = before.iter().find(|known| known.id == keys.id);
            let used = same.map_or_else(Arc::default, |known| Arc::clone(&known.used));
            MacKey { id: keys.id, key: keys.mac.clone(), used }
        };
        Self { keys: known.iter().map(key).collect(), next: OnceLock::new() }
    }

    fn latest(&self) -> &Self {
        let mut latest = self;
        while let Some(next) = latest.next.get() {
            latest = next;
        }
        latest
    }
}

impl MacKey {
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        // A tag of HMAC-SHA-256 has 32 bytes: nothing is cut off, nothing is left zero.
        for (to, from) in bytes.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        bytes
    }
}

const VERSION: u8 = 1;
const KEY_ID_LENGTH: usize = 8;
const SALT_LENGTH: usize = 32;
const HEAD_LENGTH: usize = 1 + KEY_ID_LENGTH + SALT_LENGTH;

// What keeps the uses of a master key apart. None of them ever changes.
const KEY_ID_LABEL: &[u8] = b"mcp-deputy key id";
const MAC_LABEL: &[u8] = b"mcp-deputy mac";
const SEAL_LABEL: &[u8] = b"mcp-deputy seal";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl Entropy for Counted {
        fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
            for chunk in out.chunks_mut(32) {
                let count = self.0.fetch_add(1, Ordering::Relaxed);
                chunk.copy_from_slice(&Digest::of(count.to_be_bytes()).as_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }

    fn master(byte: u8) -> MasterKey {
        MasterKey::from_bytes([byte; 32])
    }

    fn seals(current: u8, previous: &[u8]) -> Seals {
        let previous: Vec<_> = previous.iter().copied().map(master).collect();
        Seals::new(&master(current), &previous, Arc::new(Counted::default())).unwrap()
    }

    const PURPOSES: [Purpose; 5] = [
        Purpose::ArrivalAnswer,
        Purpose::ConsentForm,
        Purpose::RefreshAnswer,
        Purpose::TicketVerifier,
        Purpose::ThirdPartyTokens,
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn opens_under_its_own_name_only(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            record in proptest::collection::vec(any::<u8>(), 0..40),
            other in proptest::collection::vec(any::<u8>(), 0..40),
            purpose in 0..PURPOSES.len(),
        ) {
            let seals = seals(1, &[]);
            let envelope = seals.seal(PURPOSES[purpose], &record, &plain).unwrap();
            for (index, opened_for) in PURPOSES.into_iter().enumerate() {
                let expected = (index == purpose).then(|| plain.clone());
                prop_assert_eq!(seals.open(opened_for, &record, &envelope), expected);
            }
            prop_assert_eq!(seals.open(PURPOSES[purpose], &other, &envelope).is_some(), other == record);
        }

        #[test]
        fn refuses_every_flipped_bit_and_every_cut(
            plain in proptest::collection::vec(any::<u8>(), 0..60),
            at in any::<proptest::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let seals = seals(1, &[2]);
            let envelope = seals.seal(Purpose::ConsentForm, b"r", &plain).unwrap();
            let mut flipped = envelope.clone();
            flipped[at.index(envelope.len())] ^= 1_u8 << bit;
            prop_assert_eq!(seals.open(Purpose::ConsentForm, b"r", &flipped), None);
            let cut = &envelope[..at.index(envelope.len())];
            prop_assert_eq!(seals.open(Purpose::ConsentForm, b"r", cut), None);
            let longer = [envelope.as_slice(), &[0]].concat();
            prop_assert_eq!(seals.open(Purpose::ConsentForm, b"r", &longer), None);
        }

        #[test]
        fn previous_keys_open_and_strange_keys_do_not(plain in proptest::collection::vec(any::<u8>(), 0..60)) {
            let envelope = seals(1, &[]).seal(Purpose::ThirdPartyTokens, b"r", &plain).unwrap();
            prop_assert_eq!(seals(2, &[3, 1]).open(Purpose::ThirdPartyTokens, b"r", &envelope), Some(plain));
            prop_assert_eq!(seals(2, &[3]).open(Purpose::ThirdPartyTokens, b"r", &envelope), None);
        }

        #[test]
        fn a_mac_matches_its_parts_only(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..4),
            others in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..4),
        ) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let other_slices: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
            let tag = seals(1, &[]).mac(&slices);
            prop_assert!(seals(1, &[]).mac_matches(&slices, &tag));
            prop_assert!(seals(2, &[3, 1]).mac_matches(&slices, &tag));
            prop_assert!(!seals(2, &[3]).mac_matches(&slices, &tag));
            prop_assert_eq!(seals(1, &[]).mac_matches(&other_slices, &tag), parts == others);
        }
    }

    #[test]
    fn no_two_envelopes_are_alike() {
        let seals = seals(1, &[]);
        let [one, other] = [0; 2].map(|_| seals.seal(Purpose::ConsentForm, b"r", b"same").unwrap());
        assert_eq!(one[..9], other[..9], "the head names version and key");
        assert_ne!(one[9..41], other[9..41], "the salt is fresh");
        assert_ne!(one[41..], other[41..]);
    }

    #[test]
    fn borders_of_parts_and_lengths_of_tags_count() {
        let seals = seals(1, &[]);
        let tag = seals.mac(&[b"ab", b"c"]);
        assert!(!seals.mac_matches(&[b"a", b"bc"], &tag));
        assert!(!seals.mac_matches(&[b"ab", b"c"], &tag[..31]));
        assert!(!seals.mac_matches(&[b"ab", b"c"], &[]));
        assert!(!seals.mac_matches(&[b"ab", b"c"], &[tag.as_slice(), &[0]].concat()));
    }

    #[test]
    fn the_format_never_changes() {
        // Computed with another implementation (Python's hmac, hashlib and cryptography): a store must go on opening in
        // every later version.
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let envelope = seals(1, &[]).seal(Purpose::ConsentForm, b"record", b"plain").unwrap();
        assert_eq!(
            text(&envelope),
            "AZTrh96V2glir1Vw9aGBC3r3jK9LxwpmDw31HkK6-R1N5bIyjeDoPfzNMiL1_0dKbAJj1mzfViqaMZaZRIQ"
        );
        assert_eq!(
            text(&seals(1, &[]).mac(&[b"one", b"two"])),
            "so0p5HvNbFlOD0HEburINeDLjLnJRYJ213K-q35zU1Q"
        );
    }

    #[test]
    fn keys_change_while_they_are_in_use() {
        let seals = seals(1, &[]);
        let old = seals.seal(Purpose::ConsentForm, b"r", b"old").unwrap();
        let tag = seals.mac(&[b"session"]);
        let first = seals.current();
        assert_eq!(seals.key_of(&old), Some(first));

        seals.install(&master(2), &[master(1)]).unwrap();
        assert_eq!(seals.ids(), [id_of(&master(2)).unwrap(), first]);
        assert_eq!(seals.open(Purpose::ConsentForm, b"r", &old).unwrap(), b"old");
        let new = seals.seal(Purpose::ConsentForm, b"r", b"new").unwrap();
        assert_eq!(seals.key_of(&new), Some(seals.current()));
        assert_ne!(seals.current(), first);
        assert_ne!(seals.mac(&[b"session"]), tag);
        assert!(seals.used().is_empty());
        assert!(seals.mac_matches(&[b"session"], &tag));

        // What was used is remembered over another change, and told once.
        seals.install(&master(3), &[master(2), master(1)]).unwrap();
        assert_eq!(seals.used(), [first]);
        assert!(seals.used().is_empty());
        assert!(!seals.mac_matches(&[b"other"], &tag) && seals.used().is_empty());

        seals.install(&master(3), &[]).unwrap();
        assert_eq!(seals.open(Purpose::ConsentForm, b"r", &old), None);
        assert_eq!(seals.open(Purpose::ConsentForm, b"r", &new), None);
        assert!(!seals.mac_matches(&[b"session"], &tag));
        assert_eq!(seals.key_of(&old), Some(first), "an envelope names its key all the same");
        assert_eq!(seals.key_of(b"none"), None);
    }

    #[test]
    fn a_key_that_is_named_twice_is_known_once() {
        assert_eq!(seals(1, &[2, 1, 2]).ids().len(), 2);
    }

    #[test]
    fn keys_are_never_printed() {
        let printed = format!("{:?} {:?}", master(0xab), seals(0xab, &[0xcd]));
        assert_eq!(printed, "MasterKey(…) Seals { previous: 1, .. }");
    }
}
