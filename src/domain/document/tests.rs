//! Judges at work on URLs and documents, good and bad ones.

use super::{content::MAX_LENGTH, *};
use crate::domain::{
    metadata::{AuthMethod, ClientMetadata},
    redirect::RedirectRules,
};

const RULES: DocumentRules<'static> =
    DocumentRules { own_origin: "https://mcp.example.com", allowed_domains: &[], loopback: false };

const URL: &str = "https://app.example/client.json";

fn judged(members: &str) -> Result<ClientMetadata, &'static str> {
    let url = DocumentUrl::client_id(URL, &RULES).unwrap();
    let rules = RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };
    content::judge(&url, format!("{{{members}}}").as_bytes(), &rules)
}

const GOOD: &str = r#""client_id":"https://app.example/client.json","client_name":"App","redirect_uris":["https://app.example/cb"]"#;

#[test]
fn urls_of_documents() {
    for url in [
        "https://app.example/client.json",
        "https://app.example:8443/client.json",
        "https://app.example/oauth/client",
        "https://app.example/a/",
        "https://app.example/.well-known/client.json",
        "https://app.example/a..b/...",
        "https://app.example/%C3%A4.json",
        "https://xn--bcher-kva.example/client.json",
        "https://1.1.1.1/client.json",
        "https://[2606:4700:4700::1111]/client.json",
    ] {
        let judged = DocumentUrl::client_id(url, &RULES).unwrap_or_else(|bad| panic!("{url}: {bad:?}"));
        assert_eq!(judged.as_str(), url);
        assert!(!judged.is_loopback());
        assert_eq!(host_of(url), Some(judged.host()));
    }
    assert_eq!(host_of("https://app.example:8443/x"), Some("app.example:8443"));
    assert_eq!(host_of("mcpd_ci_x"), None);
}

#[test]
fn attack_urls_that_parsers_repair_are_no_urls_of_documents() {
    let long = format!("https://app.example/{}", "a".repeat(MAX_URL_LENGTH));
    for (url, why) in [
        ("http://app.example/client.json", BadDocumentUrl::Form),
        ("HTTPS://app.example/client.json", BadDocumentUrl::Form),
        ("https:app.example/client.json", BadDocumentUrl::Form),
        ("https:///app.example/client.json", BadDocumentUrl::Form),
        ("https:\\\\app.example\\client.json", BadDocumentUrl::Form),
        (" https://app.example/client.json", BadDocumentUrl::Form),
        ("https://app.example/client.json ", BadDocumentUrl::Form),
        ("https://app.example/cli\tent.json", BadDocumentUrl::Form),
        ("https://app.example/cli\nent.json", BadDocumentUrl::Form),
        ("https://app.example/client\u{0}.json", BadDocumentUrl::Form),
        ("https://app.example/\u{e4}.json", BadDocumentUrl::Form),
        ("https://b\u{fc}cher.example/client.json", BadDocumentUrl::Form),
        ("https://app.example", BadDocumentUrl::Path),
        ("https://app.example/", BadDocumentUrl::Path),
        ("https://app.example:8443/", BadDocumentUrl::Path),
        ("https://app.example?x/y", BadDocumentUrl::Query),
        ("https://app.example/client.json?a=1", BadDocumentUrl::Query),
        ("https://app.example/client.json?", BadDocumentUrl::Query),
        ("https://app.example/client.json#a", BadDocumentUrl::Form),
        ("https://app.example/client.json#", BadDocumentUrl::Form),
        ("https://user@app.example/client.json", BadDocumentUrl::Form),
        ("https://user:pw@app.example/client.json", BadDocumentUrl::Form),
        ("https://@app.example/client.json", BadDocumentUrl::Form),
        ("https://app.example@10.0.0.1/client.json", BadDocumentUrl::Form),
        ("https://app.example/./client.json", BadDocumentUrl::Form),
        ("https://app.example/a/../client.json", BadDocumentUrl::Form),
        ("https://app.example/a/..", BadDocumentUrl::Form),
        ("https://app.example/%2e/client.json", BadDocumentUrl::Form),
        ("https://app.example/a/%2E%2e/client.json", BadDocumentUrl::Form),
        ("https://app.example/a/.%2e/client.json", BadDocumentUrl::Form),
        ("https://app.example/a%2F..%2Fclient.json", BadDocumentUrl::Form),
        ("https://app.example/a%5C..%5Cclient.json", BadDocumentUrl::Form),
        ("https://APP.example/client.json", BadDocumentUrl::Form),
        ("https://app.example:443/client.json", BadDocumentUrl::Form),
        ("https://app.example:0443/client.json", BadDocumentUrl::Form),
        ("https://app.example:/client.json", BadDocumentUrl::Form),
        ("https://app.example:99999/client.json", BadDocumentUrl::Form),
        ("https://app.example./client.json", BadDocumentUrl::Host),
        ("https://app..example/client.json", BadDocumentUrl::Host),
        ("https://intranet/client.json", BadDocumentUrl::Host),
        ("https://a.localhost/client.json", BadDocumentUrl::Host),
        ("https://127.1/client.json", BadDocumentUrl::Form),
        ("https://2130706433/client.json", BadDocumentUrl::Form),
        ("https://0x7f.0.0.1/client.json", BadDocumentUrl::Form),
        ("https://0177.0.0.1/client.json", BadDocumentUrl::Form),
        ("https://[::0001]/client.json", BadDocumentUrl::Form),
        ("https://[::ffff:127.0.0.1]/client.json", BadDocumentUrl::Form),
        ("https://localhost/client.json", BadDocumentUrl::Loopback),
        ("https://127.0.0.1/client.json", BadDocumentUrl::Loopback),
        ("https://127.0.0.2:8443/client.json", BadDocumentUrl::Loopback),
        ("https://[::1]/client.json", BadDocumentUrl::Loopback),
        ("https://mcp.example.com/authorize", BadDocumentUrl::Own),
        (&long, BadDocumentUrl::TooLong),
        ("", BadDocumentUrl::Form),
        ("https://", BadDocumentUrl::Form),
    ] {
        assert_eq!(DocumentUrl::client_id(url, &RULES).err(), Some(why), "{url:?}");
    }
}

#[test]
fn a_key_set_may_have_a_query_and_stand_at_the_root() {
    for url in ["https://app.example/keys?app=1", "https://app.example/", "https://app.example/?x"] {
        assert!(DocumentUrl::key_set(url, &RULES).is_ok(), "{url}");
    }
    for url in
        ["https://app.example", "http://app.example/keys", "https://localhost/keys", "https://a.example/../k"]
    {
        assert!(DocumentUrl::key_set(url, &RULES).is_err(), "{url}");
    }
}

#[test]
fn documents_on_this_computer_are_for_gateways_on_this_computer() {
    let local = DocumentRules { own_origin: "http://127.0.0.1:8080", loopback: true, ..RULES };
    for url in ["https://localhost:9443/client.json", "https://127.0.0.1/c", "https://[::1]:1/c"] {
        assert!(DocumentUrl::client_id(url, &local).unwrap().is_loopback(), "{url}");
    }
    // Every other writing of it is left to the judgement of addresses, which refuses it.
    let mapped = DocumentUrl::client_id("https://[::ffff:7f00:1]/c", &local).unwrap();
    assert!(!mapped.is_loopback());
    assert_eq!(DocumentUrl::client_id("http://localhost/c", &local), Err(BadDocumentUrl::Form));
}

#[test]
fn an_operator_can_name_the_domains() {
    let domains = ["app.example".to_owned(), "*.apps.example".to_owned()];
    let rules = DocumentRules { allowed_domains: &domains, ..RULES };
    for host in ["app.example", "app.example:8443", "a.apps.example", "a.b.apps.example"] {
        assert!(DocumentUrl::client_id(&format!("https://{host}/c"), &rules).is_ok(), "{host}");
    }
    for host in ["x.app.example", "apps.example", "evilapps.example", "app.example.evil.example", "1.1.1.1"] {
        let judged = DocumentUrl::client_id(&format!("https://{host}/c"), &rules);
        assert_eq!(judged, Err(BadDocumentUrl::NotAllowed), "{host}");
    }
}

#[test]
fn the_least_that_a_document_can_say() {
    let metadata = judged(GOOD).unwrap();
    assert_eq!(metadata.token_endpoint_auth_method, AuthMethod::None);
    assert_eq!(metadata.client_name.as_deref(), Some("App"));
    // What we do not know is ignored, as are grant types that we do not have.
    let more = judged(&format!(
        r#"{GOOD},"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:device_code"],"logo_uri":"http://169.254.169.254/","x":{{"y":[1,2.5,null,true]}}"#
    ));
    assert_eq!(more.unwrap().grant_types, ["authorization_code", "refresh_token"]);
}

#[test]
fn documents_that_are_none() {
    for (members, why) in [
        (GOOD.replace("client.json", "other.json"), "document_of_another"),
        (
            GOOD.replace("https://app.example/client.json", "HTTPS://app.example/client.json"),
            "document_of_another",
        ),
        (GOOD.replace("client.json", "client.json/"), "document_of_another"),
        (GOOD.replace(r#""client_id""#, r#""client_ID""#), "document_of_another"),
        (GOOD.replace(r#""App""#, r#"" ""#), "document_without_name"),
        (GOOD.replace(r#""App""#, "7"), "document_without_name"),
        (GOOD.replace("client_name", "name"), "document_without_name"),
        (GOOD.replace("redirect_uris", "uris"), "document_without_redirects"),
        (
            GOOD.replace(r#"["https://app.example/cb"]"#, r#""https://app.example/cb""#),
            "document_without_redirects",
        ),
        (GOOD.replace(r#"["https://app.example/cb"]"#, "[]"), "redirect_uri_refused"),
        (
            GOOD.replace("https://app.example/cb", "https://mcp.example.com/callback/x"),
            "redirect_uri_refused",
        ),
        (GOOD.replace("https://app.example/cb", "https://app.example/*"), "redirect_uri_refused"),
        (GOOD.replace("https://app.example/cb", "javascript:x"), "redirect_uri_refused"),
        (format!(r#"{GOOD},"client_secret":"x""#), "document_with_secret"),
        (format!(r#"{GOOD},"client_secret_expires_at":0"#), "document_with_secret"),
        (format!(r#"{GOOD},"client_name":"B""#), "document_not_json"),
        (format!(r#"{GOOD},"client_id":"https://app.example/client.json""#), "document_not_json"),
        (format!(r#"{GOOD},"x":{{"a":1,"a":2}}"#), "document_not_json"),
        (format!("{GOOD},"), "document_not_json"),
        (format!(r#"{GOOD},"x":"{}""#, "a".repeat(MAX_LENGTH)), "document_too_large"),
    ] {
        assert_eq!(judged(&members).unwrap_err(), why, "{members}");
    }
    let url = DocumentUrl::client_id(URL, &RULES).unwrap();
    let rules = RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };
    for body in [&b""[..], b"[]", b"null", b"<html>", b"{\"a\":\"\xff\"}"] {
        assert_eq!(content::judge(&url, body, &rules).unwrap_err(), "document_not_json");
    }
}

#[test]
fn attack_shared_secrets_are_refused_in_every_place() {
    for method in ["client_secret_post", "client_secret_basic", "client_secret_jwt"] {
        for members in [
            format!(r#"{GOOD},"token_endpoint_auth_method":"{method}""#),
            format!(r#"{GOOD},"token_endpoint_auth_methods_supported":["none","{method}"]"#),
            format!(
                r#"{GOOD},"token_endpoint_auth_method":"{method}","token_endpoint_auth_methods_supported":["none"]"#
            ),
        ] {
            assert_eq!(judged(&members).unwrap_err(), "document_with_shared_secret_method", "{members}");
        }
    }
}

#[test]
fn the_array_of_methods_counts_before_the_single_one() {
    let said = |members: &str| judged(&format!("{GOOD},{members}")).map(|it| it.token_endpoint_auth_method);
    assert_eq!(
        said(r#""token_endpoint_auth_methods_supported":["tls_client_auth","none"]"#),
        Ok(AuthMethod::None)
    );
    let keys = r#""jwks_uri":"https://app.example/keys""#;
    for members in [
        format!(r#"{keys},"token_endpoint_auth_method":"private_key_jwt""#),
        format!(r#"{keys},"token_endpoint_auth_methods_supported":["none","private_key_jwt"]"#),
    ] {
        assert_eq!(said(&members), Ok(AuthMethod::PrivateKeyJwt), "{members}");
    }
    assert_eq!(said(r#""token_endpoint_auth_method":"private_key_jwt""#).unwrap_err(), "keys_missing");
    assert_eq!(
        said(
            r#""token_endpoint_auth_method":"none","token_endpoint_auth_methods_supported":["private_key_jwt","none"]"#
        ),
        Ok(AuthMethod::None)
    );
    for members in [
        r#""token_endpoint_auth_methods_supported":[]"#,
        r#""token_endpoint_auth_methods_supported":["tls_client_auth"]"#,
        r#""token_endpoint_auth_methods_supported":"none""#,
        r#""token_endpoint_auth_methods_supported":[1]"#,
        r#""token_endpoint_auth_method":"tls_client_auth""#,
        r#""token_endpoint_auth_method":["none"]"#,
    ] {
        assert_eq!(said(members).unwrap_err(), "auth_method_unsupported", "{members}");
    }
}
