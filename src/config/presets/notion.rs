//! Notion (public integrations).
//!
//! Known: no scopes, capabilities are set where the integration is; token and revocation requests are JSON with Basic
//! authentication; calls carry a version header. Unverified: the endpoints' exact paths, whether there is a refresh token
//! (one that comes is used), that `/v1/users/me` names the person at `bot.owner.user`, that unknown members of a token request are
//! refused (so no PKCE is sent).
//!
//! An integration that belongs to a workspace and not to a person has no user there: that login is refused.

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenRequest;

/// A public integration.
pub(in crate::config) const NOTION: Preset = Preset {
    name: "notion",
    title: "Notion",
    apps: "https://www.notion.so/profile/integrations",
    authorization_endpoint: Some("https://api.notion.com/v1/oauth/authorize"),
    token_endpoint: Some("https://api.notion.com/v1/oauth/token"),
    userinfo_endpoint: Some("https://api.notion.com/v1/users/me"),
    revocation: Some("rfc7009"),
    revocation_endpoint: Some("https://api.notion.com/v1/oauth/revoke"),
    subject: "bot.owner.user.id",
    username: "bot.owner.user.name",
    display_name: "bot.owner.user.name",
    email: "bot.owner.user.person.email",
    scopeless: true,
    authorize_params: &[("owner", "user")],
    pkce: false,
    token_request: TokenRequest::Json,
    headers: &[("Notion-Version", "2022-06-28")],
    needs_secret: true,
    revoke_ends_only_this_token: true,
    ..SPELLED_OUT
};
