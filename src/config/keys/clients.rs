//! The rows about clients: how they make themselves known, and which the operator knows.

use super::{Key, Kind, Section, Shape};

/// `[registration]`
pub(super) const REGISTRATION: Section = Section {
    path: "registration",
    shape: Shape::Table,
    doc: "How clients make themselves known.",
    shown: false,
    keys: &[
        Key::maybe(
            "dynamic",
            Kind::Choice(&["on", "allow_listed", "off"]),
            r#"`"on"`, or `"allow_listed"` where `allowed_domains` is written"#,
            r#""on""#,
            "Dynamic client registration (RFC 7591): for every app, for those of `allowed_domains`, or for none. \
             Clients that are registered already stay.",
        ),
        Key::maybe(
            "allowed_domains",
            Kind::TextList,
            "every domain",
            r#"["claude.ai", "*.example.com"]"#,
            "Hosts whose apps may become known here: a name counts for itself only, with `*.` in front for every \
             host below it. All redirect URIs of a registration must lead there, metadata documents and their keys \
             must be there. `localhost` lets programs on the person's own computer register; apps of \
             `allowed_redirect_schemes` always may. An empty list is refused.",
        ),
        Key::with(
            "client_id_metadata_documents",
            Kind::Flag,
            "true",
            "Whether a client id may be the https URL of a document that says who the client is. The gateway must be \
             able to reach such hosts: switch it off where it cannot, else clients that could register do not. \
             Switched off, such clients are refused from then on, those that people approved too.",
        ),
        Key::with(
            "loopback_documents",
            Kind::Flag,
            "false",
            "Whether metadata documents on this computer are read, for tests of clients. Only where `public_url` is on \
             loopback itself.",
        ),
        Key::maybe(
            "egress_proxy",
            Kind::Text,
            "none: directly",
            r#""http://proxy.internal:3128""#,
            "HTTP proxy through which metadata documents and keys of clients are fetched (CONNECT). The proxy then \
             decides which addresses names may lead to: forbid it those inside your network.",
        ),
        Key::maybe(
            "allowed_redirect_schemes",
            Kind::TextList,
            "none",
            r#"["cursor"]"#,
            "Private-use schemes of native apps that may stand in redirect URIs, beside https and http on \
             loopback.",
        ),
        Key::maybe(
            "initial_access_token",
            Kind::Secret,
            "none is needed",
            r#"{ env = "MCP_DEPUTY_REGISTRATION_TOKEN" }"#,
            "A token without which nobody registers (RFC 7591): `Authorization: Bearer …` at `/register`.",
        ),
        Key::with(
            "management",
            Kind::Choice(&["confidential", "all", "off"]),
            r#""confidential""#,
            "Who may change or withdraw a registration later (RFC 7592): clients that authenticate, all, or none. \
             With `all` every registration of a public app is a client of its own, where else those that say the \
             same are one.",
        ),
        Key::with(
            "max_unused_clients",
            Kind::Count,
            "10000",
            "How many registrations are kept that nobody has approved yet. Beyond that the oldest of them goes.",
        ),
        Key::maybe(
            "reserved_names",
            Kind::TextList,
            "none",
            r#"["Example Bank"]"#,
            "Names about which the consent page warns where an app has one in its own, besides those of well-known \
             apps, of the providers and of the MCP servers. Look-alikes count.",
        ),
        Key::with(
            "unused_client_ttl",
            Kind::Duration,
            r#""24h""#,
            "How long a registration is kept that nobody ever approved.",
        ),
    ],
};

/// `[[client]]`
pub(super) const CLIENT: Section = Section {
    path: "client",
    shape: Shape::List,
    doc: "Clients that need not register, as many as there are. People are asked for their consent like for any \
          other. One that is taken out of the file, or gets another name, redirect URI or way of authenticating, \
          loses what people approved.",
    shown: false,
    keys: &[
        Key::needed(
            "client_id",
            Kind::Text,
            r#""reports""#,
            "Its id. It must not begin with `mcpd_` or `https://`.",
        ),
        Key::needed("name", Kind::Text, r#""Our reports""#, "What people read on the consent page."),
        Key::needed(
            "redirect_uris",
            Kind::TextList,
            r#"["https://reports.example.com/callback"]"#,
            "Where its answers may go: compared as exact strings, but for the port on loopback.",
        ),
        Key::maybe(
            "client_secret",
            Kind::Secret,
            "a public client",
            r#"{ env = "REPORTS_CLIENT_SECRET" }"#,
            "Its secret, at least 16 characters.",
        ),
        Key::maybe(
            "jwks",
            Kind::Text,
            "no keys",
            r#""https://reports.example.com/keys.json""#,
            "Where its public keys are, or the JWK set itself (RFC 7517), for `private_key_jwt`.",
        ),
        Key::maybe(
            "token_endpoint_auth_method",
            Kind::Choice(&["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]),
            "what fits: with a secret `client_secret_basic`, with keys `private_key_jwt`, else `none`",
            r#""client_secret_basic""#,
            "How it authenticates at the token endpoint.",
        ),
    ],
};
