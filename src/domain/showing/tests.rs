//! Every condition of the short page alone makes the difference.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    catalog::ScopeDefinition, client::tests::client, consent::tests::request, provider::tests::provider,
    secret::Digest,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Everything that the decision is made from; a test spoils one part.
struct Case {
    request: AuthorizationRequest,
    client: Client,
    destination: Destination,
    redirect_uri: String,
    server: McpServer,
    provider: Provider,
    remembers: bool,
    is_plain: bool,
    consent: Consent,
    person: Person,
}

impl Case {
    fn new() -> Self {
        let mut request = request();
        request.scopes = ScopeSet::from_iter(["read"]);
        request.provider_scopes = ScopeSet::from_iter(["user"]);
        let scope = |name: &str, implies: &[&str]| ScopeDefinition {
            name: name.to_owned(),
            description: name.to_owned(),
            provider_scopes: ScopeSet::default(),
            default: true,
            optional: false,
            implies: implies.iter().map(|&name| name.to_owned()).collect(),
            tools: None,
        };
        let before = NOW.before(Duration::from_hours(1));
        let consent = Consent {
            subject: "s".to_owned(),
            client_id: "c".to_owned(),
            redirect_uri: request.redirect_uri.clone(),
            resource: request.resource.clone(),
            scopes: request.scopes.clone(),
            provider_scopes: request.provider_scopes.clone(),
            fingerprint: request.fingerprint,
            granted_at: before,
            revoked_at: None,
        };
        Self {
            client: client("c", r#"{"redirect_uris":["https://app.example/cb"]}"#, None, before),
            destination: Destination::Site { host: "app.example".to_owned() },
            redirect_uri: request.redirect_uri.clone(),
            server: McpServer {
                filter_tools: false,
                path: "/mcp".to_owned(),
                resource: request.resource.clone(),
                name: "M".to_owned(),
                provider: request.provider.clone(),
                scopes: vec![scope("read", &[]), scope("write", &["read"]), scope("more", &[])].into(),
                identity_assertion: false,
            },
            provider: provider(),
            remembers: true,
            is_plain: true,
            person: Person {
                subject: "s".to_owned(),
                provider: request.provider.clone(),
                login: "ada".to_owned(),
                display_name: None,
                email: None,
                membership: None,
                checked_at: before,
                revoked_at: None,
            },
            consent,
            request,
        }
    }

    fn showing(&self) -> Showing {
        let asked = Asked {
            request: &self.request,
            client: &self.client,
            destination: &self.destination,
            redirect_uri: &self.redirect_uri,
            server: &self.server,
            provider: &self.provider,
            remembers: self.remembers,
            is_plain: self.is_plain,
        };
        asked.showing(Some(Earlier { consent: &self.consent, person: &self.person }), NOW)
    }
}

type Spoil<'a> = dyn Fn(&mut Case) + 'a;

#[test]
fn the_short_page_takes_all_of_its_conditions() {
    assert_eq!(Case::new().showing(), Showing::Short);
    let site = |host: &str| Destination::Site { host: host.to_owned() };
    let spoilt: &[(&str, &Spoil<'_>)] = &[
        ("always", &|case| case.remembers = false),
        ("prompt", &|case| case.is_plain = false),
        ("no resource", &|case| case.request.resource_named = false),
        ("loopback", &|case| {
            case.destination = Destination::Loopback { host: "127.0.0.1".to_owned(), port: 1 };
        }),
        ("app", &|case| case.destination = Destination::App { scheme: "cursor".to_owned() }),
        ("https on loopback", &|case| case.destination = site("localhost:8443")),
        ("https on loopback, by number", &|case| case.destination = site("127.0.0.2")),
        ("https on loopback, IPv6", &|case| case.destination = site("[::1]:1")),
        ("long ago", &|case| case.consent.granted_at = NOW.before(REMEMBERED_TTL)),
        ("another person's", &|case| case.consent.subject = "other".to_owned()),
        ("another client's", &|case| case.consent.client_id = "other".to_owned()),
        ("another redirect URI", &|case| case.consent.redirect_uri.push('x')),
        ("another server", &|case| case.consent.resource = other_resource()),
        ("another fingerprint", &|case| case.consent.fingerprint = Digest::of("other")),
        ("consent revoked", &|case| case.consent.revoked_at = Some(case.consent.granted_at)),
        ("person revoked", &|case| case.person.revoked_at = Some(NOW)),
        ("client revoked", &|case| case.client.revoked_at = Some(NOW)),
    ];
    for (what, spoil) in spoilt {
        let mut case = Case::new();
        spoil(&mut case);
        assert_eq!(case.showing(), Showing::Full, "{what}");
    }
}

fn other_resource() -> crate::domain::resource::Resource {
    crate::domain::resource::Resource::at("https://mcp.example.com", "/other")
}

#[test]
fn nothing_is_short_or_marked_without_a_record() {
    let case = Case::new();
    let asked = Asked {
        request: &case.request,
        client: &case.client,
        destination: &case.destination,
        redirect_uri: &case.redirect_uri,
        server: &case.server,
        provider: &case.provider,
        remembers: true,
        is_plain: true,
    };
    assert_eq!(asked.showing(None, NOW), Showing::Full);
}

#[test]
fn what_goes_beyond_is_marked_and_what_is_included_is_not() {
    let mut case = Case::new();
    case.request.scopes = ScopeSet::from_iter(["read", "more"]);
    case.request.provider_scopes = ScopeSet::from_iter(["user", "repo", "openid"]);
    let wider = Showing::Widened {
        scopes: ScopeSet::from_iter(["more"]),
        provider_scopes: ScopeSet::from_iter(["repo"]),
    };
    assert_eq!(case.showing(), wider);
    case.remembers = false;
    assert_eq!(case.showing(), wider, "the mode makes no difference to that");
    case.consent.revoked_at = Some(NOW);
    assert_eq!(case.showing(), Showing::Full, "what was revoked is no measure");

    // A third-party scope alone is enough, even where the MCP scopes are the same: the operator changed their meaning.
    let mut case = Case::new();
    case.request.provider_scopes = ScopeSet::from_iter(["user", "repo"]);
    assert_eq!(case.showing().reason(), "widened");

    // Narrower is covered: a scope that is implied, a third-party scope that a granted one includes.
    let mut case = Case::new();
    case.consent.scopes = ScopeSet::from_iter(["write"]);
    case.consent.provider_scopes = ScopeSet::from_iter(["all"]);
    case.provider.scope_equivalents = vec![("all".to_owned(), vec!["user".to_owned()])];
    assert_eq!(case.showing(), Showing::Short);
    case.provider.scope_equivalents = BTreeMap::<String, Vec<String>>::new().into_iter().collect();
    assert_eq!(case.showing().reason(), "widened");
}
