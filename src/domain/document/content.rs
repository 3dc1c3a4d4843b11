//! What stands in a metadata document (section 4.1 of the draft), judged.
//!
//! A document says the same about a client as a registration does, so after the rules of its own it is judged by the very
//! function that judges registrations: no rule can hold for one and be forgotten for the other (names, redirect URIs,
//! keys). Unknown members and grant types are ignored.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::DocumentUrl;
use crate::domain::{metadata::ClientMetadata, redirect::RedirectRules};

/// The largest document, in bytes (section 6.6 of the draft).
pub const MAX_LENGTH: usize = 5 * 1024;

/// Authentication methods that rest on a secret which both sides would have to know: nobody can keep one in a document.
const SHARED_SECRET: [&str; 3] = ["client_secret_basic", "client_secret_post", "client_secret_jwt"];

const METHOD: &str = "token_endpoint_auth_method";
const METHODS: &str = "token_endpoint_auth_methods_supported";

/// Judges what was fetched from `url`. The slug of a refusal is for the journal only.
pub fn judge(
    url: &DocumentUrl,
    body: &[u8],
    rules: &RedirectRules<'_>,
) -> Result<ClientMetadata, &'static str> {
    if body.len() > MAX_LENGTH {
        return Err("document_too_large");
    }
    let Ok(Strict(Value::Object(mut members))) = serde_json::from_slice(body) else {
        return Err("document_not_json");
    };
    // Simple string comparison (RFC 3986 section 6.2.1), with what was asked for and not with where it came from.
    if members.get("client_id").and_then(Value::as_str) != Some(url.as_str()) {
        return Err("document_of_another");
    }
    if members.keys().any(|name| name.starts_with("client_secret")) {
        return Err("document_with_secret");
    }
    let name = members.get("client_name").and_then(Value::as_str);
    if name.is_none_or(|name| name.trim().is_empty()) {
        return Err("document_without_name");
    }
    if !members.get("redirect_uris").is_some_and(Value::is_array) {
        return Err("document_without_redirects");
    }
    let method = method(&members)?.to_owned();
    members.insert(METHOD.to_owned(), Value::String(method));
    let members = serde_json::to_vec(&Value::Object(members)).map_err(|_| "document_not_json")?;
    ClientMetadata::judge(&members, rules).map_err(|refusal| refusal.reason)
}

/// How the client authenticates. `SEP-3149` has an array of all that it can do, of which one must be ours; the single
/// member of RFC 7591 counts where there is no array, and chooses where there is one. Nothing said means `none`.
fn method(members: &Map<String, Value>) -> Result<&str, &'static str> {
    let one = match members.get(METHOD) {
        None => None,
        Some(one) => Some(one.as_str().ok_or("auth_method_unsupported")?),
    };
    let several = match members.get(METHODS) {
        None => None,
        Some(several) => {
            let several = several.as_array().ok_or("auth_method_unsupported")?;
            let several: Option<Vec<&str>> = several.iter().map(Value::as_str).collect();
            Some(several.ok_or("auth_method_unsupported")?)
        }
    };
    let mut said = one.iter().chain(several.iter().flatten());
    if said.any(|method| SHARED_SECRET.contains(method)) {
        return Err("document_with_shared_secret_method");
    }
    let Some(several) = several else { return Ok(one.unwrap_or("none")) };
    let preferred = one.into_iter().chain(["private_key_jwt", "none"]);
    preferred
        .into_iter()
        .find(|method| several.contains(method) && matches!(*method, "private_key_jwt" | "none"))
        .ok_or("auth_method_unsupported")
}

/// JSON in which no object has a member twice, at any depth: two readers of such a document could see two clients.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
