//! The exact sentence for each class of mistake.

use std::path::Path;

use super::{SMALLEST, SPELLED_OUT, bad, good, no_env, with};
use crate::config::{from_environment, load};

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    for (set, sentence) in [
        (
            [].as_slice(),
            "no proxy.toml here (`mcp-deputy config init` writes one): public_url is missing; write it, or set \
             MCP_DEPUTY_PUBLIC_URL",
        ),
        (
            &[("MCP_DEPUTY_PUBLIC_URL", "https://mcp.example.com/")],
            "MCP_DEPUTY_PUBLIC_URL: public_url must be an origin without a path, not even a trailing slash",
        ),
        (
            &[("MCP_DEPUTY_PUBLIC_URL", "https://mcp.example.com")],
            "no proxy.toml here (`mcp-deputy config init` writes one): there is no provider; write [provider.github], or \
             set MCP_DEPUTY_CLIENT_ID and MCP_DEPUTY_CLIENT_SECRET",
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
            format!("{}[consent]\nmode = \"remember\"\n", public_url("http://127.0.0.1:8080")),
            "proxy.toml:9: mode = \"remember\" needs a public_url of https: over http any program of the same host can \
             take the cookie that says whose browser it is",
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
            with("", "trusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\"]"),
            "proxy.toml:1: trusted_proxies must not name every address: anybody could say where their requests come from",
        ),
        (
            with("", "trusted_proxies = [\"::/0\"]"),
            "proxy.toml:1: trusted_proxies must not name every address: anybody could say where their requests come from",
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
        ("[store]", "url = \"redis://x\"", "proxy.toml:9: the store's url must be disk:FOLDER or memory:"),
        (
            "[store]",
            "url = \"postgres://db/deputy\"",
            "proxy.toml:9: the store's url names PostgreSQL, which is not supported yet; it comes with a later release, \
             until then use disk:FOLDER",
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
        ("[consent]", "mode = \"never\"", "proxy.toml:9: mode must be \"always\" or \"remember\""),
        (
            "[consent]",
            "missing_resource = \"ignore\"",
            "proxy.toml:9: missing_resource must be \"warn\" or \"refuse\"",
        ),
        (
            "[registration]",
            "dynamic = \"allow_listed\"",
            "proxy.toml:9: dynamic = \"allow_listed\" needs allowed_domains; write it",
        ),
        (
            "[registration]",
            "initial_access_token = \"short\"",
            "proxy.toml:9: initial_access_token must be at least 16 printable ASCII characters without blanks; make one \
             with: openssl rand -hex 32",
        ),
        (
            "[registration]",
            "loopback_documents = true",
            "proxy.toml:9: loopback_documents is only for a public_url on loopback: anybody else's client could have \
             this machine look at itself",
        ),
        (
            "[registration]",
            "allowed_domains = [\"https://app.example\"]",
            "proxy.toml:9: allowed_domains must be host names in lower case such as \"example.com\" or \"*.example.com\", \
             or \"localhost\"",
        ),
        (
            "[registration]",
            "allowed_domains = [\"*.com\"]",
            "proxy.toml:9: allowed_domains must be host names in lower case such as \"example.com\" or \"*.example.com\", \
             or \"localhost\"",
        ),
        (
            "[registration]",
            "egress_proxy = \"http://user:pw@proxy.internal:3128\"",
            "proxy.toml:9: egress_proxy must be a URL such as \"http://proxy.internal:3128\", without path, user and \
             password",
        ),
        (
            "[registration]",
            "egress_proxy = \"https://proxy.internal\"",
            "proxy.toml:9: egress_proxy must be a URL such as \"http://proxy.internal:3128\", without path, user and \
             password",
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
            "proxy.toml:3: unknown preset 'myforge'; there are: github, github-app, google, entra, okta, slack, notion, \
             linear, atlassian, gitlab, oidc. Leave preset out and spell the provider out",
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
            SMALLEST.replace("preset = \"github\"", "preset = \"google\"\nhost = \"x.example\""),
            "proxy.toml:4: host does not go with this preset: it has no other installations",
        ),
        (with("provider", "tenant = \"x\""), "proxy.toml:6: tenant does not go with this preset"),
        (
            with("provider", "userinfo_body = \"{ viewer }\""),
            "proxy.toml:6: userinfo_body must be a JSON object",
        ),
        (
            with("provider", "scope_parameter = \"scope&x\""),
            "proxy.toml:6: scope_parameter must be the name of a parameter",
        ),
        (
            with("provider", "headers = { Authorization = \"x\" }"),
            "proxy.toml:6: headers must be names and values of headers that the gateway does not set itself",
        ),
        (
            with("provider", "headers = { X-A = \"a\\nb\" }"),
            "proxy.toml:6: headers must be names and values of headers that the gateway does not set itself",
        ),
        (
            with("provider", "revocation = \"rfc7009\""),
            "proxy.toml:2: revocation_endpoint is missing in [provider.github]; write it",
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
fn the_mcp_server_is_not_the_gateway_itself() {
    let written = |listen: &str, upstream: &str| {
        let text = SMALLEST.replace("http://10.0.0.7:3000/mcp", upstream);
        format!("listen = \"{listen}\"\n{text}")
    };
    for (listen, upstream) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/mcp"),
        ("127.0.0.1:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://0.0.0.0:8080/mcp"),
        ("127.0.0.1:8080", "http://127.0.0.1:9090/mcp"),
        ("0.0.0.0:80", "http://127.0.0.9/mcp"),
        ("[::]:8080", "http://127.0.0.1:8080/mcp"),
        ("[::]:8080", "http://[::1]:8080/mcp"),
        ("127.0.0.1:8080", "http://[::ffff:127.0.0.1]:8080/mcp"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080/mcp"),
    ] {
        assert_eq!(
            bad(&written(listen, upstream)),
            "proxy.toml:8: upstream_url must not be where the gateway itself answers; write the address of the MCP server",
            "{listen} {upstream}"
        );
    }
    for (listen, upstream) in [
        ("127.0.0.1:8080", "http://127.0.0.1:3000/mcp"),
        ("127.0.0.1:8080", "http://127.0.0.2:8080/mcp"),
        ("127.0.0.1:8080", "https://mcp.example.com/mcp"),
        ("127.0.0.1:8080", "http://mcp-server:8080/mcp"),
        ("10.0.0.7:8080", "http://localhost:8080/mcp"),
        ("0.0.0.0:8080", "http://10.0.0.7:8080/mcp"),
        ("0.0.0.0:8080", "http://[::1]:8080/mcp"),
    ] {
        good(&written(listen, upstream));
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
            format!("{ONE}tools = [\"get repo\"]"),
            "proxy.toml:11: tools must be names of tools without spaces, in which * stands for anything",
        ),
        (
            format!("filter_tools = true\n{ONE}"),
            "proxy.toml:6: filter_tools needs a [[mcp_server.scope]] of mcp.example.com/mcp with tools",
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

#[test]
fn a_page_has_a_bounded_number_of_boxes() {
    let scope = |number: usize| {
        format!(
            "[[mcp_server.scope]]\nname = \"s{number}\"\ndescription = \"S\"\ndefault = true\noptional = true\n"
        )
    };
    let some = |count: usize| format!("{SMALLEST}{}", (0..count).map(scope).collect::<String>());
    assert!(good(&some(32)).servers[0].scopes.iter().all(|scope| scope.optional));
    assert_eq!(
        bad(&some(33)),
        "proxy.toml:6: more than 32 scopes of mcp.example.com/mcp are optional; nobody reads so many boxes"
    );
}

#[test]
fn what_chooses_an_account_is_not_what_the_gateway_says_itself() {
    let text = with("provider", "choose_account_params = { state = \"x\" }");
    assert!(
        bad(&text).ends_with("choose_account_params must not contain state: the gateway sets it"),
        "{}",
        bad(&text)
    );
}

#[test]
fn a_list_that_names_nobody_does_not_let_everybody_in() {
    for (section, name) in [
        ("[access]", "users"),
        ("[access]", "emails"),
        ("[access]", "email_domains"),
        ("[access]", "organizations"),
        ("[registration]", "allowed_domains"),
    ] {
        assert_eq!(
            bad(&with(section, &format!("{name} = []"))),
            format!(
                "proxy.toml:9: {name} is empty, which would narrow nothing down; name somebody, or leave it out"
            )
        );
    }
}

/// Two tenants under one origin, whose people have the same ids.
#[test]
fn two_third_parties_are_not_taken_for_one() {
    let tenant = |name: &str, more: &str| {
        SPELLED_OUT
            .lines()
            .skip_while(|line| !line.starts_with("[provider."))
            .take_while(|line| !line.starts_with("[["))
            .map(|line| {
                let line = line.replace("[provider.forge]", &format!("[provider.{name}]"));
                line.replace("https://forge.example/", &format!("https://forge.example/{name}/"))
            })
            .chain([more.to_owned()])
            .collect::<Vec<_>>()
            .join("\n")
    };
    let both = |one: &str, two: &str| {
        let server = "[[mcp_server]]\nupstream_url = \"http://10.0.0.7:3000/mcp\"\nprovider = \"one\"";
        format!("public_url = \"https://mcp.example.com\"\n{one}\n{two}\n{server}\n")
    };
    let mixed_up = "[provider.one] and [provider.two] would take people of two third parties for the same; write the \
                    issuer of each";
    let issuer = |name: &str| format!("issuer = \"https://forge.example/{name}\"");
    for text in [
        both(&tenant("one", ""), &tenant("two", "")),
        both(&tenant("one", "issuer = \"https://forge.example\""), &tenant("two", "")),
    ] {
        assert!(bad(&text).ends_with(mixed_up), "{}", bad(&text));
    }
    good(&both(&tenant("one", &issuer("one")), &tenant("two", &issuer("two"))));
    good(&both(&tenant("one", &issuer("one")), &tenant("two", "")));
    // Two clients of ours at one third party.
    let twice = tenant("one", "").replace("[provider.one]", "[provider.two]");
    good(&both(&tenant("one", ""), &twice));
    let other_id = format!("{twice}\nsubject = \"login\"");
    assert!(bad(&both(&tenant("one", ""), &other_id)).ends_with(mixed_up));
}
