//! Microsoft Entra ID, one tenant, with Microsoft Graph as the API.
//!
//! Known: it refuses `resource` (AADSTS9010010), which we never send; a forced `prompt=consent` loops where an administrator
//! has to consent, so none is forced; a token is for one API. Unverified: the endpoints; that S256 is taken; that `/v1.0/me`
//! needs `User.Read` and has the object id as `id`; that a refresh brings a new refresh token and leaves the old one good for
//! a while; that scopes may come back with `https://graph.microsoft.com/` before them; `prompt=select_account`. There is
//! no way to give a token back.
//!
//! The subject is the object id, which is the person's in this tenant for every app (`sub` is another one for each app). So
//! the tenant is named by its id and is part of the issuer; `common` and `organizations` have no issuer to hold `iss` against.
//! `mail` is not marked as verified and never counts for a rule in `[access]`.

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenAuthMethod;

/// An app registration.
pub(in crate::config) const ENTRA: Preset = Preset {
    name: "entra",
    title: "Microsoft",
    apps: "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade",
    host: "login.microsoftonline.com",
    needs: &["tenant"],
    api,
    issuer: Some("https://{host}/{tenant}/v2.0"),
    authorization_endpoint: Some("https://{host}/{tenant}/oauth2/v2.0/authorize"),
    token_endpoint: Some("https://{host}/{tenant}/oauth2/v2.0/token"),
    userinfo_endpoint: Some("{api}/v1.0/me"),
    subject: "id",
    username: "userPrincipalName",
    display_name: "displayName",
    email: "mail",
    scopes: &["User.Read", "offline_access"],
    default_scopes: &["User.Read"],
    scope_equivalents: &[
        ("User.Read", &["https://graph.microsoft.com/User.Read"]),
        ("https://graph.microsoft.com/User.Read", &["User.Read"]),
    ],
    scope_descriptions: &[
        ("Calendars.Read", "Read your calendars"),
        ("Files.Read", "Read your files"),
        ("Mail.Read", "Read your mail"),
        ("User.Read", "Sign you in and read your profile"),
        ("offline_access", "Keep access until you take it back"),
    ],
    choose_account_params: &[("prompt", "select_account")],
    token_auth_method: TokenAuthMethod::Post,
    needs_secret: true,
    access_outlives_refresh: true,
    ..SPELLED_OUT
};

/// Microsoft Graph in the cloud that people sign in to.
fn api(host: &str) -> String {
    match host {
        "login.microsoftonline.us" => "https://graph.microsoft.us",
        "login.partner.microsoftonline.cn" => "https://microsoftgraph.chinacloudapi.cn",
        _ => "https://graph.microsoft.com",
    }
    .to_owned()
}
