//! The rows of `[tracing]`.

use super::{Key, Kind, Section, Shape};

/// Traces for OpenTelemetry.
pub(super) const TRACING: Section = Section {
    path: "tracing",
    shape: Shape::Table,
    doc: "Traces for OpenTelemetry: docs/traces.md. Only in a binary that was built with the feature `otel`; another one refuses \
          a file that names an `endpoint`.",
    shown: false,
    keys: &[
        Key::maybe(
            "endpoint",
            Kind::Text,
            "no traces",
            r#""http://127.0.0.1:4318""#,
            "The collector: OTLP over HTTP as protobuf, at `/v1/traces` below this URL (or at the URL itself, where it ends so).",
        )
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
        Key::maybe(
            "headers",
            Kind::Texts,
            "none",
            r#"{ authorization = { env = "OTEL_AUTHORIZATION" } }"#,
            "Headers of each request to the collector, secrets. The endpoint is https then, or on this computer.",
        ),
        Key::with(
            "service_name",
            Kind::Text,
            r#""mcp-deputy""#,
            "How the gateway is called in traces (`service.name`).",
        )
        .variable("OTEL_SERVICE_NAME"),
        Key::with(
            "sample_ratio",
            Kind::Ratio,
            "1.0",
            "Which part of all requests and journeys is traced, from 0 to 1. Chosen by chance, not by anything that a client says.",
        ),
        Key::with(
            "max_per_second",
            Kind::Count,
            "100",
            "How many requests are traced in a second at most: of those whose sender has access to an MCP server, and as many of \
             all others.",
        ),
        Key::with(
            "follow_clients",
            Kind::Flag,
            "false",
            "Whether a client that has access may ask for its requests to be traced, by the flag in its `traceparent`, beyond the \
             ratio and within `max_per_second`.",
        ),
    ],
};
