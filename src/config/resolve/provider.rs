//! `[provider.NAME]`: what was written over what the preset says.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Here;
use super::quirks::{discovery, headers, json_object, parameter, tenant};
use super::value::{choice, endpoint, list, parse, scope, words};
use crate::config::document::nearest;
use crate::config::error::{Place, Refused};
use crate::config::file::{ProviderFile, Written};
use crate::config::presets::{PRESETS, Preset, SPELLED_OUT, named};
use crate::domain::origin::Origin;
use crate::domain::provider::{IssPolicy, Provider, Revocation, TokenAuthMethod, TokenRequest, UNDISCOVERED};

/// Resolves every provider, in the order of the file.
pub(super) fn resolve(files: BTreeMap<String, Written<ProviderFile>>) -> Result<Vec<Provider>, Refused> {
    let only = files.len() == 1;
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_by_key(|(_, file)| match file.place {
        Place::Byte(byte) => byte,
        Place::Nowhere | Place::Variable(_) => 0,
    });
    if files.is_empty() {
        let sentence = "there is no provider; write [provider.github], or set MCP_DEPUTY_CLIENT_ID and MCP_DEPUTY_CLIENT_SECRET";
        return Err(Refused::at(Place::Nowhere, sentence));
    }
    let mut providers: Vec<Provider> = Vec::new();
    for (name, file) in files {
        let place = file.place;
        let provider = provider(name, &file, only)?;
        if let Some(other) = providers.iter().find(|other| are_mixed_up(other, &provider)) {
            let sentence = format!(
                "[provider.{}] and [provider.{}] would take people of two third parties for the same; write the issuer of \
                 each",
                other.name, provider.name
            );
            return Err(Refused::at(place, sentence));
        }
        providers.push(provider);
    }
    Ok(providers)
}

/// Whether two entries identify their people under the same issuer, and yet may ask two third parties for them. Two clients
/// of ours at one third party are no mistake: then people are looked up at the same place, or the operator wrote that it is
/// one issuer. Without that, two tenants under one origin would share their ids.
fn are_mixed_up(one: &Provider, other: &Provider) -> bool {
    let place =
        |provider: &Provider| (provider.authorization_endpoint.clone(), provider.userinfo_endpoint.clone());
    let is_one = (one.issuer.is_some() && other.issuer.is_some()) || place(one) == place(other);
    one.identifies_as() == other.identifies_as() && !(is_one && one.subject == other.subject)
}

#[expect(clippy::too_many_lines, reason = "a line or two for each key, to be read from top to bottom")]
fn provider(name: String, written: &Written<ProviderFile>, only: bool) -> Result<Provider, Refused> {
    let Written { value: file, place } = written;
    let preset = preset(file.preset.as_ref())?;
    if !is_name(&name) {
        let sentence = "the name of a provider must be 1 to 32 lower-case letters, digits and dashes; it is part of a URL";
        return Err(Refused::at(*place, sentence));
    }
    let here = Here { path: "provider", label: &format!("[provider.{name}]"), place: *place, only };
    let host = file.host.as_ref().map(|written| parse("host", written, |host| host_name(host, preset)));
    let tenant = tenant(file, preset, &here)?;
    let entry = Entry { file, preset, host: host.transpose()?, tenant, here };
    let client_secret = entry.client_secret()?;
    let (issuer, iss) = entry.issuer()?;
    let discovery = discovery(file, preset, issuer.as_deref(), &entry.here)?;
    let scope_separator = match &file.scope_separator {
        Some(written) => parse("scope_separator", written, separator_text)?,
        None => preset.scope_separator.to_owned(),
    };
    let scopes = |key: &str, written: &Option<Written<Vec<String>>>, known: &[&str]| match written {
        None => Ok(known.iter().map(|scope| (*scope).to_owned()).collect()),
        written => list(key, written.as_ref(), |text| sendable(text, &scope_separator)),
    };
    Ok(Provider {
        title: match &file.title {
            Some(written) => parse("title", written, words)?,
            None if preset.title.is_empty() => name.clone(),
            None => preset.title.to_owned(),
        },
        preset: (!preset.name.is_empty()).then(|| preset.name.to_owned()),
        issuer,
        iss,
        authorization_endpoint: entry.url(
            "authorization_endpoint",
            file.authorization_endpoint.as_ref(),
            preset.authorization_endpoint,
        )?,
        token_endpoint: entry.url("token_endpoint", file.token_endpoint.as_ref(), preset.token_endpoint)?,
        userinfo_endpoint: entry.url(
            "userinfo_endpoint",
            file.userinfo_endpoint.as_ref(),
            preset.userinfo_endpoint,
        )?,
        revocation: entry.revocation()?,
        userinfo_body: match &file.userinfo_body {
            Some(written) => Some(parse("userinfo_body", written, json_object)?),
            None => preset.userinfo_body.map(str::to_owned),
        },
        subject: path("subject", file.subject.as_ref(), preset.subject)?,
        subject_realm: path("subject_realm", file.subject_realm.as_ref(), preset.subject_realm)?,
        username: path("username", file.username.as_ref(), preset.username)?,
        display_name: path("display_name", file.display_name.as_ref(), preset.display_name)?,
        email: path("email", file.email.as_ref(), preset.email)?,
        emails_endpoint: entry.maybe_url(
            "emails_endpoint",
            file.emails_endpoint.as_ref(),
            preset.emails_endpoint,
        )?,
        organizations_endpoint: entry.maybe_url(
            "organizations_endpoint",
            file.organizations_endpoint.as_ref(),
            preset.organizations_endpoint,
        )?,
        organization: path("organization", file.organization.as_ref(), preset.organization)?,
        scopes: scopes("scopes", &file.scopes, preset.scopes)?,
        default_scopes: scopes("default_scopes", &file.default_scopes, preset.default_scopes)?,
        requires_scope: file.requires_scope.unwrap_or(!preset.scopeless),
        scope_parameter: match &file.scope_parameter {
            Some(written) => parse("scope_parameter", written, parameter)?,
            None => preset.scope_parameter.to_owned(),
        },
        granted_scope_separators: match (&file.granted_scope_separators, preset.granted_scope_separators) {
            (Some(written), _) => {
                parse("granted_scope_separators", written, separator_text)?.chars().collect()
            }
            (None, known) => known.unwrap_or(&scope_separator).chars().collect(),
        },
        scope_equivalents: equivalents(file, preset)?,
        scope_descriptions: descriptions(file, preset)?,
        pkce: entry.pkce()?,
        token_auth_method: choice(
            "token_auth_method",
            file.token_auth_method.as_ref(),
            preset.token_auth_method,
            &[("basic", TokenAuthMethod::Basic), ("post", TokenAuthMethod::Post)],
        )?,
        token_request: choice(
            "token_request",
            file.token_request.as_ref(),
            preset.token_request,
            &[("form", TokenRequest::Form), ("json", TokenRequest::Json)],
        )?,
        token_answer: path("token_answer", file.token_answer.as_ref(), preset.token_answer)?,
        headers: headers(file, preset)?,
        authorize_params: more_params(
            "authorize_params",
            file.authorize_params.as_ref(),
            preset.authorize_params,
        )?,
        choose_account_params: more_params(
            "choose_account_params",
            file.choose_account_params.as_ref(),
            preset.choose_account_params,
        )?,
        refresh_needs_consent: file.refresh_needs_consent.unwrap_or(preset.refresh_needs_consent),
        client_id: parse("client_id", entry.here.needed("client_id", file.client_id.as_ref())?, words)?,
        client_secret,
        access_outlives_refresh: file.access_outlives_refresh.unwrap_or(preset.access_outlives_refresh),
        revoke_ends_only_this_token: file
            .revoke_ends_only_this_token
            .unwrap_or(preset.revoke_ends_only_this_token),
        discovery,
        host: entry.host,
        scope_separator,
        name,
    })
}

/// What was written, and what holds where it was not.
struct Entry<'a> {
    file: &'a ProviderFile,
    preset: &'static Preset,
    host: Option<String>,
    tenant: String,
    here: Here<'a>,
}

impl Entry<'_> {
    fn fill(&self, template: &str) -> String {
        self.preset.url(template, self.host.as_deref().unwrap_or(self.preset.host), &self.tenant)
    }

    fn maybe_url(
        &self,
        key: &str,
        written: Option<&Written<String>>,
        template: Option<&str>,
    ) -> Result<Option<Url>, Refused> {
        let known = written.is_some() || template.is_some();
        known.then(|| self.url(key, written, template)).transpose()
    }

    fn url(
        &self,
        key: &str,
        written: Option<&Written<String>>,
        template: Option<&str>,
    ) -> Result<Url, Refused> {
        match (written, template) {
            (None, Some(template)) => {
                let refuse = |error| Refused::at(self.here.place, format!("{key} {error}"));
                endpoint(&self.fill(template)).map_err(refuse)
            }
            (None, None) if self.preset.discovers => {
                endpoint(UNDISCOVERED).map_err(|error| Refused::at(self.here.place, error))
            }
            (written, _) => parse(key, self.here.needed(key, written)?, endpoint),
        }
    }

    fn client_secret(&self) -> Result<Option<SecretString>, Refused> {
        let written = self.file.client_secret.as_ref();
        match written {
            Some(written) if written.value.0.expose_secret().is_empty() => {
                Err(Refused::at(written.place, "client_secret is empty"))
            }
            None if self.preset.needs_secret => self.here.needed("client_secret", written).map(|_| None),
            written => Ok(written.map(|written| written.value.0.clone())),
        }
    }

    fn pkce(&self) -> Result<bool, Refused> {
        match &self.file.pkce {
            Some(Written { value: false, place }) if self.file.client_secret.is_none() => {
                let sentence = "pkce = false needs a client_secret: something must protect the code";
                Err(Refused::at(*place, sentence))
            }
            Some(written) => Ok(written.value),
            None => Ok(self.preset.pkce),
        }
    }

    fn issuer(&self) -> Result<(Option<String>, IssPolicy), Refused> {
        let issuer = match (&self.file.issuer, self.preset.issuer) {
            (Some(written), _) => Some(parse("issuer", written, issuer_identifier)?),
            (None, None) if self.preset.discovers => {
                Some(parse("issuer", self.here.needed("issuer", None)?, issuer_identifier)?)
            }
            (None, template) => template.map(|template| self.fill(template)),
        };
        let iss = self.file.iss.as_ref();
        let policies = [("if_present", IssPolicy::IfPresent), ("required", IssPolicy::Required)];
        let policy = choice("iss", iss, IssPolicy::IfPresent, &policies)?;
        match iss {
            Some(written) if policy == IssPolicy::Required && issuer.is_none() => {
                Err(Refused::at(written.place, "iss = \"required\" needs issuer, to compare with"))
            }
            _ => Ok((issuer, policy)),
        }
    }

    fn revocation(&self) -> Result<Revocation, Refused> {
        let implied = if self.file.revocation_endpoint.is_some() { "rfc7009" } else { "none" };
        let kinds = ["rfc7009", "github_application", "none"].map(|kind| (kind, kind));
        let default = self.preset.revocation.unwrap_or(implied);
        let kind = choice("revocation", self.file.revocation.as_ref(), default, &kinds)?;
        // The preset's endpoint fits the preset's own kind only.
        let known = self.preset.revocation_endpoint.filter(|_| self.preset.revocation == Some(kind));
        let endpoint = || self.url("revocation_endpoint", self.file.revocation_endpoint.as_ref(), known);
        Ok(match kind {
            "github_application" => Revocation::GithubApplication(endpoint()?),
            "rfc7009" => Revocation::Rfc7009(endpoint()?),
            _ => Revocation::None,
        })
    }
}

fn preset(written: Option<&Written<String>>) -> Result<&'static Preset, Refused> {
    let Some(written) = written else { return Ok(&SPELLED_OUT) };
    named(&written.value).ok_or_else(|| {
        let known = || PRESETS.iter().map(|preset| preset.name);
        let near = nearest(&written.value, known());
        let meant = near.map_or_else(
            || {
                let known = known().collect::<Vec<_>>().join(", ");
                format!("; there are: {known}. Leave preset out and spell the provider out")
            },
            |name| format!("; did you mean '{name}'?"),
        );
        Refused::at(written.place, format!("unknown preset '{}'{meant}", written.value))
    })
}

/// Names are part of the callback path.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(fits)
}

fn host_name(text: &str, preset: &Preset) -> Result<String, &'static str> {
    if preset.name.is_empty() {
        return Err("goes with a preset only; without one the endpoints say it all");
    }
    if preset.host.is_empty() {
        return Err("does not go with this preset: it has no other installations");
    }
    let origin = Origin::parse(&format!("https://{text}"));
    origin
        .map(|origin| origin.authority().to_owned())
        .map_err(|_| "must be a host name, such as github.example.com")
}

/// Kept byte for byte: `iss` is compared with it as a string (RFC 9207 §2.4).
fn issuer_identifier(text: &str) -> Result<String, &'static str> {
    let url = endpoint(text)?;
    if url.query().is_some() { Err("must not have a query") } else { Ok(text.to_owned()) }
}

fn separator_text(text: &str) -> Result<String, &'static str> {
    let fits = !text.is_empty() && text.chars().all(|c| c == ' ' || c.is_ascii_punctuation());
    if fits { Ok(text.to_owned()) } else { Err("must be spaces or punctuation") }
}

/// A scope that survives being joined with others.
fn sendable(text: &str, separator: &str) -> Result<String, &'static str> {
    let scope = scope(text)?;
    if scope.contains(separator) { Err("must not contain the scope_separator") } else { Ok(scope) }
}

fn path(key: &str, written: Option<&Written<String>>, known: &str) -> Result<Vec<String>, Refused> {
    let split = |text: &str| {
        let steps = text.split('.').map(str::to_owned);
        if text.is_empty() { Vec::new() } else { steps.collect::<Vec<_>>() }
    };
    let Some(written) = written else { return Ok(split(known)) };
    parse(key, written, |text| {
        let steps = split(text);
        if steps.is_empty() || steps.iter().any(String::is_empty) {
            Err("must be names with dots between them")
        } else {
            Ok(steps)
        }
    })
}

fn equivalents(file: &ProviderFile, preset: &Preset) -> Result<Vec<(String, Vec<String>)>, Refused> {
    let Some(written) = &file.scope_equivalents else {
        let owned = |narrow: &[&str]| narrow.iter().map(|scope| (*scope).to_owned()).collect();
        return Ok(preset
            .scope_equivalents
            .iter()
            .map(|(broad, narrow)| ((*broad).to_owned(), owned(narrow)))
            .collect());
    };
    let refuse = |error: &str| Refused::at(written.place, format!("each of scope_equivalents {error}"));
    let pairs = written.value.iter().map(|(broad, narrow)| {
        let narrow = narrow.iter().map(|text| scope(text)).collect::<Result<_, _>>()?;
        Ok((scope(broad)?, narrow))
    });
    pairs.collect::<Result<_, _>>().map_err(refuse)
}

fn descriptions(file: &ProviderFile, preset: &Preset) -> Result<BTreeMap<String, String>, Refused> {
    let known =
        preset.scope_descriptions.iter().map(|(name, words)| ((*name).to_owned(), (*words).to_owned()));
    let mut all: BTreeMap<String, String> = known.collect();
    if let Some(written) = &file.scope_descriptions {
        for (name, words) in &written.value {
            let name = scope(name)
                .map_err(|error| Refused::at(written.place, format!("each of scope_descriptions {error}")))?;
            all.insert(name, words.clone());
        }
    }
    Ok(all)
}

fn more_params(
    key: &str,
    written: Option<&Written<BTreeMap<String, String>>>,
    known: &[(&str, &str)],
) -> Result<Vec<(String, String)>, Refused> {
    // What the gateway itself says in an authorization request; to repeat it would be to contradict it.
    const OURS: &[&str] = &[
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ];
    let Some(written) = written else {
        return Ok(known.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    };
    if let Some(name) = written.value.keys().find(|name| OURS.contains(&name.as_str())) {
        let sentence = format!("{key} must not contain {name}: the gateway sets it");
        return Err(Refused::at(written.place, sentence));
    }
    Ok(written.value.clone().into_iter().collect())
}
