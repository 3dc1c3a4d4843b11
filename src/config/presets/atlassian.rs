//! Atlassian Cloud (OAuth 2.0, 3LO).
//!
//! Known: `offline_access` for a refresh token, which is rotated; `audience` and `prompt=consent` have to be sent. Unverified:
//! the endpoints, that `/me` needs `read:me` and has `account_id`, the codes of a refused refresh
//! (`unauthorized_client` with 403), that the token endpoint takes a form, that an unknown PKCE parameter does no harm. There
//! is no known way to give a token back. Which site a token is for is the MCP server's question (accessible-resources).

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenAuthMethod;

/// An app of the developer console.
pub(in crate::config) const ATLASSIAN: Preset = Preset {
    name: "atlassian",
    title: "Atlassian",
    apps: "https://developer.atlassian.com/console/myapps/",
    authorization_endpoint: Some("https://auth.atlassian.com/authorize"),
    token_endpoint: Some("https://auth.atlassian.com/oauth/token"),
    userinfo_endpoint: Some("https://api.atlassian.com/me"),
    subject: "account_id",
    username: "nickname",
    scopes: &["read:me", "offline_access"],
    default_scopes: &["read:me"],
    scope_descriptions: &[
        ("offline_access", "Keep access until you take it back"),
        ("read:jira-work", "Read your Jira projects and issues"),
        ("read:me", "Read your profile"),
        ("write:jira-work", "Create and change Jira issues"),
    ],
    authorize_params: &[("audience", "api.atlassian.com"), ("prompt", "consent")],
    token_auth_method: TokenAuthMethod::Post,
    needs_secret: true,
    ..SPELLED_OUT
};
