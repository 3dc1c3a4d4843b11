//! The rows of the table of keys.

use super::{Key, Kind, Section, Shape, clients};

/// Keys and sections of later releases, with what they are for.
pub(in crate::config) const NOT_YET: &[(&str, &str)] = &[
    ("mcp_server.scope.tools", "a tool policy"),
    ("mcp_server.tools", "a tool policy"),
    ("metrics_listen", "a listener for metrics"),
    ("resource_server", "introspection by other resource servers"),
];

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
                "Address and port for health and readiness. Never the public port, and not for the public.",
            )
            .variable("MCP_DEPUTY_ADMIN_LISTEN"),
            Key::maybe(
                "trusted_proxies",
                Kind::TextList,
                "none",
                r#"["10.0.0.0/8"]"#,
                "Addresses or networks of the proxies in front of the gateway whose `X-Forwarded-For` is believed.",
            ),
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
                r#""sled:./data""#,
                "`sled:FOLDER`, or `memory:`, which forgets everything at a restart.",
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
        keys: &[
            Key::maybe(
                "preset",
                Kind::Text,
                "everything is spelled out",
                r#""github""#,
                "Known third party whose values are filled in: `github` (an OAuth app).",
            )
            .shown()
            .variable("MCP_DEPUTY_PROVIDER"),
            Key::needed(
                "client_id",
                Kind::Text,
                r#"{ env = "GITHUB_CLIENT_ID" }"#,
                "Our client identifier at the third party.",
            )
            .variable("MCP_DEPUTY_CLIENT_ID"),
            Key::maybe(
                "client_secret",
                Kind::Secret,
                "none: a public client, which the preset `github` does not allow",
                r#"{ env = "GITHUB_CLIENT_SECRET" }"#,
                "The secret of our client there.",
            )
            .shown()
            .variable("MCP_DEPUTY_CLIENT_SECRET"),
            Key::maybe(
                "title",
                Kind::Text,
                "the preset's, or NAME",
                r#""GitHub""#,
                "What people call the third party; stands on the consent page.",
            ),
            Key::maybe(
                "host",
                Kind::Text,
                "the preset's public host",
                r#""github.example.com""#,
                "Host of an installation of your own (GitHub Enterprise Server). Only with a preset.",
            ),
            Key::maybe(
                "issuer",
                Kind::Text,
                "the preset's, or unknown",
                r#""https://github.com/login/oauth""#,
                "The third party's issuer identifier, compared byte for byte with `iss` on the callback (RFC 9207).",
            ),
            Key::with(
                "iss",
                Kind::Choice(&["if_present", "required"]),
                r#""if_present""#,
                "Whether a callback without `iss` is accepted. `required` needs `issuer`.",
            ),
            Key::maybe(
                "authorization_endpoint",
                Kind::Text,
                "the preset's; needed without one",
                r#""https://github.com/login/oauth/authorize""#,
                "Where the browser is sent after consent.",
            ),
            Key::maybe(
                "token_endpoint",
                Kind::Text,
                "the preset's; needed without one",
                r#""https://github.com/login/oauth/access_token""#,
                "Where codes and refresh tokens become tokens.",
            ),
            Key::maybe(
                "userinfo_endpoint",
                Kind::Text,
                "the preset's; needed without one",
                r#""https://api.github.com/user""#,
                "Where the person behind a token is asked for.",
            ),
            Key::maybe(
                "revocation",
                Kind::Choice(&["rfc7009", "github_application", "none"]),
                "the preset's; `rfc7009` with an endpoint, `none` without",
                r#""github_application""#,
                "How tokens are given back to the third party.",
            ),
            Key::maybe(
                "revocation_endpoint",
                Kind::Text,
                "the preset's, or none",
                r#""https://api.github.com""#,
                "The RFC 7009 endpoint; for `github_application` the base of the API.",
            ),
            Key::maybe(
                "subject",
                Kind::Text,
                "the preset's, or `sub`",
                r#""id""#,
                "Path in the userinfo answer to the immutable user id (dots go deeper). Never a login or an e-mail.",
            ),
            Key::maybe(
                "username",
                Kind::Text,
                "the preset's, or `preferred_username`",
                r#""login""#,
                "Path to the login name, for display.",
            ),
            Key::maybe(
                "display_name",
                Kind::Text,
                "the preset's, or `name`",
                r#""name""#,
                "Path to the full name, for display.",
            ),
            Key::maybe(
                "email",
                Kind::Text,
                "the preset's, or `email`",
                r#""email""#,
                "Path to the e-mail address, for display, and for `[access]` where `email_verified` stands beside it.",
            ),
            Key::maybe(
                "emails_endpoint",
                Kind::Text,
                "the preset's, or none",
                r#""https://api.github.com/user/emails""#,
                "Where a person's e-mail addresses are listed, as objects with `email` and `verified`. Asked only \
                 where `[access]` has a rule about them; the preset `github` then asks for the scope `user:email` too.",
            ),
            Key::maybe(
                "organizations_endpoint",
                Kind::Text,
                "the preset's, or none",
                r#""https://api.github.com/user/orgs""#,
                "Where a person's organizations are listed (the first 100 count). Asked only where `[access]` has a \
                 rule about them; the preset `github` then asks for the scope `read:org` too.",
            ),
            Key::maybe(
                "organization",
                Kind::Text,
                "the preset's, or `id`",
                r#""id""#,
                "Path in each of these to the immutable id (dots go deeper). A name can be given to somebody else.",
            ),
            Key::maybe(
                "scopes",
                Kind::TextList,
                "none",
                r#"["read:org"]"#,
                "Third-party scopes that are always asked for.",
            ),
            Key::maybe(
                "default_scopes",
                Kind::TextList,
                "the preset's (github: `read:user`), or none",
                r#"["read:user"]"#,
                "Third-party scopes of an MCP scope that names none itself.",
            ),
            Key::with(
                "requires_scope",
                Kind::Flag,
                "true",
                "Whether the third party must never be asked without any scope. Set `false` only for one that has no \
                 scopes.",
            ),
            Key::with(
                "scope_separator",
                Kind::Text,
                r#"" ""#,
                "What stands between scopes in the authorization request.",
            ),
            Key::maybe(
                "granted_scope_separators",
                Kind::Text,
                "the preset's (github: comma and space), or the scope_separator",
                r#"", ""#,
                "Characters that may stand between scopes in the third party's answers.",
            ),
            Key::maybe(
                "scope_equivalents",
                Kind::Lists,
                "the preset's, or none",
                r#"{ repo = ["public_repo"] }"#,
                "Granted third-party scopes that include others. Replaces the preset's list.",
            ),
            Key::maybe(
                "scope_descriptions",
                Kind::Texts,
                "the preset's, or none",
                r#"{ gist = "Create and change your gists" }"#,
                "What third-party scopes allow, in words for the consent page. Added to the preset's list.",
            ),
            Key::with(
                "pkce",
                Kind::Flag,
                "true",
                "Whether our own PKCE pair (S256) is sent. Without it a client secret is needed.",
            ),
            Key::maybe(
                "token_auth_method",
                Kind::Choice(&["basic", "post"]),
                "the preset's (github: `post`), or `basic`",
                r#""post""#,
                "How our client authenticates at the token endpoint.",
            ),
            Key::maybe(
                "authorize_params",
                Kind::Texts,
                "none",
                r#"{ prompt = "select_account" }"#,
                "More parameters for the authorization request.",
            ),
            Key::maybe(
                "choose_account_params",
                Kind::Texts,
                "the preset's (github: `prompt=select_account`), or none",
                r#"{ prompt = "select_account" }"#,
                "Parameters with which the third party lets a person choose an account. With them the consent page offers \
                 another account.",
            ),
            Key::maybe(
                "refresh_needs_consent",
                Kind::Flag,
                "the preset's (github: `false`), or `false`",
                "true",
                "Whether the third party gives a refresh token only when it has just asked the person itself. Then \
                 `prompt=consent` is sent unless the person of this browser is known to have one.",
            ),
            Key::with(
                "access_outlives_refresh",
                Kind::Flag,
                "false",
                "Whether the access token before a refresh stays usable after it.",
            ),
            Key::maybe(
                "revoke_ends_only_this_token",
                Kind::Flag,
                "the preset's (github: `true`), or `false`",
                "true",
                "Whether revoking a token leaves the person's other tokens alive.",
            ),
        ],
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
                "URL of the MCP server. http is fine on a private network.",
            )
            .variable("MCP_DEPUTY_UPSTREAM_URL"),
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
        ],
    },
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
        keys: &[
            Key::with(
                "max_connections",
                Kind::Count,
                "10000",
                "Open connections on the public listener.",
            ),
            Key::with("max_streams", Kind::Count, "5000", "Answers that are open at the same time as streams."),
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
                "Client registrations per minute from one address.",
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
        ],
    },
    Section {
        path: "access",
        shape: Shape::Table,
        doc: "Who may sign in: whoever at least one rule names. Without any rule everybody whom the third party lets \
              in. Asked at every sign-in and every refresh, and when facts about a person are ten minutes old; who is \
              no longer named loses access then.",
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
];
