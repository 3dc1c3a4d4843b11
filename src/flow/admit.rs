//! Admission of bearer tokens (RFC 6750). Holds [`Permit`], without which nothing is forwarded.

use tokio_util::sync::CancellationToken;

use crate::domain::time::Timestamp;

/// Proof that a request may be forwarded: only admission of a bearer token makes one.
#[derive(Debug)]
pub struct Permit {
    subject: String,
    client_id: String,
    login: String,
    expires_at: Timestamp,
    ended: CancellationToken,
}

impl Permit {
    /// The person.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The client.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The person's login name, for display.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// When the token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Cancelled when the token or its grant ends early.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// A permit out of thin air, for tests.
    #[cfg(test)]
    pub(crate) fn for_test(
        subject: &str,
        client_id: &str,
        login: &str,
        expires_at: Timestamp,
        ended: CancellationToken,
    ) -> Self {
        Self {
            subject: subject.to_owned(),
            client_id: client_id.to_owned(),
            login: login.to_owned(),
            expires_at,
            ended,
        }
    }
}
