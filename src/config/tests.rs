//! Whole configurations: what loads, what it means, and the exact sentence for each class of mistake.

use std::time::Duration;

use super::keys::{Absent, SECTIONS, Shape};
use super::*;
use crate::domain::origin::Origin;
use crate::domain::provider::{IssPolicy, RefreshRule, Revocation, TokenAuthMethod};

const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// The smallest file, in pieces that a test can replace.
const SMALLEST: &str = r#"public_url = "https://mcp.example.com"
[provider.github]
preset = "github"
client_id = "our-id"
client_secret = "our-canary-secret"
[[mcp_server]]
upstream_url = "http://10.0.0.7:3000/mcp"
"#;

fn no_env(_: &str) -> Option<String> {
    None
}

fn good(text: &str) -> Settings {
    from_text("proxy.toml", text, &no_env).unwrap()
}

fn bad(text: &str) -> String {
    from_text("proxy.toml", text, &no_env).unwrap_err().to_string()
}

/// The smallest file with the lines of `more` in the named section (`""`: the top).
fn with(section: &str, more: &str) -> String {
    match section {
        "" => format!("{more}\n{SMALLEST}"),
        "provider" => SMALLEST.replace("[[mcp_server]]", &format!("{more}\n[[mcp_server]]")),
        "mcp_server" => format!("{SMALLEST}{more}\n"),
        section => format!("{SMALLEST}{section}\n{more}\n"),
    }
}

#[test]
fn the_smallest_file_means_what_the_documentation_says() {
    let settings = good(SMALLEST);
    assert_eq!(settings.public_url.as_str(), "https://mcp.example.com");
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.store.url, StoreUrl::Sled("./data".into()));
    assert!(settings.store.key.is_none());
    let server = &settings.servers[0];
    assert_eq!(settings.resource(server), "https://mcp.example.com/mcp");
    assert_eq!(server.name, "mcp.example.com/mcp");
    assert_eq!(server.credential, Credential::Authorization);
    assert_eq!(server.allowed_origins, [settings.public_url.clone()]);
    let [scope] = server.scopes.as_slice() else { panic!("one scope") };
    assert_eq!(scope.name, "mcp");
    assert_eq!(scope.description, "Use mcp.example.com/mcp");
    assert_eq!(scope.provider_scopes, ["read:user"]);
    assert!(scope.default);
}

#[test]
fn the_github_preset_knows_github() {
    let settings = good(SMALLEST);
    let github = &settings.providers[0];
    assert_eq!(github.title, "GitHub");
    assert_eq!(github.issuer.as_deref(), Some("https://github.com/login/oauth"));
    assert_eq!(github.iss, IssPolicy::IfPresent);
    assert_eq!(github.authorization_endpoint.as_str(), "https://github.com/login/oauth/authorize");
    assert_eq!(github.token_endpoint.as_str(), "https://github.com/login/oauth/access_token");
    assert_eq!(github.userinfo_endpoint.as_str(), "https://api.github.com/user");
    assert_eq!(github.revocation, Revocation::GithubApplication("https://api.github.com".parse().unwrap()));
    assert_eq!(github.subject, ["id"]);
    assert_eq!(github.granted_scope_separators, [',', ' ']);
    assert_eq!(github.split_granted("repo,user:email, gist"), ["repo", "user:email", "gist"]);
    assert_eq!(github.token_auth_method, TokenAuthMethod::Post);
    assert!(github.pkce && github.errors_at_200 && github.requires_scope);
    let covered = github.with_equivalents(["admin:org", "user"]);
    for scope in ["admin:org", "write:org", "read:org", "user", "read:user", "user:email"] {
        assert!(covered.contains(scope), "{scope}");
    }
    assert!(!covered.contains("repo"));
}

#[test]
fn whatever_is_written_replaces_the_preset() {
    let settings = good(&with(
        "provider",
        r#"
        host = "github.example.com"
        token_endpoint = "http://localhost:9000/token"
        default_scopes = ["read:org"]
        scope_equivalents = {}
        errors_at_200 = false
        revocation = "none"
        subject = "owner.user.id"
        title = "Our GitHub"
        "#,
    ));
    let github = &settings.providers[0];
    assert_eq!(github.authorization_endpoint.as_str(), "https://github.example.com/login/oauth/authorize");
    assert_eq!(github.userinfo_endpoint.as_str(), "https://github.example.com/api/v3/user");
    assert_eq!(github.token_endpoint.as_str(), "http://localhost:9000/token");
    assert_eq!(github.subject, ["owner", "user", "id"]);
    assert_eq!(github.revocation, Revocation::None);
    assert_eq!(github.title, "Our GitHub");
    assert!(github.scope_equivalents.is_empty() && !github.errors_at_200);
    assert_eq!(settings.servers[0].scopes[0].provider_scopes, ["read:org"]);
}

/// A third party without a preset.
const SPELLED_OUT: &str = r#"public_url = "http://127.0.0.1:8080"
[provider.forge]
client_id = "our-id"
authorization_endpoint = "https://forge.example/authorize"
token_endpoint = "https://forge.example/token"
userinfo_endpoint = "https://forge.example/userinfo"
default_scopes = ["openid"]
[[mcp_server]]
upstream_url = "https://tools.example/mcp"
"#;

#[test]
fn a_spelled_out_provider_gets_the_defaults_of_the_standards() {
    let settings = good(SPELLED_OUT);
    let forge = &settings.providers[0];
    assert_eq!(forge.title, "forge");
    assert_eq!(forge.preset, None);
    assert_eq!(forge.issuer, None);
    assert_eq!(forge.subject, ["sub"]);
    assert_eq!(forge.scope_separator, " ");
    assert_eq!(forge.granted_scope_separators, [' ']);
    assert_eq!(forge.revocation, Revocation::None);
    assert_eq!(forge.refresh, RefreshRule::CarryForward);
    assert_eq!(forge.token_auth_method, TokenAuthMethod::Basic);
    assert!(forge.client_secret.is_none());
    let revoking =
        SPELLED_OUT.replace("[[mcp", "revocation_endpoint = \"https://forge.example/revoke\"\n[[mcp");
    let revoking = good(&revoking).providers.remove(0).revocation;
    assert_eq!(revoking, Revocation::Rfc7009("https://forge.example/revoke".parse().unwrap()));
}

#[test]
fn a_loopback_gateway_lets_loopback_pages_in_and_a_public_one_does_not() {
    let inspector = Origin::parse("http://localhost:6274").unwrap();
    assert!(good(SPELLED_OUT).servers[0].allows(&inspector));
    assert!(!good(SMALLEST).servers[0].allows(&inspector));
    let listed = format!("{SPELLED_OUT}allowed_origins = [\"https://chat.example\"]");
    let listed = &good(&listed).servers[0];
    assert!(!listed.allows(&inspector));
    assert!(listed.allows(&Origin::parse("https://chat.example").unwrap()));
    assert!(listed.allows(&Origin::parse("http://127.0.0.1:8080").unwrap()));
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut spelled = String::new();
    for section in SECTIONS {
        let header = match (section.path, section.shape) {
            (_, Shape::Root) => "public_url = \"https://mcp.example.com\"\n",
            ("provider", _) => {
                "[provider.github]\npreset = \"github\"\nclient_id = \"our-id\"\nclient_secret = \"our-canary-secret\"\n"
            }
            ("mcp_server", _) => "[[mcp_server]]\nupstream_url = \"http://10.0.0.7:3000/mcp\"\n",
            ("mcp_server.scope" | "tls", _) => continue,
            (path, _) => &format!("[{path}]\n"),
        };
        spelled.push_str(header);
        for key in section.keys {
            if let Absent::Default(value) = key.absent {
                spelled.push_str(&format!("{} = {value}\n", key.name));
            }
        }
    }
    assert_eq!(format!("{:?}", good(&spelled)), format!("{:?}", good(SMALLEST)));
}

#[test]
fn the_environment_alone_is_enough() {
    let env = |name: &str| {
        let value = match name {
            "MCP_DEPUTY_PUBLIC_URL" => "https://mcp.example.com",
            "MCP_DEPUTY_UPSTREAM_URL" => "http://10.0.0.7:3000/mcp",
            "MCP_DEPUTY_CLIENT_ID" => "our-id",
            "MCP_DEPUTY_CLIENT_SECRET" => "our-canary-secret",
            "MCP_DEPUTY_KEY" => KEY,
            "MCP_DEPUTY_LISTEN" => "0.0.0.0:80",
            "MCP_DEPUTY_ADMIN_LISTEN" => "127.0.0.1:81",
            "MCP_DEPUTY_STORE" => "memory:",
            "MCP_DEPUTY_PATH" => "/tools",
            "MCP_DEPUTY_PROVIDER" => "",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let settings = from_environment(&env).unwrap();
    assert_eq!(settings.providers[0].name, "github");
    assert_eq!(settings.servers[0].path, "/tools");
    assert_eq!(settings.store.url, StoreUrl::Memory);
    assert!(settings.store.key.is_some());
    assert_eq!(settings.listen.port(), 80);
    assert_eq!(settings.admin_listen.port(), 81);
}

#[test]
fn every_variable_of_the_table_is_read() {
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        let Some(variable) = key.variable else { continue };
        let asked = std::cell::Cell::new(false);
        let env = |name: &str| {
            asked.set(asked.get() || name == variable);
            match name {
                "MCP_DEPUTY_UPSTREAM_URL" => Some("http://10.0.0.7:3000/mcp".to_owned()),
                _ => None,
            }
        };
        let _ = from_environment(&env);
        assert!(asked.get(), "{variable}");
    }
}

#[test]
fn the_file_wins_over_the_environment() {
    let env = |name: &str| match name {
        "MCP_DEPUTY_PUBLIC_URL" => Some("https://other.example".to_owned()),
        "MCP_DEPUTY_CLIENT_ID" => Some("other-id".to_owned()),
        "MCP_DEPUTY_LISTEN" => Some("127.0.0.1:1".to_owned()),
        _ => None,
    };
    let settings = from_text("proxy.toml", SMALLEST, &env).unwrap();
    assert_eq!(settings.public_url.as_str(), "https://mcp.example.com");
    assert_eq!(settings.providers[0].client_id, "our-id");
    assert_eq!(settings.listen.port(), 1, "what the file leaves out comes from the environment");
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    for (set, sentence) in [
        ([].as_slice(), "no proxy.toml here: public_url is missing; write it, or set MCP_DEPUTY_PUBLIC_URL"),
        (
            &[("MCP_DEPUTY_PUBLIC_URL", "https://mcp.example.com/")],
            "MCP_DEPUTY_PUBLIC_URL: public_url must be an origin without a path, not even a trailing slash",
        ),
        (
            &[("MCP_DEPUTY_PUBLIC_URL", "https://mcp.example.com")],
            "no proxy.toml here: there is no provider; write [provider.github], or set MCP_DEPUTY_CLIENT_ID and \
             MCP_DEPUTY_CLIENT_SECRET",
        ),
        (
            &[("MCP_DEPUTY_PUBLIC_URL", "https://mcp.example.com"), ("MCP_DEPUTY_CLIENT_ID", "our-id")],
            "MCP_DEPUTY_CLIENT_ID: client_secret is missing in [provider.github]; write it, or set \
             MCP_DEPUTY_CLIENT_SECRET",
        ),
        (
            &[("MCP_DEPUTY_PUBLIC_URL", "https://mcp.example.com"), ("MCP_DEPUTY_PROVIDER", "gitub")],
            "MCP_DEPUTY_PROVIDER: unknown preset 'gitub'; did you mean 'github'?",
        ),
    ] {
        let env =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(from_environment(&env).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn references_and_lists_come_from_the_environment_and_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "from-a-file\r\n").unwrap();
    let text = SMALLEST
        .replace("\"our-canary-secret\"", &format!("{{ file = {secret:?} }}"))
        .replace("public_url = ", "trusted_proxies = { env = \"PROXIES\" }\npublic_url = ")
        .replace("[[mcp", "pkce = { env = \"YES\" }\n[limits]\nmax_streams = { env = \"SEVEN\" }\n[[mcp");
    let env = |name: &str| match name {
        "PROXIES" => Some("10.0.0.0/8, ::1".to_owned()),
        "YES" => Some("true".to_owned()),
        "SEVEN" => Some("7".to_owned()),
        _ => None,
    };
    let settings = from_text("proxy.toml", &text, &env).unwrap();
    let secret = settings.providers[0].client_secret.as_ref().unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(secret), "from-a-file");
    assert_eq!(settings.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(settings.limits.max_streams, 7);
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let text =
        with("[store]", &format!("encryption_key = \"{KEY}\"\nprevious_encryption_keys = [\"{KEY}\"]"));
    let output = format!("{:?}", good(&text));
    assert!(!output.contains("our-canary-secret"));
    assert!(!output.contains("9f86"));
    assert!(!output.contains("159, 134"));
    assert!(output.contains("REDACTED"));
}

#[test]
fn providers_and_servers_keep_the_order_of_the_file() {
    let text = SPELLED_OUT.replace("[[mcp_server]]", "[provider.apple]\npreset = \"github\"\nclient_id = \"x\"\nclient_secret = \"y\"\n[[mcp_server]]\npath = \"/z\"\nprovider = \"apple\"\nupstream_url = \"http://z/\"\n[[mcp_server]]\npath = \"/a\"\nprovider = \"forge\"");
    let settings = good(&text);
    let providers: Vec<_> = settings.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(providers, ["forge", "apple"]);
    assert_eq!(settings.server("/z").unwrap().provider, "apple");
    assert_eq!(settings.server("/a").unwrap().provider, "forge");
    assert_eq!(settings.provider("apple").unwrap().title, "GitHub");
}

#[test]
fn scopes_carry_words_defaults_and_hierarchy() {
    let settings = good(&with(
        "mcp_server",
        r#"
        [[mcp_server.scope]]
        name = "repo"
        description = "Change your repositories"
        provider_scopes = ["repo"]
        implies = ["repo:read"]
        [[mcp_server.scope]]
        name = "repo:read"
        description = "See your repositories"
        default = true
        optional = true
        "#,
    ));
    let scopes = &settings.servers[0].scopes;
    assert_eq!(scopes[0].implies, ["repo:read"]);
    assert_eq!((scopes[0].default, scopes[1].default, scopes[1].optional), (false, true, true));
    assert_eq!(scopes[1].provider_scopes, ["read:user"]);
}

#[test]
fn lifetimes_and_limits_are_read() {
    let settings = good(&format!(
        "{SMALLEST}[tokens]\naccess_ttl = \"15m\"\nrefresh_grace = \"0s\"\n[limits]\nmcp_max_body_bytes = \"1 MiB\"\n\
         [registration]\nallowed_redirect_schemes = [\"cursor\"]\ndynamic = \"off\"\n"
    ));
    assert_eq!(settings.tokens.access_ttl, Duration::from_secs(900));
    assert_eq!(settings.tokens.refresh_grace, Duration::ZERO);
    assert_eq!(settings.limits.mcp_max_body_bytes, 1_048_576);
    assert_eq!(settings.registration.allowed_redirect_schemes, ["cursor"]);
    assert_eq!(settings.registration.dynamic, DynamicRegistration::Off);
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Some(Path::new("/nowhere/proxy.toml")), &no_env).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/proxy.toml: cannot be read: there is no such file");
}

#[test]
fn mistakes_at_the_top_level() {
    let public_url = |value: &str| SMALLEST.replace("https://mcp.example.com", value);
    for (text, sentence) in [
        (
            SMALLEST.replace("public_url = \"https://mcp.example.com\"\n", ""),
            "proxy.toml: public_url is missing; write it, or set MCP_DEPUTY_PUBLIC_URL",
        ),
        (
            public_url("http://mcp.example.com"),
            "proxy.toml:1: public_url must be https; http is for loopback hosts only",
        ),
        (
            public_url("https://mcp.example.com/mcp"),
            "proxy.toml:1: public_url must be an origin without a path, not even a trailing slash",
        ),
        (
            public_url("mcp.example.com"),
            "proxy.toml:1: public_url must be an origin such as https://mcp.example.com",
        ),
        (
            with("", "listen = \"8080\""),
            "proxy.toml:1: listen must be an address and a port, such as 127.0.0.1:8080",
        ),
        (
            with("", "\nlisten = \"0.0.0.0:9090\""),
            "proxy.toml:2: listen and admin_listen must have different ports",
        ),
        (
            with("", "trusted_proxies = [\"proxy\"]"),
            "proxy.toml:1: trusted_proxies must be addresses or networks, such as 10.0.0.0/8",
        ),
        (
            with("[tls]", "certificate = \"/nowhere/c.pem\"\nkey = \"/nowhere/k.pem\""),
            "proxy.toml:9: certificate cannot be read: there is no such file",
        ),
        (with("[tls]", "key = \"k\""), "proxy.toml:8: certificate is missing in [tls]; write it"),
        (
            with("[tls]", "certificate = \"/dev/null\"\nkey = \"/dev/null\"")
                .replace("https://mcp.example.com", "http://localhost"),
            "proxy.toml:8: [tls] does not go with a public_url of http; write https there",
        ),
    ] {
        assert_eq!(bad(&text), sentence);
    }
}

#[test]
fn mistakes_in_the_store_the_consent_the_registration_and_the_numbers() {
    for (section, more, sentence) in [
        ("[store]", "url = \"redis://x\"", "proxy.toml:9: the store's url must be sled:FOLDER or memory:"),
        (
            "[store]",
            "url = \"postgres://db/deputy\"",
            "proxy.toml:9: the store's url names PostgreSQL, which is not supported yet; it comes with a later release, \
             until then use sled:FOLDER",
        ),
        (
            "[store]",
            "encryption_key = \"changeme\"",
            "proxy.toml:9: encryption_key must be exactly 32 bytes; make one with: openssl rand -base64 32",
        ),
        (
            "[store]",
            "encryption_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
            "proxy.toml:9: encryption_key is too weak: it must be random; make one with: openssl rand -base64 32",
        ),
        (
            "[store]",
            "previous_encryption_keys = [\"%\"]",
            "proxy.toml:9: previous_encryption_keys must be 32 random bytes in base64 or hexadecimal; make one with: \
             openssl rand -base64 32",
        ),
        (
            "[consent]",
            "mode = \"remember\"",
            "proxy.toml:9: mode = \"remember\" is not supported yet; it comes with a later release",
        ),
        ("[consent]", "mode = \"never\"", "proxy.toml:9: mode must be \"always\""),
        (
            "[consent]",
            "missing_resource = \"ignore\"",
            "proxy.toml:9: missing_resource must be \"warn\" or \"refuse\"",
        ),
        (
            "[registration]",
            "dynamic = \"allow_listed\"",
            "proxy.toml:9: dynamic = \"allow_listed\" is not supported yet; it comes with a later release",
        ),
        (
            "[registration]",
            "allowed_redirect_schemes = [\"javascript\"]",
            "proxy.toml:9: allowed_redirect_schemes must be private-use schemes of native apps, such as cursor",
        ),
        (
            "[tokens]",
            "access_ttl = \"soon\"",
            "proxy.toml:9: access_ttl must be a duration, such as 90s, 15m, 1h or 30d",
        ),
        ("[tokens]", "code_ttl = \"11m\"", "proxy.toml:9: code_ttl must be between 1s and 10m"),
        ("[tokens]", "refresh_ttl = \"2m\"", "proxy.toml:9: refresh_ttl must not be shorter than access_ttl"),
        (
            "[limits]",
            "max_connections = 0",
            "proxy.toml:9: max_connections must be a number between 1 and 1000000",
        ),
        (
            "[limits]",
            "mcp_max_body_bytes = \"16 parsecs\"",
            "proxy.toml:9: mcp_max_body_bytes must be a number between 1024 and 1073741824",
        ),
    ] {
        assert_eq!(bad(&with(section, more)), sentence);
    }
}

#[test]
fn mistakes_in_a_provider() {
    for (text, sentence) in [
        (
            SMALLEST.replace("client_id = \"our-id\"\n", ""),
            "proxy.toml:2: client_id is missing in [provider.github]; write it, or set MCP_DEPUTY_CLIENT_ID",
        ),
        (
            SMALLEST.replace("client_secret = \"our-canary-secret\"\n", ""),
            "proxy.toml:2: client_secret is missing in [provider.github]; write it, or set MCP_DEPUTY_CLIENT_SECRET",
        ),
        (SMALLEST.replace("our-canary-secret", ""), "proxy.toml:5: client_secret is empty"),
        (
            SMALLEST.replace("\"github\"", "\"myforge\""),
            "proxy.toml:3: unknown preset 'myforge'; there are: github. Leave preset out and spell the provider out",
        ),
        (
            SMALLEST.replace("[provider.github]", "[provider.Git_Hub]"),
            "proxy.toml:2: the name of a provider must be 1 to 32 lower-case letters, digits and dashes; it is part of \
             a URL",
        ),
        (
            SPELLED_OUT.replace("token_endpoint = \"https://forge.example/token\"\n", ""),
            "proxy.toml:2: token_endpoint is missing in [provider.forge]; write it",
        ),
        (
            SPELLED_OUT.replace("https://forge.example/userinfo", "http://forge.example/userinfo"),
            "proxy.toml:6: userinfo_endpoint must be https; http is for loopback hosts only",
        ),
        (
            SPELLED_OUT.replace("https://forge.example/userinfo", "forge.example"),
            "proxy.toml:6: userinfo_endpoint must be a URL of https or http",
        ),
        (
            SPELLED_OUT.replace("[[mcp", "pkce = false\n[[mcp"),
            "proxy.toml:8: pkce = false needs a client_secret: something must protect the code",
        ),
        (
            SPELLED_OUT.replace("[[mcp", "iss = \"required\"\n[[mcp"),
            "proxy.toml:8: iss = \"required\" needs issuer, to compare with",
        ),
        (
            SPELLED_OUT.replace("[[mcp", "host = \"x.example\"\n[[mcp"),
            "proxy.toml:8: host goes with a preset only; without one the endpoints say it all",
        ),
        (
            with("provider", "scopes = [\"read user\"]"),
            "proxy.toml:6: scopes must be a scope: printable ASCII without spaces, quotes and backslashes",
        ),
        (
            with("provider", "scope_separator = \",\"\nscopes = [\"a,b\"]"),
            "proxy.toml:7: scopes must not contain the scope_separator",
        ),
        (
            with("provider", "authorize_params = { state = \"x\" }"),
            "proxy.toml:6: authorize_params must not contain state: the gateway sets it",
        ),
        (
            with("provider", "revocation = \"rfc7009\""),
            "proxy.toml:2: revocation_endpoint is missing in [provider.github]; write it",
        ),
        (
            with("provider", "refresh = \"often\""),
            "proxy.toml:6: refresh must be \"carry_forward\" or \"rotating\"",
        ),
        (
            with("provider", "subject = \"a..b\""),
            "proxy.toml:6: subject must be names with dots between them",
        ),
    ] {
        assert_eq!(bad(&text), sentence);
    }
}

#[test]
fn mistakes_in_an_mcp_server() {
    let upstream = |value: &str| SMALLEST.replace("http://10.0.0.7:3000/mcp", value);
    for (text, sentence) in [
        (
            SMALLEST.split("[[mcp").next().unwrap().to_owned(),
            "proxy.toml: there is no MCP server; write [[mcp_server]], or set MCP_DEPUTY_UPSTREAM_URL",
        ),
        (
            SMALLEST.split("upstream").next().unwrap().to_owned(),
            "proxy.toml:6: upstream_url is missing in [[mcp_server]]; write it, or set MCP_DEPUTY_UPSTREAM_URL",
        ),
        (upstream("stdio:server"), "proxy.toml:7: upstream_url must be a URL of https or http"),
        (upstream("http://a.example/mcp?key=1"), "proxy.toml:7: upstream_url must not have a query"),
        (
            upstream("http://me:pw@a.example/mcp"),
            "proxy.toml:7: upstream_url must not contain user information or a fragment",
        ),
        (with("mcp_server", "path = \"/\""), "proxy.toml:8: path must not be /: that page is ours"),
        (
            with("mcp_server", "path = \"/token/mcp\""),
            "proxy.toml:8: path must not be /token or below it: that is ours",
        ),
        (
            with("mcp_server", "path = \"mcp\""),
            "proxy.toml:8: path must be a path such as /mcp: letters, digits and -._~ between single slashes, none at \
             the end",
        ),
        (
            with("mcp_server", "[[mcp_server]]\nupstream_url = \"http://b.example/\"\npath = \"/mcp\""),
            "proxy.toml:10: two MCP servers have the path /mcp",
        ),
        (
            with("mcp_server", "provider = \"gihtub\""),
            "proxy.toml:8: there is no provider 'gihtub'; did you mean 'github'?",
        ),
        (
            with("mcp_server", "provider = \"slack\""),
            "proxy.toml:8: there is no provider 'slack'; there are: github",
        ),
        (
            with("provider", "[provider.two]\npreset = \"github\"\nclient_id = \"x\"\nclient_secret = \"y\""),
            "proxy.toml:10: provider is missing in [[mcp_server]]; there is more than one",
        ),
        (
            with("mcp_server", "credential = \"bearer\""),
            "proxy.toml:8: credential must be \"authorization\", \"none\" or { header = \"X-NAME\" }",
        ),
        (
            with("mcp_server", "credential = { header = \"Host\" }"),
            "proxy.toml:8: the header of credential must be a header name of its own, such as X-Api-Token",
        ),
        (
            with("mcp_server", "name = \"a\\nb\""),
            "proxy.toml:8: name must be one line of 1 to 200 characters",
        ),
        (
            with("mcp_server", "allowed_origins = [\"http://chat.example\"]"),
            "proxy.toml:8: allowed_origins must be https; http is for loopback hosts only",
        ),
    ] {
        assert_eq!(bad(&text), sentence);
    }
}

#[test]
fn mistakes_in_scopes() {
    const ONE: &str = "[[mcp_server.scope]]\nname = \"a\"\ndescription = \"Do a\"\n";
    const TWO: &str = "[[mcp_server.scope]]\nname = \"b\"\ndescription = \"Do b\"\n";
    for (scopes, sentence) in [
        (
            "[[mcp_server.scope]]\n".to_owned(),
            "proxy.toml:8: name is missing in [[mcp_server.scope]]; write it",
        ),
        (
            "[[mcp_server.scope]]\nname = \"a\"".to_owned(),
            "proxy.toml:8: description is missing in [[mcp_server.scope]]; write it",
        ),
        (
            ONE.replace("\"a\"", "\"a b\""),
            "proxy.toml:9: name must be a scope: printable ASCII without spaces, quotes and backslashes",
        ),
        (
            ONE.replace("\"a\"", "\"offline_access\""),
            "proxy.toml:9: name must not be offline_access, which is no scope of an MCP server",
        ),
        (format!("{ONE}{ONE}"), "proxy.toml:11: two scopes of mcp.example.com/mcp have the name a"),
        (
            format!("{ONE}implies = [\"c\"]"),
            "proxy.toml:11: implies names 'c', which is no scope of mcp.example.com/mcp",
        ),
        (
            format!("{ONE}implies = [\"b\"]\n{TWO}implies = [\"a\"]"),
            "proxy.toml:11: implies leads from a back to itself",
        ),
        (
            format!("{ONE}{TWO}"),
            "proxy.toml:6: none of the scopes of mcp.example.com/mcp has default = true; clients would not know what to \
             ask for",
        ),
        (
            format!("{ONE}provider_scopes = []"),
            "proxy.toml:11: the scope a would ask GitHub for no scope at all; write provider_scopes here or \
             default_scopes in [provider.github]",
        ),
    ] {
        assert_eq!(bad(&with("mcp_server", scopes.trim_end())), sentence);
    }
    assert_eq!(
        bad(&SPELLED_OUT.replace("default_scopes = [\"openid\"]\n", "")),
        "proxy.toml:7: the scope mcp would ask forge for no scope at all; write provider_scopes here or default_scopes \
         in [provider.forge]"
    );
    good(&SPELLED_OUT.replace("default_scopes = [\"openid\"]", "requires_scope = false"));
}
