//! PKCE (RFC 7636), S256 only: the client's pair towards us, and our own pair towards the third party.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::secret::{Digest, same_secret};

/// An S256 code challenge: the base64url form of a SHA-256.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// Reads a `code_challenge`. `None` when it cannot be the S256 challenge of anything.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The challenge of a verifier.
    pub fn of(verifier: &str) -> Self {
        Self(Digest::of(verifier).to_base64url())
    }

    /// Whether `verifier` is well formed (RFC 7636 section 4.1) and the one that this challenge was made from.
    pub fn is_met_by(&self, verifier: &str) -> bool {
        let well_formed = (43..=128).contains(&verifier.len())
            && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        well_formed && same_secret(&Self::of(verifier).0, &self.0)
    }

    /// The challenge, as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A verifier of our own, for the third-party leg: 256 random bits.
pub fn own_verifier(random: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_holds() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert!(challenge.is_met_by(VERIFIER));
        assert!(!challenge.is_met_by(&VERIFIER.replace('d', "e")));
    }

    #[test]
    fn malformed_verifiers_and_challenges_are_refused() {
        for verifier in ["", "short", &"a".repeat(129), &format!("{}+", "a".repeat(43))] {
            assert!(!CodeChallenge::of(verifier).is_met_by(verifier), "{verifier}");
        }
        for challenge in
            ["", VERIFIER.get(1..).unwrap(), "plain", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="]
        {
            assert_eq!(CodeChallenge::parse(challenge), None, "{challenge}");
        }
    }

    #[test]
    fn our_own_verifier_is_a_verifier() {
        let verifier = own_verifier([5; 32]);
        assert!(CodeChallenge::of(&verifier).is_met_by(&verifier));
    }
}
