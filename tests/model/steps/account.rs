//! `src/flow/account.rs` (the page and its answers) and `src/flow/sign_in.rs` (there and back without an app).

use std::collections::BTreeMap;

use super::{Next, Steps, person_of, server, whose};
use crate::{
    account::{AccountFacts, Answering, Asked, Returning, SignInFacts, State},
    domain::{
        account::{AccountPage, Answer},
        catalog::Catalog,
        consent::Pending,
        grant::Grant,
        person,
        provider::{self, Provider},
        secret::Digest,
        sign_in::SignIn,
    },
    properties,
    scenario::Scenario,
    store::Key,
    switches::Protection,
    world::{App, Browser, PROVIDER, PUBLIC, Person, Redirect, Revoked, Shared, Task},
};

fn sign_in_cookie(sign_in: u8) -> String {
    format!("sign-in-cookie-{sign_in}")
}

/// What is configured.
fn catalog() -> Catalog {
    let provider = Provider { name: PROVIDER.to_owned(), ..provider::tests::provider() };
    Catalog {
        public_url: PUBLIC.to_owned(),
        servers: vec![server()].into(),
        providers: [(PROVIDER.to_owned(), provider)].into(),
        resource_servers: Vec::new(),
    }
}

impl Steps<'_> {
    /// Who is signed in in a browser.
    fn session_of(&self, browser: Browser) -> Option<&person::Browser> {
        self.world.store.get(Key::Session(self.world.jars[browser as usize].session?))
    }

    fn signed_in_as(&self, browser: Browser) -> Option<Person> {
        Some(person_of(&self.session_of(browser)?.people.get(PROVIDER)?.subject))
    }

    /// `Flows::account`: writes nothing, renders a page.
    pub(super) fn open_account(&mut self, browser: Browser, scenario: &Scenario) {
        self.world.budget.accounts -= 1;
        let (shows, now) = (self.signed_in_as(browser), self.world.moment());
        let held = shows.map(|person| self.held_by(person, u64::MAX)).unwrap_or_default();
        let newest = held.iter().map(|(_, approved_at)| *approved_at).max().unwrap_or_default();
        let shown_until = now.as_millis().max(newest);
        let people: BTreeMap<String, String> =
            shows.map(|person| (PROVIDER.to_owned(), person.subject())).into_iter().collect();
        let page = AccountPage {
            rendered_at: now,
            render_cookie: Digest::of(browser.render_cookie()),
            people,
            shown_until: crate::domain::time::Timestamp::from_millis(shown_until),
        };
        let number = self.world.accounts.len();
        let tag = now.as_millis() * 8 + shows.map_or(7, |person| person as u64);
        self.world.accounts.push(AccountFacts {
            browser,
            page: Shared::new(page, tag),
            shows,
            shown_until,
            presses: scenario.presses,
            asked_by: [false; 2],
            taken_back_by: [false; 2],
        });
        self.tell(|_| {
            let of = shows.map_or("asks to sign in", |person| match person {
                Person::Ada => "shows Ada's apps",
                Person::AdaAtWork => "shows the apps of Ada's other account",
                Person::Mallory => "shows Mallory's apps",
            });
            format!("{} opens /account: page {} {of}", whose(browser), number + 1)
        });
        if self.is_off(Protection::SignInAsked) && shows.is_none() {
            self.tell(|_| "  nobody is asked".into());
            self.answer_account(browser, number, Asked::SignIn, false);
        }
    }

    /// The living grants of a person for “Notes”, approved until then: page, and when.
    fn held_by(&self, person: Person, until: u64) -> Vec<(u8, u64)> {
        let now = self.world.moment();
        let grants = self.world.store.keys().filter_map(|key| match key {
            Key::Index(page, of) if of == person as u8 => Some(page),
            _ => None,
        });
        let alive = grants.filter_map(|page| {
            let grant = self.world.store.get::<Grant>(Key::Grant(page))?;
            let facts = &self.world.pages[usize::from(page)];
            let is_meant = facts.client == App::Notes && facts.redirect == Redirect::Notes;
            let at = grant.approved_at.as_millis();
            (is_meant && grant.subject == person.subject() && grant.is_alive(now) && at <= until)
                .then_some((page, at))
        });
        alive.collect()
    }

    /// A person presses a button on the page that their browser shows.
    pub(super) fn press_account(&mut self, number: usize, asked: Asked) {
        let account = &mut self.world.accounts[number];
        account.presses -= 1;
        let browser = account.browser;
        let by = if asked == Asked::SignIn { &mut account.asked_by } else { &mut account.taken_back_by };
        by[browser as usize] = true;
        self.tell(|_| {
            let what = if asked == Asked::SignIn { "Sign in" } else { "Disconnect “Notes”" };
            format!("{} presses {what} on /account, page {}", browser.name(), number + 1)
        });
        self.answer_account(browser, number, asked, false);
    }

    /// The attacker's site posts the form of his own page from Ada's browser.
    pub(super) fn forge_account(&mut self, number: usize, asked: Asked) {
        self.world.budget.forged -= 1;
        self.tell(|_| {
            let what = if asked == Asked::SignIn { "sign in" } else { "disconnect" };
            format!("Mallory's site posts his /account, page {}, from Ada's browser: {what}", number + 1)
        });
        self.answer_account(Browser::Ada, number, asked, true);
    }

    fn answer_account(&mut self, browser: Browser, number: usize, asked: Asked, cross_site: bool) {
        let account = u8::try_from(number).unwrap();
        let answering =
            Answering { browser, account, asked, cross_site, at: 0, proof: None, owner: None, sign_in: 0 };
        self.world.tasks.push(Task::Account(answering));
    }

    /// `Flows::sign_in` and `depart_to_sign_in`, or `Flows::disconnect`.
    pub(super) fn answer(&mut self, with: &mut Answering) -> Next {
        match with.asked {
            Asked::SignIn => self.leave_to_sign_in(with),
            Asked::Disconnect => self.disconnect(with),
        }
    }

    fn leave_to_sign_in(&mut self, with: &mut Answering) -> Next {
        let (browser, now) = (with.browser, self.world.moment());
        let account = self.world.accounts[usize::from(with.account)].clone();
        match with.at {
            0 => {
                // The seal, the cookie, where the POST came from; the proof.
                let cookie = self.render_cookie_for(&account, browser);
                let proof = self.post(with.cross_site).and_then(|post| {
                    let answer = Answer { render_cookie: Some(cookie), post: &post, now };
                    (*account.page).clone().sign_in(&catalog(), PROVIDER, false, answer).ok()
                });
                let Some(proof) = proof else {
                    self.tell(|_| "  refused with a page".into());
                    return Next::Done;
                };
                if self.is_off(Protection::SignInOfItsOwn) {
                    return self.leave_with_an_approval(browser);
                }
                with.proof = Some(Shared::new(proof, 0));
            }
            1 => {
                // The first `state`, its record.
                let Some(proof) = &with.proof else { return Next::Done };
                let number = u8::try_from(self.world.sign_ins.len()).unwrap();
                let cookie = Digest::of(sign_in_cookie(number));
                let record = SignIn::from_proof(proof, vec![number], cookie, now);
                self.world.store.create(Key::SignIn(number), record);
                self.world.sign_ins.push(SignInFacts { account: with.account, known_by: [false; 2] });
                with.sign_in = number;
            }
            _ => {
                // The answer: cookie and URL reach the browser.
                let number = with.sign_in;
                self.tell(|_| {
                    let state = State::SignIn(number).name();
                    format!("  {} is sent to the third party to sign in, with state {state}", whose(browser))
                });
                self.world.jars[browser as usize].sign_ins.push(number);
                self.world.sign_ins[usize::from(number)].known_by[browser as usize] = true;
                let violation =
                    properties::sign_in_departure_was_asked(self.world, browser, with.account.into());
                self.judge(violation);
                return Next::Done;
            }
        }
        with.at += 1;
        Next::On
    }

    /// With [`Protection::SignInOfItsOwn`] off: whoever presses Sign in gets the proof of a click on Approve, for whatever page
    /// this browser was shown last.
    fn leave_with_an_approval(&mut self, browser: Browser) -> Next {
        let shown = self.world.pages.iter().rposition(|page| page.browser == browser);
        let Some(number) = shown else { return Next::Done };
        let (page, now) = (self.world.pages[number].pending.clone(), self.world.moment());
        let approved = self.post(false).and_then(|post| {
            let pending: Pending = (*page).clone();
            pending.approve(Some(browser.render_cookie()), &post, now).ok()
        });
        let Some(approved) = approved else { return Next::Done };
        let ticket = self.write_ticket(browser, u8::try_from(number).unwrap(), &approved);
        self.world.jars[browser as usize].tickets.push(ticket);
        self.world.tickets[usize::from(ticket)].known_by[browser as usize] = true;
        Next::Done
    }

    fn render_cookie_for(&self, account: &AccountFacts, browser: Browser) -> &'static str {
        let handed = self.is_off(Protection::RenderCookie) || self.is_off(Protection::SignInAsked);
        if handed { account.browser } else { browser }.render_cookie()
    }

    fn disconnect(&mut self, with: &mut Answering) -> Next {
        let (browser, now) = (with.browser, self.world.moment());
        let account = self.world.accounts[usize::from(with.account)].clone();
        if with.at == 0 {
            // `Flows::owner`: the session is read; the page, the cookie, where the POST came from.
            let cookie = self.render_cookie_for(&account, browser);
            let session = self.session_of(browser);
            let mut page = (*account.page).clone();
            if self.is_off(Protection::OwnerCompared) {
                // Whoever is signed in now is whom the page showed.
                let people = session.map(|session| &session.people).into_iter().flatten();
                page.people = people.map(|(at, known)| (at.clone(), known.subject.clone())).collect();
            }
            let owner = self.post(with.cross_site).and_then(|post| {
                let answer = Answer { render_cookie: Some(cookie), post: &post, now };
                page.owner(PROVIDER, session, answer).ok()
            });
            let Some(owner) = owner else {
                self.tell(|_| "  refused with a page".into());
                return Next::Done;
            };
            let person = person_of(owner.subject());
            with.owner = Some(person);
            let violation = properties::owner_was_shown(self.world, browser, with.account.into(), person);
            self.judge(violation);
        } else {
            // `held_by`: a grant that the page showed, and that lives.
            let Some(person) = with.owner else { return Next::Done };
            let until =
                if self.is_off(Protection::OnlyWhatWasShown) { u64::MAX } else { account.shown_until };
            if self.held_by(person, until).is_empty() {
                self.tell(|_| "  nothing of what it showed is left".into());
                return Next::Done;
            }
            let violation = properties::connection_was_shown(self.world, with.account.into(), person);
            self.judge(violation);
            // A revocation of this world is one of Ada's.
            if person == Person::Ada {
                self.begin_revocation(Revoked::Consent);
            }
            return Next::Done;
        }
        with.at += 1;
        Next::On
    }

    /// A browser comes to our callback with the `state` of a sign-in, which says so before anything is read.
    pub(super) fn begin_return(&mut self, browser: Browser, sign_in: u8, code: u8) {
        let returning = Returning { browser, sign_in, code, at: 0, seen: None, person: None };
        self.world.tasks.push(Task::SignIn(returning));
    }

    /// `Flows::arrive_to_sign_in` and `signed_in`.
    pub(super) fn sign_in_again(&mut self, with: &mut Returning) -> Next {
        let (browser, number, now) = (with.browser, with.sign_in, self.world.moment());
        let key = Key::SignIn(number);
        let cookie = if self.is_off(Protection::SignInCookie) {
            Some(sign_in_cookie(number))
        } else {
            super::permission::cookie(&self.world.jars[browser as usize].sign_ins, number, sign_in_cookie)
        };
        let refused = |steps: &mut Self, why: &'static str| {
            steps.tell(|_| format!("  {}: refused, {why}", whose(browser)));
            Next::Done
        };
        match with.at {
            0 => {
                // The cookie is there and matches, on a read.
                let Some(record) = self.world.store.get::<SignIn>(key) else {
                    return refused(self, "there is no such sign-in");
                };
                if record.check(cookie.as_deref(), now).is_err() {
                    return refused(self, "its cookie is missing");
                }
                with.seen = self.world.store.version(key);
            }
            1 => {
                // Taken, by a conditional write.
                let Some(record) = self.world.store.get::<SignIn>(key).cloned() else {
                    return refused(self, "the sign-in was taken");
                };
                let taken = self.is_off(Protection::SignInOnce)
                    || with.seen.is_some_and(|version| self.world.store.take(key, version));
                if !taken || record.taken().prove(cookie.as_deref(), now).is_err() {
                    return refused(self, "the sign-in was taken");
                }
            }
            2 => {
                // The exchange: the third party's code is good once, for the verifier of its own record.
                let third = &mut self.world.third[usize::from(with.code)];
                if third.used || third.challenge != State::SignIn(number) {
                    return refused(self, "the third party does not accept its code");
                }
                third.used = true;
                with.person = Some(third.person);
            }
            3 => {
                let Some(person) = with.person else { return Next::Done };
                self.note_person(person);
            }
            _ => {
                let Some(person) = with.person else { return Next::Done };
                self.tell(|_| format!("  {} is signed in as {}", whose(browser), person.login()));
                self.write_session(browser, person);
                let violation =
                    properties::sign_in_was_asked(self.world, browser, number.into(), with.code.into());
                self.judge(violation);
                return Next::Done;
            }
        }
        with.at += 1;
        Next::On
    }
}
