//! Hashes of secrets, and comparison that tells nothing by its duration.
//!
//! What we hand out (codes, tokens, cookies, client secrets) is stored as [`Digest`] only. Every secret that we make has
//! at least 128 random bits, so a plain SHA-256 is enough: there is nothing to guess that a slow hash would protect.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a secret. Compared in constant time; printed as its first four bytes.
#[derive(Clone, Copy, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `secret`.
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        // At once and without a context, which would be allocated: this is done for every request.
        Self::new(digest::digest(&digest::SHA256, secret.as_ref()))
    }

    /// The digest of several parts, each preceded by its length, so that no two lists of parts share one.
    pub fn of_list(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self::new(context.finish())
    }

    /// Whether `secret` has this digest.
    pub fn matches(&self, secret: impl AsRef<[u8]>) -> bool {
        *self == Self::of(secret)
    }

    /// A digest that was taken before. `None` where these are not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64url without padding: 43 characters. For keys and names in which a hash is wanted.
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads what [`Digest::to_base64url`] wrote.
    pub fn from_base64url(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    fn new(digest: digest::Digest) -> Self {
        // A SHA-256 has 32 bytes: nothing is cut off, nothing is left zero.
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// The same bits in fewer pieces: comparing them one by one, as constant time needs, takes a sixth of the instructions.
    fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.words().ct_eq(&other.words()).into()
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64url())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64url(&text).ok_or_else(|| D::Error::custom("not 32 bytes in base64url"))
    }
}

/// Whether two secrets are the same, without telling by the duration where they differ. Their lengths are no secret.
pub fn same_secret(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// How sealed bytes stand in a JSON record: base64url, for `#[serde(with = "…")]`.
pub mod base64url {
    use base64::Engine as _;

    use super::{Deserialize, Deserializer, Serializer, URL_SAFE_NO_PAD};

    /// Writes the bytes.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads them back.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| serde::de::Error::custom("not base64url"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_matches_its_secret_only() {
        let digest = Digest::of("correct horse");
        assert!(digest.matches("correct horse"));
        assert!(!digest.matches("correct horsf"));
    }

    #[test]
    fn lists_with_other_borders_have_other_digests() {
        assert_ne!(Digest::of_list(&[b"ab", b"c"]), Digest::of_list(&[b"a", b"bc"]));
        assert_ne!(Digest::of_list(&[b"ab"]), Digest::of_list(&[b"ab", b""]));
    }

    #[test]
    fn a_digest_survives_json_and_never_prints_itself_whole() {
        let digest = Digest::of("x");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert_eq!(format!("{digest:?}").len(), "sha256:".len() + 8 + '…'.len_utf8());
        assert!(serde_json::from_str::<Digest>("\"AAAA\"").is_err());
    }
}
