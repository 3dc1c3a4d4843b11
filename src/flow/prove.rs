//! A client proves who it is: by its secret, by being public, or by a signed assertion (RFC 7523).
//!
//! **Order.** What an assertion says is judged first, its signature second (which may mean to fetch the client's keys), and
//! then it is used up by one conditional write, before anything else is done for the client. So of any number of copies
//! one counts, and a copy that is presented after a crash finds the record. The record is kept until the assertion has
//! expired; whoever cleans up earlier or later than that changes nothing, since an expired one is refused before.

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
};

impl Flows {
    /// Judges the credentials of a request, and uses them up where they are good once only.
    pub(super) async fn prove(&self, client: &Client, credentials: &Credentials) -> Result<(), Failure> {
        let signs = client.metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt;
        let proven = match &credentials.assertion {
            Some(assertion) if signs => self.prove_by_assertion(client, assertion.expose_secret()).await,
            _ => client.authenticate(credentials).map_err(Failure::Refused),
        };
        if let Err(Failure::Refused(refusal)) = &proven {
            journal::note(Event::ClientRefused).client(&client.id).reason(refusal.reason).write();
        }
        proven
    }

    async fn prove_by_assertion(&self, client: &Client, text: &str) -> Result<(), Failure> {
        let now = self.now();
        let expected = Expected {
            client_id: &client.id,
            issuer: &self.catalog.public_url,
            algorithm: client.metadata.token_endpoint_auth_signing_alg,
        };
        let judged = assertion::judge(text, &expected, now).map_err(Refusal::invalid_client)?;
        let keys = self.keys_of(client, judged.kid()).await.map_err(Refusal::invalid_client)?;
        let (id, used) = judged.proven_by(&keys).map_err(Refusal::invalid_client)?;
        // Fetching the keys may have taken a while.
        if used.expires_at.has_passed(self.now()) {
            return Err(Refusal::invalid_client("assertion_expired").into());
        }
        self.records.index_expiry(used.expires_at, Table::Assertion, id.as_bytes(), now).await?;
        match self.records.create(id.as_bytes(), &used).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::invalid_client("assertion_replayed").into()),
        }
    }
}
