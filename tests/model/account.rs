//! The page of connected apps and sign-ins without an app: what people and browsers know of them, and what may happen.

use crate::{
    domain::{account::AccountPage, sign_in::SignInProof},
    scenario::Scenario,
    world::{Action, Browser, Outcome, Person, Shared, World},
};

/// A `state` at the third party: each kind has records of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum State {
    /// Of an approval.
    Ticket(u8),
    /// Of a sign-in.
    SignIn(u8),
}

impl State {
    /// How it is called in a tale.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Ticket(number) => format!("{}", number + 1),
            Self::SignIn(number) => format!("{} (of a sign-in)", number + 1),
        }
    }
}

/// A page of connected apps that was rendered.
#[derive(Clone, Debug, Hash)]
pub(crate) struct AccountFacts {
    /// In whose browser. Its form is known there and nowhere else.
    pub(crate) browser: Browser,
    /// What its form holds, sealed.
    pub(crate) page: Shared<AccountPage>,
    /// Whose apps it shows.
    pub(crate) shows: Option<Person>,
    /// What was approved until then, it shows.
    pub(crate) shown_until: u64,
    /// How often it may still be answered.
    pub(crate) presses: u8,
    /// In whose browser a person pressed Sign in on it.
    pub(crate) asked_by: [bool; 2],
    /// In whose browser a person pressed Disconnect on it.
    pub(crate) taken_back_by: [bool; 2],
}

/// A sign-in on its way, and the URL of the third party that goes with it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct SignInFacts {
    /// From which page.
    pub(crate) account: u8,
    /// Who knows its `state`, and the URL.
    pub(crate) known_by: [bool; 2],
}

/// What an answer to the page asks for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Asked {
    /// To sign in.
    SignIn,
    /// To end what “Notes” may do.
    Disconnect,
}

/// An answer to a page of connected apps, under way.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Answering {
    pub(crate) browser: Browser,
    pub(crate) account: u8,
    pub(crate) asked: Asked,
    pub(crate) cross_site: bool,
    pub(crate) at: u8,
    pub(crate) proof: Option<Shared<SignInProof>>,
    pub(crate) owner: Option<Person>,
    pub(crate) sign_in: u8,
}

/// The way back of a sign-in, under way.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Returning {
    pub(crate) browser: Browser,
    pub(crate) sign_in: u8,
    pub(crate) code: u8,
    pub(crate) at: u8,
    pub(crate) seen: Option<crate::store::Version>,
    pub(crate) person: Option<Person>,
}

impl World {
    /// What people and the attacker may do with pages of connected apps.
    pub(crate) fn account_actions(&self, scenario: &Scenario, out: &mut Vec<Action>) {
        if self.budget.accounts > 0 {
            out.extend(scenario.accounts_of.iter().map(|&browser| Action::OpenAccount(browser)));
        }
        for (number, account) in self.accounts.iter().enumerate() {
            let can_disconnect = scenario.disconnects && account.shows.is_some();
            if account.presses > 0 {
                out.push(Action::AnswerAccount(number, Asked::SignIn));
                if can_disconnect {
                    out.push(Action::AnswerAccount(number, Asked::Disconnect));
                }
            }
            if self.budget.forged > 0 && account.browser == Browser::Mallory {
                out.push(Action::ForgeAccount(number, Asked::SignIn));
                if scenario.disconnects {
                    out.push(Action::ForgeAccount(number, Asked::Disconnect));
                }
            }
        }
    }

    /// Who goes to the third party with the `state` of a sign-in.
    pub(crate) fn sign_in_visits(&self, scenario: &Scenario, out: &mut Vec<Action>) {
        for (number, sign_in) in self.sign_ins.iter().enumerate().filter(|_| self.budget.visits > 0) {
            Self::visits_with(State::SignIn(u8::try_from(number).unwrap()), sign_in.known_by, scenario, out);
        }
    }

    /// Whoever knows a URL opens it; the attacker makes Ada's browser open what he knows.
    pub(crate) fn visits_with(
        state: State,
        [ada, mallory]: [bool; 2],
        scenario: &Scenario,
        out: &mut Vec<Action>,
    ) {
        if ada || mallory {
            out.extend(scenario.outcomes.iter().map(|&outcome| Action::Visit(Browser::Ada, state, outcome)));
        }
        if mallory {
            // He is nobody else, and may give more.
            let his = scenario.outcomes.iter().filter(|outcome| **outcome != Outcome::OtherPerson);
            out.extend(his.map(|&outcome| Action::Visit(Browser::Mallory, state, outcome)));
        }
    }

    /// Every `state` that there is, and who knows it.
    pub(crate) fn states(&self) -> impl Iterator<Item = (State, [bool; 2])> {
        let number = |at: usize| u8::try_from(at).unwrap();
        let tickets = self.tickets.iter().enumerate();
        let tickets = tickets.map(move |(at, ticket)| (State::Ticket(number(at)), ticket.known_by));
        let sign_ins = self.sign_ins.iter().enumerate();
        tickets.chain(sign_ins.map(move |(at, sign_in)| (State::SignIn(number(at)), sign_in.known_by)))
    }
}
