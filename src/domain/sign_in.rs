//! Signing in without a client: to see the page of connected apps, and for nothing else.
//!
//! [`SignInProof`] says that the person who holds this browser asked here to be sent to this third party to show who they
//! are. There are two ways to get one, each through a cookie that must match: [`super::account::AccountPage::sign_in`] (the
//! form) and [`TakenSignIn::prove`] (back from the third party). It stands beside [`super::consent::ConsentProof`] and can
//! never become one: nothing that makes a grant, a code or a consent takes it. It ends in a browser session.
//!
//! Without a cookie and a same-origin POST there is no proof; these do not compile:
//!
//! ```compile_fail
//! use mcp_deputy::domain::{scope::ScopeSet, sign_in::SignInProof};
//! fn skip_the_page() -> SignInProof {
//!     SignInProof { provider: "github".to_owned(), scopes: ScopeSet::default(), chooses_account: false }
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::sign_in::SignInProof;
//! fn twice(proof: SignInProof) -> (SignInProof, SignInProof) {
//!     (proof.clone(), proof)
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::sign_in::SignInProof;
//! fn out_of_the_store(bytes: &[u8]) -> SignInProof {
//!     serde_json::from_slice(bytes).unwrap()
//! }
//! ```
//!
//! Their twins do: what can be read is the record of a sign-in that is under way, and what makes a proof is a page that is
//! answered.
//!
//! ```
//! use mcp_deputy::domain::sign_in::SignIn;
//! fn out_of_the_store(bytes: &[u8]) -> Option<SignIn> {
//!     serde_json::from_slice(bytes).ok()
//! }
//! ```
//!
//! ```
//! use mcp_deputy::domain::{
//!     account::{AccountPage, Answer}, catalog::Catalog, refusal::Refusal, sign_in::SignInProof,
//! };
//! fn the_only_way(page: AccountPage, catalog: &Catalog, answer: Answer<'_>) -> Result<SignInProof, Refusal> {
//!     page.sign_in(catalog, "github", false, answer)
//! }
//! ```
//!
//! **No code and no grant ever comes of it.** What comes back from the third party with the ticket of a sign-in is no
//! approval; these do not compile:
//!
//! ```compile_fail
//! use mcp_deputy::domain::{consent::ConsentProof, refusal::Refusal, sign_in::TakenSignIn, time::Timestamp};
//! fn approval(taken: TakenSignIn, cookie: &str, now: Timestamp) -> Result<ConsentProof, Refusal> {
//!     taken.prove(Some(cookie), now).map(|(proof, _)| proof)
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::{grant::Grant, scope::ScopeSet, secret::Digest, sign_in::SignInProof, time::Timestamp};
//! fn grant(proof: &SignInProof, link: Digest, consent: Digest) -> Grant {
//!     Grant::pending(proof, "issuer|1".to_owned(), ScopeSet::default(), link, consent, Timestamp::default())
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::{grant::Grant, secret::Digest, sign_in::SignInProof};
//! fn code(grant: &Grant, proof: &SignInProof, code: Digest) -> Option<Grant> {
//!     grant.with_code(proof, code)
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::domain::{secret::Digest, sign_in::SignInProof, ticket::Ticket, time::Timestamp};
//! fn ticket(proof: &SignInProof, cookie: Digest, now: Timestamp) -> Ticket {
//!     Ticket::from_proof(proof, vec![], cookie, now)
//! }
//! ```
//!
//! And here are their twins, in the same order: the first with its own kind of proof, the others with an approval.
//!
//! ```
//! use mcp_deputy::domain::{refusal::Refusal, sign_in::{SignInProof, TakenSignIn}, time::Timestamp};
//! fn signed_in(taken: TakenSignIn, cookie: &str, now: Timestamp) -> Result<SignInProof, Refusal> {
//!     taken.prove(Some(cookie), now).map(|(proof, _)| proof)
//! }
//! ```
//!
//! ```
//! use mcp_deputy::domain::{consent::ConsentProof, grant::Grant, scope::ScopeSet, secret::Digest, time::Timestamp};
//! fn grant(proof: &ConsentProof, link: Digest, consent: Digest) -> Grant {
//!     Grant::pending(proof, "issuer|1".to_owned(), ScopeSet::default(), link, consent, Timestamp::default())
//! }
//! ```
//!
//! ```
//! use mcp_deputy::domain::{consent::ConsentProof, grant::Grant, secret::Digest};
//! fn code(grant: &Grant, proof: &ConsentProof, code: Digest) -> Option<Grant> {
//!     grant.with_code(proof, code)
//! }
//! ```
//!
//! ```
//! use mcp_deputy::domain::{consent::ConsentProof, secret::Digest, ticket::Ticket, time::Timestamp};
//! fn ticket(proof: &ConsentProof, cookie: Digest, now: Timestamp) -> Ticket {
//!     Ticket::from_proof(proof, vec![], cookie, now)
//! }
//! ```

use serde::{Deserialize, Serialize};

use super::{
    catalog::Catalog, consent, provider::Provider, refusal::Refusal, scope::ScopeSet, secret::Digest,
    ticket::TICKET_TTL, time::Timestamp,
};

/// The person who holds this browser asked to be sent to this third party, to sign in here. See the module documentation.
#[derive(Debug)]
pub struct SignInProof {
    provider: String,
    scopes: ScopeSet,
    chooses_account: bool,
}

impl SignInProof {
    /// For [`super::account::AccountPage::sign_in`], which checks the cookie. Visible to the domain only.
    ///
    /// The third party is asked for what tells who somebody is and what the operator's rules need to know: what it is asked
    /// for whatever a client wants. Where that is nothing, for as little as an app can get: some give an empty scope a
    /// meaning of its own.
    pub(in crate::domain) fn of_page(catalog: &Catalog, provider: &Provider, chooses_account: bool) -> Self {
        let always: ScopeSet = provider.scopes.iter().chain(&provider.default_scopes).cloned().collect();
        let scopes = if always.is_empty() { least_of(catalog, provider) } else { always };
        Self { provider: provider.name.clone(), scopes, chooses_account }
    }

    /// The provider entry.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The third-party scopes.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Whether the person wants to choose the account there.
    pub fn chooses_account(&self) -> bool {
        self.chooses_account
    }
}

/// The fewest third-party scopes that an MCP server asks this provider for.
fn least_of(catalog: &Catalog, provider: &Provider) -> ScopeSet {
    let servers = catalog.servers.iter().filter(|server| server.provider == provider.name);
    let asked = servers.map(|server| server.provider_scopes(&server.default_scopes()));
    asked.filter(|scopes| !scopes.is_empty()).min_by_key(|scopes| scopes.iter().count()).unwrap_or_default()
}

/// The record of a sign-in on its way to the third party and back: a ticket of a kind of its own. Raw facts.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SignIn {
    /// The provider entry.
    pub provider: String,
    /// The third-party scopes that are asked for.
    pub scopes: ScopeSet,
    /// Our PKCE verifier for the third-party leg, sealed.
    #[serde(with = "super::secret::base64url")]
    pub verifier: Vec<u8>,
    /// The digest of the ticket cookie.
    pub cookie: Digest,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl SignIn {
    /// The record of a sign-in: the proof is used up, what remains are facts.
    pub fn from_proof(proof: &SignInProof, verifier: Vec<u8>, cookie: Digest, now: Timestamp) -> Self {
        Self {
            provider: proof.provider.clone(),
            scopes: proof.scopes.clone(),
            verifier,
            cookie,
            expires_at: now.after(TICKET_TTL),
        }
    }

    /// Whether a callback may take it: the cookie of the browser that asked, in time. Checked *before* it is taken, so that
    /// a stranger who learned a `state` can neither use it nor burn it.
    pub fn check(&self, cookie: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        consent::check_cookie(&self.cookie, cookie, self.expires_at, now)
    }

    /// To be called with a record that was just removed by a conditional write, and nowhere else.
    pub(crate) fn taken(self) -> TakenSignIn {
        TakenSignIn(self)
    }
}

/// A sign-in that nobody else can take any more.
#[derive(Debug)]
pub struct TakenSignIn(SignIn);

impl TakenSignIn {
    /// The proof that it carries, for the browser that asked. Also returns our sealed PKCE verifier.
    pub fn prove(self, cookie: Option<&str>, now: Timestamp) -> Result<(SignInProof, Vec<u8>), Refusal> {
        let Self(record) = self;
        record.check(cookie, now)?;
        let proof = SignInProof { provider: record.provider, scopes: record.scopes, chooses_account: false };
        Ok((proof, record.verifier))
    }
}

#[cfg(test)]
pub(in crate::domain) mod tests {
    use super::*;
    use crate::domain::{
        catalog::{McpServer, ScopeDefinition},
        provider::tests::provider,
        resource::Resource,
    };

    /// Two MCP servers on one provider, `github`.
    pub(in crate::domain) fn catalog() -> Catalog {
        let server = |path: &str, provider_scopes: &str| McpServer {
            path: path.to_owned(),
            resource: Resource::at("https://m.example", path),
            name: "M".to_owned(),
            provider: "github".to_owned(),
            scopes: vec![ScopeDefinition {
                name: "mcp".to_owned(),
                description: "Use M".to_owned(),
                provider_scopes: ScopeSet::parse(provider_scopes).unwrap(),
                default: true,
                optional: false,
                implies: vec![],
                tools: None,
            }]
            .into(),
            identity_assertion: false,
            filter_tools: false,
        };
        let provider = Provider { name: "github".to_owned(), ..provider() };
        Catalog {
            public_url: "https://m.example".to_owned(),
            servers: vec![server("/a", "repo user"), server("/b", "user")].into(),
            providers: [("github".to_owned(), provider)].into(),
            resource_servers: Vec::new(),
        }
    }

    fn proof(change: impl FnOnce(&mut Provider)) -> SignInProof {
        let catalog = catalog();
        let mut provider = catalog.providers["github"].clone();
        change(&mut provider);
        SignInProof::of_page(&catalog, &provider, true)
    }

    #[test]
    fn a_taken_sign_in_proves_something_to_its_own_browser_only() {
        let now = Timestamp::from_millis(1000);
        let record = SignIn::from_proof(&proof(|_| {}), vec![1], Digest::of("cookie"), now);
        for (cookie, at, reason) in [
            (None, now, "cookie_missing"),
            (Some("stolen"), now, "cookie_wrong"),
            (Some("cookie"), now.after(TICKET_TTL), "page_expired"),
        ] {
            assert_eq!(record.clone().taken().prove(cookie, at).unwrap_err().reason, reason);
        }
        let (proof, verifier) = record.taken().prove(Some("cookie"), now).unwrap();
        assert_eq!((proof.provider(), verifier), ("github", vec![1]));
    }

    #[test]
    fn nothing_is_asked_for_but_who_somebody_is() {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        for (scopes, default_scopes, asked) in [
            (&["read:org"][..], &["read:user"][..], "read:org read:user"),
            (&[], &["read:user"], "read:user"),
            (&["openid"], &[], "openid"),
            (&[], &[], "user"),
        ] {
            let proof = proof(|provider| {
                (provider.scopes, provider.default_scopes) = (texts(scopes), texts(default_scopes));
            });
            assert_eq!(proof.scopes().to_string(), asked);
        }
    }
}
