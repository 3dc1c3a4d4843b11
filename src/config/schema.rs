//! A JSON Schema of `proxy.toml` (draft 2020-12), generated from the table of keys, for editors and linters.
//!
//! It says which keys there are, what their values look like and what holds without them. It does not say what fits
//! together: that is what `mcp-deputy check` is for. What `check` takes, the schema takes; a test holds them together.
//!
//! Must never say anything that the table does not know. Printed by `mcp-deputy config schema`.

use serde_json::{Map, Value, json};

use super::keys::{Absent, Key, Kind, SECTIONS, Section, Shape};

/// The schema, as text that ends with a line break.
pub fn schema() -> String {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("proxy.toml of mcp-deputy"));
    if let Some(root) = SECTIONS.iter().find(|section| section.shape == Shape::Root) {
        schema.extend(object(root));
    }
    let elsewhere = json!({
        "description": "The value of an environment variable, or the content of a file.",
        "type": "object",
        "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    schema.insert("$defs".to_owned(), json!({ "elsewhere": elsewhere }));
    format!("{:#}\n", Value::Object(schema))
}

/// A section with its keys and the sections inside it.
fn object(section: &Section) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in section.keys {
        properties.insert(key.name.to_owned(), value(key));
    }
    for inner in SECTIONS.iter().filter(|inner| parent(inner) == Some(section.path)) {
        let object = Value::Object(object(inner));
        let written = match inner.shape {
            Shape::List => json!({ "type": "array", "items": object }),
            Shape::Named => json!({ "type": "object", "additionalProperties": object }),
            Shape::Root | Shape::Table => object,
        };
        properties.insert(name(inner).to_owned(), written);
    }
    // A key that an environment variable can stand in for may be missing here, and a key may stand instead of another.
    let needed = section.keys.iter().filter(|key| key.absent == Absent::Needed && key.variable.is_none());
    let mut object = Map::new();
    object.insert("description".to_owned(), json!(section.doc));
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("required".to_owned(), needed.map(|key| key.name).collect());
    object.insert("additionalProperties".to_owned(), json!(false));
    object
}

fn parent(section: &Section) -> Option<&'static str> {
    match section.shape {
        Shape::Root => None,
        _ => Some(section.path.rsplit_once('.').map_or("", |(parent, _)| parent)),
    }
}

fn name(section: &Section) -> &'static str {
    section.path.rsplit_once('.').map_or(section.path, |(_, name)| name)
}

/// A key: what may be written, and the words about it.
fn value(key: &Key) -> Value {
    let mut about = Map::new();
    about.insert("description".to_owned(), json!(key.doc));
    about.insert("anyOf".to_owned(), forms(key.kind));
    let left_out = match key.absent {
        Absent::Default(text) => from_toml(text).map(|value| ("default", value)),
        Absent::Means(what) => Some(("$comment", json!(format!("left out: {what}")))),
        Absent::Needed => None,
    };
    about.extend(left_out.map(|(keyword, value)| (keyword.to_owned(), value)));
    if let Some(example) = from_toml(key.example) {
        about.insert("examples".to_owned(), json!([example]));
    }
    Value::Object(about)
}

fn forms(kind: Kind) -> Value {
    let elsewhere = json!({ "$ref": "#/$defs/elsewhere" });
    let text = json!({ "type": "string" });
    let one = json!({ "anyOf": [text, elsewhere] });
    match kind {
        Kind::Choice(words) => json!([{ "enum": words }, elsewhere]),
        Kind::Count | Kind::Size => json!([{ "type": "integer", "minimum": 0 }, text, elsewhere]),
        Kind::Credential => {
            let header = json!({
                "type": "object",
                "properties": { "header": { "type": "string" } },
                "required": ["header"],
                "additionalProperties": false,
            });
            json!([{ "enum": ["authorization", "none"] }, header, elsewhere])
        }
        Kind::Ratio => json!([{ "type": "number", "minimum": 0 }, text, elsewhere]),
        Kind::Duration | Kind::Secret | Kind::Text => json!([text, elsewhere]),
        Kind::Flag => json!([{ "type": "boolean" }, elsewhere]),
        Kind::Lists => {
            let list = json!({ "type": "array", "items": text });
            json!([{ "type": "object", "additionalProperties": list }])
        }
        Kind::SecretList | Kind::TextList => json!([{ "type": "array", "items": one }, elsewhere]),
        Kind::Texts => json!([{ "type": "object", "additionalProperties": one }]),
    }
}

/// A value as it is written in TOML.
fn from_toml(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    serde_json::to_value(table.get("value")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{reference, starter::tests::github};

    /// As much of JSON Schema as the generated one uses; anything else is a panic.
    fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
            "$schema" | "$defs" | "$comment" | "title" | "description" | "default" | "examples" => true,
            "$ref" => {
                fits(root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap(), value, root)
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| fits(schema, value, root)),
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule.as_str().unwrap() {
                "array" => value.is_array(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64(),
                "number" => value.is_number(),
                "object" => value.is_object(),
                "string" => value.is_string(),
                other => panic!("type {other}"),
            },
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|it| it.len() as u64 >= rule.as_u64().unwrap()),
            "maxProperties" => value.as_object().is_none_or(|it| it.len() as u64 <= rule.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(rule, item, root))),
            "required" => value.as_object().is_none_or(|it| {
                rule.as_array().unwrap().iter().all(|name| it.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|it| {
                let rules = rule.as_object().unwrap();
                it.iter().all(|(name, value)| rules.get(name).is_none_or(|rule| fits(rule, value, root)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|it| {
                let known = schema.get("properties");
                let is_more = |name: &str| known.is_none_or(|known| known.get(name).is_none());
                it.iter().filter(|(name, _)| is_more(name)).all(|(_, value)| match rule {
                    Value::Bool(allowed) => *allowed,
                    rule => fits(rule, value, root),
                })
            }),
            other => panic!("keyword {other}"),
        })
    }

    fn takes(text: &str) -> bool {
        let root: Value = serde_json::from_str(&schema()).unwrap();
        let table: toml::Table = toml::from_str(text).unwrap();
        fits(&root, &serde_json::to_value(table).unwrap(), &root)
    }

    fn switched_on() -> String {
        let lines = reference::example();
        lines.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_takes_what_check_takes() {
        for text in [reference::example(), switched_on(), github().text()] {
            assert!(takes(&text), "{text}");
        }
        assert!(takes("[limits]\nmax_streams = \"5000\"\nmcp_max_body_bytes = { env = \"SIZE\" }"));
        assert!(takes("[[mcp_server]]\ncredential = { header = \"X-Token\" }"));
    }

    #[test]
    fn it_refuses_unknown_keys_wrong_kinds_and_what_is_missing() {
        for text in [
            "publik_url = \"https://mcp.example.com\"",
            "public_url = 7",
            "public_url = { env = \"A\", file = \"B\" }",
            "public_url = { environment = \"A\" }",
            "[provider.github]\nclientid = \"x\"",
            "[provider]\ngithub = \"x\"",
            "[limits]\nmax_streams = -1",
            "[[mcp_server]]\nupstream_http2 = \"yes\"",
            "[[mcp_server.scope]]\nname = \"only a name\"",
            "[consent]\nmode = \"never\"",
            "[access]\nusers = \"github:1\"",
            "[[mcp_server]]\ncredential = { cookie = \"X\" }",
        ] {
            assert!(!takes(text), "{text}");
        }
    }

    #[test]
    fn every_key_has_a_description_and_an_example_that_fits_it() {
        let root: Value = serde_json::from_str(&schema()).unwrap();
        for section in SECTIONS {
            for key in section.keys {
                let value = value(key);
                assert_eq!(value["description"], key.doc);
                let example = &value["examples"][0];
                assert!(fits(&json!({ "anyOf": value["anyOf"] }), example, &root), "{}", key.name);
                if let Some(default) = value.get("default") {
                    assert!(fits(&json!({ "anyOf": value["anyOf"] }), default, &root), "{}", key.name);
                }
            }
        }
    }
}
