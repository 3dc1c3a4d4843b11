//! The levels of the log in the admin API.
//!
//! ```text
//! GET  /admin/v1/log           which levels hold, and whether the configuration says so
//! POST /admin/v1/log/set       filter: from these levels on, until the configuration is read again, a reset, or the end of the
//!                              process
//! POST /admin/v1/log/reset     as the configuration says
//! ```
//!
//! Libraries that could log secrets stay where they are (`observe::levels`), whatever is asked for.

use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tracing::Level;
use url::form_urlencoded;

use super::api::{ROOT, nothing, only, problem, said, unanswered};
use crate::{
    flow::{
        journal::{self, Event},
        operator::Unanswered,
    },
    observe::{
        levels::{self, Chosen},
        log,
    },
    proxy::Body,
};

/// Whether a path of the API is one of these.
pub(super) fn is_meant(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .and_then(|path| path.strip_prefix("/log"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers the operator.
pub(super) fn answer(request: &Request<()>) -> Response<Body> {
    let method = match request.uri().path().strip_prefix(ROOT) {
        Some("/log") => Method::GET,
        Some("/log/set" | "/log/reset") => Method::POST,
        _ => return nothing(),
    };
    if let Some(refused) = only(&method, request) {
        return refused;
    }
    let Some(chosen) = log::levels() else {
        let message = "The log of this process is not this program's to change.";
        return problem(StatusCode::CONFLICT, "log_elsewhere", message, None);
    };
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path().rsplit('/').next() {
        Some("set") => set(chosen, query),
        Some("reset") => reset(chosen, query),
        _ => shown(chosen, query),
    }
    .unwrap_or_else(unanswered)
}

fn shown(chosen: &Chosen, query: &str) -> Result<Response<Body>, Unanswered> {
    nothing_more(query)?;
    Ok(described(chosen))
}

fn set(chosen: &Chosen, query: &str) -> Result<Response<Body>, Unanswered> {
    const MISSING: Unanswered = Unanswered::Bad("This takes filter, once, and nothing else.");
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let filter = match (parameters.next(), parameters.next()) {
        (Some((key, filter)), None) if key == "filter" && !filter.is_empty() => filter.into_owned(),
        _ => return Err(MISSING),
    };
    if let Err(refused) = levels::judge_for_now(&filter) {
        return Ok(problem(StatusCode::BAD_REQUEST, "log_filter", &refused.to_string(), None));
    }
    // It was judged above.
    told("set", &filter, || drop(chosen.change_for_now(&filter)));
    Ok(described(chosen))
}

fn reset(chosen: &Chosen, query: &str) -> Result<Response<Body>, Unanswered> {
    nothing_more(query)?;
    let shown = chosen.shown();
    if shown.is_for_now {
        told("reset", &shown.configured, || {
            chosen.restore();
        });
    }
    Ok(described(chosen))
}

/// Changes the levels and says so in the journal: before, where it is not written any more afterwards.
fn told(reason: &'static str, filter: &str, change: impl FnOnce()) {
    let entry = journal::note(Event::LogLevelsChanged).reason(reason);
    if writes_journal(filter) {
        change();
        entry.write();
    } else {
        entry.write();
        change();
    }
}

fn described(chosen: &Chosen) -> Response<Body> {
    let shown = chosen.shown();
    let (most, libraries) = levels::capped();
    said(&json!({
        "filter": shown.filter,
        "configured": shown.configured,
        "changed": shown.is_for_now,
        "journal": writes_journal(&shown.filter),
        "capped": { "level": most, "libraries": libraries },
    }))
}

/// Whether the journal is written under a filter.
fn writes_journal(filter: &str) -> bool {
    levels::lets_through(filter, journal::TARGET, Level::INFO)
}

fn nothing_more(query: &str) -> Result<(), Unanswered> {
    if query.is_empty() { Ok(()) } else { Err(Unanswered::Bad("This takes no parameters.")) }
}
