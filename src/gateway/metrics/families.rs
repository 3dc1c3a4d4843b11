//! The table of all metrics: what each is called, what kind of number it is, what it means and which labels it has.
//!
//! `docs/metrics.md` is generated from it. Values of labels are words of ours, names of the configuration, or reasons that
//! stand in the source; never anything that a stranger chooses.

use crate::observe::exposition::{Family, Kind};

macro_rules! families {
    ($($(#[doc = $help:literal])+ $id:ident = $name:literal $kind:ident [$($label:literal),*]),* $(,)?) => {
        $(pub(super) static $id: Family = Family {
            name: $name,
            kind: Kind::$kind,
            help: concat!($($help),+).trim_ascii_start(),
            labels: &[$($label),*],
        };)*

        /// All of them, in the order in which they are written.
        #[cfg(test)]
        pub(super) static FAMILIES: &[&Family] = &[$(&$id),*];
    };
}

families! {
    /// Which version of mcp-deputy this is.
    BUILD = "mcp_deputy_build_info" Gauge ["version"],
    /// Requests to MCP servers that were answered, or whose client went away before (code `none`), by class of the status and by what became of them (`answered`: the MCP server's answer was passed on).
    MCP_REQUESTS = "mcp_deputy_mcp_requests_total" Counter ["server", "code", "reason"],
    /// How long it took until the answer to a request to an MCP server began, where the MCP server had to do with it.
    MCP_TOOK = "mcp_deputy_mcp_request_duration_seconds" Histogram ["server"],
    /// Requests to MCP servers whose answer has not begun yet.
    MCP_UNDER_WAY = "mcp_deputy_mcp_requests_in_flight" Gauge ["server"],
    /// Answers of MCP servers that were event streams.
    STREAMS = "mcp_deputy_streams_total" Counter ["server"],
    /// Of these, how many are open.
    STREAMS_OPEN = "mcp_deputy_streams_open" Gauge ["server"],
    /// How many event streams, and requests whose answer could become one, there may be at the same time.
    STREAM_PLACES = "mcp_deputy_stream_places" Gauge [],
    /// Connections of clients that were accepted.
    CONNECTIONS = "mcp_deputy_connections_total" Counter [],
    /// Of these, how many are open.
    CONNECTIONS_OPEN = "mcp_deputy_connections_open" Gauge [],
    /// Connections that were closed at once, because their address has too many.
    CONNECTIONS_REFUSED = "mcp_deputy_connections_refused_total" Counter [],
    /// How many connections there may be at the same time.
    CONNECTION_PLACES = "mcp_deputy_connection_places" Gauge [],
    /// TLS handshakes of clients that came to nothing: `client_gone`, `client_refused` (the client said so, most often because it does not trust the certificate), `not_tls`, `nothing_in_common`, `slow` or `unusual`.
    HANDSHAKES = "mcp_deputy_tls_handshakes_failed_total" Counter ["reason"],
    /// How long the certificate of `[tls]` that is shown stays good, by its file; below zero: it has expired. Nothing where TLS does not end here.
    CERTIFICATE = "mcp_deputy_certificate_expires_in_seconds" Gauge ["certificate"],
    /// Access tokens that a worker looked for in its own memory: found and fresh (`hit`), or read from the store (`miss`).
    SESSIONS = "mcp_deputy_session_cache_total" Counter ["result"],
    /// Requests to our own endpoints, by endpoint and class of the status.
    HTTP_REQUESTS = "mcp_deputy_http_requests_total" Counter ["endpoint", "code"],
    /// How long our own endpoints took to answer.
    HTTP_TOOK = "mcp_deputy_http_request_duration_seconds" Histogram ["endpoint"],
    /// Events of the journal (docs/journal.md), by reason. The funnel of a permission is among them, and every refusal.
    EVENTS = "mcp_deputy_events_total" Counter ["event", "reason"],
    /// Calls to third parties: `answered`, `refused` (for good) or `unavailable`, with the reason.
    THIRD_PARTY_CALLS = "mcp_deputy_third_party_calls_total" Counter ["provider", "call", "outcome", "reason"],
    /// How long calls to third parties took, whatever came of them.
    THIRD_PARTY_TOOK = "mcp_deputy_third_party_call_duration_seconds" Histogram ["provider", "call"],
    /// Fetches of metadata documents of apps: `taken`, or `gone`, `refused` (for what stands there) or `unavailable`, with the reason.
    DOCUMENTS = "mcp_deputy_document_fetches_total" Counter ["outcome", "reason"],
    /// How long callers wait for the store; a write until it is durable.
    STORE_TOOK = "mcp_deputy_store_operation_duration_seconds" Histogram ["operation"],
    /// How long the log of the store takes to be durable on the disk.
    STORE_SYNCS = "mcp_deputy_store_sync_duration_seconds" Histogram [],
    /// Writes that were made durable by those.
    STORE_SYNCED = "mcp_deputy_store_synced_writes_total" Counter [],
    /// How long it takes to bring a part of the log into the tree of the store.
    STORE_FOLDS = "mcp_deputy_store_fold_duration_seconds" Histogram [],
    /// Conditional writes that lost against another one.
    STORE_CONFLICTS = "mcp_deputy_store_conflicts_total" Counter [],
    /// Operations of the store that failed.
    STORE_FAULTS = "mcp_deputy_store_faults_total" Counter [],
    /// Size of the files of the store; of one in memory, zero.
    STORE_SIZE = "mcp_deputy_store_size_bytes" Gauge [],
    /// When a backup was last read to its end since this process started (`mcp-deputy backup`); zero: never.
    BACKED_UP_AT = "mcp_deputy_last_backup_timestamp_seconds" Gauge [],
    /// Whether everything in the store is sealed with the current encryption key: 1, or 0 while records are sealed anew.
    SEALED = "mcp_deputy_keys_settled" Gauge [],
    /// Records of the last change of the encryption key, or of the look at the start: sealed anew (`resealed`), yet to be sealed anew (`left`), or with something that no key opens (`unreadable`).
    RESEALED = "mcp_deputy_keys_records" Gauge ["state"],
    /// Steps and background work under way on the control runtime.
    STEPS = "mcp_deputy_steps_in_flight" Gauge [],
    /// Rounds of the sweeper.
    SWEEPS = "mcp_deputy_sweeps_total" Counter ["result"],
    /// Entries that the sweeper looked at (`seen`), is done with (`removed`) or could not deal with (`failed`).
    SWEPT = "mcp_deputy_swept_records_total" Counter ["result"],
    /// When the last round of the sweeper ended well; zero before the first.
    SWEPT_AT = "mcp_deputy_last_sweep_timestamp_seconds" Gauge [],
    /// Configurations that were read again while this process ran: taken (`applied`) or not (`refused`).
    RELOADS = "mcp_deputy_config_reloads_total" Counter ["result"],
    /// Whether the configuration that was read last was taken: 1, or 0 where the one before it holds.
    RELOADED = "mcp_deputy_config_last_reload_successful" Gauge [],
    /// When the configuration that holds was taken: at the start or by a reload.
    APPLIED_AT = "mcp_deputy_config_applied_timestamp_seconds" Gauge [],
    /// When a new configuration was refused last; zero: never.
    REFUSED_AT = "mcp_deputy_config_refused_timestamp_seconds" Gauge [],
    /// Spans of traces, where this binary sends any: taken by the collector (`exported`), not taken (`failed`), or too many at once (`dropped`).
    TRACE_SPANS = "mcp_deputy_trace_spans_total" Counter ["result"],
    /// When this process started to serve.
    STARTED = "process_start_time_seconds" Gauge [],
    /// Processor time that this process has used.
    CPU = "process_cpu_seconds_total" Counter [],
    /// Memory of this process that is really there.
    RESIDENT = "process_resident_memory_bytes" Gauge [],
    /// Addresses that this process has reserved.
    VIRTUAL = "process_virtual_memory_bytes" Gauge [],
    /// Files that this process has open, connections included.
    FILES = "process_open_fds" Gauge [],
    /// Files that it may have open.
    MOST_FILES = "process_max_fds" Gauge [],
}
