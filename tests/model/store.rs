//! The store, as the steps see it: a map of durable values with conditional writes.
//!
//! A value is a real record of the domain. Its version is a hash of its content: so a value that came back to what it was
//! has its old version again, which the real store never allows. The model is the weaker one there.

use std::{
    hash::{Hash, Hasher},
    rc::Rc,
};

use crate::{
    domain::{
        arrival::{Arrival, ArrivalStage},
        client::Client,
        consent::Consent,
        grant::{Code, Grant, Live, Stage},
        person::{Browser, Person},
        sign_in::SignIn,
        ticket::Ticket,
    },
    explore::Mix,
};

/// Where a record lies. The numbers are those of the model: of a page, a ticket, a person.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    /// A client.
    Client(u8),
    /// A ticket, by its `state`.
    Ticket(u8),
    /// An arrival, by its id.
    Arrival(u8),
    /// A person.
    Person(u8),
    /// A consent: person, client, redirect URI.
    Consent(u8, u8, u8),
    /// The index entries of a grant: page, person. (The real ones are three, for person, client and link.)
    Index(u8, u8),
    /// The grant of a page.
    Grant(u8),
    /// A browser, by its session cookie.
    Session(u8),
    /// A sign-in, by its `state`.
    SignIn(u8),
}

/// The version of a record.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Version(u64);

macro_rules! records {
    ($($record:ident),*) => {
        /// A record.
        #[derive(Debug)]
        pub(crate) enum Record { $($record(Box<$record>)),*, Index }
        $(impl Stored for $record {
            fn wrap(self) -> Record { Record::$record(Box::new(self)) }
            fn unwrap(record: &Record) -> Option<&Self> {
                match record { Record::$record(record) => Some(record), _ => None }
            }
        })*
    };
}

/// A kind of record.
pub(crate) trait Stored: Content + Sized {
    /// As a record.
    fn wrap(self) -> Record;
    /// Out of a record.
    fn unwrap(record: &Record) -> Option<&Self>;
}

records!(Client, Ticket, Arrival, Person, Consent, Grant, Browser, SignIn);

#[derive(Clone, Debug)]
struct Cell {
    key: Key,
    version: Version,
    record: Rc<Record>,
}

/// All records, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store(Vec<Cell>);

impl Hash for Store {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for cell in &self.0 {
            cell.key.hash(state);
            cell.version.hash(state);
        }
    }
}

impl Store {
    fn at(&self, key: Key) -> Result<usize, usize> {
        self.0.binary_search_by(|cell| cell.key.cmp(&key))
    }

    /// The version of what is there.
    pub(crate) fn version(&self, key: Key) -> Option<Version> {
        self.at(key).ok().map(|at| self.0[at].version)
    }

    /// What is there.
    pub(crate) fn get<R: Stored>(&self, key: Key) -> Option<&R> {
        R::unwrap(&self.0[self.at(key).ok()?].record)
    }

    /// Writes, whatever is there.
    pub(crate) fn put<R: Stored>(&mut self, key: Key, record: R) {
        let mut hasher = Mix::default();
        record.content(&mut hasher);
        self.set(key, Version(hasher.finish()), record.wrap());
    }

    /// Notes a grant in the index.
    pub(crate) fn index(&mut self, page: u8, person: u8) {
        self.set(Key::Index(page, person), Version(0), Record::Index);
    }

    fn set(&mut self, key: Key, version: Version, record: Record) {
        let cell = Cell { key, version, record: Rc::new(record) };
        match self.at(key) {
            Ok(at) => self.0[at] = cell,
            Err(at) => self.0.insert(at, cell),
        }
    }

    /// Writes where nothing is. False: something is.
    pub(crate) fn create<R: Stored>(&mut self, key: Key, record: R) -> bool {
        let free = self.at(key).is_err();
        if free {
            self.put(key, record);
        }
        free
    }

    /// Replaces what has this version. False: it has another one, or is gone.
    pub(crate) fn replace<R: Stored>(&mut self, key: Key, version: Version, record: R) -> bool {
        let same = self.version(key) == Some(version);
        if same {
            self.put(key, record);
        }
        same
    }

    /// Removes what has this version. False: it has another one, or is gone.
    pub(crate) fn take(&mut self, key: Key, version: Version) -> bool {
        let same = self.version(key) == Some(version);
        if same {
            self.remove(key);
        }
        same
    }

    /// Removes, whatever is there.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Ok(at) = self.at(key) {
            self.0.remove(at);
        }
    }

    /// The loop of `Records::update`, as the one atomic step that it amounts to.
    pub(crate) fn update<R: Stored>(&mut self, key: Key, transition: impl FnOnce(&R) -> Option<R>) -> bool {
        let Some(next) = self.get::<R>(key).and_then(transition) else { return false };
        self.put(key, next);
        true
    }

    /// The keys of all records.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.iter().map(|cell| cell.key)
    }
}

/// What of a record can differ between two states. (Hashing its JSON would be simpler, and takes most of the time.)
pub(crate) trait Content {
    /// Hashes it.
    fn content(&self, into: &mut Mix);
}

impl Content for Client {
    fn content(&self, into: &mut Mix) {
        self.id.hash(into);
        self.metadata.client_name.hash(into);
        self.metadata.redirect_uris.iter().for_each(|uri| uri.hash(into));
        (self.unused_until, self.used_at, self.revoked_at).hash(into);
    }
}

impl Content for Ticket {
    fn content(&self, into: &mut Mix) {
        (self.grant, self.approved_at, self.page_expires_at, self.expires_at).hash(into);
        (&self.request.client_id, &self.request.redirect_uri, self.request.fingerprint).hash(into);
        (&self.verifier, self.cookie).hash(into);
    }
}

impl Content for Arrival {
    fn content(&self, into: &mut Mix) {
        (self.grant, self.page_expires_at, self.expires_at, self.cookie, self.access).hash(into);
        (&self.request.client_id, &self.request.redirect_uri, self.request.fingerprint).hash(into);
        (&self.person.subject, &self.expected_login, &self.granted, &self.wider).hash(into);
        (self.stage == ArrivalStage::Open).hash(into);
    }
}

impl Content for Person {
    fn content(&self, into: &mut Mix) {
        (&self.subject, self.checked_at, self.revoked_at).hash(into);
    }
}

impl Content for Consent {
    fn content(&self, into: &mut Mix) {
        (&self.subject, &self.client_id, &self.redirect_uri, &self.scopes, &self.provider_scopes).hash(into);
        (self.fingerprint, self.granted_at, self.revoked_at).hash(into);
    }
}

impl Content for SignIn {
    fn content(&self, into: &mut Mix) {
        (&self.provider, &self.verifier, self.cookie, self.expires_at).hash(into);
    }
}

impl Content for Browser {
    fn content(&self, into: &mut Mix) {
        self.people.iter().for_each(|(provider, known)| (provider, &known.subject).hash(into));
    }
}

impl Content for Grant {
    fn content(&self, into: &mut Mix) {
        (self.id, &self.subject, &self.client_id, &self.scopes, self.link, self.consent).hash(into);
        (self.approved_at, self.page_expires_at, self.expires_at).hash(into);
        let code =
            |code: &Code, into: &mut Mix| (code.digest, code.expires_at, &code.redirect_uri).hash(into);
        match &self.stage {
            Stage::Pending => 0.hash(into),
            Stage::Code(of) => code(of, into),
            Stage::Ended(ended) => (1, ended.at, ended.why as u8).hash(into),
            Stage::Live(live) => {
                let Live { code: of, family, current, previous, recent, access } = &**live;
                code(of, into);
                (family, current).hash(into);
                if let Some(old) = previous {
                    (old.digest, old.rotated_at, &old.answer, old.access, old.replays).hash(into);
                }
                recent.iter().map(|old| (old.digest, old.rotated_at)).for_each(|old| old.hash(into));
                access
                    .iter()
                    .map(|token| (token.digest, &token.scopes, token.expires_at))
                    .for_each(|token| token.hash(into));
            }
        }
    }
}
