//! What stands for a person at each candidate: the third party's token, ours, or a JWT.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{Failure, tell};

/// Which of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Credentials {
    /// The third party's, for whoever does not swap it.
    ThirdParty,
    /// Those that the gateway gave.
    Ours,
    /// JWTs, signed with ES256.
    Signed,
}

/// All of them, in files of which line n (from 0) is person n's.
#[derive(Default)]
pub(super) struct Tokens {
    folder: PathBuf,
    public_key: String,
}

impl Tokens {
    pub(super) fn of(ours: &[String], folder: &Path) -> Result<Self, Failure> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let public = [SPKI, key.public_key().as_ref()].concat();
        let public_key =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(public));
        let tokens = Self { folder: folder.to_owned(), public_key };
        let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 86400;
        let third_party: Vec<_> = (0..ours.len()).map(tell::third_party_token).collect();
        let signed =
            (0..ours.len()).map(|person| signed(&key, person, until)).collect::<Result<Vec<_>, _>>()?;
        for (which, lines) in [
            (Credentials::ThirdParty, &third_party[..]),
            (Credentials::Ours, ours),
            (Credentials::Signed, &signed),
        ] {
            fs::write(tokens.file(which), lines.join("\n") + "\n")?;
        }
        Ok(tokens)
    }

    pub(super) fn file(&self, which: Credentials) -> PathBuf {
        self.folder.join(match which {
            Credentials::ThirdParty => "tokens-third-party",
            Credentials::Ours => "tokens-ours",
            Credentials::Signed => "tokens-signed",
        })
    }

    pub(super) fn write_public_key(&self, path: &Path) -> Result<(), Failure> {
        Ok(fs::write(path, &self.public_key)?)
    }
}

/// What stands before the point of a P-256 key in a `SubjectPublicKeyInfo` (RFC 5480).
const SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A token as such gateways are given them (RFC 9068).
fn signed(key: &EcdsaKeyPair, person: usize, until: u64) -> Result<String, Failure> {
    let digits = tell::DIGITS;
    let claims = format!(
        r#"{{"iss":"https://mcp.bench","aud":"https://mcp.bench/mcp","sub":"{person:0digits$}","client_id":"bench","scope":"mcp","exp":{until},"jti":"{person:032x}"}}"#
    );
    let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let text = format!("{}.{}", encode(r#"{"alg":"ES256","typ":"at+jwt"}"#), encode(&claims));
    let signature = key.sign(&SystemRandom::new(), text.as_bytes())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
