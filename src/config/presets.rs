//! Presets: what is known about third parties, as data.
//!
//! A preset fills in what the operator left out of a `[provider.NAME]` section and never hides what was written. Only
//! facts about a third party belong here; how the gateway reacts to them is decided by the code
//! that reads [`crate::domain::provider::Provider`]. [`SPELLED_OUT`] is what holds without a preset: the defaults of
//! RFC 6749 and of OpenID Connect's standard claims, and the careful choice where there is none.
//!
//! One file for each provider. Facts come from its public documentation or from reports of the field. What is common
//! knowledge that could not be looked up is marked *unverified* there, and in docs/providers.md. A preset is here only with
//! its contract test (`upstream::contracts`): a server that answers as this one does, at its worst.

mod atlassian;
mod entra;
mod github;
mod gitlab;
mod google;
mod linear;
mod notion;
mod oidc;
mod okta;
mod slack;

use crate::domain::provider::{TokenAuthMethod, TokenRequest};

/// What holds for the keys that an operator left out.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a third party")]
pub(super) struct Preset {
    /// The value of the key `preset`; empty for [`SPELLED_OUT`].
    pub(super) name: &'static str,
    /// The default of the key `title`; empty: the name of the section.
    pub(super) title: &'static str,
    /// Where an operator creates the app: a page of the third party. Empty: in the operator's own installation.
    pub(super) apps: &'static str,
    /// The public installation; an operator may name another host. Empty: there are no other installations.
    pub(super) host: &'static str,
    /// Keys without which the preset is not complete.
    pub(super) needs: &'static [&'static str],
    /// Whether endpoints are read from the issuer's own document.
    pub(super) discovers: bool,
    /// The base of the API of the installation on a host.
    pub(super) api: fn(&str) -> String,
    /// URLs, in which `{host}`, `{api}` and `{tenant}` are replaced.
    pub(super) issuer: Option<&'static str>,
    pub(super) authorization_endpoint: Option<&'static str>,
    pub(super) token_endpoint: Option<&'static str>,
    pub(super) userinfo_endpoint: Option<&'static str>,
    pub(super) userinfo_body: Option<&'static str>,
    pub(super) revocation: Option<&'static str>,
    pub(super) revocation_endpoint: Option<&'static str>,
    pub(super) subject: &'static str,
    /// Empty: the subject is unique by itself.
    pub(super) subject_realm: &'static str,
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
    pub(super) scopes: &'static [&'static str],
    pub(super) default_scopes: &'static [&'static str],
    /// Whether there are no scopes: what an app may do is set where the app is.
    pub(super) scopeless: bool,
    pub(super) scope_parameter: &'static str,
    pub(super) scope_separator: &'static str,
    pub(super) granted_scope_separators: Option<&'static str>,
    pub(super) scope_equivalents: &'static [(&'static str, &'static [&'static str])],
    pub(super) scope_descriptions: &'static [(&'static str, &'static str)],
    pub(super) authorize_params: &'static [(&'static str, &'static str)],
    pub(super) choose_account_params: &'static [(&'static str, &'static str)],
    pub(super) refresh_needs_consent: bool,
    pub(super) pkce: bool,
    pub(super) token_auth_method: TokenAuthMethod,
    pub(super) token_request: TokenRequest,
    /// Empty: the answer itself holds the tokens.
    pub(super) token_answer: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) needs_secret: bool,
    pub(super) access_outlives_refresh: bool,
    pub(super) revoke_ends_only_this_token: bool,
}

/// Every preset, in the order in which people are told of them.
pub(super) const PRESETS: &[Preset] = &[
    github::OAUTH_APP,
    github::APP,
    google::GOOGLE,
    entra::ENTRA,
    okta::OKTA,
    slack::SLACK,
    notion::NOTION,
    linear::LINEAR,
    atlassian::ATLASSIAN,
    gitlab::GITLAB,
    oidc::OIDC,
];

/// What holds without a preset.
pub(super) const SPELLED_OUT: Preset = Preset {
    name: "",
    title: "",
    apps: "",
    host: "",
    needs: &[],
    discovers: false,
    api: |_| String::new(),
    issuer: None,
    authorization_endpoint: None,
    token_endpoint: None,
    userinfo_endpoint: None,
    userinfo_body: None,
    revocation: None,
    revocation_endpoint: None,
    subject: "sub",
    subject_realm: "",
    username: "preferred_username",
    display_name: "name",
    email: "email",
    emails_endpoint: None,
    emails_scopes: &[],
    organizations_endpoint: None,
    organizations_scopes: &[],
    organization: "id",
    scopes: &[],
    default_scopes: &[],
    scopeless: false,
    scope_parameter: "scope",
    scope_separator: " ",
    granted_scope_separators: None,
    scope_equivalents: &[],
    scope_descriptions: &[],
    authorize_params: &[],
    choose_account_params: &[],
    refresh_needs_consent: false,
    pkce: true,
    token_auth_method: TokenAuthMethod::Basic,
    token_request: TokenRequest::Form,
    token_answer: "",
    headers: &[],
    needs_secret: false,
    access_outlives_refresh: false,
    revoke_ends_only_this_token: false,
};

/// The preset of this name.
pub(super) fn named(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Preset {
    /// A URL of the preset for an installation on `host`, and for the tenant where it has such.
    pub(super) fn url(&self, template: &str, host: &str, tenant: &str) -> String {
        template.replace("{api}", &(self.api)(host)).replace("{host}", host).replace("{tenant}", tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_a_place_where_apps_are_made() {
        let mut names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PRESETS.len());
        for preset in PRESETS {
            assert!(preset.apps.starts_with("https://") != preset.discovers, "{}", preset.name);
            assert!(named(preset.name).is_some());
            // What has no scopes has none to ask for, and everything else asks for something.
            assert_eq!(preset.scopeless, preset.default_scopes.is_empty(), "{}", preset.name);
            // A code without PKCE is protected by the secret alone.
            assert!(preset.pkce || preset.needs_secret, "{}", preset.name);
        }
    }

    #[test]
    fn all_are_in_the_documentation_with_what_is_unverified() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/providers.md")).unwrap();
        for preset in PRESETS {
            assert!(text.contains(&format!("`preset = \"{}\"`", preset.name)), "{}", preset.name);
        }
    }
}
