//! Consent: the page that was shown, the approval, and what is remembered of it.
//!
//! [`ConsentProof`] says that the person who holds this browser approved this client, this redirect URI, this MCP server
//! and these scopes. Leaving for the third party takes one, and so does making a code. There are three ways to get one,
//! each through a cookie that must match: [`Pending::approve`] (the form), [`super::ticket::TakenTicket::prove`] (back
//! from the third party) and [`super::arrival::TakenArrival::prove`] (the second page). It cannot be cloned, stored or
//! read from anything.
//!
//! Without a cookie and a same-origin POST there is no proof; this does not compile:
//!
//! ```compile_fail
//! use mcp_deputy::domain::{consent::ConsentProof, request::AuthorizationRequest};
//! fn skip_the_page(request: AuthorizationRequest) -> ConsentProof {
//!     ConsentProof { request, grant: unimplemented!(), approved_at: unimplemented!(), page_expires_at: unimplemented!() }
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::consent::ConsentProof;
//! fn twice(proof: ConsentProof) -> (ConsentProof, ConsentProof) {
//!     (proof.clone(), proof)
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::consent::ConsentProof;
//! fn out_of_the_store(bytes: &[u8]) -> ConsentProof {
//!     serde_json::from_slice(bytes).unwrap()
//! }
//! ```
//!
//! The twin of the last one compiles: what *can* be read is the pending request, which proves nothing by itself.
//!
//! ```
//! use mcp_deputy::domain::consent::Pending;
//! fn out_of_the_form(bytes: &[u8]) -> Option<Pending> {
//!     serde_json::from_slice(bytes).ok()
//! }
//! ```
//!
//! And so does the twin of the first two: with a cookie and a judged POST, a pending request becomes a proof.
//!
//! ```
//! use mcp_deputy::domain::{consent::{ConsentProof, Pending}, post::SameOriginPost, refusal::Refusal, time::Timestamp};
//! fn the_only_way(pending: Pending, cookie: &str, post: &SameOriginPost, now: Timestamp) -> Result<ConsentProof, Refusal> {
//!     pending.approve(Some(cookie), post, now)
//! }
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    catalog::McpServer,
    handle::GrantId,
    post::SameOriginPost,
    provider::Provider,
    refusal::{ErrorCode, Refusal},
    request::AuthorizationRequest,
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// How long a page can be answered.
pub const PAGE_TTL: Duration = Duration::from_mins(30);

/// A page that was rendered and not answered yet. Travels sealed inside the form; nothing of it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Pending {
    /// What was asked for.
    pub request: AuthorizationRequest,
    /// The one grant that this page may create.
    pub grant: GrantId,
    /// When it was rendered.
    pub rendered_at: Timestamp,
    /// The digest of the render cookie of the browser that was shown it.
    pub render_cookie: Digest,
    /// The scopes with a box that the person may untick. Nothing else of the request depends on the form.
    #[serde(default)]
    pub optional: ScopeSet,
}

impl Pending {
    /// When the page can no longer be answered.
    pub fn expires_at(&self) -> Timestamp {
        self.rendered_at.after(PAGE_TTL)
    }

    /// Whether this answer may be heard at all: in time, and from the browser that was shown the page.
    pub fn check(
        &self,
        render_cookie: Option<&str>,
        _: &SameOriginPost,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        check_cookie(&self.render_cookie, render_cookie, self.expires_at(), now)
    }

    /// The page without the scopes whose box the person unticked, and those scopes. The form can only take away: what it
    /// ticks counts where this page had a box, and what the rest needs is looked up anew.
    pub fn ticked(
        self,
        ticked: &ScopeSet,
        server: &McpServer,
        provider: &Provider,
    ) -> Result<(Self, ScopeSet), Refusal> {
        let unticked = self.optional.minus(ticked);
        if unticked.is_empty() {
            return Ok((self, unticked));
        }
        let scopes = server.without(&self.request.scopes, &unticked);
        if scopes.is_empty() {
            return Err(NOTHING_CHOSEN);
        }
        let always: ScopeSet = provider.scopes.iter().cloned().collect();
        let provider_scopes = server.provider_scopes(&scopes).union(&always);
        if !provider_scopes.is_subset(&self.request.provider_scopes) {
            // The configuration changed since the page was shown: it did not show all of this.
            return Err(PAGE_EXPIRED);
        }
        let left_out = self.request.scopes.minus(&scopes);
        let unticked = left_out.clone();
        let request = AuthorizationRequest { scopes, provider_scopes, unticked, ..self.request };
        Ok((Self { request, ..self }, left_out))
    }

    /// The person pressed Approve.
    pub fn approve(
        self,
        render_cookie: Option<&str>,
        post: &SameOriginPost,
        now: Timestamp,
    ) -> Result<ConsentProof, Refusal> {
        self.check(render_cookie, post, now)?;
        let page_expires_at = self.expires_at();
        Ok(ConsentProof { request: self.request, grant: self.grant, approved_at: now, page_expires_at })
    }
}

/// A page was answered without the cookie that it came with.
pub const COOKIE_MISSING: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "cookie_missing", "The cookie of this page is missing.");
/// A page was answered with another browser's cookie.
pub const COOKIE_WRONG: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "cookie_wrong", "The cookie of this page is missing.");
/// A page was answered too late.
pub const PAGE_EXPIRED: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "page_expired", "This page has expired.");

/// Every box on a page was unticked.
pub const NOTHING_CHOSEN: Refusal =
    Refusal::new(ErrorCode::InvalidScope, "nothing_chosen", "Nothing was left to approve.");

/// Whether this browser holds the cookie that belongs to a page, a ticket or an arrival, and is in time.
pub(in crate::domain) fn check_cookie(
    known: &Digest,
    presented: Option<&str>,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), Refusal> {
    let cookie = presented.ok_or(COOKIE_MISSING)?;
    if !known.matches(cookie) {
        return Err(COOKIE_WRONG);
    }
    if expires_at.has_passed(now) {
        return Err(PAGE_EXPIRED);
    }
    Ok(())
}

/// The person who holds this browser approved this, here. See the module documentation.
#[derive(Debug)]
pub struct ConsentProof {
    request: AuthorizationRequest,
    grant: GrantId,
    approved_at: Timestamp,
    page_expires_at: Timestamp,
}

impl ConsentProof {
    /// For the two other ways to a proof, which check a cookie of their own. Visible to the domain only.
    pub(in crate::domain) fn rebuilt(
        request: AuthorizationRequest,
        grant: GrantId,
        approved_at: Timestamp,
        page_expires_at: Timestamp,
    ) -> Self {
        Self { request, grant, approved_at, page_expires_at }
    }

    /// What was approved.
    pub fn request(&self) -> &AuthorizationRequest {
        &self.request
    }

    /// The one grant that this approval may create.
    pub fn grant(&self) -> GrantId {
        self.grant
    }

    /// When the person approved. Whatever was revoked at or after this moment is not approved.
    pub fn approved_at(&self) -> Timestamp {
        self.approved_at
    }

    /// Until when the page could be answered: the grant's id is remembered past that.
    pub fn page_expires_at(&self) -> Timestamp {
        self.page_expires_at
    }
}

/// What a person approved for a client, kept for display, revocation, and for what the next page looks like
/// ([`super::showing`]). Never a permission by itself: every authorization asks again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Consent {
    /// Whose.
    pub subject: String,
    /// For which client.
    pub client_id: String,
    /// For which redirect URI (without the port, on loopback).
    pub redirect_uri: String,
    /// For which MCP server.
    pub resource: Resource,
    /// The MCP scopes.
    pub scopes: ScopeSet,
    /// The third-party scopes.
    pub provider_scopes: ScopeSet,
    /// What the client's metadata looked like.
    pub fingerprint: Digest,
    /// When it was last approved.
    pub granted_at: Timestamp,
    /// When it was last revoked. A new approval never removes this.
    pub revoked_at: Option<Timestamp>,
}

impl Consent {
    /// The part of the key behind the subject: which client, where its answers go, at which MCP server.
    pub fn key_part(client_id: &str, redirect_uri: &str, resource: &Resource) -> Digest {
        Digest::of_list(&[client_id.as_bytes(), redirect_uri.as_bytes(), resource.as_str().as_bytes()])
    }

    /// A record of a person's that holds nothing but the mark of a revocation, where no approval has written one yet: a
    /// callback that is under way is about to. Whatever is approved later replaces everything but the mark.
    pub fn only_revoked(subject: String, at: Timestamp) -> Self {
        Self {
            subject,
            client_id: String::new(),
            redirect_uri: String::new(),
            resource: Resource::at("", ""),
            scopes: ScopeSet::default(),
            provider_scopes: ScopeSet::default(),
            fingerprint: Digest::of([]),
            granted_at: Timestamp::default(),
            revoked_at: Some(at),
        }
    }

    /// Whether it counts: approved after it was last revoked.
    pub fn is_in_force(&self) -> bool {
        self.revoked_at.is_none_or(|revoked| revoked < self.granted_at)
    }

    /// Whether something that was approved at `approved_at` survives the last revocation.
    pub fn honours(&self, approved_at: Timestamp) -> bool {
        self.revoked_at.is_none_or(|revoked| revoked < approved_at)
    }

    /// The record without what the person has just taken out on a page, and without everything that would bring it back. Which
    /// third-party scopes the rest was approved with is not known apart, so the next page marks those that a new approval
    /// does not name.
    #[must_use]
    pub fn without(&self, unticked: &ScopeSet, server: &McpServer) -> Self {
        if unticked.is_empty() {
            return self.clone();
        }
        let scopes = server.without(&self.scopes, unticked);
        Self { scopes, provider_scopes: ScopeSet::default(), ..self.clone() }
    }

    /// The record after a new approval: scopes are added to what is in force. They replace what was revoked, and what was
    /// approved when the client was another (its metadata had another fingerprint): that was never said of this one.
    #[must_use]
    pub fn approved_again(&self, newer: Self) -> Self {
        let (scopes, provider_scopes) = if self.is_in_force() && self.fingerprint == newer.fingerprint {
            (self.scopes.union(&newer.scopes), self.provider_scopes.union(&newer.provider_scopes))
        } else {
            (newer.scopes, newer.provider_scopes)
        };
        Self {
            scopes,
            provider_scopes,
            fingerprint: newer.fingerprint,
            granted_at: self.granted_at.max(newer.granted_at),
            revoked_at: self.revoked_at,
            ..newer
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::pkce::CodeChallenge;

    pub(crate) fn request() -> AuthorizationRequest {
        AuthorizationRequest {
            client_id: "c".to_owned(),
            fingerprint: Digest::of("f"),
            redirect_uri: "https://app.example/cb".to_owned(),
            resource: Resource::at("https://mcp.example.com", "/mcp"),
            resource_named: true,
            scopes: ScopeSet::from_iter(["mcp"]),
            provider: "github".to_owned(),
            provider_scopes: ScopeSet::from_iter(["read:user"]),
            state: None,
            code_challenge: CodeChallenge::of(&"v".repeat(43)),
            named: None,
            chooses_account: false,
            unticked: ScopeSet::default(),
        }
    }

    fn pending() -> Pending {
        Pending {
            request: request(),
            grant: GrantId::new([1; 16]),
            rendered_at: Timestamp::from_millis(1000),
            render_cookie: Digest::of("cookie"),
            optional: ScopeSet::default(),
        }
    }

    #[test]
    fn only_the_browser_that_was_shown_the_page_approves_and_only_in_time() {
        let post = SameOriginPost::judge(Some("same-origin"), None, "https://mcp.example.com").unwrap();
        let now = Timestamp::from_millis(2000);
        let proof = pending().approve(Some("cookie"), &post, now).unwrap();
        assert_eq!(proof.approved_at(), now);
        assert_eq!(pending().approve(None, &post, now).unwrap_err().reason, "cookie_missing");
        assert_eq!(pending().approve(Some("other"), &post, now).unwrap_err().reason, "cookie_wrong");
        let late = pending().expires_at();
        assert_eq!(pending().approve(Some("cookie"), &post, late).unwrap_err().reason, "page_expired");
    }

    fn consent(scopes: &[&str], granted: u64, revoked: Option<u64>) -> Consent {
        Consent {
            subject: "s".to_owned(),
            client_id: "c".to_owned(),
            redirect_uri: "https://app.example/cb".to_owned(),
            resource: request().resource,
            scopes: scopes.iter().copied().collect(),
            provider_scopes: ScopeSet::default(),
            fingerprint: Digest::of("f"),
            granted_at: Timestamp::from_millis(granted),
            revoked_at: revoked.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn a_new_approval_adds_to_what_is_in_force_and_replaces_what_was_revoked() {
        let added = consent(&["a"], 10, Some(5)).approved_again(consent(&["b"], 20, None));
        assert_eq!(added.scopes.to_string(), "a b");
        assert_eq!(added.revoked_at, Some(Timestamp::from_millis(5)));
        let replaced = consent(&["a"], 10, Some(15)).approved_again(consent(&["b"], 20, None));
        assert_eq!(replaced.scopes.to_string(), "b");
        assert!(replaced.is_in_force());
        let early = Consent::only_revoked("s".to_owned(), Timestamp::from_millis(15));
        assert!(!early.is_in_force());
        let approved = early.approved_again(consent(&["b"], 20, None));
        assert_eq!(approved, Consent { revoked_at: early.revoked_at, ..consent(&["b"], 20, None) });
        let changed = Consent { fingerprint: Digest::of("another"), ..consent(&["b"], 20, None) };
        let changed = consent(&["a"], 10, None).approved_again(changed);
        assert_eq!(changed.scopes.to_string(), "b", "a changed client does not inherit what was approved");
        let too_late = consent(&["a"], 10, Some(25)).approved_again(consent(&["b"], 20, None));
        assert!(!too_late.is_in_force() && !too_late.honours(Timestamp::from_millis(20)));
    }

    #[test]
    fn a_form_takes_away_and_never_adds() {
        use crate::domain::{catalog::ScopeDefinition, provider::tests::provider};
        let scope = |name: &str, provider_scope: &str| ScopeDefinition {
            name: name.to_owned(),
            description: name.to_owned(),
            provider_scopes: ScopeSet::from_iter([provider_scope]),
            default: false,
            optional: name.starts_with("maybe"),
            implies: vec![],
            tools: None,
        };
        let mut server = McpServer {
            filter_tools: false,
            path: "/mcp".to_owned(),
            resource: request().resource,
            name: "M".to_owned(),
            provider: "github".to_owned(),
            scopes: vec![scope("must", "user"), scope("maybe", "repo"), scope("maybe-admin", "admin")].into(),
            identity_assertion: false,
        };
        let set = |text: &str| ScopeSet::parse(text).unwrap();
        let page = |scopes: &str, provider_scopes: &str, optional: &str| Pending {
            optional: set(optional),
            request: AuthorizationRequest {
                scopes: set(scopes),
                provider_scopes: set(provider_scopes),
                ..request()
            },
            ..pending()
        };
        let asked = || page("must maybe", "user repo", "maybe");
        let (all, left_out) = asked().ticked(&set("maybe"), &server, &provider()).unwrap();
        assert_eq!((all.request, left_out), (asked().request, ScopeSet::default()));
        for ticked in ["", "must", "maybe-admin", "admin repo user"] {
            let (less, left_out) = asked().ticked(&set(ticked), &server, &provider()).unwrap();
            assert_eq!(
                (less.request.scopes, less.request.provider_scopes),
                (set("must"), set("user")),
                "{ticked}"
            );
            assert_eq!((&left_out, less.request.unticked), (&set("maybe"), set("maybe")));
        }
        // A page without boxes does not depend on the form at all.
        let (same, _) = page("must maybe", "user repo", "").ticked(&set(""), &server, &provider()).unwrap();
        assert_eq!(same.request.scopes, set("must maybe"));
        let nothing = page("maybe", "repo", "maybe").ticked(&set(""), &server, &provider());
        assert_eq!(nothing.unwrap_err().reason, "nothing_chosen");
        // What is always asked for stays; what the page did not show is not asked for.
        let mut always = provider();
        always.scopes = vec!["org".to_owned()];
        let (less, _) =
            page("must maybe", "user repo org", "maybe").ticked(&set(""), &server, &always).unwrap();
        assert_eq!(less.request.provider_scopes, set("user org"));
        server.scopes = vec![scope("must", "everything"), scope("maybe", "repo")].into();
        let stale = asked().ticked(&set(""), &server, &provider());
        assert_eq!(stale.unwrap_err().reason, "page_expired");
    }
}
