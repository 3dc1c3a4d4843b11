//! The keeper of the master keys: what stands behind [`KeyKeeper`].
//!
//! Owns the one way in which the keys of a running gateway change: first the key file, durably, then what is in memory. So nothing is
//! ever sealed with a key that a crash would take away. Keys of the configuration are known here and never changed. Called by
//! the flow of key rotation, and by the command line where no gateway runs.
//!
//! **What somebody does to the file meanwhile** never takes a key away: an older copy that was put over it lacks what the store is sealed
//! with, and this process may be the last that knows it. Such keys are written back with the next change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    keyfile::{FileKey, Held, MOST_KEYS},
    seal::{MasterKey, Seals, id_of},
};
use crate::{
    domain::time::Timestamp,
    flow::{
        fault::Fault,
        ports::{Entropy, KeyId, KeyKeeper, KeyOrigin, KeysUnchanged, KnownKey, Sealer as _, random},
    },
};

/// Where the current key comes from.
#[derive(Debug)]
pub enum Source {
    /// This key file, which holds these keys, the current one first.
    File(PathBuf, Vec<FileKey>),
    /// The configuration.
    Configuration(MasterKey),
    /// It was made for this process.
    Memory(MasterKey),
}

/// The keys of a gateway.
pub struct Keeper {
    seals: Arc<Seals>,
    /// The key file, where the current key comes from one.
    file: Option<PathBuf>,
    /// The previous keys of the configuration.
    configured: Vec<MasterKey>,
    entropy: Arc<dyn Entropy>,
    /// Held for a moment only: whoever asks which keys there are does not wait for a file.
    known: Mutex<Vec<KnownKey>>,
    /// The keys of the file, as this process knows them. Whoever changes the keys holds this, from before the file is read until the
    /// seals have them.
    in_file: Mutex<Vec<FileKey>>,
}

impl Keeper {
    /// Keeps what is there; `previous` is what the configuration says.
    pub fn new(source: Source, previous: Vec<MasterKey>, entropy: &Arc<dyn Entropy>) -> Result<Self, Fault> {
        let (file, keys, origin) = match source {
            Source::File(path, keys) => (Some(path), keys, KeyOrigin::File),
            Source::Configuration(key) => (None, vec![undated(key)], KeyOrigin::Configuration),
            Source::Memory(key) => (None, vec![undated(key)], KeyOrigin::Memory),
        };
        let known = Mutex::new(known(&keys, origin, &previous)?);
        let in_file = Mutex::new(if file.is_some() { keys.clone() } else { Vec::new() });
        let mut all = keys.into_iter().map(|key| key.key);
        let current = all.next().ok_or_else(|| Fault::new("use the encryption keys: there is none"))?;
        let others: Vec<_> = all.chain(previous.iter().cloned()).collect();
        let seals = Arc::new(Seals::new(&current, &others, Arc::clone(entropy))?);
        Ok(Self { seals, file, configured: previous, entropy: Arc::clone(entropy), known, in_file })
    }

    /// The seals under these keys.
    pub fn seals(&self) -> &Arc<Seals> {
        &self.seals
    }

    /// Takes over what the file holds by now.
    fn install(&self, slot: &mut Vec<FileKey>, keys: Vec<FileKey>) -> Result<(), Fault> {
        let next = known(&keys, KeyOrigin::File, &self.configured)?;
        let (current, previous) =
            keys.split_first().ok_or_else(|| Fault::new("use the encryption keys: there is none"))?;
        let previous: Vec<_> =
            previous.iter().map(|key| key.key.clone()).chain(self.configured.iter().cloned()).collect();
        self.seals.install(&current.key, &previous)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = next;
        *slot = keys;
        Ok(())
    }
}

impl Keeper {
    /// Has the file hold these keys, durably, and then the seals.
    fn settle(&self, held: Held, slot: &mut Vec<FileKey>, keys: Vec<FileKey>) -> Result<(), KeysUnchanged> {
        if keys.len() > MOST_KEYS {
            return Err(KeysUnchanged::TooMany);
        }
        if are_same(held.keys(), &keys) {
            held.confirm()?;
        } else {
            held.write(&keys)?;
        }
        Ok(self.install(slot, keys)?)
    }
}

/// What a file holds and what it should hold: `ours`, the current one first, are the keys that this process knows from it.
fn put_back(held: &[FileKey], ours: &[FileKey]) -> Vec<FileKey> {
    let has =
        |keys: &[FileKey], key: &FileKey| keys.iter().any(|one| one.key.as_bytes() == key.key.as_bytes());
    let lacking = |keys: &[FileKey], others: &[FileKey]| -> Vec<FileKey> {
        others.iter().filter(|key| !has(keys, key)).cloned().collect()
    };
    let missing = lacking(held, ours);
    if missing.is_empty() {
        return held.to_vec();
    }
    tracing::warn!(
        reason = "key_file_replaced",
        keys = missing.len(),
        "the key file lacks keys that it had; they are written back"
    );
    // Where it lacks the one in use, it is another file, and what is first in it was never in use here.
    match ours.first() {
        Some(current) if !has(held, current) => [ours.to_vec(), lacking(ours, held)].concat(),
        _ => [held.to_vec(), missing].concat(),
    }
}

/// Whether these are the same keys, in the same order.
fn are_same(one: &[FileKey], other: &[FileKey]) -> bool {
    one.iter().map(|key| key.key.as_bytes()).eq(other.iter().map(|key| key.key.as_bytes()))
}

/// Puts one more key in front of those of a file, and says which it is. `None`: there is no room.
fn with_new(
    keys: &[FileKey],
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<Option<(KeyId, Vec<FileKey>)>, Fault> {
    if keys.len() >= MOST_KEYS {
        return Ok(None);
    }
    let key = MasterKey::from_bytes(random(entropy)?);
    let id = id_of(&key)?;
    let mut next = vec![FileKey { key, made_at: Some(now), replaced_at: None }];
    let replaced = |(place, key): (usize, &FileKey)| FileKey {
        replaced_at: key.replaced_at.or_else(|| (place == 0).then_some(now)),
        ..key.clone()
    };
    next.extend(keys.iter().enumerate().map(replaced));
    Ok(Some((id, next)))
}

fn undated(key: MasterKey) -> FileKey {
    FileKey { key, made_at: None, replaced_at: None }
}

fn known(keys: &[FileKey], origin: KeyOrigin, configured: &[MasterKey]) -> Result<Vec<KnownKey>, Fault> {
    let mut known: Vec<KnownKey> = Vec::with_capacity(keys.len() + configured.len());
    for key in keys {
        let id = id_of(&key.key)?;
        known.push(KnownKey { id, origin, made_at: key.made_at, replaced_at: key.replaced_at });
    }
    for key in configured {
        let id = id_of(key)?;
        if known.iter().all(|known| known.id != id) {
            let origin = KeyOrigin::Configuration;
            known.push(KnownKey { id, origin, made_at: None, replaced_at: None });
        }
    }
    Ok(known)
}

impl KeyKeeper for Keeper {
    fn known(&self) -> Vec<KnownKey> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn renew(&self, instead_of: Option<KeyId>, now: Timestamp) -> Result<KeyId, KeysUnchanged> {
        let mut slot = self.in_file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.file else {
            let origin = self.known().first().map_or(KeyOrigin::Memory, |key| key.origin);
            return Err(KeysUnchanged::Elsewhere(origin));
        };
        let current = self.seals.current();
        if instead_of.is_some_and(|expected| expected != current) {
            return Err(KeysUnchanged::Changed);
        }
        let held = Held::at(path)?;
        let keys = put_back(held.keys(), &slot);
        if let Some(first) = keys.first()
            && id_of(&first.key)? != current
        {
            // Made while nobody told us, or by a change that failed at its very end: that one is it.
            self.settle(held, &mut slot, keys)?;
            return Ok(self.seals.current());
        }
        let (id, keys) = with_new(&keys, &*self.entropy, now)?.ok_or(KeysUnchanged::TooMany)?;
        self.settle(held, &mut slot, keys)?;
        Ok(id)
    }

    fn forget(&self, id: KeyId) -> Result<(), KeysUnchanged> {
        let mut slot = self.in_file.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = self.known().into_iter().find(|key| key.id == id).ok_or(KeysUnchanged::Unknown)?;
        let Some(path) = self.file.as_ref().filter(|_| meant.origin == KeyOrigin::File) else {
            return Err(KeysUnchanged::Elsewhere(meant.origin));
        };
        if self.seals.current() == id {
            return Err(KeysUnchanged::Current);
        }
        let held = Held::at(path)?;
        let (mut kept, mut is_first) = (Vec::new(), false);
        for (place, key) in put_back(held.keys(), &slot).into_iter().enumerate() {
            if id_of(&key.key)? == id {
                is_first |= place == 0;
            } else {
                kept.push(key);
            }
        }
        if is_first {
            return Err(KeysUnchanged::Current);
        }
        self.settle(held, &mut slot, kept)
    }

    fn used(&self) -> Vec<KeyId> {
        self.seals.used()
    }
}

impl From<Fault> for KeysUnchanged {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::{super::keyfile::KeyFile, *};
    use crate::flow::ports::{Purpose, Sealer};

    struct Counted(AtomicU8);

    impl Entropy for Counted {
        fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
            out.fill(self.0.fetch_add(1, Ordering::Relaxed));
            Ok(())
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn keeper(path: &std::path::Path, previous: Vec<MasterKey>) -> Keeper {
        // Each keeper draws other numbers, as the real one does.
        static FIRST: AtomicU8 = AtomicU8::new(1);
        let first = FIRST.fetch_add(20, Ordering::Relaxed);
        let entropy: Arc<dyn Entropy> = Arc::new(Counted(AtomicU8::new(first)));
        let file = KeyFile::open(path, true, &*entropy).unwrap();
        let keys = std::iter::once(file.key).chain(file.previous).collect();
        Keeper::new(Source::File(path.to_owned(), keys), previous, &entropy).unwrap()
    }

    #[test]
    fn a_new_key_is_in_the_file_before_it_seals_and_the_old_one_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        let keys = keeper(&path, vec![]);
        let first = keys.seals().current();
        let old = keys.seals().seal(Purpose::ConsentForm, b"r", b"old").unwrap();
        let second = keys.renew(Some(first), NOW).unwrap();
        assert_eq!(keys.seals().current(), second);
        assert_eq!(keys.seals().open(Purpose::ConsentForm, b"r", &old).unwrap(), b"old");
        let known = keys.known();
        assert_eq!(known.iter().map(|key| key.id).collect::<Vec<_>>(), [second, first]);
        assert_eq!((known[0].made_at, known[0].replaced_at), (Some(NOW), None));
        assert_eq!((known[1].made_at, known[1].replaced_at), (None, Some(NOW)));

        // As the next start sees it.
        let again = keeper(&path, vec![]);
        assert_eq!(again.known(), known);
        assert_eq!(again.seals().open(Purpose::ConsentForm, b"r", &old).unwrap(), b"old");

        // Whoever thinks that the first one is current still, makes no third.
        assert!(matches!(keys.renew(Some(first), NOW), Err(KeysUnchanged::Changed)));
        assert!(matches!(keys.forget(second), Err(KeysUnchanged::Current)));
        keys.forget(first).unwrap();
        assert_eq!(keys.seals().open(Purpose::ConsentForm, b"r", &old), None);
        assert!(matches!(keys.forget(first), Err(KeysUnchanged::Unknown)));
        assert_eq!(keeper(&path, vec![]).known().len(), 1);
    }

    #[test]
    fn what_was_put_into_the_file_meanwhile_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        let running = keeper(&path, vec![]);
        let first = running.seals().current();
        let made = keeper(&path, vec![]).renew(None, NOW).unwrap();
        assert_eq!(running.renew(None, NOW).unwrap(), made, "no third one");
        assert_eq!(running.seals().current(), made);
        // In the file it is the current one, so it is not dropped, even by somebody who does not know that.
        let other = keeper(&path, vec![]);
        let third = other.renew(None, NOW).unwrap();
        running.forget(first).unwrap();
        assert_eq!(running.seals().current(), third);
    }

    #[test]
    fn a_key_file_that_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        let keys = keeper(&path, vec![]);
        let before = keys.known();
        std::fs::create_dir_all(folder.path().join("data.key.new/x")).unwrap();
        assert!(matches!(keys.renew(None, NOW), Err(KeysUnchanged::Fault(_))));
        assert_eq!((keys.known(), keys.seals().current()), (before.clone(), before[0].id));
    }

    #[test]
    fn keys_from_elsewhere_are_known_and_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let configured = MasterKey::from_bytes([200; 32]);
        let keys = keeper(&folder.path().join("data.key"), vec![configured.clone()]);
        let id = id_of(&configured).unwrap();
        assert_eq!(keys.known()[1].origin, KeyOrigin::Configuration);
        assert!(matches!(keys.forget(id), Err(KeysUnchanged::Elsewhere(KeyOrigin::Configuration))));
        // It opens after a rotation too.
        keys.renew(None, NOW).unwrap();
        assert!(keys.seals().ids().contains(&id));

        let entropy: Arc<dyn Entropy> = Arc::new(Counted(AtomicU8::new(1)));
        for (source, origin) in [
            (Source::Configuration(configured.clone()), KeyOrigin::Configuration),
            (Source::Memory(configured), KeyOrigin::Memory),
        ] {
            let keys = Keeper::new(source, vec![], &entropy).unwrap();
            assert!(matches!(keys.renew(None, NOW), Err(KeysUnchanged::Elsewhere(from)) if from == origin));
        }
    }

    /// An older copy of the key file, put back over it while the gateway runs: what is sealed with the keys that it lacks could
    /// never be opened again.
    #[test]
    fn an_older_key_file_in_its_place_takes_no_key_away() {
        for drops in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("data.key");
            let keys = keeper(&path, vec![]);
            let first = keys.seals().current();
            let copy = std::fs::read(&path).unwrap();
            let second = keys.renew(None, NOW).unwrap();
            let sealed = keys.seals().seal(Purpose::ConsentForm, b"r", b"since").unwrap();
            std::fs::write(&path, copy).unwrap();
            if drops {
                keys.forget(first).unwrap();
                assert_eq!(keys.seals().current(), second);
            } else {
                let third = keys.renew(None, NOW).unwrap();
                assert!(third != first && third != second, "a new one was asked for");
                assert_eq!(keys.seals().current(), third);
            }
            let opened = keys.seals().open(Purpose::ConsentForm, b"r", &sealed);
            assert_eq!(opened.as_deref(), Some(b"since".as_slice()));
            // And for the next start too.
            let again = keeper(&path, vec![]);
            assert_eq!(again.known(), keys.known());
            assert!(again.known().iter().any(|key| key.id == second));
            assert_eq!(again.known().iter().any(|key| key.id == first), !drops);
        }
    }

    /// Somebody holds the file for long. The gateway goes on with the keys that it has.
    #[test]
    fn a_file_that_somebody_holds_keeps_nobody_from_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        let keys = Arc::new(keeper(&path, vec![]));
        let held = std::fs::File::open(&path).unwrap();
        held.lock().unwrap();
        let waiting = std::thread::spawn({
            let keys = Arc::clone(&keys);
            move || keys.renew(None, NOW).unwrap()
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn({
            let keys = Arc::clone(&keys);
            move || said.send(keys.known())
        });
        let known = heard
            .recv_timeout(std::time::Duration::from_secs(5))
            .expect("nobody is told which keys there are");
        assert_eq!(known.len(), 1);
        assert!(!waiting.is_finished());
        drop(held);
        assert_eq!(waiting.join().unwrap(), keys.seals().current());
    }

    #[test]
    fn there_is_an_end_to_the_keys_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        let keys = keeper(&path, vec![]);
        for _ in 1..MOST_KEYS {
            keys.renew(None, NOW).unwrap();
        }
        assert!(matches!(keys.renew(None, NOW), Err(KeysUnchanged::TooMany)));
        assert_eq!(keeper(&path, vec![]).known().len(), MOST_KEYS);
    }
}
