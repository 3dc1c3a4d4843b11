//! From what is written to what holds.
//!
//! Applies defaults and presets and judges every value, each rule once: `value` knows how single values look,
//! `provider` and `server` how theirs belong together, this file the rest. The result is [`Settings`], of which nobody
//! needs to ask again whether it makes sense.
//!
//! Must never look at the environment, and never put a value into an error. Called by `config::load` only.

mod access;
mod branding;
mod client;
mod elsewhere;
mod operator;
mod provider;
mod quirks;
mod server;
mod tracing;
mod value;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::ExposeSecret;

use super::document::reason;
use super::error::{Place, Refused};
use super::file::{
    Amount, ConsentFile, File, LimitsFile, RegistrationFile, StoreFile, Text, TlsFile, TokensFile, Written,
};
use super::keys;
use super::master_key::MasterKey;
pub use operator::Whereabouts;
pub(super) use operator::whereabouts;

use super::settings::{
    ConsentMode, ConsentSettings, DynamicRegistration, LimitSettings, MissingResource,
    RegistrationManagement, RegistrationSettings, Settings, StoreSettings, StoreUrl, TlsFiles, TokenSettings,
};
use crate::domain::origin::Origin;
use value::{amount, choice, duration, parse};

/// Resolves a whole file.
pub(super) fn resolve(file: File) -> Result<Settings, Refused> {
    let top = Here { path: "", label: "", place: Place::Nowhere, only: true };
    let public_url = parse("public_url", top.needed("public_url", file.public_url.as_ref())?, public_origin)?;
    let tls = file.tls.map(tls).transpose()?;
    if let Some((_, place)) = tls.as_ref().filter(|_| !public_url.is_https()) {
        return Err(Refused::at(*place, "[tls] does not go with a public_url of http; write https there"));
    }
    let listen = address("listen", file.listen.as_ref(), SocketAddr::from(([127, 0, 0, 1], 8080)))?;
    let admin_listen =
        address("admin_listen", file.admin_listen.as_ref(), SocketAddr::from(([127, 0, 0, 1], 9090)))?;
    if clash(listen, admin_listen) {
        let place = file.admin_listen.or(file.listen).map_or(Place::Nowhere, |written| written.place);
        return Err(Refused::at(place, "listen and admin_listen must have different ports"));
    }
    let metrics_listen = metrics_address(file.metrics_listen.as_ref(), [listen, admin_listen])?;
    let trusted_proxies = value::list("trusted_proxies", file.trusted_proxies.as_ref(), network)?;
    let mut providers = provider::resolve(file.provider)?;
    let access = access::resolve(&file.access, &mut providers)?;
    let listeners: Vec<_> = [listen, admin_listen].into_iter().chain(metrics_listen).collect();
    let servers = server::resolve(&file.mcp_server, &public_url, &listeners, &providers)?;
    let registration = registration(&file.registration, &public_url)?;
    let elsewhere = elsewhere::servers(&file.mcp_server, &public_url, &providers)?;
    let resource_servers = elsewhere::askers(&file.resource_server, &public_url, &servers, &elsewhere)?;
    Ok(Settings {
        listen,
        tls: tls.map(|(files, _)| files),
        admin_listen,
        metrics_listen,
        admin_socket: operator::socket(file.admin_socket.as_ref())?,
        admin_token: operator::token(file.admin_token.as_ref())?,
        trusted_proxies,
        log: file.log.map_or_else(|| "info".to_owned(), |written| written.value),
        store: store(&file.store)?,
        providers,
        servers,
        elsewhere,
        resource_servers,
        consent: consent(&file.consent, &public_url)?,
        clients: client::resolve(&file.client, &public_url, &registration.allowed_redirect_schemes)?,
        registration,
        tokens: tokens(&file.tokens)?,
        limits: limits(&file.limits)?,
        access,
        branding: branding::resolve(&file.branding)?,
        tracing: tracing::resolve(&file.tracing)?,
        public_url,
    })
}

/// A section that is being resolved, for saying what is missing in it.
struct Here<'a> {
    /// Its path in the table of keys.
    path: &'static str,
    /// Its header as it was written; empty for the top of the file.
    label: &'a str,
    place: Place,
    /// Whether environment variables would be looked at for it.
    only: bool,
}

impl Here<'_> {
    /// A key without which the section makes no sense.
    fn needed<'w, T>(&self, name: &str, written: Option<&'w Written<T>>) -> Result<&'w Written<T>, Refused> {
        written.ok_or_else(|| {
            let key = keys::section(self.path).and_then(|section| section.key(name));
            let variable = key.and_then(|key| key.variable).filter(|_| self.only);
            let hint = variable.map(|name| format!(", or set {name}")).unwrap_or_default();
            let whereabouts =
                if self.label.is_empty() { String::new() } else { format!(" in {}", self.label) };
            Refused::at(self.place, format!("{name} is missing{whereabouts}; write it{hint}"))
        })
    }
}

fn public_origin(written: &str) -> Result<Origin, String> {
    let origin = Origin::parse(written).map_err(|error| error.to_string())?;
    if origin.is_https() || origin.is_loopback() {
        Ok(origin)
    } else {
        Err("must be https; http is for loopback hosts only".to_owned())
    }
}

fn tls(written: Written<TlsFile>) -> Result<(TlsFiles, Place), Refused> {
    let Written { value: file, place } = written;
    let here = Here { path: "tls", label: "[tls]", place, only: true };
    let path = |name, text: &Text| {
        let written = here.needed(name, text.as_ref())?;
        fs::File::open(&written.value)
            .map(|_| PathBuf::from(&written.value))
            .map_err(|error| Refused::at(written.place, format!("{name} cannot be read: {}", reason(&error))))
    };
    Ok((
        TlsFiles { certificate: path("certificate", &file.certificate)?, key: path("key", &file.key)? },
        place,
    ))
}

fn address(
    name: &str,
    written: Option<&Written<String>>,
    default: SocketAddr,
) -> Result<SocketAddr, Refused> {
    let Some(written) = written else { return Ok(default) };
    parse(name, written, |text| {
        text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:8080")
    })
}

/// Where metrics are scraped, which is no port of another listener.
fn metrics_address(
    written: Option<&Written<String>>,
    others: [SocketAddr; 2],
) -> Result<Option<SocketAddr>, Refused> {
    let Some(written) = written else { return Ok(None) };
    let found = address("metrics_listen", Some(written), SocketAddr::from(([127, 0, 0, 1], 0)))?;
    if others.into_iter().any(|other| clash(found, other)) {
        let sentence = "metrics_listen must have another port than listen and admin_listen";
        return Err(Refused::at(written.place, sentence));
    }
    Ok(Some(found))
}

/// Whether two listeners would want the same port of the same address.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let ips = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && ips
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    let network: Option<IpNet> =
        text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()));
    let network = network.ok_or("must be addresses or networks, such as 10.0.0.0/8")?;
    if network.prefix_len() == 0 {
        return Err("must not name every address: anybody could say where their requests come from");
    }
    Ok(network)
}

fn store(file: &StoreFile) -> Result<StoreSettings, Refused> {
    let url = match &file.url {
        Some(written) => parse("the store's url", written, store_url)?,
        None => StoreUrl::Disk(PathBuf::from("./data")),
    };
    let key = |name: &str, place, secret: &super::file::Secret| {
        MasterKey::parse(secret.0.expose_secret())
            .map_err(|error| Refused::at(place, format!("{name} {error}")))
    };
    let current = file.encryption_key.as_ref();
    let previous = file.previous_encryption_keys.as_ref();
    Ok(StoreSettings {
        url,
        key: current.map(|written| key("encryption_key", written.place, &written.value)).transpose()?,
        previous_keys: previous.map_or(Ok(Vec::new()), |written| {
            let each = written.value.iter();
            each.map(|secret| key("previous_encryption_keys", written.place, secret)).collect()
        })?,
    })
}

fn store_url(text: &str) -> Result<StoreUrl, &'static str> {
    const KNOWN: &str = "must be disk:FOLDER or memory:";
    match text.split_once(':') {
        Some(("memory", "" | "//")) => Ok(StoreUrl::Memory),
        // Earlier versions kept records with sled: such a folder is brought into the present form when it is opened.
        Some(("disk" | "sled", path)) => match path.strip_prefix("//").unwrap_or(path) {
            "" => Err(KNOWN),
            path => Ok(StoreUrl::Disk(PathBuf::from(path))),
        },
        Some(("postgres" | "postgresql", _)) => Err(
            "names PostgreSQL, which is not supported yet; it comes with a later release, until then use disk:FOLDER",
        ),
        _ => Err(KNOWN),
    }
}

fn consent(file: &ConsentFile, public_url: &Origin) -> Result<ConsentSettings, Refused> {
    let default = ConsentSettings::default();
    let modes = [("always", ConsentMode::Always), ("remember", ConsentMode::Remember)];
    let mode = choice("mode", file.mode.as_ref(), default.mode, &modes)?;
    if let Some(written) =
        file.mode.as_ref().filter(|_| mode == ConsentMode::Remember && !public_url.is_https())
    {
        let sentence = "mode = \"remember\" needs a public_url of https: over http any program of the same host can take \
                        the cookie that says whose browser it is";
        return Err(Refused::at(written.place, sentence));
    }
    Ok(ConsentSettings {
        mode,
        missing_resource: choice(
            "missing_resource",
            file.missing_resource.as_ref(),
            default.missing_resource,
            &[("warn", MissingResource::Warn), ("refuse", MissingResource::Refuse)],
        )?,
    })
}

fn registration(file: &RegistrationFile, public_url: &Origin) -> Result<RegistrationSettings, Refused> {
    let default = RegistrationSettings::default();
    let allowed_domains = value::narrowing("allowed_domains", file.allowed_domains.as_ref(), value::domain)?;
    // Whoever writes a list does not mean everybody.
    let natural = if allowed_domains.is_empty() { default.dynamic } else { DynamicRegistration::AllowListed };
    let dynamic = choice(
        "dynamic",
        file.dynamic.as_ref(),
        natural,
        &[
            ("on", DynamicRegistration::On),
            ("allow_listed", DynamicRegistration::AllowListed),
            ("off", DynamicRegistration::Off),
        ],
    )?;
    if let Some(written) = file
        .dynamic
        .as_ref()
        .filter(|_| dynamic == DynamicRegistration::AllowListed && allowed_domains.is_empty())
    {
        let sentence = "dynamic = \"allow_listed\" needs allowed_domains; write it";
        return Err(Refused::at(written.place, sentence));
    }
    let loopback_documents = file.loopback_documents.as_ref().filter(|written| written.value);
    if let Some(written) = loopback_documents.filter(|_| !public_url.is_loopback()) {
        let sentence = "loopback_documents is only for a public_url on loopback: anybody else's client could have this \
                        machine look at itself";
        return Err(Refused::at(written.place, sentence));
    }
    let proxy = file.egress_proxy.as_ref();
    let management = [
        ("confidential", RegistrationManagement::Confidential),
        ("all", RegistrationManagement::All),
        ("off", RegistrationManagement::Off),
    ];
    Ok(RegistrationSettings {
        client_id_metadata_documents: file
            .client_id_metadata_documents
            .unwrap_or(default.client_id_metadata_documents),
        loopback_documents: loopback_documents.is_some(),
        egress_proxy: proxy.map(|written| parse("egress_proxy", written, value::http_proxy)).transpose()?,
        dynamic,
        allowed_domains,
        initial_access_token: file
            .initial_access_token
            .as_ref()
            .map(|written| client::secret("initial_access_token", written))
            .transpose()?,
        management: choice("management", file.management.as_ref(), default.management, &management)?,
        max_unused_clients: amount(
            "max_unused_clients",
            file.max_unused_clients.as_ref(),
            default.max_unused_clients,
            10..=1_000_000,
        )?,
        reserved_names: value::list("reserved_names", file.reserved_names.as_ref(), value::words)?,
        allowed_redirect_schemes: value::list(
            "allowed_redirect_schemes",
            file.allowed_redirect_schemes.as_ref(),
            value::private_use_scheme,
        )?,
        unused_client_ttl: duration(
            "unused_client_ttl",
            file.unused_client_ttl.as_ref(),
            default.unused_client_ttl,
            "1m".."365d",
        )?,
    })
}

fn tokens(file: &TokensFile) -> Result<TokenSettings, Refused> {
    let default = TokenSettings::default();
    let tokens = TokenSettings {
        access_ttl: duration("access_ttl", file.access_ttl.as_ref(), default.access_ttl, "1s".."24h")?,
        refresh_ttl: duration("refresh_ttl", file.refresh_ttl.as_ref(), default.refresh_ttl, "1m".."365d")?,
        code_ttl: duration("code_ttl", file.code_ttl.as_ref(), default.code_ttl, "1s".."10m")?,
        refresh_grace: duration(
            "refresh_grace",
            file.refresh_grace.as_ref(),
            default.refresh_grace,
            "0s".."1h",
        )?,
        cache_ttl: duration("cache_ttl", file.cache_ttl.as_ref(), default.cache_ttl, "0s".."5m")?,
        end_streams_at_expiry: file.end_streams_at_expiry.unwrap_or(default.end_streams_at_expiry),
    };
    if tokens.refresh_ttl < tokens.access_ttl {
        let place =
            file.refresh_ttl.as_ref().or(file.access_ttl.as_ref()).map_or(Place::Nowhere, |it| it.place);
        return Err(Refused::at(place, "refresh_ttl must not be shorter than access_ttl"));
    }
    Ok(tokens)
}

/// `None` is not a number here, but as many as fit.
fn places(name: &str, written: Option<&Written<Amount>>) -> Result<Option<usize>, Refused> {
    written.map(|_| amount(name, written, 0, 1..=1_000_000)).transpose()
}

fn limits(file: &LimitsFile) -> Result<LimitSettings, Refused> {
    const MIB: u64 = 1024 * 1024;
    let default = LimitSettings::default();
    let time = |name, written: &Text, default| duration(name, written.as_ref(), default, "1ms".."1h");
    let count = |name, written, default: u32| amount(name, written, default, 1..=1_000_000);
    Ok(LimitSettings {
        max_connections: places("max_connections", file.max_connections.as_ref())?,
        max_streams: places("max_streams", file.max_streams.as_ref())?,
        mcp_max_body_bytes: amount(
            "mcp_max_body_bytes",
            file.mcp_max_body_bytes.as_ref(),
            default.mcp_max_body_bytes,
            1024..=1024 * MIB,
        )?,
        header_timeout: time("header_timeout", &file.header_timeout, default.header_timeout)?,
        body_timeout: time("body_timeout", &file.body_timeout, default.body_timeout)?,
        idle_timeout: time("idle_timeout", &file.idle_timeout, default.idle_timeout)?,
        upstream_connect_timeout: time(
            "upstream_connect_timeout",
            &file.upstream_connect_timeout,
            default.upstream_connect_timeout,
        )?,
        upstream_response_timeout: time(
            "upstream_response_timeout",
            &file.upstream_response_timeout,
            default.upstream_response_timeout,
        )?,
        third_party_timeout: time(
            "third_party_timeout",
            &file.third_party_timeout,
            default.third_party_timeout,
        )?,
        registrations_per_minute: amount(
            "registrations_per_minute",
            file.registrations_per_minute.as_ref(),
            default.registrations_per_minute,
            1..=1_000_000,
        )?,
        max_connections_per_address: amount(
            "max_connections_per_address",
            file.max_connections_per_address.as_ref(),
            default.max_connections_per_address,
            1..=1_000_000,
        )?,
        max_requests_per_person: count(
            "max_requests_per_person",
            file.max_requests_per_person.as_ref(),
            default.max_requests_per_person,
        )?,
        max_open_approvals: count(
            "max_open_approvals",
            file.max_open_approvals.as_ref(),
            default.max_open_approvals,
        )?,
        max_open_approvals_per_address: count(
            "max_open_approvals_per_address",
            file.max_open_approvals_per_address.as_ref(),
            default.max_open_approvals_per_address,
        )?,
        max_grants_per_person: amount(
            "max_grants_per_person",
            file.max_grants_per_person.as_ref(),
            default.max_grants_per_person,
            1..=1_000_000,
        )?,
        authorizations_per_minute: count(
            "authorizations_per_minute",
            file.authorizations_per_minute.as_ref(),
            default.authorizations_per_minute,
        )?,
        approvals_per_minute: count(
            "approvals_per_minute",
            file.approvals_per_minute.as_ref(),
            default.approvals_per_minute,
        )?,
        failed_callbacks_per_minute: count(
            "failed_callbacks_per_minute",
            file.failed_callbacks_per_minute.as_ref(),
            default.failed_callbacks_per_minute,
        )?,
        failed_tokens_per_minute: count(
            "failed_tokens_per_minute",
            file.failed_tokens_per_minute.as_ref(),
            default.failed_tokens_per_minute,
        )?,
        failed_admissions_per_minute: count(
            "failed_admissions_per_minute",
            file.failed_admissions_per_minute.as_ref(),
            default.failed_admissions_per_minute,
        )?,
        write_timeout: time("write_timeout", &file.write_timeout, default.write_timeout)?,
        drain_deadline: time("drain_deadline", &file.drain_deadline, default.drain_deadline)?,
    })
}
