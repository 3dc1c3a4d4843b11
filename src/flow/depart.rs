//! Leaving for the third party. Only an approval gets here, or somebody who asked to be signed in: [`Flows::depart`] and
//! [`Flows::depart_to_sign_in`] take the proof of it.
//!
//! This is where `state` comes into being, and the cookie that ties it to this browser: after the click and immediately
//! before the departure, never earlier (CD15, CD16, CD20).

use std::{fmt, sync::Arc};

use super::{
    Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    ports::{Departure, Purpose, Table},
};
use crate::domain::{
    consent::ConsentProof,
    handle::{Handle, Kind},
    pkce::{CodeChallenge, own_verifier},
    provider::Provider,
    secret::Digest,
    sign_in::{SignIn, SignInProof},
    ticket::Ticket,
    time::Timestamp,
};

/// The way to the third party. Holds our `state`: prints nothing of it.
pub struct Departed {
    /// Its authorization endpoint, with our static client id, our `state` and our PKCE challenge.
    pub url: String,
    /// The provider entry.
    pub provider: String,
    /// Its name for people.
    pub title: String,
    /// The last part of the ticket cookie's name: newer tickets sort behind older ones.
    pub suffix: String,
    /// The ticket cookie.
    pub cookie: Handle,
}

impl fmt::Debug for Departed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Departed({})", self.provider)
    }
}

/// What a departure is made of, whatever it is for.
struct Leaving {
    state: Handle,
    cookie: Handle,
    /// The key of the record, and what the seal of the verifier belongs to.
    key: Digest,
    challenge: CodeChallenge,
    sealed_verifier: Vec<u8>,
}

impl Flows {
    pub(super) async fn depart(self: &Arc<Self>, proof: ConsentProof) -> Result<Departed, Failure> {
        let now = self.now();
        let leaving = self.leaving(Kind::State)?;
        let ticket = Ticket::from_proof(&proof, leaving.sealed_verifier, leaving.cookie.digest(), now);
        let (description, third_party) = self.provider(&ticket.request.provider)?;

        let key = leaving.key.as_bytes();
        self.records.index_expiry(ticket.expires_at, Table::Ticket, key, now).await?;
        self.records.create(key, &ticket).await?;
        let mut departure = Departure::approved(&proof, leaving.state.expose(), leaving.challenge.as_str());
        if description.refresh_needs_consent && !self.has_refresh_token(proof.request(), description).await? {
            departure = departure.with_fresh_consent();
        }
        let url = third_party.departure(&departure);
        journal::note(Event::Departed)
            .client(&ticket.request.client_id)
            .grant(ticket.grant)
            .provider(&ticket.request.provider)
            .write();
        Ok(departed(description, url, &leaving.key, leaving.cookie, now))
    }

    /// The same for somebody who signs in without a client. What is stored is no ticket, and its `state` is of a kind of its
    /// own: what comes back with it is never taken for an approval.
    pub(super) async fn depart_to_sign_in(self: &Arc<Self>, proof: SignInProof) -> Result<Departed, Failure> {
        let now = self.now();
        let leaving = self.leaving(Kind::SignInState)?;
        let record = SignIn::from_proof(&proof, leaving.sealed_verifier, leaving.cookie.digest(), now);
        let (description, third_party) = self.provider(proof.provider())?;

        let key = leaving.key.as_bytes();
        self.records.index_expiry(record.expires_at, Table::SignIn, key, now).await?;
        self.records.create(key, &record).await?;
        let departure = Departure::signing_in(&proof, leaving.state.expose(), leaving.challenge.as_str());
        let url = third_party.departure(&departure);
        journal::note(Event::Departed).provider(proof.provider()).reason("sign_in").write();
        Ok(departed(description, url, &leaving.key, leaving.cookie, now))
    }

    fn leaving(&self, kind: Kind) -> Result<Leaving, Fault> {
        let (state, cookie) =
            (Handle::plain(kind, self.random()?), Handle::plain(Kind::Cookie, self.random()?));
        let verifier = own_verifier(self.random()?);
        let key = state.digest();
        let sealed_verifier =
            self.sealer.seal(Purpose::TicketVerifier, key.as_bytes(), verifier.as_bytes())?;
        Ok(Leaving { state, cookie, key, challenge: CodeChallenge::of(&verifier), sealed_verifier })
    }
}

fn departed(provider: &Provider, url: String, key: &Digest, cookie: Handle, now: Timestamp) -> Departed {
    Departed {
        url,
        provider: provider.name.clone(),
        title: provider.title.clone(),
        suffix: cookie_suffix(now.as_secs(), &key.to_base64url()),
        cookie,
    }
}

/// A cookie name's last part: the time in 32nds, so that names sort by age, and a few characters of a hash.
pub(super) fn cookie_suffix(seconds: u64, hash: &str) -> String {
    let digits = (0..7).rev().map(|place| (seconds >> (5 * place)) & 31);
    let time: String = digits.filter_map(|digit| char::from_digit(u32::try_from(digit).ok()?, 32)).collect();
    let hash: String = hash.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{time}{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_cookies_sort_behind_older_ones() {
        assert!(cookie_suffix(1_800_000_000, "zzzzzzzz") < cookie_suffix(1_800_000_001, "aaaaaaaa"));
        assert!(cookie_suffix(1_800_000_000, "a-b_cdefghij").ends_with("abcdefgh"));
    }
}
