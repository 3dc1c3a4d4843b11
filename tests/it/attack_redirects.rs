//! Redirect URIs that are almost the registered one, in every way that parsers, browsers and people misread addresses.
//!
//! None may lead anywhere: each is a page with status 400, without a redirect, a cookie, or a word of the address.

use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use serde_json::json;

use crate::support::{
    Asking, Client, Gateway, Setup,
    client::{LOOPBACK, Registration},
    parameter,
};

async fn gateway() -> Gateway {
    let tables = "[registration]\nallowed_redirect_schemes = [\"cursor\"]\n".to_owned();
    Setup { tables, ..Setup::default() }.start().await
}

async fn client(gateway: &Gateway, redirect_uri: &str) -> Client {
    Registration::hosted("App", redirect_uri).at(gateway).await
}

/// Opens an authorization request that must lead nowhere.
async fn refused(gateway: &Gateway, url: &str, slug: &str, what: &str) {
    let reply = gateway.send(Request::get(url).header("accept", "text/html").body("".into()).unwrap()).await;
    assert_eq!((reply.status, reply.slug().as_str()), (400, slug), "{what:?}");
    for name in ["location", "refresh", "set-cookie", "link"] {
        assert_eq!(reply.header(name), None, "{what:?}: {name}");
    }
    let page = reply.text();
    assert!(!page.contains("evil") && !page.contains("http-equiv"), "{what:?}: {page}");
}

/// None of these may be taken for what `client` registered.
async fn near_misses(gateway: &Gateway, client: &Client, misses: &[&str]) {
    for near in misses {
        refused(gateway, &client.asks().with("redirect_uri", near).url(), "bad_redirect_uri", near).await;
    }
    // What they were compared with is there and works.
    let reply = gateway.send(Request::get(client.asks().url()).body("".into()).unwrap()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn attack_host_that_looks_like_the_registered_one() {
    let gateway = gateway().await;
    let client = client(&gateway, "https://app.example/callback").await;
    near_misses(
        &gateway,
        &client,
        &[
            "https://app.example./callback",
            "https://app.example:/callback",
            "https://app.example:0443/callback",
            "https://app.example:443:443/callback",
            "https://app.example%2eevil.example/callback",
            "https://app.example%00.evil.example/callback",
            "https://app.example%40evil.example/callback",
            "https://app.example%2f.evil.example/callback",
            "https://app.example&@evil.example/callback",
            "https://app.example\\@evil.example/callback",
            "https://app.example\\.evil.example/callback",
            "https://app.example#@evil.example/callback",
            "https://app.example?@evil.example/callback",
            "https://app.example;evil.example/callback",
            "https://app.example,evil.example/callback",
            "https://app.example\t.evil.example/callback",
            "https://user@app.example/callback",
            "https://:@app.example/callback",
            "https://@app.example/callback",
            "https://app.example@app.example/callback",
            "https://app-example/callback",
            "https://app_example/callback",
            "https://appXexample/callback",
            "https://xapp.example/callback",
            "https://app.example.co/callback",
            "https://\u{430}pp.example/callback",
            "https://xn--pp-6kc.example/callback",
            "https://app\u{3002}example/callback",
            "https://app.example\u{ff0f}callback",
            "https://app.exam\u{ad}ple/callback",
            "https://evil.example/?https://app.example/callback",
            "https://evil.example/https://app.example/callback",
            "https://evil.example#https://app.example/callback",
            "https://evil.example\\https://app.example/callback",
        ],
    )
    .await;
}

#[tokio::test]
async fn attack_scheme_that_looks_like_the_registered_one() {
    let gateway = gateway().await;
    let client = client(&gateway, "https://app.example/callback").await;
    near_misses(
        &gateway,
        &client,
        &[
            "HTTPS://app.example/callback",
            "https:/app.example/callback",
            "https:app.example/callback",
            "https:///app.example/callback",
            "https:\\\\app.example\\callback",
            "https//app.example/callback",
            "app.example/callback",
            "\\\\app.example\\callback",
            "///app.example/callback",
            "?https://app.example/callback",
            "wss://app.example/callback",
            "ftp://app.example/callback",
            "file://app.example/callback",
            "intent://app.example/callback",
            "blob:https://app.example/callback",
            "view-source:https://app.example/callback",
            "javascript:https://app.example/callback",
            "javascript://app.example/callback%0aalert(1)",
            "data:text/html,https://app.example/callback",
            "vbscript:https://app.example/callback",
            "about:blank",
            "urn:ietf:wg:oauth:2.0:oob",
            "urn:ietf:wg:oauth:2.0:oob:auto",
            "postmessage",
            "null",
            "undefined",
            "*",
            ".",
            "/",
        ],
    )
    .await;
}

#[tokio::test]
async fn attack_path_or_query_that_looks_like_the_registered_one() {
    let gateway = gateway().await;
    let plain = client(&gateway, "https://app.example/callback").await;
    near_misses(
        &gateway,
        &plain,
        &[
            "https://app.example/callback%2f",
            "https://app.example/callback%00",
            "https://app.example/callback%20",
            "https://app.example/callback%0d%0aLocation:%20https://evil.example/",
            "https://app.example/callback\r\nLocation: https://evil.example/",
            "https://app.example/callback;x=1",
            "https://app.example/callback/.",
            "https://app.example/callback/..;/evil",
            "https://app.example/callback/%2e%2e/evil",
            "https://app.example/./callback",
            "https://app.example//callback",
            "https://app.example/x/../callback",
            "https://app.example/callbac",
            "https://app.example/callbackx",
            "https://app.example/callback?",
            "https://app.example/callback&code=x",
            "https://app.example/callback?code=x",
            "https://app.example/callback#",
            "https://app.example/callback,https://evil.example/",
            "https://app.example/callback https://evil.example/",
            "https://app.example/callback\u{0}",
            "https://app.example/callback\u{202e}",
            "https://app.example/call\u{200b}back",
            "\u{feff}https://app.example/callback",
        ],
    )
    .await;
    let query = client(&gateway, "https://app.example/cb?tenant=1").await;
    near_misses(
        &gateway,
        &query,
        &[
            "https://app.example/cb",
            "https://app.example/cb?tenant=2",
            "https://app.example/cb?Tenant=1",
            "https://app.example/cb?tenant=%31",
            "https://app.example/cb?tenant=1&x=1",
            "https://app.example/cb?x=1&tenant=1",
            "https://app.example/cb?tenant=1&tenant=2",
            "https://app.example/cb?tenant=1;code=x",
            "https://app.example/cb?tenant=1#",
            "https://app.example/cb?tenant=1%23",
        ],
    )
    .await;
    let private = client(&gateway, "cursor://anysphere/cb").await;
    near_misses(
        &gateway,
        &private,
        &[
            "CURSOR://anysphere/cb",
            "cursors://anysphere/cb",
            "cursor:anysphere/cb",
            "cursor://evil/cb",
            "cursor://anysphere/cb/",
            "cursor://anysphere/cb?x",
            "cursor://anysphere/cb#x",
            "cursor://anysphere%2fcb",
            "cursor://anysphere/../anysphere/cb",
        ],
    )
    .await;
}

#[tokio::test]
async fn attack_loopback_that_is_another_host() {
    let gateway = gateway().await;
    let (v4, v6) = (client(&gateway, LOOPBACK).await, client(&gateway, "http://[::1]:1/cb").await);
    let name = client(&gateway, "http://localhost/cb").await;
    near_misses(
        &gateway,
        &v4,
        &[
            "http://127.0.0.1:033418/callback",
            "http://127.0.0.1:+33418/callback",
            "http://127.0.0.1:-1/callback",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:33418:80/callback",
            "http://127.0.0.1: 33418/callback",
            "http://127.0.0.1:\u{ff13}3418/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:x/callback",
            "http://127.0.0.1:@evil.example/callback",
            "http://127.0.0.1:80@evil.example:80/callback",
            "http://127.0.0.1:80#@evil.example/callback",
            "http://127.0.0.1:80\\@evil.example/callback",
            "http://127.0.0.1:33418/callback%20",
            "http://127.0.0.1:33418/callback#x",
            "http://127.0.0.1:33418/./callback",
            "http://127.0.0.1:33418//callback",
            "http://127.0.0.1:33418/Callback",
            "http://127.0.0.1:33418/callback;x",
            "http://127.1:33418/callback",
            "http://0x7f.0.0.1:33418/callback",
            "http://0177.0.0.1:33418/callback",
            "http://127.000.000.001:33418/callback",
            "http://0.0.0.0:33418/callback",
            "http://[::ffff:127.0.0.1]:33418/callback",
            "http:127.0.0.1:33418/callback",
            "http:/127.0.0.1:33418/callback",
            "HTTP://127.0.0.1:33418/callback",
        ],
    )
    .await;
    near_misses(
        &gateway,
        &v6,
        &[
            "http://[0:0:0:0:0:0:0:1]:1/cb",
            "http://[::01]:1/cb",
            "http://[::1%25eth0]:1/cb",
            "http://[::1]evil.example/cb",
            "http://[::1].evil.example/cb",
            "http://[::1]:1@evil.example/cb",
            "http://[::1]:/cb",
            "http://::1/cb",
            "http://[::2]:1/cb",
        ],
    )
    .await;
    near_misses(
        &gateway,
        &name,
        &[
            "http://localhost./cb",
            "http://LOCALHOST/cb",
            "http://localhost.localdomain/cb",
            "http://localhost.evil.example/cb",
            "http://evil.localhost/cb",
            "http://localhost@evil.example/cb",
            "http://localhost%2eevil.example/cb",
            "http://localhost\\.evil.example/cb",
            "https://localhost/cb",
            "http://localhost/cb?code=x",
            "http://localhost/cb/",
        ],
    )
    .await;
}

/// The free port of loopback URIs must not lead to the gateway itself, whatever waits there under that path.
#[tokio::test]
async fn attack_loopback_port_that_is_the_gateways_own() {
    let gateway = gateway().await;
    let port = gateway.address().port();
    for path in ["/callback", "/consent", "/callback/quarry", "/mcp", "/authorize?x=1", "/"] {
        let client = client(&gateway, &format!("http://127.0.0.1:1{path}")).await;
        let own = format!("http://127.0.0.1:{port}{path}");
        near_misses(&gateway, &client, &[own.as_str()]).await;
        let body = Registration::hosted("App", &own).0;
        let reply = gateway.post_json("/register", &body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_redirect_uri"), "{own}");
    }
}

/// Other places and writings of the parameter: none of them is read beside the one that counts.
#[tokio::test]
async fn attack_redirect_uri_said_twice_or_elsewhere() {
    const EVIL: &str = "https://evil.example/cb";
    let gateway = gateway().await;
    let client = client(&gateway, "https://app.example/callback").await;
    let without = client.asks().without("redirect_uri");
    for name in
        ["redirect_uri[]", "redirect_uri[0]", "redirect_uris", "Redirect_URI", "redirectUri", "redirect"]
    {
        let asking = without.clone().and(name, EVIL);
        refused(&gateway, &asking.url(), "bad_parameter", name).await;
        // Beside the right one it is nothing.
        let beside = client.asks().and(name, EVIL);
        let reply = gateway.send(Request::get(beside.url()).body("".into()).unwrap()).await;
        assert_eq!(reply.status, 200, "{name}");
        assert!(!reply.text().contains("evil"), "{name}");
    }
    let url = client.asks().url();
    for twice in
        ["redirect_uri=", "redirect_uri", "%72edirect_uri=https://evil.example/cb", "redirect%5furi=x"]
    {
        refused(&gateway, &format!("{url}&{twice}"), "bad_parameter", twice).await;
        let first = url.replacen("/authorize?", &format!("/authorize?{twice}&"), 1);
        refused(&gateway, &first, "bad_parameter", twice).await;
    }
    // Separators that are none, and bytes that are no text.
    let asks = without.url();
    for rest in [";redirect_uri=https://app.example/callback", "&redirect_uri;=x", "&redirect_uri=%"] {
        refused(&gateway, &format!("{asks}{rest}"), "bad_parameter", rest).await;
    }
    for broken in ["%ff", "%c0%af", "%u0061", "%zz", "%1"] {
        let asking = format!("{asks}&redirect_uri=https://app.example/callback{broken}");
        refused(&gateway, &asking, "bad_parameter", broken).await;
    }
}

/// What must not be registered, so that there is nothing to be near to.
#[tokio::test]
async fn attack_registration_of_a_dangerous_address() {
    let gateway = gateway().await;
    for uri in [
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://app.example/x",
        "about:blank",
        "ws://app.example/cb",
        "ftp://app.example/cb",
        "vscode://x/cb",
        "urn:ietf:wg:oauth:2.0:oob",
        "http://app.example/cb",
        "http://10.0.0.1/cb",
        "http://169.254.169.254/latest/",
        "http://0.0.0.0/cb",
        "http://127.0.0.2/cb",
        "http://127.1/cb",
        "http://localhost.evil.example/cb",
        "http://[::]/cb",
        "http://[::ffff:127.0.0.1]/cb",
        "http://[::1%25lo]/cb",
        "http://localhost:99999/cb",
        "http://LOCALHOST/cb",
        "https://",
        "https:///cb",
        "https://.example/cb",
        "https://app..example/cb",
        "https://app.example./cb",
        "https://*.app.example/cb",
        "https://app.example/*",
        "https://127.1/cb",
        "https://0x7f000001/cb",
        "https://2130706433/cb",
        "https://%61pp.example/cb",
        "https://user:password@app.example/cb",
        "https://app.example/cb#x",
        "https://app.example/cb#",
        "https://app.example/c b",
        "https://app.example/cb\n",
        "https://app.example\\cb",
        "https://app.example/\"onload=x",
        "https://app.example/<x>",
        "https://\u{430}pp.example/cb",
        "https://app.example/cb?code=mine",
        "https://app.example/cb?x=1&state=mine",
        "https://app.example/cb?%63ode=mine",
        "https://app.example/cb?iss=https://evil.example",
        "https://app.example/cb?error=access_denied",
        "HTTPS://app.example/cb",
        "https:app.example/cb",
        " https://app.example/cb",
        "/cb",
        "app.example/cb",
        "",
    ] {
        let reply = gateway.post_json("/register", &Registration::hosted("App", uri).0).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_redirect_uri"), "{uri:?}");
        // One of them spoils the whole list.
        let both = json!({ "redirect_uris": ["https://app.example/cb", uri] });
        assert_eq!(gateway.post_json("/register", &both).await.status, 400, "{uri:?}");
    }
    let many: Vec<String> = (0..17).map(|n| format!("https://app.example/{n}")).collect();
    for uris in
        [json!(many), json!([]), json!("https://app.example/cb"), json!([1]), json!([null]), json!(null)]
    {
        let reply = gateway.post_json("/register", &json!({ "redirect_uris": uris })).await;
        assert_eq!(reply.status, 400, "{uris}");
    }
}

/// Wherever the journey ends, it ends at the address that was matched, with one answer in it.
#[tokio::test]
async fn attack_answer_that_a_client_could_misread() {
    let gateway = gateway().await;
    let client = client(&gateway, "https://app.example/callback?tenant=1").await;
    let odd = "a&code=mine&iss=https://evil.example#x=%0d%0aLocation: /";
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks().with("state", odd);
    let answer = ada.authorize(&asking).await;
    assert_eq!(answer.state.as_deref(), Some(odd), "the state comes back whole, and as one parameter");
    assert!(answer.url.starts_with("https://app.example/callback?tenant=1&code="), "{}", answer.url);
    for name in ["code=", "state=", "iss="] {
        let mut query = answer.url.split(['?', '&']);
        assert_eq!(query.by_ref().filter(|pair| pair.starts_with(name)).count(), 1, "{name}");
    }
    assert!(!answer.url.contains('#') && !answer.url.contains('\r'));
    let page = ada.consent_page(&asking).await;
    let denied = ada.press(&page, "Deny").await.leads_to().unwrap();
    assert!(denied.starts_with("https://app.example/callback?tenant=1&error="), "{denied}");
    assert_eq!((parameter(&denied, "code"), parameter(&denied, "state").as_deref()), (None, Some(odd)));
}

/// Sending the right code from the wrong address gives nothing, and leaves the code to the right one.
#[tokio::test]
async fn attack_redirect_uri_at_the_token_endpoint() {
    let gateway = gateway().await;
    let client = client(&gateway, "https://app.example/callback").await;
    let asking: Asking = client.asks();
    let answer = gateway.visitor(&ADA).authorize(&asking).await;
    let [grant_type, code, verifier, _] = answer.form();
    for near in [
        "https://app.example/callback/",
        "https://app.example/callback?",
        "https://app.example/callback#",
        "https://app.example/Callback",
        "https://app.example:443/callback",
        "https://APP.example/callback",
        "https://app.example/callback%20",
        "https://evil.example/callback",
        LOOPBACK,
        "x",
    ] {
        let form = [grant_type, code, verifier, ("redirect_uri", near)];
        let reply = client.post("/token", &form).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{near}");
    }
    let right = ("redirect_uri", "https://app.example/callback");
    let twice = client.post("/token", &[grant_type, code, verifier, right, right]).await;
    assert_eq!(twice.error(), "invalid_request");
    client.redeem(&answer).await;
}
