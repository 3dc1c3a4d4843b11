//! Whoever outlives a configuration follows the one that holds: nobody goes on with the steps of the one before.

use std::time::Duration;

use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use tokio::time::{sleep, timeout};

use crate::support::{Gateway, PATIENCE, Reply, Setup, random};

/// Asks the operator's API.
async fn ask(gateway: &Gateway, token: &str, method: &str, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(format!("{}{path}", gateway.admin));
    let request = request.header("authorization", format!("Bearer {token}"));
    gateway.send(request.body(bytes::Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn nothing_that_runs_on_keeps_the_steps_of_the_configuration_before() {
    let token = random("admin-token-0123456789-");
    let top = format!("admin_token = \"{token}\"\n");
    let mut gateway = Setup { disk: true, top, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    // Everything that asks for the steps has done so once: the admin API, the keys, the metrics, readiness.
    for (method, path) in [
        ("GET", "/admin/v1/clients"),
        ("GET", "/admin/v1/keys"),
        ("POST", "/admin/v1/keys/new"),
        ("GET", "/metrics"),
        ("GET", "/readyz"),
    ] {
        assert_eq!(ask(&gateway, &token, method, path).await.status, 200, "{path}");
    }
    for round in 1..=2 {
        let (was, is) =
            (format!("Quarry tools{}", "!".repeat(round - 1)), format!("Quarry tools{}", "!".repeat(round)));
        gateway.reconfigure(&format!("name = \"{was}\""), &format!("name = \"{is}\""));
        let before = gateway.reload().await;
        // Requests and steps that began before go to their end.
        let gone = async {
            while before.upgrade().is_some() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(
            timeout(PATIENCE, gone).await.is_ok(),
            "round {round}: somebody goes on under the old configuration"
        );
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        assert!(gateway.get("/").await.text().contains(&is));
        assert_eq!(ask(&gateway, &token, "GET", "/admin/v1/grants").await.status, 200);
    }
    // Keys are changed, and everything is sealed anew, by whoever was there from the start.
    let keys = ask(&gateway, &token, "POST", "/admin/v1/keys/new").await;
    assert_eq!(keys.status, 200, "{}", keys.text());
    let sealed = async {
        while ask(&gateway, &token, "GET", "/admin/v1/keys").await.json()["resealing"]["state"] != "done" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, sealed).await.expect("sealed anew");
    client.refresh(&tokens.refresh).await;
}
