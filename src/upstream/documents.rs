//! What strangers name by a URL: the port of documents over the guarded client.
//!
//! Owns what an answer means: which status is a document, which says that there is none, and how long HTTP lets it be used
//! (RFC 9111). Where anything may be connected to is judged in [`crate::net::guarded`].
//!
//! Must never pass on anything of an answer but the body of a good one.

use std::time::{Duration, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AGE, CACHE_CONTROL, DATE, EXPIRES},
};

use crate::{
    domain::document::DocumentUrl,
    flow::ports::{BoxFuture, Document, DocumentError, Documents, Standing},
    net::guarded::{FetchError, Guarded, Lane},
};

/// The guarded way out, as the steps see it.
pub struct GuardedDocuments(Guarded);

impl GuardedDocuments {
    /// Over this client.
    pub const fn new(client: Guarded) -> Self {
        Self(client)
    }
}

impl Documents for GuardedDocuments {
    fn fetch<'a>(
        &'a self,
        url: &'a DocumentUrl,
        standing: Standing,
        most: usize,
    ) -> BoxFuture<'a, Result<Document, DocumentError>> {
        Box::pin(async move {
            let lane = match standing {
                Standing::Stranger => Lane::Strangers,
                Standing::Known => Lane::Known,
            };
            let fetched =
                self.0.get(url.as_str(), lane, url.is_loopback(), most).await.map_err(unanswered)?;
            match fetched.status {
                StatusCode::OK => Ok(Document { body: fetched.body, fresh_for: freshness(&fetched.headers) }),
                status => Err(no_document(status)),
            }
        })
    }
}

/// What a status other than 200 means. A redirect is not followed, so it leads nowhere.
fn no_document(status: StatusCode) -> DocumentError {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => DocumentError::Gone,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            DocumentError::Unavailable("document_host_busy")
        }
        status if status.is_server_error() => DocumentError::Unavailable("document_host_failed"),
        status if status.is_redirection() => DocumentError::Refused("document_redirected"),
        _ => DocumentError::Refused("document_status"),
    }
}

const fn unanswered(error: FetchError) -> DocumentError {
    match error {
        FetchError::Address => DocumentError::Refused("document_address"),
        FetchError::Broken => DocumentError::Unavailable("document_host_broke_off"),
        FetchError::Busy => DocumentError::Unavailable("documents_busy"),
        FetchError::Connect => DocumentError::Unavailable("document_host_unreachable"),
        FetchError::Name => DocumentError::Unavailable("document_host_unknown"),
        FetchError::Proxy => DocumentError::Unavailable("document_proxy_refused"),
        FetchError::Timeout => DocumentError::Unavailable("document_host_slow"),
        FetchError::Tls => DocumentError::Unavailable("document_host_tls"),
        FetchError::TooLarge => DocumentError::Refused("document_too_large"),
        FetchError::Url => DocumentError::Refused("document_url_form"),
    }
}

/// How long an answer may be used (RFC 9111 section 4.2.1): `max-age`, else `Expires`, less its age. Zero where it must not
/// be used again without asking, and where it contradicts itself. `None`: it does not say.
fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    let values = headers.get_all(CACHE_CONTROL).iter();
    let text: Vec<String> =
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase()).collect();
    for directive in text.iter().flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
                max_age = Some(max_age.map_or(seconds, |other: u64| other.min(seconds)));
            }
            _ => {}
        }
    }
    let age = text_of(headers, AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    if let Some(seconds) = max_age {
        return Some(Duration::from_secs(seconds.saturating_sub(age)));
    }
    let expires = text_of(headers, EXPIRES)?;
    let span = seconds_of(expires).zip(text_of(headers, DATE).and_then(seconds_of));
    let span = span.map_or(0, |(expires, date)| expires.saturating_sub(date));
    Some(Duration::from_secs(span.saturating_sub(age)))
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A header that cannot be read is one that says something else.
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn seconds_of(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_headers_allow() {
        let said = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            freshness(&map).map(|span| span.as_secs())
        };
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[("cache-control", "public")]), None);
        assert_eq!(said(&[("cache-control", "public, max-age=300")]), Some(300));
        assert_eq!(said(&[("cache-control", "Max-Age=300"), ("age", "100")]), Some(200));
        assert_eq!(said(&[("cache-control", "max-age=300"), ("age", "999")]), Some(0));
        assert_eq!(said(&[("cache-control", "max-age=300, max-age=5")]), Some(5));
        assert_eq!(said(&[("cache-control", "max-age=nonsense")]), Some(0));
        assert_eq!(said(&[("cache-control", "max-age=300"), ("cache-control", "no-store")]), Some(0));
        assert_eq!(said(&[("cache-control", "no-cache, max-age=300")]), Some(0));
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(said(&[("expires", "Sun, 06 Nov 1994 08:59:37 GMT"), date]), Some(600));
        assert_eq!(said(&[("expires", "Sun, 06 Nov 1994 08:39:37 GMT"), date]), Some(0));
        assert_eq!(said(&[("expires", "0"), date]), Some(0));
        assert_eq!(said(&[("expires", "Sun, 06 Nov 1994 08:59:37 GMT")]), Some(0));
        assert_eq!(said(&[("expires", "0"), ("cache-control", "max-age=9")]), Some(9));
    }

    #[test]
    fn only_200_is_a_document_and_only_404_and_410_say_that_there_is_none() {
        for (status, error) in [
            (404, DocumentError::Gone),
            (410, DocumentError::Gone),
            (302, DocumentError::Refused("document_redirected")),
            (304, DocumentError::Refused("document_redirected")),
            (201, DocumentError::Refused("document_status")),
            (203, DocumentError::Refused("document_status")),
            (403, DocumentError::Refused("document_status")),
            (429, DocumentError::Unavailable("document_host_busy")),
            (500, DocumentError::Unavailable("document_host_failed")),
            (503, DocumentError::Unavailable("document_host_failed")),
        ] {
            assert_eq!(no_document(StatusCode::from_u16(status).unwrap()), error, "{status}");
        }
    }
}
