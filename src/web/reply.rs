//! Answers: the one place where refusals and faults become HTTP.
//!
//! The same [`Failure`] looks different to a client (JSON, RFC 6749 section 5.2), to a person (a page from the fixed
//! catalogue) and at an MCP server's path (JSON-RPC shape and a challenge). In each form it is made of constants of ours:
//! code and text of the refusal, or, for a fault, one fixed sentence. The cause goes to the log, in the span that carries
//! the request id, and the id goes into the answer.
//!
//! Nothing here is cacheable. Must never be given text of a third party, of a library or of the request.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Serialize;

use super::{
    page::{
        ALL_PARAMETERS, ErrorKind, ErrorPage, Label, Leave, LeaveTo, LeaveUrl, PageContext, StartAgain,
        Verbatim, Voice,
    },
    read,
    request_id::RequestId,
};
use crate::{
    domain::{
        access::NOT_ADMITTED,
        post::CROSS_SITE,
        refusal::{ErrorCode, Refusal},
    },
    flow::{
        Failure, fault,
        journal::{self, Event},
    },
    proxy::{Body, answer::json_rpc_error, full},
};

/// An answer.
pub type Reply = Response<Body>;

/// How long a client waits before it tries again, where nothing better is known.
const AGAIN: Duration = Duration::from_secs(5);

/// A JSON answer that nobody keeps.
pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // Only maps with odd keys fail to become JSON; there are none.
    let mut reply = Response::new(full(serde_json::to_vec(value).unwrap_or_default()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// A fixed sentence as plain text.
pub fn text(status: StatusCode, sentence: &'static str) -> Reply {
    let mut reply = Response::new(full(sentence));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// The error answer of an endpoint that clients call (RFC 6749 section 5.2, RFC 7591 section 3.2.2). `by_header`: the
/// client tried the `Authorization` header, so a failed authentication names the scheme.
pub fn oauth_error(failure: &Failure, by_header: bool, id: RequestId) -> Reply {
    #[derive(Serialize)]
    struct ErrorAnswer<'a> {
        error: &'a str,
        error_description: &'a str,
    }
    note(failure);
    let fault_text = format!("Something failed here. Support id: {id}");
    let (status, code, text) = match failure {
        Failure::Refused(refusal) => (status_of(refusal), refusal.code, refusal.text),
        Failure::TooFast(_) => {
            let text = "Too many requests. Try again later.";
            (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TemporarilyUnavailable, text)
        }
        Failure::Fault(_) => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, fault_text.as_str()),
    };
    let mut reply = json(status, &ErrorAnswer { error: code.as_str(), error_description: text });
    if status == StatusCode::UNAUTHORIZED && by_header {
        let challenge = HeaderValue::from_static("Basic realm=\"token endpoint\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    retry_after(&mut reply, failure);
    reply
}

/// The error answer at an MCP server's path, where no challenge helps.
pub fn mcp_error(failure: &Failure) -> Reply {
    note(failure);
    let (status, message) = match failure {
        Failure::Refused(refusal) => (status_of(refusal), refusal.text),
        Failure::TooFast(_) => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        Failure::Fault(_) => (StatusCode::INTERNAL_SERVER_ERROR, "something failed in the gateway"),
    };
    let mut reply = json_rpc_error(status, message);
    retry_after(&mut reply, failure);
    reply
}

/// A page.
pub fn page<C: PageContext>(voice: Voice<'_>, status: StatusCode, context: &C) -> Reply {
    let html = match voice.render(context) {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(error = fault::chain(&error), "a page could not be rendered");
            return text(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here.");
        }
    };
    let mut reply = Response::new(full(html));
    *reply.status_mut() = status;
    reply.headers_mut().extend(voice.pages().security_headers(C::KIND));
    reply
}

/// The page for a failure. `again` renders the same request anew, where that can help.
pub fn failure_page(voice: Voice<'_>, failure: &Failure, id: RequestId, again: Option<StartAgain>) -> Reply {
    note(failure);
    let kind = kind_of(failure);
    let mut reply = error_page(voice, kind, id, again.filter(|_| can_start_again(kind)));
    retry_after(&mut reply, failure);
    reply
}

/// Puts a page that could not be shown, or whose answer could not be read, into the journal. Only for refusals that no flow
/// has seen: those write their own entries.
pub fn note_refused_page(refusal: &Refusal) {
    journal::note(Event::PageRefused).reason(refusal.reason).write();
}

/// The page for somebody who could not be signed in without an app. Whose fault it was is in the log.
pub fn sign_in_failed(
    voice: Voice<'_>,
    failure: &Failure,
    id: RequestId,
    again: Option<StartAgain>,
) -> Reply {
    note(failure);
    let kind = match failure {
        Failure::Refused(refusal) if refusal.reason == NOT_ADMITTED.reason => ErrorKind::NotAdmitted,
        Failure::Refused(refusal) if refusal.code == ErrorCode::TemporarilyUnavailable => {
            ErrorKind::ThirdPartyUnavailable
        }
        Failure::Refused(_) => ErrorKind::SignInFailed,
        Failure::Fault(_) | Failure::TooFast(_) => kind_of(failure),
    };
    let mut reply = error_page(voice, kind, id, again);
    retry_after(&mut reply, failure);
    reply
}

/// The page for something that did not work.
pub fn error_page(voice: Voice<'_>, kind: ErrorKind, id: RequestId, again: Option<StartAgain>) -> Reply {
    page(voice, page_status(kind), &ErrorPage::new(kind, &id.to_string(), again))
}

/// Sends a browser to an address that a flow returned: a page that goes there by itself, since browsers hold
/// `form-action` against every redirect behind a form. That is our form at a POST, and at the callback the form of the
/// third party, whose policy may name our callback and cannot name the clients behind us.
pub fn leave(voice: Voice<'_>, to: &str, whom: LeaveTo, id: RequestId) -> Reply {
    if let Some(url) = LeaveUrl::new(to) {
        return page(voice, StatusCode::OK, &Leave { url, to: whom });
    }
    tracing::error!("an address to leave for is not one");
    error_page(voice, ErrorKind::Internal, id, None)
}

/// Who is at the other end of a client's answer, for the page in between.
pub fn client_at(to: &str) -> LeaveTo {
    match url::Url::parse(to) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            let host = url.host_str().unwrap_or_default();
            let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            LeaveTo::Client { host: Verbatim::new(&host) }
        }
        _ => LeaveTo::App { name: Label::new(to.split(':').next().unwrap_or_default()) },
    }
}

/// Sends whoever followed a link to the callback on to the client. Browsers that send `Sec-Fetch-Dest` are those that hold
/// `form-action` against whole chains of redirects: they get the page. Programs that follow redirects without reading
/// pages, and old browsers, get 303 (never 307 or 308, RFC 9700 section 4.12); apps are opened by a page always.
pub fn send_on(voice: Voice<'_>, headers: &HeaderMap, to: &str, id: RequestId) -> Reply {
    let whom = client_at(to);
    let is_site = matches!(whom, LeaveTo::Client { .. });
    match HeaderValue::try_from(to) {
        Ok(location) if is_site && !headers.contains_key("sec-fetch-dest") => see_other(location),
        _ => leave(voice, to, whom, id),
    }
}

/// Sends a browser to another page of ours: 303, never 307 or 308 (RFC 9700 section 4.12).
pub fn see_other(mut location: HeaderValue) -> Reply {
    // It can carry a code.
    location.set_sensitive(true);
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let headers = reply.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// The status of a refusal as JSON.
fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal.code {
        _ if *refusal == read::BODY_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        _ if *refusal == read::BODY_SLOW => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::AccessDenied => StatusCode::FORBIDDEN,
        ErrorCode::InvalidClient | ErrorCode::InvalidToken => StatusCode::UNAUTHORIZED,
        ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Which page a failure is to a person. The names of parameters are ours, chosen by the reason.
fn kind_of(failure: &Failure) -> ErrorKind {
    let refusal = match failure {
        Failure::Fault(_) => return ErrorKind::Internal,
        Failure::TooFast(_) => return ErrorKind::TooManyRequests,
        Failure::Refused(refusal) => refusal,
    };
    match refusal.reason {
        "arrival_unknown" | "provider_mixed_up" | "revoked_meanwhile" | "ticket_unknown" => {
            ErrorKind::ApprovalNotFound
        }
        "client_changed" => ErrorKind::ClientChanged,
        "client_id_missing" => ErrorKind::BadParameter("client_id"),
        "document_refused" => ErrorKind::DocumentUnusable,
        "client_gone" | "client_unknown" => ErrorKind::UnknownClient,
        "cookie_missing" | "cookie_wrong" => ErrorKind::CookieMissing,
        "cross_site_post" => ErrorKind::CrossSitePost,
        "not_connected" => ErrorKind::NotConnected,
        "page_expired" => ErrorKind::PageExpired,
        "session_ended" => ErrorKind::SessionEnded,
        "person_not_admitted" => ErrorKind::NotAdmitted,
        "pkce_malformed" | "pkce_missing" => ErrorKind::BadParameter("code_challenge"),
        "pkce_method" => ErrorKind::BadParameter("code_challenge_method"),
        "decision_missing" => ErrorKind::BadParameter("decision"),
        "resource_missing" => ErrorKind::BadParameter("resource"),
        "redirect_uri_missing" => ErrorKind::BadParameter("redirect_uri"),
        "redirect_uri_unregistered" => ErrorKind::BadRedirectUri,
        "form_broken" | "request_object" => ErrorKind::BadParameter("request"),
        "response_mode_unsupported" => ErrorKind::BadParameter("response_mode"),
        "response_type_missing" | "response_type_unsupported" => ErrorKind::BadParameter("response_type"),
        "state_too_long" => ErrorKind::BadParameter("state"),
        _ => match refusal.code {
            ErrorCode::InvalidScope => ErrorKind::BadParameter("scope"),
            ErrorCode::InvalidTarget => ErrorKind::InvalidTarget,
            ErrorCode::InvalidClient => ErrorKind::UnknownClient,
            ErrorCode::InvalidRequest => ErrorKind::BadParameter(ALL_PARAMETERS),
            ErrorCode::TemporarilyUnavailable => ErrorKind::ThirdPartyUnavailable,
            ErrorCode::AccessDenied => ErrorKind::ThirdPartyRefused,
            _ => ErrorKind::Internal,
        },
    }
}

fn page_status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::AlreadyDone => StatusCode::CONFLICT,
        ErrorKind::CookieMissing
        | ErrorKind::CrossSitePost
        | ErrorKind::NotAdmitted
        | ErrorKind::SessionEnded => StatusCode::FORBIDDEN,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::NotConnected | ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::ThirdPartyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::ApprovalNotFound
        | ErrorKind::BadParameter(_)
        | ErrorKind::BadRedirectUri
        | ErrorKind::ClientChanged
        | ErrorKind::DocumentUnusable
        | ErrorKind::InvalidTarget
        | ErrorKind::NothingChosen
        | ErrorKind::PageExpired
        | ErrorKind::SignInFailed
        | ErrorKind::ThirdPartyRefused
        | ErrorKind::UnknownClient => StatusCode::BAD_REQUEST,
    }
}

/// Where the same request, rendered anew, may well succeed.
fn can_start_again(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::AlreadyDone
            | ErrorKind::CookieMissing
            | ErrorKind::CrossSitePost
            | ErrorKind::NotConnected
            | ErrorKind::PageExpired
            | ErrorKind::SessionEnded
    )
}

fn retry_after(reply: &mut Reply, failure: &Failure) {
    let wait = match failure {
        Failure::TooFast(wait) => *wait,
        Failure::Refused(refusal) if refusal.code == ErrorCode::TemporarilyUnavailable => AGAIN,
        _ => return,
    };
    let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
}

/// What is logged of a failure: the reason of a refusal, the causes of a fault.
fn note(failure: &Failure) {
    match failure {
        Failure::Fault(fault) => {
            tracing::error!(error = fault::chain(fault), "a request could not be answered");
        }
        // Counted against nobody, so whoever makes browsers send it may send any number.
        Failure::Refused(refusal) if *refusal == CROSS_SITE => {
            tracing::debug!(reason = refusal.reason, "refused");
        }
        Failure::Refused(refusal) => {
            tracing::info!(error = refusal.code.as_str(), reason = refusal.reason, "refused");
        }
        // The journal says it, once a second: a flood must not fill the disk.
        Failure::TooFast(_) => tracing::debug!(reason = "too_fast", "refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flow::fault::Fault,
        web::{
            page::Language,
            testing::{body_of, header, id, pages},
        },
    };

    fn refused(code: ErrorCode, reason: &'static str) -> Failure {
        Refusal::new(code, reason, "A text.").into()
    }

    #[tokio::test]
    async fn clients_get_the_answers_that_keep_them_alive() {
        let cases = [
            (refused(ErrorCode::InvalidClient, "x"), 401, "invalid_client", None),
            (refused(ErrorCode::InvalidGrant, "x"), 400, "invalid_grant", None),
            (refused(ErrorCode::InvalidRequest, "x"), 400, "invalid_request", None),
            (refused(ErrorCode::InvalidClientMetadata, "x"), 400, "invalid_client_metadata", None),
            (refused(ErrorCode::AccessDenied, "registration_off"), 403, "access_denied", None),
            (refused(ErrorCode::TemporarilyUnavailable, "x"), 503, "temporarily_unavailable", Some("5")),
            (read::BODY_TOO_LARGE.into(), 413, "invalid_request", None),
            (read::BODY_SLOW.into(), 408, "invalid_request", None),
            (Failure::TooFast(Duration::from_millis(1500)), 429, "temporarily_unavailable", Some("2")),
            (Fault::new("do a thing").into(), 500, "server_error", None),
        ];
        for (failure, status, code, retry) in cases {
            let reply = oauth_error(&failure, false, id());
            assert_eq!(reply.status().as_u16(), status, "{failure:?}");
            assert_eq!(header(&reply, "retry-after"), retry, "{failure:?}");
            assert_eq!(header(&reply, "cache-control"), Some("no-store"));
            assert_eq!(header(&reply, "www-authenticate"), None);
            let answer: serde_json::Value = serde_json::from_str(&body_of(reply).await).unwrap();
            assert_eq!(answer["error"], code);
            let description = answer["error_description"].as_str().unwrap();
            assert!(description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
        }
    }

    #[test]
    fn a_failed_header_is_answered_with_its_scheme() {
        let reply = oauth_error(&refused(ErrorCode::InvalidClient, "x"), true, id());
        assert_eq!(header(&reply, "www-authenticate"), Some("Basic realm=\"token endpoint\""));
        let reply = oauth_error(&refused(ErrorCode::InvalidGrant, "x"), true, id());
        assert_eq!(header(&reply, "www-authenticate"), None);
    }

    #[tokio::test]
    async fn a_fault_says_nothing_but_its_support_id() {
        let failure: Failure =
            Fault::caused("open the vault", std::io::Error::other("disk /dev/sda1")).into();
        for reply in [
            oauth_error(&failure, false, id()),
            mcp_error(&failure),
            failure_page(pages().speaking(Language::default()), &failure, id(), None),
        ] {
            assert_eq!(reply.status().as_u16(), 500);
            let body = body_of(reply).await;
            assert!(!body.contains("vault") && !body.contains("disk"), "{body}");
        }
        let page = body_of(failure_page(pages().speaking(Language::default()), &failure, id(), None)).await;
        assert!(page.contains(&id().to_string()));
    }

    #[tokio::test]
    async fn people_get_pages_and_never_a_redirect() {
        for (code, reason, status, slug) in [
            (ErrorCode::InvalidClient, "client_unknown", 400, "unknown_client"),
            (ErrorCode::InvalidRequest, "redirect_uri_unregistered", 400, "bad_redirect_uri"),
            (ErrorCode::InvalidRequest, "pkce_missing", 400, "bad_parameter"),
            (ErrorCode::InvalidScope, "scope_malformed", 400, "bad_parameter"),
            (ErrorCode::InvalidTarget, "resource_unknown", 400, "invalid_target"),
            (ErrorCode::AccessDenied, "cookie_wrong", 403, "cookie_missing"),
            (ErrorCode::AccessDenied, "cross_site_post", 403, "cross_site_post"),
            (ErrorCode::AccessDenied, "page_expired", 400, "page_expired"),
            (ErrorCode::AccessDenied, "ticket_unknown", 400, "approval_not_found"),
            (ErrorCode::TemporarilyUnavailable, "down", 503, "third_party_unavailable"),
        ] {
            let reply =
                failure_page(pages().speaking(Language::default()), &refused(code, reason), id(), None);
            assert_eq!(reply.status().as_u16(), status, "{reason}");
            assert_eq!(header(&reply, "location"), None);
            assert_eq!(header(&reply, "x-frame-options"), Some("DENY"));
            let page = body_of(reply).await;
            assert!(page.contains(&format!("<code>{slug}</code>")), "{reason}: {page}");
        }
    }

    #[tokio::test]
    async fn starting_again_is_offered_only_where_it_helps() {
        let again = || StartAgain::new("/authorize?client_id=c");
        let expired = failure_page(
            pages().speaking(Language::default()),
            &refused(ErrorCode::AccessDenied, "page_expired"),
            id(),
            again(),
        );
        assert!(body_of(expired).await.contains("/authorize?client_id=c"));
        let unknown = failure_page(
            pages().speaking(Language::default()),
            &refused(ErrorCode::InvalidClient, "client_unknown"),
            id(),
            again(),
        );
        assert!(!body_of(unknown).await.contains("/authorize?client_id=c"));
    }

    /// docs/faq.md, section by section: the reason of the page, its text, and the reasons of the log behind it.
    fn documented() -> Vec<(String, String, Vec<String>)> {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faq.md");
        let document = std::fs::read_to_string(document).unwrap();
        let sections = document.split("\n## `").skip(1).map(|section| {
            let (slug, text) = section.split_once('`').unwrap();
            let text = text.split("\n## ").next().unwrap().to_owned();
            let reasons = text.split_once("In the log: ").map(|(_, reasons)| reasons.to_owned());
            let reasons = reasons.iter().flat_map(|reasons| reasons.split('`').skip(1).step_by(2));
            (slug.to_owned(), text.clone(), reasons.map(ToOwned::to_owned).collect())
        });
        sections.collect()
    }

    #[test]
    fn every_error_page_is_documented_with_its_titles() {
        let documented = documented();
        let slugs: Vec<_> = documented.iter().map(|(slug, ..)| slug.as_str()).collect();
        let mut expected = ErrorKind::ALL.map(ErrorKind::slug);
        expected.sort_unstable();
        assert_eq!(slugs, expected);
        for kind in ErrorKind::ALL {
            let (_, text, _) = documented.iter().find(|(slug, ..)| slug == kind.slug()).unwrap();
            let pages = pages();
            for (language, tag) in pages.languages() {
                let page = pages.speaking(language).render(&ErrorPage::new(kind, "x", None)).unwrap();
                let (_, title) = page.split_once("<h1>").unwrap();
                let title = title.split_once("</h1>").unwrap().0.replace("&#39;", "'");
                assert!(text.contains(&title), "{} ({tag}): {title}", kind.slug());
            }
        }
    }

    #[test]
    fn reasons_of_the_log_lead_to_the_pages_that_the_documentation_says() {
        const CODES: [ErrorCode; 6] = [
            ErrorCode::AccessDenied,
            ErrorCode::InvalidClient,
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidScope,
            ErrorCode::InvalidTarget,
            ErrorCode::TemporarilyUnavailable,
        ];
        let mut all = Vec::new();
        for (slug, _, reasons) in documented() {
            for reason in reasons {
                // Some pages follow from the reason, the others from the code that comes with it.
                let reason: &'static str = reason.leak();
                let mut kinds = CODES.iter().map(|code| kind_of(&refused(*code, reason)).slug());
                assert!(kinds.any(|kind| kind == slug), "{reason} does not lead to {slug}");
                all.push(reason);
            }
        }
        let source = include_str!("reply.rs");
        let (_, source) = source.split_once("fn kind_of").unwrap();
        let (source, _) = source.split_once("fn page_status").unwrap();
        for line in source.lines().filter_map(|line| line.split_once("=>")).map(|(reasons, _)| reasons) {
            for reason in line.split('"').skip(1).step_by(2) {
                assert!(all.contains(&reason), "{reason} is not in docs/faq.md");
            }
        }
    }

    #[tokio::test]
    async fn programs_are_sent_on_by_303_and_browsers_by_a_page() {
        let to = "http://127.0.0.1:1234/cb?code=c";
        let mut headers = HeaderMap::new();
        let reply = send_on(pages().speaking(Language::default()), &headers, to, id());
        assert_eq!((reply.status(), header(&reply, "location")), (StatusCode::SEE_OTHER, Some(to)));
        assert_eq!(header(&reply, "cache-control"), Some("no-store"));
        assert_eq!(
            send_on(pages().speaking(Language::default()), &headers, "cursor://x/cb?code=c", id()).status(),
            StatusCode::OK
        );
        assert_eq!(
            send_on(pages().speaking(Language::default()), &headers, "javascript:alert(1)", id()).status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
        headers.insert("sec-fetch-dest", HeaderValue::from_static("document"));
        let reply = send_on(pages().speaking(Language::default()), &headers, to, id());
        assert_eq!((reply.status(), header(&reply, "location")), (StatusCode::OK, None));
        assert!(body_of(reply).await.contains(&format!("0;url={to}")));
    }

    #[tokio::test]
    async fn browsers_are_sent_on_by_a_page_and_not_just_anywhere() {
        for to in ["http://127.0.0.1:1234/cb?code=c", "cursor://x/cb?code=c"] {
            let reply = leave(pages().speaking(Language::default()), to, client_at(to), id());
            assert_eq!(reply.status(), StatusCode::OK);
            assert_eq!(header(&reply, "location"), None);
            assert_eq!(header(&reply, "cache-control"), Some("no-store"));
            assert!(body_of(reply).await.contains(&format!("0;url={to}")));
        }
        for odd in ["javascript:alert(1)", "https://a.example/\r\nx: y", "not a url"] {
            let reply = leave(pages().speaking(Language::default()), odd, client_at(odd), id());
            assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR, "{odd}");
            assert_eq!(header(&reply, "location"), None);
        }
    }
}
