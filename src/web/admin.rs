//! The admin listener and the operator's socket: health, readiness and metrics, and the admin API ([`api`]). Never on the
//! public port.
//!
//! The listener answers only under a name that cannot be rebound to it: a page on the internet must not read it through
//! somebody's browser. The API is there only with the token of the configuration; on the socket, which its mode protects,
//! without.
//!
//! The metrics listener has `GET /metrics` and nothing else ([`scraped`]), under any name: scrapers in a cluster come by the
//! DNS name of a Service. A page whose name is rebound to it could read it, if the person's browser reaches that network at
//! all, and would learn numbers: there is no secret and nothing about any person or client in them, nothing can be changed
//! there, and no cookie is for it. It is off until the operator writes an address.

mod api;
mod backup;
mod keys;
mod log;
mod refused;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST},
};

use self::refused::Refusals;
use super::mirror::Mirror;
use crate::{
    domain::{secret::Digest, time::Timestamp},
    flow::{CurrentFlows, keys::KeyDesk, ports::Clock},
    observe::{
        exposition,
        trace::{Step, Tracer},
    },
    proxy::{Body, full},
};

/// What the text of `/metrics` is asked of.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the admin listener answers from.
pub struct Admin {
    flows: CurrentFlows,
    /// What opens the API on the listener.
    token: Option<Digest>,
    /// How requests arrive that the operator sends through `public_url`.
    mirror: Arc<Mirror>,
    metrics: Metrics,
    /// What changes the keys.
    keys: Option<Arc<KeyDesk>>,
    refusals: Refusals,
    tracer: Tracer,
    /// Whether the configuration that was read last is the one that holds.
    reloaded: Reloaded,
}

/// What is asked whether the configuration that was read last is the one that holds.
pub type Reloaded = Arc<dyn Fn() -> bool + Send + Sync>;

impl Admin {
    /// Over these steps; `token` opens the API on the listener.
    pub fn new(flows: CurrentFlows, token: Option<Digest>, metrics: Metrics, mirror: Arc<Mirror>) -> Self {
        Self {
            flows,
            token,
            mirror,
            metrics,
            keys: None,
            refusals: Refusals::default(),
            tracer: Tracer::default(),
            reloaded: Arc::new(|| true),
        }
    }

    /// And whoever knows what became of the last reload.
    #[must_use]
    pub fn with_reloads(self, reloaded: Reloaded) -> Self {
        Self { reloaded, ..self }
    }

    /// With the keys, too.
    #[must_use]
    pub fn with_keys(self, keys: Arc<KeyDesk>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// With its calls followed.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Answers a request on the listener.
    pub async fn answer(&self, request: &Request<()>, draining: bool) -> Response<Body> {
        if !is_direct(request.uri(), request.headers()) {
            return line(StatusCode::MISDIRECTED_REQUEST, "This host name is not served here.\n");
        }
        if api::is_meant(request.uri().path()) {
            return match api::open(self.token.as_ref(), request.headers()) {
                Ok(()) => self.answer_api(request, draining).await,
                Err(closed) => {
                    if let Some(reason) = closed.reason {
                        self.refusals.note(reason, self.mirror.now());
                    }
                    *closed.reply
                }
            };
        }
        self.probe(request, draining).await
    }

    /// Answers a request on the socket: whoever can connect to it is the operator.
    pub async fn answer_operator(&self, request: &Request<()>, draining: bool) -> Response<Body> {
        if api::is_meant(request.uri().path()) {
            return self.answer_api(request, draining).await;
        }
        self.probe(request, draining).await
    }

    async fn answer_api(&self, request: &Request<()>, draining: bool) -> Response<Body> {
        let method = if request.method() == Method::GET { "GET" } else { "POST" };
        let entered = self.tracer.enters(Step::Operator, [0; 6], method, api::known(request.uri().path()));
        let answer = self.answer_within(request, draining).await;
        entered.ends(answer.status().as_u16(), "");
        answer
    }

    async fn answer_within(&self, request: &Request<()>, draining: bool) -> Response<Body> {
        if let Some(answer) = api::mirrored(&self.mirror, request) {
            return answer;
        }
        if log::is_meant(request.uri().path()) {
            return log::answer(request);
        }
        match &self.keys {
            Some(keys) if keys::is_meant(request.uri().path()) => keys::answer(keys, request).await,
            _ => {
                let now = api::Now { draining, holds: (self.reloaded)() };
                api::answer(&(self.flows)(), request, now).await
            }
        }
    }

    async fn probe(&self, request: &Request<()>, draining: bool) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return line(StatusCode::METHOD_NOT_ALLOWED, "Only GET is allowed here.\n");
        }
        match request.uri().path() {
            // Alive: this process answers. Nothing else, or an outage elsewhere would restart it in a loop.
            "/healthz" => line(StatusCode::OK, "alive\n"),
            "/readyz" if draining => line(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => match (self.flows)().check_store().await {
                Ok(()) => line(StatusCode::OK, "ready\n"),
                Err(_) => line(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
            },
            "/metrics" => exposed(&self.metrics),
            _ => line(StatusCode::NOT_FOUND, "Nothing is here.\n"),
        }
    }
}

/// The same text for listeners that others than the operator may reach: made once a second at most, however often it is
/// asked for. Making it takes the thread on which people approve and log in.
pub fn at_most_once_a_second(metrics: Metrics, clock: Arc<dyn Clock>) -> Metrics {
    const KEPT: Duration = Duration::from_secs(1);
    let kept: Mutex<Option<(Timestamp, String)>> = Mutex::default();
    Arc::new(move || {
        let now = clock.now();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            // A clock that went back makes it anew.
            Some((made, text)) if *made <= now && now.since(*made) < KEPT => text.clone(),
            _ => {
                let text = metrics();
                *kept = Some((now, text.clone()));
                text
            }
        }
    })
}

/// Answers a request to the metrics listener.
pub fn scraped(request: &Request<()>, metrics: &Metrics) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => exposed(metrics),
        (_, "/metrics") => line(StatusCode::METHOD_NOT_ALLOWED, "Only GET is allowed here.\n"),
        _ => line(StatusCode::NOT_FOUND, "Nothing is here.\n"),
    }
}

fn exposed(metrics: &Metrics) -> Response<Body> {
    let mut reply = line(StatusCode::OK, "");
    *reply.body_mut() = full(metrics());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    // So that no page of another origin can even load it.
    reply.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    reply
}

/// Whether the request names an IP address or `localhost`: what a probe uses, and what DNS rebinding cannot.
fn is_direct(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts
        .next()
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<http::uri::Authority>().ok());
    if hosts.next().is_some() {
        return false;
    }
    let Some(authority) = uri.authority().cloned().or(header) else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

fn line(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut reply = Response::new(full(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    reply
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Relaxed))
        }
    }

    #[test]
    fn attack_a_flood_of_scrapes_is_made_once_a_second() {
        let (clock, made) = (Arc::new(Hand(AtomicU64::new(1_000_000))), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&made);
        let metrics: Metrics = Arc::new(move || (counted.fetch_add(1, Relaxed) + 1).to_string());
        let metrics = at_most_once_a_second(metrics, Arc::clone(&clock) as Arc<dyn Clock>);
        for (at, text) in [(0, "1"), (999, "1"), (1000, "2"), (1999, "2"), (2000, "3"), (10, "4")] {
            clock.0.store(1_000_000 + at, Relaxed);
            for _ in 0..100 {
                assert_eq!(metrics(), text, "{at}");
            }
        }
        assert_eq!(made.load(Relaxed), 4);
    }

    #[test]
    fn only_addresses_and_localhost_are_direct() {
        for (host, direct) in [
            ("127.0.0.1:9090", true),
            ("[::1]:9090", true),
            ("localhost", true),
            ("10.1.2.3:9090", true),
            ("rebound.example:9090", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(is_direct(&Uri::from_static("/healthz"), &headers), direct, "{host}");
            headers.append(HOST, host.parse().unwrap());
            assert!(!is_direct(&Uri::from_static("/healthz"), &headers));
        }
        assert!(!is_direct(&Uri::from_static("/healthz"), &HeaderMap::new()));
    }
}
