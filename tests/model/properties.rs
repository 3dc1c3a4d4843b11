//! What must hold in every state, judged by what the people did and never by what the gateway has stored about it.

use std::fmt;

use crate::world::{Browser, Person, World};

/// The named properties.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Property {
    /// No code reaches a redirect URI unless the person holding this browser approved it here, for this client, redirect
    /// URI and scopes, before the departure; what the third party changed was approved again.
    P1,
    /// One rendered page, at most one code; one code, at most one answer; one refresh token, at most one successor.
    P2,
    /// No departure without approval.
    P3,
    /// No state (no ticket, no cookie of one) before approval.
    P4,
    /// Nothing revoked comes back.
    P5,
    /// No browser is signed in as somebody unless the person holding it asked for that here, and came back in it.
    P6,
    /// What a person gave to an app is ended on the page of connected apps by that person only, and only what it showed.
    P7,
}

/// How a property was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// Which one.
    pub(crate) property: Property,
    /// How.
    pub(crate) how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.property, self.how)
    }
}

/// A code on its way to a client.
pub(crate) struct SentCode<'a> {
    /// In which browser.
    pub(crate) browser: Browser,
    /// The page that it goes back to.
    pub(crate) page: usize,
    /// The second page, where there was one.
    pub(crate) arrival: Option<usize>,
    /// The state of the app when it was last looked at before the code was made.
    pub(crate) version: u8,
    /// Where it goes.
    pub(crate) redirect: &'a str,
    /// Whether the third party named somebody else than this browser is known for.
    pub(crate) other_person: bool,
    /// Whether the third party granted more than the page showed.
    pub(crate) wider: bool,
    /// Whether the MCP scopes are among those of the page.
    pub(crate) scopes_were_shown: bool,
}

/// P1.
pub(crate) fn code_was_approved(world: &World, code: &SentCode<'_>) -> Option<Violation> {
    let page = &world.pages[code.page];
    let name = code.browser.name();
    let wrong = |how: String| Some(Violation { property: Property::P1, how });
    if !page.approved_by[code.browser as usize] {
        return wrong(format!(
            "a code for {} reached {} in {name}'s browser, where nobody approved that",
            page.client.name(),
            code.redirect
        ));
    }
    if page.redirect.uri() != code.redirect || !code.scopes_were_shown {
        return wrong(format!("a code reached {} with more than {name} approved", code.redirect));
    }
    if !page.client.registered(code.version).contains(&code.redirect) {
        return wrong(format!(
            "a code for {} reached {}, which is not its own",
            page.client.name(),
            code.redirect
        ));
    }
    if code.version != page.version {
        return wrong(format!("{} is not any more what {name} was shown", page.client.name()));
    }
    let again =
        code.arrival.is_some_and(|arrival| world.arrivals[arrival].approved_by[code.browser as usize]);
    if code.other_person && !again {
        return wrong(format!("somebody else came back than {name}, and nobody approved that"));
    }
    if code.wider && !again {
        return wrong(format!("the third party granted more than {name} approved"));
    }
    if code.arrival.is_some() && !again {
        return wrong(format!("a second page of {name}'s was answered by nobody"));
    }
    None
}

/// P3.
pub(crate) fn departure_was_approved(world: &World, browser: Browser, page: usize) -> Option<Violation> {
    let page = &world.pages[page];
    (!page.approved_by[browser as usize]).then(|| Violation {
        property: Property::P3,
        how: format!(
            "{}'s browser is sent to the third party for {}, and nobody approved that there",
            browser.name(),
            page.client.name()
        ),
    })
}

/// P3, for leaving without an app.
pub(crate) fn sign_in_departure_was_asked(
    world: &World,
    browser: Browser,
    account: usize,
) -> Option<Violation> {
    (!world.accounts[account].asked_by[browser as usize]).then(|| Violation {
        property: Property::P3,
        how: format!("{}'s browser is sent to sign in, and nobody asked for that there", browser.name()),
    })
}

/// P6: called when a browser was signed in without an app.
pub(crate) fn sign_in_was_asked(
    world: &World,
    browser: Browser,
    sign_in: usize,
    code: usize,
) -> Option<Violation> {
    let asked = world.accounts[usize::from(world.sign_ins[sign_in].account)].asked_by[browser as usize];
    let third = &world.third[code];
    let how = if !asked {
        "nobody asked for that there"
    } else if third.browser != browser {
        "it came back in another browser"
    } else {
        return None;
    };
    let (name, person) = (browser.name(), third.person.login());
    let how = format!("{name}'s browser is signed in as {person}, and {how}");
    Some(Violation { property: Property::P6, how })
}

/// P7: called when an answer to a page of connected apps is taken as this person's.
pub(crate) fn owner_was_shown(
    world: &World,
    browser: Browser,
    account: usize,
    owner: Person,
) -> Option<Violation> {
    let (facts, name) = (&world.accounts[account], browser.name());
    let how = if !facts.taken_back_by[browser as usize] {
        format!("an app of {}'s is disconnected from {name}'s browser by nobody", owner.login())
    } else if facts.shows != Some(owner) {
        format!("{name} disconnects an app of {}'s, whom the page did not show", owner.login())
    } else {
        return None;
    };
    Some(Violation { property: Property::P7, how })
}

/// P7: called when that answer ends what “Notes” may do.
pub(crate) fn connection_was_shown(world: &World, account: usize, owner: Person) -> Option<Violation> {
    let shown_until = world.accounts[account].shown_until;
    let was_shown = world.pages.iter().any(|page| {
        let is_theirs = page.connected_at.is_some_and(|(person, at)| person == owner && at <= shown_until);
        is_theirs && !page.ended
    });
    (!was_shown).then(|| Violation {
        property: Property::P7,
        how: "what was connected after the page was shown is ended by an answer to it".to_owned(),
    })
}

/// P4.
pub(crate) fn state_was_approved(world: &World, browser: Browser, page: usize) -> Option<Violation> {
    (!world.pages[page].approved_by[browser as usize]).then(|| Violation {
        property: Property::P4,
        how: format!("a state and its cookie exist for {}'s browser before an approval", browser.name()),
    })
}

/// P2, for codes: called after a code was made for a page.
pub(crate) fn one_code(world: &World, page: usize) -> Option<Violation> {
    (world.pages[page].codes > 1)
        .then(|| Violation { property: Property::P2, how: format!("page {} gave two codes", page + 1) })
}

/// P2, for what a code or a refresh token is good for.
pub(crate) fn one_answer(already: bool, what: &str) -> Option<Violation> {
    already.then(|| Violation { property: Property::P2, how: format!("{what} was good twice") })
}

/// P5: nothing is issued for what has ended, or whose revocation was acknowledged.
pub(crate) fn not_revoked(
    world: &World,
    page: usize,
    person: Person,
    approved_at: u64,
    what: &str,
) -> Option<Violation> {
    let acknowledged = world
        .revocations
        .iter()
        .any(|revocation| revocation.acknowledged && revocation.covers(world, page, person, approved_at));
    let why = if world.pages[page].ended {
        "its grant had ended"
    } else if acknowledged {
        "its revocation had been acknowledged"
    } else {
        return None;
    };
    Some(Violation { property: Property::P5, how: format!("{what} of page {} although {why}", page + 1) })
}

/// P5, in every state: what carries a mark of revocation is not admitted.
pub(crate) fn nothing_revoked_is_admitted(
    world: &World,
    page: usize,
    person: Person,
    approved_at: u64,
) -> Option<Violation> {
    let marked = world
        .revocations
        .iter()
        .any(|revocation| revocation.marked && revocation.covers(world, page, person, approved_at));
    marked.then(|| Violation {
        property: Property::P5,
        how: format!("a token of page {} is admitted although that was revoked", page + 1),
    })
}
