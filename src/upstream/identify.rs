//! Whom a third-party token belongs to.
//!
//! One call with the token (and those of [`super::membership`] where rules need them), and a careful look at the answer: what becomes the person's *subject* must be the immutable
//! id, exactly as the third party wrote it. A number is taken digit by digit, never through a floating point number (two
//! people would become one); a missing, empty, odd or endless id is no id. Login, name and e-mail address are for
//! display and may be missing; an e-mail address counts only with a flag beside it that says it is verified.
//!
//! Must never fall back from the id to a login name or an e-mail address: those change hands.

use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{
    answer::{at, subject},
    membership::membership,
    wire::{self, carry, get, post_json},
};
use crate::{
    domain::{access::Membership, provider::Provider},
    flow::ports::{Identity, ThirdPartyError},
    net::client::Client,
};

const NO_SUBJECT: ThirdPartyError = ThirdPartyError::Unavailable("identity_without_subject");
/// The longest display value, in characters.
const MAX_LENGTH: usize = 255;

/// Asks the userinfo endpoint.
pub(super) async fn identify(
    client: &Client,
    provider: &Provider,
    access: &SecretString,
) -> Result<Identity, ThirdPartyError> {
    let mut request = match &provider.userinfo_body {
        None => get(&provider.userinfo_endpoint, access)?,
        Some(body) => post_json(&provider.userinfo_endpoint, access, body)?,
    };
    carry(&provider.headers, &mut request)?;
    let answer = wire::send(client, request).await?;
    let identity = match answer.status() {
        StatusCode::OK => read(provider, answer.body())?,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            return Err(ThirdPartyError::Refused("token_refused"));
        }
        _ => return Err(ThirdPartyError::Unavailable("identity_unavailable")),
    };
    let membership = membership(client, provider, access, identity.email.as_deref()).await?;
    Ok(Identity { membership, ..identity })
}

fn read(provider: &Provider, body: &[u8]) -> Result<Identity, ThirdPartyError> {
    let answer: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| ThirdPartyError::Unavailable("nonsense"))?;
    if answer.get("ok") == Some(&Value::Bool(false)) {
        return Err(not_ok(&answer));
    }
    let mut id = at(&answer, &provider.subject).and_then(subject).ok_or(NO_SUBJECT)?;
    if !provider.subject_realm.is_empty() {
        let realm = at(&answer, &provider.subject_realm).and_then(subject).ok_or(NO_SUBJECT)?;
        // Neither part can be confused with the other one: the realm has no slash.
        if realm.contains('/') {
            return Err(NO_SUBJECT);
        }
        id = format!("{realm}/{id}");
    }
    Ok(Identity {
        login: display(&answer, &provider.username).unwrap_or_else(|| id.clone()),
        display_name: display(&answer, &provider.display_name),
        email: display(&answer, &provider.email).filter(|_| is_verified(&answer, &provider.email)),
        membership: Membership::default(),
        id,
    })
}

/// An error at status 200, as Slack writes them. Only what is about this token is a refusal.
fn not_ok(answer: &Map<String, Value>) -> ThirdPartyError {
    match answer.get("error").and_then(Value::as_str) {
        Some("account_inactive" | "invalid_auth" | "not_authed" | "token_expired" | "token_revoked") => {
            ThirdPartyError::Refused("token_refused")
        }
        Some("ratelimited") => ThirdPartyError::Unavailable("rate_limited"),
        _ => ThirdPartyError::Unavailable("identity_unavailable"),
    }
}

fn display(answer: &Map<String, Value>, path: &[String]) -> Option<String> {
    let text = at(answer, path)?.as_str()?.trim();
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_LENGTH).collect();
    (!text.is_empty()).then_some(text)
}

/// Whether `email_verified` (OpenID Connect Core 1.0 section 5.1) stands beside the e-mail address and says yes. Some
/// third parties write it as a string.
fn is_verified(answer: &Map<String, Value>, email: &[String]) -> bool {
    let mut flag = email.to_vec();
    flag.pop();
    flag.push("email_verified".to_owned());
    at(answer, &flag).is_some_and(|flag| *flag == Value::Bool(true) || flag.as_str() == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::forge;

    fn read(body: &str) -> Result<Identity, ThirdPartyError> {
        super::read(&forge("http://127.0.0.1:1"), body.as_bytes())
    }

    fn id(json: &str) -> Option<String> {
        read(&format!(r#"{{"id":{json}}}"#)).ok().map(|identity| identity.id)
    }

    #[test]
    fn a_subject_is_taken_exactly() {
        assert_eq!(id("1001").unwrap(), "1001");
        assert_eq!(id("9007199254740993").unwrap(), "9007199254740993");
        assert_eq!(id("18446744073709551615").unwrap(), "18446744073709551615");
        assert_eq!(id("\"0123\"").unwrap(), "0123");
        assert_eq!(id(&format!("\"{}\"", "a".repeat(255))).unwrap().len(), 255);
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        let long = format!("\"{}\"", "a".repeat(256));
        for json in [
            "\"\"",
            "1.0",
            "1e3",
            "18446744073709551616",
            "null",
            "true",
            "[1]",
            "{}",
            "\"a\\u0000\"",
            "\"a\\n\"",
            &long,
        ] {
            assert_eq!(id(json), None, "{json}");
        }
        let missing = read(r#"{"login":"ada","email":"ada@example.com"}"#);
        assert_eq!(missing, Err(ThirdPartyError::Unavailable("identity_without_subject")));
        for body in ["", "[]", "<html>", "{\"id\":1"] {
            assert_eq!(read(body), Err(ThirdPartyError::Unavailable("nonsense")), "{body}");
        }
    }

    #[test]
    fn display_values_may_be_missing_and_are_bounded() {
        let identity = read(r#"{"id":7,"login":null,"name":"  Ada\u0007 L. "}"#).unwrap();
        assert_eq!((identity.login.as_str(), identity.display_name.as_deref()), ("7", Some("Ada L.")));
        let identity = read(&format!(r#"{{"id":7,"login":"{}"}}"#, "ä".repeat(1000))).unwrap();
        assert_eq!(identity.login.chars().count(), 255);
    }

    #[test]
    fn an_address_counts_only_when_verified() {
        let email =
            |rest: &str| read(&format!(r#"{{"id":7,"email":"ada@example.com"{rest}}}"#)).unwrap().email;
        assert_eq!(email(r#","email_verified":true"#).unwrap(), "ada@example.com");
        assert_eq!(email(r#","email_verified":"true""#).unwrap(), "ada@example.com");
        for rest in
            ["", r#","email_verified":false"#, r#","email_verified":"false""#, r#","email_verified":1"#]
        {
            assert_eq!(email(rest), None, "{rest}");
        }
    }

    #[test]
    fn values_may_lie_deeper() {
        let mut provider = forge("http://127.0.0.1:1");
        let path = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
        provider.subject = path("data.viewer.id");
        provider.email = path("data.viewer.email");
        let body = br#"{"data":{"viewer":{"id":"u1","email":"a@b.example","email_verified":true}},"email_verified":false}"#;
        let identity = super::read(&provider, body).unwrap();
        assert_eq!((identity.id.as_str(), identity.email.as_deref()), ("u1", Some("a@b.example")));
        assert!(super::read(&provider, br#"{"data":{"viewer":7}}"#).is_err());
    }
}
