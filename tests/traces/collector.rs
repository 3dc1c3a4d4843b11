//! A collector that remembers what it gets, and looks for secrets in it.

use std::{
    fs::{self, File},
    io::Write as _,
    process,
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::{
    events::EventLog,
    http::{Bound, LoopbackHost},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    protobuf::{self, Span},
    support::{Setup, chance, secrets},
};

/// What a collector does with a batch.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    Takes,
    /// It says this instead, with words that nobody may repeat.
    Says(u16),
    /// It never answers.
    Hangs,
}

pub(crate) struct Collector {
    pub(crate) url: String,
    seen: Arc<EventLog<(HeaderMap, Bytes)>>,
    _stop: DropGuard,
}

/// What an answer of the collector says, and no log may.
pub(crate) const WORDS: &str = "planned-words-of-the-collector";

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::that(Manner::Takes).await
    }

    pub(crate) async fn that(manner: Manner) -> Self {
        let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
        let (url, stop, seen) = (bound.origin(), CancellationToken::new(), Arc::new(EventLog::new()));
        let log = Arc::clone(&seen);
        bound.serve(&stop, move |request: http::Request<hyper::body::Incoming>| {
            let log = Arc::clone(&log);
            async move {
                assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                log.record((head.headers, body));
                let status = match manner {
                    Manner::Takes => 200,
                    Manner::Says(status) => status,
                    Manner::Hangs => std::future::pending().await,
                };
                let body = if status == 200 { Bytes::new() } else { Bytes::from_static(WORDS.as_bytes()) };
                Ok(Response::builder().status(status).body(http_body_util::Full::new(body).boxed()).unwrap())
            }
        });
        Self { url, seen, _stop: stop.drop_guard() }
    }

    /// A gateway that sends its traces here; `more`: more keys of `[tracing]`.
    pub(crate) fn setup(&self, more: &str) -> Setup {
        Setup { tables: format!("[tracing]\nendpoint = \"{}\"\n{more}\n", self.url), ..Setup::default() }
    }

    /// The headers of what came.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.seen.all().into_iter().map(|(headers, _)| headers).collect()
    }

    /// All spans that came. No byte of them may be a secret: of those that this process knows of, here; of those of the whole
    /// run, in `tests/leaks.rs`.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let all = self.seen.all();
        let name = format!("traces-{}-{:x?}.log", process::id(), chance::<4>());
        let mut log = File::create(secrets::folder().join("test-logs").join(name)).unwrap();
        let listed = secrets::folder().join("test-secrets").join(format!("it-{}.txt", process::id()));
        let listed = fs::read_to_string(listed).unwrap();
        assert!(!listed.is_empty(), "the secrets of this run are written down");
        for (_, body) in &all {
            let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
            log.write_all(body).unwrap();
            assert!(has("service.name"), "what is there is found");
            for secret in listed.lines().filter(|secret| !secret.starts_with("planted-")) {
                assert!(!has(secret), "a secret in a span");
            }
        }
        all.iter().flat_map(|(_, body)| protobuf::spans(body)).collect()
    }
}

/// The only span of this step.
pub(crate) fn only<'a>(spans: &'a [Span], step: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.step() == step);
    let first = found.next().unwrap_or_else(|| panic!("no span of {step}: {spans:#?}"));
    assert!(found.next().is_none(), "two spans of {step}");
    first
}
