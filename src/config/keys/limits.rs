//! The keys of `[limits]`: what one peer, one person, or everybody together can cost. docs/limits.md says how they play
//! together. Part of the table, and read by it only.

use super::{Key, Kind};

/// All of them.
pub(super) const KEYS: &[Key] = &[
    Key::maybe(
        "max_connections",
        Kind::Count,
        "16384, or what the limit of open files suffices for",
        "10000",
        "Open connections on the public listener. More than the limit of open files suffices for is lowered, with a warning: \
         docs/limits.md.",
    ),
    Key::maybe(
        "max_streams",
        Kind::Count,
        "12288, or what the limit of open files suffices for",
        "5000",
        "Answers that are open at the same time as streams. The limit of open files counts as above.",
    ),
    Key::with(
        "mcp_max_body_bytes",
        Kind::Size,
        r#""16MiB""#,
        "Size of the body of a request to an MCP server. Bodies of OAuth requests are bounded at 64 KiB.",
    ),
    Key::with(
        "header_timeout",
        Kind::Duration,
        r#""10s""#,
        "Time in which a request's header must be complete.",
    ),
    Key::with(
        "body_timeout",
        Kind::Duration,
        r#""30s""#,
        "Time in which the body of an OAuth request must be complete.",
    ),
    Key::with(
        "idle_timeout",
        Kind::Duration,
        r#""90s""#,
        "How long a connection may stay open between two requests.",
    ),
    Key::with(
        "upstream_connect_timeout",
        Kind::Duration,
        r#""5s""#,
        "Time in which a connection to an MCP server must stand.",
    ),
    Key::with(
        "upstream_response_timeout",
        Kind::Duration,
        r#""300s""#,
        "Time in which an MCP server must begin its answer. A stream that has begun is not timed.",
    ),
    Key::with(
        "third_party_timeout",
        Kind::Duration,
        r#""10s""#,
        "Time for one call to the third party, answer included.",
    ),
    Key::with(
        "registrations_per_minute",
        Kind::Count,
        "30",
        "Client registrations, and changes of them, per minute from one address.",
    ),
    Key::with(
        "max_connections_per_address",
        Kind::Count,
        "1000",
        "Open connections from one address (IPv6: one /64); proxies in `trusted_proxies` are not counted. Where few are left in all, an address gets fewer.",
    ),
    Key::with(
        "max_requests_per_person",
        Kind::Count,
        "256",
        "Requests of one person to MCP servers that are answered at the same time, open streams included; each app of a person may have half of them.",
    ),
    Key::with(
        "max_open_approvals",
        Kind::Count,
        "50000",
        "Approvals that are on their way to the third party and back.",
    ),
    Key::with(
        "max_open_approvals_per_address",
        Kind::Count,
        "500",
        "The same from one address; where very many are open in all, each address may have 8.",
    ),
    Key::with(
        "max_grants_per_person",
        Kind::Count,
        "256",
        "Live permissions of one person; one more ends the one that was longest unused.",
    ),
    Key::with(
        "authorizations_per_minute",
        Kind::Count,
        "300",
        "Authorization requests per minute from one address.",
    ),
    Key::with(
        "approvals_per_minute",
        Kind::Count,
        "120",
        "Answers to a consent page per minute from one address.",
    ),
    Key::with(
        "failed_callbacks_per_minute",
        Kind::Count,
        "120",
        "Ways back from the third party that lead to nothing, per minute and address. Others always pass.",
    ),
    Key::with(
        "failed_tokens_per_minute",
        Kind::Count,
        "300",
        "Requests at our OAuth endpoints with a code, token or secret that is not good, per minute and address. Good ones always pass.",
    ),
    Key::with(
        "failed_admissions_per_minute",
        Kind::Count,
        "600",
        "Requests to MCP servers with a token that is not good, per minute and address. Good ones always pass.",
    ),
    Key::with(
        "write_timeout",
        Kind::Duration,
        r#""60s""#,
        "How long a client may take nothing of its answer. One that takes a little now and then is held to 2 KiB a second.",
    ),
    Key::with(
        "drain_deadline",
        Kind::Duration,
        r#""20s""#,
        "How long a stopping gateway waits for requests and streams to end.",
    ),
];
