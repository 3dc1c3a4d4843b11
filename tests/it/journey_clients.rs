//! Clients of the field, by the shapes of their requests: what each registers, asks for and sends to the token endpoint.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::{
    ADA, AnswerFormat, Behaviour, ErrorStatus, Event, ExpiresIn, Granted, Health, Iss,
};
use serde_json::{Value, json};

use crate::support::{Answer, Asking, Client, Gateway, Setup, Tokens};

/// One client as it was recorded.
struct Recorded {
    name: &'static str,
    registration: Value,
    /// Where its answer goes; a loopback port may differ from the registered one.
    redirect_uri: &'static str,
    /// Parameters that it adds, or leaves out where empty.
    asks: &'static [(&'static str, &'static str)],
    /// Fields of the token request beside grant type, code, verifier and client; `{resource}` is filled in.
    redeems: &'static [(&'static str, &'static str)],
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn recorded() -> Vec<Recorded> {
    vec![
        Recorded {
            name: "VS Code",
            registration: json!({
                "client_name": "Visual Studio Code",
                "client_uri": "https://code.visualstudio.com",
                "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
                "response_types": ["code"],
                "redirect_uris": ["https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"],
                "scope": "read",
                "token_endpoint_auth_method": "none",
                "application_type": "native",
            }),
            redirect_uri: "http://127.0.0.1:49152/",
            asks: &[("scope", "read"), ("prompt", "consent")],
            redeems: &[("redirect_uri", "http://127.0.0.1:49152/"), ("resource", "{resource}")],
        },
        Recorded {
            name: "VS Code on the web",
            registration: json!({
                "client_name": "Visual Studio Code",
                "redirect_uris": ["https://vscode.dev/redirect", "http://127.0.0.1/"],
                "token_endpoint_auth_method": "none",
            }),
            redirect_uri: "https://vscode.dev/redirect",
            asks: &[],
            redeems: &[("redirect_uri", "https://vscode.dev/redirect")],
        },
        Recorded {
            name: "Claude",
            registration: json!({
                "client_name": "Claude",
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
                "scope": "read offline_access",
                "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
            }),
            redirect_uri: "https://claude.ai/api/mcp/auth_callback",
            asks: &[("scope", "read offline_access")],
            redeems: &[
                ("redirect_uri", "https://claude.ai/api/mcp/auth_callback"),
                ("resource", "{resource}"),
            ],
        },
        Recorded {
            name: "Claude Code, which names no resource",
            registration: json!({
                "client_name": "Claude Code",
                "redirect_uris": ["http://localhost:54545/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            }),
            redirect_uri: "http://localhost:61234/callback",
            asks: &[("resource", "")],
            redeems: &[("redirect_uri", "http://localhost:61234/callback")],
        },
        Recorded {
            name: "ChatGPT",
            registration: json!({
                "client_name": "ChatGPT",
                "redirect_uris": ["https://chatgpt.com/connector_platform_oauth_redirect"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "client_secret_post",
            }),
            redirect_uri: "https://chatgpt.com/connector_platform_oauth_redirect",
            asks: &[("scope", "read")],
            redeems: &[
                ("redirect_uri", "https://chatgpt.com/connector_platform_oauth_redirect"),
                ("resource", "{resource}"),
            ],
        },
        Recorded {
            name: "Cursor",
            registration: json!({
                "client_name": "Cursor",
                "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            }),
            redirect_uri: "cursor://anysphere.cursor-mcp/oauth/callback",
            asks: &[],
            redeems: &[
                ("redirect_uri", "cursor://anysphere.cursor-mcp/oauth/callback"),
                ("resource", "{resource}"),
            ],
        },
        Recorded {
            name: "MCP Inspector, with a short state",
            registration: json!({
                "client_name": "MCP Inspector",
                "client_uri": "https://github.com/modelcontextprotocol/inspector",
                "redirect_uris": ["http://localhost:6274/oauth/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
                "scope": "",
            }),
            redirect_uri: "http://localhost:6274/oauth/callback",
            asks: &[("state", "1")],
            redeems: &[("redirect_uri", "http://localhost:6274/oauth/callback"), ("resource", "{resource}")],
        },
        Recorded {
            name: "mcp-remote",
            registration: json!({
                "client_name": "MCP CLI Proxy",
                "client_uri": "https://github.com/modelcontextprotocol/mcp-cli",
                "software_id": "2e6dc280-f3c3-4e01-99a7-8181dbd1d23d",
                "software_version": "0.1.37",
                "redirect_uris": ["http://localhost:3334/oauth/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            }),
            redirect_uri: "http://localhost:3334/oauth/callback",
            asks: &[("scope", "openid email profile")],
            redeems: &[("redirect_uri", "http://localhost:3334/oauth/callback")],
        },
        Recorded {
            name: "the Python SDK, confidential by default",
            registration: json!({
                "client_name": "A Python client",
                "redirect_uris": ["http://localhost:3030/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
            }),
            redirect_uri: "http://localhost:3030/callback",
            asks: &[],
            redeems: &[("redirect_uri", "http://localhost:3030/callback"), ("resource", "{resource}")],
        },
        Recorded {
            name: "an OAuth 2.1 client, which repeats no redirect URI",
            registration: json!({ "redirect_uris": ["https://app.example/callback"], "token_endpoint_auth_method": "client_secret_basic" }),
            redirect_uri: "https://app.example/callback",
            asks: &[("state", "")],
            redeems: &[],
        },
    ]
}

async fn go_the_whole_way(gateway: &Gateway, recorded: &Recorded) {
    let name = recorded.name;
    let reply = gateway.post_json("/register", &recorded.registration).await;
    assert_eq!(reply.status, 201, "{name}: {}", reply.text());
    for (member, value) in recorded.registration.as_object().unwrap() {
        // Grants that we do not give are left out; everything else that clients compare comes back.
        if !matches!(member.as_str(), "grant_types" | "scope") {
            assert_eq!(reply.json()[member], *value, "{name}: {member}");
        }
    }
    let client = Client::registered(&gateway.origin, &reply.json());
    let asking = recorded.asks.iter().fold(client.asks(), |asking, (parameter, value)| match *value {
        "" => asking.without(parameter),
        value => asking.with(parameter, value),
    });
    let asking: Asking = asking.with("redirect_uri", recorded.redirect_uri);
    let mut ada = gateway.visitor(&ADA);
    ada.browser.capture(recorded.redirect_uri);
    let answer: Answer = ada.authorize(&asking).await;
    assert_eq!(answer.state.as_deref(), asking.get("state"), "{name}");
    let resource = gateway.mcp();
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", answer.code.as_deref().unwrap()),
        ("code_verifier", answer.verifier.as_str()),
    ];
    form.extend(
        recorded
            .redeems
            .iter()
            .map(|(field, value)| (*field, if *value == "{resource}" { resource.as_str() } else { value })),
    );
    let tokens = Tokens::of(&client.post("/token", &form).await);
    assert_eq!(gateway.whoami(&tokens.access).await, "ada", "{name}");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("resource", &resource),
    ];
    let again = Tokens::of(&client.post("/token", &form).await);
    assert_eq!(gateway.whoami(&again.access).await, "ada", "{name}");
}

#[tokio::test]
async fn clients_of_the_field_go_the_whole_way() {
    let gateway = Gateway::start().await;
    let cursor = Setup {
        tables: "[registration]\nallowed_redirect_schemes = [\"cursor\"]\n".to_owned(),
        ..Setup::default()
    };
    let with_cursor = cursor.start().await;
    for recorded in recorded() {
        if recorded.redirect_uri.starts_with("cursor:") {
            // Any app can claim a private-use scheme, so the operator has to allow each one.
            let reply = gateway.post_json("/register", &recorded.registration).await;
            assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_redirect_uri"));
            go_the_whole_way(&with_cursor, &recorded).await;
        } else {
            go_the_whole_way(&gateway, &recorded).await;
        }
    }
}

#[tokio::test]
async fn a_client_whose_registration_is_gone_is_told_so() {
    let gateway = Gateway::start().await;
    let client = gateway.client("Forgotten").await;
    gateway.forward(Duration::from_hours(24));
    let page = gateway.visitor(&ADA).open(&client.asks().url()).await;
    assert!(page.status == 400 && page.body.contains("<code>unknown_client</code>"));
    let reply = client.try_refresh("x").await;
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "so that it registers again");
}

#[tokio::test]
async fn third_parties_of_every_kind_work() {
    let forms = [AnswerFormat::AlwaysForm, AnswerFormat::AlwaysJson, AnswerFormat::ByAccept];
    let expiring = Some(Duration::from_hours(8));
    let mut kinds: Vec<Behaviour> =
        forms.map(|answer_format| Behaviour { answer_format, ..Behaviour::default() }).into();
    kinds.extend([
        Behaviour { iss: Iss::Absent, ..Behaviour::default() },
        Behaviour { omit_scope: true, ..Behaviour::default() },
        Behaviour { omit_token_type: true, ..Behaviour::default() },
        Behaviour { expiring, ..Behaviour::default() },
        Behaviour {
            expiring,
            expires_in: ExpiresIn::Text,
            answer_format: AnswerFormat::AlwaysForm,
            ..Behaviour::default()
        },
        Behaviour { error_status: ErrorStatus::Standard, ..Behaviour::default() },
        Behaviour {
            granted: Granted::Exactly(vec!["read:user".to_owned(), "openid".to_owned(), "email".to_owned()]),
            ..Behaviour::default()
        },
    ]);
    for behaviour in kinds {
        let gateway = Setup { behaviour: behaviour.clone(), ..Setup::default() }.start().await;
        let (client, tokens) = gateway.tokens(&ADA).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada", "{behaviour:?}");
        gateway.forward(Duration::from_hours(9));
        let fresh = client.refresh(&tokens.refresh).await;
        assert_eq!(gateway.whoami(&fresh.access).await, "ada", "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_third_party_that_fails_at_the_callback_is_told_to_the_client() {
    let limits = "registrations_per_minute = 1000\nthird_party_timeout = \"1s\"\n".to_owned();
    let gateway = Setup { limits, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let unavailable = Some("temporarily_unavailable");
    let wrong = || Iss::Wrong("https://evil.example/login/oauth".to_owned());
    for (behaviour, error) in [
        (Behaviour { token_endpoint: Health::ServerError, ..Behaviour::default() }, unavailable),
        (Behaviour { token_endpoint: Health::Hang, ..Behaviour::default() }, unavailable),
        (Behaviour { token_endpoint: Health::HangUp, ..Behaviour::default() }, unavailable),
        (Behaviour { api: Health::ServerError, ..Behaviour::default() }, unavailable),
        (Behaviour { api: Health::Hang, ..Behaviour::default() }, unavailable),
        (Behaviour { iss: wrong(), ..Behaviour::default() }, Some("server_error")),
        (Behaviour { granted: Granted::Exactly(Vec::new()), ..Behaviour::default() }, Some("access_denied")),
    ] {
        gateway.third_party.behave(|current| *current = behaviour.clone());
        let asking = client.asks();
        let answer = gateway.visitor(&ADA).authorize(&asking).await;
        assert_eq!((answer.error.as_deref(), answer.code), (error, None), "{behaviour:?}");
        assert_eq!(
            (answer.state.as_deref(), answer.iss.as_deref()),
            (asking.get("state"), Some(gateway.origin.as_str()))
        );
    }
    gateway.third_party.behave(|current| *current = Behaviour::default());
    // What was obtained and not used is let go, once the third party answers again or at once.
    gateway.visitor(&ADA).tokens(&client).await;

    let required = "iss = \"required\"".to_owned();
    let strict = Setup {
        provider: required,
        behaviour: Behaviour { iss: Iss::Absent, ..Behaviour::default() },
        ..Setup::default()
    };
    let strict = strict.start().await;
    let client = strict.client("App").await;
    let answer = strict.visitor(&ADA).authorize(&client.asks()).await;
    assert_eq!(answer.error.as_deref(), Some("server_error"));
    assert_eq!(strict.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. })), 0);
}

#[tokio::test]
async fn a_restart_forgets_nobody() {
    let mut gateway = Setup { disk: true, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let tokens = ada.tokens(&client).await;
    let revoked = gateway.visitor(&ADA).tokens(&client).await;
    let unspent = ada.authorize(&client.asks()).await;
    let page = ada.consent_page(&client.asks()).await;
    let asking = client.asks();
    let departure = ada.approve(&asking).await;
    client.revoke(&revoked.refresh).await;
    for _ in 0..2 {
        gateway.restart().await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        assert_eq!(client.try_refresh(&revoked.refresh).await.error(), "invalid_grant");
        assert_eq!(gateway.tool(&revoked.access, "whoami", json!({})).await.status, 401);
    }
    // A code, a consent page and an approval from before.
    client.redeem(&unspent).await;
    let departed = ada.press(&page, "Approve").await;
    assert!(departed.leads_to().is_some(), "{}", departed.body);
    let arrived = ada.go_on(&departure).await;
    client.redeem(&Answer::of(&arrived, &asking)).await;
    let fresh = client.refresh(&tokens.refresh).await;
    gateway.restart().await;
    let replayed = client.refresh(&tokens.refresh).await;
    assert_eq!((replayed.access, replayed.refresh), (fresh.access.clone(), fresh.refresh.clone()));
    assert_eq!(gateway.whoami(&fresh.access).await, "ada");
}

#[tokio::test]
async fn draining_answers_what_is_under_way_and_ends_streams() {
    let mut gateway = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let slow =
        gateway.tool_request("/mcp", &tokens.access, "count_slowly", json!({ "to": 3, "pause_ms": 150 }));
    let fetch = gateway.fetch().clone();
    let calls = gateway.mcp_server.seen().all().len();
    let under_way = tokio::spawn(async move { crate::support::Reply::from(fetch.send(slow).await.unwrap()) });
    while gateway.mcp_server.seen().all().len() == calls {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.begin_to_stop();
    let ready = http::Request::get(format!("{}/readyz", gateway.admin)).body("".into()).unwrap();
    assert_eq!(gateway.send(ready).await.status, 503, "whoever watches sees that it drains");
    let answer = under_way.await.unwrap();
    assert_eq!(answer.result()["content"][0]["text"], "Counted to 3.", "{}", answer.text());
    assert!(gateway.stop().await.is_graceful());
}
