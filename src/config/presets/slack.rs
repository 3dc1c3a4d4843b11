//! Slack, with a person's own token (user scopes).
//!
//! Known: errors come with status 200 and `ok: false`; scopes are separated by commas; user scopes are in `user_scope`, and the
//! person's token is inside `authed_user`; no refresh token unless token rotation is switched on. Unverified: the
//! endpoints, S256, the names of error codes, that `auth.revoke` takes the token as a form field, and that a refresh answers with
//! the user's token at the top.
//!
//! A user id is unique in its workspace, so the subject is both. Bot scopes are never asked for: their token is everybody's.

use super::{Preset, SPELLED_OUT};

/// A Slack app.
pub(in crate::config) const SLACK: Preset = Preset {
    name: "slack",
    title: "Slack",
    apps: "https://api.slack.com/apps",
    authorization_endpoint: Some("https://slack.com/oauth/v2/authorize"),
    token_endpoint: Some("https://slack.com/api/oauth.v2.access"),
    userinfo_endpoint: Some("https://slack.com/api/auth.test"),
    revocation: Some("rfc7009"),
    revocation_endpoint: Some("https://slack.com/api/auth.revoke"),
    subject: "user_id",
    subject_realm: "team_id",
    username: "user",
    default_scopes: &["users:read"],
    scope_parameter: "user_scope",
    scope_separator: ",",
    scope_descriptions: &[
        ("channels:history", "Read messages in public channels"),
        ("channels:read", "See public channels"),
        ("chat:write", "Send messages as you"),
        ("search:read", "Search what you can see"),
        ("users:read", "See people in your workspace"),
    ],
    token_answer: "authed_user",
    needs_secret: true,
    // The same person gets the same token again; one that somebody else still holds is never revoked.
    revoke_ends_only_this_token: true,
    ..SPELLED_OUT
};
