//! The keys of `[provider.NAME]`: rows of the table like all others, in a file of their own because there are many.

use super::{Key, Kind};

/// In the order of the example.
pub(super) const KEYS: &[Key] = &[
    Key::maybe(
        "preset",
        Kind::Text,
        "everything is spelled out",
        r#""github""#,
        "Known third party whose values are filled in: `github` (an OAuth app), `github-app`, `google`, `entra`, `okta`, \
         `slack`, `notion`, `linear`, `atlassian`, `gitlab`, or `oidc`, any OpenID Connect provider by its `issuer` \
         (docs/providers.md).",
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
        "Host of an installation of your own (GitHub Enterprise Server, GitLab) or of another cloud (Entra). Only with such a preset.",
    )
    .variable("MCP_DEPUTY_PROVIDER_HOST"),
    Key::maybe(
        "tenant",
        Kind::Text,
        "needed by the preset `entra`, and by no other",
        r#""11111111-2222-3333-4444-555555555555""#,
        "The id of the tenant whose people sign in. Not its name, and not `common`.",
    )
    .variable("MCP_DEPUTY_TENANT"),
    Key::maybe(
        "issuer",
        Kind::Text,
        "the preset's, or unknown; needed by the presets `oidc` and `okta`",
        r#""https://github.com/login/oauth""#,
        "The third party's issuer identifier, compared byte for byte with `iss` on the callback (RFC 9207). \
         People are known by it and their id; without it by the origin of `authorization_endpoint`, so two third parties \
         under one origin need it. It stays as it is: with another one everybody is somebody else. With the presets `oidc` \
         and `okta` its own document says at the start what is not written here.",
    )
    .variable("MCP_DEPUTY_ISSUER"),
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
        "userinfo_body",
        Kind::Text,
        "the preset's, or none: a GET",
        r#"'{"query":"{ viewer { id name } }"}'"#,
        "A JSON object that is sent there by POST, for third parties that are asked by GraphQL.",
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
        "subject_realm",
        Kind::Text,
        "the preset's (slack: `team_id`), or none: the id is unique by itself",
        r#""team_id""#,
        "Path to what that id is unique within, such as a workspace. Both together are the person then.",
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
        "the preset's, or none",
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
    Key::maybe(
        "requires_scope",
        Kind::Flag,
        "`true`; for the presets `github-app` and `notion` `false`",
        "true",
        "Whether the third party must never be asked without any scope. Set `false` only for one that has no \
         scopes.",
    ),
    Key::maybe(
        "scope_parameter",
        Kind::Text,
        "the preset's (slack: `user_scope`), or `scope`",
        r#""scope""#,
        "The parameter of the authorization request that holds the scopes.",
    ),
    Key::maybe(
        "scope_separator",
        Kind::Text,
        "the preset's (slack, linear: a comma), or a space",
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
    Key::maybe(
        "pkce",
        Kind::Flag,
        "`true`; for the preset `notion` `false`",
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
        "token_request",
        Kind::Choice(&["form", "json"]),
        "the preset's (notion: `json`), or `form`",
        r#""form""#,
        "How requests to the token and revocation endpoints are written.",
    ),
    Key::maybe(
        "token_answer",
        Kind::Text,
        "the preset's (slack: `authed_user`), or none: the answer itself",
        r#""authed_user""#,
        "Path in the token answer to the object that holds the person's tokens.",
    ),
    Key::maybe(
        "headers",
        Kind::Texts,
        "the preset's (notion: `Notion-Version`), or none",
        r#"{ X-Api-Version = "2" }"#,
        "Headers that every call to the third party carries. Replaces the preset's list.",
    ),
    Key::maybe(
        "authorize_params",
        Kind::Texts,
        "the preset's, or none",
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
    Key::maybe(
        "access_outlives_refresh",
        Kind::Flag,
        "the preset's (google, entra: `true`), or `false`",
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
];
