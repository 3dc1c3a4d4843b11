//! Finished spans in the words of OpenTelemetry, and OTLP over our own HTTP client.
//!
//! The client follows no redirect, asks no proxy of the environment, and gives up in time. What the collector answers is looked at
//! for its status and shown nowhere.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event as SpanEvent, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};

use crate::{
    config::TracingSettings,
    flow::fault::Fault,
    net::{
        client::{Client, Limits},
        connect::TrustRoots,
    },
    observe::trace::{Event, Finished, Kind, Value},
};

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read: there is nothing to be read in one.
const ANSWER: usize = 64 * 1024;

/// Sends batches to one collector.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: SpanExporter,
    scope: InstrumentationScope,
}

impl Exporter {
    /// To the collector of this configuration; `None`: there is none.
    pub(super) fn new(settings: &TracingSettings, roots: &TrustRoots) -> Result<Option<Self>, Fault> {
        let Some(endpoint) = &settings.endpoint else { return Ok(None) };
        let limits = Limits { overall: PATIENCE, body: ANSWER, ..Limits::default() };
        let client = Client::trusted_within(roots, limits)
            .map_err(|error| Fault::caused("prepare calls to the collector of traces", error))?;
        let mut otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(Ours { client, headers: settings.headers.clone() })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .with_timeout(PATIENCE)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| Fault::caused("prepare the exporter of traces", error))?;
        let resource = Resource::builder_empty().with_service_name(settings.service_name.clone());
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        otlp.set_resource(&resource.with_attribute(version).build());
        let scope =
            InstrumentationScope::builder("mcp-deputy").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Some(Self { otlp, scope }))
    }

    /// Sends a batch; whether it was taken. Why not is not said: it could be text of somebody else's.
    pub(super) async fn export(&self, batch: Vec<Finished>) -> bool {
        let batch = batch.into_iter().map(|span| self.span(span)).collect();
        self.otlp.export(batch).await.is_ok()
    }

    fn span(&self, span: Finished) -> SpanData {
        let mut events = SpanEvents::default();
        events.events = span.events.into_iter().map(event).collect();
        SpanData {
            // What vendors say beside it is not ours to tell.
            span_context: SpanContext::new(
                TraceId::from_bytes(span.trace),
                SpanId::from_bytes(span.id),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.id)),
            parent_span_is_remote: span.parent.is_some_and(|parent| parent.is_remote),
            span_kind: match span.kind {
                Kind::Served => SpanKind::Server,
                Kind::Called => SpanKind::Client,
            },
            name: span.name,
            start_time: UNIX_EPOCH + span.begun,
            end_time: UNIX_EPOCH + span.ended,
            attributes: attributes(span.attributes),
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn event(event: Event) -> SpanEvent {
    SpanEvent::new(event.name, UNIX_EPOCH + event.at, attributes(event.attributes), 0)
}

fn attributes(attributes: Vec<(&'static str, Value)>) -> Vec<KeyValue> {
    let attribute = |(key, value)| match value {
        Value::Text(text) => KeyValue::new(key, text),
        Value::Number(number) => KeyValue::new(key, number),
        Value::Flag(flag) => KeyValue::new(key, flag),
    };
    attributes.into_iter().map(attribute).collect()
}

/// Our HTTP client, with the headers of the configuration.
struct Ours {
    client: Client,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ours")
    }
}

impl HttpClient for Ours {
    // What `async_trait` makes of an `async fn`.
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let mut request = request.map(Vec::from);
            for (name, value) in &self.headers {
                request.headers_mut().insert(name, value.clone());
            }
            Ok(self.client.call(request).await?.map(Bytes::from))
        })
    }
}
