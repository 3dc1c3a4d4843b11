//! Linear.
//!
//! Known: scopes are separated by commas; PKCE with S256; since April 2026 access tokens expire after about a day and refresh tokens
//! are rotated; who somebody is, is asked by GraphQL. Unverified: the endpoints, `prompt=consent` for choosing among workspaces,
//! that the revocation endpoint takes `token`, the status of errors of the API (one at status 200 has no viewer, which
//! ends nobody's access).

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenAuthMethod;

/// An OAuth application.
pub(in crate::config) const LINEAR: Preset = Preset {
    name: "linear",
    title: "Linear",
    apps: "https://linear.app/settings/api/applications/new",
    authorization_endpoint: Some("https://linear.app/oauth/authorize"),
    token_endpoint: Some("https://api.linear.app/oauth/token"),
    userinfo_endpoint: Some("https://api.linear.app/graphql"),
    userinfo_body: Some(r#"{"query":"{ viewer { id name displayName email } }"}"#),
    revocation: Some("rfc7009"),
    revocation_endpoint: Some("https://api.linear.app/oauth/revoke"),
    subject: "data.viewer.id",
    username: "data.viewer.displayName",
    display_name: "data.viewer.name",
    email: "data.viewer.email",
    default_scopes: &["read"],
    scope_separator: ",",
    granted_scope_separators: Some(", "),
    scope_descriptions: &[
        ("admin", "Administer your workspace"),
        ("comments:create", "Write comments"),
        ("issues:create", "Create issues"),
        ("read", "Read everything that you can see"),
        ("write", "Change everything that you can change"),
    ],
    choose_account_params: &[("prompt", "consent")],
    token_auth_method: TokenAuthMethod::Post,
    needs_secret: true,
    revoke_ends_only_this_token: true,
    ..SPELLED_OUT
};
