//! What third parties get wrong at the token endpoint, set right before the `oauth2` crate sees it.
//!
//! That crate is strict: only status 200 with `application/json` and every required member is a success, and what it
//! cannot read it hands back *whole* inside its error, tokens included. So [`normalise`] reads the answer leniently and
//! writes a new one with known members only; whatever it cannot read becomes an error without content.
//!
//! [`meaning`] says what an error code means for a grant. The rule: only a definite refusal of *this* code or token is
//! [`ThirdPartyError::Refused`], since a refused refresh ends people's grants. An operator's mistake (a rotated client
//! secret) or an unknown code must not do that. Pure; used by `provider` and `revoke`.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::answer::at;
use crate::{domain::scope::ScopeSet, flow::ports::ThirdPartyError};

/// The slug for "our static client's credentials were refused": a matter for the operator.
pub(super) const CLIENT_CREDENTIALS_REFUSED: &str = "client_credentials_refused";

const NONSENSE: ThirdPartyError = ThirdPartyError::Unavailable("nonsense");
/// The longest access token that is accepted, in bytes: it has to fit into a request header.
const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// Rewrites an answer of the token endpoint as RFC 6749 sections 5.1 and 5.2 have it. `separators` may stand between
/// granted scopes, besides the space. `inside` is the path to the object that holds the person's tokens; where there is no
/// such object, the answer itself counts if `may_be_flat` (a refresh), since otherwise its tokens are somebody else's.
///
/// A status of 300 and above without a readable error is nonsense, except for 401, which RFC 6749 reserves for failed
/// client authentication.
pub(super) fn normalise(
    answer: &Response<Vec<u8>>,
    separators: &[char],
    inside: &[String],
    may_be_flat: bool,
) -> Result<Response<Vec<u8>>, ThirdPartyError> {
    let members = members(answer.body());
    // An error at status 200 is an error: no success has a member of that name.
    if let Some(code) = members.as_ref().and_then(error_code) {
        return Ok(json_answer(StatusCode::BAD_REQUEST, &json!({ "error": code })));
    }
    match (answer.status(), members) {
        (StatusCode::UNAUTHORIZED, _) => Err(ThirdPartyError::Unavailable(CLIENT_CREDENTIALS_REFUSED)),
        (status, Some(members)) if status.is_success() => {
            let members = match at(&members, inside).and_then(Value::as_object) {
                Some(nested) => nested,
                None if inside.is_empty() || may_be_flat => &members,
                None => return Err(NONSENSE),
            };
            Ok(json_answer(StatusCode::OK, &success(members, separators)?))
        }
        _ => Err(NONSENSE),
    }
}

/// The error code of an answer in JSON or form encoding, whatever its status says.
pub(super) fn error_in(body: &[u8]) -> Option<String> {
    members(body).as_ref().and_then(error_code).map(str::to_owned)
}

/// What an error code of a token or revocation endpoint means (RFC 6749 section 5.2, and the codes of the field).
pub(super) fn meaning(code: &str) -> ThirdPartyError {
    use ThirdPartyError::{Refused, Unavailable};
    match code {
        "access_denied" => Refused("access_denied"),
        "bad_refresh_token" => Refused("bad_refresh_token"),
        "bad_verification_code" => Refused("bad_verification_code"),
        "consent_required" => Refused("consent_required"),
        "interaction_required" => Refused("interaction_required"),
        "code_already_used" | "invalid_code" => Refused("invalid_code"),
        "invalid_grant" => Refused("invalid_grant"),
        "invalid_refresh_token" => Refused("invalid_refresh_token"),
        "invalid_token" => Refused("invalid_token"),
        "login_required" => Refused("login_required"),
        "token_expired" | "token_revoked" => Refused("token_revoked"),
        "redirect_uri_mismatch" => Refused("redirect_uri_mismatch"),
        "unauthorized_client" => Refused("unauthorized_client"),
        "unverified_user_email" => Refused("unverified_user_email"),
        "bad_client_secret" | "incorrect_client_credentials" | "invalid_client" | "invalid_client_id" => {
            Unavailable(CLIENT_CREDENTIALS_REFUSED)
        }
        // Our mistake or the operator's, for everybody alike: nobody's grant is to blame.
        "invalid_request" | "invalid_scope" | "invalid_target" | "unsupported_grant_type" => {
            Unavailable("request_refused")
        }
        "server_error" => Unavailable("server_error"),
        "ratelimited" | "slow_down" => Unavailable("rate_limited"),
        "temporarily_unavailable" => Unavailable("temporarily_unavailable"),
        _ => Unavailable("unknown_error"),
    }
}

/// A JSON object, or a form that has one of the members of a token answer. The content type is not believed.
fn members(body: &[u8]) -> Option<Map<String, Value>> {
    if let Ok(members) = serde_json::from_slice(body) {
        return Some(members);
    }
    let form = url::form_urlencoded::parse(body);
    let form: Map<_, _> = form.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    (form.contains_key("access_token") || form.contains_key("error")).then_some(form)
}

fn error_code(members: &Map<String, Value>) -> Option<&str> {
    text(members, "error")
}

/// A member that is a string with something in it.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn success(members: &Map<String, Value>, separators: &[char]) -> Result<Value, ThirdPartyError> {
    let token = text(members, "access_token").filter(|token| is_header_safe(token)).ok_or(NONSENSE)?;
    // Types that need a proof for every request; with any other name the token is used as a bearer token.
    let unusable = ["dpop", "mac", "pop"];
    if text(members, "token_type").is_some_and(|kind| unusable.iter().any(|it| kind.eq_ignore_ascii_case(it)))
    {
        return Err(ThirdPartyError::Unavailable("token_type_unusable"));
    }
    Ok(json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": members.get("expires_in").and_then(seconds),
        "refresh_token": text(members, "refresh_token"),
        "scope": members.get("scope").and_then(|scope| scopes(scope, separators)),
    }))
}

fn is_header_safe(token: &str) -> bool {
    token.len() <= MAX_TOKEN_LENGTH && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A lifetime as a number, a fraction or a string. What is not a positive time counts as not given: a token that was
/// just issued is not dead, and believing so would mean to refresh without end.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let seconds = Duration::try_from_secs_f64(seconds).ok()?.as_secs();
    (seconds > 0).then_some(seconds)
}

/// Granted scopes as a string with any separator, or as a list of strings. An empty string is an answer (nothing was
/// granted); no string at all is none (granted as requested).
fn scopes(value: &Value, separators: &[char]) -> Option<String> {
    let separators = [separators, &[' ']].concat();
    let granted = match value {
        Value::String(text) => ScopeSet::parse_lenient(text, &separators),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    Some(granted.to_string())
}

fn json_answer(status: StatusCode, members: &Value) -> Response<Vec<u8>> {
    let mut answer = Response::new(members.to_string().into_bytes());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(status: u16, body: &str) -> Result<(u16, Value), ThirdPartyError> {
        let answer = Response::builder().status(status).header("content-type", "text/html");
        let answer = normalise(&answer.body(body.as_bytes().to_vec()).unwrap(), &[','], &[], false)?;
        assert_eq!(answer.headers()["content-type"], "application/json");
        Ok((answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap()))
    }

    fn token(body: &str) -> Value {
        let (status, token) = normalised(200, body).unwrap();
        assert_eq!(status, 200);
        token
    }

    #[test]
    fn errors_at_status_200_become_errors() {
        let code = json!({ "error": "bad_verification_code" });
        for body in [
            r#"{"error":"bad_verification_code","error_description":"The code is wrong.","error_uri":"x"}"#,
            r#"{"ok":false,"error":"bad_verification_code"}"#,
            r#"{"error":"bad_verification_code","access_token":"t"}"#,
            "error=bad_verification_code&error_description=The+code+is+wrong.",
        ] {
            assert_eq!(normalised(200, body), Ok((400, code.clone())), "{body}");
            assert_eq!(normalised(403, body), Ok((400, code.clone())), "{body}");
        }
    }

    #[test]
    fn a_success_is_read_however_it_is_written() {
        let plain = json!({
            "access_token": "t", "token_type": "bearer", "expires_in": null, "refresh_token": null, "scope": null
        });
        for (status, body) in [
            (200, r#"{"access_token":"t","token_type":"bearer"}"#),
            (201, r#"{"access_token":"t","token_type":"Bearer","id_token":"x"}"#),
            (200, r#"{"access_token":"t"}"#),
            (200, r#"{"access_token":"t","refresh_token":"","expires_in":null,"scope":null,"error":""}"#),
            (200, "access_token=t&refresh_token="),
        ] {
            assert_eq!(normalised(status, body), Ok((200, plain.clone())), "{body}");
        }
    }

    #[test]
    fn a_persons_token_is_taken_from_where_it_is_and_nobody_elses() {
        let inside = ["authed_user".to_owned()];
        let normalised = |body: &str, may_be_flat| {
            let answer = Response::builder().status(200).body(body.as_bytes().to_vec()).unwrap();
            let answer = normalise(&answer, &[','], &inside, may_be_flat)?;
            let members: Value = serde_json::from_slice(answer.body()).unwrap();
            Ok(members["access_token"].clone())
        };
        let both =
            r#"{"ok":true,"access_token":"xoxb-bot","authed_user":{"id":"U1","access_token":"xoxp-person"}}"#;
        assert_eq!(normalised(both, false), Ok(json!("xoxp-person")));
        let only_the_bot = r#"{"ok":true,"access_token":"xoxb-bot","authed_user":{"id":"U1"}}"#;
        let flat = r#"{"ok":true,"access_token":"xoxb-bot"}"#;
        assert_eq!(normalised(only_the_bot, false), Err(NONSENSE));
        assert_eq!(normalised(only_the_bot, true), Err(NONSENSE));
        assert_eq!(normalised(flat, false), Err(NONSENSE));
        assert_eq!(normalised(flat, true), Ok(json!("xoxb-bot")));
    }

    #[test]
    fn lifetimes_are_numbers_in_the_end() {
        let expires = |value: &str| {
            token(&format!(r#"{{"access_token":"t","expires_in":{value}}}"#))["expires_in"].clone()
        };
        assert_eq!(expires("28800"), 28800);
        assert_eq!(expires("\"28800\""), 28800);
        assert_eq!(expires("28800.9"), 28800);
        for value in ["0", "-1", "\"soon\"", "\"\"", "1e300", "\"NaN\"", "\"inf\"", "[]", "true"] {
            assert_eq!(expires(value), Value::Null, "{value}");
        }
        assert_eq!(token("access_token=t&expires_in=60")["expires_in"], 60);
    }

    #[test]
    fn granted_scopes_are_separated_by_spaces_in_the_end() {
        let scope =
            |value: &str| token(&format!(r#"{{"access_token":"t","scope":{value}}}"#))["scope"].clone();
        assert_eq!(scope(r#""repo,read:user""#), "read:user repo");
        assert_eq!(scope(r#""repo, gist read:user""#), "gist read:user repo");
        assert_eq!(scope(r#"["repo","gist"]"#), "gist repo");
        assert_eq!(scope(r#""""#), "");
        assert_eq!(scope("7"), Value::Null);
        assert_eq!(token("access_token=t&scope=repo%2Cgist")["scope"], "gist repo");
    }

    #[test]
    fn what_cannot_be_read_is_nonsense_without_content() {
        for (status, body) in [
            (200, ""),
            (200, "<html>down for maintenance"),
            (200, "[]"),
            (200, r#"{"access_token":7}"#),
            (200, r#"{"access_token":""}"#),
            (200, r#"{"access_token":"a\r\nb"}"#),
            (200, r#"{"access_token":"a b"}"#),
            (200, r#"{"access_token":"#),
            (200, r#"{"error":{"code":1}}"#),
            (204, ""),
            (400, r#"{"access_token":"t"}"#),
            (404, "Not Found"),
        ] {
            assert_eq!(normalised(status, body), Err(NONSENSE), "{status} {body}");
        }
        let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(MAX_TOKEN_LENGTH + 1));
        assert_eq!(normalised(200, &long), Err(NONSENSE));
    }

    #[test]
    fn a_type_that_we_cannot_use_is_said_so() {
        let answer = normalised(200, r#"{"access_token":"t","token_type":"DPoP"}"#);
        assert_eq!(answer, Err(ThirdPartyError::Unavailable("token_type_unusable")));
        assert_eq!(token(r#"{"access_token":"t","token_type":"user"}"#)["token_type"], "bearer");
    }

    #[test]
    fn only_a_definite_refusal_of_the_code_or_token_is_a_refusal() {
        for (code, slug) in [
            ("access_denied", "access_denied"),
            ("bad_refresh_token", "bad_refresh_token"),
            ("bad_verification_code", "bad_verification_code"),
            ("invalid_grant", "invalid_grant"),
            ("unauthorized_client", "unauthorized_client"),
        ] {
            assert_eq!(meaning(code), ThirdPartyError::Refused(slug));
        }
        for code in ["invalid_client", "incorrect_client_credentials"] {
            assert_eq!(meaning(code), ThirdPartyError::Unavailable(CLIENT_CREDENTIALS_REFUSED));
        }
        for code in
            ["invalid_request", "server_error", "temporarily_unavailable", "slow_down", "gho_token", ""]
        {
            assert!(matches!(meaning(code), ThirdPartyError::Unavailable(_)), "{code}");
        }
        assert_eq!(normalised(401, "?"), Err(ThirdPartyError::Unavailable(CLIENT_CREDENTIALS_REFUSED)));
        assert_eq!(
            normalised(401, r#"{"error":"invalid_grant"}"#).unwrap().1,
            json!({"error": "invalid_grant"})
        );
    }
}
