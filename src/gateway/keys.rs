//! The key file of a gateway that does not run, for the operator's command line.

use std::{path::Path, sync::Arc};

use super::SystemEntropy;
use crate::{
    flow::{fault::Fault, ports::Entropy},
    store::{
        disk,
        keyfile::KeyFile,
        keys::{Keeper, Source},
    },
};

/// The keys beside the store in this folder. Fails where a gateway runs on it, which has to be asked then, and where there is no
/// key file: the first start makes it.
pub fn keys_of_resting(store: &Path) -> Result<Keeper, Fault> {
    let path = KeyFile::path_beside(store);
    let fault = |why: &'static str| Fault::caused(format!("use the key file {}", path.display()), why);
    if disk::is_in_use(store).map_err(|error| Fault::caused("look whether a gateway runs", error))? {
        return Err(fault("a gateway runs on this store: ask it, without --offline"));
    }
    if !path.exists() {
        return Err(fault("it is not there; the first start of the gateway makes it"));
    }
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let file = KeyFile::open(&path, false, &*entropy)?;
    let keys = std::iter::once(file.key).chain(file.previous).collect();
    Keeper::new(Source::File(path, keys), Vec::new(), &entropy)
}
