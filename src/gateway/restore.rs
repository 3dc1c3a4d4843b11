//! What a restore needs of the configuration: the store, empty and held by nobody else, and the seals, if their key is there.

use std::{path::Path, sync::Arc};

use super::{SystemEntropy, system::SystemClock};
use crate::{
    config::{Settings, StoreUrl},
    domain::time::Timestamp,
    flow::{
        fault::Fault,
        operator::Restoring,
        ports::{Clock as _, Entropy},
    },
    store::{
        disk::{DiskOptions, DiskStore},
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

/// Opens the store in this folder, to be filled. Fails where a gateway runs on it, or where it holds anything.
pub fn empty_store(path: &Path) -> Result<Restoring, Fault> {
    let store = DiskStore::open(path, DiskOptions::default())?;
    if !store.is_empty()? {
        let why = "it is not empty: move its folder away (an earlier restore that was cut off also leaves one that is not)";
        return Err(Fault::caused(format!("restore into the store at {}", path.display()), why));
    }
    Ok(Restoring::into(Arc::new(store), now()))
}

/// The time.
pub fn now() -> Timestamp {
    SystemClock.now()
}
