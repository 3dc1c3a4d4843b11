//! `src/flow/revoke.rs`, and what `src/flow/sweep.rs` repeats of it.

use super::{Next, Steps, consent_key, meant};
use crate::{
    domain::{
        client::Client,
        consent::Consent,
        grant::{Ending as Why, Grant},
        person,
    },
    store::Key,
    switches::{Off, Protection},
    world::{App, Ending, Person, Redirect, Revocation, Revoked, Revoking, Task},
};

/// One moment of a revocation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    /// The mark, on consent, person or client.
    Mark,
    /// `end_grants_of`: which grants there are.
    List,
    /// `end_grants_of`: their ends, one after the other.
    End,
}

/// The order of `src/flow/revoke.rs`.
const ORDER: [Moment; 3] = [Moment::Mark, Moment::List, Moment::End];
/// With [`Protection::MarkFirst`] off.
const MARK_LAST: [Moment; 3] = [Moment::List, Moment::End, Moment::Mark];
/// What the sweeper repeats: the mark is there.
const AGAIN: [Moment; 2] = [Moment::List, Moment::End];

fn order(off: Off, again: bool) -> &'static [Moment] {
    if again {
        &AGAIN
    } else if off.has(Protection::MarkFirst) {
        &MARK_LAST
    } else {
        &ORDER
    }
}

impl Steps<'_> {
    /// Somebody revokes.
    pub(super) fn begin_revocation(&mut self, what: Revoked) {
        self.world.budget.revocations -= 1;
        self.tell(|_| meant(what).to_owned());
        let number = u8::try_from(self.world.revocations.len()).unwrap();
        let at = self.world.now;
        self.world.revocations.push(Revocation { what, at, marked: false, acknowledged: false });
        let revoking = Revoking { number, again: false, at: 0, todo: vec![], ending: None };
        self.world.tasks.push(Task::Revoke(revoking));
    }

    /// `revoke_client`, `revoke_person` and `revoke_consent`.
    pub(super) fn revoke(&mut self, revoking: &mut Revoking) -> Next {
        let number = usize::from(revoking.number);
        let Some(moment) = order(self.off, revoking.again).get(usize::from(revoking.at)) else {
            self.tell(|_| "  whoever asked for the revocation is told that it is done".into());
            self.world.revocations[number].acknowledged = true;
            return Next::Done;
        };
        match moment {
            Moment::Mark => {
                if !self.write_mark(number) {
                    self.tell(|_| "  there is nothing to revoke".into());
                    self.world.revocations[number].acknowledged = true;
                    return Next::Done;
                }
                self.tell(|_| "  the mark of the revocation is written".into());
                self.world.revocations[number].marked = true;
            }
            Moment::List => {
                revoking.todo = self.covered(number);
                self.tell(|_| format!("  the revocation finds {} grants", revoking.todo.len()));
            }
            Moment::End => {
                if let Some(mut ending) = revoking.ending.take() {
                    if let Next::On = self.end(&mut ending) {
                        revoking.ending = Some(ending);
                    }
                    return Next::On;
                }
                let next = if self.is_off(Protection::EndsGrants) { None } else { revoking.todo.pop() };
                if let Some(page) = next {
                    revoking.ending = Some(Ending { page, at: 0, consent: None });
                    return self.revoke(revoking);
                }
            }
        }
        revoking.at += 1;
        Next::On
    }

    /// False: there is no record that could bear it.
    fn write_mark(&mut self, number: usize) -> bool {
        let revocation = &self.world.revocations[number];
        let now = crate::domain::time::Timestamp::from_millis(revocation.at);
        let store = &mut self.world.store;
        match revocation.what {
            Revoked::Client => store.update::<Client>(Key::Client(App::Notes as u8), |client| {
                Some(Client { revoked_at: client.revoked_at.max(Some(now)), ..client.clone() })
            }),
            Revoked::Person => store.update::<person::Person>(Key::Person(Person::Ada as u8), |person| {
                Some(person::Person { revoked_at: person.revoked_at.max(Some(now)), ..person.clone() })
            }),
            Revoked::Consent => {
                let key = consent_key(Person::Ada, App::Notes, Redirect::Notes);
                let next = match store.get::<Consent>(key) {
                    Some(known) => Consent { revoked_at: known.revoked_at.max(Some(now)), ..known.clone() },
                    None => Consent::only_revoked(Person::Ada.subject(), now),
                };
                store.put(key, next);
                true
            }
        }
    }

    /// `end_grants_of`: the grants that a revocation is about, through the index.
    fn covered(&self, number: usize) -> Vec<u8> {
        let revocation = &self.world.revocations[number];
        let indexed = self.world.store.keys().filter_map(|key| match key {
            Key::Index(page, person) => Some((page, person)),
            _ => None,
        });
        let mut found: Vec<u8> = Vec::new();
        for (page, person) in indexed {
            let Some(grant) = self.world.store.get::<Grant>(Key::Grant(page)) else { continue };
            let facts = &self.world.pages[usize::from(page)];
            let of_ada = person == Person::Ada as u8 && grant.subject == Person::Ada.subject();
            let is_meant = match revocation.what {
                Revoked::Client => grant.client_id == App::Notes.id(),
                Revoked::Person => of_ada,
                Revoked::Consent => of_ada && facts.client == App::Notes && facts.redirect == Redirect::Notes,
            };
            if is_meant
                && !grant.has_ended()
                && grant.approved_at.as_millis() <= revocation.at
                && !found.contains(&page)
            {
                found.push(page);
            }
        }
        found
    }

    /// `end_grant`, then `forget_consent`.
    pub(super) fn end(&mut self, ending: &mut Ending) -> Next {
        let page = ending.page;
        let now = self.world.moment();
        match ending.at {
            0 => {
                let ended = |grant: &Grant| grant.ended(Why::Revoked, now);
                if !self.world.store.update::<Grant>(Key::Grant(page), ended) {
                    return Next::Done;
                }
                self.world.pages[usize::from(page)].ended = true;
                self.tell(|_| format!("  the grant of page {} ends", page + 1));
            }
            1 => {
                let facts = &self.world.pages[usize::from(page)];
                let Some(grant) = self.world.store.get::<Grant>(Key::Grant(page)) else { return Next::Done };
                let key = consent_key(super::person_of(&grant.subject), facts.client, facts.redirect);
                let Some(consent) = self.world.store.get::<Consent>(key) else { return Next::Done };
                if consent.revoked_at.is_some() {
                    return Next::Done;
                }
                ending.consent = self.world.store.version(key).map(|version| (key, version));
            }
            2 => {
                if self.another_stands_on_it(page) {
                    return Next::Done;
                }
            }
            _ => {
                if let Some((key, version)) = ending.consent {
                    self.world.store.take(key, version);
                }
                return Next::Done;
            }
        }
        ending.at += 1;
        Next::On
    }

    fn another_stands_on_it(&self, page: u8) -> bool {
        let Some(ended) = self.world.store.get::<Grant>(Key::Grant(page)) else { return false };
        self.world.store.keys().any(|key| {
            let Key::Index(other, _) = key else { return false };
            let grant = self.world.store.get::<Grant>(Key::Grant(other));
            other != page
                && grant.is_some_and(|grant| {
                    grant.subject == ended.subject && grant.consent == ended.consent && !grant.has_ended()
                })
        })
    }

    /// `sweep_consent`, `sweep_person`, `sweep_client`: the second half again; after two hours the mark goes.
    pub(super) fn sweep_mark(&mut self, number: usize) {
        self.tell(|_| "the sweeper comes to the mark of the revocation".into());
        let revocation = self.world.revocations[number].clone();
        let at = crate::domain::time::Timestamp::from_millis(revocation.at);
        if !self.world.budget.time && self.covered(number).is_empty() {
            // The second half has nothing to do any more: the mark goes, where its half hour is over.
            let kept = at.after(std::time::Duration::from_mins(30));
            if kept.has_passed(self.world.moment()) {
                self.drop_mark(revocation.what);
            }
            return;
        }
        let revoking = Revoking {
            number: u8::try_from(number).unwrap(),
            again: true,
            at: 0,
            todo: vec![],
            ending: None,
        };
        self.world.tasks.push(Task::Revoke(revoking));
    }

    fn drop_mark(&mut self, what: Revoked) {
        match what {
            // A client that was revoked stays so until its record goes, and its id never comes back.
            Revoked::Client => {}
            Revoked::Person => {
                let subject = Person::Ada.subject();
                let is_named = self
                    .world
                    .store
                    .keys()
                    .filter_map(|key| self.world.store.get::<Grant>(key))
                    .any(|grant| grant.subject == subject && !grant.has_ended());
                if !is_named {
                    self.tell(|_| "  it goes".into());
                    self.world.store.remove(Key::Person(Person::Ada as u8));
                }
            }
            Revoked::Consent => {
                let key = consent_key(Person::Ada, App::Notes, Redirect::Notes);
                if self.world.store.get::<Consent>(key).is_some_and(|consent| !consent.is_in_force()) {
                    self.tell(|_| "  it goes".into());
                    self.world.store.remove(key);
                }
            }
        }
    }

    /// `sweep_grant`: ends what nobody redeemed, removes what ended long ago.
    pub(super) fn sweep_grant(&mut self, page: usize) {
        let number = u8::try_from(page).unwrap();
        let (key, now) = (Key::Grant(number), self.world.moment());
        let Some(grant) = self.world.store.get::<Grant>(key) else { return };
        if !grant.has_ended() && grant.expires_at.has_passed(now) {
            self.tell(|_| format!("the sweeper comes to the grant of page {}: it has expired", page + 1));
            self.world.tasks.push(Task::End(Ending { page: number, at: 0, consent: None }));
        } else if grant.has_ended() && grant.kept_until().has_passed(now) {
            self.tell(|_| format!("the sweeper removes the grant of page {}", page + 1));
            self.world.store.remove(key);
        }
    }
}
