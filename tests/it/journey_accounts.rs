//! Somebody with two accounts at the third party, one app, one browser, one MCP server: each permission is of the account that
//! gave it, is shown under its name, and neither knows of the other.

use mcp_deputy::sandbox::{
    browser::Page,
    third_party::{ADA, GRACE},
};
use serde_json::json;

use crate::support::{
    Answer, Setup,
    account::app_names,
    client::{HOSTED, Registration},
    parameter,
};

fn link(page: &Page, text: &str) -> String {
    let found = page.links().into_iter().find(|(_, label)| label.contains(text));
    found.unwrap_or_else(|| panic!("no link {text}: {}", page.body)).0
}

#[tokio::test]
async fn two_accounts_live_side_by_side_at_one_mcp_server() {
    let gateway =
        Setup { tables: "[consent]\nmode = \"remember\"\n".to_owned(), ..Setup::https() }.start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let mut person = gateway.visitor(&ADA);
    let private = person.tokens(&client).await;

    // The page says which account it would be, and how to use another one.
    let asking = client.asks();
    let page = person.consent_page(&asking).await;
    assert!(page.body.contains("<bdi>ada</bdi>"), "{}", page.body);
    let page = person.open(&gateway.url(&link(&page, "Use another account"))).await;
    let departure = person.press(&page, "Approve").await;
    assert_eq!(parameter(&departure.leads_to().unwrap(), "prompt").as_deref(), Some("select_account"));
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let page = person.go_on(&departure).await;
    assert!(page.url.path() == "/arrival" && page.body.contains("grace"), "{}", page.body);
    let approved = person.press(&page, "Approve").await;
    let arrived = person.go_on(&approved).await;
    let work = client.redeem(&Answer::of(&arrived, &asking)).await;

    // Both are used, by turns, and renewed, and stay what they are.
    for _ in 0..2 {
        assert_eq!(gateway.whoami(&private.access).await, "ada");
        assert_eq!(gateway.whoami(&work.access).await, "grace");
    }
    let (private, work) = (client.refresh(&private.refresh).await, client.refresh(&work.refresh).await);
    assert_eq!(gateway.whoami(&private.access).await, "ada");
    assert_eq!(gateway.whoami(&work.access).await, "grace");

    // What one account gave is taken back by that account, and the other one's goes on.
    let page = person.account(&gateway).await;
    assert!(page.body.contains("<bdi>grace</bdi>") && !page.body.contains("<bdi>ada</bdi>"), "{}", page.body);
    assert_eq!(app_names(&page), ["App"]);
    let page = person.disconnect(&page, "App").await;
    assert!(app_names(&page).is_empty());
    assert_eq!(gateway.tool(&work.access, "whoami", json!({})).await.status, 401);
    assert_eq!(gateway.whoami(&private.access).await, "ada");
    let private = client.refresh(&private.refresh).await;
    assert_eq!(gateway.whoami(&private.access).await, "ada");
}
