//! Refresh tokens: forged, of another family or client, too old, widened, moved to another MCP server, after their end.

use std::{sync::Arc, time::Duration};

use mcp_deputy::{
    domain::handle::{GrantId, Handle, Kind, Presented},
    sandbox::third_party::{ADA, GRACE},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Client, Gateway, Setup, chance, client::Registration, random};

/// The grace window, which the tests below step out of.
const GRACE_WINDOW: Duration = Duration::from_mins(2);

async fn refused(client: &Client, refresh: &str, what: &str) {
    let reply = client.try_refresh(refresh).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{what}");
}

/// Grant ids are in every token and no secret: with one, anybody can make tokens that look right. They must change nothing.
#[tokio::test]
async fn attack_forged_refresh_token() {
    let gateway = Gateway::start().await;
    let elsewhere = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let (_, foreign) = elsewhere.tokens(&ADA).await;
    let (_, neighbours) = gateway.tokens(&GRACE).await;
    let good = tokens.refresh.as_str();
    let grant = Presented::parse(Kind::RefreshToken, good).unwrap().grant;
    let family = Presented::family_secret(&neighbours.refresh).unwrap();
    let mut damaged: Vec<String> = (8..good.len())
        .step_by(3)
        .map(|index| {
            let other = if good.as_bytes()[index] == b'A' { 'B' } else { 'A' };
            format!("{}{other}{}", &good[..index], &good[index + 1..])
        })
        .collect();
    damaged.extend(
        [
            // Well formed, of a real grant, with a family of its own, of nobody, or of a neighbour's grant.
            Handle::refresh_token(grant, chance(), chance()).expose(),
            Handle::refresh_token(grant, [0; 16], [0; 32]).expose(),
            Handle::refresh_token(grant, family, chance()).expose(),
            Handle::refresh_token(GrantId::new(chance()), chance(), chance()).expose(),
            Handle::of_grant(Kind::AccessToken, grant, chance()).expose(),
            Handle::of_grant(Kind::Code, grant, chance()).expose(),
            &foreign.refresh,
            &tokens.access,
            &client.id,
            &good[..good.len() - 1],
            &format!("{good}A"),
            &format!("{good} "),
            &format!("{good}\n"),
            &format!("{good},{good}"),
            &good.to_uppercase(),
            &good.replace("mcpd_rt_", "mcpd_at_"),
            &random("gho_"),
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
            "mcpd_rt_",
            "x",
        ]
        .map(ToOwned::to_owned),
    );
    for forged in &damaged {
        refused(&client, forged, "a forgery").await;
    }
    assert_eq!(gateway.whoami(&tokens.access).await, "ada", "a forgery has ended a grant");
    assert_eq!(gateway.whoami(&neighbours.access).await, "grace");
    client.refresh(good).await;
}

/// A token that we did issue, for this family, and never gave to anybody who has it: an attacker who knows the family
/// secret had a real token of it.
#[tokio::test]
async fn attack_made_up_token_of_the_right_family() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let grant = Presented::parse(Kind::RefreshToken, &tokens.refresh).unwrap().grant;
    let family = Presented::family_secret(&tokens.refresh).unwrap();
    refused(&client, Handle::refresh_token(grant, family, chance()).expose(), "made up").await;
    assert_eq!(
        gateway.tool(&tokens.access, "whoami", json!({})).await.status,
        401,
        "its family is in two hands"
    );
    refused(&client, &tokens.refresh, "after that").await;
}

#[tokio::test]
async fn attack_refresh_token_of_another_client() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let confidential = Registration::native("Confidential")
        .with("token_endpoint_auth_method", "client_secret_post")
        .at(&gateway)
        .await;
    let theirs = gateway.visitor(&ADA).tokens(&confidential).await;
    let public = gateway.client("Public").await;
    for other in [&confidential, &public] {
        refused(other, &tokens.refresh, "another client").await;
    }
    refused(&client, &theirs.refresh, "a confidential client's").await;
    // Without the secret, with a wrong one, and under its name but with somebody else's.
    let form = [("grant_type", "refresh_token"), ("refresh_token", theirs.refresh.as_str())];
    let id = ("client_id", confidential.id.as_str());
    for secret in [None, Some(""), Some("x"), Some(&client.id)] {
        let secret = secret.map(|secret| ("client_secret", secret as &str));
        let form: Vec<_> = form.iter().copied().chain([id]).chain(secret).collect();
        assert_eq!(gateway.post_form("/token", &form).await.error(), "invalid_client");
    }
    assert_eq!(gateway.post_form("/token", &form).await.error(), "invalid_client", "nobody in particular");
    // An old token of another client's grant is no reuse either: nothing ends by it.
    let second = client.refresh(&tokens.refresh).await;
    gateway.forward(GRACE_WINDOW + Duration::from_secs(1));
    refused(&public, &tokens.refresh, "an old one in other hands").await;
    assert_eq!(gateway.whoami(&second.access).await, "ada");
    assert_eq!(gateway.whoami(&theirs.access).await, "ada");
}

#[tokio::test]
async fn attack_widened_scope() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(tokens.scope, "read");
    let ask = async |refresh: &str, scope: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("scope", scope)];
        client.post("/token", &form).await
    };
    for scope in [
        "repo",
        "read repo",
        "repo read",
        "read\trepo",
        "read,repo",
        "read  repo",
        "READ",
        "read*",
        "*",
        "read:user",
        "delete_repo",
        "offline_access repo",
        "openid admin",
        "read \u{e4}",
        "read \"x\"",
    ] {
        let reply = ask(&tokens.refresh, scope).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_scope"), "{scope:?}");
    }
    let twice = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("scope", "read"),
        ("scope", "repo"),
    ];
    assert_eq!(client.post("/token", &twice).await.error(), "invalid_request");
    // What was narrowed once is not wider than the grant afterwards, and the answer says what the token has.
    let narrowed = ask(&tokens.refresh, "read").await;
    assert_eq!(narrowed.json()["scope"], "read");
    let next = narrowed.json()["refresh_token"].as_str().unwrap().to_owned();
    crate::support::secrets::note(&next);
    assert_eq!(ask(&next, "read repo").await.error(), "invalid_scope");
    // The replay of an answer gives no more either.
    let replayed = ask(&tokens.refresh, "read repo").await;
    assert_eq!(
        (replayed.status, replayed.error().as_str()),
        (400, "invalid_scope"),
        "a replay is judged as well"
    );
}

#[tokio::test]
async fn attack_refresh_for_another_resource() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let ask = async |refresh: &str, resources: &[&str]| {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh)];
        form.extend(resources.iter().map(|resource| ("resource", *resource)));
        client.post("/token", &form).await
    };
    let (mcp, other) = (gateway.mcp(), gateway.url("/other"));
    let encoded = gateway.url("/%6dcp");
    for resources in [
        &[other.as_str()][..],
        &[&mcp, &other],
        &[&other, &mcp],
        &[&mcp, "https://evil.example/mcp"],
        &["https://evil.example/mcp"],
        &[&gateway.origin],
        &["/mcp"],
        &["mcp"],
        &[&encoded],
        &[&format!("{mcp}?x")],
        &[&format!("{mcp}#x")],
        &[&format!("{mcp}/x")],
        &[&format!("{mcp}//")],
        &[&format!("{mcp}/../other")],
        &[&mcp.replace("http:", "https:")],
        &[&mcp.replace("127.0.0.1", "localhost")],
        &[&mcp.replace("http://", "http://user@")],
        &["urn:mcp"],
    ] {
        let reply = ask(&tokens.refresh, resources).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_target"), "{resources:?}");
    }
    let second = ask(&tokens.refresh, &[&mcp, &mcp]).await;
    assert_eq!(second.status, 200);
    let access = second.json()["access_token"].as_str().unwrap().to_owned();
    crate::support::secrets::note(&access);
    crate::support::secrets::note(second.json()["refresh_token"].as_str().unwrap());
    assert_eq!(gateway.tool_at("/other", &access, "whoami", json!({})).await.status, 401);
    let replayed = ask(&tokens.refresh, &[&other]).await;
    assert_eq!(
        (replayed.status, replayed.error().as_str()),
        (400, "invalid_target"),
        "a replay is judged as well"
    );
    assert_eq!(gateway.whoami(&access).await, "ada", "and nothing has ended");
}

/// The edges of the grace window, to the second; and that a replay is the same answer and not a new one.
#[tokio::test]
async fn attack_replay_outside_the_window() {
    let gateway = Gateway::start().await;
    for (wait, replayed) in [(0, true), (1, true), (119, true), (120, false), (121, false), (86_400, false)] {
        let (client, first) = gateway.tokens(&ADA).await;
        let second = client.refresh(&first.refresh).await;
        gateway.forward(Duration::from_secs(wait));
        let reply = client.try_refresh(&first.refresh).await;
        if replayed {
            assert_eq!(reply.json()["refresh_token"], second.refresh.as_str(), "{wait}");
            assert_eq!(reply.json()["access_token"], second.access.as_str(), "{wait}");
            client.refresh(&second.refresh).await;
        } else {
            assert_eq!(reply.error(), "invalid_grant", "{wait}");
            refused(&client, &second.refresh, "its family has ended").await;
        }
    }
    // Many replays of one answer are no source of tokens, and end nothing.
    let (client, first) = gateway.tokens(&ADA).await;
    let second = client.refresh(&first.refresh).await;
    let mut given = 0;
    for _ in 0..40 {
        let reply = client.try_refresh(&first.refresh).await;
        given += usize::from(reply.status == 200);
        assert!(reply.status == 200 || reply.error() == "invalid_grant");
    }
    assert_eq!(given, 32);
    assert_eq!(gateway.whoami(&second.access).await, "ada");
    // Nor does the window move: a replay does not make the old token young.
    gateway.forward(GRACE_WINDOW);
    refused(&client, &first.refresh, "the window is over").await;
    assert_eq!(gateway.tool(&second.access, "whoami", json!({})).await.status, 401);
}

/// A thief with a copy of every token so far: whatever order the two use them in, both hands end empty.
#[tokio::test]
async fn attack_stolen_chain() {
    let gateway = Gateway::start().await;
    for stolen in 0..3 {
        let (client, first) = gateway.tokens(&ADA).await;
        let mut chain = vec![first];
        for _ in 0..3 {
            gateway.forward(GRACE_WINDOW + Duration::from_secs(1));
            chain.push(client.refresh(&chain.last().unwrap().refresh).await);
        }
        gateway.forward(GRACE_WINDOW + Duration::from_secs(1));
        assert_eq!(gateway.whoami(&chain[3].access).await, "ada");
        refused(&client, &chain[stolen].refresh, "an old link of the chain").await;
        for tokens in &chain {
            assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401, "{stolen}");
            refused(&client, &tokens.refresh, "the chain has ended").await;
        }
    }
}

#[tokio::test]
async fn attack_refresh_after_the_end() {
    let gateway = Gateway::start().await;
    for (how, error) in
        [("returned", "invalid_grant"), ("client", "invalid_client"), ("idle", "invalid_grant")]
    {
        let (client, first) = gateway.tokens(&ADA).await;
        let second = client.refresh(&first.refresh).await;
        gateway.forward(Duration::from_millis(1));
        match how {
            "returned" => client.revoke(&second.refresh).await,
            "client" => assert_eq!(gateway.flows().revoke_client(client.id.clone()).await.unwrap(), 1),
            _ => gateway.forward(Duration::from_hours(30 * 24)),
        }
        for token in [&second.refresh, &first.refresh] {
            assert_eq!(client.try_refresh(token).await.error(), error, "{how}");
        }
        for token in [&second.access, &first.access] {
            assert_eq!(gateway.tool(token, "whoami", json!({})).await.status, 401, "{how}");
        }
    }
    // An old token that is given back ends the grant as well; one of the replay window too.
    for wait in [Duration::ZERO, GRACE_WINDOW * 2] {
        let (client, first) = gateway.tokens(&ADA).await;
        let second = client.refresh(&first.refresh).await;
        gateway.forward(wait);
        client.revoke(&first.refresh).await;
        refused(&client, &second.refresh, "given back").await;
        assert_eq!(gateway.tool(&second.access, "whoami", json!({})).await.status, 401);
    }
}

/// A rotation and a revocation at the same time: whoever wins, nothing is left that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attack_refresh_racing_a_revocation() {
    for disk in [false, true] {
        let gateway = Arc::new(Setup { disk, ..Setup::default() }.start().await);
        for _ in 0..4 {
            let (client, tokens) = gateway.tokens(&ADA).await;
            let mut racing = JoinSet::new();
            for number in 0..6 {
                let (client, refresh) = (client.reconnected(), tokens.refresh.clone());
                racing.spawn(async move {
                    if number == 3 {
                        client.revoke(&refresh).await;
                        return None;
                    }
                    let reply = client.try_refresh(&refresh).await;
                    (reply.status == 200).then(|| reply.json())
                });
            }
            let mut held = vec![(tokens.access.clone(), tokens.refresh.clone())];
            for answer in racing.join_all().await.into_iter().flatten() {
                let text = |name: &str| answer[name].as_str().unwrap().to_owned();
                held.push((text("access_token"), text("refresh_token")));
            }
            for (access, refresh) in held {
                assert_eq!(gateway.tool(&access, "whoami", json!({})).await.status, 401, "disk: {disk}");
                refused(&client, &refresh, "revoked").await;
            }
        }
    }
}
