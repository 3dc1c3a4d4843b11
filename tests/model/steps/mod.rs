//! The steps of `src/flow`, as sequences of single reads and writes over the real transitions of `src/domain`.
//!
//! One file here for one or two files there; each arm of a `match` on `at` is one moment, and between two of them anything
//! else may happen, a crash included. The order of writes of the callback and of a revocation is an array, so that another
//! order is one line.
//!
//! What is merged into one moment: a conditional write with the read that it names the version of (it is applied only if
//! nothing happened in between); an index entry with its record where nobody reads the one without the other; a listing of
//! grants with the reads of them.

mod account;
mod conclude;
mod permission;
mod revoke;
mod tokens;

use std::{cell::RefCell, collections::HashMap};

use crate::{
    domain::{
        catalog::{McpServer, ScopeDefinition},
        client::Client,
        consent::Consent,
        grant::Grant,
        metadata::ClientMetadata,
        person,
        post::SameOriginPost,
        redirect::{MatchedRedirect, RedirectRules, RegisteredRedirects},
        request::AuthorizationRequest,
        resource::Resource,
        scope::ScopeSet,
        secret::Digest,
    },
    properties::Violation,
    scenario::Scenario,
    store::Key,
    switches::{Off, Protection},
    world::{Action, App, Browser, Changed, PUBLIC, Person, Redirect, Revoked, Shared, Task, World},
};

/// What the answer of [`Steps::still_asked_by`] depends on, the client's marks aside.
type Question = (App, u8, Digest, bool, Off);

/// What becomes of a step after one moment of it.
pub(super) enum Next {
    /// It goes on.
    On,
    /// It goes on as another.
    Become(Task),
    /// It is over.
    Done,
}

/// The world, while something happens in it.
pub(crate) struct Steps<'a> {
    pub(crate) world: &'a mut World,
    off: Off,
    found: &'a mut Vec<Violation>,
    tale: Option<&'a mut Vec<String>>,
}

impl<'a> Steps<'a> {
    /// With these protections off. Violations go into `found`, a tale of what happens into `tale`.
    pub(crate) fn new(
        world: &'a mut World,
        off: Off,
        found: &'a mut Vec<Violation>,
        tale: Option<&'a mut Vec<String>>,
    ) -> Self {
        Self { world, off, found, tale }
    }

    fn is_off(&self, protection: Protection) -> bool {
        self.off.has(protection)
    }

    /// Writes a line of the tale, where somebody wants it.
    fn tell(&mut self, line: impl FnOnce(&World) -> String) {
        if let Some(tale) = self.tale.as_mut() {
            tale.push(line(self.world));
        }
    }

    fn judge(&mut self, violation: Option<Violation>) {
        self.found.extend(violation);
    }

    /// Something begins.
    pub(crate) fn begin(&mut self, action: Action, scenario: &Scenario) {
        match action {
            Action::Register => {
                self.tell(|_| {
                    "Mallory registers the app “Free Notes”, redirect URI https://evil.example/cb".into()
                });
                self.world.write_client(App::Evil);
            }
            Action::Change(app, how) => {
                self.tell(|_| {
                    let what = if how == Changed::Name {
                        "calls itself something else"
                    } else {
                        "changes its redirect URI"
                    };
                    format!("{} {what}", app.name())
                });
                self.world.versions[app as usize] = if how == Changed::Name { 1 } else { 2 };
                self.world.budget.changes -= 1;
                self.world.write_client(app);
            }
            Action::Open(browser, app, redirect) => self.open(browser, app, redirect, scenario),
            Action::Approve(page) => self.approve(page),
            Action::Forge(page) => self.forge(page),
            Action::Visit(browser, state, outcome) => self.visit(browser, state, outcome),
            Action::Deliver(browser, state, code) => self.deliver(browser, state, code),
            Action::OpenAccount(browser) => self.open_account(browser, scenario),
            Action::AnswerAccount(account, asked) => self.press_account(account, asked),
            Action::ForgeAccount(account, asked) => self.forge_account(account, asked),
            Action::ApproveAgain(browser, arrival) => self.approve_again(browser, arrival),
            Action::ForgeAgain(arrival) => self.forge_again(arrival),
            Action::Redeem(page, right_verifier) => self.begin_redeem(page, right_verifier),
            Action::Refresh(page, generation) => self.begin_refresh(page, generation),
            Action::Revoke(what) => self.begin_revocation(what),
            Action::Go(task) => self.go(task),
            Action::Crash => {
                self.tell(|_| {
                    "the process dies and is started again; what was under way is forgotten".into()
                });
                self.world.budget.crashes -= 1;
                self.world.tasks.clear();
            }
            Action::Time => {
                self.tell(|_| "two hours pass".into());
                self.world.budget.time = false;
                self.world.pass_time();
            }
            Action::SweepMark(number) => self.sweep_mark(number),
            Action::SweepGrant(page) => self.sweep_grant(page),
        }
    }

    /// One moment of a step.
    pub(crate) fn go(&mut self, number: usize) {
        let mut task = self.world.tasks.remove(number);
        let next = match &mut task {
            Task::Consent { browser, page, cross_site, at, proof, ticket } => {
                self.consent(*browser, *page, *cross_site, at, proof, ticket)
            }
            Task::Arrive { browser, ticket, code, version, at, seen, proof } => {
                self.arrive(*browser, *ticket, *code, *version, at, seen, proof)
            }
            Task::Second { browser, arrival, cross_site, version, at, seen } => {
                self.second(*browser, *arrival, *cross_site, *version, at, seen)
            }
            Task::Conclude(concluding) => self.conclude(concluding),
            Task::End(ending) => self.end(ending),
            Task::Redeem { page, right_verifier, at, seen } => self.redeem(*page, *right_verifier, at, seen),
            Task::Refresh { page, generation, at } => self.refresh(*page, *generation, at),
            Task::Revoke(revoking) => self.revoke(revoking),
            Task::Account(answering) => self.answer(answering),
            Task::SignIn(returning) => self.sign_in_again(returning),
        };
        match next {
            Next::On => self.world.tasks.insert(number, task),
            Next::Become(other) => self.world.tasks.insert(number, other),
            Next::Done => {}
        }
    }

    /// Where a POST came from, as its headers say.
    fn post(&self, cross_site: bool) -> Option<SameOriginPost> {
        if cross_site && !self.is_off(Protection::SameOriginPost) {
            return SameOriginPost::judge(Some("cross-site"), Some("https://evil.example"), PUBLIC).ok();
        }
        SameOriginPost::judge(Some("same-origin"), None, PUBLIC).ok()
    }

    /// The redirect URI that `requested` matches.
    fn matching(&self, metadata: &ClientMetadata, requested: &str) -> Option<MatchedRedirect> {
        if self.is_off(Protection::RedirectMatch) {
            let rules = RedirectRules { own_origin: PUBLIC, private_schemes: &[] };
            return RegisteredRedirects::register([requested], &rules).ok()?.matching(requested, PUBLIC);
        }
        metadata.redirect_uris.matching(requested, PUBLIC)
    }

    /// `Flows::still_asked_by` in `flow/mod.rs`.
    fn still_asked_by(&self, app: App, request: &AuthorizationRequest) -> Option<Shared<MatchedRedirect>> {
        thread_local! {
            static ASKED: RefCell<HashMap<Question, Option<Shared<MatchedRedirect>>>> = RefCell::default();
        }
        let client: &Client = self.world.store.get(Key::Client(app as u8))?;
        if !client.is_usable(self.world.moment()) {
            return None;
        }
        // What depends on metadata and request alone is asked once: the same question has the same answer.
        let redirect_is_evil = request.redirect_uri == Redirect::Evil.uri();
        let version = self.world.versions[app as usize];
        let question = (app, version, request.fingerprint, redirect_is_evil, self.off);
        ASKED.with_borrow_mut(|asked| {
            let ask = || {
                let redirect = self.matching(&client.metadata, &request.redirect_uri)?;
                let same = client.metadata.fingerprint() == request.fingerprint;
                let passes = same || self.is_off(Protection::Fingerprint);
                passes.then(|| Shared::new(redirect, redirect_is_evil.into()))
            };
            asked.entry(question).or_insert_with(ask).clone()
        })
    }

    /// `Flows::note_use` in `flow/mod.rs`.
    fn note_use(&mut self, app: App) {
        let now = self.world.moment();
        self.world.store.update::<Client>(Key::Client(app as u8), |client| client.noting_use(now));
    }

    /// `Flows::is_revoked` in `flow/revoke.rs`.
    fn is_revoked(&self, person: Person, page: u8, grant: &Grant) -> bool {
        if self.is_off(Protection::MarksAtUse) {
            return false;
        }
        let store = &self.world.store;
        let facts = &self.world.pages[usize::from(page)];
        let at = grant.approved_at;
        let person_says = store.get::<person::Person>(Key::Person(person as u8));
        let client_says = store.get::<Client>(Key::Client(facts.client as u8));
        let consent_says = store.get::<Consent>(consent_key(person, facts.client, facts.redirect));
        person_says.is_some_and(|person| !person.honours(at))
            || client_says.is_some_and(|client| !client.honours(at))
            || consent_says.is_some_and(|consent| !consent.honours(at))
    }

    /// Judges what `Flows::admit` would say to a token of each grant (`flow/admit.rs`, without its cache).
    pub(crate) fn judge_admissions(&mut self) {
        if self.world.revocations.is_empty() {
            return;
        }
        for page in 0..self.world.pages.len() {
            let number = u8::try_from(page).unwrap();
            let Some(grant) = self.world.store.get::<Grant>(Key::Grant(number)) else { continue };
            let person = person_of(&grant.subject);
            let now = self.world.moment();
            let generations = self.world.pages[page].generations;
            let has_token = (0..generations).any(|generation| {
                let token = tokens::access_token(number, generation);
                grant.access(&token.digest, now).is_some()
            });
            if grant.is_alive(now) && has_token && !self.is_revoked(person, number, grant) {
                let violation = crate::world::admitted(self.world, page, person, grant);
                self.judge(violation);
            }
        }
    }
}

/// The MCP server: one resource with one scope, which needs one scope of the third party.
fn server() -> McpServer {
    McpServer {
        path: "/mcp".to_owned(),
        resource: Resource::at(PUBLIC, "/mcp"),
        name: "Notes".to_owned(),
        provider: crate::world::PROVIDER.to_owned(),
        identity_assertion: false,
        scopes: vec![ScopeDefinition {
            name: "read".to_owned(),
            description: "Read".to_owned(),
            provider_scopes: ScopeSet::from_iter(["user"]),
            default: true,
            optional: false,
            implies: vec![],
            tools: None,
        }]
        .into(),
        filter_tools: false,
    }
}

fn person_of(subject: &str) -> Person {
    let all = [Person::Ada, Person::AdaAtWork, Person::Mallory];
    all.into_iter().find(|person| person.subject() == subject).unwrap()
}

fn consent_key(person: Person, app: App, redirect: Redirect) -> Key {
    Key::Consent(person as u8, app as u8, redirect as u8)
}

/// The part of a consent's real key behind the subject, as `flow/conclude.rs` makes it.
fn consent_part(request: &AuthorizationRequest, redirect: &MatchedRedirect) -> Digest {
    Consent::key_part(&request.client_id, &redirect.consent_form(), &request.resource)
}

/// What is revoked, in words.
fn meant(what: Revoked) -> &'static str {
    match what {
        Revoked::Consent => "Ada takes back what “Notes” may do",
        Revoked::Person => "everything of Ada's is revoked",
        Revoked::Client => "the operator revokes “Notes”",
    }
}

/// Whose browser this is, for a sentence.
fn whose(browser: Browser) -> String {
    format!("{}'s browser", browser.name())
}
