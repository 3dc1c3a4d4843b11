//! The admin API: what the operator's commands ask the running gateway, as JSON under `/admin/v1`.
//!
//! ```text
//! GET  /admin/v1                                       which gateway this is
//! POST /admin/v1/mirror                                a nonce for one request through public_url (`web::mirror`)
//! GET  /admin/v1/mirror                                nonce: how that request arrived
//! GET  /admin/v1/backup                                a backup, line by line (`domain::backup`)
//! GET  /admin/v1/{clients|consents|grants}             a page of them: user, client, server, name, all, after, limit
//! GET  /admin/v1/{clients|consents|grants}/show        id
//! POST /admin/v1/{clients|consents|grants}/revoke      id
//! POST /admin/v1/clients/reinstate                     id
//! POST /admin/v1/users/revoke                          id: subject, login name or e-mail address
//! …    /admin/v1/keys                                  the encryption keys ([`super::keys`])
//! …    /admin/v1/log                                   the levels of the log ([`super::log`])
//! ```
//!
//! Everything is in the query; bodies are not read. A parameter that is not known, or is there twice, is refused, so that a
//! mistyped filter does not list everything. What a page holds and how the shapes look is `flow::operator`'s and
//! docs/operations.md's. Must never show a secret, and never a cause from inside.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    domain::secret::Digest,
    flow::{
        Flows, fault,
        operator::{Query, Unanswered},
    },
    proxy::{Body, full},
    web::mirror::{self, Mirror},
};

pub(super) const ROOT: &str = "/admin/v1";

/// Whether a path is the API's, this version or another.
pub(super) fn is_meant(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

/// The path, where it is made of words that the API knows: for what is told of a call.
pub(super) fn known(path: &str) -> &str {
    const WORDS: [&str; 18] = [
        "",
        "admin",
        "v1",
        "backup",
        "clients",
        "consents",
        "drop",
        "grants",
        "keys",
        "log",
        "mirror",
        "new",
        "reinstate",
        "reset",
        "revoke",
        "set",
        "show",
        "users",
    ];
    if path.split('/').all(|word| WORDS.contains(&word)) { path } else { "/admin/(unknown)" }
}

/// Why the API did not open.
pub(super) struct Closed {
    /// What is answered.
    pub(super) reply: Box<Response<Body>>,
    /// What the journal says of it; nothing where it is not offered at all.
    pub(super) reason: Option<&'static str>,
}

/// Lets through whoever has the token; says to everybody else why not.
pub(super) fn open(token: Option<&Digest>, headers: &HeaderMap) -> Result<(), Closed> {
    let refuse = |status, error, message| Box::new(problem(status, error, message, None));
    let Some(token) = token else {
        let reply = refuse(
            StatusCode::NOT_FOUND,
            "admin_api_off",
            "The admin API is not offered here: set admin_token, or use the socket.",
        );
        return Err(Closed { reply, reason: None });
    };
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let presented = all.next().and_then(|header| {
        let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    let reason = match presented {
        Some(presented) if all.next().is_none() && token.matches(presented) => return Ok(()),
        Some(_) => "admin_token_wrong",
        None => "admin_token_missing",
    };
    let mut reply =
        refuse(StatusCode::UNAUTHORIZED, reason, "This needs the admin token: Authorization: Bearer.");
    reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Err(Closed { reply, reason: Some(reason) })
}

/// What a path asks for.
#[derive(Clone, Copy)]
enum What {
    Clients,
    Consents,
    Grants,
}

/// How the gateway is at this moment.
#[derive(Clone, Copy)]
pub(super) struct Now {
    /// Whether it drains.
    pub(super) draining: bool,
    /// Whether the configuration that was read last holds.
    pub(super) holds: bool,
}

/// Answers the operator.
pub(super) async fn answer(flows: &Arc<Flows>, request: &Request<()>, now: Now) -> Response<Body> {
    let path =
        request.uri().path().strip_prefix(ROOT).filter(|path| path.is_empty() || path.starts_with('/'));
    let Some(path) = path else { return nothing() };
    let query = request.uri().query().unwrap_or_default();
    let (what, verb) = match path.trim_start_matches('/').split_once('/') {
        None if path.is_empty() => {
            return only(&Method::GET, request).unwrap_or_else(|| about(flows, now));
        }
        None if path == "/backup" => {
            return only(&Method::GET, request).unwrap_or_else(|| super::backup::answer(flows));
        }
        Some(("users", "revoke")) => {
            return match only(&Method::POST, request) {
                Some(refused) => refused,
                None => revoke_user(flows, query).await.unwrap_or_else(unanswered),
            };
        }
        None => (path.trim_start_matches('/'), ""),
        Some((what, verb)) => (what, verb),
    };
    let what = match what {
        "clients" => What::Clients,
        "consents" => What::Consents,
        "grants" => What::Grants,
        _ => return nothing(),
    };
    let outcome = match verb {
        "" => match only(&Method::GET, request) {
            Some(refused) => return refused,
            None => list(flows, what, query).await,
        },
        "show" => match only(&Method::GET, request) {
            Some(refused) => return refused,
            None => show(flows, what, query).await,
        },
        "reinstate" if matches!(what, What::Clients) => match only(&Method::POST, request) {
            Some(refused) => return refused,
            None => reinstate(flows, query).await,
        },
        "revoke" => match only(&Method::POST, request) {
            Some(refused) => return refused,
            None => revoke(flows, what, query).await,
        },
        _ => return nothing(),
    };
    outcome.unwrap_or_else(unanswered)
}

async fn list(flows: &Arc<Flows>, what: What, query: &str) -> Result<Response<Body>, Unanswered> {
    let query = asked(query)?;
    Ok(match what {
        What::Clients => said(&flows.operator_lists_clients(query).await?),
        What::Consents => said(&flows.operator_lists_consents(query).await?),
        What::Grants => said(&flows.operator_lists_grants(query).await?),
    })
}

async fn show(flows: &Arc<Flows>, what: What, query: &str) -> Result<Response<Body>, Unanswered> {
    let id = id(query)?;
    Ok(match what {
        What::Clients => said(&flows.operator_shows_client(&id).await?),
        What::Consents => said(&flows.operator_shows_consent(&id).await?),
        What::Grants => said(&flows.operator_shows_grant(&id).await?),
    })
}

async fn revoke(flows: &Arc<Flows>, what: What, query: &str) -> Result<Response<Body>, Unanswered> {
    let id = id(query)?;
    let revoked = match what {
        What::Clients => flows.operator_revokes_client(&id).await?,
        What::Consents => flows.operator_revokes_consent(&id).await?,
        What::Grants => flows.operator_revokes_grant(&id).await?,
    };
    Ok(said(&revoked))
}

async fn reinstate(flows: &Arc<Flows>, query: &str) -> Result<Response<Body>, Unanswered> {
    Ok(said(&flows.operator_reinstates_client(&id(query)?).await?))
}

async fn revoke_user(flows: &Arc<Flows>, query: &str) -> Result<Response<Body>, Unanswered> {
    Ok(said(&flows.operator_revokes_person(&id(query)?).await?))
}

fn about(flows: &Flows, now: Now) -> Response<Body> {
    said(&json!({
        "product": "mcp-deputy",
        "version": env!("CARGO_PKG_VERSION"),
        "issuer": flows.catalog().public_url,
        "draining": now.draining,
        "configuration": if now.holds { "holds" } else { "refused" },
    }))
}

/// Answers what is asked about a request through `public_url`; `None`: something else is asked.
pub(super) fn mirrored(looks: &Mirror, request: &Request<()>) -> Option<Response<Body>> {
    const MISSING: Unanswered = Unanswered::Bad("This takes nonce, once, and nothing else.");
    if request.uri().path().strip_prefix(ROOT) != Some("/mirror") {
        return None;
    }
    if request.method() == Method::POST {
        return Some(match looks.open() {
            Ok(nonce) => said(&json!({ "nonce": nonce })),
            Err(fault) => unanswered(Unanswered::Fault(fault)),
        });
    }
    let query = request.uri().query().unwrap_or_default();
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    Some(only(&Method::GET, request).unwrap_or_else(|| match (parameters.next(), parameters.next()) {
        (Some((key, nonce)), None) if key == "nonce" => match looks.seen(&nonce) {
            Ok(seen) => said(&json!({ "seen": seen })),
            Err(mirror::NoSuchNonce) => {
                problem(StatusCode::NOT_FOUND, "not_found", "There is no such nonce.", None)
            }
        },
        _ => unanswered(MISSING),
    }))
}

/// The parameters of a list.
fn asked(query: &str) -> Result<Query, Unanswered> {
    const UNKNOWN: Unanswered =
        Unanswered::Bad("A list takes user, client, server, name, all, after and limit, each once.");
    let mut asked = Query::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        let slot = match &*key {
            "user" => &mut asked.user,
            "client" => &mut asked.client,
            "server" => &mut asked.server,
            "name" => &mut asked.name,
            "after" => &mut asked.after,
            "all" if !asked.all && value == "true" => {
                asked.all = true;
                continue;
            }
            "limit" if asked.limit.is_none() => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                asked.limit = Some(limit.ok_or(Unanswered::Bad("limit must be a number above 0."))?);
                continue;
            }
            _ => return Err(UNKNOWN),
        };
        if value.is_empty() || slot.replace(value).is_some() {
            return Err(UNKNOWN);
        }
    }
    Ok(asked)
}

fn id(query: &str) -> Result<String, Unanswered> {
    const MISSING: Unanswered = Unanswered::Bad("This takes id, once, and nothing else.");
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    match (parameters.next(), parameters.next()) {
        (Some((key, value)), None) if key == "id" && !value.is_empty() => Ok(value.into_owned()),
        _ => Err(MISSING),
    }
}

pub(super) fn only(method: &Method, request: &Request<()>) -> Option<Response<Body>> {
    if request.method() == method {
        return None;
    }
    let mut refused =
        problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method.", None);
    if let Ok(allowed) = HeaderValue::from_str(method.as_str()) {
        refused.headers_mut().insert(ALLOW, allowed);
    }
    Some(refused)
}

pub(super) fn unanswered(why: Unanswered) -> Response<Body> {
    match why {
        Unanswered::Bad(sentence) => problem(StatusCode::BAD_REQUEST, "bad_request", sentence, None),
        Unanswered::NotFound(kind) => {
            let message = format!("There is no such {}.", kind.as_str());
            problem(StatusCode::NOT_FOUND, "not_found", &message, None)
        }
        Unanswered::Ambiguous(kind, ids) => {
            let message = format!("This means more than one {}.", kind.as_str());
            problem(StatusCode::CONFLICT, "ambiguous", &message, Some(ids))
        }
        Unanswered::Fault(failed) => {
            tracing::error!(error = fault::chain(&failed), "the operator could not be answered");
            let message = "Something inside failed; the gateway's log says what.";
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", message, None)
        }
    }
}

pub(super) fn nothing() -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "no_such_path", "There is nothing under this path in this version.", None)
}

pub(super) fn said(what: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(what) {
        Ok(body) => in_json(StatusCode::OK, body),
        Err(_) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The answer cannot be written.", None)
        }
    }
}

pub(super) fn problem(
    status: StatusCode,
    error: &str,
    message: &str,
    candidates: Option<Vec<String>>,
) -> Response<Body> {
    let mut body = json!({ "error": error, "message": message });
    if let (Some(body), Some(candidates)) = (body.as_object_mut(), candidates) {
        body.insert("candidates".to_owned(), Value::from(candidates));
    }
    in_json(status, body.to_string().into_bytes())
}

fn in_json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_not_one_is_refused() {
        let good = asked("user=ada&client=mcpd_ci_x&server=%2Fmcp&name=a&all=true&after=AA&limit=7").unwrap();
        assert_eq!(
            (good.user.as_deref(), good.server.as_deref(), good.limit),
            (Some("ada"), Some("/mcp"), Some(7))
        );
        assert!(good.all);
        for bad in [
            "usr=ada",
            "user=ada&user=eve",
            "user=",
            "all=1",
            "all=true&all=true",
            "limit=0",
            "limit=x",
            "id=x",
        ] {
            assert!(asked(bad).is_err(), "{bad}");
        }
        assert_eq!(id("id=https%3A%2F%2Fa.example%2Fc").unwrap(), "https://a.example/c");
        for bad in ["", "id=", "id=a&id=b", "id=a&user=b", "x=a"] {
            assert!(id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_api_opens_with_its_token_only() {
        let token = Digest::of("right");
        let headers = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(AUTHORIZATION, line.parse().unwrap());
            }
            headers
        };
        assert!(open(Some(&token), &headers(&["Bearer right"])).is_ok());
        for (lines, status) in [
            (&["Bearer wrong"][..], 401),
            (&["Basic right"], 401),
            (&["right"], 401),
            (&[], 401),
            (&["Bearer right", "Bearer right"], 401),
        ] {
            let refused = open(Some(&token), &headers(lines)).err().unwrap().reply;
            assert_eq!(refused.status(), status, "{lines:?}");
            assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer");
        }
        assert_eq!(open(None, &headers(&["Bearer right"])).err().unwrap().reply.status(), 404);
    }
}
