//! Scopes that a person may leave out: the form takes away and never adds, and what is left is what everything carries.

use mcp_deputy::sandbox::{browser::Page, third_party::ADA};

use crate::support::{Answer, Asking, Gateway, Setup, Visitor, client::Client, parameter};

/// Beside `read` (needed) and `repo` (needed, asked for by name) three that are optional; `all` includes `gist`.
const OPTIONAL: &str = r#"
[[mcp_server.scope]]
name = "gist"
description = "See your gists"
provider_scopes = ["gist"]
optional = true
[[mcp_server.scope]]
name = "all"
description = "See and change your gists"
provider_scopes = ["gist", "write:gist"]
optional = true
implies = ["gist"]
"#;

async fn gateway() -> Gateway {
    Setup { tables: OPTIONAL.to_owned(), ..Setup::default() }.start().await
}

/// The boxes of a page.
fn boxes(page: &Page) -> Vec<String> {
    let fields = page.forms().remove(0).fields;
    fields.into_iter().filter(|(name, _)| name == "scope").map(|(_, value)| value).collect()
}

/// Approves with exactly these boxes ticked (and whatever else is put into the form).
async fn approve(visitor: &mut Visitor, asking: &Asking, ticked: &[(&str, &str)]) -> Page {
    let page = visitor.consent_page(asking).await;
    let form = page.forms().remove(0);
    let mut fields = form.fields.clone();
    fields.retain(|(name, _)| name != "scope");
    let more = ticked.iter().chain(&[("decision", "approve")]);
    fields.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    visitor.browser.submit_once(&page, &form, fields).await.unwrap()
}

/// What the third party is asked for, and what the token then says.
async fn outcome(
    visitor: &mut Visitor,
    client: &Client,
    asking: &Asking,
    ticked: &[(&str, &str)],
) -> (String, String) {
    let departure = approve(visitor, asking, ticked).await;
    let asked = parameter(&departure.leads_to().expect("it goes on"), "scope").unwrap();
    let arrived = visitor.go_on(&departure).await;
    let tokens = client.redeem(&Answer::of(&arrived, asking)).await;
    let refreshed = client.refresh(&tokens.refresh).await;
    assert_eq!(refreshed.scope, tokens.scope, "a refresh brings nothing back");
    (asked, tokens.scope)
}

#[tokio::test]
async fn what_is_unticked_is_in_nothing_that_follows() {
    let gateway = gateway().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = || client.asks().with("scope", "read repo gist");
    let page = ada.consent_page(&asking()).await;
    assert_eq!(boxes(&page), ["gist"], "needed ones have none: {}", page.body);
    for shown in ["See who you are", "See your repositories", "See your gists", "Untick what you do not want"]
    {
        assert!(page.body.contains(shown), "{shown}");
    }
    // As it comes.
    let departure = ada.press(&page, "Approve").await;
    let asked = parameter(&departure.leads_to().unwrap(), "scope").unwrap();
    assert_eq!(asked, "gist read:user repo");
    // Unticked, and asked again: the third party never hears of it.
    let (asked, scope) = outcome(&mut ada, &client, &asking(), &[]).await;
    assert_eq!((asked.as_str(), scope.as_str()), ("read:user repo", "read repo"));
    // The record knows as much: the same request is still one for more.
    let page = ada.consent_page(&asking()).await;
    assert!(page.body.contains("asks for more than you gave it before"), "{}", page.body);
    let (asked, scope) = outcome(&mut ada, &client, &asking(), &[("scope", "gist")]).await;
    assert_eq!((asked.as_str(), scope.as_str()), ("gist read:user repo", "gist read repo"));
    assert!(!ada.consent_page(&asking()).await.body.contains("asks for more"));
    // A page without optional scopes has no boxes and needs none.
    let page = ada.consent_page(&client.asks()).await;
    assert!(boxes(&page).is_empty() && !page.body.contains("Untick"), "{}", page.body);
}

#[tokio::test]
async fn attack_form_that_ticks_more_than_the_page_had() {
    let gateway = gateway().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = || client.asks().with("scope", "read gist");
    for forged in [
        &[("scope", "repo")][..],
        &[("scope", "all"), ("scope", "repo"), ("scope", "read repo gist all")],
        &[("scope", "gist "), ("scope", "GIST"), ("provider_scopes", "repo"), ("scopes", "gist")],
    ] {
        let (asked, scope) = outcome(&mut ada, &client, &asking(), forged).await;
        assert_eq!((asked.as_str(), scope.as_str()), ("read:user", "read"), "{forged:?}");
    }
    let ticked_and_more = [("scope", "gist"), ("scope", "gist"), ("scope", "repo")];
    let (asked, scope) = outcome(&mut ada, &client, &asking(), &ticked_and_more).await;
    assert_eq!((asked.as_str(), scope.as_str()), ("gist read:user", "gist read"));
}

#[tokio::test]
async fn what_includes_something_unticked_goes_with_it() {
    let gateway = gateway().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = || client.asks().with("scope", "read gist all");
    assert_eq!(boxes(&ada.consent_page(&asking()).await), ["gist", "all"]);
    let (asked, scope) = outcome(&mut ada, &client, &asking(), &[("scope", "all")]).await;
    assert_eq!((asked.as_str(), scope.as_str()), ("read:user", "read"));
    let (asked, scope) = outcome(&mut ada, &client, &asking(), &[("scope", "gist")]).await;
    assert_eq!((asked.as_str(), scope.as_str()), ("gist read:user", "gist read"));
}

#[tokio::test]
async fn an_approval_of_nothing_is_asked_again() {
    let gateway = gateway().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks().with("scope", "gist all");
    let page = approve(&mut ada, &asking, &[]).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{}", page.body);
    assert!(page.body.contains("<code>nothing_chosen</code>"), "{}", page.body);
    assert!(page.headers.get("set-cookie").is_none());
    assert_eq!((gateway.third_party.authorize_requests(), ada.delivered().len()), (0, 0));
    let again = page.links().into_iter().find(|(_, text)| text.contains("Start again")).unwrap().0;
    let page = ada.open(&gateway.url(&again)).await;
    assert_eq!(boxes(&page), ["gist", "all"]);
    // Deny needs no box.
    let form = page.forms().remove(0);
    let mut fields = form.fields.clone();
    fields.retain(|(name, _)| name != "scope");
    fields.push(("decision".to_owned(), "deny".to_owned()));
    let denied = ada.browser.submit_once(&page, &form, fields).await.unwrap();
    assert_eq!(parameter(&denied.leads_to().unwrap(), "error").as_deref(), Some("access_denied"));
}
