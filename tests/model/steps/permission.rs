//! `src/flow/authorize.rs`, `consent.rs`, `depart.rs`, `arrive.rs`, `second.rs`, and what the third party does between them.

use serde_json::json;

use super::{Next, Steps, person_of, server, whose};
use crate::{
    account::State,
    domain::{
        arrival::{ARRIVAL_TTL, Arrival, ArrivalStage, Arriving},
        client::Client,
        consent::{ConsentProof, Pending},
        grant::Grant,
        handle::GrantId,
        person::{self, Known},
        pkce::CodeChallenge,
        request::AuthorizationRequest,
        scope::ScopeSet,
        secret::Digest,
        ticket::Ticket,
        time::Timestamp,
    },
    properties,
    scenario::Scenario,
    store::{Key, Version},
    switches::Protection,
    world::{
        App, ArrivalFacts, Browser, Concluding, Outcome, PROVIDER, Page, Person, Redirect, Shared, Task,
        ThirdCode, TicketFacts,
    },
};

/// The PKCE verifier of the apps.
pub(super) const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";

/// The last moment of a callback that made an arrival.
const ANSWER: u8 = 5;

fn ticket_cookie(ticket: u8) -> String {
    format!("ticket-cookie-{ticket}")
}

fn arrival_cookie(arrival: u8) -> String {
    format!("arrival-cookie-{arrival}")
}

/// The cookie for a record: its own, where the jar has it, else any other of the kind (`flow/arrive.rs`, step 1).
pub(super) fn cookie(jar: &[u8], own: u8, name: fn(u8) -> String) -> Option<String> {
    let held = jar.iter().find(|held| **held == own).or(jar.first());
    held.map(|held| name(*held))
}

impl Steps<'_> {
    /// `flow/authorize.rs`: judges, writes nothing, renders a page.
    pub(super) fn open(&mut self, browser: Browser, app: App, redirect: Redirect, scenario: &Scenario) {
        self.world.budget.pages -= 1;
        self.tell(|_| {
            format!(
                "{} opens /authorize of {} with redirect URI {}",
                whose(browser),
                app.name(),
                redirect.uri()
            )
        });
        let now = self.world.moment();
        let Some(client) = self.world.store.get::<Client>(Key::Client(app as u8)) else { return };
        let matched = self.matching(&client.metadata, redirect.uri());
        if !client.is_usable(now) || matched.is_none() {
            self.tell(|_| "  refused with a page".into());
            return;
        }
        let number = self.world.pages.len();
        let request = request(app, client.metadata.fingerprint(), redirect);
        let pending = json!({
            "request": request,
            "grant": GrantId::new([u8::try_from(number).unwrap() + 1; 16]),
            "rendered_at": now,
            "render_cookie": Digest::of(browser.render_cookie()),
        });
        let pending: Pending = serde_json::from_value(pending).unwrap();
        let version = self.world.versions[app as usize];
        self.world.pages.push(Page {
            browser,
            client: app,
            redirect,
            version,
            pending: Shared::new(pending, now.as_millis()),
            clicks: scenario.clicks,
            approved_by: [false; 2],
            codes: 0,
            connected_at: None,
            code_sent: false,
            redeemed: false,
            generations: 0,
            rotated: 0,
            ended: false,
        });
        self.tell(|_| format!("  it shows page {} for {}", number + 1, app.name()));
        if self.is_off(Protection::ConsentProof) {
            self.tell(|_| "  nobody is asked".into());
            self.post_form(browser, number, false);
        } else if self.is_off(Protection::StateAfterApproval) {
            let (page, post) = (self.world.pages[number].pending.clone(), self.post(false));
            let proof =
                post.and_then(|post| (*page).clone().approve(Some(browser.render_cookie()), &post, now).ok());
            if let Some(proof) = proof {
                let ticket = self.write_ticket(browser, u8::try_from(number).unwrap(), &proof);
                self.world.jars[browser as usize].tickets.push(ticket);
            }
        }
    }

    /// The person who holds the browser answers the page that it shows.
    pub(super) fn approve(&mut self, number: usize) {
        let page = &mut self.world.pages[number];
        page.clicks -= 1;
        let browser = page.browser;
        page.approved_by[browser as usize] = true;
        self.tell(|_| format!("{} presses Approve on page {}", browser.name(), number + 1));
        self.post_form(browser, number, false);
    }

    /// The attacker's site posts his own form from Ada's browser.
    pub(super) fn forge(&mut self, number: usize) {
        self.world.budget.forged -= 1;
        self.tell(|_| format!("Mallory's site posts the form of page {} from Ada's browser", number + 1));
        self.post_form(Browser::Ada, number, true);
    }

    fn post_form(&mut self, browser: Browser, page: usize, cross_site: bool) {
        let page = u8::try_from(page).unwrap();
        self.world.tasks.push(Task::Consent { browser, page, cross_site, at: 0, proof: None, ticket: 0 });
        let number = self.world.tasks.len() - 1;
        while self.world.budget.whole_departures && self.world.tasks.len() > number {
            self.go(number);
        }
    }

    /// `flow/consent.rs`, then `flow/depart.rs`.
    pub(super) fn consent(
        &mut self,
        browser: Browser,
        page: u8,
        cross_site: bool,
        at: &mut u8,
        proof: &mut Option<Shared<ConsentProof>>,
        ticket: &mut u8,
    ) -> Next {
        let facts = self.world.pages[usize::from(page)].clone();
        match at {
            0 => {
                // consent_here: the seal, the cookie, where the POST came from; the client again; the proof.
                self.world.now += 1;
                let handed = self.is_off(Protection::RenderCookie) || self.is_off(Protection::ConsentProof);
                let cookie = if handed { facts.browser } else { browser }.render_cookie();
                let now = self.world.moment();
                let approved = self
                    .post(cross_site)
                    .filter(|_| self.still_asked_by(facts.client, &facts.pending.request).is_some())
                    .and_then(|post| (*facts.pending).clone().approve(Some(cookie), &post, now).ok());
                let Some(approved) = approved else {
                    self.tell(|_| "  refused with a page".into());
                    return Next::Done;
                };
                *proof = Some(Shared::new(approved, now.as_millis()));
            }
            1 => self.note_use(facts.client),
            2 => {
                // depart: the first `state`, its ticket.
                let Some(proof) = proof else { return Next::Done };
                *ticket = self.write_ticket(browser, page, proof);
            }
            _ => {
                // The answer: cookie and URL reach the browser.
                let number = *ticket;
                self.tell(|_| {
                    format!("  {} is sent to the third party, with state {}", whose(browser), number + 1)
                });
                self.world.jars[browser as usize].tickets.push(number);
                self.world.tickets[usize::from(number)].known_by[browser as usize] = true;
                let violation = properties::departure_was_approved(self.world, browser, page.into());
                self.judge(violation);
                return Next::Done;
            }
        }
        *at += 1;
        Next::On
    }

    pub(super) fn write_ticket(&mut self, browser: Browser, page: u8, proof: &ConsentProof) -> u8 {
        let number = u8::try_from(self.world.tickets.len()).unwrap();
        let cookie = Digest::of(ticket_cookie(number));
        // The verifier of our own PKCE pair, whose challenge the third party binds its code to.
        let ticket = Ticket::from_proof(proof, vec![number], cookie, self.world.moment());
        self.world.store.create(Key::Ticket(number), ticket);
        self.world.tickets.push(TicketFacts { page, known_by: [false; 2] });
        self.tell(|_| format!("  ticket {} is written for page {}", number + 1, page + 1));
        let violation = properties::state_was_approved(self.world, browser, page.into());
        self.judge(violation);
        number
    }

    /// The third party: it knows the person by their cookie there, remembers their consent for us, and asks nothing.
    pub(super) fn visit(&mut self, browser: Browser, challenge: State, outcome: Outcome) {
        self.world.budget.visits -= 1;
        let person = if outcome == Outcome::OtherPerson { Person::AdaAtWork } else { browser.person() };
        let wider = outcome == Outcome::Wider;
        self.tell(|_| {
            let more = if wider { ", and gives more scopes than were asked for" } else { "" };
            format!(
                "{} is at the third party with state {}: it knows {} and asks nothing{more}",
                whose(browser),
                challenge.name(),
                person.login()
            )
        });
        self.world.third.push(ThirdCode { challenge, person, wider, used: false, browser });
    }

    /// A browser comes to our callback.
    pub(super) fn deliver(&mut self, browser: Browser, state: State, code: usize) {
        self.world.budget.deliveries -= 1;
        self.tell(|_| {
            format!(
                "{} opens our callback with state {} and the third party's code {}",
                whose(browser),
                state.name(),
                code + 1
            )
        });
        let code = u8::try_from(code).unwrap();
        let ticket = match state {
            State::Ticket(ticket) => ticket,
            State::SignIn(sign_in) => return self.begin_return(browser, sign_in, code),
        };
        let version = self.version_of(self.world.tickets[usize::from(ticket)].page);
        self.world.tasks.push(Task::Arrive {
            browser,
            ticket,
            code,
            version,
            at: 0,
            seen: None,
            proof: None,
        });
    }

    /// The state that the app of a page is in.
    fn version_of(&self, page: u8) -> u8 {
        self.world.versions[self.world.pages[usize::from(page)].client as usize]
    }

    /// `flow/arrive.rs`.
    #[expect(clippy::too_many_arguments, reason = "the fields of the step")]
    pub(super) fn arrive(
        &mut self,
        browser: Browser,
        number: u8,
        code: u8,
        version: u8,
        at: &mut u8,
        seen: &mut Option<Version>,
        proof: &mut Option<Shared<ConsentProof>>,
    ) -> Next {
        if *at == ANSWER {
            // The answer to a callback that made an arrival (which the number means here): id and cookie reach the browser.
            self.world.jars[browser as usize].arrivals.push(number);
            self.world.arrivals[usize::from(number)].sent = true;
            return Next::Done;
        }
        let key = Key::Ticket(number);
        let now = self.world.moment();
        let page = self.world.tickets[usize::from(number)].page;
        let app = self.world.pages[usize::from(page)].client;
        let cookie = if self.is_off(Protection::TicketCookie) {
            Some(ticket_cookie(number))
        } else {
            cookie(&self.world.jars[browser as usize].tickets, number, ticket_cookie)
        };
        let refused = |steps: &mut Self, why: &'static str| {
            steps.tell(|_| format!("  {}: refused, {why}", whose(browser)));
            Next::Done
        };
        match at {
            0 => {
                // 1. Whose browser is this? Judged on a read.
                let Some(ticket) = self.world.store.get::<Ticket>(key) else {
                    return refused(self, "there is no such ticket");
                };
                if ticket.check(cookie.as_deref(), now).is_err() {
                    return refused(self, "its cookie is missing");
                }
                *seen = self.world.store.version(key);
            }
            1 => {
                // 2. Taken, by a conditional write.
                let Some(ticket) = self.world.store.get::<Ticket>(key).cloned() else {
                    return refused(self, "the ticket was taken");
                };
                let taken = self.is_off(Protection::TicketOnce)
                    || seen.is_some_and(|version| self.world.store.take(key, version));
                if !taken {
                    return refused(self, "the ticket was taken");
                }
                self.tell(|_| format!("  {}: ticket {} is taken", whose(browser), number + 1));
                let Ok((proven, _)) = ticket.taken().prove(cookie.as_deref(), now) else {
                    return refused(self, "its cookie is missing");
                };
                let tag = proven.approved_at().as_millis();
                *proof = Some(Shared::new(proven, tag));
            }
            2 => {
                // 3. The client as it is now.
                let Some(proof) = proof else { return Next::Done };
                if self.still_asked_by(app, proof.request()).is_none() {
                    return refused(self, "the app is gone or has changed");
                }
            }
            3 => {
                // The page's one grant must not exist yet.
                let exists = self.world.store.get::<Grant>(Key::Grant(page)).is_some();
                if exists && !self.is_off(Protection::GrantIdOnce) {
                    return refused(self, "this page has given its code already");
                }
            }
            _ => {
                // 4. The exchange: the third party's code is good once, for the verifier of its own ticket. 5. Compared.
                let Some(proof) = proof.clone() else { return Next::Done };
                let third = &mut self.world.third[usize::from(code)];
                if third.used || third.challenge != State::Ticket(number) {
                    return refused(self, "the third party does not accept its code");
                }
                third.used = true;
                let (person, wider) = (third.person, third.wider);
                let came = Came { browser, page, person, wider, version };
                return self.compare(&came, &proof);
            }
        }
        *at += 1;
        Next::On
    }

    /// Step 5 of `flow/arrive.rs`, and `second_page` there.
    fn compare(&mut self, came: &Came, proof: &Shared<ConsentProof>) -> Next {
        let Came { browser, page, person, wider: is_wider, version } = *came;
        let request = proof.request();
        let app = self.world.pages[usize::from(page)].client;
        let mut granted = request.provider_scopes.clone();
        if is_wider {
            granted = granted.union(&ScopeSet::from_iter(["repo"]));
        }
        let wider = granted.minus(&request.provider_scopes);
        let known = self.world.jars[browser as usize].session;
        let known = known.and_then(|session| self.world.store.get::<person::Browser>(Key::Session(session)));
        let known: Option<&Known> = known.and_then(|known| known.people.get(PROVIDER));
        let expected =
            known.filter(|known| known.subject != person.subject()).map(|known| known.login.clone());
        let other_person = expected.is_some();
        let shown_again = (other_person && !self.is_off(Protection::PersonCompare))
            || (!wider.is_empty() && !self.is_off(Protection::ScopeCompare));
        // (Matched again by the step before; nothing is read here.)
        let Some(redirect) = self.still_asked_by(app, request) else { return Next::Done };
        if !shown_again {
            return Next::Become(Task::Conclude(Concluding {
                browser,
                page,
                person,
                arrival: None,
                version,
                other_person,
                wider: is_wider,
                proof: proof.clone(),
                redirect,
                at: 0,
            }));
        }
        let number = u8::try_from(self.world.arrivals.len()).unwrap();
        let record = Arrival {
            request: request.clone(),
            grant: proof.grant(),
            page_expires_at: proof.page_expires_at(),
            person: arriving(person),
            expected_login: expected,
            granted,
            wider,
            tokens: vec![],
            access: Digest::of([number]),
            cookie: Digest::of(arrival_cookie(number)),
            expires_at: self.world.moment().after(ARRIVAL_TTL),
            stage: ArrivalStage::Open,
        };
        self.world.store.create(Key::Arrival(number), record);
        let clicks = self.world.budget.again;
        self.world.arrivals.push(ArrivalFacts {
            page,
            person,
            browser,
            sent: false,
            clicks,
            approved_by: [false; 2],
        });
        self.tell(|_| format!("  {}: a second page is needed", whose(browser)));
        // One more moment: the answer (a crash before it leaves an arrival that nobody knows).
        Next::Become(Task::Arrive {
            browser,
            ticket: number,
            code: 0,
            version,
            at: ANSWER,
            seen: None,
            proof: None,
        })
    }

    /// A person answers a second page, in whatever browser shows it.
    pub(super) fn approve_again(&mut self, browser: Browser, number: usize) {
        // The page is shown to whoever has its cookie (`Flows::show_arrival`).
        let (own, now) = (u8::try_from(number).unwrap(), self.world.moment());
        self.world.arrivals[number].clicks -= 1;
        self.tell(|_| format!("{} opens second page {}", whose(browser), number + 1));
        let cookie = self.arrival_cookie(browser, own);
        let shown = self.world.store.get::<Arrival>(Key::Arrival(own));
        if shown.is_none_or(|arrival| arrival.check(cookie.as_deref(), now).is_err()) {
            self.tell(|_| "  it is not shown".into());
            return;
        }
        self.world.arrivals[number].approved_by[browser as usize] = true;
        self.tell(|_| format!("  {} presses Approve on it", browser.name()));
        self.answer_again(browser, own, false);
    }

    /// The attacker's site answers his second page from Ada's browser.
    pub(super) fn forge_again(&mut self, number: usize) {
        self.world.budget.forged -= 1;
        self.tell(|_| {
            format!("Mallory's site posts the answer to second page {} from Ada's browser", number + 1)
        });
        self.answer_again(Browser::Ada, u8::try_from(number).unwrap(), true);
    }

    fn answer_again(&mut self, browser: Browser, arrival: u8, cross_site: bool) {
        let version = self.version_of(self.world.arrivals[usize::from(arrival)].page);
        self.world.tasks.push(Task::Second { browser, arrival, cross_site, version, at: 0, seen: None });
    }

    fn arrival_cookie(&self, browser: Browser, number: u8) -> Option<String> {
        if self.is_off(Protection::ArrivalCookie) {
            return Some(arrival_cookie(number));
        }
        cookie(&self.world.jars[browser as usize].arrivals, number, arrival_cookie)
    }

    /// `answer_arrival_here` in `flow/second.rs`.
    pub(super) fn second(
        &mut self,
        browser: Browser,
        number: u8,
        cross_site: bool,
        version: u8,
        at: &mut u8,
        seen: &mut Option<Version>,
    ) -> Next {
        let key = Key::Arrival(number);
        let cookie = self.arrival_cookie(browser, number);
        let now = self.world.moment();
        let page = self.world.arrivals[usize::from(number)].page;
        let app = self.world.pages[usize::from(page)].client;
        let Some(arrival) = self.world.store.get::<Arrival>(key).cloned() else { return Next::Done };
        match at {
            0 => {
                let is_ours = self.post(cross_site).is_some();
                if !is_ours || arrival.check(cookie.as_deref(), now).is_err() {
                    self.tell(|_| "  refused with a page".into());
                    return Next::Done;
                }
                *seen = self.world.store.version(key);
                if arrival.taking(now).is_none() && !self.is_off(Protection::ArrivalOnce) {
                    self.tell(|_| "  it was answered already".into());
                    return Next::Done;
                }
            }
            1 => {
                // open → taken, by a conditional write.
                let open = Arrival { stage: ArrivalStage::Open, ..arrival };
                let Some(taking) = open.taking(Timestamp::from_millis(0)) else { return Next::Done };
                let taken = match seen {
                    Some(version) => self.world.store.replace(key, *version, taking.clone()),
                    None => false,
                };
                if !taken && !self.is_off(Protection::ArrivalOnce) {
                    self.tell(|_| "  it was answered already".into());
                    return Next::Done;
                }
                self.tell(|_| format!("  second page {} is taken", number + 1));
            }
            2 => {
                if self.still_asked_by(app, &arrival.request).is_none() {
                    self.world.store.remove(key);
                    return Next::Done;
                }
            }
            _ => {
                // The proof: it counts from now.
                self.world.now += 1;
                let (person, now) = (person_of(&arrival.person.subject), self.world.moment());
                let (other_person, wider) = (arrival.expected_login.is_some(), !arrival.wider.is_empty());
                let proof = self
                    .post(cross_site)
                    .and_then(|post| arrival.clone().taken().prove(cookie.as_deref(), &post, now).ok());
                let redirect = self.still_asked_by(app, &arrival.request);
                let (Some(proof), Some(redirect)) = (proof, redirect) else { return Next::Done };
                return Next::Become(Task::Conclude(Concluding {
                    browser,
                    page,
                    person,
                    arrival: Some(number),
                    version,
                    other_person,
                    wider,
                    proof: Shared::new(proof, now.as_millis()),
                    redirect,
                    at: 0,
                }));
            }
        }
        *at += 1;
        Next::On
    }
}

/// What `authorize_here` makes of the parameters.
fn request(app: App, fingerprint: Digest, redirect: Redirect) -> AuthorizationRequest {
    let server = server();
    let scopes = server.default_scopes();
    // Read like a stored one, so that members which mean nothing here keep their defaults.
    let request = json!({
        "client_id": app.id(),
        "fingerprint": fingerprint,
        "redirect_uri": redirect.uri(),
        "resource": server.resource,
        "resource_named": true,
        "provider_scopes": server.provider_scopes(&scopes),
        "scopes": scopes,
        "provider": PROVIDER,
        "state": null,
        "code_challenge": CodeChallenge::of(VERIFIER),
    });
    serde_json::from_value(request).unwrap()
}

/// Who came back, and how.
struct Came {
    browser: Browser,
    page: u8,
    person: Person,
    wider: bool,
    version: u8,
}

/// A person, as the third party tells of them.
fn arriving(person: Person) -> Arriving {
    let arriving =
        json!({ "subject": person.subject(), "login": person.login(), "display_name": null, "email": null });
    serde_json::from_value(arriving).unwrap()
}
