//! The authorization endpoint, up to the consent page: an ordered list of checks.
//!
//! Writes nothing, contacts nobody (but the host of a metadata document that is the client id, within bounds), may be
//! repeated: two tabs, a reload and a link preview do no harm. The verified request
//! travels inside the form, sealed and bound to this browser's render cookie, with the id of the one grant that the page
//! may create. Until a person approves, every failure is a page and never a redirect: otherwise anybody who registers a
//! client makes us an open redirector (RFC 9700 section 4.11.2).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Failure, Flows,
    familiar::Facts,
    fault::Fault,
    journal::{self, Event},
    outcome::prompted,
    ports::Purpose,
    resolve::Reading,
};
use crate::domain::{
    catalog::{McpServer, ScopeDefinition},
    client::Client,
    consent::Pending,
    document::is_url_shaped,
    handle::{GrantId, Handle, Kind, is_plain},
    pkce::CodeChallenge,
    provider::Provider,
    redirect::{Destination, MatchedRedirect},
    refusal::{ErrorCode, Refusal},
    request::AuthorizationRequest,
    scope::ScopeSet,
    secret::Digest,
    showing::Showing,
    time::Timestamp,
};

/// The longest `state` of a client, in bytes.
const MAX_STATE_LENGTH: usize = 4096;
/// The record that consent forms are sealed under: they are not stored.
pub(super) const FORM: &[u8] = b"form";

/// The parameters of an authorization request, each at most once (`resource` aside), empty ones left out.
#[derive(Clone, Debug, Default)]
pub struct AuthorizeQuery {
    /// `client_id`
    pub client_id: Option<String>,
    /// `redirect_uri`
    pub redirect_uri: Option<String>,
    /// `response_type`
    pub response_type: Option<String>,
    /// `response_mode`
    pub response_mode: Option<String>,
    /// `state`
    pub state: Option<String>,
    /// `scope`
    pub scope: Option<String>,
    /// `code_challenge`
    pub code_challenge: Option<String>,
    /// `code_challenge_method`
    pub code_challenge_method: Option<String>,
    /// `resource`, as often as it was sent (RFC 8707)
    pub resource: Vec<String>,
    /// `prompt` (OpenID Connect Core 1.0 section 3.1.2.1): `select_account` lets the person choose another account. There
    /// is a page whatever it says; with any value, the full one.
    pub prompt: Option<String>,
    /// Whether `request` or `request_uri` was sent: request objects are not read here.
    pub request_object: bool,
}

/// What the consent page shows, and the form that carries the request.
#[derive(Debug)]
pub struct ConsentPage {
    /// The sealed request, for a hidden field.
    pub form: String,
    /// The verified request.
    pub request: AuthorizationRequest,
    /// Who asks.
    pub client: Client,
    /// Where the answer will go.
    pub destination: Destination,
    /// The MCP server that is meant.
    pub server: McpServer,
    /// The MCP scopes, in words.
    pub scopes: Vec<ScopeDefinition>,
    /// The third party.
    pub provider: Provider,
    /// How much of it is shown, and what is marked.
    pub showing: Showing,
    /// The scopes with a box that the person may untick.
    pub optional: ScopeSet,
    /// The same request with another account, as a path of ours; where the third party lets people choose.
    pub other_account: Option<String>,
    /// The same request on the full page, as a path of ours.
    pub everything: String,
    /// A render cookie to set, where the browser had no valid one.
    pub set_render_cookie: Option<Handle>,
    /// When the page was rendered.
    pub rendered_at: Timestamp,
}

impl Flows {
    /// Judges an authorization request and prepares the consent page, for a browser with these cookies: *render* and
    /// *session*.
    pub async fn authorize(
        self: &Arc<Self>,
        query: AuthorizeQuery,
        render_cookie: Option<String>,
        session: Option<String>,
    ) -> Result<ConsentPage, Failure> {
        self.detached(|flows| async move {
            let page = flows.authorize_here(&query, render_cookie.as_deref(), session.as_deref()).await;
            if let Err(Failure::Refused(refusal)) = &page {
                let entry = journal::note(Event::PageRefused).reason(refusal.reason);
                match query.client_id.as_deref().filter(|id| is_plain(Kind::Client, id)) {
                    Some(id) => entry.client(id).write(),
                    None => entry.write(),
                }
            }
            page
        })
        .await
    }

    /// The checks, in the order that matters: first who asks and where the answer would go, then everything else.
    async fn authorize_here(
        self: &Arc<Self>,
        query: &AuthorizeQuery,
        render_cookie: Option<&str>,
        session: Option<&str>,
    ) -> Result<ConsentPage, Failure> {
        let client = self.refuse_unknown_client(query).await?;
        let redirect = refuse_unregistered_redirect(query, &client, &self.catalog.public_url)?;
        refuse_request_objects(query)?;
        refuse_other_responses(query)?;
        let code_challenge = refuse_missing_pkce(query)?;
        refuse_endless_state(query)?;
        let meant = self.catalog.meant_by(&query.resource, self.policy.missing_resource_is_refused)?;
        let scopes = refuse_malformed_scope(query)?;
        let scopes = meant.server.meant_by(&scopes)?;

        let provider = self
            .catalog
            .provider_of(meant.server)
            .ok_or_else(|| Fault::new("find the provider of a server"))?;
        let prompt = query.prompt.as_deref().unwrap_or_default();
        let chooses_account = prompt.split(' ').any(|word| word == "select_account");
        let known = self.known_by(session, &meant.server.provider).await?;
        let always: ScopeSet = provider.scopes.iter().cloned().collect();
        let request = AuthorizationRequest {
            client_id: client.id.clone(),
            fingerprint: client.metadata.fingerprint(),
            redirect_uri: redirect.as_str().to_owned(),
            resource: meant.server.resource.clone(),
            resource_named: meant.named,
            provider_scopes: meant.server.provider_scopes(&scopes).union(&always),
            scopes,
            provider: meant.server.provider.clone(),
            state: query.state.clone(),
            code_challenge,
            // Whoever wants another account is not named: nobody knows yet who it will be.
            named: known.filter(|_| !chooses_account),
            chooses_account,
            unticked: ScopeSet::default(),
        };
        let is_plain = prompt.is_empty() && query.resource.len() == 1;
        let (server, about) = (meant.server, &client);
        let facts =
            Facts { request: &request, client: about, redirect: &redirect, server, provider, is_plain };
        let showing = self.showing(&facts).await?;
        self.render(request, client, &redirect, server.clone(), provider.clone(), showing, render_cookie)
    }

    #[expect(clippy::too_many_arguments, reason = "what the checks yielded, each once")]
    fn render(
        &self,
        request: AuthorizationRequest,
        client: Client,
        redirect: &MatchedRedirect,
        server: McpServer,
        provider: Provider,
        showing: Showing,
        render_cookie: Option<&str>,
    ) -> Result<ConsentPage, Failure> {
        let rendered_at = self.now();
        let (digest, set_render_cookie) = self.render_cookie(render_cookie)?;
        let grant = GrantId::new(self.random()?);
        // The short page has no boxes: it is for what was approved as it is.
        let optional = if showing == Showing::Short {
            ScopeSet::default()
        } else {
            server.optional_among(&request.scopes)
        };
        let pending = Pending {
            request: request.clone(),
            grant,
            rendered_at,
            render_cookie: digest,
            optional: optional.clone(),
        };
        let plain =
            serde_json::to_vec(&pending).map_err(|error| Fault::caused("render a pending request", error))?;
        let form = URL_SAFE_NO_PAD.encode(self.sealer.seal(Purpose::ConsentForm, FORM, &plain)?);
        let scopes = server.definitions(&request.scopes).cloned().collect();
        journal::note(Event::ConsentPageShown)
            .client(&client.id)
            .grant(grant)
            .scopes(&request.scopes)
            .resource(request.resource.as_str())
            .reason(showing.reason())
            .write();
        let destination = redirect.destination();
        let other_account =
            (!provider.choose_account_params.is_empty()).then(|| prompted(&request, "select_account"));
        let everything = prompted(&request, "consent");
        Ok(ConsentPage {
            form,
            request,
            client,
            destination,
            server,
            scopes,
            provider,
            showing,
            optional,
            other_account,
            everything,
            set_render_cookie,
            rendered_at,
        })
    }

    /// The digest of this browser's render cookie, and a new one to set where it has no valid one. A valid one is kept, so
    /// that a second tab does not make the first one worthless.
    pub(super) fn render_cookie(&self, known: Option<&str>) -> Result<(Digest, Option<Handle>), Fault> {
        if let Some(cookie) = known.filter(|cookie| is_plain(Kind::Cookie, cookie)) {
            return Ok((Digest::of(cookie), None));
        }
        let cookie = Handle::plain(Kind::Cookie, self.random()?);
        Ok((cookie.digest(), Some(cookie)))
    }

    async fn refuse_unknown_client(self: &Arc<Self>, query: &AuthorizeQuery) -> Result<Client, Failure> {
        const UNKNOWN: Refusal =
            Refusal::new(ErrorCode::InvalidClient, "client_unknown", "This app is not registered here.");
        let id = query.client_id.as_deref().ok_or(missing("client_id_missing", "client_id is needed."))?;
        if is_url_shaped(id) {
            return self.document_client(id, Reading::ForPage).await;
        }
        if !self.could_be_ours(id) {
            return Err(UNKNOWN.into());
        }
        let client = self.records.load::<Client>(id.as_bytes()).await?.ok_or(UNKNOWN)?.record;
        if self.is_usable(&client) { Ok(client) } else { Err(UNKNOWN.into()) }
    }
}

fn refuse_unregistered_redirect(
    query: &AuthorizeQuery,
    client: &Client,
    own_origin: &str,
) -> Result<MatchedRedirect, Refusal> {
    let uri =
        query.redirect_uri.as_deref().ok_or(missing("redirect_uri_missing", "redirect_uri is needed."))?;
    client.metadata.redirect_uris.matching(uri, own_origin).ok_or(Refusal::new(
        ErrorCode::InvalidRequest,
        "redirect_uri_unregistered",
        "This redirect_uri is not registered for this app.",
    ))
}

fn refuse_request_objects(query: &AuthorizeQuery) -> Result<(), Refusal> {
    if query.request_object {
        return Err(Refusal::new(
            ErrorCode::RequestNotSupported,
            "request_object",
            "Request objects are not supported.",
        ));
    }
    Ok(())
}

fn refuse_other_responses(query: &AuthorizeQuery) -> Result<(), Refusal> {
    match query.response_type.as_deref() {
        None => return Err(missing("response_type_missing", "response_type is needed.")),
        Some("code") => {}
        Some(_) => {
            return Err(Refusal::new(
                ErrorCode::UnsupportedResponseType,
                "response_type_unsupported",
                "response_type must be code.",
            ));
        }
    }
    if query.response_mode.as_deref().is_some_and(|mode| mode != "query") {
        return Err(missing("response_mode_unsupported", "response_mode must be query."));
    }
    Ok(())
}

fn refuse_missing_pkce(query: &AuthorizeQuery) -> Result<CodeChallenge, Refusal> {
    // Without a method the challenge would be `plain` (RFC 7636 section 4.3), which protects nobody.
    if query.code_challenge.is_none() {
        return Err(missing("pkce_missing", "code_challenge is needed."));
    }
    if query.code_challenge_method.as_deref() != Some("S256") {
        return Err(missing("pkce_method", "code_challenge_method must be S256."));
    }
    let challenge = query.code_challenge.as_deref().and_then(CodeChallenge::parse);
    challenge.ok_or(missing("pkce_malformed", "code_challenge must be the S256 challenge of a verifier."))
}

fn refuse_endless_state(query: &AuthorizeQuery) -> Result<(), Refusal> {
    if query.state.as_ref().is_some_and(|state| state.len() > MAX_STATE_LENGTH) {
        return Err(missing("state_too_long", "state must be at most 4096 bytes."));
    }
    Ok(())
}

fn refuse_malformed_scope(query: &AuthorizeQuery) -> Result<ScopeSet, Refusal> {
    ScopeSet::parse(query.scope.as_deref().unwrap_or_default()).ok_or(Refusal::new(
        ErrorCode::InvalidScope,
        "scope_malformed",
        "scope is malformed.",
    ))
}

const fn missing(reason: &'static str, text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, reason, text)
}
