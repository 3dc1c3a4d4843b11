//! Random values of the simulated actors, which are processes of their own in real life and so have no part in the
//! gateway's entropy port: a test that fixes the gateway's chance must not fix the third party's.

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// `prefix` followed by 192 random bits in base64url.
#[expect(clippy::disallowed_methods, reason = "the actors around the gateway have chance of their own")]
#[expect(clippy::expect_used, reason = "without a random source there is nothing to simulate")]
pub(super) fn random(prefix: &str) -> String {
    let mut bytes = [0_u8; 24];
    rand::fill(&mut bytes).expect("the system's random source answers");
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The S256 transformation of RFC 7636 section 4.2; also used wherever a secret is compared but not kept.
pub(super) fn s256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{random, s256};

    #[test]
    fn s256_is_the_example_of_rfc_7636_appendix_b() {
        assert_eq!(
            s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn two_random_values_differ() {
        assert_ne!(random("x_"), random("x_"));
    }
}
