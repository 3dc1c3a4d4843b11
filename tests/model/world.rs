//! Everything that there is, and what may happen next.
//!
//! Two browsers with their cookies, two apps, a third party that remembers consent and never asks, an attacker who sees
//! what his own browser sees and can make Ada's open any URL that he knows, the store, and the steps that are under way.

use std::{
    hash::{Hash, Hasher},
    rc::Rc,
};

use crate::{
    account::{AccountFacts, Answering, Asked, Returning, SignInFacts, State},
    domain::{
        client::Client,
        consent::{ConsentProof, Pending},
        grant::Grant,
        metadata::ClientMetadata,
        person,
        redirect::{MatchedRedirect, RedirectRules},
        time::Timestamp,
    },
    properties::{self, Violation},
    scenario::Scenario,
    steps::Steps,
    store::{Key, Store, Version},
    switches::Off,
};

/// Our own origin.
pub(crate) const PUBLIC: &str = "https://mcp.example.com";
/// The configured third party.
pub(crate) const PROVIDER: &str = "third";

/// Whose browser.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Browser {
    /// The victim's.
    Ada,
    /// The attacker's.
    Mallory,
}

/// An app that registered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum App {
    /// An honest one, used by many.
    Notes,
    /// The attacker's.
    Evil,
}

/// A redirect URI.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Redirect {
    /// That of Notes.
    Notes,
    /// The attacker's.
    Evil,
}

/// An account at the third party.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Person {
    /// Ada's.
    Ada,
    /// Another one that Ada's browser may be logged in as.
    AdaAtWork,
    /// The attacker's.
    Mallory,
}

/// What the third party makes of a visit. It never asks: its consent was given long ago.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    /// The person of this browser, with the scopes that were asked for.
    Own,
    /// Another account of that person.
    OtherPerson,
    /// More scopes.
    Wider,
}

/// What can be revoked as a whole.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Revoked {
    /// Ada takes back what Notes may do.
    Consent,
    /// Everything of Ada's is revoked.
    Person,
    /// The operator revokes Notes.
    Client,
}

/// How a client changes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Changed {
    /// It calls itself something else.
    Name,
    /// It has another redirect URI.
    Redirect,
}

impl Browser {
    /// The owner's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ada => "Ada",
            Self::Mallory => "Mallory",
        }
    }

    /// Who is logged in there.
    pub(crate) const fn person(self) -> Person {
        match self {
            Self::Ada => Person::Ada,
            Self::Mallory => Person::Mallory,
        }
    }

    /// Its render cookie.
    pub(crate) const fn render_cookie(self) -> &'static str {
        match self {
            Self::Ada => "render-cookie-of-ada",
            Self::Mallory => "render-cookie-of-mallory",
        }
    }
}

impl App {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Notes => "“Notes”",
            Self::Evil => "“Free Notes”",
        }
    }

    /// What it has registered in this state of it: a plain list, not what the gateway has.
    pub(crate) const fn registered(self, version: u8) -> &'static [&'static str] {
        match (self, version) {
            (_, 2) => &["https://elsewhere.example/cb"],
            (Self::Notes, _) => &["https://notes.example/cb"],
            (Self::Evil, _) => &["https://evil.example/cb"],
        }
    }

    /// Its client id.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Notes => "notes",
            Self::Evil => "evil",
        }
    }
}

impl Redirect {
    /// The URI.
    pub(crate) const fn uri(self) -> &'static str {
        match self {
            Self::Notes => "https://notes.example/cb",
            Self::Evil => "https://evil.example/cb",
        }
    }
}

impl Person {
    /// The login name.
    pub(crate) const fn login(self) -> &'static str {
        match self {
            Self::Ada => "ada",
            Self::AdaAtWork => "ada-at-work",
            Self::Mallory => "mallory",
        }
    }

    /// The subject.
    pub(crate) fn subject(self) -> String {
        person::subject("https://third.example", self.login())
    }
}

/// Something that cannot be cloned, shared between states; told apart by a tag.
#[derive(Debug)]
pub(crate) struct Shared<T>(Rc<T>, u64);

impl<T> Shared<T> {
    /// With a tag that is the same for the same content only.
    pub(crate) fn new(value: T, tag: u64) -> Self {
        Self(Rc::new(value), tag)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0), self.1)
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1);
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A page that was rendered.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Page {
    /// In whose browser. Its form is known there and nowhere else.
    pub(crate) browser: Browser,
    /// Who asks.
    pub(crate) client: App,
    /// Where the answer shall go.
    pub(crate) redirect: Redirect,
    /// The state of the client that was shown.
    pub(crate) version: u8,
    /// What its form holds, sealed.
    pub(crate) pending: Shared<Pending>,
    /// How often it may still be answered.
    pub(crate) clicks: u8,
    /// In whose browser a person pressed Approve on it.
    pub(crate) approved_by: [bool; 2],
    /// How many codes it gave.
    pub(crate) codes: u8,
    /// Whose its grant is, and when it was approved.
    pub(crate) connected_at: Option<(Person, u64)>,
    /// Whether its code is known to its app.
    pub(crate) code_sent: bool,
    /// Whether a code of it became tokens.
    pub(crate) redeemed: bool,
    /// How many refresh tokens it gave.
    pub(crate) generations: u8,
    /// Which of them have a successor.
    pub(crate) rotated: u8,
    /// Whether its grant has ended.
    pub(crate) ended: bool,
}

/// A ticket that was made, and the URL of the third party that goes with it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct TicketFacts {
    /// Of which page.
    pub(crate) page: u8,
    /// Who knows its `state`, and the URL.
    pub(crate) known_by: [bool; 2],
}

/// A code of the third party.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ThirdCode {
    /// Bound to the challenge of this ticket or sign-in.
    pub(crate) challenge: State,
    /// Whose.
    pub(crate) person: Person,
    /// Whether it stands for more scopes than were asked for.
    pub(crate) wider: bool,
    /// Whether it was used.
    pub(crate) used: bool,
    /// In whose browser it came back.
    pub(crate) browser: Browser,
}

/// A second page.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ArrivalFacts {
    /// Of which page.
    pub(crate) page: u8,
    /// Who came back.
    pub(crate) person: Person,
    /// In whose browser. Its id is known there and nowhere else.
    pub(crate) browser: Browser,
    /// Whether the browser has been sent there.
    pub(crate) sent: bool,
    /// How often it may still be answered.
    pub(crate) clicks: u8,
    /// In whose browser a person pressed Approve on it.
    pub(crate) approved_by: [bool; 2],
}

/// The cookies of a browser. (It always has its render cookie.)
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Jar {
    /// Those of tickets.
    pub(crate) tickets: Vec<u8>,
    /// Those of arrivals.
    pub(crate) arrivals: Vec<u8>,
    /// Those of sign-ins.
    pub(crate) sign_ins: Vec<u8>,
    /// That of the session.
    pub(crate) session: Option<u8>,
}

/// A revocation, as people see it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Revocation {
    /// Of what.
    pub(crate) what: Revoked,
    /// When it was asked for.
    pub(crate) at: u64,
    /// Whether its mark is durable.
    pub(crate) marked: bool,
    /// Whether whoever asked was told that it is done.
    pub(crate) acknowledged: bool,
}

impl Revocation {
    /// Whether it is about what was approved on this page, for this person, at this moment.
    pub(crate) fn covers(&self, world: &World, page: usize, person: Person, approved_at: u64) -> bool {
        let page = &world.pages[page];
        let is_meant = match self.what {
            Revoked::Consent => {
                person == Person::Ada && page.client == App::Notes && page.redirect == Redirect::Notes
            }
            Revoked::Person => person == Person::Ada,
            Revoked::Client => page.client == App::Notes,
        };
        is_meant && approved_at <= self.at
    }
}

/// How often things may still happen.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Budget {
    pub(crate) pages: u8,
    pub(crate) visits: u8,
    pub(crate) deliveries: u8,
    pub(crate) forged: u8,
    pub(crate) changes: u8,
    pub(crate) revocations: u8,
    pub(crate) crashes: u8,
    pub(crate) redeems: u8,
    pub(crate) refreshes: u8,
    pub(crate) time: bool,
    /// How often a second page is answered.
    pub(crate) again: u8,
    /// How often the page of connected apps is opened.
    pub(crate) accounts: u8,
    /// Whether the way from a click to the third party is one moment.
    pub(crate) whole_departures: bool,
}

/// Everything that there is.
#[derive(Clone, Debug, Hash)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) store: Store,
    pub(crate) pages: Vec<Page>,
    pub(crate) tickets: Vec<TicketFacts>,
    pub(crate) third: Vec<ThirdCode>,
    pub(crate) arrivals: Vec<ArrivalFacts>,
    pub(crate) accounts: Vec<AccountFacts>,
    pub(crate) sign_ins: Vec<SignInFacts>,
    pub(crate) jars: [Jar; 2],
    pub(crate) sessions: u8,
    /// The state of each client: 0 as it registered, then how it changed.
    pub(crate) versions: [u8; 2],
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) budget: Budget,
}

/// A step that is under way: where it stands, and what it remembers. A crash forgets all of it.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Task {
    /// `flow/consent.rs`, then `flow/depart.rs`.
    Consent {
        browser: Browser,
        page: u8,
        cross_site: bool,
        at: u8,
        proof: Option<Shared<ConsentProof>>,
        ticket: u8,
    },
    /// `flow/arrive.rs`.
    Arrive {
        browser: Browser,
        ticket: u8,
        code: u8,
        /// The state of the app when it was last looked at.
        version: u8,
        at: u8,
        seen: Option<Version>,
        proof: Option<Shared<ConsentProof>>,
    },
    /// `flow/second.rs`.
    Second { browser: Browser, arrival: u8, cross_site: bool, version: u8, at: u8, seen: Option<Version> },
    /// `flow/conclude.rs`.
    Conclude(Concluding),
    /// `Flows::end_grant` and `Flows::forget_consent` in `flow/revoke.rs`.
    End(Ending),
    /// `flow/redeem.rs`.
    Redeem { page: u8, right_verifier: bool, at: u8, seen: Option<(Version, Shared<Grant>)> },
    /// `flow/refresh.rs`.
    Refresh { page: u8, generation: u8, at: u8 },
    /// `flow/revoke.rs`, and what `flow/sweep.rs` repeats of it.
    Revoke(Revoking),
    /// `flow/account.rs`: an answer to the page.
    Account(Answering),
    /// `flow/sign_in.rs`: the way back.
    SignIn(Returning),
}

/// What the last part of the journey remembers.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Concluding {
    pub(crate) browser: Browser,
    pub(crate) page: u8,
    pub(crate) person: Person,
    pub(crate) arrival: Option<u8>,
    pub(crate) version: u8,
    pub(crate) other_person: bool,
    pub(crate) wider: bool,
    pub(crate) proof: Shared<ConsentProof>,
    pub(crate) redirect: Shared<MatchedRedirect>,
    pub(crate) at: u8,
}

/// What the end of a grant remembers.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Ending {
    pub(crate) page: u8,
    pub(crate) at: u8,
    pub(crate) consent: Option<(Key, Version)>,
}

/// What a revocation remembers.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Revoking {
    pub(crate) number: u8,
    /// Whether it is the sweeper's.
    pub(crate) again: bool,
    pub(crate) at: u8,
    pub(crate) todo: Vec<u8>,
    pub(crate) ending: Option<Ending>,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// The attacker registers his app.
    Register,
    /// An app changes its metadata.
    Change(App, Changed),
    /// A browser opens the authorization endpoint.
    Open(Browser, App, Redirect),
    /// A person presses Approve on the page that their browser shows.
    Approve(usize),
    /// The attacker's site posts the form of his own page from Ada's browser.
    Forge(usize),
    /// A browser goes to the third party with the `state` of a ticket or sign-in.
    Visit(Browser, State, Outcome),
    /// A browser comes to our callback with such a `state` and a code of the third party.
    Deliver(Browser, State, usize),
    /// A browser opens the page of connected apps.
    OpenAccount(Browser),
    /// A person presses a button on the page of connected apps that their browser shows.
    AnswerAccount(usize, Asked),
    /// The attacker's site posts the form of his own page of connected apps from Ada's browser.
    ForgeAccount(usize, Asked),
    /// A person presses Approve on a second page that their browser shows.
    ApproveAgain(Browser, usize),
    /// The attacker's site answers his second page from Ada's browser.
    ForgeAgain(usize),
    /// An app redeems its code.
    Redeem(usize, bool),
    /// An app, or who copied its token, refreshes.
    Refresh(usize, u8),
    /// Something is revoked.
    Revoke(Revoked),
    /// A step goes on by one read or write.
    Go(usize),
    /// The process dies and is started again.
    Crash,
    /// Two hours pass.
    Time,
    /// The sweeper comes to a mark of revocation.
    SweepMark(usize),
    /// The sweeper comes to a grant.
    SweepGrant(usize),
}

/// Two hours, in milliseconds: longer than every span in which something may be repeated.
const TWO_HOURS: u64 = 7_200_000;

impl World {
    /// How it begins: Notes is registered. Where Ada is known, she signed in some days ago.
    pub(crate) fn new(scenario: &Scenario, off: Off) -> Self {
        let mut world = Self {
            now: 1_000_000_000,
            store: Store::default(),
            pages: Vec::new(),
            tickets: Vec::new(),
            third: Vec::new(),
            arrivals: Vec::new(),
            accounts: Vec::new(),
            sign_ins: Vec::new(),
            jars: [Jar::default(), Jar::default()],
            sessions: 0,
            versions: [0; 2],
            revocations: Vec::new(),
            tasks: Vec::new(),
            budget: Budget {
                pages: scenario.max_pages,
                visits: scenario.visits,
                deliveries: scenario.deliveries,
                forged: scenario.forged,
                changes: scenario.changes,
                revocations: scenario.revocations,
                crashes: scenario.crashes,
                redeems: scenario.redeems,
                refreshes: scenario.refreshes,
                time: scenario.time_passes,
                again: scenario.again,
                accounts: scenario.accounts,
                whole_departures: scenario.whole_departures,
            },
        };
        world.write_client(App::Notes);
        if scenario.known {
            Steps::new(&mut world, off, &mut Vec::new(), None).sign_in(Browser::Ada, Person::Ada);
        }
        world
    }

    /// The current moment.
    pub(crate) fn moment(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// Writes a client as it is now: what `POST /register` accepts, or a changed metadata document.
    pub(crate) fn write_client(&mut self, app: App) {
        let version = self.versions[app as usize];
        let uris = app.registered(version);
        let name = if version == 1 { "Another name" } else { app.name() };
        let body = serde_json::json!({
            "client_name": name, "redirect_uris": uris, "token_endpoint_auth_method": "none",
        });
        let rules = RedirectRules { own_origin: PUBLIC, private_schemes: &[] };
        let metadata = ClientMetadata::judge(body.to_string().as_bytes(), &rules).unwrap();
        let key = Key::Client(app as u8);
        let client = match self.store.get::<Client>(key) {
            Some(known) => Client { metadata, ..known.clone() },
            // Read like a stored one, so that members which mean nothing here keep their defaults.
            None => serde_json::from_value(serde_json::json!({
                "id": app.id(),
                "metadata": metadata,
                "secret": null,
                "registered_at": self.moment(),
                "unused_until": self.moment().after(crate::domain::client::UNUSED_TTL),
                "used_at": null,
                "revoked_at": null,
            }))
            .unwrap(),
        };
        self.store.put(key, client);
    }

    /// What may happen next.
    pub(crate) fn actions(&self, scenario: &Scenario, out: &mut Vec<Action>) {
        out.extend((0..self.tasks.len()).map(Action::Go));
        if self.budget.crashes > 0 && !self.tasks.is_empty() {
            out.push(Action::Crash);
        }
        if self.tasks.len() >= scenario.tasks {
            return;
        }
        let evil_is_there = self.store.version(Key::Client(App::Evil as u8)).is_some();
        if scenario.attacker && !evil_is_there {
            out.push(Action::Register);
        }
        if self.budget.changes > 0 && evil_is_there {
            out.extend([Changed::Name, Changed::Redirect].map(|how| Action::Change(App::Evil, how)));
        }
        if self.budget.pages > 0 {
            let asked = scenario.pages.iter().filter(|(_, app, _)| *app == App::Notes || evil_is_there);
            out.extend(asked.map(|&(browser, app, redirect)| Action::Open(browser, app, redirect)));
        }
        for (number, page) in self.pages.iter().enumerate() {
            if page.clicks > 0 {
                out.push(Action::Approve(number));
            }
            if self.budget.forged > 0 && page.browser == Browser::Mallory {
                out.push(Action::Forge(number));
            }
        }
        self.account_actions(scenario, out);
        self.third_party_actions(scenario, out);
        for (number, arrival) in self.arrivals.iter().enumerate().filter(|(_, arrival)| arrival.sent) {
            if arrival.clicks > 0 {
                out.push(Action::ApproveAgain(arrival.browser, number));
                if arrival.browser == Browser::Mallory {
                    out.push(Action::ApproveAgain(Browser::Ada, number));
                }
            }
            if self.budget.forged > 0 && arrival.browser == Browser::Mallory {
                out.push(Action::ForgeAgain(number));
            }
        }
        self.later_actions(scenario, out);
    }

    fn third_party_actions(&self, scenario: &Scenario, out: &mut Vec<Action>) {
        for (number, ticket) in self.tickets.iter().enumerate().filter(|_| self.budget.visits > 0) {
            Self::visits_with(State::Ticket(u8::try_from(number).unwrap()), ticket.known_by, scenario, out);
        }
        self.sign_in_visits(scenario, out);
        for (code, facts) in self.third.iter().enumerate().filter(|_| self.budget.deliveries > 0) {
            for (state, [_, mallory]) in self.states() {
                if facts.browser == Browser::Ada {
                    // She goes where the third party sends her.
                    if facts.challenge == state {
                        out.push(Action::Deliver(Browser::Ada, state, code));
                    }
                } else if mallory {
                    out.extend([Browser::Ada, Browser::Mallory].map(|b| Action::Deliver(b, state, code)));
                }
            }
        }
    }

    fn later_actions(&self, scenario: &Scenario, out: &mut Vec<Action>) {
        for (number, page) in self.pages.iter().enumerate() {
            if self.budget.redeems > 0 && page.code_sent {
                out.extend([true, false].map(|right| Action::Redeem(number, right)));
            }
            if self.budget.refreshes > 0 {
                out.extend((0..page.generations).map(|generation| Action::Refresh(number, generation)));
            }
        }
        if self.budget.revocations > 0 {
            // Nobody revokes a person of whom nothing is known yet.
            let ada_is_known = self.store.version(Key::Person(Person::Ada as u8)).is_some();
            let meant = scenario.revoked.iter().filter(|what| **what != Revoked::Person || ada_is_known);
            out.extend(meant.map(|&what| Action::Revoke(what)));
        }
        // Every step that was begun is finished long before two hours are over.
        if self.budget.time && self.tasks.is_empty() && !self.pages.is_empty() {
            out.push(Action::Time);
        }
        if scenario.time_passes {
            let open = self.revocations.iter().enumerate();
            out.extend(open.filter(|(_, r)| r.marked).map(|(number, _)| Action::SweepMark(number)));
            let written =
                |number: usize| self.store.version(Key::Grant(u8::try_from(number).unwrap())).is_some();
            if !self.budget.time {
                out.extend((0..self.pages.len()).filter(|number| written(*number)).map(Action::SweepGrant));
            }
        }
    }

    /// Lets it happen.
    pub(crate) fn apply(
        &mut self,
        action: Action,
        scenario: &Scenario,
        off: Off,
        found: &mut Vec<Violation>,
        tale: Option<&mut Vec<String>>,
    ) {
        let mut steps = Steps::new(self, off, found, tale);
        steps.begin(action, scenario);
        if scenario.whole_steps {
            while !steps.world.tasks.is_empty() {
                steps.go(0);
            }
        }
        steps.judge_admissions();
    }

    /// Lets two hours pass.
    pub(crate) fn pass_time(&mut self) {
        self.now += TWO_HOURS;
    }
}

/// Whether a token of this grant is admitted is judged in every state: see [`Steps::judge_admissions`].
pub(crate) fn admitted(world: &World, page: usize, person: Person, grant: &Grant) -> Option<Violation> {
    properties::nothing_revoked_is_admitted(world, page, person, grant.approved_at.as_millis())
}
