//! What the operator's rules ask for beyond who somebody is: their verified e-mail addresses, their organizations.
//!
//! One GET each with the person's token, and only where a rule needs it (the configuration leaves the endpoints out
//! otherwise). A definite refusal, such as a token without the scope, is no membership: the rules then do not name this
//! person. A third party that is down is an error, and the stored facts decide.
//!
//! Must never take more than [`MAX_ENTRIES`] of a list, and never an address that is not marked as verified.

use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::{
    answer::{at, subject},
    wire::{self, carry, get},
};
use crate::{
    domain::{access::Membership, provider::Provider},
    flow::ports::ThirdPartyError,
    net::client::Client,
};

/// The most entries of a list that are looked at: one page.
const MAX_ENTRIES: usize = 100;

/// Asks for everything that the rules need. `email` is the verified address of the userinfo answer, where it had one.
pub(super) async fn membership(
    client: &Client,
    provider: &Provider,
    access: &SecretString,
    email: Option<&str>,
) -> Result<Membership, ThirdPartyError> {
    let mut membership =
        Membership { emails: email.map(str::to_owned).into_iter().collect(), ..Membership::default() };
    if let Some(endpoint) = &provider.emails_endpoint {
        let listed = list(client, provider, endpoint, access).await?;
        membership.emails.extend(listed.iter().filter_map(verified_address));
    }
    if let Some(endpoint) = &provider.organizations_endpoint {
        let listed = list(client, provider, endpoint, access).await?;
        membership.organizations =
            listed.iter().filter_map(|entry| at(entry, &provider.organization).and_then(subject)).collect();
    }
    Ok(membership)
}

async fn list(
    client: &Client,
    provider: &Provider,
    endpoint: &Url,
    access: &SecretString,
) -> Result<Vec<Map<String, Value>>, ThirdPartyError> {
    let mut endpoint = endpoint.clone();
    if endpoint.query().is_none() {
        endpoint.set_query(Some("per_page=100"));
    }
    let mut request = get(&endpoint, access)?;
    carry(&provider.headers, &mut request)?;
    let answer = wire::send(client, request).await?;
    match answer.status() {
        StatusCode::OK => {
            let entries: Vec<Value> = serde_json::from_slice(answer.body())
                .map_err(|_| ThirdPartyError::Unavailable("nonsense"))?;
            let objects = entries.into_iter().take(MAX_ENTRIES).filter_map(|entry| match entry {
                Value::Object(entry) => Some(entry),
                _ => None,
            });
            Ok(objects.collect())
        }
        // The token is good, or the question before this one would have said so: it may just not see this.
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            tracing::warn!(
                provider_host = endpoint.host_str(),
                "the third party does not tell what the rules in [access] ask for: is a scope missing?"
            );
            Ok(Vec::new())
        }
        StatusCode::UNAUTHORIZED => Err(ThirdPartyError::Refused("token_refused")),
        _ => Err(ThirdPartyError::Unavailable("membership_unavailable")),
    }
}

fn verified_address(entry: &Map<String, Value>) -> Option<String> {
    let verified = entry.get("verified") == Some(&Value::Bool(true));
    entry.get("email").and_then(Value::as_str).filter(|_| verified).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        upstream::fake::{Act, Fake},
        upstream::tests::{client, forge},
    };

    async fn ask(emails: Option<Act>, organizations: Option<Act>) -> Result<Membership, ThirdPartyError> {
        let mut provider = forge("http://127.0.0.1:1");
        let mut fakes = Vec::new();
        for (act, endpoint) in
            [(emails, &mut provider.emails_endpoint), (organizations, &mut provider.organizations_endpoint)]
        {
            if let Some(act) = act {
                let fake = Fake::start(act).await;
                *endpoint = Some(Url::parse(&fake.url("/list")).unwrap());
                fakes.push(fake);
            }
        }
        membership(&client(), &provider, &SecretString::from("gho_x"), Some("ada@home.example")).await
    }

    #[tokio::test]
    async fn only_verified_addresses_and_ids_count() {
        let emails = Act::json(
            r#"[{"email":"a@x.example","verified":true},{"email":"b@x.example","verified":false},
                {"email":"c@x.example"},{"email":"d@x.example","verified":"true"},"e@x.example",null]"#,
        );
        let organizations =
            Act::json(r#"[{"id":42,"login":"corp"},{"login":"no id"},{"id":""},{"id":"o-7"}]"#);
        let found = ask(Some(emails), Some(organizations)).await.unwrap();
        assert_eq!(found.emails, ["ada@home.example", "a@x.example"]);
        assert_eq!(found.organizations, ["42", "o-7"]);
        assert_eq!(ask(None, None).await.unwrap().emails, ["ada@home.example"]);
    }

    #[tokio::test]
    async fn a_scope_that_is_missing_is_no_membership_and_an_outage_is_an_error() {
        let found = ask(None, Some(Act::answer(403, "application/json", "{}"))).await.unwrap();
        assert!(found.organizations.is_empty());
        for (status, body, error) in [
            (401, "[]", ThirdPartyError::Refused("token_refused")),
            (400, "[]", ThirdPartyError::Unavailable("membership_unavailable")),
            (500, "[]", ThirdPartyError::Unavailable("server_error")),
            (200, "{}", ThirdPartyError::Unavailable("nonsense")),
        ] {
            let act = Act::answer(status, "application/json", body);
            assert_eq!(ask(None, Some(act)).await, Err(error), "{status}");
        }
    }

    #[tokio::test]
    async fn a_list_is_bounded() {
        let many: Vec<String> = (0..150).map(|id| format!("{{\"id\":{id}}}")).collect();
        let found = ask(None, Some(Act::json(&format!("[{}]", many.join(","))))).await.unwrap();
        assert_eq!(found.organizations.len(), MAX_ENTRIES);
    }
}
