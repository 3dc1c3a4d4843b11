//! Presets: what is known about third parties, as data.
//!
//! A preset fills in what the operator left out of a `[provider.NAME]` section and never hides what was written. Only
//! facts from a third party's public documentation belong here; how the gateway reacts to them is decided by the code
//! that reads [`crate::domain::provider::Provider`]. [`SPELLED_OUT`] is what holds without a preset: the defaults of
//! RFC 6749 and of OpenID Connect's standard claims, and the careful choice where there is none.

use crate::domain::provider::TokenAuthMethod;

/// What holds for the keys that an operator left out.
#[derive(Debug)]
pub(super) struct Preset {
    /// The value of the key `preset`; empty for [`SPELLED_OUT`].
    pub(super) name: &'static str,
    /// The default of the key `title`.
    pub(super) title: &'static str,
    /// Where an operator creates the app: a page of the third party.
    pub(super) apps: &'static str,
    /// The public installation; an operator may name another host.
    pub(super) host: &'static str,
    /// The base of the API of the installation on a host.
    pub(super) api: fn(&str) -> String,
    /// URLs, in which `{host}` and `{api}` are replaced.
    pub(super) issuer: Option<&'static str>,
    pub(super) authorization_endpoint: Option<&'static str>,
    pub(super) token_endpoint: Option<&'static str>,
    pub(super) userinfo_endpoint: Option<&'static str>,
    pub(super) revocation: Option<&'static str>,
    pub(super) revocation_endpoint: Option<&'static str>,
    pub(super) subject: &'static str,
    pub(super) username: &'static str,
    pub(super) display_name: &'static str,
    pub(super) email: &'static str,
    pub(super) emails_endpoint: Option<&'static str>,
    /// Third-party scopes that listing e-mail addresses needs.
    pub(super) emails_scopes: &'static [&'static str],
    pub(super) organizations_endpoint: Option<&'static str>,
    /// Third-party scopes that listing organizations needs.
    pub(super) organizations_scopes: &'static [&'static str],
    pub(super) organization: &'static str,
    pub(super) default_scopes: &'static [&'static str],
    pub(super) granted_scope_separators: Option<&'static str>,
    pub(super) scope_equivalents: &'static [(&'static str, &'static [&'static str])],
    pub(super) scope_descriptions: &'static [(&'static str, &'static str)],
    pub(super) choose_account_params: &'static [(&'static str, &'static str)],
    pub(super) refresh_needs_consent: bool,
    pub(super) token_auth_method: TokenAuthMethod,
    pub(super) needs_secret: bool,
    pub(super) revoke_ends_only_this_token: bool,
}

/// Every preset.
pub(super) const PRESETS: &[Preset] = &[GITHUB];

/// An OAuth app at GitHub, or at a GitHub Enterprise Server.
const GITHUB: Preset = Preset {
    name: "github",
    title: "GitHub",
    apps: "https://{host}/settings/applications/new",
    host: "github.com",
    api: github_api,
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
    refresh_needs_consent: false,
    token_auth_method: TokenAuthMethod::Post,
    needs_secret: true,
    // Where an app has expiring tokens, each refresh replaces both and the old access token stops working.
    revoke_ends_only_this_token: true,
};

/// What holds without a preset.
pub(super) const SPELLED_OUT: Preset = Preset {
    name: "",
    title: "",
    apps: "",
    host: "",
    api: |_| String::new(),
    issuer: None,
    authorization_endpoint: None,
    token_endpoint: None,
    userinfo_endpoint: None,
    revocation: None,
    revocation_endpoint: None,
    subject: "sub",
    username: "preferred_username",
    display_name: "name",
    email: "email",
    emails_endpoint: None,
    emails_scopes: &[],
    organizations_endpoint: None,
    organizations_scopes: &[],
    organization: "id",
    default_scopes: &[],
    granted_scope_separators: None,
    scope_equivalents: &[],
    scope_descriptions: &[],
    choose_account_params: &[],
    refresh_needs_consent: false,
    token_auth_method: TokenAuthMethod::Basic,
    needs_secret: false,
    revoke_ends_only_this_token: false,
};

/// The API of github.com and of tenants of ghe.com has a host of its own; that of an Enterprise Server has a path.
fn github_api(host: &str) -> String {
    if host == "github.com" || host.ends_with(".ghe.com") {
        format!("https://api.{host}")
    } else {
        format!("https://{host}/api/v3")
    }
}

impl Preset {
    /// A URL of the preset for an installation on `host`.
    pub(super) fn url(&self, template: &str, host: &str) -> String {
        template.replace("{api}", &(self.api)(host)).replace("{host}", host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn github_urls_follow_the_host() {
        for (host, user) in [
            ("github.com", "https://api.github.com/user"),
            ("octocorp.ghe.com", "https://api.octocorp.ghe.com/user"),
            ("github.example.com", "https://github.example.com/api/v3/user"),
        ] {
            assert_eq!(GITHUB.url(GITHUB.userinfo_endpoint.unwrap(), host), user);
        }
        assert_eq!(
            GITHUB.url(GITHUB.token_endpoint.unwrap(), "github.example.com"),
            "https://github.example.com/login/oauth/access_token"
        );
    }
}
