//! GitLab, at gitlab.com or an installation of your own.
//!
//! Unverified, all of it: the endpoints; that access tokens live two hours and refresh tokens are used once; that the
//! userinfo answer has the user id as `sub`; that revoking ends one token with its refresh token and nothing else.

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenAuthMethod;

/// An application (of a user, a group or the instance).
pub(in crate::config) const GITLAB: Preset = Preset {
    name: "gitlab",
    title: "GitLab",
    apps: "https://{host}/-/user_settings/applications",
    host: "gitlab.com",
    issuer: Some("https://{host}"),
    authorization_endpoint: Some("https://{host}/oauth/authorize"),
    token_endpoint: Some("https://{host}/oauth/token"),
    userinfo_endpoint: Some("https://{host}/oauth/userinfo"),
    revocation: Some("rfc7009"),
    revocation_endpoint: Some("https://{host}/oauth/revoke"),
    username: "nickname",
    // Who it is can be asked whatever else a token is for.
    scopes: &["openid"],
    default_scopes: &["read_user"],
    scope_descriptions: &[
        ("api", "Full access to everything that you can do"),
        ("openid", "Know who you are"),
        ("read_api", "Read everything that you can see"),
        ("read_repository", "Read your repositories"),
        ("read_user", "Read your profile"),
        ("write_repository", "Write your repositories"),
    ],
    token_auth_method: TokenAuthMethod::Post,
    revoke_ends_only_this_token: true,
    ..SPELLED_OUT
};
