//! Nothing matches but what was registered, the port of loopback hosts aside; and never our own origin.

use mcp_deputy::domain::redirect::{RedirectRules, RegisteredRedirects};
use proptest::{prelude::*, sample::select};
use url::Url;

const OWN: [&str; 2] = ["https://mcp.example.com", "http://127.0.0.1:8080"];

/// Addresses that are near each other in every way in which they can be.
fn address() -> impl Strategy<Value = String> {
    let scheme = select(vec!["https://", "http://", "HTTPS://", "https:", "app://", ""]);
    let host = select(vec![
        "app.example",
        "APP.example",
        "app.example.",
        "app.example.evil.example",
        "evil.example",
        "user@app.example",
        "localhost",
        "localhost.evil.example",
        "127.0.0.1",
        "127.0.0.2",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "mcp.example.com",
        "xn--bcher-kva.example",
    ]);
    let port =
        select(vec!["", "", "", ":", ":80", ":443", ":8080", ":08080", ":0", ":65535", ":65536", ":3000"]);
    let path = select(vec![
        "",
        "/",
        "/cb",
        "/cb/",
        "/cb?x=1",
        "/cb?x=1&y",
        "/CB",
        "/cb/../cb",
        "/%63b",
        "/cb#f",
        "/cb\\x",
        "?code=1",
        "//cb",
    ]);
    (scheme, host, port, path).prop_map(|(scheme, host, port, path)| format!("{scheme}{host}{port}{path}"))
}

/// Host and rest of an http loopback address, its port aside; written down once more, in another way than the product's.
fn without_port(uri: &str) -> Option<(String, String)> {
    let rest = uri.strip_prefix("http://")?;
    let host = ["localhost", "127.0.0.1", "[::1]"].into_iter().find(|host| rest.starts_with(host))?;
    let behind = rest.get(host.len()..)?;
    let at = behind.find(['/', '?']).unwrap_or(behind.len());
    let (port, behind) = behind.split_at(at);
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty()
        || (digits.parse::<u16>().is_ok_and(|number| number.to_string() == digits) && port != digits);
    is_port.then(|| (host.to_owned(), behind.to_owned()))
}

fn is_at(uri: &str, own: &str) -> bool {
    let on_loopback = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
    };
    let own_url = Url::parse(own).unwrap();
    Url::parse(uri).is_ok_and(|url| {
        let same_port = url.port_or_known_default() == own_url.port_or_known_default();
        url.origin().ascii_serialization() == own || (same_port && on_loopback(&url) && on_loopback(&own_url))
    })
}

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn only_what_was_registered_matches(
        good in select(vec!["https://app.example/cb", "http://127.0.0.1/cb", "http://localhost:3000/", "app://x/cb"]),
        mut wanted in proptest::collection::vec(address(), 0..5),
        other in address(),
        own in select(OWN.to_vec()),
    ) {
        let rules = RedirectRules { own_origin: own, private_schemes: &["app".to_owned()] };
        wanted.push(good.to_owned());
        let accepted: Vec<&str> = wanted
            .iter()
            .map(String::as_str)
            .filter(|uri| RegisteredRedirects::register([*uri], &rules).is_ok())
            .collect();
        let registered = RegisteredRedirects::register(accepted.iter().copied(), &rules).unwrap();
        for asked in wanted.iter().chain([&other]) {
            let is_registered = accepted.contains(&asked.as_str());
            let same_but_port = without_port(asked)
                .is_some_and(|asked| accepted.iter().any(|known| without_port(known).as_ref() == Some(&asked)));
            let matched = registered.matching(asked, own);
            prop_assert_eq!(
                matched.is_some(),
                (is_registered || same_but_port) && !is_at(asked, own),
                "{} against {:?}", asked, accepted
            );
            if let Some(matched) = matched {
                prop_assert_eq!(matched.as_str(), asked);
                // The answer goes to the same place, with our parameters behind what was there.
                let answer = Url::parse(&matched.with_code("c", Some("s&="), own)).unwrap();
                let before = Url::parse(asked).unwrap();
                prop_assert_eq!((answer.host_str(), answer.port(), answer.path()), (before.host_str(), before.port(), before.path()));
                let value = |name: &str| answer.query_pairs().filter(|(n, _)| n == name).map(|(_, v)| v.into_owned()).collect::<Vec<_>>();
                prop_assert_eq!((value("code"), value("state"), value("iss")), (vec!["c".to_owned()], vec!["s&=".to_owned()], vec![own.to_owned()]));
            }
        }
    }

    #[test]
    fn what_is_registered_never_points_here_and_never_carries_an_answer(uri in address(), own in select(OWN.to_vec())) {
        let rules = RedirectRules { own_origin: own, private_schemes: &["app".to_owned()] };
        if RegisteredRedirects::register([uri.as_str()], &rules).is_ok() {
            let url = Url::parse(&uri).unwrap();
            prop_assert!(!is_at(&uri, own) && url.fragment().is_none());
            prop_assert!(url.scheme() == "app" || url.username().is_empty());
            prop_assert!(url.query_pairs().all(|(name, _)| !["code", "state", "iss", "error"].contains(&&*name)));
            let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            prop_assert!(url.scheme() == "https" || url.scheme() == "app" || (url.scheme() == "http" && loopback), "{}", uri);
        }
    }
}
