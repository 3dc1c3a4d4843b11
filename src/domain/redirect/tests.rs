//! What may be registered and what matches: tables of near misses, and properties over generated text.

use proptest::prelude::*;

use super::*;

const RULES: RedirectRules<'static> =
    RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };

fn registered(uri: &str) -> RegisteredRedirects {
    RegisteredRedirects::register([uri], &RULES).unwrap()
}

#[test]
fn https_anywhere_and_http_on_loopback_can_be_registered() {
    for uri in [
        "https://app.example/cb",
        "https://app.example:8443/cb?x=1",
        "https://app.example",
        "https://app.example?x=/../y",
        "https://app.example/a%20b/~c/(d);e=1,2/..f/%2F",
        "http://localhost/cb",
        "http://127.0.0.1:0/cb",
        "http://[::1]:3000/cb",
        "https://xn--bcher-kva.example/cb",
    ] {
        registered(uri);
    }
}

#[test]
fn everything_else_cannot() {
    for (uri, why) in [
        ("http://evil.example/cb", BadRedirect::Scheme),
        ("http://127.0.0.2/cb", BadRedirect::Scheme),
        ("http://localhost.evil.example/cb", BadRedirect::Scheme),
        ("javascript:alert(1)", BadRedirect::Scheme),
        ("data:text/html,x", BadRedirect::Scheme),
        ("cursor://x/cb", BadRedirect::Scheme),
        ("https://app.example/cb#f", BadRedirect::Form),
        ("https://user@app.example/cb", BadRedirect::Form),
        ("https://*.app.example/cb", BadRedirect::Form),
        ("https://app.example/*", BadRedirect::Form),
        ("https://./cb", BadRedirect::Form),
        ("https://app.example./cb", BadRedirect::Form),
        ("https://app.example/cb?code=1", BadRedirect::Form),
        ("https://app.example/cb?a=1&st%61te=1", BadRedirect::Form),
        ("https://APP.example/cb", BadRedirect::Form),
        ("HTTPS://app.example/cb", BadRedirect::Form),
        ("https://bücher.example/cb", BadRedirect::Form),
        ("http://127.1/cb", BadRedirect::Form),
        ("https://good.example\\@evil.example/", BadRedirect::Form),
        ("https:app.example/cb", BadRedirect::Form),
        ("https:///app.example/cb", BadRedirect::Form),
        ("https://app.example/c b", BadRedirect::Form),
        ("https://mcp.example.com/callback", BadRedirect::OwnOrigin),
        ("https://mcp.example.com:443/x", BadRedirect::OwnOrigin),
        ("https://mcp.example.com", BadRedirect::OwnOrigin),
        ("https://mcp.example.com/?x", BadRedirect::OwnOrigin),
        ("https://MCP.example.com/x", BadRedirect::Form),
        ("https://mcp.example.com./x", BadRedirect::Form),
        ("https://mcp%2eexample.com/x", BadRedirect::Form),
        ("https://mcp.example.com:0443/x", BadRedirect::Form),
        ("https://mcp.example.com:/x", BadRedirect::Form),
        ("https://app.example/x/../cb", BadRedirect::Form),
        ("https://app.example/./cb", BadRedirect::Form),
        ("https://app.example/./cb?x=/y", BadRedirect::Form),
        ("https://app.example/x/%2e%2e/cb", BadRedirect::Form),
        ("https://app.example/x/.%2E/cb", BadRedirect::Form),
        ("https://app.example/cb/..", BadRedirect::Form),
        ("https://app.example%2f@evil.example/cb", BadRedirect::Form),
        ("https://app.example%40evil.example/cb", BadRedirect::Form),
        ("https://app.example:@evil.example/cb", BadRedirect::Form),
        ("https://app..example/cb", BadRedirect::Form),
        ("https://.app.example/cb", BadRedirect::Form),
        ("https://app.example:99999/cb", BadRedirect::Form),
        ("https://app.example:+1/cb", BadRedirect::Form),
        ("https://app.example/cb\u{202e}", BadRedirect::Form),
        ("https://app.example/\tcb", BadRedirect::Form),
        (" https://app.example/cb", BadRedirect::Form),
        ("https://app.example/cb ", BadRedirect::Form),
        ("https://0.0.0.0/cb", BadRedirect::Form),
        ("https://[::]/cb", BadRedirect::Form),
        ("https://[::ffff:0.0.0.0]/cb", BadRedirect::Form),
        ("https://[::ffff:0:0]/cb", BadRedirect::Form),
        ("https://[0:0:0:0:0:0:0:1]/cb", BadRedirect::Form),
        ("https://0x7f.1/cb", BadRedirect::Form),
        ("http://0.0.0.0/cb", BadRedirect::Scheme),
        ("http://[::]/cb", BadRedirect::Scheme),
        ("http://[::ffff:127.0.0.1]/cb", BadRedirect::Form),
        ("http://[::ffff:7f00:1]/cb", BadRedirect::Scheme),
        ("http://[0:0:0:0:0:0:0:1]/cb", BadRedirect::Form),
        ("http://[::1%25lo]/cb", BadRedirect::Form),
        ("http://0177.0.0.1/cb", BadRedirect::Form),
        ("http://2130706433/cb", BadRedirect::Form),
        ("http://0x7f000001/cb", BadRedirect::Form),
        ("http://127.0.0.01/cb", BadRedirect::Form),
        ("http://localhost./cb", BadRedirect::Form),
        ("http://LOCALHOST/cb", BadRedirect::Form),
        ("http://localhost@evil.example/cb", BadRedirect::Form),
        ("http://evil.example@localhost/cb", BadRedirect::Form),
        ("http://localhost:80@evil.example/cb", BadRedirect::Form),
        ("http://localhost\\@evil.example/cb", BadRedirect::Form),
        ("http://a.localhost/cb", BadRedirect::Scheme),
        ("//app.example/cb", BadRedirect::Form),
        ("/cb", BadRedirect::Form),
        ("app.example/cb", BadRedirect::Form),
        ("blob:https://app.example/cb", BadRedirect::Scheme),
        ("view-source:https://app.example/cb", BadRedirect::Scheme),
        ("file:///etc/passwd", BadRedirect::Scheme),
        ("JavaScript:alert(1)", BadRedirect::Scheme),
        ("urn:ietf:wg:oauth:2.0:oob", BadRedirect::Scheme),
        ("", BadRedirect::Form),
    ] {
        assert_eq!(RegisteredRedirects::register([uri], &RULES), Err(why), "{uri}");
    }
    assert_eq!(RegisteredRedirects::register([], &RULES), Err(BadRedirect::Count));
    let many: Vec<String> = (0..17).map(|n| format!("https://app.example/{n}")).collect();
    assert_eq!(
        RegisteredRedirects::register(many.iter().map(String::as_str), &RULES),
        Err(BadRedirect::Count)
    );
}

#[test]
fn near_misses_do_not_match() {
    let client = registered("https://app.example/cb?a=1");
    assert!(client.matching("https://app.example/cb?a=1", RULES.own_origin).is_some());
    for uri in [
        "https://app.example/cb",
        "https://app.example/cb?a=1&b=2",
        "https://app.example/cb/?a=1",
        "https://APP.example/cb?a=1",
        "https://app.example:443/cb?a=1",
        "https://app.example:8443/cb?a=1",
        "https://x.app.example/cb?a=1",
        "http://app.example/cb?a=1",
        "https://app.example/CB?a=1",
        "https://app.example/cb?a=1#",
        "https://app.example/x/../cb?a=1",
        "",
    ] {
        assert!(client.matching(uri, RULES.own_origin).is_none(), "{uri}");
    }
}

#[test]
fn the_port_of_a_loopback_host_is_free_and_nothing_else() {
    for uri in ["http://127.0.0.1/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:1234/cb"] {
        let client = registered(uri);
        assert!(client.matching("http://127.0.0.1:51004/cb", RULES.own_origin).is_some(), "{uri}");
        for other in [
            "http://localhost:51004/cb",
            "http://[::1]:51004/cb",
            "http://127.0.0.1:51004/cb/",
            "http://127.0.0.1:51004/cb?x",
            "https://127.0.0.1:51004/cb",
            "http://127.0.0.1:51004@evil.example/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:51004/cb#x",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:510 04/cb",
            "http://127.0.0.1:+1/cb",
            "http://127.0.0.1:051004/cb",
        ] {
            assert!(client.matching(other, RULES.own_origin).is_none(), "{uri} {other}");
        }
    }
    let ours = RedirectRules { own_origin: "http://127.0.0.1:9600", ..RULES };
    let near = RegisteredRedirects::register(["http://127.0.0.1:5555/callback/tp"], &ours).unwrap();
    assert!(near.matching("http://127.0.0.1:9600/callback/tp", ours.own_origin).is_none(), "our own origin");
    let ported = registered("https://app.example:1234/cb");
    assert!(ported.matching("https://app.example:1235/cb", RULES.own_origin).is_none());
}

#[test]
fn allowed_private_schemes_can_be_registered_exactly() {
    let schemes = ["cursor".to_owned()];
    let rules = RedirectRules { private_schemes: &schemes, ..RULES };
    let client =
        RegisteredRedirects::register(["cursor://anysphere.cursor-mcp/oauth/callback"], &rules).unwrap();
    let redirect = client.matching("cursor://anysphere.cursor-mcp/oauth/callback", RULES.own_origin).unwrap();
    assert_eq!(redirect.destination(), Destination::App { scheme: "cursor".to_owned() });
    assert!(client.matching("cursor://other/oauth/callback", RULES.own_origin).is_none());
}

#[test]
fn answers_keep_the_query_and_encode_what_they_add() {
    let redirect = registered("https://app.example/cb?a=1")
        .matching("https://app.example/cb?a=1", RULES.own_origin)
        .unwrap();
    assert_eq!(
        redirect.with_code("c/d", Some("ä &#"), "https://mcp.example.com"),
        "https://app.example/cb?a=1&code=c%2Fd&state=%C3%A4+%26%23&iss=https%3A%2F%2Fmcp.example.com"
    );
    let redirect =
        registered("https://app.example").matching("https://app.example", RULES.own_origin).unwrap();
    assert_eq!(
        redirect.with_error("access_denied", "no", None, "https://m.example"),
        "https://app.example?error=access_denied&error_description=no&iss=https%3A%2F%2Fm.example"
    );
}

#[test]
fn people_are_told_where_they_go() {
    let shown = |uri: &str| registered(uri).matching(uri, RULES.own_origin).unwrap().destination();
    assert_eq!(
        shown("https://app.example:8443/cb"),
        Destination::Site { host: "app.example:8443".to_owned() }
    );
    assert_eq!(shown("http://[::1]:3000/"), Destination::Loopback { host: "[::1]".to_owned(), port: 3000 });
}

#[test]
fn a_consent_forgets_the_port_on_loopback_only() {
    let form = |uri: &str| registered(uri).matching(uri, RULES.own_origin).unwrap().consent_form();
    assert_eq!(form("http://127.0.0.1:3000/cb"), "http://127.0.0.1/cb");
    assert_eq!(form("https://app.example:8443/cb"), "https://app.example:8443/cb");
}

#[test]
fn our_own_origin_is_refused_under_every_name_of_this_computer() {
    let ours = RedirectRules { own_origin: "http://127.0.0.1:9600", ..RULES };
    for uri in [
        "http://127.0.0.1:9600/callback/x",
        "http://localhost:9600/x",
        "http://[::1]:9600/x",
        "https://localhost:9600/x",
    ] {
        assert_eq!(RegisteredRedirects::register([uri], &ours), Err(BadRedirect::OwnOrigin), "{uri}");
    }
    let near = RegisteredRedirects::register(["http://localhost:5555/cb"], &ours).unwrap();
    assert!(near.matching("http://localhost:5556/cb", ours.own_origin).is_some());
    assert!(near.matching("http://localhost:9600/cb", ours.own_origin).is_none());
    let plain = RedirectRules { own_origin: "http://localhost", ..RULES };
    assert_eq!(
        RegisteredRedirects::register(["http://127.0.0.1:80/x"], &plain),
        Err(BadRedirect::OwnOrigin),
        "a port that is not written is the scheme's own"
    );
}

#[test]
fn an_allow_list_is_about_every_uri() {
    let schemes = ["cursor".to_owned()];
    let rules = RedirectRules { private_schemes: &schemes, ..RULES };
    let domains = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (uris, list, allowed) in [
        (&["https://app.example/cb"][..], &["app.example"][..], true),
        (&["https://app.example:8443/cb"], &["app.example"], true),
        (&["https://x.app.example/cb"], &["app.example"], false),
        (&["https://x.app.example/cb"], &["*.app.example"], true),
        (&["https://app.example/cb"], &["*.app.example"], false),
        (&["https://evilapp.example/cb"], &["*.app.example", "app.example"], false),
        (&["https://app.example/cb", "https://evil.example/cb"], &["app.example"], false),
        (&["https://app.example/cb"], &[], false),
        (&["http://127.0.0.1/cb"], &["app.example"], false),
        (&["http://127.0.0.1/cb"], &["localhost"], true),
        (&["http://[::1]:3/cb", "https://app.example/"], &["localhost", "app.example"], true),
        (&["https://127.0.0.1/cb"], &["localhost"], false),
        (&["cursor://x/cb"], &["app.example"], true),
    ] {
        let registered = RegisteredRedirects::register(uris.iter().copied(), &rules).unwrap();
        assert_eq!(registered.are_within(&domains(list)), allowed, "{uris:?} {list:?}");
    }
}

/// What a redirect URI is made of, good and bad.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "http://",
            "https://",
            "HTTP://",
            "cursor://",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "app.example",
            "mcp.example.com",
            "127.1",
            ":",
            ":0",
            ":80",
            ":443",
            ":51004",
            ":65536",
            "/",
            "//",
            "/cb",
            "/../",
            "/%2e/",
            "?",
            "?a=1",
            "&",
            "#",
            "@",
            "\\",
            ".",
            "*",
            " ",
            "%",
            "%00",
            "\u{202e}",
            "ä",
            "state=",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,4}",
    ]
}

fn uri() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat()),
        (
            prop::sample::select(vec!["localhost", "127.0.0.1", "[::1]", "app.example"]),
            prop::option::of(any::<u16>()),
            prop::sample::select(vec!["", "/", "/cb", "/cb?a=1", "/CB", "/cb/"]),
            any::<bool>(),
        )
            .prop_map(|(host, port, path, secure)| {
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                format!("http{}://{host}{port}{path}", if secure { "s" } else { "" })
            }),
    ]
}

proptest! {
    /// A match is the registered string itself, or differs from it in the port of an http loopback URI only.
    #[test]
    fn a_match_is_exact_but_for_the_port_on_loopback(known in uri(), asked in uri()) {
        let Ok(client) = RegisteredRedirects::register([known.as_str()], &RULES) else { return Ok(()) };
        prop_assert!(client.matching(&known, RULES.own_origin).is_some(), "{known} does not match itself");
        let Some(matched) = client.matching(&asked, RULES.own_origin) else { return Ok(()) };
        prop_assert_eq!(matched.as_str(), &asked);
        if asked != known {
            let (known, asked) = (Url::parse(&known).unwrap(), Url::parse(&asked).unwrap());
            prop_assert_eq!(asked.scheme(), "http");
            prop_assert!(is_loopback_host(asked.host_str().unwrap()));
            let (mut known, mut asked) = (known, asked);
            known.set_port(None).unwrap();
            asked.set_port(None).unwrap();
            prop_assert_eq!(known.as_str(), asked.as_str());
        }
    }

    /// What is registered is followed by a browser as it is written: nothing of it is repaired, and it never leads to us.
    #[test]
    fn what_is_registered_is_canonical(uri in uri()) {
        if RegisteredRedirects::register([uri.as_str()], &RULES).is_ok() {
            let url = Url::parse(&uri).unwrap();
            prop_assert!(matches!(url.scheme(), "http" | "https"));
            prop_assert!(url.scheme() == "https" || is_loopback_host(url.host_str().unwrap()));
            prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
            prop_assert_ne!(url.origin().ascii_serialization(), RULES.own_origin);
            let begin = format!("{}://{}", url.scheme(), url.host_str().unwrap());
            let rest = uri.strip_prefix(&begin).expect("scheme and host stand as they are followed");
            let path = rest.find('/').map_or("/", |at| rest[at..].split('?').next().unwrap());
            prop_assert!(rest.split(['/', '?']).next().unwrap().len() <= ":65535".len());
            prop_assert!(path == url.path() || rest.contains('?'), "{} is followed as {}", uri, url);
        }
    }

    /// No text makes the matcher fail in any other way than by saying no.
    #[test]
    fn strangers_text_is_survived(known in ".{0,64}", asked in ".{0,64}") {
        if let Ok(client) = RegisteredRedirects::register([known.as_str()], &RULES) {
            client.matching(&asked, RULES.own_origin);
        }
    }
}
