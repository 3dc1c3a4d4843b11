//! Authorization codes: forged, damaged, replayed, used as something else, or outliving what they stand on.

use std::time::Duration;

use mcp_deputy::{
    domain::{
        handle::{GrantId, Handle, Kind, Presented},
        person::subject,
    },
    sandbox::third_party::{ADA, GRACE},
};
use serde_json::json;

use crate::support::{Answer, Client, Gateway, Setup, Tokens, chance, client::Registration};

async fn refused(client: &Client, answer: &Answer, code: &str) {
    let answer = Answer { code: Some(code.to_owned()), ..answer.clone() };
    let reply = client.try_redeem(&answer).await;
    let shown = &code[..code.len().min(12)];
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{shown}…");
}

/// `text` with the character at `index` replaced by another letter.
fn flipped(text: &str, index: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn attack_forged_code() {
    let gateway = Gateway::start().await;
    let elsewhere = Gateway::start().await;
    let client = gateway.client("App").await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let foreign =
        elsewhere.visitor(&ADA).authorize(&elsewhere.client("App").await.asks()).await.code.unwrap();
    let code = answer.code.clone().unwrap();
    let grant = Presented::parse(Kind::Code, &code).unwrap().grant;
    for index in 0..code.len() {
        refused(&client, &answer, &flipped(&code, index)).await;
    }
    let guessed = |grant| Handle::of_grant(Kind::Code, grant, chance());
    for forged in [
        // Well formed in every part, of a real grant: only the random bits are wrong.
        guessed(grant).expose(),
        Handle::of_grant(Kind::Code, grant, [0; 32]).expose(),
        guessed(GrantId::new(chance())).expose(),
        Handle::of_grant(Kind::AccessToken, grant, chance()).expose(),
        Handle::refresh_token(grant, chance(), chance()).expose(),
        &foreign,
        &client.id,
        &code[..code.len() - 1],
        &code[1..],
        &format!("{code}A"),
        &format!("{code}="),
        &format!("{code}\n"),
        &format!(" {code}"),
        &format!("{code}{code}"),
        &format!("{code},{code}"),
        &code.to_uppercase(),
        &code.to_lowercase(),
        &code.replace("mcpd_ac_", "mcpd_at_"),
        &code.replace("mcpd_ac_", "mcpd_rt_"),
        &code.replace("mcpd_ac_", ""),
        "mcpd_ac_",
        "' OR 1=1 --",
        "*",
        "../../../etc/passwd",
        "null",
        "\u{0}",
    ] {
        refused(&client, &answer, forged).await;
    }
    client.redeem(&answer).await;
}

#[tokio::test]
async fn attack_code_as_something_else() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let code = answer.code.as_deref().unwrap();
    assert_eq!(client.try_refresh(code).await.error(), "invalid_grant");
    assert_eq!(gateway.tool(code, "whoami", json!({})).await.status, 401);
    client.revoke(code).await;
    let [_, code_field, verifier, uri] = answer.form();
    for grant_type in [
        "refresh_token",
        "password",
        "implicit",
        "client_credentials",
        "Authorization_Code",
        "authorization_code ",
        "authorization-code",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
    ] {
        let reply = client.post("/token", &[("grant_type", grant_type), code_field, verifier, uri]).await;
        assert_eq!(reply.status, 400, "{grant_type}");
        assert!(
            ["unsupported_grant_type", "invalid_request"].contains(&reply.error().as_str()),
            "{grant_type}"
        );
    }
    // Two codes, or one in a place that is not read.
    let right = answer.form();
    for extra in [("code", code), ("code", "x"), ("code", ""), ("grant_type", "authorization_code")] {
        let reply = client.post("/token", &[&right[..], &[extra]].concat()).await;
        assert_eq!(reply.error(), "invalid_request", "{extra:?}");
    }
    let path = format!("/token?code={code}");
    assert_eq!(client.post(&path, &[right[0], right[2], right[3]]).await.error(), "invalid_request");
    for name in ["Code", "code[]", "authorization_code"] {
        assert_eq!(
            client.post("/token", &[right[0], (name, code), right[2]]).await.error(),
            "invalid_request",
            "{name}"
        );
    }
    client.redeem(&answer).await;
}

/// Whoever presents a code with the right verifier a second time has what only its owner should have; whoever has only
/// the code ends nothing.
#[tokio::test]
async fn attack_replayed_code() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let (client, other) = (gateway.client("App").await, gateway.client("Other").await);
    let mut ada = gateway.visitor(&ADA);
    let answer = ada.authorize(&client.asks()).await;
    let tokens = client.redeem(&answer).await;
    let wrong_uri = Answer { redirect_uri: "http://127.0.0.1:1/callback".to_owned(), ..answer.clone() };
    let wrong_verifier =
        Answer { verifier: crate::support::random("verifier-0123456789-"), ..answer.clone() };
    for (client, answer) in [(&client, &wrong_uri), (&client, &wrong_verifier), (&other, &answer)] {
        assert_eq!(client.try_redeem(answer).await.error(), "invalid_grant");
        assert_eq!(gateway.whoami(&tokens.access).await, "ada", "a stranger has ended a grant");
    }
    let mut latest = tokens;
    for wait in [Duration::ZERO, Duration::from_mins(1), Duration::from_hours(5)] {
        let answer = ada.authorize(&client.asks()).await;
        let tokens = client.redeem(&answer).await;
        gateway.forward(wait);
        let tokens = client.refresh(&tokens.refresh).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        assert_eq!(client.try_redeem(&answer).await.error(), "invalid_grant");
        assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401, "{wait:?}");
        assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant", "{wait:?}");
        // The grant of another journey of the same person with the same client goes on.
        latest = client.refresh(&latest.refresh).await;
        assert_eq!(gateway.whoami(&latest.access).await, "ada");
    }
}

/// What a code stands on may go between its making and its redemption.
#[tokio::test]
async fn attack_code_of_a_revoked_approval() {
    let gateway = Gateway::start().await;
    for how in ["client", "person", "expired"] {
        // What was revoked counts for everything up to that millisecond.
        gateway.forward(Duration::from_millis(1));
        let client = gateway.client("App").await;
        let answer = gateway.visitor(&GRACE).authorize(&client.asks()).await;
        let flows = gateway.flows();
        let (ended, error) = match how {
            "client" => (flows.revoke_client(client.id.clone()).await.unwrap(), "invalid_client"),
            "person" => {
                let subject = subject(&gateway.third_party.issuer(), "1002");
                (flows.revoke_person(subject).await.unwrap(), "invalid_grant")
            }
            _ => {
                gateway.forward(Duration::from_mins(1));
                (1, "invalid_grant")
            }
        };
        assert_eq!((ended, client.try_redeem(&answer).await.error().as_str()), (1, error), "{how}");
    }
}

/// A confidential client's code is worth nothing without its secret, and trying does not burn it.
#[tokio::test]
async fn attack_code_of_a_confidential_client() {
    let gateway = Gateway::start().await;
    for method in ["client_secret_basic", "client_secret_post"] {
        let registration = Registration::native("App").with("token_endpoint_auth_method", method);
        let client = registration.at(&gateway).await;
        let other =
            Registration::native("Other").with("token_endpoint_auth_method", method).at(&gateway).await;
        let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
        let form = answer.form();
        let secret = client.secret.clone().unwrap();
        let id = ("client_id", client.id.as_str());
        for wrong in [
            "",
            "x",
            &secret[..secret.len() - 1],
            &format!("{secret}x"),
            &secret.to_uppercase(),
            other.secret.as_deref().unwrap(),
            "null",
        ] {
            let reply =
                gateway.post_form("/token", &[&form[..], &[id, ("client_secret", wrong)]].concat()).await;
            assert_eq!(
                (reply.status, reply.error().as_str()),
                (401, "invalid_client"),
                "{method} {}",
                wrong.len()
            );
        }
        assert_eq!(gateway.post_form("/token", &[&form[..], &[id]].concat()).await.error(), "invalid_client");
        assert_eq!(other.try_redeem(&answer).await.error(), "invalid_grant");
        let mut impostor = client.clone();
        impostor.secret.clone_from(&other.secret);
        assert_eq!(impostor.try_redeem(&answer).await.error(), "invalid_client");
        // Another's id in the body beside one's own in the header.
        let mut request = client.token_request("/token", &form);
        let body = [request.body(), format!("&client_id={}", other.id).as_bytes()].concat();
        *request.body_mut() = body.into();
        assert_eq!(gateway.send(request).await.error(), "invalid_request", "{method}");
        let tokens: Tokens = client.redeem(&answer).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    }
}
