//! What reads strangers' bytes, one function per target: it must not panic, and what it accepts must be what it says.
//!
//! The same functions run in an ordinary test (`main.rs`) and under cargo-fuzz (`cargo/`).

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use mcp_deputy::{
    config,
    domain::{
        assertion::{self, Expected},
        document::{DocumentRules, DocumentUrl, content},
        handle::{GrantId, Kind, Presented, is_plain},
        jwk::PublicKeys,
        jws::Signed,
        metadata::ClientMetadata,
        origin::Origin,
        pkce::CodeChallenge,
        redirect::{RedirectRules, RegisteredRedirects},
        resource::Resource,
        scope::ScopeSet,
        time::Timestamp,
    },
    proxy::message::Messages,
    web::{
        address::Address,
        browser::Jar,
        credentials, origin,
        page::{Pages, ProductName},
        parameters::Parameters,
    },
};
use serde_json::Value;
use url::Url;

const OWN: &str = "https://mcp.example.com";

/// A target: its name, which is that of its folder in `corpus`, and its body.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 12] = [
    ("addresses", addresses),
    ("assertions", assertions),
    ("configuration", configuration),
    ("cookies", cookies),
    ("credentials", client_credentials),
    ("documents", documents),
    ("handles", handles),
    ("languages", languages),
    ("messages", messages),
    ("metadata", metadata),
    ("parameters", parameters),
    ("redirects", redirects),
];

fn rules() -> RedirectRules<'static> {
    RedirectRules { own_origin: OWN, private_schemes: &[] }
}

/// A header with these bytes, if a header can have them.
fn header(name: &'static str, value: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Lines are several headers of the same name.
    for line in value.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

fn check_metadata(metadata: &ClientMetadata) {
    for uri in metadata.redirect_uris.iter() {
        let url = Url::parse(uri).expect("a registered redirect URI is a URL");
        assert_ne!(url.origin().ascii_serialization(), OWN, "it points here");
        assert!(metadata.redirect_uris.matching(uri, OWN).is_some(), "it does not match itself");
    }
    // What is stored and echoed says the same when it is read again.
    let echoed = serde_json::to_vec(metadata).expect("it is rendered");
    let read: ClientMetadata = serde_json::from_slice(&echoed).expect("it is read back");
    assert_eq!(read, *metadata);
    let again = ClientMetadata::judge(&echoed, &rules()).expect("what was accepted is accepted again");
    assert_eq!(again.fingerprint(), metadata.fingerprint());
}

/// Bodies of requests to an MCP server with a tool policy: what is accepted has one meaning, in whatever way it is read.
pub(crate) fn messages(data: &[u8]) {
    let Ok(messages) = Messages::read(data) else { return };
    let value: Value = serde_json::from_slice(data).expect("what is accepted is JSON");
    let all: Vec<&Value> = value.as_array().map_or_else(|| vec![&value], |items| items.iter().collect());
    assert_eq!(messages.iter().count(), all.len());
    for (message, value) in messages.iter().zip(all) {
        let members = value.as_object().expect("a message is an object");
        assert_eq!(message.method.as_deref(), members.get("method").and_then(Value::as_str));
        assert!(message.has_id || members.get("id").is_none_or(Value::is_null));
        let is_call = message.method.as_deref() == Some("tools/call");
        let params = value["params"].as_object().filter(|_| is_call);
        let exact = |names: &serde_json::Map<String, Value>, known: &[&str]| {
            let alike = |name: &String, known: &str| name.eq_ignore_ascii_case(known) && name != known;
            !names.keys().any(|name| known.iter().any(|known| alike(name, known)))
        };
        let lax = "a lax reader would see another member";
        assert!(exact(members, &["jsonrpc", "method", "params", "id"]), "{lax}");
        assert!(params.is_none_or(|params| exact(params, &["name", "uri", "_meta"])), "{lax}");
        if let Some(name) = message.name.as_deref() {
            let params = &value["params"];
            assert!([&params["name"], &params["uri"]].iter().any(|it| it.as_str() == Some(name)));
        }
    }
}

/// Registrations (RFC 7591).
pub(crate) fn metadata(data: &[u8]) {
    if let Ok(metadata) = ClientMetadata::judge(data, &rules()) {
        check_metadata(&metadata);
    }
}

/// Client ID metadata documents: the first line is the URL, the rest the document.
pub(crate) fn documents(data: &[u8]) {
    let (url, body) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let document_rules = DocumentRules { own_origin: OWN, allowed_domains: &[], loopback: false };
    let Ok(url) = std::str::from_utf8(url) else { return };
    _ = DocumentUrl::key_set(url, &document_rules);
    let Ok(judged) = DocumentUrl::client_id(url, &document_rules) else { return };
    let parsed = Url::parse(url).expect("a document URL is a URL");
    assert_eq!((judged.as_str(), parsed.as_str()), (url, url), "it is written in one way");
    assert_eq!((parsed.scheme(), parsed.query(), parsed.fragment()), ("https", None, None));
    assert!(
        !judged.is_loopback() && parsed.username().is_empty() && parsed.origin().ascii_serialization() != OWN
    );
    if let Ok(metadata) = content::judge(&judged, body, &rules()) {
        check_metadata(&metadata);
    }
}

/// Queries and forms: authorization, token and revocation requests.
pub(crate) fn parameters(data: &[u8]) {
    const NAMES: [&str; 12] = [
        "client_id",
        "redirect_uri",
        "response_type",
        "state",
        "scope",
        "code_challenge",
        "resource",
        "code",
        "code_verifier",
        "refresh_token",
        "token",
        "grant_type",
    ];
    let Ok(parameters) = Parameters::parse(data) else { return };
    for name in NAMES {
        let all = parameters.all(name);
        match parameters.one(name) {
            Ok(Some(value)) => {
                assert_eq!(all, [value]);
                check_values(value);
            }
            Ok(None) => assert!(all.is_empty()),
            Err(_) => assert_eq!(parameters.repeated(&[name]), Some(name)),
        }
    }
    assert!(!format!("{parameters:?}").contains("mcpd_"), "it prints a secret");
}

fn check_values(value: &str) {
    if let Some(scopes) = ScopeSet::parse(value) {
        assert_eq!(ScopeSet::parse(&scopes.to_string()), Some(scopes.clone()));
        assert!(scopes.minus(&scopes).is_empty());
    }
    if let Some(resource) = Resource::parse(value) {
        // One trailing slash is forgiven: what has two is another resource, and no URL is lost.
        let again = Resource::parse(resource.as_str()).expect("it is read again");
        assert_eq!(again.as_str(), resource.as_str().strip_suffix('/').unwrap_or(resource.as_str()));
    }
    if let Some(challenge) = CodeChallenge::parse(value) {
        assert!(!challenge.is_met_by(value), "a challenge that meets itself");
    }
    assert!(!CodeChallenge::of("verifier-verifier-verifier-verifier-verifier").is_met_by(value));
}

/// Redirect URIs: the first line is asked for, the others are registered.
pub(crate) fn redirects(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let asked = lines.next().unwrap_or_default();
    let known: Vec<&str> = lines.collect();
    let Ok(registered) = RegisteredRedirects::register(known.iter().copied(), &rules()) else { return };
    if let Some(matched) = registered.matching(asked, OWN) {
        let loopback = ["http://localhost", "http://127.0.0.1", "http://[::1]"];
        assert!(known.contains(&asked) || loopback.iter().any(|host| asked.starts_with(host)));
        let to = Url::parse(&matched.with_code("code-of-ours", Some("a&b=c#d"), OWN)).expect("it is a URL");
        let asked = Url::parse(asked).expect("it is a URL");
        assert_eq!(to.origin().ascii_serialization(), asked.origin().ascii_serialization());
        assert_ne!(to.origin().ascii_serialization(), OWN);
        let codes: Vec<_> = to.query_pairs().filter(|(name, _)| name == "code").collect();
        assert!(codes.len() == 1 && codes.iter().all(|(_, code)| code == "code-of-ours"));
        _ = matched.destination();
    }
}

/// Codes, tokens, states, client ids.
pub(crate) fn handles(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let tokens = [Kind::AccessToken, Kind::Code, Kind::RefreshToken];
    let plain = [Kind::Arrival, Kind::Client, Kind::ClientSecret, Kind::Cookie, Kind::State];
    let read = tokens.iter().filter(|kind| Presented::parse(**kind, text).is_some()).count();
    let is = plain.iter().filter(|kind| is_plain(**kind, text)).count();
    assert!(read + is <= 1, "it is of two kinds");
    if let Some(id) = GrantId::parse(text) {
        assert_eq!(id.to_string(), text, "an id that is written in two ways");
    }
    _ = Presented::family_secret(text);
}

/// The `Accept-Language` header: somebody gets a language that we speak, and the one that they ask for alone.
pub(crate) fn languages(data: &[u8]) {
    thread_local! {
        static PAGES: Pages = Pages::new(ProductName::default()).expect("our own pages");
    }
    PAGES.with(|pages| {
        let asked = header("accept-language", data);
        let language = pages.for_reader(&asked).language();
        let tag = pages.languages().find(|(known, _)| *known == language).map(|(_, tag)| tag);
        let alone = header("accept-language", tag.expect("one of ours").as_bytes());
        assert_eq!(pages.for_reader(&alone).language(), language);
    });
}

/// The `Cookie` header.
pub(crate) fn cookies(data: &[u8]) {
    let headers = header("cookie", data);
    for public_url in [OWN, "http://127.0.0.1:8080"] {
        let jar = Jar::new(&Origin::parse(public_url).expect("it is an origin"));
        let cookies = jar.read(&headers);
        for list in [cookies.tickets(), cookies.arrivals()] {
            assert!(list.is_sorted(), "the oldest is not the first");
            for (suffix, value) in list {
                assert!(
                    !value.is_empty()
                        && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                );
            }
        }
        assert!([cookies.render(), cookies.session()].into_iter().flatten().all(|value| !value.is_empty()));
    }
}

/// `Authorization`, and the form beside it: the first line is the header.
pub(crate) fn client_credentials(data: &[u8]) {
    let (line, form) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let headers = header("authorization", line);
    if let Ok(credentials::Bearer::Token(token)) = credentials::bearer(&headers) {
        assert!(!token.is_empty());
    }
    let Ok(form) = Parameters::parse(form.get(1..).unwrap_or_default()) else { return };
    if let Ok(credentials) = credentials::of_client(&headers, &form) {
        // A client id is no secret, whatever it is made of.
        let is_id = credentials.client_id.contains("s3cret");
        assert!(is_id || !format!("{credentials:?}").contains("s3cret"), "it prints a secret");
    }
}

/// `X-Forwarded-For`, `Host` and `Origin`.
pub(crate) fn addresses(data: &[u8]) {
    let trusted = ["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
    let forwarded = header("x-forwarded-for", data);
    let stranger = "203.0.113.9:443".parse().expect("an address");
    assert_eq!(
        Address::of(stranger, &forwarded, &trusted).ip().to_string(),
        "203.0.113.9",
        "a stranger is believed"
    );
    let proxy = "10.0.0.1:443".parse().expect("an address");
    let address = Address::of(proxy, &forwarded, &trusted).ip();
    assert!(!matches!(address, std::net::IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()));
    let public_url = Origin::parse(OWN).expect("it is an origin");
    if origin::is_ours(&Uri::from_static("/mcp"), &header("host", data), &public_url) {
        let said = header("host", data).get("host").map(|host| host.as_bytes().to_ascii_lowercase());
        assert!(
            said.unwrap_or_default().trim_ascii().starts_with(b"mcp.example.com"),
            "another host is ours"
        );
    }
    if let Some(read) = std::str::from_utf8(data).ok().and_then(|text| Origin::parse(text).ok()) {
        assert_eq!(Origin::parse(read.as_str()).as_ref(), Ok(&read));
    }
}

/// Client assertions and key sets.
pub(crate) fn assertions(data: &[u8]) {
    if let Ok(keys) = PublicKeys::parse(data) {
        assert!(!keys.canonical().is_empty(), "a set without keys");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    _ = assertion::claimed_client(text);
    if let Ok(signed) = Signed::parse(text) {
        assert!(!format!("{signed:?}").contains("eyJ"), "it prints itself");
    }
    let expected = Expected { client_id: "https://app.example/client", issuer: OWN, algorithm: None };
    if let Ok(judged) = assertion::judge(text, &expected, Timestamp::from_millis(1_800_000_000_000)) {
        let keys = PublicKeys::parse(KEYS).expect("a key set");
        assert!(judged.proven_by(&keys).is_err(), "nobody's key has signed it");
    }
}

/// The example of RFC 7517, appendix A.1: nobody here has its private half.
const KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}"#;

/// `proxy.toml`. What names a file is left out: the file would be read.
pub(crate) fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains("file") || text.contains("certificate") || text.contains("store") {
        return;
    }
    if let Err(error) = config::from_text("proxy.toml", text, &|_| None) {
        let told = error.to_string();
        assert!(!told.is_empty() && !told.contains("s3cret"), "{told}");
    }
}
