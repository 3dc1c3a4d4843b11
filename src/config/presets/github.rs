//! GitHub: OAuth apps and GitHub Apps, at github.com, at a tenant of ghe.com, or at an Enterprise Server.
//!
//! Known: errors of the token endpoint come with status 200; `iss` on the callback since April 2026; PKCE with S256 since July
//! 2025; an OAuth app's token has no refresh token. Unverified: the endpoints themselves, the ten live tokens for each
//! person, app and set of scopes, `prompt=select_account`; that a GitHub App's user token lives 8 hours and its refresh
//! token, used once, six months; that `DELETE /applications/{client_id}/token` takes tokens of GitHub Apps.

use super::{Preset, SPELLED_OUT};
use crate::domain::provider::TokenAuthMethod;

/// An OAuth app at GitHub, or at a GitHub Enterprise Server.
pub(in crate::config) const OAUTH_APP: Preset = Preset {
    name: "github",
    title: "GitHub",
    apps: "https://{host}/settings/applications/new",
    host: "github.com",
    api,
    issuer: Some("https://{host}/login/oauth"),
    authorization_endpoint: Some("https://{host}/login/oauth/authorize"),
    token_endpoint: Some("https://{host}/login/oauth/access_token"),
    userinfo_endpoint: Some("{api}/user"),
    revocation: Some("github_application"),
    revocation_endpoint: Some("{api}"),
    // The number, never the login: logins are renamed and given to others.
    subject: "id",
    username: "login",
    display_name: "name",
    email: "email",
    emails_endpoint: Some("{api}/user/emails"),
    emails_scopes: &["user:email"],
    organizations_endpoint: Some("{api}/user/orgs"),
    organizations_scopes: &["read:org"],
    // The number, never the login, as for people.
    organization: "id",
    default_scopes: &["read:user"],
    granted_scope_separators: Some(", "),
    scope_equivalents: &[
        ("repo", &["repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"]),
        ("admin:repo_hook", &["write:repo_hook"]),
        ("write:repo_hook", &["read:repo_hook"]),
        ("admin:org", &["write:org", "manage_runners:org"]),
        ("write:org", &["read:org"]),
        ("admin:public_key", &["write:public_key"]),
        ("write:public_key", &["read:public_key"]),
        ("admin:gpg_key", &["write:gpg_key"]),
        ("write:gpg_key", &["read:gpg_key"]),
        ("admin:ssh_signing_key", &["write:ssh_signing_key"]),
        ("write:ssh_signing_key", &["read:ssh_signing_key"]),
        ("user", &["read:user", "user:email", "user:follow"]),
        ("write:discussion", &["read:discussion"]),
        ("write:packages", &["read:packages"]),
        ("project", &["read:project"]),
        ("codespace", &["codespace:secrets"]),
        ("audit_log", &["read:audit_log"]),
        ("admin:enterprise", &["manage_runners:enterprise", "manage_billing:enterprise", "read:enterprise"]),
    ],
    scope_descriptions: &[
        ("delete_repo", "Delete repositories that you administer"),
        ("gist", "Create and change your gists"),
        ("notifications", "Read your notifications and mark them as read"),
        ("public_repo", "Read and write your public repositories"),
        ("read:org", "See your organizations, teams and memberships"),
        ("read:user", "Read your profile"),
        ("repo", "Full access to your public and private repositories"),
        ("repo:status", "Read and write the status of commits"),
        ("user", "Read and change your profile"),
        ("user:email", "See your e-mail addresses"),
        ("workflow", "Change GitHub Actions workflows"),
    ],
    choose_account_params: &[("prompt", "select_account")],
    token_auth_method: TokenAuthMethod::Post,
    needs_secret: true,
    // Where an app has expiring tokens, each refresh replaces both and the old access token stops working.
    revoke_ends_only_this_token: true,
    ..SPELLED_OUT
};

/// A GitHub App that acts for a person. What it may do is set where the app is; scopes are not sent, and the answer names none.
pub(in crate::config) const APP: Preset = Preset {
    name: "github-app",
    apps: "https://{host}/settings/apps/new",
    // A GitHub App's permission "Email addresses", not a scope, lets it list them.
    emails_scopes: &[],
    organizations_scopes: &[],
    default_scopes: &[],
    scopeless: true,
    scope_equivalents: &[],
    scope_descriptions: &[],
    ..OAUTH_APP
};

/// The API of github.com and of tenants of ghe.com has a host of its own; that of an Enterprise Server has a path.
fn api(host: &str) -> String {
    if host == "github.com" || host.ends_with(".ghe.com") {
        format!("https://api.{host}")
    } else {
        format!("https://{host}/api/v3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_follow_the_host() {
        for preset in [&OAUTH_APP, &APP] {
            for (host, user) in [
                ("github.com", "https://api.github.com/user"),
                ("octocorp.ghe.com", "https://api.octocorp.ghe.com/user"),
                ("github.example.com", "https://github.example.com/api/v3/user"),
            ] {
                assert_eq!(preset.url(preset.userinfo_endpoint.unwrap(), host, ""), user);
            }
            assert_eq!(
                preset.url(preset.token_endpoint.unwrap(), "github.example.com", ""),
                "https://github.example.com/login/oauth/access_token"
            );
        }
    }
}
