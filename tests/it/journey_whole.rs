//! The honest way, whole.

use mcp_deputy::sandbox::third_party::{ADA, Event, GRACE};
use serde_json::json;

use crate::support::{Asking, Client, Gateway, Reply, Tokens, client::Registration, parameter};

/// What a client that knows one URL finds out, and nothing else.
struct Discovered {
    resource: String,
    scope: String,
    issuer: String,
    authorize: String,
    register: String,
    token: String,
}

async fn discover(gateway: &Gateway) -> Discovered {
    let reply = gateway.send(gateway.at("/mcp", "POST", "").body("{}".into()).unwrap()).await;
    assert_eq!(reply.status, 401);
    let challenge = reply.header("www-authenticate").unwrap().to_owned();
    let attribute = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let fetch = async |url: &str| -> serde_json::Value {
        let reply: Reply = gateway
            .send(
                http::Request::get(url).header("mcp-protocol-version", "2025-06-18").body("".into()).unwrap(),
            )
            .await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{url}");
        reply.json()
    };
    let resource = fetch(&attribute("resource_metadata")).await;
    let issuer = resource["authorization_servers"][0].as_str().unwrap().to_owned();
    let server = fetch(&format!("{issuer}/.well-known/oauth-authorization-server")).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    assert_eq!(server["issuer"], issuer.as_str());
    assert_eq!(server["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(server["authorization_response_iss_parameter_supported"], true);
    Discovered {
        resource: text(&resource["resource"]),
        scope: attribute("scope"),
        issuer,
        authorize: text(&server["authorization_endpoint"]),
        register: text(&server["registration_endpoint"]),
        token: text(&server["token_endpoint"]),
    }
}

#[tokio::test]
async fn discovery_needs_one_url() {
    let gateway = Gateway::start().await;
    let found = discover(&gateway).await;
    assert_eq!((found.resource, found.issuer), (gateway.mcp(), gateway.origin.clone()));
    // Clients of 2025-03-26 look nowhere else than here.
    assert_eq!(found.authorize, gateway.url("/authorize"));
    assert_eq!(found.token, gateway.url("/token"));
    assert_eq!(found.register, gateway.url("/register"));
    let inserted = gateway.get("/.well-known/oauth-protected-resource/mcp").await;
    let root = gateway.get("/.well-known/oauth-protected-resource").await;
    assert_eq!((inserted.status, &inserted.body), (200, &root.body));
    for path in [
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/other",
    ] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_whole_way_from_a_url_to_a_tool_call() {
    let gateway = Gateway::start().await;
    let found = discover(&gateway).await;
    assert_eq!(gateway.third_party.authorize_requests(), 0);

    let client = Registration::native("A whole client").at(&gateway).await;
    let asking = client.asks().with("resource", &found.resource).with("scope", &found.scope);
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&asking).await;
    assert_eq!(gateway.third_party.events().all(), [], "nobody was sent anywhere");
    let departure = ada.press(&page, "Approve").await;
    let arrived = ada.go_on(&departure).await;
    assert!(arrived.captured, "{}", arrived.body);
    let answer = crate::support::Answer::of(&arrived, &asking);
    assert_eq!(answer.iss.as_deref(), Some(found.issuer.as_str()));
    assert_eq!(answer.state.as_deref(), asking.get("state"));

    let tokens = client.redeem(&answer).await;
    assert!(tokens.expires_in <= 3600 && tokens.scope == "read", "{}", tokens.scope);
    let list = gateway.send(gateway.stateless("/mcp", &tokens.access, "tools/list", json!({}))).await;
    let tools = list.result()["tools"].to_string();
    assert!(tools.contains("whoami") && tools.contains("list_repositories"), "{tools}");
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");

    let again = client.refresh(&tokens.refresh).await;
    assert_ne!((&again.access, &again.refresh), (&tokens.access, &tokens.refresh));
    assert_eq!(gateway.whoami(&again.access).await, "ada");

    // In this order, and no other way round.
    let events = gateway.third_party.events().all();
    let at = |wanted: fn(&Event) -> bool| events.iter().position(wanted).expect("it happened");
    let steps = [
        at(|event| matches!(event, Event::AuthorizeRequested { pkce: true, state_len: 40.., .. })),
        at(|event| matches!(event, Event::ConsentGiven { .. })),
        at(|event| matches!(event, Event::CodeIssued { .. })),
        at(|event| matches!(event, Event::TokenIssued { .. })),
        at(|event| matches!(event, Event::ApiCalled { person: Some("ada"), .. })),
    ];
    assert!(steps.is_sorted(), "{events:?}");
}

#[tokio::test]
async fn everybody_sees_their_own_account() {
    let gateway = Gateway::start().await;
    let client = gateway.client("Shared by many").await;
    let (ada, grace) =
        (gateway.visitor(&ADA).tokens(&client).await, gateway.visitor(&GRACE).tokens(&client).await);
    for _ in 0..3 {
        assert_eq!(gateway.whoami(&ada.access).await, "ada");
        assert_eq!(gateway.whoami(&grace.access).await, "grace");
    }
}

#[tokio::test]
async fn public_and_confidential_clients_go_the_whole_way() {
    let gateway = Gateway::start().await;
    for method in ["none", "client_secret_basic", "client_secret_post"] {
        let client =
            Registration::native("Some client").with("token_endpoint_auth_method", method).at(&gateway).await;
        assert_eq!(client.secret.is_some(), method != "none");
        let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
        // Without its secret a confidential client is nobody, and nothing is burnt by it.
        for wrong in wrong_ways(&client) {
            let reply = wrong.try_redeem(&answer).await;
            assert_eq!(
                (reply.status, reply.error().as_str()),
                (401, "invalid_client"),
                "{method}: {}",
                wrong.method
            );
        }
        let tokens = client.redeem(&answer).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        let again = client.refresh(&tokens.refresh).await;
        client.revoke(&again.refresh).await;
        assert_eq!(client.try_refresh(&again.refresh).await.error(), "invalid_grant");
    }
}

fn wrong_ways(client: &Client) -> Vec<Client> {
    let Some(secret) = &client.secret else { return Vec::new() };
    let with = |method: &str, secret: Option<String>| {
        let mut other = client.clone();
        (other.method, other.secret) = (method.to_owned(), secret);
        other
    };
    vec![with("none", None), with(&client.method, Some(format!("{secret}x")))]
}

#[tokio::test]
async fn answers_carry_state_and_issuer() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    for state in [Some("weird ä +%26&=#\"'<>/\u{1F980}"), Some("x"), None] {
        let asking = match state {
            Some(state) => client.asks().with("state", state),
            None => client.asks().without("state"),
        };
        let answer = gateway.visitor(&ADA).authorize(&asking).await;
        assert!(answer.code.is_some());
        assert_eq!((answer.state.as_deref(), answer.iss.as_deref()), (state, Some(gateway.origin.as_str())));
        let mut grace = gateway.visitor(&GRACE);
        let page = grace.consent_page(&asking).await;
        let denied = grace.press(&page, "Deny").await;
        let to = denied.leads_to().unwrap();
        assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
        assert_eq!(
            (parameter(&to, "state").as_deref(), parameter(&to, "iss").as_deref()),
            (state, Some(gateway.origin.as_str()))
        );
        assert_eq!(parameter(&to, "code"), None);
    }
}

#[tokio::test]
async fn deny_leaves_nothing_that_could_be_redeemed() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let asking = client.asks();
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&asking).await;
    let denied = ada.press(&page, "Deny").await;
    let arrived = ada.go_on(&denied).await;
    assert!(arrived.captured);
    assert_eq!(gateway.third_party.events().all(), []);
    assert!(!ada.delivered().iter().any(|url| url.contains("code=")));
    // A person who goes back and approves has changed their mind.
    let departure = ada.press(&page, "Approve").await;
    let arrived = ada.go_on(&departure).await;
    let answer = crate::support::Answer::of(&arrived, &asking);
    client.redeem(&answer).await;
}

#[tokio::test]
async fn the_page_shows_what_is_then_asked_for() {
    let gateway = Gateway::start().await;
    let client =
        Registration::hosted("An app with a name", "https://app.example/callback").at(&gateway).await;
    let asking = client.asks().with("scope", "repo read nonsense offline_access");
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&asking).await;
    for shown in [
        "An app with a name",
        ">app.example<",
        "https://app.example/callback",
        &gateway.mcp(),
        "Quarry tools",
        "See your repositories",
        "See who you are",
        "<code>repo</code>",
        "<code>read:user</code>",
        &client.id,
    ] {
        assert!(page.body.contains(shown), "{shown} is not in {}", page.body);
    }
    assert!(
        !page.body.contains(crate::support::gateway::STATIC_CLIENT),
        "our id at the third party is not the client's"
    );
    let departure = ada.press(&page, "Approve").await;
    ada.go_on(&departure).await;
    let asked = gateway.third_party.events().all().into_iter().find_map(|event| match event {
        Event::AuthorizeRequested { scopes, .. } => Some(scopes),
        _ => None,
    });
    assert_eq!(asked.unwrap(), ["read:user", "repo"]);
}

#[tokio::test]
async fn a_second_client_is_asked_again() {
    let gateway = Gateway::start().await;
    let (first, second) = (gateway.client("First").await, gateway.client("Second").await);
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&first).await;
    // The third party would skip its page now; we do not: neither for another client, nor for the same one again, nor
    // for the same one at another port.
    let elsewhere = first.redirect_uri.replace("33418", "51004");
    ada.browser.capture(&elsewhere);
    for asking in [second.asks(), first.asks(), first.asks().with("redirect_uri", &elsewhere)] {
        let before = gateway.third_party.authorize_requests();
        ada.consent_page(&asking).await;
        assert_eq!(gateway.third_party.authorize_requests(), before, "sent on without being asked");
        assert!(ada.authorize(&asking).await.code.is_some());
    }
    assert_eq!(gateway.third_party.events().count(|event| matches!(event, Event::ConsentSkipped { .. })), 3);
}

#[tokio::test]
async fn authorize_leaves_nothing_behind() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks();
    let page = ada.consent_page(&asking).await;
    let set: Vec<&str> = page.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(set.len(), 1, "{set:?}");
    assert!(set[0].starts_with("mcpd-render="), "only the cookie that ties the page and its POST together");
    assert_eq!(page.leads_to(), None);
    assert_eq!(gateway.third_party.events().all(), []);
    // What the page holds opens nothing at the callback.
    let sealed = page.forms()[0].fields[0].1.clone();
    for state in [sealed.as_str(), asking.get("state").unwrap(), ""] {
        let callback = format!("{}?code=x&state={state}", gateway.url("/callback/quarry"));
        let reply = ada.open(&callback).await;
        assert_eq!((reply.status.as_u16(), reply.leads_to()), (400, None));
    }
}

#[tokio::test]
async fn the_ticket_comes_with_the_approval() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    let departure = ada.press(&page, "Approve").await;
    assert_eq!(departure.status, 200);
    let set: Vec<&str> =
        departure.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(set.len(), 1, "{set:?}");
    let (pair, attributes) = set[0].split_once("; ").unwrap();
    assert!(pair.starts_with("mcpd-ticket-"), "{pair}");
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Path=/callback/quarry; Max-Age=600");
    let to = departure.leads_to().unwrap();
    assert!(to.starts_with(&gateway.third_party.authorization_endpoint()));
    assert_eq!(parameter(&to, "client_id").as_deref(), Some(crate::support::gateway::STATIC_CLIENT));
    assert_eq!(parameter(&to, "redirect_uri"), Some(gateway.url("/callback/quarry")));
    assert_eq!(parameter(&to, "code_challenge_method").as_deref(), Some("S256"));
}

#[tokio::test]
async fn two_departures_have_two_states() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    let mut of = async |name: &str| {
        let to = ada.press(&page, "Approve").await.leads_to().unwrap();
        parameter(&to, name).unwrap()
    };
    let (first, second) = (of("state").await, of("state").await);
    assert_ne!(first, second);
    // 256 bits in base64url, at least.
    assert!(first.len() >= 43, "{}", first.len());
    assert_ne!(of("code_challenge").await, of("code_challenge").await);
}

#[tokio::test]
async fn two_tabs_and_a_reload_work() {
    let gateway = Gateway::start().await;
    let (first, second) = (gateway.client("First").await, gateway.client("Second").await);
    let mut ada = gateway.visitor(&ADA);
    let asks: [Asking; 3] = [first.asks(), second.asks(), first.asks()];
    let mut pages = Vec::new();
    for asking in &asks {
        ada.consent_page(asking).await;
        pages.push(ada.consent_page(asking).await);
    }
    let mut departures = Vec::new();
    for page in &pages {
        departures.push(ada.press(page, "Approve").await);
    }
    for ((departure, asking), client) in departures.iter().zip(&asks).zip([&first, &second, &first]).rev() {
        let arrived = ada.go_on(departure).await;
        let tokens: Tokens = client.redeem(&crate::support::Answer::of(&arrived, asking)).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    }
}

#[tokio::test]
async fn a_double_click_on_approve_does_no_harm() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let asking = client.asks();
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&asking).await;
    // The browser follows the last answer; the first was sent and given up.
    let _given_up = ada.press(&page, "Approve").await;
    let second = ada.press(&page, "Approve").await;
    let arrived = ada.go_on(&second).await;
    client.redeem(&crate::support::Answer::of(&arrived, &asking)).await;
}

#[tokio::test]
async fn a_request_without_a_resource_is_led_by_a_warning() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let asking = client.asks().without("resource");
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&asking).await;
    assert!(page.body.contains("did not say which server") && page.body.contains(&gateway.mcp()));
    let answer = ada.authorize(&asking).await;
    assert_eq!(gateway.whoami(&client.redeem(&answer).await.access).await, "ada");
    assert!(!ada.consent_page(&client.asks()).await.body.contains("did not say which server"));
}
