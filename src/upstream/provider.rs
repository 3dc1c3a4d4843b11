//! One configured third party, over the `oauth2` crate. The only file that knows that crate.
//!
//! Owns the authorization URL, the code exchange and the refresh, as ONE static client with ONE callback URL. The crate
//! builds the requests and reads the answers; transport, quirks and the meaning of errors are ours.
//!
//! The crate's errors carry whole answers, tokens included: they end in `reason` below, are never printed, and nothing
//! of them is kept. Must never send our MCP `resource` to the third party (some refuse it, and it means nothing there),
//! nor a client's PKCE challenge. Made by [`super::third_parties`].

use std::{borrow::Cow, fmt, sync::Arc};

use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicRequestTokenError, BasicTokenResponse},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::{
    ThirdPartyTally,
    identify::identify,
    quirks::{self, CLIENT_CREDENTIALS_REFUSED},
    revoke::revoke,
    wire,
};
use crate::{
    domain::{
        provider::{Provider, TokenAuthMethod, TokenRequest, UNDISCOVERED},
        scope::ScopeSet,
        time::Timestamp,
    },
    flow::{
        fault::Fault,
        ports::{BoxFuture, Clock, Departure, Identity, ThirdParty, ThirdPartyError, ThirdPartyTokens},
    },
    net::client::Client,
};

/// Our static client at one third party.
pub struct ConfiguredProvider {
    provider: Provider,
    oauth: BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>,
    transport: Transport,
    clock: Arc<dyn Clock>,
    tally: Arc<ThirdPartyTally>,
}

/// The crate's way out: our client, with the quirks set right on the way back.
struct Transport {
    client: Client,
    granted_scope_separators: Vec<char>,
    token_request: TokenRequest,
    token_answer: Vec<String>,
    headers: Vec<(String, String)>,
}

impl<'c> AsyncHttpClient<'c> for Transport {
    type Error = ThirdPartyError;
    type Future = BoxFuture<'c, Result<HttpResponse, ThirdPartyError>>;

    fn call(&'c self, mut request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut form = url::form_urlencoded::parse(request.body());
            let is_refresh = form.any(|(name, value)| name == "grant_type" && value == "refresh_token");
            if self.token_request == TokenRequest::Json {
                wire::form_as_json(&mut request);
            }
            wire::carry(&self.headers, &mut request)?;
            let answer = wire::send(&self.client, request).await?;
            quirks::normalise(&answer, &self.granted_scope_separators, &self.token_answer, is_refresh)
        })
    }
}

/// Parameters of the authorization request that are ours to set: a configured one of the same name is left out, since a
/// repeated parameter makes the request invalid (RFC 6749 section 3.1) and a foreign value would break the journey.
const OURS: [&str; 8] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

impl ConfiguredProvider {
    /// The client that `provider` describes. `callback_url` is registered at the third party, byte for byte.
    pub fn new(
        provider: Provider,
        callback_url: String,
        client: Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let endpoints =
            [&provider.authorization_endpoint, &provider.token_endpoint, &provider.userinfo_endpoint];
        if endpoints.iter().any(|endpoint| endpoint.as_str() == UNDISCOVERED) {
            return Err(Fault::new("use a provider whose issuer was not asked for its endpoints"));
        }
        let callback = RedirectUrl::new(callback_url)
            .map_err(|error| Fault::caused("read the callback URL of a provider", error))?;
        let mut oauth = BasicClient::new(ClientId::new(provider.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(provider.authorization_endpoint.clone()))
            .set_token_uri(TokenUrl::from_url(provider.token_endpoint.clone()))
            .set_redirect_uri(callback)
            .set_auth_type(match provider.token_auth_method {
                TokenAuthMethod::Basic => AuthType::BasicAuth,
                TokenAuthMethod::Post => AuthType::RequestBody,
            });
        if let Some(secret) = &provider.client_secret {
            oauth = oauth.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        }
        let transport = Transport {
            client,
            granted_scope_separators: provider.granted_scope_separators.clone(),
            token_request: provider.token_request,
            token_answer: provider.token_answer.clone(),
            headers: provider.headers.clone(),
        };
        Ok(Self { provider, oauth, transport, clock, tally: Arc::default() })
    }

    /// The same; how its calls go is counted there.
    #[must_use]
    pub fn counted(self, tally: Arc<ThirdPartyTally>) -> Self {
        tally.expect(&self.provider.name);
        Self { tally, ..self }
    }

    async fn exchange(
        &self,
        code: SecretString,
        verifier: SecretString,
    ) -> Result<ThirdPartyTokens, ThirdPartyError> {
        let asked_at = self.clock.now();
        let mut request = self.oauth.exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()));
        if self.provider.pkce {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
        }
        let answer = request.request_async(&self.transport).await;
        answer.map(|answer| tokens(&answer, asked_at)).map_err(reason)
    }

    async fn renew(&self, refresh: SecretString) -> Result<ThirdPartyTokens, ThirdPartyError> {
        let asked_at = self.clock.now();
        let refresh = RefreshToken::new(refresh.expose_secret().to_owned());
        let request = self.oauth.exchange_refresh_token(&refresh);
        let answer = request.request_async(&self.transport).await;
        answer.map(|answer| tokens(&answer, asked_at)).map_err(reason)
    }

    /// The configured parameters, ours left out. Where the person wants to choose an account, those with which the third
    /// party lets them do so take the place of others of the same name.
    fn params(&self, chooses_account: bool) -> Vec<(&str, &str)> {
        let choosing: &[_] = if chooses_account { &self.provider.choose_account_params } else { &[] };
        let replaced = |name: &str| choosing.iter().any(|(other, _)| other == name);
        let always = self.provider.authorize_params.iter().filter(|(name, _)| !replaced(name));
        let all = always.chain(choosing).map(|(name, value)| (&**name, &**value));
        all.filter(|(name, _)| !OURS.contains(name) && *name != self.provider.scope_parameter).collect()
    }

    /// The configured `prompt`, with `consent` added where a fresh consent is wanted (OpenID Connect Core 1.0 section
    /// 3.1.2.1: a list; `none` stands alone).
    fn prompt<'a>(params: &[(&str, &'a str)], fresh_consent: bool) -> Option<Cow<'a, str>> {
        let configured = params.iter().find(|(name, _)| *name == "prompt").map(|(_, value)| *value);
        match configured.filter(|prompt| !prompt.is_empty()) {
            Some(prompt) if !fresh_consent => Some(prompt.into()),
            Some(prompt) if prompt.split(' ').any(|word| word == "consent") => Some(prompt.into()),
            Some("none") => Some("consent".into()),
            Some(prompt) => Some(format!("{prompt} consent").into()),
            None => fresh_consent.then_some("consent".into()),
        }
    }

    /// Puts the result of a step into the log: the slug, never more. And counts it.
    async fn noted<T>(
        &self,
        step: &'static str,
        call: impl Future<Output = Result<T, ThirdPartyError>>,
    ) -> Result<T, ThirdPartyError> {
        let provider = self.provider.name.as_str();
        let begun = Instant::now();
        let result = call.await;
        self.tally.note(provider, step, begun.elapsed(), &result);
        match &result {
            Ok(_) => tracing::debug!(provider, step, "the third party answered"),
            Err(ThirdPartyError::Refused(reason)) => {
                tracing::info!(provider, step, reason, "the third party refused");
            }
            Err(ThirdPartyError::Unavailable(reason)) if *reason == CLIENT_CREDENTIALS_REFUSED => {
                tracing::error!(
                    provider,
                    step,
                    reason,
                    "the third party does not accept our client_id and client_secret: nobody can sign in and \
                     nothing is refreshed until the configuration of this provider is corrected"
                );
            }
            Err(ThirdPartyError::Unavailable(reason)) => {
                tracing::warn!(provider, step, reason, "the third party is unavailable");
            }
        }
        result
    }
}

impl fmt::Debug for ConfiguredProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredProvider").field("name", &self.provider.name).finish_non_exhaustive()
    }
}

impl ThirdParty for ConfiguredProvider {
    fn departure(&self, departure: &Departure<'_>) -> String {
        let state = departure.state().to_owned();
        let mut request = self.oauth.authorize_url(|| CsrfToken::new(state));
        let scopes: Vec<&str> = departure.scopes().iter().collect();
        // As one value, because the crate always joins with a space.
        let joined = scopes.join(&self.provider.scope_separator);
        match self.provider.scope_parameter.as_str() {
            _ if scopes.is_empty() => {}
            "scope" => request = request.add_scope(Scope::new(joined)),
            other => request = request.add_extra_param(other, joined),
        }
        if self.provider.pkce {
            // As plain parameters, because the crate takes only challenges that it made itself.
            request = request
                .add_extra_param("code_challenge", departure.code_challenge())
                .add_extra_param("code_challenge_method", "S256");
        }
        let configured = self.params(departure.chooses_account());
        for (name, value) in configured.iter().copied().filter(|(name, _)| *name != "prompt") {
            request = request.add_extra_param(name, value);
        }
        if let Some(prompt) = Self::prompt(&configured, departure.fresh_consent()) {
            request = request.add_extra_param("prompt", prompt);
        }
        request.url().0.into()
    }

    fn redeem(
        &self,
        code: SecretString,
        verifier: SecretString,
    ) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        Box::pin(async move { self.noted("redeem", self.exchange(code, verifier)).await })
    }

    fn refresh(&self, refresh: SecretString) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        Box::pin(async move { self.noted("refresh", self.renew(refresh)).await })
    }

    fn identify(&self, access: &SecretString) -> BoxFuture<'_, Result<Identity, ThirdPartyError>> {
        let access = access.clone();
        Box::pin(async move {
            self.noted("identify", identify(&self.transport.client, &self.provider, &access)).await
        })
    }

    fn revoke(&self, token: SecretString) -> BoxFuture<'_, Result<(), ThirdPartyError>> {
        Box::pin(
            async move { self.noted("revoke", revoke(&self.transport.client, &self.provider, &token)).await },
        )
    }
}

fn tokens(answer: &BasicTokenResponse, asked_at: Timestamp) -> ThirdPartyTokens {
    let scopes = answer.scopes().map(|scopes| {
        scopes.iter().map(|scope| scope.as_str()).filter(|scope| !scope.is_empty()).collect::<ScopeSet>()
    });
    ThirdPartyTokens {
        access: answer.access_token().secret().as_str().into(),
        refresh: answer.refresh_token().map(|refresh| refresh.secret().as_str().into()),
        // From the moment of asking: rather a little too early than too late.
        expires_at: answer.expires_in().map(|lifetime| asked_at.after(lifetime)),
        scopes,
    }
}

fn reason(error: BasicRequestTokenError<ThirdPartyError>) -> ThirdPartyError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(refusal) => quirks::meaning(refusal.error().as_ref()),
        // These hold the answer, or words about it.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            ThirdPartyError::Unavailable("nonsense")
        }
    }
}
