//! Public keys of clients (RFC 7517), and what a signature under one of them is worth.
//!
//! Only public keys are read. A set that holds a private or a symmetric key is refused as a whole: somebody publishes what
//! must be secret, and a public key that is taken for a shared secret is how signatures are forged. A key of a kind that we
//! do not know is left out (RFC 7517 section 5).
//!
//! **The key decides the algorithm**, never the one who signs: a curve has one, an RSA key has the one that it names, or
//! one of two. `none` and everything symmetric have no name here.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most keys of one set.
pub const MAX_KEYS: usize = 16;
/// The longest `kid`, in bytes.
pub const MAX_KID: usize = 256;
/// The sizes of RSA moduli that are accepted, in bytes: 2048 to 4096 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037). The list is closed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// P-384 and SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// RSA-PSS and SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSA with PKCS #1 version 1.5 and SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// All of them, as they are advertised: what most clients use first.
    pub const ALL: [Self; 5] = [Self::Es256, Self::Rs256, Self::Ps256, Self::EdDsa, Self::Es384];

    /// Reads the `alg` of a header or a key. `None` for everything that is not accepted, `none` and HS256 among it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            // RFC 9864 names the curve.
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text),
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }
}

/// The key itself, in base64url as it stands in a JWK.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kty")]
enum Material {
    #[serde(rename = "EC")]
    Ec { crv: Curve, x: String, y: String },
    #[serde(rename = "OKP")]
    Okp { crv: Edwards, x: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Curve {
    #[serde(rename = "P-256")]
    P256,
    #[serde(rename = "P-384")]
    P384,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Edwards {
    Ed25519,
}

/// A public key that was judged. As JSON it is a JWK with the members that we read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PublicKey {
    #[serde(flatten)]
    material: Material,
    /// The one algorithm that it is for, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<Algorithm>,
    /// Its name within the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// The public keys of a client: at least one, at most [`MAX_KEYS`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PublicKeys {
    keys: Vec<PublicKey>,
}

/// Why a set of keys cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadKeys {
    /// Not a JWK set.
    Form,
    /// More than [`MAX_KEYS`].
    Many,
    /// No key in it that we can use.
    None,
    /// A private or a symmetric key is in it.
    Secret,
}

/// The members of a JWK that matter.
#[derive(Deserialize)]
struct Asked {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl PublicKeys {
    /// Judges a JWK set that stands in client metadata.
    pub fn judge(set: &Value) -> Result<Self, BadKeys> {
        let listed = set.get("keys").and_then(Value::as_array).ok_or(BadKeys::Form)?;
        if listed.len() > MAX_KEYS {
            return Err(BadKeys::Many);
        }
        let mut keys = Vec::new();
        for key in listed {
            if !key.is_object() {
                return Err(BadKeys::Form);
            }
            if holds_a_secret(key) {
                return Err(BadKeys::Secret);
            }
            let asked = Asked::deserialize(key).ok();
            keys.extend(asked.and_then(PublicKey::judge));
        }
        if keys.is_empty() { Err(BadKeys::None) } else { Ok(Self { keys }) }
    }

    /// Judges the bytes of a JWK set that was fetched.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadKeys> {
        Self::judge(&serde_json::from_slice(bytes).map_err(|_| BadKeys::Form)?)
    }

    /// Whether a key could be the one that a signature with this `kid` was made by. A key without a name could be any.
    pub fn know(&self, kid: Option<&str>) -> bool {
        self.named(kid).next().is_some()
    }

    /// Whether `signature` over `message` was made with one of these keys, which is for this algorithm.
    pub fn verify(&self, algorithm: Algorithm, kid: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        self.named(kid).any(|key| key.fits(algorithm) && key.verifies(algorithm, message, signature))
    }

    fn named<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a PublicKey> {
        self.keys.iter().filter(move |key| match (kid, key.kid.as_deref()) {
            (Some(asked), Some(known)) => asked == known,
            (None, _) | (_, None) => true,
        })
    }

    /// The keys in one order, for a fingerprint.
    pub fn canonical(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.keys.iter().map(|key| serde_json::to_string(key).unwrap_or_default()).collect();
        keys.sort_unstable();
        keys
    }
}

impl PublicKey {
    /// A P-256 key for ES256 from its uncompressed point (65 bytes, the first of them 4).
    pub fn es256(point: &[u8], kid: &str) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
        let material = Material::Ec {
            crv: Curve::P256,
            x: URL_SAFE_NO_PAD.encode(x),
            y: (y.len() == 32).then(|| URL_SAFE_NO_PAD.encode(y))?,
        };
        Some(Self { material, alg: Some(Algorithm::Es256), kid: Some(kid.to_owned()) })
    }

    fn judge(asked: Asked) -> Option<Self> {
        let is_for_signatures = asked.usage.as_deref().is_none_or(|usage| usage == "sig")
            && asked.key_ops.as_deref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !is_for_signatures || asked.kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID) {
            return None;
        }
        let material = match (asked.kty.as_str(), asked.crv.as_deref()) {
            ("EC", Some("P-256")) => Material::Ec { crv: Curve::P256, x: asked.x?, y: asked.y? },
            ("EC", Some("P-384")) => Material::Ec { crv: Curve::P384, x: asked.x?, y: asked.y? },
            ("OKP", Some("Ed25519")) => Material::Okp { crv: Edwards::Ed25519, x: asked.x? },
            ("RSA", _) => Material::Rsa { n: asked.n?, e: asked.e? },
            _ => return None,
        };
        let alg = match asked.alg.as_deref() {
            None => None,
            Some(alg) => Some(Algorithm::parse(alg)?),
        };
        let key = Self { material, alg, kid: asked.kid };
        let fits_itself = alg.is_none_or(|alg| key.is_made_for(alg));
        (fits_itself && key.is_sound()).then_some(key)
    }

    fn is_made_for(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::Ec { crv: Curve::P256, .. } => algorithm == Algorithm::Es256,
            Material::Ec { crv: Curve::P384, .. } => algorithm == Algorithm::Es384,
            Material::Okp { .. } => algorithm == Algorithm::EdDsa,
            Material::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.is_made_for(algorithm) && self.alg.is_none_or(|own| own == algorithm)
    }

    /// Whether its parts have the right sizes.
    fn is_sound(&self) -> bool {
        let sized = |text: &str, size: usize| decoded(text).is_some_and(|bytes| bytes.len() == size);
        match &self.material {
            Material::Ec { crv: Curve::P256, x, y } => sized(x, 32) && sized(y, 32),
            Material::Ec { crv: Curve::P384, x, y } => sized(x, 48) && sized(y, 48),
            Material::Okp { x, .. } => sized(x, 32),
            Material::Rsa { n, e } => {
                let modulus =
                    decoded(n).is_some_and(|n| RSA_BYTES.contains(&n.len()) && n.first() != Some(&0));
                // 65537 in practice. Tiny exponents have a history.
                let exponent = decoded(e).is_some_and(|e| {
                    (3..=4).contains(&e.len())
                        && e.first() != Some(&0)
                        && e.last().is_some_and(|e| e % 2 == 1)
                });
                modulus && exponent
            }
        }
    }

    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Ec { crv, x, y } => {
                let point = [Some(vec![4]), decoded(x), decoded(y)].into_iter().collect::<Option<Vec<_>>>();
                let Some(point) = point.map(|parts| parts.concat()) else { return false };
                let curve = match crv {
                    Curve::P256 => &ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &ECDSA_P384_SHA384_FIXED,
                };
                UnparsedPublicKey::new(curve, point).verify(message, signature).is_ok()
            }
            Material::Okp { x, .. } => decoded(x)
                .is_some_and(|x| UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok()),
            Material::Rsa { n, e } => {
                let Some((n, e)) = decoded(n).zip(decoded(e)) else { return false };
                let scheme = match algorithm {
                    Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Es384 => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(scheme, message, signature).is_ok()
            }
        }
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Whether a JWK has what only its owner may have. Looked at before anything else of it is understood.
fn holds_a_secret(key: &Value) -> bool {
    const PRIVATE: [&str; 8] = ["d", "k", "p", "q", "dp", "dq", "qi", "oth"];
    PRIVATE.iter().any(|member| key.get(member).is_some())
        || key.get("kty").and_then(Value::as_str).is_some_and(|kty| kty.eq_ignore_ascii_case("oct"))
}

#[cfg(test)]
mod tests;
