//! The third parties: whether their endpoints answer, and whether they know our client id, our secret and our redirect URI.
//!
//! Two things are tried, neither of which can give anybody anything. A code that nobody ever got is presented at the token
//! endpoint, by the very adapter that the gateway uses: an answer about the code means that our credentials are right. And the
//! address that browsers are sent to is read once without a cookie, once with our redirect URI and once with one that nobody
//! registered: where the answers differ, ours is known. No browser is sent anywhere, and a `state` that no ticket holds leads
//! to nothing at our callback. Of an answer its status, and of a redirect its path, are looked at; nothing of it is shown.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, StatusCode, header};
use secrecy::SecretString;
use url::Url;

use super::{
    World,
    call::{Answer, Trouble, call},
    clock,
    finding::{self, Check, Finding, Problem},
};
use crate::{
    domain::{pkce::CodeChallenge, provider::Provider},
    flow::ports::{ThirdParty as _, ThirdPartyError, random},
    gateway::{SystemClock, SystemEntropy, now},
    upstream::{ConfiguredProvider, discover},
};

/// What a probe told.
enum Told {
    /// Accepted.
    Yes,
    /// Refused.
    No,
    /// Nothing that could be read; why.
    Nothing(&'static str),
    /// It did not come to that.
    Trouble(&'static Problem),
}

/// Looks at one of them.
pub(super) async fn look(mut provider: Provider, world: &World) -> Vec<Finding> {
    let name = format!("provider.{}", provider.name);
    if let Err(error) = discover(&world.client, &mut provider).await {
        let found = match error {
            ThirdPartyError::Unavailable(reason) => match trouble(reason) {
                Some(problem) => Finding::of(problem, name.clone()).because("its discovery document"),
                None => Finding::of(&finding::PROVIDER_DISCOVERY, name.clone()).because(reason),
            },
            ThirdPartyError::Refused(reason) => {
                Finding::of(&finding::PROVIDER_DISCOVERY, name.clone()).because(reason)
            }
        };
        let skipped =
            |check| Finding::skipped(check, name.clone(), "without its endpoints nothing can be asked");
        return vec![found, skipped(Check::ClientSecret), skipped(Check::RedirectUri)];
    }
    let callback = world.settings.public_url.join(&format!("/callback/{}", provider.name));
    let asked = now();
    let (presented, ours, other, userinfo) = tokio::join!(
        present(&provider, &callback, world),
        authorize(&provider, &callback, world),
        authorize(&provider, "https://doctor.invalid/nobody-registered-this", world),
        reach(&provider.userinfo_endpoint, world),
    );
    let answered = now();
    let mut found = Vec::new();
    for (endpoint, problem) in [
        (&provider.authorization_endpoint, problem_of(&ours)),
        (&provider.userinfo_endpoint, problem_of(&userinfo)),
        (&provider.token_endpoint, if let Told::Trouble(problem) = presented { Some(problem) } else { None }),
    ] {
        let subject = format!("{name} {endpoint}");
        found.push(match problem {
            Some(problem) => Finding::of(problem, subject),
            None => Finding::ok(Check::ProviderEndpoints, subject, "it answers"),
        });
    }
    if let Ok(answer) = &ours {
        let whose = provider.authorization_endpoint.origin().ascii_serialization();
        found.extend(clock::compare(&whose, answer.response.headers(), asked, answered));
    }
    found.extend(credentials(&name, &callback, &presented, &compare(&callback, &ours, &other)));
    found
}

/// What both probes together mean.
fn credentials(name: &str, callback: &str, presented: &Told, sent: &Told) -> [Finding; 2] {
    let subject = || format!("{name} {callback}");
    let unknown = |why: &str| {
        let why = format!("{why}; compare what is registered at the provider with {callback}");
        Finding::skipped(Check::RedirectUri, subject(), why)
    };
    let client = match (presented, sent) {
        (Told::No, Told::No) => Finding::of(&finding::CLIENT_ID_UNKNOWN, name),
        (Told::No, _) => Finding::of(&finding::CLIENT_SECRET_WRONG, name),
        (Told::Yes, _) => Finding::ok(Check::ClientSecret, name, "accepted"),
        (Told::Nothing(why), _) => Finding::skipped(Check::ClientSecret, name, *why),
        (Told::Trouble(_), _) => {
            Finding::skipped(Check::ClientSecret, name, "the token endpoint cannot be asked")
        }
    };
    let redirect = match (presented, sent) {
        (Told::No, _) => unknown("the provider does not accept our client"),
        (_, Told::No) => Finding::of(&finding::REDIRECT_URI_UNKNOWN, subject()).namely(callback),
        (_, Told::Yes) => Finding::ok(Check::RedirectUri, subject(), "accepted"),
        (_, Told::Nothing(why)) => unknown(why),
        (_, Told::Trouble(_)) => unknown("the authorization endpoint cannot be asked"),
    };
    [client, redirect]
}

/// Presents a code that nobody has.
async fn present(provider: &Provider, callback: &str, world: &World) -> Told {
    let (Some(code), Some(verifier)) = (chance(), chance()) else { return Told::Nothing("no random bytes") };
    let clock = Arc::new(SystemClock);
    let made = ConfiguredProvider::new(provider.clone(), callback.to_owned(), world.client.clone(), clock);
    let Ok(adapter) = made else { return Told::Nothing("its configuration cannot be used") };
    let verifier = format!("{verifier}{verifier}");
    match adapter.redeem(SecretString::from(code), SecretString::from(verifier)).await {
        Ok(_) => Told::Trouble(&finding::PROVIDER_FAILS),
        Err(
            ThirdPartyError::Refused("unauthorized_client")
            | ThirdPartyError::Unavailable("client_credentials_refused"),
        ) => Told::No,
        Err(ThirdPartyError::Refused(_)) => Told::Yes,
        Err(ThirdPartyError::Unavailable(reason)) => match trouble(reason) {
            Some(problem) => Told::Trouble(problem),
            None if reason == "rate_limited" => {
                Told::Nothing("the provider has had too many requests just now")
            }
            None => Told::Nothing("what the provider says of a code that nobody has does not tell"),
        },
    }
}

fn trouble(reason: &str) -> Option<&'static Problem> {
    match reason {
        "unreachable" | "timeout" | "connection_broken" => Some(&finding::PROVIDER_UNREACHABLE),
        "tls_failed" => Some(&finding::PROVIDER_UNTRUSTED),
        "server_error" | "redirected" | "answer_too_large" => Some(&finding::PROVIDER_FAILS),
        _ => None,
    }
}

fn problem_of(answer: &Result<Answer, Trouble>) -> Option<&'static Problem> {
    match answer {
        Ok(answer) if answer.response.status().is_server_error() => Some(&finding::PROVIDER_FAILS),
        Ok(_) => None,
        Err(Trouble::Certificate(_) | Trouble::Tls) => Some(&finding::PROVIDER_UNTRUSTED),
        Err(Trouble::Unresolved | Trouble::Unreachable | Trouble::Slow | Trouble::Broken) => {
            Some(&finding::PROVIDER_UNREACHABLE)
        }
    }
}

/// Reads where browsers are sent, as somebody whom nobody knows.
async fn authorize(provider: &Provider, redirect_uri: &str, world: &World) -> Result<Answer, Trouble> {
    let (state, verifier) = (chance().ok_or(Trouble::Broken)?, chance().ok_or(Trouble::Broken)?);
    let mut url = provider.authorization_endpoint.clone();
    let scopes: Vec<&str> =
        provider.scopes.iter().chain(&provider.default_scopes).map(String::as_str).collect();
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", &state);
        if !scopes.is_empty() {
            query.append_pair(&provider.scope_parameter, &scopes.join(&provider.scope_separator));
        }
        if provider.pkce {
            let challenge = CodeChallenge::of(&format!("{verifier}{verifier}"));
            query
                .append_pair("code_challenge", challenge.as_str())
                .append_pair("code_challenge_method", "S256");
        }
        for (name, value) in provider.authorize_params.iter().filter(|(name, _)| name != "prompt") {
            query.append_pair(name, value);
        }
    }
    let request = Request::builder().header(header::ACCEPT, "text/html");
    // Only its head is of interest.
    call(&world.tls, &url, request, "", |_| true).await
}

async fn reach(url: &Url, world: &World) -> Result<Answer, Trouble> {
    call(&world.tls, url, Request::builder().header(header::ACCEPT, "application/json"), "", |_| true).await
}

fn chance() -> Option<String> {
    random::<24>(&SystemEntropy).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// What the answers to our redirect URI and to another one tell about ours.
fn compare(callback: &str, ours: &Result<Answer, Trouble>, other: &Result<Answer, Trouble>) -> Told {
    let Ok(ours) = ours else { return Told::Trouble(&finding::PROVIDER_UNREACHABLE) };
    let (ours, other) = (signature(ours), other.as_ref().ok().map(signature));
    let status = ours.0;
    let is_refused =
        matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND)
            || ours.1.as_deref().is_some_and(|location| location.ends_with("/error"));
    if status.is_server_error() {
        Told::Trouble(&finding::PROVIDER_FAILS)
    } else if is_refused {
        Told::No
    } else if ours.1.as_deref() == Some(callback) {
        Told::Yes
    } else if status.is_success() || status.is_redirection() {
        match other {
            Some(other) if other != ours && !other.0.is_server_error() => Told::Yes,
            _ => Told::Nothing("the provider says so only to people who sign in"),
        }
    } else {
        Told::Nothing("the provider does not talk to programs there")
    }
}

/// The status, and where a redirect leads, without its query.
fn signature(answer: &Answer) -> (StatusCode, Option<String>) {
    let location = answer.response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let path = location.map(|location| location.split(['?', '#']).next().unwrap_or_default().to_owned());
    (answer.response.status(), path.filter(|_| answer.response.status().is_redirection()))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    const CALLBACK: &str = "https://x.example/callback/third";

    #[expect(clippy::unnecessary_wraps, reason = "what is compared may be trouble as well")]
    fn answer(status: u16, location: Option<&str>) -> Result<Answer, Trouble> {
        let mut response = Response::builder().status(status);
        if let Some(location) = location {
            response = response.header("location", location);
        }
        let response = response.body(Vec::new()).unwrap();
        Ok(Answer { response, local: "127.0.0.1:1".parse().unwrap(), chain: Vec::new() })
    }

    #[test]
    fn two_answers_tell_whether_a_redirect_uri_is_known() {
        let login = || answer(302, Some("https://third.example/login?client_id=a&state=b"));
        let other_login = || answer(302, Some("https://third.example/login?client_id=a&state=c"));
        let told = |ours, other| match compare(CALLBACK, &ours, &other) {
            Told::Yes => "yes",
            Told::No => "no",
            Told::Nothing(_) => "nothing",
            Told::Trouble(_) => "trouble",
        };
        assert_eq!(told(answer(200, None), answer(400, None)), "yes");
        assert_eq!(told(login(), answer(302, Some("/oauth/error?e=x"))), "yes");
        assert_eq!(told(answer(302, Some(&format!("{CALLBACK}?error=login_required"))), login()), "yes");
        assert_eq!(told(answer(400, None), answer(400, None)), "no");
        assert_eq!(told(answer(404, None), answer(404, None)), "no");
        assert_eq!(told(answer(302, Some("/oauth/error?e=x")), answer(302, Some("/oauth/error?e=x"))), "no");
        // One page for everybody says nothing, whatever stands in its query.
        assert_eq!(told(login(), other_login()), "nothing");
        assert_eq!(told(answer(200, None), answer(200, None)), "nothing");
        assert_eq!(told(answer(403, None), answer(403, None)), "nothing");
        assert_eq!(told(answer(200, None), answer(503, None)), "nothing");
        assert_eq!(told(Err(Trouble::Slow), login()), "trouble");
    }

    #[test]
    fn a_client_that_is_unknown_is_told_from_a_wrong_secret() {
        let slugs = |presented, sent| credentials("p", CALLBACK, &presented, &sent).map(|found| found.slug);
        assert_eq!(slugs(Told::No, Told::No), [Some("client_id_unknown"), None]);
        assert_eq!(slugs(Told::No, Told::Yes), [Some("client_secret_wrong"), None]);
        assert_eq!(slugs(Told::Yes, Told::No), [None, Some("redirect_uri_unknown")]);
        assert_eq!(slugs(Told::Yes, Told::Yes), [None, None]);
    }
}
