//! JSON-RPC messages, read so that nobody behind us can read something else in them.
//!
//! The policy decides by what a body says, and a second parser decides what is done. So a body passes only if there are
//! no two ways to read it: UTF-8 without a byte order mark, one JSON value and nothing after it, no member twice in any
//! object however deep, no member that a parser without regard for case, accents of letters or punctuation could take for
//! one that counts (GHSA-4gph-2hhr-5mwg), no method that could be taken for another. Keys and texts are compared as they
//! are *after* their escapes: `"m\u0065thod"` is `method`.
//!
//! One pass over the bytes, borrowing from them; depth and the number of members of an object are bounded. Must never
//! change a byte: what was judged is what is sent. Called by `policy`.

use std::{borrow::Cow, cell::Cell, collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The deepest nesting that is read.
const MAX_DEPTH: u8 = 64;
/// The most members of one object.
const MAX_MEMBERS: usize = 10_000;

/// Calls of tools.
pub const TOOLS_CALL: &str = "tools/call";
/// Lists of tools.
pub const TOOLS_LIST: &str = "tools/list";

/// What a body holds.
#[derive(Debug, Eq, PartialEq)]
pub enum Messages<'a> {
    /// One message.
    One(Message<'a>),
    /// A batch (JSON-RPC 2.0 section 6; MCP 2025-03-26 only). Never empty.
    Batch(Vec<Message<'a>>),
}

/// One message, as far as it matters here.
#[derive(Debug, Eq, PartialEq)]
pub struct Message<'a> {
    /// The method of a request or a notification; `None`: a response.
    pub method: Option<Cow<'a, str>>,
    /// Whether an answer is expected.
    pub has_id: bool,
    /// What the message is about: the name of a tool or a prompt, the URI of a resource.
    pub name: Option<Cow<'a, str>>,
    /// `_meta.io.modelcontextprotocol/protocolVersion` (MCP 2026-07-28).
    pub version: Option<Cow<'a, str>>,
}

/// Why a body is no message, or could be more than one: a stable slug.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed(pub &'static str);

impl<'a> Messages<'a> {
    /// Reads a body.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed("body_not_utf8"))?;
        let why = Cell::new("body_not_json");
        let reader = Reader { why: &why, depth: MAX_DEPTH };
        let mut json = serde_json::Deserializer::from_str(text);
        let messages = Body(reader).deserialize(&mut json).map_err(|_| Malformed(why.get()))?;
        json.end().map_err(|_| Malformed("body_has_more"))?;
        Ok(messages)
    }

    /// All messages.
    pub fn iter(&self) -> impl Iterator<Item = &Message<'a>> {
        match self {
            Self::One(message) => std::slice::from_ref(message).iter(),
            Self::Batch(messages) => messages.iter(),
        }
    }
}

/// Where what names the subject of a method stands in `params`.
pub fn name_of(method: &str) -> Option<&'static str> {
    match method {
        TOOLS_CALL | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    }
}

/// The text as a parser sees it that has no regard for case and punctuation: letters and digits only, case folded in both
/// directions (so that `ſ` is an `s` and the Kelvin sign a `k`).
fn folded(text: &str) -> impl Iterator<Item = char> {
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Whether `text`, which is none of `known`, could be taken for one of them. Ends at the first letter that differs: there may
/// be very many texts, and very long ones.
fn resembles(text: &str, known: &[&str]) -> bool {
    text.contains(char::is_control) || known.iter().any(|known| folded(known).eq(folded(text)))
}

/// Carries the reason out of serde, and how deep it may still go.
#[derive(Clone, Copy)]
struct Reader<'r> {
    why: &'r Cell<&'static str>,
    depth: u8,
}

impl Reader<'_> {
    fn refuse<T, E: Error>(self, slug: &'static str) -> Result<T, E> {
        self.why.set(slug);
        Err(E::custom(slug))
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => self.refuse("body_too_deep"),
        }
    }
}

/// The members of one object that were seen: the first ones side by side, since most objects are small and comparing a few
/// short texts costs less than keeping them in order.
#[derive(Default)]
struct Keys<'de> {
    first: Vec<Cow<'de, str>>,
    more: BTreeSet<Cow<'de, str>>,
}

/// How many are kept side by side.
const FEW: usize = 12;

impl<'de> Keys<'de> {
    fn next<A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        reader: Reader<'_>,
    ) -> Result<Option<Cow<'de, str>>, A::Error> {
        let Some(key) = map.next_key_seed(Key)? else { return Ok(None) };
        if self.first.len() + self.more.len() >= MAX_MEMBERS {
            return reader.refuse("body_too_many_members");
        }
        if self.first.contains(&key) {
            return reader.refuse("member_twice");
        }
        if self.first.len() < FEW {
            self.first.push(key.clone());
        } else if !self.more.insert(key.clone()) {
            return reader.refuse("member_twice");
        }
        Ok(Some(key))
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// What a value is.
#[derive(Debug, Eq, PartialEq)]
enum Shape<'de> {
    Array,
    Bool,
    Null,
    Number,
    Object,
    Text(Cow<'de, str>),
}

/// Any value, looked at to its end.
struct Any<'r>(Reader<'r>);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = Shape<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Shape::Bool)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Shape::Number)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Shape::Number)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Shape::Number)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Shape::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Shape::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Shape::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let reader = self.0.deeper()?;
        while seq.next_element_seed(Any(reader))?.is_some() {}
        Ok(Shape::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (reader, mut keys) = (self.0.deeper()?, Keys::default());
        while keys.next(&mut map, reader)?.is_some() {
            map.next_value_seed(Any(reader))?;
        }
        Ok(Shape::Object)
    }
}

/// The body: a message, or an array of them.
struct Body<'r>(Reader<'r>);

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Messages<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = Messages<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        One(self.0).visit_map(map).map(Messages::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (reader, mut messages) = (self.0.deeper()?, Vec::new());
        while let Some(message) = seq.next_element_seed(One(reader))? {
            messages.push(message);
        }
        if messages.is_empty() { self.0.refuse("batch_empty") } else { Ok(Messages::Batch(messages)) }
    }
}

/// The members of a message (JSON-RPC 2.0 sections 4 and 5).
const MEMBERS: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

/// One message.
struct One<'r>(Reader<'r>);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Message<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Default)]
struct Members<'de> {
    jsonrpc: Option<Shape<'de>>,
    id: Option<Shape<'de>>,
    method: Option<Shape<'de>>,
    params: Option<ParamsRead<'de>>,
    answers: bool,
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Message<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (reader, mut keys) = (self.0.deeper()?, Keys::default());
        let mut members = Members::default();
        while let Some(key) = keys.next(&mut map, reader)? {
            match &*key {
                "jsonrpc" => members.jsonrpc = Some(map.next_value_seed(Any(reader))?),
                "id" => members.id = Some(map.next_value_seed(Any(reader))?),
                "method" => members.method = Some(map.next_value_seed(Any(reader))?),
                "params" => members.params = Some(map.next_value_seed(Params(reader))?),
                "result" | "error" => {
                    map.next_value_seed(Any(reader))?;
                    members.answers = true;
                }
                other if resembles(other, MEMBERS) => return reader.refuse("member_ambiguous"),
                _ => {
                    map.next_value_seed(Any(reader))?;
                }
            }
        }
        members.message().or_else(|slug| reader.refuse(slug))
    }
}

impl<'de> Members<'de> {
    fn message(self) -> Result<Message<'de>, &'static str> {
        if !matches!(self.jsonrpc, Some(Shape::Text(version)) if version == "2.0") {
            return Err("jsonrpc_not_2");
        }
        let has_id = match &self.id {
            None => false,
            Some(Shape::Text(_) | Shape::Number) => true,
            // The answer to a request whose id could not be read.
            Some(Shape::Null) if self.method.is_none() => true,
            Some(_) => return Err("id_malformed"),
        };
        let method = match (self.method, self.answers) {
            (Some(Shape::Text(method)), false) => method,
            (None, true) => return Ok(Message { method: None, has_id, name: None, version: None }),
            (Some(Shape::Text(_)), true) | (None, false) => return Err("message_ambiguous"),
            (Some(_), _) => return Err("method_not_text"),
        };
        let judged = [TOOLS_CALL, TOOLS_LIST];
        if !judged.contains(&&*method) && resembles(&method, &judged) {
            return Err("method_ambiguous");
        }
        let params = match self.params {
            None => ParamsRead::default(),
            Some(params) if params.is_object => params,
            Some(_) => return Err("params_not_an_object"),
        };
        let named_by = name_of(&method);
        if named_by.is_some() && params.is_ambiguous {
            return Err("member_ambiguous");
        }
        let name = match named_by {
            None => None,
            Some("uri") => params.uri,
            Some(_) => params.name,
        };
        let name = match (named_by, name) {
            (None, _) => None,
            (Some(_), Some(Shape::Text(name))) if !name.contains(char::is_control) => Some(name),
            (Some(_), _) => return Err("name_malformed"),
        };
        let version = match params.version {
            None => None,
            Some(Shape::Text(version)) => Some(version),
            Some(_) => return Err("version_not_text"),
        };
        Ok(Message { method: Some(method), has_id, name, version })
    }
}

#[derive(Default)]
struct ParamsRead<'de> {
    is_object: bool,
    name: Option<Shape<'de>>,
    uri: Option<Shape<'de>>,
    version: Option<Shape<'de>>,
    /// Whether a member could be taken for `name` or `uri`.
    is_ambiguous: bool,
}

struct Params<'r>(Reader<'r>);

impl<'de> DeserializeSeed<'de> for Params<'_> {
    type Value = ParamsRead<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Params<'_> {
    type Value = ParamsRead<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (reader, mut keys) = (self.0.deeper()?, Keys::default());
        let mut params = ParamsRead { is_object: true, ..ParamsRead::default() };
        while let Some(key) = keys.next(&mut map, reader)? {
            match &*key {
                "name" => params.name = Some(map.next_value_seed(Any(reader))?),
                "uri" => params.uri = Some(map.next_value_seed(Any(reader))?),
                "_meta" => params.version = map.next_value_seed(Meta(reader))?,
                other => {
                    params.is_ambiguous |= resembles(other, &["name", "uri", "_meta"]);
                    map.next_value_seed(Any(reader))?;
                }
            }
        }
        Ok(params)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Any(self.0).visit_seq(seq)?;
        Ok(ParamsRead::default())
    }
}

/// `params._meta`; what it says of the revision.
struct Meta<'r>(Reader<'r>);

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

impl<'de> DeserializeSeed<'de> for Meta<'_> {
    type Value = Option<Shape<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Meta<'_> {
    type Value = Option<Shape<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (reader, mut keys, mut version) = (self.0.deeper()?, Keys::default(), None);
        while let Some(key) = keys.next(&mut map, reader)? {
            let value = map.next_value_seed(Any(reader))?;
            if key == VERSION {
                version = Some(value);
            } else if resembles(&key, &[VERSION]) {
                return reader.refuse("member_ambiguous");
            }
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests;
