//! The rows of the table of keys.

use super::{
    Key, Kind, Section, Shape, branding, clients, provider, resource_server::RESOURCE_SERVER, tracing,
};

/// Every section, parents first.
pub(in crate::config) const SECTIONS: &[Section] = &[
    Section {
        path: "",
        shape: Shape::Root,
        doc: "Where the gateway is reached.",
        shown: true,
        keys: &[
            Key::needed(
                "public_url",
                Kind::Text,
                r#""https://mcp.example.com""#,
                "The origin under which clients and browsers reach the gateway, and its issuer. https, or http on a \
                 loopback host; no path. Clients keep what they registered only as long as it stays the same.",
            )
            .variable("MCP_DEPUTY_PUBLIC_URL"),
            Key::with(
                "listen",
                Kind::Text,
                r#""127.0.0.1:8080""#,
                "Address and port of the public listener.",
            )
            .variable("MCP_DEPUTY_LISTEN"),
            Key::with(
                "admin_listen",
                Kind::Text,
                r#""127.0.0.1:9090""#,
                "Address and port for health, readiness and metrics. Never the public port, and not for the public.",
            )
            .variable("MCP_DEPUTY_ADMIN_LISTEN"),
            Key::maybe(
                "metrics_listen",
                Kind::Text,
                "off; `/metrics` is on `admin_listen` all the same",
                r#""0.0.0.0:9091""#,
                "Address and port of a listener with `GET /metrics` and nothing else, under any host name, for scrapers in \
                 a cluster (docs/metrics.md). Not for the public.",
            )
            .variable("MCP_DEPUTY_METRICS_LISTEN"),
            Key::maybe(
                "admin_socket",
                Kind::Text,
                "`admin.sock` in the store's folder; none with `memory:`",
                r#""/run/mcp-deputy/admin.sock""#,
                "The socket over which the operator's commands reach the running gateway (mode 0600: for its own user \
                 only), or `off`.",
            )
            .variable("MCP_DEPUTY_ADMIN_SOCKET"),
            Key::maybe(
                "admin_token",
                Kind::Secret,
                "only the socket",
                r#"{ env = "MCP_DEPUTY_ADMIN_TOKEN" }"#,
                "With it the operator's commands also work over `admin_listen` (`--url`): whoever has it can see and revoke \
                 everything. At least 32 printable characters (`openssl rand -hex 32`).",
            )
            .variable("MCP_DEPUTY_ADMIN_TOKEN"),
            Key::maybe(
                "trusted_proxies",
                Kind::TextList,
                "none",
                r#"["10.0.0.0/8"]"#,
                "Addresses or networks of the proxies in front of the gateway whose `X-Forwarded-For` is believed. Never everybody (`0.0.0.0/0`).",
            ),
            Key::with(
                "log",
                Kind::Text,
                r#""info""#,
                "From which level on something is logged, also by module: `info,mcp_deputy::proxy=debug`. Can be changed \
                 while the gateway runs, like most keys (docs/operations.md).",
            )
            .variable("MCP_DEPUTY_LOG"),
        ],
    },
    Section {
        path: "tls",
        shape: Shape::Table,
        doc: "TLS on the public listener. Leave it out where something in front of the gateway ends TLS.",
        shown: false,
        keys: &[
            Key::needed(
                "certificate",
                Kind::Text,
                r#""certificate.pem""#,
                "File with the certificate and its chain, PEM.",
            ),
            Key::needed("key", Kind::Text, r#""key.pem""#, "File with the private key, PEM."),
        ],
    },
    Section {
        path: "store",
        shape: Shape::Table,
        doc: "Where clients, consents, grants and third-party tokens are kept.",
        shown: true,
        keys: &[
            Key::with(
                "url",
                Kind::Text,
                r#""disk:./data""#,
                "`disk:FOLDER` (a local disk), or `memory:`, which forgets everything at a restart.",
            )
            .variable("MCP_DEPUTY_STORE"),
            Key::maybe(
                "encryption_key",
                Kind::Secret,
                "made on the first start, in a file beside the store",
                r#"{ env = "MCP_DEPUTY_KEY" }"#,
                "32 random bytes in base64 or hexadecimal (`openssl rand -base64 32`); they seal what is secret in \
                 the store. Keep a copy: without them a backup of the store cannot be read.",
            )
            .variable("MCP_DEPUTY_KEY"),
            Key::maybe(
                "previous_encryption_keys",
                Kind::SecretList,
                "none",
                r#"[{ env = "MCP_DEPUTY_PREVIOUS_KEY" }]"#,
                "Keys used before, so that what they sealed still opens.",
            ),
        ],
    },
    Section {
        path: "provider",
        shape: Shape::Named,
        doc: "A third-party authorization server, at which the gateway is one static OAuth client. Register the \
              redirect URI `<public_url>/callback/NAME` there. Several are allowed. With a preset two keys are \
              enough, and any other key replaces what the preset says.",
        shown: true,
        keys: provider::KEYS,
    },
    Section {
        path: "mcp_server",
        shape: Shape::List,
        doc: "An MCP server behind the gateway. Its resource, and the URL for clients, is `public_url` + `path`.",
        shown: true,
        keys: &[
            Key::with(
                "path",
                Kind::Text,
                r#""/mcp""#,
                "Path on our side, matched exactly.",
            )
            .shown()
            .variable("MCP_DEPUTY_PATH"),
            Key::needed(
                "upstream_url",
                Kind::Text,
                r#""http://127.0.0.1:3000/mcp""#,
                "URL of the MCP server, which is none of the listeners here. http is fine on a private network.",
            )
            .variable("MCP_DEPUTY_UPSTREAM_URL"),
            Key::maybe(
                "resource",
                Kind::Text,
                "it is behind the gateway",
                r#""https://tools.example.net/mcp""#,
                "Instead of `path` and `upstream_url`: the identifier of an MCP server that is served elsewhere and takes \
                 our tokens. Nothing is forwarded to it; it asks by `[[resource_server]]` what a token is good for.",
            ),
            Key::maybe(
                "name",
                Kind::Text,
                "host and path",
                r#""GitHub tools""#,
                "What people call it; stands on the consent page.",
            ),
            Key::maybe(
                "provider",
                Kind::Text,
                "the only one",
                r#""github""#,
                "NAME of the provider whose token the MCP server gets.",
            ),
            Key::with(
                "credential",
                Kind::Credential,
                r#""authorization""#,
                "How the MCP server gets the person's third-party token: `authorization` (Bearer), \
                 `{ header = \"X-NAME\" }` (the bare token), or `none`.",
            ),
            Key::with(
                "identity_headers",
                Kind::Flag,
                "false",
                "Whether the MCP server is told who is asking: X-MCP-Deputy-Subject, X-MCP-Deputy-Login \
                 (percent-encoded) and X-MCP-Deputy-Client. What a client sends under these names never gets through.",
            ),
            Key::with(
                "identity_assertion",
                Kind::Flag,
                "false",
                "Whether the MCP server is told who is asking by a signed JWT in X-MCP-Deputy-Assertion (ES256, one minute; \
                 keys at `/jwks`): docs/resource-servers.md.",
            ),
            Key::with(
                "upstream_http2",
                Kind::Flag,
                "false",
                "Whether HTTP/2 is spoken to the MCP server (without TLS: with prior knowledge).",
            ),
            Key::maybe(
                "allowed_origins",
                Kind::TextList,
                "our own, and any loopback origin when public_url is loopback",
                r#"["https://chat.example.com"]"#,
                "Origins of browser clients that may call this server.",
            ),
            Key::with(
                "filter_tools",
                Kind::Flag,
                "false",
                "Whether lists of tools show only those that the token may call. Needs a scope with `tools`. Clients \
                 then never learn of the others, so they do not ask for more scopes either.",
            ),
        ],
    },
    Section {
        path: "mcp_server.scope",
        shape: Shape::List,
        doc: "What a client may ask for at the `[[mcp_server]]` above, in words for people. Without any there is one \
              scope, `mcp`, with the provider's `default_scopes`.",
        shown: false,
        keys: &[
            Key::needed("name", Kind::Text, r#""repo:read""#, "The scope as clients write it."),
            Key::needed(
                "description",
                Kind::Text,
                r#""See your repositories""#,
                "What it lets an app do; stands on the consent page.",
            ),
            Key::maybe(
                "provider_scopes",
                Kind::TextList,
                "the provider's `default_scopes`",
                r#"["repo"]"#,
                "Third-party scopes that it needs.",
            ),
            Key::maybe(
                "default",
                Kind::Flag,
                "`true` for an only scope, else `false`",
                "true",
                "Whether clients are told to ask for it (challenge and `scopes_supported`).",
            ),
            Key::with(
                "optional",
                Kind::Flag,
                "false",
                "Whether the person may leave it out on the consent page. Its box comes ticked when an app asks for it; \
                 leaving it out also leaves out what includes it. A scope that a needed one includes has no box.",
            ),
            Key::maybe(
                "implies",
                Kind::TextList,
                "none",
                "[]",
                "Names of scopes of this server that it includes.",
            ),
            Key::maybe(
                "tools",
                Kind::TextList,
                "it says nothing about tools; if no scope does, every call passes unread",
                r#"["get_*", "list_*"]"#,
                "Tools that it opens; `*` stands for anything. With the first scope that says so every call is judged \
                 (docs/scopes.md): it needs all scopes that name its tool, of scopes that imply one another the \
                 narrowest, and a tool that no scope names cannot be called.",
            ),
        ],
    },
    RESOURCE_SERVER,
    Section {
        path: "consent",
        shape: Shape::Table,
        doc: "The consent page.",
        shown: false,
        keys: &[
            Key::with(
                "mode",
                Kind::Choice(&["always", "remember"]),
                r#""always""#,
                "`always`: every authorization is approved on the full page. `remember`: on a short one (where access goes, \
                 MCP server, account, one button) where the person of this browser approved the same within 90 days for an \
                 app on a web site that has not changed; never without a page. Needs a `public_url` of https.",
            ),
            Key::with(
                "missing_resource",
                Kind::Choice(&["warn", "refuse"]),
                r#""warn""#,
                "What happens when a client does not say which MCP server it wants, and there is one only.",
            ),
        ],
    },
    clients::REGISTRATION,
    clients::CLIENT,
    Section {
        path: "tokens",
        shape: Shape::Table,
        doc: "Lifetimes of our own codes and tokens.",
        shown: false,
        keys: &[
            Key::with("access_ttl", Kind::Duration, r#""1h""#, "Lifetime of an access token; at most 24h."),
            Key::with(
                "refresh_ttl",
                Kind::Duration,
                r#""30d""#,
                "How long a refresh token may stay unused.",
            ),
            Key::with(
                "code_ttl",
                Kind::Duration,
                r#""60s""#,
                "Lifetime of an authorization code; at most 10m.",
            ),
            Key::with(
                "refresh_grace",
                Kind::Duration,
                r#""120s""#,
                "How long the previous refresh token gets the same answer again, for clients that refresh twice at \
                 once; at most 32 times, at most 1h; 0s switches it off.",
            ),
            Key::with(
                "cache_ttl",
                Kind::Duration,
                r#""10s""#,
                "How long a worker may serve a token from memory before it looks into the store again; at most 5m.",
            ),
            Key::with(
                "end_streams_at_expiry",
                Kind::Flag,
                "true",
                "Whether an open stream ends when its access token expires.",
            ),
        ],
    },
    Section {
        path: "limits",
        shape: Shape::Table,
        doc: "Sizes, times and numbers that bound what one peer can cost.",
        shown: false,
        keys: super::limits::KEYS,
    },
    Section {
        path: "access",
        shape: Shape::Table,
        doc: "Who may sign in: whoever at least one rule names. Without any rule everybody whom the third party lets \
              in. Asked at every sign-in and every refresh, and when facts about a person are ten minutes old; who is \
              no longer named loses access then. A rule that is written names somebody: an empty list is refused.",
        shown: false,
        keys: &[
            Key::maybe(
                "users",
                Kind::TextList,
                "no rule",
                r#"["github:583231"]"#,
                "People: the name of a provider and the immutable user id there. The journal shows it as the last part \
                 of `subject` when somebody was refused.",
            ),
            Key::maybe(
                "emails",
                Kind::TextList,
                "no rule",
                r#"["ada@example.com"]"#,
                "E-mail addresses, where the third party says that they are verified.",
            ),
            Key::maybe(
                "email_domains",
                Kind::TextList,
                "no rule",
                r#"["example.com"]"#,
                "Domains of such addresses. A subdomain is another domain.",
            ),
            Key::maybe(
                "organizations",
                Kind::TextList,
                "no rule",
                r#"["9919"]"#,
                "Ids of organizations at the third party (for GitHub the `id` in `https://api.github.com/orgs/NAME`).",
            ),
        ],
    },
    branding::BRANDING,
    tracing::TRACING,
];
