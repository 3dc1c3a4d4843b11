//! The master key: 32 random bytes from which every seal's key is derived.
//!
//! Owns how a key is written (base64 or hexadecimal) and which keys are too weak to be one. Must never derive a key
//! from a password or from another secret, and never show one. Made from the configuration or from the key file that
//! the gateway wrote on its first start; the gateway hands the bytes to the store.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretBox};
use thiserror::Error;
use zeroize::Zeroizing;

/// 32 bytes that are never shown.
#[derive(Clone)]
pub struct MasterKey(Arc<SecretBox<[u8; 32]>>);

impl MasterKey {
    /// Takes bytes from a source of randomness. They are not judged.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Arc::new(SecretBox::new(Box::new(bytes))))
    }

    /// Reads a key as it is written: base64 (either alphabet, padding optional) or 64 hexadecimal digits. What does
    /// not look random is refused: repeated bytes, and text that was merely encoded.
    pub fn parse(written: &str) -> Result<Self, MasterKeyError> {
        let written = written.trim();
        let decoded =
            Zeroizing::new(hexadecimal(written).or_else(|| base64(written)).ok_or(MasterKeyError::Encoding)?);
        let bytes: [u8; 32] = decoded.as_slice().try_into().map_err(|_| MasterKeyError::Length)?;
        let mut distinct = Zeroizing::new(bytes.to_vec());
        distinct.sort_unstable();
        distinct.dedup();
        let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if distinct.len() < 16 || is_text {
            return Err(MasterKeyError::Weak);
        }
        Ok(Self::from_bytes(bytes))
    }

    /// The key in base64, for the key file of the first start.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(self.expose()))
    }

    /// The bytes, for deriving the keys of seals.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([REDACTED])")
    }
}

fn hexadecimal(written: &str) -> Option<Vec<u8>> {
    if written.len() != 64 || !written.is_ascii() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    written
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

fn base64(written: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(written).ok())
}

/// Why a text is not a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MasterKeyError {
    /// Neither base64 nor hexadecimal.
    #[error("must be 32 random bytes in base64 or hexadecimal; make one with: openssl rand -base64 32")]
    Encoding,
    /// Not 32 bytes.
    #[error("must be exactly 32 bytes; make one with: openssl rand -base64 32")]
    Length,
    /// Repeated bytes or encoded text.
    #[error("is too weak: it must be random; make one with: openssl rand -base64 32")]
    Weak,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 32] = [
        0x9f, 0x86, 0xd0, 0x81, 0x88, 0x4c, 0x7d, 0x65, 0x9a, 0x2f, 0xea, 0xa0, 0xc5, 0x5a, 0xd0, 0x15, 0xa3,
        0xbf, 0x4f, 0x1b, 0x2b, 0x0b, 0x82, 0x2c, 0xd1, 0x5d, 0x6c, 0x15, 0xb0, 0xf0, 0x0a, 0x08,
    ];

    #[test]
    fn hexadecimal_and_both_base64_alphabets_are_read() {
        let url_safe = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg";
        for written in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08\n",
            "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            url_safe,
        ] {
            assert_eq!(MasterKey::parse(written).unwrap().expose(), &BYTES, "{written}");
        }
    }

    #[test]
    fn what_is_written_to_the_key_file_is_read_again() {
        let key = MasterKey::from_bytes(BYTES);
        assert_eq!(MasterKey::parse(&key.to_base64()).unwrap().expose(), &BYTES);
    }

    #[test]
    fn weak_short_and_strange_keys_are_refused() {
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        for (written, error) in [
            (encode(&[0; 32]), MasterKeyError::Weak),
            (encode(b"correct horse battery staple 123"), MasterKeyError::Weak),
            ("00112233445566770011223344556677".repeat(2), MasterKeyError::Weak),
            (encode(&BYTES[..31]), MasterKeyError::Length),
            (encode(&[BYTES, BYTES].concat()), MasterKeyError::Length),
            (String::new(), MasterKeyError::Length),
            ("change me!".to_owned(), MasterKeyError::Encoding),
        ] {
            assert_eq!(MasterKey::parse(&written).unwrap_err(), error, "{written}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", MasterKey::from_bytes(BYTES)), "MasterKey([REDACTED])");
    }
}
