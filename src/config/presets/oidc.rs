//! Any OpenID Connect provider, by what it says of itself (Discovery 1.0).
//!
//! Standards only. Endpoints, `iss` on the callback, `offline_access`, revocation and the way our client authenticates are
//! read from the issuer's document when the gateway starts; whatever is written in the configuration is not. The person is
//! whom the userinfo endpoint names: `sub`, under the issuer. No ID token is read, since none is needed for that.

use super::{Preset, SPELLED_OUT};

/// By its issuer.
pub(in crate::config) const OIDC: Preset = Preset {
    name: "oidc",
    needs: &["issuer"],
    discovers: true,
    scopes: &["openid"],
    default_scopes: &["openid"],
    scope_descriptions: &[
        ("openid", "Know who you are"),
        ("profile", "See your name and other facts about you"),
        ("email", "See your e-mail address"),
        ("offline_access", "Keep access until you take it back"),
    ],
    choose_account_params: &[("prompt", "select_account")],
    ..SPELLED_OUT
};
