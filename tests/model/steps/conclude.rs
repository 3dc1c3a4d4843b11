//! `src/flow/conclude.rs`: the records of an approval, and our code.

use std::time::Duration;

use super::{Next, Steps, consent_key, consent_part, tokens, whose};
use crate::{
    domain::{
        client::Client,
        consent::Consent,
        grant::Grant,
        link::Link,
        person::{self, Known},
    },
    properties::{self, SentCode},
    store::Key,
    switches::{Off, Protection},
    world::{Browser, Concluding, Ending, PROVIDER, Person, Task},
};

/// One moment of `Flows::conclude`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    /// `note_person`.
    Person,
    /// `index_grant`.
    Index,
    /// The grant: pending, only if its id is new.
    Pending,
    /// The consent.
    Consent,
    /// `refuse_what_was_revoked`: the person.
    ReadPerson,
    /// The client.
    ReadClient,
    /// The consent.
    ReadConsent,
    /// The grant gets its code.
    Code,
    /// `note_browser`.
    Browser,
    /// The answer reaches the browser.
    Answer,
}

/// The order of `src/flow/conclude.rs` (the link aside: see docs/model.md).
const ORDER: [Moment; 10] = [
    Moment::Person,
    Moment::Index,
    Moment::Pending,
    Moment::Consent,
    Moment::ReadPerson,
    Moment::ReadClient,
    Moment::ReadConsent,
    Moment::Code,
    Moment::Browser,
    Moment::Answer,
];

/// With [`Protection::PendingFirst`] off.
const PENDING_LATE: [Moment; 10] = [
    Moment::Person,
    Moment::Index,
    Moment::Consent,
    Moment::ReadPerson,
    Moment::ReadClient,
    Moment::ReadConsent,
    Moment::Pending,
    Moment::Code,
    Moment::Browser,
    Moment::Answer,
];

/// With [`Protection::MarksReadAgain`] off.
const UNREAD: [Moment; 7] = [
    Moment::Person,
    Moment::Index,
    Moment::Pending,
    Moment::Consent,
    Moment::Code,
    Moment::Browser,
    Moment::Answer,
];

fn order(off: Off) -> &'static [Moment] {
    if off.has(Protection::PendingFirst) {
        &PENDING_LATE
    } else if off.has(Protection::MarksReadAgain) {
        &UNREAD
    } else {
        &ORDER
    }
}

/// `tokens.code_ttl`.
const CODE_TTL: Duration = Duration::from_mins(1);

impl Steps<'_> {
    /// One moment of the last part.
    pub(super) fn conclude(&mut self, with: &mut Concluding) -> Next {
        let moment = order(self.off)[usize::from(with.at)];
        let (page, person) = (with.page, with.person);
        let facts = &self.world.pages[usize::from(page)];
        let (app, redirect) = (facts.client, facts.redirect);
        let consent_at = consent_key(person, app, redirect);
        let approved_at = with.proof.approved_at();
        let honoured = match moment {
            Moment::Person => {
                self.note_person(person);
                true
            }
            Moment::Index => {
                self.world.store.index(page, person as u8);
                true
            }
            Moment::Pending => {
                if !self.write_pending(with) {
                    self.tell(|_| format!("  {}: this page has given its code already", whose(with.browser)));
                    return Next::Done;
                }
                self.tell(|_| format!("  the grant of page {} is there, pending", page + 1));
                true
            }
            Moment::Consent => {
                self.write_consent(with, consent_at);
                true
            }
            Moment::ReadPerson => {
                let person = self.world.store.get::<person::Person>(Key::Person(person as u8));
                person.is_some_and(|person| person.honours(approved_at))
            }
            Moment::ReadClient => {
                // Not revoked, and still what it was on the page. What it is from here on is not looked at again.
                with.version = self.world.versions[app as usize];
                let same = self.is_off(Protection::Fingerprint)
                    || self.still_asked_by(app, with.proof.request()).is_some();
                let client = self.world.store.get::<Client>(Key::Client(app as u8));
                same && client.is_some_and(|client| client.honours(approved_at))
            }
            Moment::ReadConsent => {
                let consent = self.world.store.get::<Consent>(consent_at);
                consent.is_some_and(|consent| consent.honours(approved_at))
            }
            Moment::Code => self.write_code(with),
            Moment::Browser => {
                self.write_session(with.browser, person);
                true
            }
            Moment::Answer => {
                self.send_code(with);
                return Next::Done;
            }
        };
        if honoured && matches!(moment, Moment::ReadPerson | Moment::ReadClient | Moment::ReadConsent) {
            let what = match moment {
                Moment::ReadPerson => "person",
                Moment::ReadClient => "app",
                _ => "consent",
            };
            self.tell(|_| format!("  {}: the {what} is read again, and has no mark", whose(with.browser)));
        }
        if !honoured {
            // `end_grant(…, Unfinished)`.
            self.tell(|_| format!("  {}: refused, that was revoked", whose(with.browser)));
            return Next::Become(Task::End(Ending { page, at: 0, consent: None }));
        }
        with.at += 1;
        Next::On
    }

    pub(super) fn note_person(&mut self, person: Person) {
        let key = Key::Person(person as u8);
        let revoked_at = self.world.store.get::<person::Person>(key).and_then(|known| known.revoked_at);
        // Read like a stored one, so that members which mean nothing here keep their defaults.
        let record: person::Person = serde_json::from_value(serde_json::json!({
            "subject": person.subject(),
            "provider": PROVIDER,
            "login": person.login(),
            "display_name": null,
            "email": null,
            "checked_at": 0,
            "revoked_at": revoked_at,
        }))
        .unwrap();
        self.world.store.put(key, record);
    }

    /// False: the page's one grant is there already.
    fn write_pending(&mut self, with: &Concluding) -> bool {
        let request = with.proof.request();
        let expires_at = self.world.moment().after(CODE_TTL);
        let link = Link::key_part(PROVIDER, "our-id", &request.provider_scopes);
        let consent = consent_part(request, &with.redirect);
        let subject = with.person.subject();
        let grant = Grant::pending(&with.proof, subject, request.scopes.clone(), link, consent, expires_at);
        let key = Key::Grant(with.page);
        let facts = &mut self.world.pages[usize::from(with.page)];
        facts.connected_at = Some((with.person, with.proof.approved_at().as_millis()));
        if self.is_off(Protection::GrantIdOnce) {
            self.world.store.put(key, grant);
            return true;
        }
        self.world.store.create(key, grant)
    }

    fn write_consent(&mut self, with: &Concluding, key: Key) {
        let request = with.proof.request();
        let newer = Consent {
            subject: with.person.subject(),
            client_id: request.client_id.clone(),
            redirect_uri: with.redirect.consent_form(),
            resource: request.resource.clone(),
            scopes: request.scopes.clone(),
            provider_scopes: request.provider_scopes.clone(),
            fingerprint: request.fingerprint,
            granted_at: with.proof.approved_at(),
            revoked_at: None,
        };
        let known = self.world.store.get::<Consent>(key);
        let mut next = known.map_or_else(|| newer.clone(), |known| known.approved_again(newer.clone()));
        if self.is_off(Protection::MarksKept) {
            next.revoked_at = None;
        }
        self.world.store.put(key, next);
    }

    /// False: the grant is not pending any more.
    fn write_code(&mut self, with: &Concluding) -> bool {
        let (page, number) = (with.page, self.world.pages[usize::from(with.page)].codes);
        let digest = tokens::code(page, number).digest;
        let proof = &with.proof;
        let written =
            self.world.store.update::<Grant>(Key::Grant(page), |grant| grant.with_code(proof, digest));
        if written {
            self.tell(|_| format!("  the grant of page {} gets a code", page + 1));
            let page = usize::from(page);
            self.world.pages[page].codes += 1;
            let violation = properties::one_code(self.world, page);
            self.judge(violation);
            let approved_at = with.proof.approved_at().as_millis();
            let violation =
                properties::not_revoked(self.world, page, with.person, approved_at, "a code was made out");
            self.judge(violation);
        }
        written
    }

    /// `note_browser`: a new session value; the old one goes.
    pub(super) fn write_session(&mut self, browser: Browser, person: Person) {
        let old = self.world.jars[browser as usize].session;
        let known = old.and_then(|old| self.world.store.get::<person::Browser>(Key::Session(old)).cloned());
        let mut record = known.unwrap_or_default();
        let known = Known { subject: person.subject(), login: person.login().to_owned() };
        record.people.insert(PROVIDER.to_owned(), known);
        let number = self.world.sessions;
        self.world.sessions += 1;
        self.world.store.put(Key::Session(number), record);
        if let Some(old) = old {
            self.world.store.remove(Key::Session(old));
        }
        self.world.jars[browser as usize].session = Some(number);
    }

    /// Ada signed in before it begins.
    pub(crate) fn sign_in(&mut self, browser: Browser, person: Person) {
        self.note_person(person);
        self.write_session(browser, person);
    }

    fn send_code(&mut self, with: &Concluding) {
        let page = usize::from(with.page);
        let redirect = with.redirect.as_str();
        self.tell(|_| format!("  {} brings a code to {redirect}", whose(with.browser)));
        let grant = self.world.store.get::<Grant>(Key::Grant(with.page));
        let shown = &self.world.pages[page].pending.request.scopes;
        let sent = SentCode {
            browser: with.browser,
            page,
            arrival: with.arrival.map(usize::from),
            version: with.version,
            redirect,
            other_person: with.other_person,
            wider: with.wider,
            scopes_were_shown: grant.is_none_or(|grant| grant.scopes.is_subset(shown)),
        };
        let violation = properties::code_was_approved(self.world, &sent);
        self.judge(violation);
        self.world.pages[page].code_sent = true;
    }
}
