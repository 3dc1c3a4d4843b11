//! Whole configurations: what loads and what it means; `refusals` has the exact sentence for each class of mistake.

mod elsewhere;
mod operator;
mod refusals;

use std::time::Duration;

use super::keys::{Absent, SECTIONS, Shape};
use super::*;
use crate::domain::metadata::AuthMethod;
use crate::domain::origin::Origin;
use crate::domain::provider::{IssPolicy, Revocation, TokenAuthMethod};

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
    assert_eq!(settings.store.url, StoreUrl::Disk("./data".into()));
    assert!(settings.store.key.is_none());
    let server = &settings.servers[0];
    assert_eq!(settings.resource(server), "https://mcp.example.com/mcp");
    assert_eq!(server.name, "mcp.example.com/mcp");
    assert_eq!(server.credential, Credential::Authorization);
    assert_eq!(server.allowed_origins, std::slice::from_ref(&settings.public_url));
    let [scope] = server.scopes.as_slice() else { panic!("one scope") };
    assert_eq!(scope.name, "mcp");
    assert_eq!(scope.description, "Use mcp.example.com/mcp");
    assert_eq!(scope.provider_scopes, ["read:user"]);
    assert!(scope.default);
}

#[test]
fn scopes_may_say_which_tools_they_open() {
    let scopes = "filter_tools = true\n[[mcp_server.scope]]\nname = \"a\"\ndescription = \"Do a\"\ndefault = true\n\
                  tools = [\"get_*\", \"echo\"]\n[[mcp_server.scope]]\nname = \"b\"\ndescription = \"Do b\"\n\
                  tools = []\n[[mcp_server.scope]]\nname = \"c\"\ndescription = \"Do c\"";
    let settings = good(&with("mcp_server", scopes));
    let server = &settings.servers[0];
    assert!(server.filter_tools);
    let tools = |scope: &ScopeSettings| {
        let tools = scope.tools.as_ref()?;
        Some(tools.iter().map(|tool| tool.as_str().to_owned()).collect::<Vec<_>>())
    };
    let tools: Vec<_> = server.scopes.iter().map(tools).collect();
    assert_eq!(tools, [Some(vec!["get_*".to_owned(), "echo".to_owned()]), Some(vec![]), None]);
    assert!(!good(SMALLEST).servers[0].filter_tools);
    assert_eq!(good(SMALLEST).servers[0].scopes[0].tools, None);
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
    assert!(github.pkce && github.requires_scope);
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
    assert!(github.scope_equivalents.is_empty());
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
            ("tls", _) | (_, Shape::List) => continue,
            (path, _) => &format!("[{path}]\n"),
        };
        spelled.push_str(header);
        for key in section.keys {
            if let Absent::Default(value) = key.absent {
                spelled.extend([key.name, " = ", value, "\n"]);
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
fn the_environment_alone_is_enough_for_presets_that_need_more() {
    let with = |more: [&'static str; 4]| {
        from_environment(&move |name: &str| {
            let value = match name {
                "MCP_DEPUTY_PUBLIC_URL" => "https://mcp.example.com",
                "MCP_DEPUTY_UPSTREAM_URL" => "http://10.0.0.7:3000/mcp",
                "MCP_DEPUTY_CLIENT_ID" => "our-id",
                "MCP_DEPUTY_CLIENT_SECRET" => "our-canary-secret",
                "MCP_DEPUTY_PROVIDER" => more[0],
                "MCP_DEPUTY_TENANT" => more[1],
                "MCP_DEPUTY_ISSUER" => more[2],
                "MCP_DEPUTY_PROVIDER_HOST" => more[3],
                _ => "",
            };
            Some(value.to_owned())
        })
        .map(|mut settings| settings.providers.remove(0).identifies_as())
    };
    let tenant = "11111111-2222-3333-4444-555555555555";
    let entra = with(["entra", tenant, "", ""]).unwrap();
    assert_eq!(entra, format!("https://login.microsoftonline.com/{tenant}/v2.0"));
    assert_eq!(with(["okta", "", "https://x.okta.com", ""]).unwrap(), "https://x.okta.com");
    assert_eq!(with(["gitlab", "", "", "git.example.com"]).unwrap(), "https://git.example.com");
    let missing = with(["entra", "", "", ""]).unwrap_err().to_string();
    assert_eq!(
        missing,
        "MCP_DEPUTY_PROVIDER: tenant is missing in [provider.entra]; write it, or set MCP_DEPUTY_TENANT"
    );
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
                // Some are about a provider that there must be.
                "MCP_DEPUTY_CLIENT_ID" => Some("our-id".to_owned()),
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
    assert_eq!(settings.limits.max_streams, Some(7));
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
        "#,
    ));
    let scopes = &settings.servers[0].scopes;
    assert_eq!(scopes[0].implies, ["repo:read"]);
    assert_eq!((scopes[0].default, scopes[1].default), (false, true));
    assert_eq!(scopes[1].provider_scopes, ["read:user"]);
}

#[test]
fn lifetimes_and_limits_are_read() {
    let settings = good(&format!(
        "{SMALLEST}[tokens]\naccess_ttl = \"15m\"\nrefresh_grace = \"0s\"\n[limits]\nmcp_max_body_bytes = \"1 MiB\"\n\
         [registration]\nallowed_redirect_schemes = [\"cursor\"]\ndynamic = \"off\"\n"
    ));
    assert_eq!(settings.tokens.access_ttl, Duration::from_mins(15));
    assert_eq!(settings.tokens.refresh_grace, Duration::ZERO);
    assert_eq!(settings.limits.mcp_max_body_bytes, 1_048_576);
    assert_eq!(settings.registration.allowed_redirect_schemes, ["cursor"]);
    assert_eq!(settings.registration.dynamic, DynamicRegistration::Off);
}

#[test]
fn whoever_lists_domains_does_not_mean_everybody() {
    let dynamic = |keys: &str| good(&with("[registration]", keys)).registration.dynamic;
    assert_eq!(dynamic(""), DynamicRegistration::On);
    assert_eq!(dynamic("allowed_domains = [\"app.example\"]"), DynamicRegistration::AllowListed);
    assert_eq!(dynamic("allowed_domains = [\"app.example\"]\ndynamic = \"on\""), DynamicRegistration::On);
    assert!(bad(&with("[registration]", "max_unused_clients = 0")).contains("between 10 and 1000000"));
    for domain in ["app.example", "*.app.example", "localhost", "xn--bcher-kva.example"] {
        let settings = good(&with("[registration]", &format!("allowed_domains = [\"{domain}\"]")));
        assert_eq!(settings.registration.allowed_domains, [domain]);
    }
    for domain in [
        "",
        "*",
        "*.",
        "*.com",
        "app.*.example",
        "App.example",
        "app.example.",
        "app.example:1",
        "com",
        "ä.example",
    ] {
        assert!(
            bad(&with("[registration]", &format!("allowed_domains = [\"{domain}\"]"))).contains("host names"),
            "{domain}"
        );
    }
}

#[test]
fn clients_of_the_operator_are_judged_like_all() {
    let client = |keys: &str| with("[[client]]", keys);
    let known = good(&client(
        "client_id = \"reports\"\nname = \"Our reports\"\nredirect_uris = [\"https://reports.example/cb\"]",
    ));
    let [reports] = known.clients.as_slice() else { panic!("one client") };
    assert_eq!(reports.id, "reports");
    assert_eq!(reports.metadata.token_endpoint_auth_method, AuthMethod::None);
    assert_eq!(reports.metadata.client_name.as_deref(), Some("Our reports"));
    assert!(reports.secret.is_none());
    let with_keys = |more: &str| {
        client(&format!(
            "client_id = \"reports\"\nname = \"x\"\nredirect_uris = [\"https://reports.example/cb\"]\n{more}"
        ))
    };
    for (more, method) in [
        ("client_secret = \"our-canary-secret\"", AuthMethod::ClientSecretBasic),
        (
            "client_secret = \"our-canary-secret\"\ntoken_endpoint_auth_method = \"client_secret_post\"",
            AuthMethod::ClientSecretPost,
        ),
        ("jwks = \"https://reports.example/keys\"", AuthMethod::PrivateKeyJwt),
    ] {
        assert_eq!(good(&with_keys(more)).clients[0].metadata.token_endpoint_auth_method, method, "{more}");
    }
    assert!(!format!("{:?}", good(&with_keys("client_secret = \"our-canary-secret\""))).contains("canary"));
    for (more, sentence) in [
        ("client_secret = \"short\"", "client_secret must be at least 16 printable"),
        (
            "token_endpoint_auth_method = \"client_secret_post\"",
            "token_endpoint_auth_method must be none without",
        ),
        (
            "token_endpoint_auth_method = \"private_key_jwt\"",
            "token_endpoint_auth_method must be none without",
        ),
        (
            "client_secret = \"our-canary-secret\"\ntoken_endpoint_auth_method = \"none\"",
            "token_endpoint_auth_method must be none without",
        ),
        (
            "client_secret = \"our-canary-secret\"\njwks = \"https://reports.example/keys\"",
            "jwks does not go with client_secret",
        ),
        ("jwks = \"http://reports.example/keys\"", "jwks must be an https URL"),
        ("jwks = \"{}\"", "cannot be used"),
        (
            "[[client]]\nclient_id = \"reports\"\nname = \"y\"\nredirect_uris = [\"https://y.example/\"]",
            "two [[client]] entries have the same client_id",
        ),
    ] {
        let error = bad(&with_keys(more));
        assert!(error.contains(sentence), "{more}: {error}");
    }
    for (keys, sentence) in [
        ("name = \"x\"\nredirect_uris = [\"https://x.example/\"]", "client_id is missing"),
        ("client_id = \"x\"\nredirect_uris = [\"https://x.example/\"]", "name is missing"),
        ("client_id = \"x\"\nname = \"x\"", "redirect_uris is missing"),
        (
            "client_id = \"mcpd_ci_x\"\nname = \"x\"\nredirect_uris = [\"https://x.example/\"]",
            "must not begin",
        ),
        (
            "client_id = \"HTTPS://x\"\nname = \"x\"\nredirect_uris = [\"https://x.example/\"]",
            "must not begin",
        ),
        ("client_id = \"a b\"\nname = \"x\"\nredirect_uris = [\"https://x.example/\"]", "printable ASCII"),
        ("client_id = \"x\"\nname = \"x\"\nredirect_uris = [\"http://x.example/\"]", "cannot be used"),
        ("client_id = \"x\"\nname = \"x\"\nredirect_uris = [\"https://mcp.example.com/\"]", "cannot be used"),
        ("client_id = \"x\"\nname = \"x\"\nredirect_uris = []", "cannot be used"),
        ("client_id = \"x\"\nname = \"x\"\nredirect_uris = [\"cursor://x\"]", "cannot be used"),
    ] {
        let error = bad(&client(keys));
        assert!(error.contains(sentence), "{keys}: {error}");
    }
}

#[test]
fn documents_are_read_from_where_the_operator_lets_them_come() {
    let settings = good(SMALLEST);
    assert!(settings.registration.client_id_metadata_documents && !settings.registration.loopback_documents);
    let settings = good(&format!(
        "{SMALLEST}[registration]\nclient_id_metadata_documents = false\nloopback_documents = false\n\
         allowed_domains = [\"claude.ai\", \"*.apps.example\"]\negress_proxy = \"http://proxy.internal:3128\"\n"
    ));
    assert!(!settings.registration.client_id_metadata_documents);
    assert_eq!(settings.registration.allowed_domains, ["claude.ai", "*.apps.example"]);
    assert_eq!(settings.registration.egress_proxy.as_deref(), Some("proxy.internal:3128"));
    let local = SMALLEST.replace("https://mcp.example.com", "http://127.0.0.1:8080");
    assert!(
        good(&format!("{local}[registration]\nloopback_documents = true\n")).registration.loopback_documents
    );
}

#[test]
fn approvals_are_remembered_where_the_operator_says_so_and_over_https_only() {
    assert_eq!(good(SMALLEST).consent.mode, ConsentMode::Always);
    assert_eq!(good(&with("[consent]", "mode = \"remember\"")).consent.mode, ConsentMode::Remember);
}

#[test]
fn how_a_person_chooses_an_account_is_the_presets_until_it_is_written() {
    let params = |settings: &Settings| settings.providers[0].choose_account_params.clone();
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(params(&good(SMALLEST)), pair("prompt", "select_account"));
    let written = good(&with("provider", "choose_account_params = { hint = \"other\" }"));
    assert_eq!(params(&written), pair("hint", "other"));
    assert_eq!(params(&good(&with("provider", "choose_account_params = {}"))), []);
    assert!(!good(SMALLEST).providers[0].refresh_needs_consent);
    assert!(good(&with("provider", "refresh_needs_consent = true")).providers[0].refresh_needs_consent);
}
