//! What this is and how to connect an app: at `/`, and for a browser that opens the address of an MCP server.

use crate::support::{Gateway, Reply, Setup};

/// What a browser asks for when somebody types an address.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

/// The same answer as an app gets, in words: same status, same challenge; and only for whoever reads HTML and no MCP.
#[tokio::test]
async fn a_browser_at_an_mcp_url_gets_the_same_challenge_with_a_page() {
    let gateway = Gateway::start().await;
    let get = async |accept: &str, bearer: Option<&str>| {
        let mut request = http::Request::get(gateway.mcp()).header("accept", accept);
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        gateway.send(request.body("".into()).unwrap()).await
    };
    let program = get("application/json, text/event-stream", None).await;
    let challenge = program.header("www-authenticate").unwrap().to_owned();
    assert_eq!(program.status, 401);
    let says = |reply: &Reply, header: &str| {
        let values = reply.headers.get_all("vary").iter();
        values
            .flat_map(|value| value.to_str().unwrap().split(", "))
            .any(|name| name.eq_ignore_ascii_case(header))
    };
    assert!(says(&program, "accept"), "{:?}", program.headers);
    assert_eq!(program.header("content-type"), Some("application/json"));

    let page = get(BROWSER, None).await;
    assert_eq!((page.status, page.header("www-authenticate")), (401, Some(challenge.as_str())));
    assert!(says(&page, "accept") && says(&page, "accept-language") && says(&page, "origin"));
    let text = page.text();
    assert!(text.contains("You opened the address of an MCP server in a browser"), "{text}");
    assert!(text.contains(&format!("<pre class=\"copy\">{}</pre>", gateway.mcp())), "{text}");

    for (accept, bearer) in [
        ("text/html, application/json", None),
        ("text/html, text/event-stream", None),
        ("*/*", None),
        (BROWSER, Some("mcpd_at_wrong")),
    ] {
        let reply = get(accept, bearer).await;
        assert_eq!(reply.status, 401, "{accept}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{accept}");
    }
    let post = http::Request::post(gateway.mcp()).header("accept", BROWSER).body("{}".into()).unwrap();
    assert_eq!(
        gateway.send(post).await.header("content-type"),
        Some("application/json"),
        "nobody opens by POST"
    );
}

#[tokio::test]
async fn the_start_page_shows_what_works_here() {
    let gateway = Gateway::start().await;
    let get = async |gateway: &Gateway| {
        let request = http::Request::get(gateway.url("/")).header("accept", BROWSER);
        gateway.send(request.body("".into()).unwrap()).await.text()
    };
    let page = get(&gateway).await;
    assert!(
        page.contains(&format!("claude mcp add --transport http quarry-tools {}", gateway.mcp())),
        "{page}"
    );
    assert!(page.contains("&quot;mcpServers&quot;") && page.contains(".vscode/mcp.json"), "{page}");
    assert!(!page.contains("ChatGPT"), "nobody elsewhere reaches this computer");
    assert!(!page.contains("Cursor"), "its redirect URIs are refused");
    assert!(!page.contains("<script") && !page.contains("Not every app"), "{page}");
    let more = "[registration]\nallowed_redirect_schemes = [\"cursor\"]\nallowed_domains = [\"localhost\"]\n";
    let narrow = Setup { tables: more.to_owned(), ..Setup::default() }.start().await;
    let page = get(&narrow).await;
    assert!(page.contains("~/.cursor/mcp.json") && page.contains("Not every app may connect here"), "{page}");
    let closed = "[registration]\ndynamic = \"off\"\nclient_id_metadata_documents = false\n";
    let page = get(&Setup { tables: closed.to_owned(), ..Setup::default() }.start().await).await;
    assert!(page.contains("Only apps that the operator of this gateway has set up"), "{page}");
}
