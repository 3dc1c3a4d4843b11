//! Handles: the opaque strings that we give out (codes, tokens, states, client ids), and the ids inside them.
//!
//! A handle is a typed prefix and one base64url blob: an id where there is one, random bits, and a checksum over all of
//! it, so that a wrong or truncated string is refused before any store is asked and a secret scanner can tell a real
//! leak. Codes and tokens carry the id of their grant: one read finds everything. A refresh token carries the secret of
//! its family as well, so that a token that we once issued can be told from a forgery. Only hashes are stored.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::secret::Digest;

/// The id of a grant: 128 random bits, made when the consent page is rendered. No secret.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GrantId([u8; 16]);

impl GrantId {
    /// The id with these bits.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

impl Serialize for GrantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GrantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a grant id"))
    }
}

/// What a handle is for. Its prefix is part of the checksum, so one kind never passes for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An access token (RFC 6749 section 1.4).
    AccessToken,
    /// The random id of an arrival page, and the value of its cookie.
    Arrival,
    /// The id of a dynamically registered client (RFC 7591). No secret.
    Client,
    /// The secret of a confidential client.
    ClientSecret,
    /// An authorization code.
    Code,
    /// The value of a render, ticket or session cookie.
    Cookie,
    /// A refresh token (RFC 6749 section 1.5).
    RefreshToken,
    /// A registration access token (RFC 7592).
    RegistrationToken,
    /// The `state` that we send to the third party where somebody signs in without a client.
    SignInState,
    /// The `state` that we send to the third party.
    State,
}

/// How every handle begins. No client id of somebody else's may look like one of ours.
pub const PREFIX: &str = "mcpd_";

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::AccessToken => "mcpd_at_",
            Self::Arrival => "mcpd_av_",
            Self::Client => "mcpd_ci_",
            Self::ClientSecret => "mcpd_cs_",
            Self::Code => "mcpd_ac_",
            Self::Cookie => "mcpd_ck_",
            Self::RefreshToken => "mcpd_rt_",
            Self::RegistrationToken => "mcpd_rg_",
            Self::SignInState => "mcpd_si_",
            Self::State => "mcpd_st_",
        }
    }
}

/// A handle that was just made: to be given out once. What is stored is [`Handle::digest`].
pub struct Handle(SecretString);

impl Handle {
    /// A handle without an id, of `random` bits.
    pub fn plain(kind: Kind, random: [u8; 32]) -> Self {
        Self(encode(kind, &[&random]))
    }

    /// A handle whose bits follow from something else: for ids, which are no secret, and nothing else.
    pub fn derived(kind: Kind, from: &Digest) -> Self {
        Self(encode(kind, &[from.as_bytes()]))
    }

    /// A code or an access token of the grant.
    pub fn of_grant(kind: Kind, grant: GrantId, random: [u8; 32]) -> Self {
        Self(encode(kind, &[grant.as_bytes(), &random]))
    }

    /// A refresh token of the grant and of its family.
    pub fn refresh_token(grant: GrantId, family: [u8; 16], random: [u8; 32]) -> Self {
        Self(encode(Kind::RefreshToken, &[grant.as_bytes(), &family, &random]))
    }

    /// The string, to be put into an answer.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is stored of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.expose())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

/// A code, access token or refresh token as somebody presented it: well formed, not yet known to be real.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    /// The grant that it says it belongs to.
    pub grant: GrantId,
    /// The digest of the whole string.
    pub digest: Digest,
    /// The digest of the family secret inside; of nothing where the kind has none.
    pub family: Digest,
}

impl Presented {
    /// Reads a handle of `kind`. `None` for anything that we cannot have issued: wrong prefix, length, or checksum.
    pub fn parse(kind: Kind, text: &str) -> Option<Self> {
        let payload = decode(kind, text)?;
        let (grant, rest) = payload.split_first_chunk::<16>()?;
        let family = match (kind, rest.len()) {
            (Kind::AccessToken | Kind::Code, 32) => Digest::of([]),
            (Kind::RefreshToken, 48) => Digest::of(rest.first_chunk::<16>()?),
            _ => return None,
        };
        Some(Self { grant: GrantId(*grant), digest: Digest::of(text), family })
    }
}

impl Presented {
    /// The family secret inside a refresh token, for the token that follows it.
    pub fn family_secret(text: &str) -> Option<[u8; 16]> {
        decode(Kind::RefreshToken, text)?.get(16..)?.first_chunk::<16>().copied()
    }
}

/// Whether `text` is a well-formed handle of `kind` without an id inside. Cheap; asks nobody.
pub fn is_plain(kind: Kind, text: &str) -> bool {
    decode(kind, text).is_some_and(|payload| payload.len() == 32)
}

const CHECKSUM: usize = 4;
/// The longest payload (a refresh token) and its checksum, in base64url.
const MAX_ENCODED: usize = (96_usize + CHECKSUM).div_ceil(3) * 4;

fn encode(kind: Kind, parts: &[&[u8]]) -> SecretString {
    let mut bytes = parts.concat();
    bytes.extend_from_slice(&checksum(kind, &bytes));
    SecretString::from(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(bytes)))
}

fn decode(kind: Kind, text: &str) -> Option<Vec<u8>> {
    let encoded = text.strip_prefix(kind.prefix()).filter(|encoded| encoded.len() <= MAX_ENCODED)?;
    let mut bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let sum = bytes.split_off(bytes.len().checked_sub(CHECKSUM)?);
    (sum == checksum(kind, &bytes)).then_some(bytes)
}

/// No secret and no protection: it only tells typing errors and other people's tokens from ours without a look-up.
fn checksum(kind: Kind, payload: &[u8]) -> [u8; CHECKSUM] {
    let digest = Digest::of_list(&[kind.prefix().as_bytes(), payload]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: GrantId = GrantId::new([7; 16]);

    #[test]
    fn what_we_made_is_read_back() {
        let token = Handle::of_grant(Kind::AccessToken, GRANT, [1; 32]);
        let presented = Presented::parse(Kind::AccessToken, token.expose()).unwrap();
        assert_eq!(presented.grant, GRANT);
        assert_eq!(presented.digest, token.digest());

        let refresh = Handle::refresh_token(GRANT, [2; 16], [3; 32]);
        let presented = Presented::parse(Kind::RefreshToken, refresh.expose()).unwrap();
        assert_eq!(presented.family, Digest::of([2; 16]));
    }

    #[test]
    fn one_kind_never_passes_for_another() {
        let code = Handle::of_grant(Kind::Code, GRANT, [1; 32]);
        assert!(Presented::parse(Kind::AccessToken, code.expose()).is_none());
        let relabelled = code.expose().replace("mcpd_ac_", "mcpd_at_");
        assert!(Presented::parse(Kind::AccessToken, &relabelled).is_none());
        let refresh = Handle::refresh_token(GRANT, [2; 16], [3; 32]);
        assert!(Presented::parse(Kind::AccessToken, refresh.expose()).is_none());
    }

    #[test]
    fn strangers_strings_are_refused() {
        let token = Handle::of_grant(Kind::AccessToken, GRANT, [1; 32]);
        for text in [
            "",
            "mcpd_at_",
            "gho_abc",
            "mcpd_at_AAAA",
            &token.expose()[..40],
            &format!("{}A", token.expose()),
        ] {
            assert!(Presented::parse(Kind::AccessToken, text).is_none(), "{text}");
        }
        let long = format!("mcpd_at_{}", "A".repeat(100_000));
        assert!(Presented::parse(Kind::AccessToken, &long).is_none());
    }

    #[test]
    fn plain_handles_know_their_kind() {
        let state = Handle::plain(Kind::State, [9; 32]);
        assert!(is_plain(Kind::State, state.expose()));
        assert!(!is_plain(Kind::Cookie, state.expose()));
    }

    #[test]
    fn a_handle_never_prints_itself() {
        assert_eq!(format!("{:?}", Handle::plain(Kind::State, [9; 32])), "Handle(…)");
    }
}
