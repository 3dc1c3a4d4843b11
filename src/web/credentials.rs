//! Who speaks: a client at the token and revocation endpoints, a bearer token at an MCP server's path.
//!
//! One method per request (RFC 6749 section 2.3): HTTP Basic, with both parts form-urlencoded, or the body. A bearer
//! token comes in exactly one `Authorization` header (MCP; RFC 6750 section 2.1); one in the query is not even looked at.
//!
//! Reads only; whether the credentials are right is judged by the flows.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::SecretString;

use super::parameters::{Parameters, decode};
use crate::domain::{
    assertion::{TYPE, claimed_client},
    client::Credentials,
    refusal::{ErrorCode, Refusal},
};

/// Two `Authorization` headers (RFC 6750 section 3.1: more than one method).
pub const TWO_AUTHORIZATIONS: Refusal = Refusal::new(
    ErrorCode::InvalidRequest,
    "authorization_repeated",
    "There must be one Authorization header only.",
);

const TWO_METHODS: Refusal = Refusal::new(
    ErrorCode::InvalidRequest,
    "client_auth_twice",
    "The client must authenticate by one method only.",
);

/// Whether the request tries to authenticate by the `Authorization` header, which decides the form of a failed answer
/// (RFC 6749 section 5.2).
pub fn uses_header(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION)
}

/// The client that a form names, and its secret where one was sent.
pub fn of_client(headers: &HeaderMap, form: &Parameters) -> Result<Credentials, Refusal> {
    let (id, secret) = (form.one("client_id")?, form.one("client_secret")?);
    let header = single(headers)?;
    if let Some(assertion) = signed(form)? {
        if secret.is_some() || header.is_some() {
            return Err(TWO_METHODS);
        }
        // RFC 7521 section 4.2: the assertion says who it is; a client_id beside it is judged against that.
        let client_id = id.map(str::to_owned).or_else(|| claimed_client(assertion));
        let client_id = client_id.ok_or(Refusal::invalid_client("assertion_malformed"))?;
        return Ok(Credentials { client_id, secret: None, assertion: Some(assertion.into()), basic: false });
    }
    let Some(header) = header else {
        let id = id.ok_or(Refusal::invalid_client("client_id_missing"))?;
        let secret = secret.map(Into::into);
        return Ok(Credentials { client_id: id.to_owned(), secret, assertion: None, basic: false });
    };
    if secret.is_some() {
        return Err(TWO_METHODS);
    }
    let (client_id, secret) = basic(header).ok_or(Refusal::invalid_client("basic_malformed"))?;
    if id.is_some_and(|id| id != client_id) {
        return Err(TWO_METHODS);
    }
    Ok(Credentials { client_id, secret: Some(secret), assertion: None, basic: true })
}

/// The client assertion of a form (RFC 7523 section 2.2).
fn signed(form: &Parameters) -> Result<Option<&str>, Refusal> {
    match (form.one("client_assertion_type")?, form.one("client_assertion")?) {
        (Some(TYPE), Some(assertion)) => Ok(Some(assertion)),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Refusal::invalid_client("assertion_missing")),
        (_, Some(_)) => Err(Refusal::invalid_client("assertion_type_unsupported")),
    }
}

/// What a request to an MCP server's path presents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bearer<'a> {
    /// No credentials, or those of a scheme that is not ours: the challenge then names no error (RFC 6750 section 3).
    Absent,
    /// A `Bearer` without a token in it.
    Empty,
    /// A token, not yet judged.
    Token(&'a str),
}

/// The bearer token of a request.
#[inline]
pub fn bearer(headers: &HeaderMap) -> Result<Bearer<'_>, Refusal> {
    let Some(header) = single(headers)? else { return Ok(Bearer::Absent) };
    let text = header.to_str().unwrap_or_default();
    // As nearly everybody writes it.
    if let Some(token) = text.strip_prefix("Bearer ").filter(|token| is_bare(token)) {
        return Ok(Bearer::Token(token));
    }
    Ok(match after_scheme(text, "bearer") {
        None => Bearer::Absent,
        Some("") => Bearer::Empty,
        Some(token) => Bearer::Token(token),
    })
}

/// Whether there is a token, and no white space around it.
#[inline]
fn is_bare(token: &str) -> bool {
    matches!(token.as_bytes(), [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic())
}

#[inline]
fn single(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(TWO_AUTHORIZATIONS),
        (value, None) => Ok(value),
    }
}

/// What follows the name of the scheme, which is case-insensitive (RFC 9110 section 11.1).
#[inline]
fn after_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn basic(header: &HeaderValue) -> Option<(String, SecretString)> {
    let encoded = after_scheme(header.to_str().ok()?, "basic")?;
    // Padding is left out by some clients.
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let pair = GeneralPurpose::new(&STANDARD, lenient).decode(encoded).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (id, secret) = (pair.get(..colon)?, pair.get(colon + 1..)?);
    let id = decode(id).filter(|id| !id.is_empty())?;
    Some((id, decode(secret)?.into()))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as BASE64;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn read(authorization: &[&str], form: &str) -> Result<(String, Option<String>, bool), &'static str> {
        let form = Parameters::parse(form.as_bytes()).unwrap();
        let read = of_client(&headers(authorization), &form).map_err(|refusal| refusal.reason)?;
        Ok((read.client_id, read.secret.map(|secret| secret.expose_secret().to_owned()), read.basic))
    }

    fn encoded(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair))
    }

    #[test]
    fn a_client_authenticates_by_one_method() {
        let some =
            |id: &str, secret: Option<&str>, basic| Ok((id.to_owned(), secret.map(str::to_owned), basic));
        let basic = encoded("a%3Ab:s%20e+c:ret");
        assert_eq!(read(&[], "client_id=c"), some("c", None, false));
        assert_eq!(read(&[], "client_id=c&client_secret="), some("c", None, false));
        assert_eq!(read(&[], "client_id=c&client_secret=s"), some("c", Some("s"), false));
        assert_eq!(read(&[&basic], ""), some("a:b", Some("s e c:ret"), true));
        assert_eq!(read(&[&basic], "client_id=a:b"), some("a:b", Some("s e c:ret"), true));
        assert_eq!(read(&[&encoded("c:")], ""), some("c", Some(""), true));
        assert_eq!(read(&[encoded("c:s").trim_end_matches('=')], ""), some("c", Some("s"), true));
        assert_eq!(read(&[&encoded("c:s").replace("Basic", "bAsIc")], ""), some("c", Some("s"), true));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        let basic = encoded("c:s");
        for (authorization, form, reason) in [
            (&[][..], "", "client_id_missing"),
            (&[], "client_id=", "client_id_missing"),
            (&[], "client_id=c&client_id=d", "parameter_repeated"),
            (&[], "client_id=c&client_assertion=x", "assertion_type_unsupported"),
            (&[], "client_id=c&client_assertion=x&client_assertion_type=y", "assertion_type_unsupported"),
            (&[], &format!("client_id=c&client_assertion_type={TYPE}"), "assertion_missing"),
            (&[], &format!("client_assertion=x&client_assertion_type={TYPE}"), "assertion_malformed"),
            (
                &[],
                &format!("client_id=c&client_secret=s&client_assertion=x&client_assertion_type={TYPE}"),
                "client_auth_twice",
            ),
            (&[&*basic], &format!("client_assertion=x&client_assertion_type={TYPE}"), "client_auth_twice"),
            (
                &["Bearer abc"],
                &format!("client_assertion=x&client_assertion_type={TYPE}"),
                "client_auth_twice",
            ),
            (&[], "client_id=c&client_assertion=x&client_assertion=y", "parameter_repeated"),
            (&[&*basic], "client_secret=s", "client_auth_twice"),
            (&[&*basic], "client_id=d", "client_auth_twice"),
            (&[&*basic, &*basic], "", "authorization_repeated"),
            (&["Basic"], "", "basic_malformed"),
            (&["Basic !!"], "", "basic_malformed"),
            (&["Basic Og=="], "", "basic_malformed"),
            (&["Basic YWJj"], "", "basic_malformed"),
            (&["Bearer abc"], "client_id=c", "basic_malformed"),
            (&[&encoded("c%zz:s")], "", "basic_malformed"),
        ] {
            assert_eq!(read(authorization, form), Err(reason), "{authorization:?} {form}");
        }
    }

    #[test]
    fn a_bearer_token_comes_in_one_header() {
        for (values, bearer_) in [
            (&[][..], Bearer::Absent),
            (&["Bearer abc"], Bearer::Token("abc")),
            (&["bEaReR   abc "], Bearer::Token("abc")),
            (&["Bearer"], Bearer::Empty),
            (&["Bearer  "], Bearer::Empty),
            (&["Basic abc"], Bearer::Absent),
            (&["DPoP abc"], Bearer::Absent),
            (&["Bearerabc"], Bearer::Absent),
        ] {
            assert_eq!(bearer(&headers(values)), Ok(bearer_), "{values:?}");
        }
        assert_eq!(bearer(&headers(&["Bearer a", "Bearer a"])), Err(TWO_AUTHORIZATIONS));
    }
}
