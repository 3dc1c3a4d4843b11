//! The encryption keys in the admin API.
//!
//! ```text
//! GET  /admin/v1/keys          which there are, and how far the store is sealed with the current one; count=true: how many
//!                              records with each
//! POST /admin/v1/keys/new      makes one, which is in use from then on; instead_of: only if that one is the current one
//! POST /admin/v1/keys/drop     drops the previous ones that nothing needs any more; now=true: and those under which pages and
//!                              sessions may be open
//! ```
//!
//! Ids only: a key itself is never said.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use url::form_urlencoded;

use super::api::{ROOT, nothing, only, problem, said, unanswered};
use crate::{
    flow::{
        keys::{KeyDesk, KeysRefused},
        operator::Unanswered,
        ports::{KeyId, KeyOrigin, KeysUnchanged},
    },
    proxy::Body,
};

/// Whether a path of the API is one of these.
pub(super) fn is_meant(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .and_then(|path| path.strip_prefix("/keys"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers the operator.
pub(super) async fn answer(keys: &Arc<KeyDesk>, request: &Request<()>) -> Response<Body> {
    let path = request.uri().path().strip_prefix(ROOT).unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    match path {
        "/keys" => match only(&Method::GET, request) {
            Some(refused) => refused,
            None => list(keys, query).await.unwrap_or_else(unanswered),
        },
        "/keys/new" => match only(&Method::POST, request) {
            Some(refused) => refused,
            None => renew(keys, query).await.unwrap_or_else(unanswered),
        },
        "/keys/drop" => match only(&Method::POST, request) {
            Some(refused) => refused,
            None => drop_old(keys, query).await.unwrap_or_else(unanswered),
        },
        _ => nothing(),
    }
}

async fn list(keys: &Arc<KeyDesk>, query: &str) -> Result<Response<Body>, Unanswered> {
    Ok(said(&keys.list(flag(query, "count")?).await?))
}

async fn renew(keys: &Arc<KeyDesk>, query: &str) -> Result<Response<Body>, Unanswered> {
    let instead_of = parameter(query, "instead_of")?;
    let instead_of = instead_of.map(|id| key_id(&id).ok_or(WRONG)).transpose()?;
    Ok(match keys.renew(instead_of).await {
        Ok(id) => said(&json!({ "id": id.to_string() })),
        Err(refused) => explained(refused)?,
    })
}

async fn drop_old(keys: &Arc<KeyDesk>, query: &str) -> Result<Response<Body>, Unanswered> {
    Ok(match keys.drop_old(flag(query, "now")?).await {
        Ok(dropped) => said(&dropped),
        Err(refused) => explained(refused)?,
    })
}

fn explained(refused: KeysRefused) -> Result<Response<Body>, Unanswered> {
    let unchanged = match refused {
        KeysRefused::Fault(fault) | KeysRefused::Unchanged(KeysUnchanged::Fault(fault)) => {
            return Err(Unanswered::Fault(fault));
        }
        KeysRefused::Unchanged(unchanged) => unchanged,
    };
    let (error, message) = match unchanged {
        KeysUnchanged::Elsewhere(KeyOrigin::Configuration) => {
            ("keys_configured", "The encryption key comes from the configuration, and is changed there.")
        }
        KeysUnchanged::Elsewhere(_) => {
            ("keys_in_memory", "The store is in memory: its encryption key ends with the process.")
        }
        KeysUnchanged::TooMany => {
            ("too_many_keys", "The key file holds as many keys as it may: drop the old ones first.")
        }
        KeysUnchanged::Changed => ("keys_changed", "Another key is the current one by now."),
        KeysUnchanged::Current => ("key_current", "The current key cannot be dropped."),
        KeysUnchanged::Unknown | KeysUnchanged::Fault(_) => ("not_found", "There is no such key."),
    };
    Ok(problem(StatusCode::CONFLICT, error, message, None))
}

const WRONG: Unanswered = Unanswered::Bad("This takes a parameter that it does not know, or not like that.");

/// The one parameter that there may be.
fn parameter(query: &str, name: &str) -> Result<Option<String>, Unanswered> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    match (parameters.next(), parameters.next()) {
        (None, _) => Ok(None),
        (Some((key, value)), None) if key == name && !value.is_empty() => Ok(Some(value.into_owned())),
        _ => Err(WRONG),
    }
}

fn flag(query: &str, name: &str) -> Result<bool, Unanswered> {
    match parameter(query, name)?.as_deref() {
        None => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(WRONG),
    }
}

fn key_id(text: &str) -> Option<KeyId> {
    let is_hexadecimal = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hexadecimal)?;
    Some(KeyId(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_not_one_is_refused() {
        assert!(flag("count=true", "count").unwrap());
        assert!(!flag("", "count").unwrap());
        for bad in ["count=false", "count=true&count=true", "now=true", "count="] {
            assert!(flag(bad, "count").is_err(), "{bad}");
        }
        let id = KeyId([0, 1, 2, 3, 4, 5, 6, 255]);
        assert_eq!(key_id(&id.to_string()), Some(id));
        for bad in ["", "00", "+001020304050fff", "000102030405060g", "00010203040506ff0"] {
            assert_eq!(key_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_paths_of_the_keys_are_theirs() {
        for (path, meant) in [
            ("/admin/v1/keys", true),
            ("/admin/v1/keys/new", true),
            ("/admin/v1/keysx", false),
            ("/admin/v2/keys", false),
            ("/admin/v1/clients", false),
        ] {
            assert_eq!(is_meant(path), meant, "{path}");
        }
    }
}
