//! Giving a third-party token back, where the third party has a way to do that.
//!
//! Done means: the token is dead, also when it was dead before. Ends one token, never a person's whole approval of our
//! static client. Used by `provider` only.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::{Url, form_urlencoded};

use super::{
    quirks::{CLIENT_CREDENTIALS_REFUSED, error_in, meaning},
    wire,
};
use crate::{
    domain::provider::{Provider, Revocation, TokenAuthMethod, TokenRequest},
    flow::ports::ThirdPartyError,
    net::client::Client,
};

const UNUSABLE: ThirdPartyError = ThirdPartyError::Unavailable("endpoint_unusable");

/// Revokes this one token.
pub(super) async fn revoke(
    client: &Client,
    provider: &Provider,
    token: &SecretString,
) -> Result<(), ThirdPartyError> {
    match &provider.revocation {
        Revocation::GithubApplication(api) => {
            let mut request = github_request(provider, api, token)?;
            wire::carry(&provider.headers, &mut request)?;
            let answer = wire::send(client, request).await?;
            match answer.status() {
                // 404 and 422: it knows no such token of ours (any more).
                StatusCode::NO_CONTENT | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Ok(()),
                StatusCode::UNAUTHORIZED => Err(ThirdPartyError::Unavailable(CLIENT_CREDENTIALS_REFUSED)),
                _ => Err(ThirdPartyError::Unavailable("revocation_unavailable")),
            }
        }
        Revocation::None => Ok(()),
        Revocation::Rfc7009(endpoint) => {
            let mut request = rfc7009_request(provider, endpoint, token)?;
            if provider.token_request == TokenRequest::Json {
                wire::form_as_json(&mut request);
            }
            wire::carry(&provider.headers, &mut request)?;
            let answer = wire::send(client, request).await?;
            match (answer.status(), error_in(answer.body()).as_deref()) {
                // RFC 7009 section 2.2 has 200 for dead tokens too, but some third parties answer with an error.
                (_, Some("invalid_auth" | "invalid_grant" | "invalid_token" | "token_revoked")) => Ok(()),
                (_, Some("unsupported_token_type")) => {
                    Err(ThirdPartyError::Refused("unsupported_token_type"))
                }
                (_, Some(code)) => Err(meaning(code)),
                (status, None) if status.is_success() => Ok(()),
                (StatusCode::UNAUTHORIZED, None) => {
                    Err(ThirdPartyError::Unavailable(CLIENT_CREDENTIALS_REFUSED))
                }
                _ => Err(ThirdPartyError::Unavailable("revocation_unavailable")),
            }
        }
    }
}

/// `DELETE <api>/applications/<client_id>/token`, authenticated as the application.
fn github_request(
    provider: &Provider,
    api: &Url,
    token: &SecretString,
) -> Result<Request<Vec<u8>>, ThirdPartyError> {
    let mut url = api.clone();
    let mut path = url.path_segments_mut().map_err(|()| UNUSABLE)?;
    path.pop_if_empty().extend(["applications", &provider.client_id, "token"]);
    drop(path);
    let body = json!({ "access_token": token.expose_secret() }).to_string();
    Request::builder()
        .method(Method::DELETE)
        .uri(url.as_str())
        .header(AUTHORIZATION, basic(&provider.client_id, secret(provider)))
        .header(CONTENT_TYPE, "application/json")
        .body(body.into_bytes())
        .map_err(|_| UNUSABLE)
}

/// RFC 7009 section 2.1. No `token_type_hint`: it is optional, and the port does not tell which kind the token is.
fn rfc7009_request(
    provider: &Provider,
    endpoint: &Url,
    token: &SecretString,
) -> Result<Request<Vec<u8>>, ThirdPartyError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token.expose_secret());
    let mut request = Request::post(endpoint.as_str());
    match (provider.token_auth_method, &provider.client_secret) {
        (TokenAuthMethod::Basic, Some(_)) => {
            // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let credential = basic(&encoded(&provider.client_id), &encoded(secret(provider)));
            request = request.header(AUTHORIZATION, credential);
        }
        (TokenAuthMethod::Post, Some(_)) => {
            form.append_pair("client_id", &provider.client_id).append_pair("client_secret", secret(provider));
        }
        (_, None) => {
            form.append_pair("client_id", &provider.client_id);
        }
    }
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(form.finish().into_bytes()).map_err(|_| UNUSABLE)
}

fn secret(provider: &Provider) -> &str {
    provider.client_secret.as_ref().map_or("", |secret| secret.expose_secret())
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        upstream::fake::{Act, Fake},
        upstream::tests::{client, forge},
    };

    async fn revoked(act: Act, github: bool) -> (Result<(), ThirdPartyError>, Fake) {
        let server = Fake::start(act).await;
        let mut provider = forge(&server.url(""));
        provider.revocation = if github {
            Revocation::GithubApplication(Url::parse(&server.url("/api/v3/")).unwrap())
        } else {
            Revocation::Rfc7009(Url::parse(&server.url("/revoke")).unwrap())
        };
        (revoke(&client(), &provider, &"gho_token".into()).await, server)
    }

    #[tokio::test]
    async fn github_is_asked_to_delete_the_token_of_this_application() {
        let (done, server) = revoked(Act::answer(204, "text/plain", ""), true).await;
        assert_eq!(done, Ok(()));
        let seen = server.only();
        assert!(
            seen.head.starts_with("DELETE /api/v3/applications/static-client/token HTTP/1.1"),
            "{}",
            seen.head
        );
        // static-client:s3cret+/%
        assert_eq!(seen.header("authorization"), Some("Basic c3RhdGljLWNsaWVudDpzM2NyZXQrLyU="));
        assert_eq!(seen.header("user-agent"), Some("mcp-deputy"));
        assert_eq!(seen.body, r#"{"access_token":"gho_token"}"#);
    }

    #[tokio::test]
    async fn github_answers_are_judged() {
        for status in [404, 422] {
            assert_eq!(revoked(Act::answer(status, "application/json", "{}"), true).await.0, Ok(()));
        }
        for (status, reason) in [
            (200, "revocation_unavailable"),
            (307, "redirected"),
            (401, CLIENT_CREDENTIALS_REFUSED),
            (502, "server_error"),
        ] {
            let (refused, _) = revoked(Act::answer(status, "application/json", "{}"), true).await;
            assert_eq!(refused, Err(ThirdPartyError::Unavailable(reason)), "{status}");
        }
    }

    #[tokio::test]
    async fn rfc7009_is_spoken_with_our_client_authentication() {
        let (done, server) = revoked(Act::answer(200, "text/plain", ""), false).await;
        assert_eq!(done, Ok(()));
        let seen = server.only();
        assert!(seen.head.starts_with("POST /revoke HTTP/1.1"));
        // static-client:s3cret%2B%2F%25
        assert_eq!(seen.header("authorization"), Some("Basic c3RhdGljLWNsaWVudDpzM2NyZXQlMkIlMkYlMjU="));
        assert_eq!(seen.body, "token=gho_token");

        let mut provider = forge("http://127.0.0.1:1");
        provider.token_auth_method = TokenAuthMethod::Post;
        let url = Url::parse("http://127.0.0.1:1/revoke").unwrap();
        let request = rfc7009_request(&provider, &url, &"t".into()).unwrap();
        assert_eq!(request.body(), b"token=t&client_id=static-client&client_secret=s3cret%2B%2F%25");
        assert!(!request.headers().contains_key(AUTHORIZATION));
    }

    #[tokio::test]
    async fn rfc7009_answers_are_judged() {
        let judged =
            async |status, body| revoked(Act::answer(status, "application/json", body), false).await.0;
        assert_eq!(judged(400, r#"{"error":"invalid_token"}"#).await, Ok(()));
        assert_eq!(
            judged(400, r#"{"error":"unsupported_token_type"}"#).await,
            Err(ThirdPartyError::Refused("unsupported_token_type"))
        );
        for (status, body, reason) in [
            (401, r#"{"error":"invalid_client"}"#, CLIENT_CREDENTIALS_REFUSED),
            (401, "", CLIENT_CREDENTIALS_REFUSED),
            (503, "", "server_error"),
            (404, "", "revocation_unavailable"),
        ] {
            assert_eq!(
                judged(status, body).await,
                Err(ThirdPartyError::Unavailable(reason)),
                "{status} {body}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_way_to_revoke_there_is_nothing_to_do() {
        let mut provider = forge("http://127.0.0.1:1");
        provider.revocation = Revocation::None;
        assert_eq!(revoke(&client(), &provider, &"t".into()).await, Ok(()));
    }
}
