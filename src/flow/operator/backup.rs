//! What goes into a backup, and how it comes back.
//!
//! **Out:** clients, in the order of their ids, as each was durable at some moment after the backup began: so everything that
//! was acknowledged before that is in it. Clients have nothing to do with one another, so no more than that is needed.
//!
//! **Back:** into a store that holds nothing else, before any gateway runs on it. Index entries come before the record, as ever.
//! Everything that people had approved is over: nothing of it is there, and the same write says so, in case some of it should
//! turn up. A client that was revoked when the backup was made stays so, and what could never have become known here does not
//! ([`crate::domain::restored`]).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    super::{
        Flows,
        fault::Fault,
        journal::{self, Event},
        ports::{Store, Table},
        records::Records,
    },
    Unanswered,
};
use crate::domain::{
    backup,
    client::{Client, Source},
    redirect::RedirectRules,
    restored::LeftOut,
    time::Timestamp,
};

/// How many clients are read at once.
const PAGE: usize = 256;

/// A backup that is being taken.
pub struct BackingUp {
    flows: Arc<Flows>,
    stage: Stage,
}

enum Stage {
    Begin,
    /// Behind this one.
    Clients(backup::Writer, Option<Bytes>),
    Over,
}

impl Flows {
    /// Begins a backup.
    pub fn back_up(self: &Arc<Self>) -> BackingUp {
        BackingUp { flows: Arc::clone(self), stage: Stage::Begin }
    }
}

impl BackingUp {
    /// The next lines; `None`: that was all.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Unanswered> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begin => {
                // Before the first read.
                let taken_at = self.flows.now();
                let issuer = &self.flows.catalog().public_url;
                let (writer, head) = backup::Writer::begin(taken_at, issuer, env!("CARGO_PKG_VERSION"));
                self.stage = Stage::Clients(writer, None);
                Ok(Some(head))
            }
            Stage::Clients(mut writer, after) => {
                let records = &self.flows.records;
                let page = records.list_after::<Client>(&[], after.as_deref(), PAGE).await?;
                let last = page.last().filter(|_| page.len() == PAGE).map(|(id, _)| id.clone());
                let lines = page.into_iter().map(|(_, loaded)| writer.client(loaded.record));
                let mut lines = lines.collect::<Vec<_>>().concat();
                if last.is_some() {
                    self.stage = Stage::Clients(writer, last);
                } else {
                    self.flows.tally.backed_up(self.flows.now());
                    journal::note(Event::BackupTaken).reason("operator").count(writer.clients()).write();
                    let sealer = self.flows.sealer();
                    let key = Some(sealer.current().to_string());
                    lines.extend(writer.end_under(key, |sum| sealer.mac(&backup::sealed_parts(sum))));
                }
                Ok(Some(lines))
            }
            Stage::Over => Ok(None),
        }
    }
}

/// What became of a client of a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PutBack {
    /// Nobody used it for so long that it would have been forgotten by now.
    Expired,
    /// It could not have become known here as it stands there.
    Impossible,
    /// It is known again, and stays revoked.
    Revoked,
    /// It is known again.
    Usable,
}

/// What decides about each client of a backup: when it is restored, by which rules for redirect URIs.
#[derive(Clone, Debug)]
pub struct Readmission {
    /// The moment.
    pub now: Timestamp,
    /// Our own origin.
    pub own_origin: String,
    /// Private-use schemes that the operator allows.
    pub private_schemes: Vec<String>,
}

impl Readmission {
    /// What of a client comes back. `revoke`: the operator says that it was revoked since.
    fn of(&self, client: Client, revoke: bool) -> Result<Client, LeftOut> {
        let rules = RedirectRules { own_origin: &self.own_origin, private_schemes: &self.private_schemes };
        client.restored(revoke, &rules, self.now)
    }

    /// What would become of it.
    pub fn would(&self, client: Client, revoke: bool) -> PutBack {
        becomes(&self.of(client, revoke))
    }
}

fn becomes(restored: &Result<Client, LeftOut>) -> PutBack {
    match restored {
        Ok(client) if client.revoked_at.is_some() => PutBack::Revoked,
        Ok(_) => PutBack::Usable,
        Err(LeftOut::Expired) => PutBack::Expired,
        Err(LeftOut::Impossible) => PutBack::Impossible,
    }
}

/// A store that is being filled from a backup.
#[derive(Clone)]
pub struct Restoring {
    records: Records,
    rules: Arc<Readmission>,
}

impl Restoring {
    /// Into this store, which must be empty.
    pub fn into(store: Arc<dyn Store>, rules: Readmission) -> Self {
        Self { records: Records::new(store), rules: Arc::new(rules) }
    }

    /// Writes one client. `revoke`: the operator says that it was revoked since.
    pub async fn put_back(&self, client: Client, revoke: bool) -> Result<PutBack, Fault> {
        let now = self.rules.now;
        let restored = self.rules.of(client, revoke);
        let becomes = becomes(&restored);
        let Ok(client) = restored else { return Ok(becomes) };
        let id = client.id.as_bytes();
        match client.source {
            Source::Configured => self.records.index_configured(&client.id, now).await?,
            Source::Registered if client.used_at.is_none() => {
                self.records.index_unused(&client, now).await?;
            }
            Source::Document | Source::Registered => {}
        }
        self.records.index_expiry(client.expires_at().max(now), Table::Client, id, now).await?;
        if self.records.create(id, &client).await?.is_none() {
            return Err(Fault::new("restore a client: there is one with its id"));
        }
        Ok(becomes)
    }
}
