//! The key file of a gateway that does not run.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use serde_json::{Value, json};

use super::{out, say, written, written_anyway};
use crate::{
    cli::reach::{Unreached, Where},
    config::StoreUrl,
    flow::{
        fault::{self, Fault},
        operator::rfc3339,
        ports::KeyKeeper as _,
    },
    gateway,
    store::keys::Keeper,
};

/// Makes a key.
pub(super) fn new(place: &Where, in_json: bool) -> Result<(), Unreached> {
    let keys = keeper(place, in_json)?;
    let made = keys.renew(None, gateway::now());
    let id = made.map_err(|unchanged| {
        use crate::flow::ports::KeysUnchanged as Unchanged;
        match unchanged {
            Unchanged::Fault(fault) => failed(&fault),
            Unchanged::TooMany => Unreached::Failed(
                "the key file holds as many keys as it may: drop the old ones first".to_owned(),
            ),
            _ => Unreached::Failed("the keys are as they were".to_owned()),
        }
    })?;
    if in_json {
        return out(&json!({ "id": id.to_string() }).to_string());
    }
    out(&format!(
        "The key {id} is in the key file. The gateway uses it from its next start, and then seals everything anew with it.\n\
         Keep a copy of the key file somewhere else than the backups."
    ))
}

/// Lists them.
pub(super) fn list(place: &Where, in_json: bool) -> Result<(), Unreached> {
    let keys = keeper(place, in_json)?;
    let view = |(at, key): (usize, &crate::flow::ports::KnownKey)| {
        json!({
            "id": key.id.to_string(),
            "state": if at == 0 { "current" } else { "previous" },
            "origin": "key_file",
            "made_at": key.made_at.map(rfc3339),
            "replaced_at": key.replaced_at.map(rfc3339),
            "records": Value::Null,
        })
    };
    let keys: Vec<Value> = keys.known().iter().enumerate().map(view).collect();
    let listed = json!({ "keys": keys });
    if in_json {
        return out(&format!("{listed:#}"));
    }
    let mut out = io::stdout().lock();
    written(say::list(&mut out, &listed))?;
    written(writeln!(out, "\nHow many records are sealed with each is known while the gateway runs."))
}

fn keeper(place: &Where, in_json: bool) -> Result<Keeper, Unreached> {
    let found = place.whereabouts()?;
    let folder: PathBuf = match found.store {
        StoreUrl::Disk(folder) if !found.key_is_configured => folder,
        StoreUrl::Disk(_) => {
            if in_json {
                out(&json!({ "error": "keys_configured", "steps": say::STEPS }).to_string())?;
            } else {
                say::steps(&mut io::stdout().lock()).or_else(written_anyway)?;
            }
            let why = "the encryption key comes from the configuration; nothing was changed";
            return Err(Unreached::Failed(why.to_owned()));
        }
        StoreUrl::Memory => {
            return Err(Unreached::Wrong("a store in memory has no key file".to_owned()));
        }
    };
    gateway::keys_of_resting(&folder).map_err(|fault| failed(&fault))
}

fn failed(failed: &Fault) -> Unreached {
    Unreached::Failed(fault::chain(failed))
}
