//! What passes, what does not, and why; generated bodies besides.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn slug(body: impl AsRef<[u8]>) -> &'static str {
    match Messages::read(body.as_ref()) {
        Ok(messages) => panic!("{messages:?}"),
        Err(Malformed(slug)) => slug,
    }
}

fn one(body: &str) -> Message<'_> {
    match Messages::read(body.as_bytes()).unwrap() {
        Messages::One(message) => message,
        Messages::Batch(_) => panic!("a batch"),
    }
}

#[test]
fn requests_notifications_and_answers_are_told_apart() {
    let call = one(
        r#" {"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"a","arguments":{"name":"b","uri":"c"},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","x":[{}]}},"more":1} "#,
    );
    let expected = Message {
        method: Some("tools/call".into()),
        has_id: true,
        name: Some("a".into()),
        version: Some("2026-07-28".into()),
    };
    assert_eq!(call, expected);
    let read = one(
        r#"{"jsonrpc":"2.0","id":"x","method":"resources/read","params":{"uri":"file:///a","name":"b"}}"#,
    );
    assert_eq!(read.name.as_deref(), Some("file:///a"));
    let note = one(r#"{"method":"notifications/initialized","jsonrpc":"2.0"}"#);
    assert_eq!(
        (note.method.as_deref(), note.has_id, note.name),
        (Some("notifications/initialized"), false, None)
    );
    for answer in
        [r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","id":null,"error":{"code":1}}"#]
    {
        assert_eq!(one(answer).method, None);
    }
    // What a name is depends on the method.
    assert_eq!(one(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":1,"Name":2}}"#).name, None);
}

#[test]
fn escapes_in_keys_and_texts_mean_what_they_say() {
    let call = one(
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/c\u0061ll","p\u0061rams":{"n\u0061me":"del\u0065te"}}"#,
    );
    assert_eq!((call.method.as_deref(), call.name.as_deref()), (Some("tools/call"), Some("delete")));
    let twice =
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call","params":{"name":"x"}}"#;
    assert_eq!(slug(twice), "member_twice");
}

#[test]
fn what_can_be_read_in_two_ways_is_not_read() {
    let call = |more: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a"{more}}}}}"#)
    };
    let ping = |more: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping"{more}}}"#);
    for (body, expected) in [
        // Twice, at every depth.
        (ping(r#","method":"tools/call""#), "member_twice"),
        (ping(r#","id":2"#), "member_twice"),
        (ping(r#","params":{},"params":{}"#), "member_twice"),
        (call(r#","name":"b""#), "member_twice"),
        (call(r#","n\u0061me":"b""#), "member_twice"),
        (call(r#","arguments":{"x":{"y":1,"y":2}}"#), "member_twice"),
        (call(r#","arguments":[[{"y":1,"\u0079":2}]]"#), "member_twice"),
        (call(r#","_meta":{"a":1,"a":1}"#), "member_twice"),
        (ping(r#","x":{"y":1,"y":2}"#), "member_twice"),
        // In another case, with other letters, with punctuation.
        (ping(r#","Method":"tools/call""#), "member_ambiguous"),
        (ping(r#","METHOD":"tools/call""#), "member_ambiguous"),
        (ping(r#","me_thod":"tools/call""#), "member_ambiguous"),
        (ping(r#","method ":"tools/call""#), "member_ambiguous"),
        (ping(r#","method\u0000":"tools/call""#), "member_ambiguous"),
        (ping(r#","method\u0000x":"tools/call""#), "member_ambiguous"),
        (ping(r#","\u200bmethod":"tools/call""#), "member_ambiguous"),
        (ping(r#","\ufeffmethod":"tools/call""#), "member_ambiguous"),
        (ping(r#","param\u017f":{"name":"b"}"#), "member_ambiguous"),
        (ping(",\"param\u{17f}\":{\"name\":\"b\"}"), "member_ambiguous"),
        (ping(r#","ID":2"#), "member_ambiguous"),
        (call(r#","Name":"b""#), "member_ambiguous"),
        (call(r#","NAME":"b""#), "member_ambiguous"),
        (call(r#","na-me":"b""#), "member_ambiguous"),
        (call(r#","URI":"b""#), "member_ambiguous"),
        (call(r#","_meta":{"IO.modelcontextprotocol/protocolVersion":"x"}"#), "member_ambiguous"),
        // Another message inside.
        (ping(r#","result":{}"#), "message_ambiguous"),
        (ping(r#","error":{}"#), "message_ambiguous"),
    ] {
        assert_eq!(slug(&body), expected, "{body}");
    }
    for method in [
        "Tools/Call",
        "tools/call ",
        " tools/call",
        "tools/call\\n",
        "tools\\\\call",
        "tools//call",
        "tools/call\\u0000",
        "TOOLS/LIST",
        "tool\\u017f/call",
        "toolscall",
        "ping\\u0000",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"a"}}}}"#);
        assert_eq!(slug(&body), "method_ambiguous", "{method}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call"{params}}}"#);
    for (body, expected) in [
        (String::new(), "body_not_json"),
        ("null".to_owned(), "body_not_json"),
        ("\"tools/call\"".to_owned(), "body_not_json"),
        ("{".to_owned(), "body_not_json"),
        ("\u{feff}{}".to_owned(), "body_not_json"),
        ("{'jsonrpc':'2.0'}".to_owned(), "body_not_json"),
        ("{\"jsonrpc\":\"2.0\",}".to_owned(), "body_not_json"),
        ("{\"jsonrpc\":\"2.0\" /* x */}".to_owned(), "body_not_json"),
        ("{}".to_owned(), "jsonrpc_not_2"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#.to_owned(), "body_has_more"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}x"#.to_owned(), "body_has_more"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\0".to_owned(), "body_has_more"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_owned(), "jsonrpc_not_2"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#.to_owned(), "jsonrpc_not_2"),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), "message_ambiguous"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_owned(), "id_malformed"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_owned(), "id_malformed"),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#.to_owned(), "id_malformed"),
        (r#"{"jsonrpc":"2.0","id":1,"method":["tools/call"]}"#.to_owned(), "method_not_text"),
        (r#"{"jsonrpc":"2.0","id":1,"method":null,"result":1}"#.to_owned(), "method_not_text"),
        (r#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#.to_owned(), "body_not_json"),
        (r#"{"jsonrpc":"2.0","id":Infinity,"method":"ping"}"#.to_owned(), "body_not_json"),
        (r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#.to_owned(), "body_not_json"),
        (r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#.to_owned(), "body_not_json"),
        (call(""), "name_malformed"),
        (call(r#","params":{}"#), "name_malformed"),
        (call(r#","params":{"name":["a"]}"#), "name_malformed"),
        (call(r#","params":{"name":null}"#), "name_malformed"),
        (call(r#","params":{"name":"a\u0000b"}"#), "name_malformed"),
        (call(r#","params":["a"]"#), "params_not_an_object"),
        (call(r#","params":[{"x":1,"x":2}]"#), "member_twice"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":1}}"#.to_owned(),
            "name_malformed",
        ),
        (
            call(r#","params":{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#),
            "version_not_text",
        ),
        ("[]".to_owned(), "batch_empty"),
        ("[1]".to_owned(), "body_not_json"),
        (r#"[[{"jsonrpc":"2.0","id":1,"method":"ping"}]]"#.to_owned(), "body_not_json"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"id":2}]"#.to_owned(), "jsonrpc_not_2"),
    ] {
        assert_eq!(slug(&body), expected, "{body}");
    }
    assert_eq!(slug(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xffng\"}"), "body_not_utf8");
    assert_eq!(slug(b"\xff\xfe{\x00}\x00"), "body_not_utf8");
    assert_eq!(slug(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xc0\xaf\"}"), "body_not_utf8");
}

#[test]
fn depth_and_width_are_bounded() {
    let nested = |depth: usize| {
        let arguments = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{arguments}}}}}"#)
    };
    assert!(Messages::read(nested(62).as_bytes()).is_ok());
    assert_eq!(slug(nested(63)), "body_too_deep");
    assert_eq!(slug("[".repeat(1 << 20)), "body_not_json");
    assert_eq!(slug(format!("{{\"x\":{}", "[".repeat(1 << 20))), "body_too_deep");
    let wide = |members: usize| {
        let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":0")).collect();
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{}}}}}"#, members.join(","))
    };
    assert!(Messages::read(wide(MAX_MEMBERS).as_bytes()).is_ok());
    assert_eq!(slug(wide(MAX_MEMBERS + 1)), "body_too_many_members");
}

#[test]
fn every_message_of_a_batch_is_read() {
    let body = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}]"#;
    let messages = Messages::read(body.as_bytes()).unwrap();
    let names: Vec<_> = messages.iter().map(|message| message.name.as_deref()).collect();
    assert_eq!(names, [None, Some("x")]);
    assert!(matches!(messages, Messages::Batch(_)));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever a lenient parser finds as the method and the tool is what we found, or the body is refused.
    #[test]
    fn nobody_reads_another_method(bytes in prop::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"method\""), Just("\"Method\""),
        Just("\"params\""), Just("\"name\""), Just("\"tools/call\""), Just("\"ping\""), Just("\"jsonrpc\""),
        Just("\"2.0\""), Just("\"id\""), Just("1"), Just(" "), Just("\"m\\u0065thod\""),
    ], 0..24)) {
        let body = bytes.concat();
        if let Ok(Messages::One(message)) = Messages::read(body.as_bytes()) {
            let lenient: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(lenient["method"].as_str(), message.method.as_deref());
            if message.method.as_deref() == Some(TOOLS_CALL) {
                prop_assert_eq!(lenient["params"]["name"].as_str(), message.name.as_deref());
            }
            prop_assert!(lenient.get("Method").is_none());
        }
    }

    #[test]
    fn honest_calls_pass_whatever_their_arguments(arguments in value(), tool in "[a-zA-Z0-9_./-]{1,16}") {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments } }).to_string();
        let message = one(&body);
        prop_assert_eq!(message.name.as_deref(), Some(tool.as_str()));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Messages::read(&bytes);
    }
}
