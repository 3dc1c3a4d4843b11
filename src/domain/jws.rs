//! Signed statements of others (JWS compact serialization, RFC 7515; JWT, RFC 7519), read strictly.
//!
//! Reading proves nothing: [`Signed`] is what somebody *says* until [`Signed::is_signed_by`] has said yes. Keys never come
//! out of the statement itself (`jwk`, `jku`, `x5c` are not even read), an extension that must be understood is not, and
//! the algorithm is one of a closed list.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    jwk::{Algorithm, PublicKeys},
    time::Timestamp,
};

/// The longest statement that is read, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024;

/// A statement, not verified yet. Prints none of its contents.
pub struct Signed {
    /// What it says that it was signed with.
    pub algorithm: Algorithm,
    /// The name of the key, where it has one.
    pub kid: Option<String>,
    /// What kind of statement it says it is.
    pub typ: Option<String>,
    /// What it says.
    pub claims: Claims,
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// The registered claims (RFC 7519 section 4.1). A claim that stands twice is refused by the parser.
#[derive(Deserialize)]
pub struct Claims {
    /// Who says it.
    pub iss: Option<String>,
    /// About whom.
    pub sub: Option<String>,
    /// To whom.
    pub aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    /// Its id.
    pub jti: Option<String>,
}

/// To whom a statement is addressed.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// To one.
    One(String),
    /// To several, or to one in the form of a list.
    Listed(Vec<String>),
}

impl Audience {
    /// The one that it is addressed to. `None` when there are several, or none.
    pub fn sole(&self) -> Option<&str> {
        match self {
            Self::One(one) => Some(one),
            Self::Listed(listed) => match listed.as_slice() {
                [one] => Some(one),
                _ => None,
            },
        }
    }
}

impl Claims {
    /// Until when it holds. The inner `None`: what stands there is no moment.
    pub fn expires_at(&self) -> Option<Option<Timestamp>> {
        self.exp.map(moment)
    }

    /// From when on.
    pub fn not_before(&self) -> Option<Option<Timestamp>> {
        self.nbf.map(moment)
    }

    /// When it was made.
    pub fn issued_at(&self) -> Option<Option<Timestamp>> {
        self.iat.map(moment)
    }
}

/// The header (RFC 7515 section 4.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl Signed {
    /// Reads a statement. The slug says what is wrong with its form.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const MALFORMED: &str = "jwt_malformed";
        if text.len() > MAX_LENGTH {
            return Err("jwt_too_long");
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        let message = text.get(..header.len() + 1 + payload.len()).ok_or(MALFORMED)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| MALFORMED)?;
        if header.crit.is_some() {
            return Err("jwt_extension_unknown");
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or("jwt_algorithm_refused")?;
        let signature = decoded(signature)?;
        if signature.is_empty() {
            return Err("jwt_not_signed");
        }
        Ok(Self {
            algorithm,
            kid: header.kid,
            typ: header.typ,
            claims: serde_json::from_slice(&decoded(payload)?).map_err(|_| MALFORMED)?,
            message: message.as_bytes().to_vec(),
            signature,
        })
    }

    /// Whether one of these keys made the signature.
    pub fn is_signed_by(&self, keys: &PublicKeys) -> bool {
        keys.verify(self.algorithm, self.kid.as_deref(), &self.message, &self.signature)
    }
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signed({})", self.algorithm.as_str())
    }
}

/// A NumericDate (RFC 7519 section 2): seconds, with a fraction if need be.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was looked at just before"
)]
fn moment(seconds: f64) -> Option<Timestamp> {
    // The year 5138: what is later than that is no date.
    let is_a_date = (0.0..1e11).contains(&seconds);
    is_a_date.then(|| Timestamp::from_millis((seconds * 1000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(header: &str, payload: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    fn problem(text: &str) -> Option<&'static str> {
        Signed::parse(text).err()
    }

    #[test]
    fn the_form_is_read_strictly() {
        let good = statement(
            r#"{"alg":"ES256","typ":"JWT","kid":"k","jku":"https://evil.example/"}"#,
            r#"{"iss":"c"}"#,
        );
        let read = Signed::parse(&good).unwrap();
        assert_eq!(
            (read.algorithm, read.kid.as_deref(), read.typ.as_deref()),
            (Algorithm::Es256, Some("k"), Some("JWT"))
        );
        assert_eq!(read.claims.iss.as_deref(), Some("c"));
        for (text, reason) in [
            (String::new(), "jwt_malformed"),
            ("a.b".to_owned(), "jwt_malformed"),
            (format!("{good}.x"), "jwt_malformed"),
            (format!("{good}="), "jwt_malformed"),
            (format!(" {good}"), "jwt_malformed"),
            (statement(r#"{"alg":"ES256"}"#, "[]").replace(".AAAA", "."), "jwt_not_signed"),
            (statement(r#"{"alg":"none"}"#, "{}").replace(".AAAA", "."), "jwt_algorithm_refused"),
            (statement(r#"{"alg":"none"}"#, "{}"), "jwt_algorithm_refused"),
            (statement(r#"{"alg":"NONE"}"#, "{}"), "jwt_algorithm_refused"),
            (statement(r#"{"alg":"HS256"}"#, "{}"), "jwt_algorithm_refused"),
            (statement(r#"{"alg":"es256"}"#, "{}"), "jwt_algorithm_refused"),
            (statement(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "{}"), "jwt_extension_unknown"),
            (statement(r#"{"alg":"ES256","alg":"none"}"#, "{}"), "jwt_malformed"),
            (statement("{}", "{}"), "jwt_malformed"),
            (statement(r#"{"alg":"ES256"}"#, "7"), "jwt_malformed"),
            (statement(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#), "jwt_malformed"),
            (statement(r#"{"alg":"ES256"}"#, r#"{"exp":"tomorrow"}"#), "jwt_malformed"),
            (statement(r#"{"alg":"ES256"}"#, r#"{"aud":{"a":1}}"#), "jwt_malformed"),
            ("a".repeat(MAX_LENGTH + 1), "jwt_too_long"),
        ] {
            assert_eq!(problem(&text), Some(reason), "{text}");
        }
    }

    #[test]
    fn a_moment_is_one_that_a_clock_could_show() {
        assert_eq!(moment(1.5), Some(Timestamp::from_millis(1500)));
        for odd in [-1.0, f64::NAN, f64::INFINITY, 1e11, 1e300] {
            assert_eq!(moment(odd), None, "{odd}");
        }
    }
}
