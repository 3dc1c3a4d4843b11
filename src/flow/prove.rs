//! A client proves who it is: by its secret, by being public, or by a signed assertion (RFC 7523).
//!
//! **Order.** What an assertion says is judged first, its signature second (which may mean to fetch the client's keys). What
//! comes out is a [`Proof`]: the steps then judge the rest of the request, and where it leads to something, use the proof up
//! ([`Flows::use_up`]) by one conditional write, before anything is done for the client. So of any number of copies one
//! counts, and a copy that is presented after a crash finds the record. A request that leads to nothing writes nothing: who
//! has a client and a key, which cost nothing, cannot make us write with requests about tokens that are none. The record is
//! kept until the assertion has expired; whoever cleans up later than that changes nothing, since an expired one is refused
//! before.

use secrecy::ExposeSecret as _;

use super::{
    Failure, Flows,
    journal::{self, Event},
    ports::Table,
};
use crate::domain::{
    assertion::{self, Expected},
    client::{Client, Credentials},
    metadata::AuthMethod,
    refusal::Refusal,
    secret::Digest,
};

/// A client has proven who it is. What is in it is good once: to be used up before anything is done for the client.
#[derive(Debug)]
#[must_use = "it must be used up before anything is done for the client"]
pub(super) struct Proof(Option<(Digest, assertion::Used)>);

/// The one answer to whoever cannot authenticate, and its entry in the journal. A client id that nobody knows may be
/// anything that somebody pasted: it is not repeated.
pub(super) fn refused(known: Option<&str>, reason: &'static str) -> Refusal {
    let entry = journal::note(Event::ClientRefused).reason(reason);
    match known {
        Some(id) => entry.client(id).write(),
        None => entry.write(),
    }
    Refusal::invalid_client(reason)
}

impl Flows {
    /// Judges the credentials of a request. Writes nothing.
    pub(super) async fn prove(&self, client: &Client, credentials: &Credentials) -> Result<Proof, Failure> {
        let signs = client.metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt;
        let proven = match &credentials.assertion {
            Some(assertion) if signs => self.prove_by_assertion(client, assertion.expose_secret()).await,
            _ => client.authenticate(credentials).map(|()| Proof(None)).map_err(Failure::Refused),
        };
        noted(client, proven)
    }

    /// Uses up what is good once only: of any number of copies one gets on. To be called when everything else about the
    /// request has been judged, and before anything is done. May be repeated with the same proof.
    pub(super) async fn use_up(&self, client: &Client, proof: &mut Proof) -> Result<(), Failure> {
        let Some((id, used)) = proof.0.take() else { return Ok(()) };
        let now = self.now();
        // Fetching the keys may have taken a while.
        if used.expires_at.has_passed(now) {
            return Err(refused(Some(&client.id), "assertion_expired").into());
        }
        self.accepted.take(&client.id, now).map_err(Failure::TooFast)?;
        self.records.index_expiry(used.expires_at, Table::Assertion, id.as_bytes(), now).await?;
        match self.records.create(id.as_bytes(), &used).await? {
            Some(_) => Ok(()),
            None => Err(refused(Some(&client.id), REPLAYED).into()),
        }
    }

    /// For a request that led to nothing: whether its proof was used up meanwhile, by whoever left nothing to do.
    pub(super) async fn leave_unused(&self, client: &Client, proof: &Proof) -> Result<(), Failure> {
        noted(client, self.refuse_replay(proof).await)
    }

    async fn refuse_replay(&self, proof: &Proof) -> Result<(), Failure> {
        let Some((id, _)) = &proof.0 else { return Ok(()) };
        match self.records.load::<assertion::Used>(id.as_bytes()).await? {
            Some(_) => Err(Refusal::invalid_client(REPLAYED).into()),
            None => Ok(()),
        }
    }

    async fn prove_by_assertion(&self, client: &Client, text: &str) -> Result<Proof, Failure> {
        let now = self.now();
        let expected = Expected {
            client_id: &client.id,
            issuer: &self.catalog.public_url,
            algorithm: client.metadata.token_endpoint_auth_signing_alg,
        };
        let judged = assertion::judge(text, &expected, now).map_err(Refusal::invalid_client)?;
        let keys = self.keys_of(client, judged.kid()).await.map_err(Refusal::invalid_client)?;
        let proof = Proof(Some(judged.proven_by(&keys).map_err(Refusal::invalid_client)?));
        self.refuse_replay(&proof).await?;
        Ok(proof)
    }
}

const REPLAYED: &str = "assertion_replayed";

/// Writes a refusal into the journal, in the name of the client.
fn noted<T>(client: &Client, outcome: Result<T, Failure>) -> Result<T, Failure> {
    match outcome {
        Err(Failure::Refused(refusal)) => Err(refused(Some(&client.id), refusal.reason).into()),
        outcome => outcome,
    }
}
