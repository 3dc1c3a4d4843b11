//! `src/flow/redeem.rs` and `src/flow/refresh.rs`.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use super::{Next, Steps, permission::VERIFIER, person_of};
use crate::{
    domain::{
        client::Client,
        grant::{Access, Grant, Minted, Redeemed, Redemption, Refreshed},
        handle::{GrantId, Handle, Kind, Presented},
        secret::Digest,
    },
    properties,
    store::{Key, Version},
    switches::Protection,
    world::{Ending, Shared, Task},
};

const ACCESS_TTL: Duration = Duration::from_hours(1);
const REFRESH_TTL: Duration = Duration::from_hours(720);
const GRACE: Duration = Duration::from_mins(1);
const FAMILY: [u8; 16] = [9; 16];

fn grant_id(page: u8) -> GrantId {
    GrantId::new([page + 1; 16])
}

/// The code of a page, by its number, as it is presented.
pub(super) fn code(page: u8, number: u8) -> Presented {
    presented(Kind::Code, page, number)
}

/// An access token of a page, by its generation.
pub(super) fn access_token(page: u8, generation: u8) -> Presented {
    presented(Kind::AccessToken, page, generation)
}

fn refresh_token(page: u8, generation: u8) -> Presented {
    presented(Kind::RefreshToken, page, generation)
}

/// Each is made and parsed once: the same question has the same answer.
fn presented(kind: Kind, page: u8, number: u8) -> Presented {
    thread_local! {
        static MADE: RefCell<HashMap<(u8, u8, u8), Presented>> = RefCell::default();
    }
    let make = || {
        let handle = match kind {
            Kind::RefreshToken => Handle::refresh_token(grant_id(page), FAMILY, [number; 32]),
            kind => Handle::of_grant(kind, grant_id(page), [number; 32]),
        };
        Presented::parse(kind, handle.expose()).unwrap()
    };
    MADE.with_borrow_mut(|made| *made.entry((kind as u8, page, number)).or_insert_with(make))
}

impl Steps<'_> {
    fn minted(&self, page: u8, generation: u8, grant: &Grant) -> Minted {
        let now = self.world.moment();
        Minted {
            refresh: refresh_token(page, generation).digest,
            access: Access {
                digest: access_token(page, generation).digest,
                scopes: grant.scopes.clone(),
                expires_at: now.after(ACCESS_TTL),
            },
            refresh_expires_at: now.after(REFRESH_TTL),
        }
    }

    /// `Flows::authenticated` in `flow/mod.rs`, for a public client.
    fn client_is_usable(&self, page: u8) -> bool {
        let app = self.world.pages[usize::from(page)].client;
        let client = self.world.store.get::<Client>(Key::Client(app as u8));
        client.is_some_and(|client| client.is_usable(self.world.moment()))
    }

    /// An app redeems its code, or somebody who has no verifier does.
    pub(super) fn begin_redeem(&mut self, page: usize, right_verifier: bool) {
        self.world.budget.redeems -= 1;
        self.tell(|world| {
            let with = if right_verifier { "its verifier" } else { "a wrong verifier" };
            format!("{} presents the code of page {} with {with}", world.pages[page].client.name(), page + 1)
        });
        let page = u8::try_from(page).unwrap();
        self.world.tasks.push(Task::Redeem { page, right_verifier, at: 0, seen: None });
    }

    /// `redeem_here`.
    pub(super) fn redeem(
        &mut self,
        page: u8,
        right_verifier: bool,
        at: &mut u8,
        seen: &mut Option<(Version, Shared<Grant>)>,
    ) -> Next {
        let key = Key::Grant(page);
        let now = self.world.moment();
        if *at == 0 {
            // Loaded and judged.
            let (Some(version), Some(grant)) =
                (self.world.store.version(key), self.world.store.get::<Grant>(key))
            else {
                return Next::Done;
            };
            let code = code(page, self.world.pages[usize::from(page)].codes.saturating_sub(1));
            let redemption = Redemption {
                code,
                client_id: &grant.client_id,
                verifier: if right_verifier {
                    VERIFIER
                } else {
                    "another-verifier-another-verifier-another-verifier"
                },
                redirect_uri: None,
            };
            if !self.client_is_usable(page) {
                return Next::Done;
            }
            match grant.judge_code(&redemption, now) {
                Redeemed::Good => {
                    *seen = Some((version, Shared::new(grant.clone(), 0)));
                    *at = 1;
                    return Next::On;
                }
                Redeemed::Refused(why) => {
                    self.tell(|_| format!("  refused: {why}"));
                    return Next::Done;
                }
                Redeemed::Replayed => {
                    self.tell(|_| "  it was redeemed before: its grant has to end".into());
                    return Next::Become(Task::End(Ending { page, at: 0, consent: None }));
                }
            }
        }
        // Written, under the version that was read; else from the beginning.
        let Some((version, grant)) = seen.take() else { return Next::Done };
        let generation = self.world.pages[usize::from(page)].generations;
        let minted = self.minted(page, generation, &grant);
        let Some(next) = grant.redeemed(Digest::of(FAMILY), minted) else { return Next::Done };
        let written = if self.is_off(Protection::RedeemOnce) {
            self.world.store.put(key, next);
            true
        } else {
            self.world.store.replace(key, version, next)
        };
        if !written {
            *at = 0;
            return Next::On;
        }
        self.tell(|_| format!("  the code of page {} becomes tokens", page + 1));
        let number = usize::from(page);
        let violation = properties::one_answer(self.world.pages[number].redeemed, "a code");
        self.judge(violation);
        self.world.pages[number].redeemed = true;
        self.world.pages[number].generations += 1;
        self.judge_issue(page, &grant);
        self.note_use(self.world.pages[number].client);
        Next::Done
    }

    fn judge_issue(&mut self, page: u8, grant: &Grant) {
        let (person, at) = (person_of(&grant.subject), grant.approved_at.as_millis());
        let violation = properties::not_revoked(self.world, page.into(), person, at, "tokens were issued");
        self.judge(violation);
    }

    /// An app refreshes with some token that it ever got, or somebody who copied it does.
    pub(super) fn begin_refresh(&mut self, page: usize, generation: u8) {
        self.world.budget.refreshes -= 1;
        self.tell(|_| format!("refresh token {} of page {} is presented", generation + 1, page + 1));
        self.world.tasks.push(Task::Refresh { page: u8::try_from(page).unwrap(), generation, at: 0 });
    }

    /// `refresh_here`. The last moment judges again and writes: together one conditional write.
    pub(super) fn refresh(&mut self, page: u8, generation: u8, at: &mut u8) -> Next {
        let key = Key::Grant(page);
        let now = self.world.moment();
        let Some(grant) = self.world.store.get::<Grant>(key).cloned() else { return Next::Done };
        if *at == 0 && !self.client_is_usable(page) {
            return Next::Done;
        }
        if *at == 1 {
            // renew_what_it_stands_on: the marks.
            if self.is_revoked(person_of(&grant.subject), page, &grant) {
                self.tell(|_| "  refused: that was revoked".into());
                return Next::Done;
            }
            *at = 2;
            return Next::On;
        }
        let newest = self.world.pages[usize::from(page)].generations.saturating_sub(1);
        let presented = if self.is_off(Protection::RefreshOnce) { newest } else { generation };
        match grant.judge_refresh(&refresh_token(page, presented), &grant.client_id, GRACE, now) {
            Refreshed::Refused(why) => {
                self.tell(|_| format!("  refused: {why}"));
                Next::Done
            }
            Refreshed::TooFast => Next::Done,
            Refreshed::Reused => {
                self.tell(|_| "  it was replaced long ago: its grant has to end".into());
                Next::Become(Task::End(Ending { page, at: 0, consent: None }))
            }
            Refreshed::Replay(next) => {
                self.tell(|_| "  the same answer again".into());
                self.judge_issue(page, &grant);
                self.world.store.put(key, *next);
                Next::Done
            }
            Refreshed::Rotate if *at == 0 => {
                *at = 1;
                Next::On
            }
            Refreshed::Rotate => {
                let minted = self.minted(page, newest + 1, &grant);
                let Some((next, _)) = grant.rotated(minted, vec![1], GRACE, now) else { return Next::Done };
                self.world.store.put(key, next);
                self.tell(|_| "  new tokens".into());
                let facts = &mut self.world.pages[usize::from(page)];
                let before = facts.rotated & (1 << generation) != 0;
                facts.rotated |= 1 << generation;
                facts.generations += 1;
                let violation = properties::one_answer(before, "a refresh token");
                self.judge(violation);
                self.judge_issue(page, &grant);
                Next::Done
            }
        }
    }
}
