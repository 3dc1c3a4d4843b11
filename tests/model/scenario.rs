//! The worlds that are searched: who is there, and how often each thing may happen.
//!
//! One world in which everything may happen would be too large; each of these is whole in what it is about.

use crate::world::{App, Browser, Outcome, Redirect, Revoked};

/// A world. The numbers bound what may happen; everything within them is tried in every order.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a world")]
pub(crate) struct Scenario {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// Which authorization requests are made, in whose browser.
    pub(crate) pages: &'static [(Browser, App, Redirect)],
    /// How many pages are rendered.
    pub(crate) max_pages: u8,
    /// How often one page is answered.
    pub(crate) clicks: u8,
    /// How often a second page is answered.
    pub(crate) again: u8,
    /// How often a browser goes to the third party.
    pub(crate) visits: u8,
    /// How often a browser comes to the callback.
    pub(crate) deliveries: u8,
    /// What the third party may do to Ada.
    pub(crate) outcomes: &'static [Outcome],
    /// Whether Ada's browser is known for Ada when it begins.
    pub(crate) known: bool,
    /// Whether there is an attacker: he registers, changes his client, links, and posts forms from Ada's browser.
    pub(crate) attacker: bool,
    /// How often he posts a form from Ada's browser.
    pub(crate) forged: u8,
    /// How often a client changes.
    pub(crate) changes: u8,
    /// Whether a step runs to its end at once. False: every write and read of every step is a moment of its own, in which
    /// everything else may happen.
    pub(crate) whole_steps: bool,
    /// Whether at least the way from a click to the third party is one moment.
    pub(crate) whole_departures: bool,
    /// How many steps are under way at once.
    pub(crate) tasks: usize,
    /// What is revoked.
    pub(crate) revoked: &'static [Revoked],
    /// How often.
    pub(crate) revocations: u8,
    /// How often the process dies.
    pub(crate) crashes: u8,
    /// How often a code is redeemed.
    pub(crate) redeems: u8,
    /// How often is refreshed.
    pub(crate) refreshes: u8,
    /// Whether two hours pass, and the sweeper comes.
    pub(crate) time_passes: bool,
    /// In whose browsers the page of connected apps is opened.
    pub(crate) accounts_of: &'static [Browser],
    /// How often.
    pub(crate) accounts: u8,
    /// How often one such page is answered.
    pub(crate) presses: u8,
    /// Whether apps are disconnected there.
    pub(crate) disconnects: bool,
}

const HONEST: &[(Browser, App, Redirect)] = &[(Browser::Ada, App::Notes, Redirect::Notes)];

const STRANGERS: &[(Browser, App, Redirect)] = &[
    (Browser::Ada, App::Notes, Redirect::Notes),
    (Browser::Ada, App::Evil, Redirect::Evil),
    // The client id of an app that many people share, with another redirect URI.
    (Browser::Ada, App::Notes, Redirect::Evil),
    (Browser::Mallory, App::Notes, Redirect::Notes),
    (Browser::Mallory, App::Evil, Redirect::Evil),
];

const NOTHING: Scenario = Scenario {
    name: "",
    pages: HONEST,
    max_pages: 1,
    clicks: 1,
    again: 1,
    visits: 1,
    deliveries: 1,
    outcomes: &[Outcome::Own],
    known: false,
    attacker: false,
    forged: 0,
    changes: 0,
    whole_steps: false,
    whole_departures: false,
    tasks: 2,
    revoked: &[],
    revocations: 0,
    crashes: 0,
    redeems: 0,
    refreshes: 0,
    time_passes: false,
    accounts_of: &[],
    accounts: 0,
    presses: 1,
    disconnects: false,
};

/// Ada and an attacker: what he can do with links, forms, callbacks and clients of his own.
pub(crate) const ATTACKER: Scenario = Scenario {
    name: "attacker",
    pages: STRANGERS,
    max_pages: 2,
    visits: 2,
    deliveries: 2,
    outcomes: &[Outcome::Own],
    attacker: true,
    forged: 1,
    whole_steps: true,
    ..NOTHING
};

/// The part of it that is about forms.
pub(crate) const FORMS: Scenario = Scenario { name: "forms", visits: 1, deliveries: 1, ..ATTACKER };

/// An app that changes while Ada and others use it.
pub(crate) const CHANGING: Scenario = Scenario {
    name: "changing app",
    pages: &[(Browser::Ada, App::Evil, Redirect::Evil)],
    attacker: true,
    changes: 2,
    outcomes: &[Outcome::Own, Outcome::Wider],
    ..NOTHING
};

/// The same as the first, where the third party brings somebody else back, or more scopes: the second page.
pub(crate) const SECOND_PAGE: Scenario = Scenario {
    name: "second page",
    pages: &[(Browser::Ada, App::Notes, Redirect::Notes), (Browser::Mallory, App::Evil, Redirect::Evil)],
    max_pages: 2,
    visits: 2,
    deliveries: 2,
    outcomes: &[Outcome::Own, Outcome::OtherPerson, Outcome::Wider],
    known: true,
    attacker: true,
    forged: 1,
    whole_steps: true,
    ..NOTHING
};

/// One page, posted twice and brought back twice, with a crash: every two steps against each other.
pub(crate) const TWICE: Scenario =
    Scenario { name: "twice", clicks: 2, visits: 2, deliveries: 2, crashes: 1, redeems: 2, ..NOTHING };

/// One page, posted once, its callback brought back twice.
pub(crate) const CALLBACK_TWICE: Scenario =
    Scenario { name: "callback twice", clicks: 1, visits: 2, deliveries: 2, ..NOTHING };

/// One second page, answered twice.
pub(crate) const ARRIVAL_TWICE: Scenario = Scenario {
    name: "second page twice",
    again: 2,
    visits: 1,
    deliveries: 1,
    outcomes: &[Outcome::Wider],
    crashes: 1,
    ..NOTHING
};

/// A callback, its code and its tokens against a revocation and a crash, and the sweeper afterwards.
pub(crate) const REVOKED: Scenario = Scenario {
    name: "revoked",
    visits: 1,
    deliveries: 1,
    revoked: &[Revoked::Consent, Revoked::Person, Revoked::Client],
    revocations: 1,
    crashes: 1,
    redeems: 1,
    refreshes: 1,
    time_passes: true,
    ..NOTHING
};

/// Two approvals of the same app, the first of them slow, and a revocation between them.
pub(crate) const APPROVED_AGAIN: Scenario = Scenario {
    name: "approved again",
    max_pages: 2,
    visits: 2,
    deliveries: 2,
    revoked: &[Revoked::Consent],
    revocations: 1,
    whole_departures: true,
    ..NOTHING
};

/// Codes and refresh tokens, presented again and at the same time, with a crash, and after two hours.
pub(crate) const TOKENS: Scenario = Scenario {
    name: "tokens",
    visits: 1,
    deliveries: 1,
    redeems: 3,
    refreshes: 3,
    crashes: 1,
    time_passes: true,
    ..NOTHING
};

/// A sign-in without an app beside an approval, and an attacker who carries `state`s, codes and forms from one to the other.
pub(crate) const SIGN_IN: Scenario = Scenario {
    name: "sign-in",
    pages: &[(Browser::Ada, App::Evil, Redirect::Evil), (Browser::Mallory, App::Evil, Redirect::Evil)],
    visits: 2,
    deliveries: 2,
    attacker: true,
    forged: 1,
    whole_steps: true,
    accounts_of: &[Browser::Ada, Browser::Mallory],
    accounts: 2,
    ..NOTHING
};

/// One sign-in, brought back twice at once, and a crash.
pub(crate) const SIGN_IN_TWICE: Scenario = Scenario {
    name: "sign-in twice",
    max_pages: 0,
    visits: 2,
    deliveries: 2,
    crashes: 1,
    accounts_of: &[Browser::Ada],
    accounts: 1,
    ..NOTHING
};

/// What Ada connected and takes back on the page of connected apps, answered twice, while she connects it anew, changes
/// her account, and an attacker posts his own page from her browser.
pub(crate) const CONNECTED: Scenario = Scenario {
    name: "connected apps",
    max_pages: 2,
    visits: 2,
    deliveries: 2,
    outcomes: &[Outcome::Own, Outcome::OtherPerson],
    known: true,
    attacker: true,
    forged: 1,
    whole_steps: true,
    redeems: 1,
    revocations: 3,
    accounts_of: &[Browser::Ada, Browser::Mallory],
    accounts: 1,
    presses: 2,
    disconnects: true,
    ..NOTHING
};

/// The same with less of everything, for what has very many states: protections off that nothing breaks for lack of.
pub(crate) const CONNECTED_BRIEFLY: Scenario = Scenario {
    name: "connected apps, briefly",
    max_pages: 1,
    visits: 1,
    deliveries: 1,
    presses: 1,
    ..CONNECTED
};

/// The same read by read and write by write: one app, taken back while its callback or its tokens are under way, and a crash.
pub(crate) const TAKEN_BACK: Scenario = Scenario {
    name: "taken back",
    known: true,
    whole_departures: true,
    redeems: 1,
    crashes: 1,
    revocations: 2,
    accounts_of: &[Browser::Ada],
    accounts: 1,
    presses: 2,
    disconnects: true,
    ..NOTHING
};

/// All of them.
pub(crate) const ALL: [&Scenario; 13] = [
    &ATTACKER,
    &CHANGING,
    &SECOND_PAGE,
    &TWICE,
    &CALLBACK_TWICE,
    &ARRIVAL_TWICE,
    &REVOKED,
    &APPROVED_AGAIN,
    &TOKENS,
    &SIGN_IN,
    &SIGN_IN_TWICE,
    &CONNECTED,
    &TAKEN_BACK,
];
