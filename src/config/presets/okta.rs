//! Okta: the organization's own authorization server (`https://DOMAIN`) or a custom one (`https://DOMAIN/oauth2/ID`).
//!
//! By discovery, as for any OpenID Connect provider: the two differ in their paths, and both say so. Known: a refresh token
//! needs `offline_access`; whether it is rotated is the tenant's setting, and whatever comes counts. Unverified: that the
//! userinfo answer's `sub` is the user id (the access token's may be a login; it is not read); that revoking ends one token.

use super::{Preset, oidc::OIDC};

/// An OIDC web application.
pub(in crate::config) const OKTA: Preset =
    Preset { name: "okta", title: "Okta", needs_secret: true, revoke_ends_only_this_token: true, ..OIDC };
