//! Google.
//!
//! Known: a refresh token only with `access_type=offline`, and usually only when the person was just asked; it is not
//! rotated, and a refresh answers without one. Unverified: the endpoints; `prompt=select_account`; that S256 is taken; that
//! revoking one token ends the whole authorization of the app; that an access token stays good after a refresh; that
//! `profile` and `email` come back under their long names. Apps in testing state lose refresh tokens after days (unverified).
//! For a rule about a Workspace domain, `email_domains` counts verified addresses only.

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenAuthMethod;

/// An OAuth client of a Google Cloud project.
pub(in crate::config) const GOOGLE: Preset = Preset {
    name: "google",
    title: "Google",
    apps: "https://console.cloud.google.com/auth/clients",
    issuer: Some("https://accounts.google.com"),
    authorization_endpoint: Some("https://accounts.google.com/o/oauth2/v2/auth"),
    token_endpoint: Some("https://oauth2.googleapis.com/token"),
    userinfo_endpoint: Some("https://openidconnect.googleapis.com/v1/userinfo"),
    revocation: Some("rfc7009"),
    revocation_endpoint: Some("https://oauth2.googleapis.com/revoke"),
    // The claim `sub`, never the address: addresses change hands.
    username: "email",
    // Who it is can be asked whatever else a token is for.
    scopes: &["openid", "email"],
    default_scopes: &["openid"],
    scope_equivalents: &[
        ("email", &["https://www.googleapis.com/auth/userinfo.email"]),
        ("https://www.googleapis.com/auth/userinfo.email", &["email"]),
        ("profile", &["https://www.googleapis.com/auth/userinfo.profile"]),
        ("https://www.googleapis.com/auth/userinfo.profile", &["profile"]),
    ],
    scope_descriptions: &[
        ("openid", "Know who you are"),
        ("email", "See your e-mail address"),
        ("https://www.googleapis.com/auth/calendar.readonly", "See your calendars and events"),
        ("https://www.googleapis.com/auth/drive.readonly", "See all your files in Google Drive"),
        ("https://www.googleapis.com/auth/gmail.readonly", "Read your mail"),
    ],
    authorize_params: &[("access_type", "offline")],
    choose_account_params: &[("prompt", "select_account")],
    refresh_needs_consent: true,
    token_auth_method: TokenAuthMethod::Post,
    needs_secret: true,
    access_outlives_refresh: true,
    // It ends everything that the person ever approved for the app.
    revoke_ends_only_this_token: false,
    ..SPELLED_OUT
};
