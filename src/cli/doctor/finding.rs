//! What `doctor` can find: one table of problems, each with a slug that never changes, what is wrong, and what to do.
//!
//! Every sentence is ours. What is added to one is a name of the configuration, an address, a number or a path; never what
//! somebody else wrote. docs/doctor.md holds the same table, and a test compares them.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// All is well.
    Ok,
    /// It could not be looked at.
    Skipped,
    /// It works, and may not tomorrow.
    Warning,
    /// It does not work, or is not safe.
    Fault,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Fault => "FAULT",
        }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Check {
    Configuration,
    Gateway,
    PublicUrl,
    Certificate,
    WellKnown,
    Cookies,
    Forwarding,
    Clock,
    ProviderEndpoints,
    ClientSecret,
    RedirectUri,
    McpServer,
    Store,
    Key,
    DiskSpace,
    OpenFiles,
}

impl Check {
    #[cfg(test)]
    pub(super) const ALL: [Self; 16] = [
        Self::Configuration,
        Self::Gateway,
        Self::PublicUrl,
        Self::Certificate,
        Self::WellKnown,
        Self::Cookies,
        Self::Forwarding,
        Self::Clock,
        Self::ProviderEndpoints,
        Self::ClientSecret,
        Self::RedirectUri,
        Self::McpServer,
        Self::Store,
        Self::Key,
        Self::DiskSpace,
        Self::OpenFiles,
    ];

    /// As it is written in JSON and in the documentation.
    pub(super) fn name(self) -> &'static str {
        self.facts().0
    }

    /// What was looked at, in words.
    pub(super) fn looked_at(self) -> &'static str {
        self.facts().1
    }

    fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::Configuration => {
                ("configuration", "whether the configuration is right and what it leaves open")
            }
            Self::Gateway => ("gateway", "whether the gateway runs, and with this configuration"),
            Self::PublicUrl => {
                ("public_url", "whether public_url leads to this very gateway, under its own name")
            }
            Self::Certificate => {
                ("certificate", "the TLS certificate that public_url shows: name, chain, time")
            }
            Self::WellKnown => ("well_known", "the metadata that clients read at public_url"),
            Self::Cookies => ("cookies", "whether a cookie comes through unchanged"),
            Self::Forwarding => {
                ("forwarding", "whether the address of whoever asks arrives, and nobody can choose it")
            }
            Self::Clock => ("clock", "this machine's clock against that of others"),
            Self::ProviderEndpoints => ("provider_endpoints", "whether the endpoints of the provider answer"),
            Self::ClientSecret => ("client_secret", "whether the provider accepts our client id and secret"),
            Self::RedirectUri => ("redirect_uri", "whether the provider accepts our redirect URI"),
            Self::McpServer => ("mcp_server", "whether the MCP server answers and speaks MCP"),
            Self::Store => ("store", "where records are kept, and who may read them"),
            Self::Key => ("key", "where the encryption key is, and who may read it"),
            Self::DiskSpace => ("disk_space", "free space where the store is"),
            Self::OpenFiles => ("open_files", "how many files the gateway may have open"),
        }
    }
}

/// Something that can be wrong.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Problem {
    pub(super) slug: &'static str,
    pub(super) check: Check,
    pub(super) level: Level,
    /// What is wrong.
    pub(super) cause: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
}

macro_rules! problems {
    ($($name:ident, $check:ident, $level:ident, $slug:literal, $cause:literal, $remedy:literal;)*) => {
        $(pub(super) const $name: Problem = Problem {
            slug: $slug,
            check: Check::$check,
            level: Level::$level,
            cause: $cause,
            remedy: $remedy,
        };)*
        /// All of them.
        #[cfg(test)]
        pub(super) const PROBLEMS: &[Problem] = &[$($name),*];
    };
}

problems! {
    CONFIGURATION_WRONG, Configuration, Fault, "configuration_wrong",
        "The configuration is refused",
        "Correct what the sentence names; `mcp-deputy check` says whether it is right";
    CONFIGURATION_READABLE, Configuration, Warning, "configuration_readable",
        "The configuration file holds a secret, and others than its owner may read it",
        "chmod 0600 the file (0640 with a group that only the gateway has), or put the secret into a file or variable of its own";
    PROXIES_ARE_MANY, Configuration, Warning, "proxies_are_many",
        "trusted_proxies holds a very large network, and everybody in it can say which address they come from",
        "Write only the addresses of your own proxies into trusted_proxies";
    ADMIN_LISTENS_WIDELY, Configuration, Warning, "admin_listens_widely",
        "admin_listen is not on loopback while admin_token opens the admin API there, without TLS",
        "Set admin_listen to a loopback address, or leave admin_token out and use the socket";
    GATEWAY_NOT_RUNNING, Gateway, Warning, "gateway_not_running",
        "No gateway answers on its socket or admin listener; what only it knows was not looked at",
        "Start it and run doctor again";
    GATEWAY_SILENT, Gateway, Fault, "gateway_silent",
        "The gateway is there and does not answer as it should",
        "Look into its log; restart it";
    GATEWAY_FORBIDDEN, Gateway, Warning, "gateway_forbidden",
        "The gateway may not be asked by this user; what only it knows was not looked at",
        "Run doctor as the user that runs the gateway, or as root";
    OPERATOR_HAS_NO_WAY, Gateway, Warning, "operator_has_no_way",
        "This gateway has neither an admin socket nor an admin_token, so nobody can ask it anything",
        "Set admin_socket to a path, or admin_token";
    OTHER_CONFIGURATION, Gateway, Fault, "other_configuration",
        "The running gateway has another public_url than this configuration",
        "Restart the gateway with this configuration, or give doctor the one that it runs with (--config)";
    CONFIGURATION_REFUSED, Gateway, Warning, "configuration_refused",
        "The running gateway refused the configuration that it read last: what was looked at here may not be what holds",
        "Ask mcp-deputy check, and the gateway's log, what is wrong with it; put it right or back";
    STORE_SILENT, Gateway, Fault, "store_silent",
        "The gateway runs and says that it is not ready: its store does not answer, or it is stopping",
        "Look into its log for the reason; free disk space if there is none";
    PUBLIC_URL_UNRESOLVED, PublicUrl, Fault, "public_url_unresolved",
        "The host name of public_url is not known here",
        "Correct the host in public_url, or make its DNS record";
    PUBLIC_URL_UNREACHABLE, PublicUrl, Fault, "public_url_unreachable",
        "Nobody answers at public_url",
        "Start what stands in front, open its port, or correct public_url";
    PUBLIC_URL_BROKEN, PublicUrl, Fault, "public_url_broken",
        "Whoever answers at public_url gives no HTTP answer in time",
        "Look at the proxy in front: its log, and where it sends requests to";
    PUBLIC_URL_BAD_GATEWAY, PublicUrl, Fault, "public_url_bad_gateway",
        "The proxy at public_url does not reach the gateway",
        "Let it send requests to the gateway's listen address";
    PUBLIC_URL_REDIRECTS, PublicUrl, Fault, "public_url_redirects",
        "public_url answers with a redirect instead of the gateway",
        "Set public_url to where people really arrive (scheme, host and port), or take the redirect away";
    ANOTHER_GATEWAY, PublicUrl, Fault, "another_gateway",
        "Something answers at public_url, and it is not this gateway",
        "Let public_url lead to this gateway: check its host, DNS, and where the proxy sends requests to; two replicas are not supported";
    HOST_NOT_PASSED, PublicUrl, Fault, "host_not_passed",
        "The proxy in front does not pass the Host header on, so the gateway refuses every request",
        "Let the proxy keep it (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On), or correct public_url";
    CERTIFICATE_EXPIRED, Certificate, Fault, "certificate_expired",
        "The certificate at public_url has expired",
        "Renew it, and let whatever shows it read it again";
    CERTIFICATE_EXPIRES_NOW, Certificate, Fault, "certificate_expires_now",
        "The certificate at public_url expires within two days",
        "Renew it now: its automatic renewal does not seem to work";
    CERTIFICATE_EXPIRES_SOON, Certificate, Warning, "certificate_expires_soon",
        "The certificate at public_url expires within two weeks",
        "See that its renewal works";
    CERTIFICATE_NOT_YET_VALID, Certificate, Fault, "certificate_not_yet_valid",
        "The certificate at public_url is not valid yet",
        "Check the clock of this machine, and the certificate";
    CERTIFICATE_WRONG_NAME, Certificate, Fault, "certificate_wrong_name",
        "The certificate at public_url is for another name",
        "Get one for the host of public_url, or correct public_url";
    CERTIFICATE_UNTRUSTED, Certificate, Fault, "certificate_untrusted",
        "The certificate at public_url is not trusted here: its chain is incomplete, or it is signed by nobody whom this system knows",
        "Show the whole chain (the fullchain file), from an authority that clients know; for one of your own, add it to this system's trust";
    TLS_FAILED, Certificate, Fault, "tls_failed",
        "There is no TLS at public_url that a client could speak",
        "Let the proxy in front (or [tls]) speak TLS 1.2 or 1.3 on that port, or correct public_url";
    TLS_FILES_UNUSABLE, Certificate, Fault, "tls_files_unusable",
        "The files of [tls] cannot be used",
        "Correct the certificate and the key that [tls] names; `mcp-deputy check` says what is wrong";
    TLS_KEY_OPEN, Certificate, Fault, "tls_key_open",
        "Everybody on this machine may read the private key of [tls]",
        "chmod 0600 it, and give it to the gateway's user; if others could read it, get a new certificate";
    WELL_KNOWN_BLOCKED, WellKnown, Fault, "well_known_blocked",
        "The metadata does not come through, so no client can begin",
        "Let the proxy in front pass everything below /.well-known/oauth- to the gateway";
    WELL_KNOWN_WRONG, WellKnown, Fault, "well_known_wrong",
        "The metadata at public_url is not what this configuration says",
        "Clear caches in front; restart the gateway if the configuration has changed; let the proxy change nothing";
    CHALLENGE_LOST, WellKnown, Fault, "challenge_lost",
        "A request to the MCP server without a token does not get the gateway's 401 with its challenge, so no client finds its way to sign in",
        "Let the proxy pass this path, the status 401 and the header WWW-Authenticate unchanged";
    COOKIES_DROPPED, Cookies, Fault, "cookies_dropped",
        "A cookie of the gateway does not come through, so nobody can approve anything",
        "Let the proxy pass Set-Cookie";
    COOKIES_CHANGED, Cookies, Fault, "cookies_changed",
        "The proxy in front changes the attributes of cookies, so browsers drop them or protect them less",
        "Switch rewriting of cookies off (nginx: proxy_cookie_flags, proxy_cookie_domain, proxy_cookie_path)";
    PROXY_NOT_TRUSTED, Forwarding, Fault, "proxy_not_trusted",
        "There is a proxy in front that is not in trusted_proxies, so everybody counts as one address and is limited together",
        "Add its address to trusted_proxies";
    FORWARDED_FOR_MISSING, Forwarding, Fault, "forwarded_for_missing",
        "The proxy in front does not say who is asking, so everybody counts as one address and is limited together",
        "Let it add X-Forwarded-For (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)";
    FORWARDED_FOR_CHOSEN, Forwarding, Fault, "forwarded_for_chosen",
        "The proxy in front passes on what a client writes into X-Forwarded-For, so anybody can choose the address that they count as",
        "Let it append the address of its own peer, or replace the header; every proxy on the way must be in trusted_proxies";
    FORWARDED_PROTO_PLAIN, Forwarding, Warning, "forwarded_proto_plain",
        "X-Forwarded-Proto says http although public_url is https: on the way to the proxy that wrote it, requests are not encrypted",
        "See that people arrive over https, and that the outermost proxy writes X-Forwarded-Proto; the gateway itself goes by public_url";
    CLOCK_WRONG, Clock, Fault, "clock_wrong",
        "This machine's clock and another one are more than a minute apart, so tokens and signatures are taken for expired or for not yet valid",
        "Synchronise this machine's clock (chrony, systemd-timesyncd); if it is right, the other one is wrong";
    CLOCK_DRIFTS, Clock, Warning, "clock_drifts",
        "This machine's clock and another one are more than ten seconds apart",
        "Synchronise this machine's clock (chrony, systemd-timesyncd)";
    PROVIDER_UNREACHABLE, ProviderEndpoints, Fault, "provider_unreachable",
        "An endpoint of the provider cannot be reached",
        "Check its host name in the configuration, and whether this machine may make connections there (firewall, DNS, proxy)";
    PROVIDER_UNTRUSTED, ProviderEndpoints, Fault, "provider_untrusted",
        "TLS to an endpoint of the provider fails",
        "Install this system's root certificates (ca-certificates); for an authority of your own, add it to the system's trust";
    PROVIDER_FAILS, ProviderEndpoints, Fault, "provider_fails",
        "An endpoint of the provider does not answer as it should",
        "Look at the provider's status page; check the endpoint in the configuration";
    PROVIDER_DISCOVERY, ProviderEndpoints, Fault, "provider_discovery",
        "The discovery document of the issuer cannot be used, so the gateway does not start",
        "Check issuer: it must be exactly what the document names itself, and the document must be at issuer/.well-known/openid-configuration";
    CLIENT_SECRET_WRONG, ClientSecret, Fault, "client_secret_wrong",
        "The provider does not accept our client id with this secret, so nobody can sign in",
        "Write the client_id and client_secret that the provider shows for this app; make a new secret there if it expired";
    CLIENT_ID_UNKNOWN, ClientSecret, Fault, "client_id_unknown",
        "The provider knows no app with our client id, so nobody can sign in",
        "Write the client_id that the provider shows for this app, with the secret that belongs to it";
    REDIRECT_URI_UNKNOWN, RedirectUri, Fault, "redirect_uri_unknown",
        "The provider does not accept our redirect URI, so nobody can sign in",
        "Register it at the provider, exactly so";
    MCP_SERVER_UNREACHABLE, McpServer, Fault, "mcp_server_unreachable",
        "Nobody answers at upstream_url",
        "Start the MCP server, or correct upstream_url";
    MCP_SERVER_SILENT, McpServer, Fault, "mcp_server_silent",
        "The MCP server takes the connection and does not answer in time",
        "Look into its log; restart it";
    MCP_SERVER_UNTRUSTED, McpServer, Fault, "mcp_server_untrusted",
        "TLS to the MCP server fails",
        "Give it a certificate that this system trusts, or correct the scheme of upstream_url";
    MCP_SERVER_REDIRECTS, McpServer, Fault, "mcp_server_redirects",
        "The MCP server answers with a redirect, which the gateway does not follow",
        "Set upstream_url to where it leads";
    MCP_SERVER_FAILS, McpServer, Fault, "mcp_server_fails",
        "The MCP server answers with an error of its own",
        "Look into its log";
    MCP_SERVER_ELSEWHERE, McpServer, Fault, "mcp_server_elsewhere",
        "Something answers at upstream_url, and it does not speak MCP there",
        "Correct the path in upstream_url: most servers have /mcp";
    MCP_SERVER_WANTS_TOKEN, McpServer, Warning, "mcp_server_wants_token",
        "The MCP server asks for a token, and credential = \"none\" gives it none",
        "Set credential to \"authorization\", or switch the server's own authorization off";
    STORE_IN_MEMORY, Store, Warning, "store_in_memory",
        "The store is in memory: at every restart all apps must register and all people approve again",
        "Set store.url to disk:/path";
    STORE_OPEN, Store, Fault, "store_open",
        "Others than its owner may enter the folder of the store or read its files",
        "chmod 0700 the folder and 0600 the files in it";
    STORE_WRONG_OWNER, Store, Fault, "store_wrong_owner",
        "The store belongs to another user than the gateway runs as",
        "chown the folder of the store, with everything in it, to the gateway's user";
    STORE_REPLACEABLE, Store, Fault, "store_replaceable",
        "Everybody may rename what is in the folder above the store, and so replace the store and its key",
        "chmod o-w that folder, or move the store";
    STORE_UNREADABLE, Store, Warning, "store_unreadable",
        "The folder of the store cannot be looked into by this user",
        "Run doctor as the user that runs the gateway, or as root";
    KEY_OPEN, Key, Fault, "key_open",
        "Others than its owner may read or change the key file; the gateway does not start with it",
        "chmod 0600 it; if others could read it, make a new key";
    KEY_WRONG_OWNER, Key, Fault, "key_wrong_owner",
        "The key file belongs to another user than the gateway runs as",
        "chown it to the gateway's user";
    KEY_MISSING, Key, Fault, "key_missing",
        "The store holds records and its key file is missing: the gateway does not start any more",
        "Bring the key file back, or set store.encryption_key to that key";
    KEY_DAMAGED, Key, Fault, "key_damaged",
        "The key file does not hold keys of this form; the gateway does not start with it",
        "Bring the key file back from where you keep a copy of it";
    KEY_OF_ANOTHER_DAY, Key, Fault, "key_of_another_day",
        "The key file lacks keys that the running gateway has: after the next start nothing opens that is sealed with them",
        "Do not restart it; run mcp-deputy keys new, by which it writes its keys back";
    KEY_INSIDE_STORE, Key, Fault, "key_inside_store",
        "The encryption key lies in the folder of the store, so every copy of the folder opens itself",
        "Move it out of there; keep a copy of it elsewhere than the backups of the store";
    DISK_FULL, DiskSpace, Fault, "disk_full",
        "There is almost no space left where the store is: soon nothing can be approved or refreshed",
        "Free some, or give the store a larger disk";
    DISK_FILLS, DiskSpace, Warning, "disk_fills",
        "There is little space left where the store is",
        "Free some, or give the store a larger disk";
    OPEN_FILES_FEW, OpenFiles, Warning, "open_files_few",
        "The gateway may have few files open, and every connection is one",
        "Raise the limit (LimitNOFILE= of systemd, --ulimit nofile= of a container, ulimit -Hn)";
}

/// One line of the report.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) check: Check,
    /// Of what: a URL, a path, a name of the configuration.
    pub(super) subject: String,
    pub(super) level: Level,
    /// Stable; `None` where all is well or nothing was looked at.
    pub(super) slug: Option<&'static str>,
    pub(super) looked_at: &'static str,
    pub(super) found: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(check: Check, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, subject.into(), Level::Ok, found.into())
    }

    /// It could not be looked at, and why.
    pub(super) fn skipped(check: Check, subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, subject.into(), Level::Skipped, why.into())
    }

    fn new(check: Check, subject: String, level: Level, found: String) -> Self {
        Self { check, subject, level, slug: None, looked_at: check.looked_at(), found, remedy: None }
    }

    /// What is looked at there.
    pub(super) fn of(problem: &Problem, subject: impl Into<String>) -> Self {
        Self {
            slug: Some(problem.slug),
            remedy: Some(problem.remedy.to_owned()),
            ..Self::new(problem.check, subject.into(), problem.level, problem.cause.to_owned())
        }
    }

    /// Says more about what is wrong.
    pub(super) fn because(mut self, detail: impl AsRef<str>) -> Self {
        self.found = format!("{}: {}", self.found, detail.as_ref());
        self
    }

    /// Says exactly what to do.
    pub(super) fn namely(mut self, detail: impl AsRef<str>) -> Self {
        self.remedy = self.remedy.map(|remedy| format!("{remedy}: {}", detail.as_ref()));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_slug_is_unique_and_every_check_has_its_name() {
        let slugs: BTreeSet<_> = PROBLEMS.iter().map(|problem| problem.slug).collect();
        assert_eq!(slugs.len(), PROBLEMS.len());
        for problem in PROBLEMS {
            assert!(matches!(problem.level, Level::Warning | Level::Fault), "{}", problem.slug);
            assert!(!problem.cause.ends_with('.') && !problem.remedy.ends_with('.'), "{}", problem.slug);
        }
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
        }
    }

    /// Set `MCP_DEPUTY_WRITE_DOCS` to have it written.
    #[test]
    fn the_documentation_holds_the_same_table() {
        use std::fmt::Write as _;

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, _) = text.split_once("<!-- table -->\n").unwrap();
        let mut table = String::new();
        for check in Check::ALL {
            let problems: Vec<_> = PROBLEMS.iter().filter(|problem| problem.check == check).collect();
            writeln!(table, "\n### `{}`\n\n{}.", check.name(), capital(check.looked_at())).unwrap();
            table += "\n| slug | level | what is wrong | what to do |\n| --- | --- | --- | --- |\n";
            for it in problems {
                let level = if it.level == Level::Fault { "fault" } else { "warning" };
                writeln!(table, "| `{}` | {level} | {} | {} |", it.slug, it.cause, it.remedy).unwrap();
            }
        }
        let expected = format!("{head}<!-- table -->\n{table}");
        if std::env::var_os("MCP_DEPUTY_WRITE_DOCS").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        assert!(text == expected, "docs/doctor.md is not what the code says: write it anew");
    }

    fn capital(text: &str) -> String {
        let mut chars = text.chars();
        chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap()
    }
}
