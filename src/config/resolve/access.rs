//! `[access]`: who may sign in, and what the providers have to be asked for that.

use std::collections::BTreeSet;

use super::value::narrowing;
use crate::{
    config::{
        error::Refused,
        file::{AccessFile, Texts},
        presets::named,
    },
    domain::{
        access::{Access, Email, is_domain},
        person::subject,
        provider::Provider,
    },
};

/// Resolves the rules, and leaves in the providers only the questions that a rule needs, with their third-party scopes.
pub(super) fn resolve(file: &AccessFile, providers: &mut [Provider]) -> Result<Access, Refused> {
    let access = Access {
        users: set("users", &file.users, |text| user(text, providers))?,
        emails: set("emails", &file.emails, |text| {
            Email::parse(text).map(|email| email.whole()).ok_or("must be e-mail addresses")
        })?,
        email_domains: set("email_domains", &file.email_domains, |text| {
            is_domain(text).then(|| text.to_ascii_lowercase()).ok_or("must be domains, such as example.com")
        })?,
        organizations: set("organizations", &file.organizations, |text| {
            let usable = !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control);
            usable.then(|| text.to_owned()).ok_or("must be ids of organizations")
        })?,
    };
    if let Some(written) = file.organizations.as_ref().filter(|_| access.asks_for_organizations())
        && providers.iter().all(|provider| provider.organizations_endpoint.is_none())
    {
        let sentence =
            "organizations needs a provider that lists them; write organizations_endpoint in its section";
        return Err(Refused::at(written.place, sentence));
    }
    for provider in providers {
        let preset = provider.preset.as_deref().and_then(named);
        let mut scopes: Vec<&str> = Vec::new();
        if !access.asks_for_emails() {
            provider.emails_endpoint = None;
        } else if provider.emails_endpoint.is_some() {
            scopes.extend(preset.map(|preset| preset.emails_scopes).unwrap_or_default());
        }
        if !access.asks_for_organizations() {
            provider.organizations_endpoint = None;
        } else if provider.organizations_endpoint.is_some() {
            scopes.extend(preset.map(|preset| preset.organizations_scopes).unwrap_or_default());
        }
        for scope in scopes {
            if !provider.scopes.iter().any(|known| known == scope) {
                provider.scopes.push(scope.to_owned());
            }
        }
    }
    Ok(access)
}

fn set<E: std::fmt::Display>(
    name: &str,
    written: &Texts,
    read: impl Fn(&str) -> Result<String, E>,
) -> Result<BTreeSet<String>, Refused> {
    Ok(narrowing(name, written.as_ref(), read)?.into_iter().collect())
}

/// `NAME:ID`; where there is one provider only, its name may be left out.
fn user(text: &str, providers: &[Provider]) -> Result<String, &'static str> {
    const MUST: &str = "must be NAME:ID, the name of a provider and the immutable id of a user there";
    let named = text.split_once(':').and_then(|(name, id)| {
        let provider = providers.iter().find(|provider| provider.name == name)?;
        Some((provider, id))
    });
    let only = match providers {
        [only] if !text.contains(':') => Some((only, text)),
        _ => None,
    };
    let (provider, id) = named.or(only).ok_or(MUST)?;
    let usable =
        !id.is_empty() && id.len() <= 255 && !id.chars().any(|c| c.is_control() || c.is_whitespace());
    usable.then(|| subject(&provider.identifies_as(), id)).ok_or(MUST)
}
