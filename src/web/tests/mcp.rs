//! The door of an MCP server.

use super::*;

const CHALLENGE: &str = "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\", \
                         scope=\"read\"";

#[tokio::test]
async fn without_a_good_token_every_method_gets_the_challenge() {
    let gateway = Gateway::new();
    let (_, tokens) = gateway.tokens().await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let invalid = format!("{CHALLENGE}, error=\"invalid_token\"");
    let query = format!("/mcp?access_token={access}");
    for method in [Method::POST, Method::GET, Method::DELETE, Method::PUT, Method::HEAD] {
        for (uri, authorization, challenge) in [
            ("/mcp", None, CHALLENGE),
            (query.as_str(), None, CHALLENGE),
            ("/mcp", Some("Basic YTpi".to_owned()), CHALLENGE),
            ("/mcp", Some("Bearer".to_owned()), &invalid),
            ("/mcp", Some("Bearer gho_0123456789".to_owned()), &invalid),
            ("/mcp", Some("Bearer eyJhbGciOiJub25lIn0.e30.".to_owned()), &invalid),
            ("/mcp", Some(format!("Bearer {refresh}")), &invalid),
            ("/mcp", Some(format!("Bearer {access}x")), &invalid),
        ] {
            let header = authorization.as_deref().map(|value| ("authorization", value));
            let headers: Vec<_> = header.into_iter().collect();
            let reply = gateway.send(method.clone(), uri, &headers, "{}").await;
            assert_eq!(reply.status().as_u16(), 401, "{method} {uri} {authorization:?}");
            assert_eq!(value(reply.headers(), "www-authenticate"), Some(challenge));
        }
    }
    let twice = format!("Bearer {access}");
    let headers = [("authorization", twice.as_str()), ("authorization", twice.as_str())];
    let reply = gateway.send(Method::POST, "/mcp", &headers, "{}").await;
    assert_eq!(reply.status().as_u16(), 400);
    assert!(value(reply.headers(), "www-authenticate").unwrap().contains("error=\"invalid_request\""));
}

#[tokio::test]
async fn a_token_is_good_for_its_own_server_and_until_it_expires() {
    let gateway = Gateway::new();
    let (_, tokens) = gateway.tokens().await;
    let bearer = format!("bEaReR {}", tokens["access_token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    // Nobody listens behind: 502 means that the door was open.
    assert_eq!(gateway.send(Method::POST, "/mcp", &headers, "{}").await.status().as_u16(), 502);
    assert_eq!(gateway.send(Method::POST, "/other", &headers, "{}").await.status().as_u16(), 401);
    assert_eq!(gateway.send(Method::PUT, "/mcp", &headers, "{}").await.status().as_u16(), 405);
    gateway.world.clock.forward(Duration::from_hours(1));
    assert_eq!(gateway.send(Method::POST, "/mcp", &headers, "{}").await.status().as_u16(), 401);
}

#[tokio::test]
async fn a_foreign_page_is_turned_away_before_its_token_is_looked_at() {
    let gateway = Gateway::new();
    let (_, tokens) = gateway.tokens().await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    for origin in ["https://evil.example", "null", "http://localhost:6274"] {
        for method in [Method::POST, Method::GET, Method::OPTIONS] {
            let headers = [("origin", origin), ("authorization", bearer.as_str())];
            let reply = gateway.send(method, "/mcp", &headers, "{}").await;
            assert_eq!(reply.status().as_u16(), 403, "{origin}");
            assert_eq!(value(reply.headers(), "access-control-allow-origin"), None);
        }
    }
}

#[tokio::test]
async fn an_allowed_page_can_ask_and_read_the_challenge() {
    let gateway = Gateway::new();
    let page = ("origin", "https://app.example");
    let asks = [page, ("access-control-request-method", "POST")];
    let reply = gateway.send(Method::OPTIONS, "/mcp", &asks, "").await;
    assert_eq!(reply.status().as_u16(), 204);
    assert_eq!(value(reply.headers(), "access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(value(reply.headers(), "access-control-allow-methods"), Some("GET, POST, DELETE"));
    assert_eq!(value(reply.headers(), "www-authenticate"), None);
    let reply = gateway.send(Method::POST, "/mcp", &[page], "{}").await;
    assert_eq!(reply.status().as_u16(), 401);
    assert_eq!(value(reply.headers(), "access-control-allow-origin"), Some("https://app.example"));
    assert!(value(reply.headers(), "access-control-expose-headers").unwrap().contains("WWW-Authenticate"));
    assert_eq!(value(reply.headers(), "vary"), Some("Origin"));
}

#[tokio::test]
async fn a_person_who_opens_the_address_reads_what_it_is() {
    let gateway = Gateway::new();
    let reply = Browser::new(&gateway).get("/mcp").await;
    assert_eq!(reply.status().as_u16(), 401);
    assert_eq!(value(reply.headers(), "www-authenticate"), Some(CHALLENGE));
    assert!(body_of(reply).await.contains("https://mcp.example.com/mcp"));
    let stream = [("accept", "text/event-stream")];
    let reply = gateway.send(Method::GET, "/mcp", &stream, "").await;
    assert_eq!(value(reply.headers(), "content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_mcp_servers_401_never_passes_as_ours() {
    const NO: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer resource_metadata=\"https://evil.example\"\r\n\
                      content-length: 0\r\nconnection: close\r\n\r\n";
    let gateway = Gateway::in_front_of(&mcp_server(NO).await);
    let (_, tokens) = gateway.tokens().await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let reply = gateway.send(Method::POST, "/mcp", &headers, "{}").await;
    assert_eq!(reply.status().as_u16(), 502, "the third party still knows the token");
    assert_eq!(value(reply.headers(), "www-authenticate"), None);
    assert_eq!(json_of(reply).await["jsonrpc"], "2.0");
}

#[tokio::test]
async fn a_person_whom_the_third_party_refuses_must_authorize_again() {
    const NO: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let gateway = Gateway::in_front_of(&mcp_server(NO).await);
    let (_, tokens) = gateway.tokens().await;
    let refused = crate::flow::ports::ThirdPartyError::Refused("third_party_token_revoked");
    *gateway.world.third.refuses.lock().unwrap() = Some(refused);
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    for _ in 0..2 {
        let reply = gateway.send(Method::POST, "/mcp", &headers, "{}").await;
        assert_eq!(reply.status().as_u16(), 401);
        let invalid = format!("{CHALLENGE}, error=\"invalid_token\"");
        assert_eq!(value(reply.headers(), "www-authenticate"), Some(invalid.as_str()));
    }
}
