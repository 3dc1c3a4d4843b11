//! What a restore needs of the configuration: the store, empty and held by nobody else, and the seals, if their key is there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{SystemEntropy, system::SystemClock};
use crate::{
    config::{Settings, StoreUrl},
    domain::time::Timestamp,
    flow::{
        fault::Fault,
        operator::{Readmission, Restoring},
        ports::{Clock as _, Entropy},
    },
    store::{
        disk::{self, DiskOptions, DiskStore},
        keyfile::KeyFile,
        seal::{MasterKey, Seals},
    },
};

/// The seals of this configuration. `None`: it names no key, and there is no key file; none is made.
pub fn seals(settings: &Settings) -> Result<Option<Arc<Seals>>, Fault> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let configured = settings.store.key.as_ref().map(|key| MasterKey::from_bytes(*key.expose()));
    let (key, mut previous) = match (configured, &settings.store.url) {
        (Some(key), _) => (key, Vec::new()),
        (None, StoreUrl::Disk(path)) if KeyFile::path_beside(path).exists() => {
            let file = KeyFile::open(&KeyFile::path_beside(path), false, &*entropy)?;
            (file.key.key, file.previous.into_iter().map(|key| key.key).collect())
        }
        _ => return Ok(None),
    };
    previous.extend(settings.store.previous_keys.iter().map(|key| MasterKey::from_bytes(*key.expose())));
    Ok(Some(Arc::new(Seals::new(&key, &previous, entropy)?)))
}

/// By which rules apps come back under this configuration.
pub fn readmission(settings: &Settings) -> Readmission {
    Readmission {
        now: now(),
        own_origin: settings.public_url.as_str().to_owned(),
        private_schemes: settings.registration.allowed_redirect_schemes.clone(),
    }
}

/// A store that is being filled. Until [`Filling::end`] no gateway starts on it, whatever happens.
pub struct Filling {
    /// What writes into it.
    pub store: Restoring,
    /// The file of an encryption key that was made just now, since there was none.
    pub new_key: Option<PathBuf>,
    folder: PathBuf,
}

impl Filling {
    /// Everything is written.
    pub fn end(self) -> Result<(), Fault> {
        disk::filled(&self.folder).map_err(|error| fault(&self.folder, error))
    }
}

fn fault(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::caused(format!("restore into the store at {}", path.display()), why)
}

/// Opens the store in this folder, to be filled. Fails where a gateway runs on it, or where it holds anything. Where the configuration names
/// no key, and there is no key file, makes one: a gateway makes none for a store that holds records.
pub fn empty_store(path: &Path, settings: &Settings) -> Result<Filling, Fault> {
    let store = DiskStore::open(path, DiskOptions::default())?;
    if !store.is_empty()? {
        return Err(fault(path, "it is not empty: move its folder away"));
    }
    disk::filling(path).map_err(|error| fault(path, error))?;
    let beside = KeyFile::path_beside(path);
    let is_new = settings.store.key.is_none() && KeyFile::open(&beside, true, &SystemEntropy)?.is_new;
    Ok(Filling {
        store: Restoring::into(Arc::new(store), readmission(settings)),
        new_key: is_new.then_some(beside),
        folder: path.to_owned(),
    })
}

/// The time.
pub fn now() -> Timestamp {
    SystemClock.now()
}
