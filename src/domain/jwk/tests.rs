//! Keys that are good, those that are left out, and those that spoil the set.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair,
    },
};
use serde_json::json;

use super::*;

const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

fn with(members: Value) -> Value {
    let mut key: Value = serde_json::from_str(P256).unwrap();
    for (name, value) in members.as_object().unwrap() {
        key[name] = value.clone();
    }
    key
}

fn judge(keys: &[Value]) -> Result<usize, BadKeys> {
    PublicKeys::judge(&json!({ "keys": keys })).map(|set| set.keys.len())
}

#[test]
fn keys_that_we_cannot_use_are_left_out() {
    let good = with(json!({}));
    for odd in [
        json!({"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}),
        json!({"kty":"OKP","crv":"X25519","x":"AA"}),
        json!({"kty":"quantum"}),
        json!({"kty":7}),
        json!({}),
        with(json!({"use":"enc"})),
        with(json!({"key_ops":["sign"]})),
        with(json!({"alg":"HS256"})),
        with(json!({"alg":"none"})),
        with(json!({"alg":"ES384"})),
        with(json!({"alg":"RS256"})),
        with(json!({"x":"AAAA"})),
        with(json!({"kid":""})),
        with(json!({"kid":"x".repeat(MAX_KID + 1)})),
        json!({"kty":"RSA","n":URL_SAFE_NO_PAD.encode([0xff; 128]),"e":"AQAB"}),
        json!({"kty":"RSA","n":URL_SAFE_NO_PAD.encode([0xff; 1024]),"e":"AQAB"}),
        json!({"kty":"RSA","n":URL_SAFE_NO_PAD.encode([0xff; 256]),"e":"Aw"}),
        json!({"kty":"RSA","n":URL_SAFE_NO_PAD.encode([0xff; 256]),"e":"AQAA"}),
    ] {
        assert_eq!(judge(&[good.clone(), odd.clone()]), Ok(1), "{odd}");
        assert_eq!(judge(std::slice::from_ref(&odd)), Err(BadKeys::None), "{odd}");
    }
    for fine in
        [json!({"use":"sig"}), json!({"key_ops":["verify"]}), json!({"alg":"ES256"}), json!({"kid":"k"})]
    {
        assert_eq!(judge(&[with(fine)]), Ok(1));
    }
}

#[test]
fn a_secret_spoils_the_whole_set() {
    let good = with(json!({}));
    for secret in [
        with(json!({"d":"AAAA"})),
        json!({"kty":"oct","k":"AAAA"}),
        json!({"kty":"OCT"}),
        json!({"kty":"RSA","n":"x","e":"AQAB","p":"AA"}),
        json!({"kty":"unknown","d":null}),
    ] {
        assert_eq!(judge(&[good.clone(), secret.clone()]), Err(BadKeys::Secret), "{secret}");
    }
}

#[test]
fn a_set_is_a_set_and_has_an_end() {
    for (set, problem) in [
        (json!([]), BadKeys::Form),
        (json!({}), BadKeys::Form),
        (json!({"keys":{}}), BadKeys::Form),
        (json!({"keys":[7]}), BadKeys::Form),
        (json!({"keys":[]}), BadKeys::None),
        (json!({"keys":vec![with(json!({})); MAX_KEYS + 1]}), BadKeys::Many),
    ] {
        assert_eq!(PublicKeys::judge(&set).unwrap_err(), problem, "{set}");
    }
    assert_eq!(PublicKeys::parse(b"<html>").unwrap_err(), BadKeys::Form);
}

#[test]
fn names_choose_keys_and_a_key_without_one_could_be_any() {
    let set = |keys: &[Value]| PublicKeys::judge(&json!({ "keys": keys })).unwrap();
    let named = set(&[with(json!({"kid":"a"})), with(json!({"kid":"b"}))]);
    assert!(named.know(Some("a")) && named.know(None) && !named.know(Some("c")));
    assert!(set(&[with(json!({}))]).know(Some("c")));
}

#[test]
fn every_algorithm_verifies_what_its_own_key_signed_and_nothing_else() {
    let random = SystemRandom::new();
    let message = b"message";
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let (x, y) = p384.public_key().as_ref()[1..].split_at(48);
    let ed = Ed25519KeyPair::generate().unwrap();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa_key = json!({
        // Behind the nine bytes of the lengths and a zero stand 256 bytes of modulus (RFC 8017 appendix A.1.1).
        "kty": "RSA", "n": encoded(&rsa.public_key().as_ref()[9..265]), "e": "AQAB",
    });
    let mut pinned = rsa_key.clone();
    pinned["alg"] = json!("PS256");
    let (mut pkcs1, mut pss) = (vec![0; 256], vec![0; 256]);
    rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut pkcs1).unwrap();
    rsa.sign(&RSA_PSS_SHA256, &random, message, &mut pss).unwrap();
    for (key, algorithm, signature, good) in [
        (
            json!({"kty":"EC","crv":"P-384","x":encoded(x),"y":encoded(y)}),
            Algorithm::Es384,
            p384.sign(&random, message).unwrap().as_ref().to_vec(),
            true,
        ),
        (
            json!({"kty":"OKP","crv":"Ed25519","x":encoded(ed.public_key().as_ref())}),
            Algorithm::EdDsa,
            ed.sign(message).as_ref().to_vec(),
            true,
        ),
        (rsa_key.clone(), Algorithm::Rs256, pkcs1.clone(), true),
        (rsa_key.clone(), Algorithm::Ps256, pss.clone(), true),
        (rsa_key.clone(), Algorithm::Ps256, pkcs1.clone(), false),
        (pinned.clone(), Algorithm::Ps256, pss, true),
        (pinned, Algorithm::Rs256, pkcs1, false),
    ] {
        let keys = PublicKeys::judge(&json!({ "keys": [key] })).unwrap();
        assert_eq!(keys.verify(algorithm, None, message, &signature), good, "{key} {algorithm:?}");
        assert!(!keys.verify(algorithm, None, b"massage", &signature));
        for other in Algorithm::ALL.into_iter().filter(|other| good && *other != algorithm) {
            assert!(!keys.verify(other, None, message, &signature), "{algorithm:?} as {other:?}");
        }
    }
}
