//! The protections, and a set of those that are switched off.
//!
//! The domain's types cannot be bypassed, so a protection is switched off by handing the real function what it wants: the
//! right cookie although the browser has none, a list of redirect URIs that holds the one that is asked for.

/// A protection of the permission journey.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(crate) enum Protection {
    /// Leaving for the third party takes the proof of a click (`domain::consent::ConsentProof`).
    ConsentProof = 1,
    /// A page is answered by a form of our own only (`domain::post::SameOriginPost`).
    SameOriginPost = 1 << 1,
    /// The consent form is good in the browser that was shown it (`Pending::check`).
    RenderCookie = 1 << 2,
    /// The callback is good in the browser that approved (`Ticket::check`, `TakenTicket::prove`).
    TicketCookie = 1 << 3,
    /// The second page is good in the browser that came back (`Arrival::check`, `TakenArrival::prove`).
    ArrivalCookie = 1 << 4,
    /// A ticket is taken by one conditional write (`flow::arrive`).
    TicketOnce = 1 << 5,
    /// An arrival is taken by one conditional write (`flow::second`).
    ArrivalOnce = 1 << 6,
    /// A page has one grant id, and a grant is written only if its id is new (`flow::conclude`, `flow::arrive`).
    GrantIdOnce = 1 << 7,
    /// A redirect URI is one of the client's registered list (`RegisteredRedirects::matching`).
    RedirectMatch = 1 << 8,
    /// Ticket, `state` and ticket cookie come into being after the approval (`flow::depart`).
    StateAfterApproval = 1 << 9,
    /// A client that changed since its page was shown is refused (`Flows::still_asked_by`).
    Fingerprint = 1 << 10,
    /// Somebody else than this browser is known for is approved again (`flow::arrive`).
    PersonCompare = 1 << 11,
    /// Third-party scopes beyond the approved ones are approved again (`flow::arrive`).
    ScopeCompare = 1 << 12,
    /// A revocation writes its mark before it looks for grants (`flow::revoke`).
    MarkFirst = 1 << 13,
    /// The pending grant is visible before the marks are read (`flow::conclude`).
    PendingFirst = 1 << 14,
    /// Person, client and consent are read again before there is a code (`flow::conclude`).
    MarksReadAgain = 1 << 15,
    /// A new approval leaves the mark of a revocation where it is (`Consent::approved_again`, `flow::conclude`).
    MarksKept = 1 << 16,
    /// A code is redeemed by a conditional write (`flow::redeem`).
    RedeemOnce = 1 << 17,
    /// Whoever is admitted or refreshes is held against the marks (`Flows::is_revoked`).
    MarksAtUse = 1 << 18,
    /// A revocation, or the sweeper after a crash, ends every grant that it covers (`Flows::end_grants_of`).
    EndsGrants = 1 << 19,
    /// A refresh token is rotated by a conditional write, and an old one ends the grant (`Grant::judge_refresh`).
    RefreshOnce = 1 << 20,
    /// Leaving to sign in takes the proof of a click on the page of connected apps (`domain::sign_in::SignInProof`).
    SignInAsked = 1 << 21,
    /// That proof, its record and its `state` are of a kind of their own: nothing of an approval can be made of them.
    SignInOfItsOwn = 1 << 22,
    /// The way back of a sign-in is good in the browser that asked (`SignIn::check`, `TakenSignIn::prove`).
    SignInCookie = 1 << 23,
    /// A sign-in is taken by one conditional write (`flow::sign_in`).
    SignInOnce = 1 << 24,
    /// Whoever ends something on the page of connected apps is signed in as whom it showed (`AccountPage::owner`).
    OwnerCompared = 1 << 25,
    /// And means only what it showed (`Owner::was_shown`).
    OnlyWhatWasShown = 1 << 26,
}

/// Which protections are switched off.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Off(u32);

impl Off {
    /// None of them: the world as it is.
    pub(crate) const NONE: Self = Self(0);

    /// These.
    pub(crate) fn of(protections: &[Protection]) -> Self {
        Self(protections.iter().fold(0, |set, &protection| set | protection as u32))
    }

    /// Whether this one is.
    pub(crate) fn has(self, protection: Protection) -> bool {
        self.0 & protection as u32 != 0
    }
}
