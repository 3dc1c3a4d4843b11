//! Records a page at a time for whoever looks at all that is sealed: those that cannot be read are no reason to stop.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::{Fault, Loaded, Record, Records, parse};
use crate::flow::ports::KeyId;

/// What stands under a key.
#[derive(Debug)]
pub enum Found<R> {
    /// A record.
    Record(Loaded<R>),
    /// Bytes that are none.
    Damaged(Bytes),
}

impl<R> Found<R> {
    /// Whether bytes that are no record seem to hold an envelope of this key.
    pub fn names(&self, key: &KeyId) -> bool {
        // Version and key id are nine bytes, which stand in the text as twelve letters whatever follows.
        let named = URL_SAFE_NO_PAD.encode([&[1], key.0.as_slice()].concat());
        match self {
            Self::Record(_) => false,
            Self::Damaged(bytes) => bytes.windows(named.len()).any(|window| window == named.as_bytes()),
        }
    }
}

impl Records {
    /// Up to `limit` records, those behind `after` only, in the order of their keys.
    pub async fn find_after<R: Record>(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Found<R>)>, Fault> {
        let found = self.0.scan(R::TABLE, &[], after, limit).await?;
        let read = |(id, found): (Bytes, super::Versioned)| match parse(&found.value) {
            Ok(record) => (id, Found::Record(Loaded { version: found.version, record })),
            Err(_) => (id, Found::Damaged(found.value)),
        };
        Ok(found.into_iter().map(read).collect())
    }
}
