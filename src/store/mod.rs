//! What stands behind the store port and the seal port of [`crate::flow::ports`].
//!
//! - [`disk`]: the embedded store, the default. One process, one folder.
//! - [`memory`]: everything in one map. For tests, and for trying things out: it forgets at exit.
//! - [`seal`]: authenticated encryption of what must be readable again; [`keyfile`]: where its key comes from when the
//!   configuration names none.
//! - [`tally`]: how long a store takes, for `/metrics`.
//!
//! A store knows keys, versions and bytes, never what they mean: the records are described in `docs/storage.md` and
//! belong to [`crate::flow`]. What every store promises is tested by one suite, `contract`, against each of them.
//!
//! Only the composition root names an implementation; everything else holds an `Arc<dyn Store>`.

#[cfg(test)]
mod contract;
pub mod disk;
pub mod keyfile;
pub mod memory;
mod private;
pub mod seal;
pub mod tally;

use crate::flow::{
    fault::Fault,
    ports::{Change, Key},
};

/// The longest id of a record, in bytes.
pub const MAX_ID: usize = 1024;

/// The longest value of a record, in bytes.
///
/// What strangers say is bounded long before this. It bounds a batch of the writer, and with it the memory that one takes.
pub const MAX_VALUE: usize = 48 * 1024;

/// Refuses what no store takes, so that all of them refuse the same.
fn check_size(key: &Key, change: &Change) -> Result<(), Fault> {
    if key.id.len() > MAX_ID {
        return Err(Fault::new("write a record: its id is too long"));
    }
    match change {
        Change::Put(value) if value.len() > MAX_VALUE => Err(Fault::new("write a record: it is too large")),
        Change::Delete | Change::Put(_) => Ok(()),
    }
}
