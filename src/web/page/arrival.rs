//! The arrival page: a second approval, after the third party and before any code exists.
//!
//! Shown when the third party came back with another person than the one this browser is known to belong to, or
//! with more scopes than were approved. It shows what is real now: the account's name and the scopes that came.

use serde::Serialize;

use super::{Asking, Demands, Label, PageContext, PageKind, ScopeLine, StartAgain};

/// The page at `GET /arrival`; its form posts `id` and `decision` (`deny` or `approve`) to `/arrival`.
///
/// Not `Debug`: the id of an arrival is a handle.
#[derive(Serialize)]
pub struct Arrival {
    /// Who asks for what, as on the consent page.
    pub asking: Asking,
    /// The account that signed in at the third party.
    pub account: Label,
    /// Why the person is asked again.
    pub reason: ArrivalReason,
    /// The scopes that the third party gave, the additional ones marked [`ScopeLine::is_new`].
    pub provider_scopes: Vec<ScopeLine>,
    /// The same request with another account; where the third party lets people choose.
    pub other_account: Option<StartAgain>,
    /// The id of the arrival record.
    pub id: String,
}

/// Why a person is asked again after coming back from the third party.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArrivalReason {
    /// The person wanted another account than this browser was known for, and this one signed in.
    ChosenPerson {
        /// The account that this browser was known for.
        expected: Label,
    },
    /// Somebody else than this browser's person signed in, and more was given than was approved.
    Both {
        /// The account that this browser was known for.
        expected: Label,
    },
    /// Somebody else than this browser's person signed in.
    DifferentPerson {
        /// The account that this browser was known for.
        expected: Label,
    },
    /// More was given than was approved.
    WiderScopes,
}

impl PageContext for Arrival {
    const KIND: PageKind = PageKind::Arrival;

    fn demands(&self, demands: &mut Demands) {
        self.asking.demand(demands);
        self.asking.demand_details(demands);
        demands.label("the account that signed in", &self.account);
        ScopeLine::demand("a scope of the provider", &self.provider_scopes, demands);
        match &self.reason {
            ArrivalReason::WiderScopes => {}
            ArrivalReason::Both { expected }
            | ArrivalReason::ChosenPerson { expected }
            | ArrivalReason::DifferentPerson { expected } => {
                demands.label("the account that was expected", expected);
            }
        }
        let boxes = self.asking.scopes.iter().filter(|line| line.is_optional);
        let boxes = boxes.map(|line| line.name.as_str().to_owned()).collect();
        demands.form("/arrival", ("id", &self.id), boxes);
    }

    fn samples() -> Vec<Self> {
        let given = vec![
            ScopeLine::new("read:user", Some("Read your profile")),
            ScopeLine { is_new: true, ..ScopeLine::new("repo", Some("Read and write your repositories")) },
            ScopeLine { is_new: true, ..ScopeLine::new("admin:org", None) },
        ];
        let same = vec![ScopeLine::new("read:user", Some("Read your profile"))];
        let expected = Label::new("octocat");
        let reasons = [
            (ArrivalReason::WiderScopes, given.clone()),
            (ArrivalReason::DifferentPerson { expected: expected.clone() }, same),
            (ArrivalReason::Both { expected }, given),
            (ArrivalReason::DifferentPerson { expected: Label::new("\u{202E}x<b>'\"&") }, Vec::new()),
            (ArrivalReason::ChosenPerson { expected: Label::new("octocat") }, Vec::new()),
        ];
        let accounts = ["octocat", "hubot", "hubot", "<script>alert(1)</script>", "hubot"];
        let again = StartAgain::new("/authorize?client_id=c&prompt=select_account");
        Asking::samples()
            .into_iter()
            .zip(reasons)
            .zip(accounts)
            .map(|((asking, (reason, provider_scopes)), account)| Self {
                asking,
                account: Label::new(account),
                reason,
                provider_scopes,
                other_account: again.clone(),
                id: "YXJyaXZhbC1pZA".to_owned(),
            })
            .collect()
    }
}
