//! `public_url`, as a stranger reaches it: whether it leads to this very gateway, and what arrives of names, addresses and
//! cookies (`web::mirror`); and the metadata that clients read there.

use std::net::IpAddr;

use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    World,
    call::{Answer, Trouble, call, whole},
    certificate, clock,
    finding::{self, Check, Finding, Problem},
    gateway::Known,
};
use crate::{
    config::{DynamicRegistration, Settings},
    gateway::{catalog, now},
    web::{
        metadata::{self, Metadata},
        mirror,
    },
};

/// An address that is nobody's (RFC 5737), which a client might claim to have.
const CLAIMED: &str = "192.0.2.1";

/// What the gateway saw of a request (`web::mirror::Seen`).
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    host_is_ours: bool,
    peer: IpAddr,
    peer_port: u16,
    peer_is_trusted: bool,
    forwarded_for: usize,
    forwarded_proto: Option<String>,
    counted: IpAddr,
}

/// Looks at everything there.
pub(super) async fn look(world: &World, known: &Known) -> Vec<Finding> {
    let settings = &world.settings;
    let mut found = certificate::files(settings);
    let (asked, (plain, claimed)) =
        (now(), tokio::join!(visit(world, known, None), visit(world, known, Some(CLAIMED))));
    let answered = now();
    let url = settings.public_url.as_str();
    let (answer, seen) = match plain {
        Ok(arrived) => arrived,
        Err(trouble) => {
            found.push(unanswered(url, &trouble));
            found.extend(skip(url, "public_url does not answer"));
            return found;
        }
    };
    if let Some(leaf) = answer.chain.first() {
        found.push(certificate::shown(url, leaf, answered));
    }
    // Where nothing stands in front, it is our own clock.
    found.extend(clock::compare(url, answer.response.headers(), asked, answered));
    let claimed = claimed.ok().and_then(|(_, seen)| seen);
    match identity(url, &answer, seen.as_ref(), known) {
        Ok(identified) => found.push(identified),
        Err(problem) => {
            found.push(problem);
            found.extend(skip(url, "requests to public_url do not arrive at this gateway as they should"));
            return found;
        }
    }
    if let Some(seen) = &seen {
        found.push(cookie(settings, &answer));
        found.extend(forwarding(settings, &answer, seen, claimed.as_ref()));
    } else {
        let why = "only the running gateway can say";
        found.push(Finding::skipped(Check::Cookies, url, why));
        found.push(Finding::skipped(Check::Forwarding, url, why));
    }
    found.extend(metadata(world, seen.is_some()).await);
    found
}

fn skip(url: &str, why: &str) -> [Finding; 3] {
    [Check::WellKnown, Check::Cookies, Check::Forwarding].map(|check| Finding::skipped(check, url, why))
}

/// Sends a request with a nonce, and asks the gateway what arrived.
async fn visit(world: &World, known: &Known, claim: Option<&str>) -> Result<(Answer, Option<Seen>), Trouble> {
    let opened = known.ask(Method::POST, "/admin/v1/mirror").await;
    let nonce = opened.as_ref().and_then(|opened| opened.get("nonce")).and_then(Value::as_str);
    let mut url = world.at(mirror::PATH)?;
    if let Some(nonce) = nonce {
        url.query_pairs_mut().append_pair(mirror::PARAMETER, nonce);
    }
    let mut request = Request::builder().header(header::ACCEPT, "text/plain");
    if let Some(claim) = claim {
        request = request.header("x-forwarded-for", claim);
    }
    let answer = call(&world.tls, &url, request, "", whole).await?;
    let seen = match nonce {
        Some(nonce) => known.ask(Method::GET, &format!("/admin/v1/mirror?nonce={nonce}")).await,
        None => None,
    };
    let seen = seen.and_then(|seen| serde_json::from_value(seen.get("seen")?.clone()).ok());
    Ok((answer, seen))
}

fn unanswered(url: &str, trouble: &Trouble) -> Finding {
    let problem = match trouble {
        Trouble::Unresolved => &finding::PUBLIC_URL_UNRESOLVED,
        Trouble::Unreachable => &finding::PUBLIC_URL_UNREACHABLE,
        Trouble::Certificate(why) => return certificate::refused(url, why),
        Trouble::Tls => &finding::TLS_FAILED,
        Trouble::Broken | Trouble::Slow => &finding::PUBLIC_URL_BROKEN,
    };
    Finding::of(problem, url)
}

/// Whether the answer is this gateway's.
fn identity(url: &str, answer: &Answer, seen: Option<&Seen>, known: &Known) -> Result<Finding, Finding> {
    let status = answer.response.status();
    if known.gateway.is_none() {
        return Ok(Finding::skipped(
            Check::PublicUrl,
            url,
            "somebody answers; only the running gateway can say whether it is this one",
        ));
    }
    let problem: &Problem = match seen {
        Some(seen) if seen.host_is_ours && status == StatusCode::OK => {
            return Ok(Finding::ok(Check::PublicUrl, url, "it leads to this gateway, under its own name"));
        }
        Some(seen) if !seen.host_is_ours => &finding::HOST_NOT_PASSED,
        Some(_) => &finding::PUBLIC_URL_BROKEN,
        None if status.is_redirection() => &finding::PUBLIC_URL_REDIRECTS,
        None if matches!(status.as_u16(), 502..=504) => &finding::PUBLIC_URL_BAD_GATEWAY,
        None => &finding::ANOTHER_GATEWAY,
    };
    Err(Finding::of(problem, url).because(format!("it answers {}", status.as_u16())))
}

/// What is left of the cookie.
fn cookie(settings: &Settings, answer: &Answer) -> Finding {
    let url = settings.public_url.as_str();
    let is_https = settings.public_url.is_https();
    let name = if is_https { "__Host-mcpd-mirror" } else { "mcpd-mirror" };
    let cookies = answer.response.headers().get_all(header::SET_COOKIE).iter();
    let cookies: Vec<&str> = cookies.filter_map(|cookie| cookie.to_str().ok()).collect();
    let Some(cookie) = cookies.iter().find(|cookie| cookie.contains("mcpd-mirror")) else {
        return Finding::of(&finding::COOKIES_DROPPED, url);
    };
    let mut parts = cookie.split(';').map(str::trim);
    let mut changed = Vec::new();
    if parts.next().and_then(|pair| pair.split_once('=')).is_none_or(|(written, _)| written != name) {
        changed.push("its name is another one");
    }
    let attributes: Vec<(String, &str)> = parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .collect();
    let value = |name: &str| attributes.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    if value("httponly").is_none() {
        changed.push("HttpOnly is gone");
    }
    if is_https && value("secure").is_none() {
        changed.push("Secure is gone");
    }
    match value("samesite") {
        None => changed.push("SameSite is gone"),
        Some(lax) if lax.eq_ignore_ascii_case("lax") => {}
        Some(_) => changed.push("SameSite is not Lax any more"),
    }
    if value("domain").is_some() {
        changed.push("there is a Domain");
    }
    if value("path") != Some("/") {
        changed.push("Path is another one");
    }
    if changed.is_empty() {
        Finding::ok(Check::Cookies, url, "a cookie comes through unchanged")
    } else {
        Finding::of(&finding::COOKIES_CHANGED, url).because(changed.join(", "))
    }
}

/// What the gateway knows about who is asking.
fn forwarding(settings: &Settings, answer: &Answer, seen: &Seen, claimed: Option<&Seen>) -> Vec<Finding> {
    let url = settings.public_url.as_str();
    let ok = |what: &str| Finding::ok(Check::Forwarding, url, what);
    let mut found = Vec::new();
    if settings.public_url.is_https() && seen.forwarded_proto.as_deref() == Some("http") {
        found.push(Finding::of(&finding::FORWARDED_PROTO_PLAIN, url));
    }
    let (local, port) = (answer.local.ip().to_canonical(), answer.local.port());
    if seen.peer == local && seen.peer_port == port {
        found.push(ok("nothing stands in front of the gateway, seen from here"));
        return found;
    }
    let is_claimed = |seen: &&Seen| CLAIMED.parse::<IpAddr>().is_ok_and(|claimed| seen.counted == claimed);
    // This machine may be a trusted proxy itself; then what it claims is believed, as it should be, unless nothing was added.
    let is_chosen = claimed.filter(is_claimed).is_some_and(|claimed| {
        let is_trusted = settings.trusted_proxies.iter().any(|net| net.contains(&seen.counted));
        claimed.forwarded_for <= 1 || !is_trusted
    });
    let is_proxy = seen.forwarded_for > 0
        || seen.peer_is_trusted
        || (settings.public_url.is_https() && settings.tls.is_none());
    if is_chosen {
        found.push(Finding::of(&finding::FORWARDED_FOR_CHOSEN, url));
        return found;
    }
    if !is_proxy {
        found.push(Finding::skipped(
            Check::Forwarding,
            url,
            "something that is no HTTP proxy (NAT?) hides who is asking, or there is nothing to tell",
        ));
        return found;
    }
    if seen.forwarded_for == 0 {
        found.push(Finding::of(&finding::FORWARDED_FOR_MISSING, url));
    }
    if !seen.peer_is_trusted {
        let proxy = seen.peer.to_string();
        found.push(
            Finding::of(&finding::PROXY_NOT_TRUSTED, url)
                .because(&proxy)
                .namely(format!("trusted_proxies = [\"{proxy}\"]")),
        );
    }
    if found.is_empty() {
        found.push(ok("the proxy in front is trusted, and says who is asking"));
    }
    found
}

/// The metadata, and the challenge that leads there.
async fn metadata(world: &World, is_ours: bool) -> Vec<Finding> {
    let settings = &world.settings;
    let catalog = catalog(settings);
    let registers = settings.registration.dynamic != DynamicRegistration::Off;
    let Ok(documents) =
        Metadata::new(&catalog, registers, settings.registration.client_id_metadata_documents)
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let behind = catalog.servers.iter().filter(|server| server.is_behind_us());
    let resources = behind.clone().map(|server| format!("{}{}", metadata::RESOURCE, server.path));
    for path in std::iter::once(metadata::ISSUER.to_owned()).chain(resources) {
        let expected = documents.at(&path).unwrap_or_default();
        found.push(match document(world, &path, &expected).await {
            Some(finding) => finding,
            None => {
                Finding::ok(Check::WellKnown, settings.public_url.join(&path), "as this configuration says")
            }
        });
    }
    for server in behind {
        let subject = settings.public_url.join(&server.path);
        let address = metadata::address(&catalog, server);
        if !challenges(world, &server.path, &address).await {
            found.push(Finding::of(&finding::CHALLENGE_LOST, subject));
        }
    }
    if is_ours {
        return found;
    }
    // Nobody knows who answered: what is wrong may not be ours.
    let unsure = |finding: Finding| match finding.slug {
        None => finding,
        Some(_) => Finding::skipped(finding.check, finding.subject, "only the running gateway can say"),
    };
    found.into_iter().map(unsure).collect()
}

/// What is wrong with a document; `None`: nothing.
async fn document(world: &World, path: &str, expected: &[u8]) -> Option<Finding> {
    let subject = world.settings.public_url.join(path);
    let Ok(url) = world.at(path) else { return None };
    let request = Request::builder().header(header::ACCEPT, "application/json");
    let answer = match call(&world.tls, &url, request, "", whole).await {
        Ok(answer) => answer.response,
        Err(_) => {
            return Some(Finding::of(&finding::WELL_KNOWN_BLOCKED, subject).because("there is no answer"));
        }
    };
    let shown = serde_json::from_slice::<Value>(answer.body()).ok().filter(Value::is_object);
    let Some(shown) = shown.filter(|_| answer.status() == StatusCode::OK) else {
        let detail = format!("it answers {}", answer.status().as_u16());
        return Some(Finding::of(&finding::WELL_KNOWN_BLOCKED, subject).because(detail));
    };
    let expected: Value = serde_json::from_slice(expected).unwrap_or_default();
    let members = expected.as_object().into_iter().flatten();
    let mut wrong: Vec<&str> = members
        .filter(|(name, value)| shown.get(*name) != Some(*value))
        .map(|(name, _)| name.as_str())
        .collect();
    if shown.as_object().map_or(0, serde_json::Map::len)
        > expected.as_object().map_or(0, serde_json::Map::len)
    {
        wrong.push("members that the gateway does not have");
    }
    if wrong.is_empty() {
        return None;
    }
    Some(Finding::of(&finding::WELL_KNOWN_WRONG, subject).because(wrong.join(", ")))
}

/// Whether a request without a token is shown the way.
async fn challenges(world: &World, path: &str, address: &str) -> bool {
    let Ok(url) = world.at(path) else { return false };
    let request = Request::builder().method(Method::POST).header(header::CONTENT_TYPE, "application/json");
    let request = request.header(header::ACCEPT, "application/json, text/event-stream");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let Ok(answer) = call(&world.tls, &url, request, ping, whole).await else { return false };
    let challenges = answer.response.headers().get_all(header::WWW_AUTHENTICATE);
    let names = format!("resource_metadata=\"{address}\"");
    answer.response.status() == StatusCode::UNAUTHORIZED
        && challenges.iter().any(|it| it.to_str().is_ok_and(|it| it.contains(&names)))
}

impl World {
    /// A URL at `public_url`.
    fn at(&self, path: &str) -> Result<Url, Trouble> {
        Url::parse(&self.settings.public_url.join(path)).map_err(|_| Trouble::Unreachable)
    }
}
