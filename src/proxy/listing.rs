//! Lists of tools, shown as far as a token may call them.
//!
//! Only where the operator asks for it, and never in place of judging calls: a list is a courtesy. In every message that
//! answers with `tools`, those that the token may not call are left out, whether it comes as JSON or in an event stream;
//! everything else of it passes as it came, the cursor of the next page too. What is filtered belongs to one person, so
//! `cacheScope` becomes `private` (MCP 2026-07-28, caching) and nobody on the way may keep it. A list that cannot be read
//! is not shown at all.
//!
//! Streams that are opened with GET are filtered as well: a list can be asked for there again (`Last-Event-ID`).

use std::{
    borrow::Cow,
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    domain::{catalog::McpServer, scope::ScopeSet, tools::ToolCall},
    net::body::{Body, BodyError},
};

/// What a token may see.
#[derive(Clone, Debug)]
pub struct Sight {
    server: Arc<McpServer>,
    held: ScopeSet,
    /// Whether the client speaks a revision that knows `cacheScope`.
    caches: bool,
}

/// A message that is none, or whose list is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unreadable;

impl Sight {
    /// What a token with these scopes may see of the server's tools. `caches`: the client speaks 2026-07-28 or later.
    pub fn new(server: &McpServer, held: &ScopeSet, caches: bool) -> Self {
        Self { server: Arc::new(server.clone()), held: held.clone(), caches }
    }

    fn shows(&self, tool: &str) -> bool {
        self.server.judge_call(&self.held, tool) == ToolCall::Allowed
    }

    /// The message, or the batch of messages, without the tools that are out of sight. `None`: it has no list.
    pub fn filter(&self, text: &str) -> Result<Option<String>, Unreadable> {
        if text.trim_ascii_start().starts_with('[') {
            let messages: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Unreadable)?;
            let mut filtered = Vec::new();
            let mut any = false;
            for message in messages {
                let changed = self.filter_message(message.get())?;
                any |= changed.is_some();
                filtered.push(changed.map_or(Cow::Borrowed(message.get()), Cow::Owned));
            }
            return Ok(any.then(|| format!("[{}]", filtered.join(","))));
        }
        self.filter_message(text)
    }

    fn filter_message(&self, text: &str) -> Result<Option<String>, Unreadable> {
        let mut message: Members<'_> = serde_json::from_str(text).map_err(|_| Unreadable)?;
        let mut any = false;
        for (key, value) in &mut message.0 {
            if key == "result" && value.starts_with('{') {
                let mut result: Members<'_> = serde_json::from_str(value).map_err(|_| Unreadable)?;
                if self.filter_result(&mut result)? {
                    *value = Cow::Owned(result.written());
                    any = true;
                }
            }
        }
        Ok(any.then(|| message.written()))
    }

    /// Whether it has a list.
    fn filter_result(&self, result: &mut Members<'_>) -> Result<bool, Unreadable> {
        #[derive(Deserialize)]
        struct Tool {
            name: String,
        }
        let mut any = false;
        for (_, value) in result.0.iter_mut().filter(|(key, _)| key == "tools") {
            if value == "null" {
                // No tools: some servers write an empty list so.
                any = true;
                continue;
            }
            let tools: Vec<&RawValue> = serde_json::from_str(value).map_err(|_| Unreadable)?;
            // What has no name can be called by nobody.
            let name = |tool: &RawValue| serde_json::from_str::<Tool>(tool.get()).ok().map(|tool| tool.name);
            let shown = tools.into_iter().filter(|tool| name(tool).is_some_and(|name| self.shows(&name)));
            let shown: Vec<&str> = shown.map(RawValue::get).collect();
            *value = Cow::Owned(format!("[{}]", shown.join(",")));
            any = true;
        }
        if any {
            let scopes = result.0.iter_mut().filter(|(key, _)| key == "cacheScope");
            let said = scopes.map(|(_, value)| *value = Cow::Borrowed(PRIVATE)).count() > 0;
            if !said && self.caches {
                result.0.push(("cacheScope".to_owned(), Cow::Borrowed(PRIVATE)));
            }
        }
        Ok(any)
    }
}

const PRIVATE: &str = "\"private\"";

/// The members of an object, in their order, their values as they were written.
struct Members<'a>(Vec<(String, Cow<'a, str>)>);

impl Members<'_> {
    fn written(&self) -> String {
        let member = |(key, value): &(String, Cow<'_, str>)| {
            format!("{}:{value}", serde_json::Value::from(key.as_str()))
        };
        format!("{{{}}}", self.0.iter().map(member).collect::<Vec<_>>().join(","))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((key, Cow::Borrowed(value.get())));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reading)
    }
}

/// An event stream whose lists are filtered (HTML, server-sent events, section 9.2). Events without a list pass byte for
/// byte, as soon as they are complete.
pub(super) struct FilteredEvents {
    inner: Option<Body>,
    sight: Sight,
    /// The longest event, in bytes.
    limit: usize,
    event: Event,
}

/// The event that is being read.
#[derive(Default)]
struct Event {
    /// As it came.
    raw: Vec<u8>,
    /// The line that is being read.
    line: Vec<u8>,
    /// The lines before it that are no data.
    rest: Vec<u8>,
    data: Option<Vec<u8>>,
    after_cr: bool,
    has_begun: bool,
}

impl FilteredEvents {
    pub(super) fn new(inner: Body, sight: Sight, limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { inner: Some(inner), sight, limit, event: Event::default() }
    }
}

impl Event {
    /// Takes in some bytes; what is complete by then goes to `out`.
    fn feed(
        &mut self,
        bytes: &[u8],
        sight: &Sight,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        for &byte in bytes {
            let ends_cr = mem::replace(&mut self.after_cr, byte == b'\r');
            if byte == b'\n' && ends_cr {
                // The second half of a line break. Behind a complete event nobody waits for it.
                let to = if self.raw.is_empty() { &mut *out } else { &mut self.raw };
                to.push(byte);
                continue;
            }
            self.raw.push(byte);
            if self.raw.len() > limit {
                return Err(Unreadable);
            }
            match byte {
                b'\n' | b'\r' => self.end_line(sight, out)?,
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, sight: &Sight, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let line = mem::take(&mut self.line);
        let is_first = !mem::replace(&mut self.has_begun, true);
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if line.is_empty() {
            return self.end(sight, out);
        }
        let data = match line.strip_prefix(b"data") {
            Some([]) => Some(&b""[..]),
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => Some(value),
            _ => None,
        };
        if let Some(value) = data {
            if let Some(data) = &mut self.data {
                data.push(b'\n');
                data.extend_from_slice(value);
            } else {
                self.data = Some(value.to_vec());
            }
        } else {
            self.rest.extend_from_slice(line);
            self.rest.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, sight: &Sight, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let (raw, rest, data) =
            (mem::take(&mut self.raw), mem::take(&mut self.rest), self.data.take().unwrap_or_default());
        if data.trim_ascii().is_empty() {
            out.extend_from_slice(&raw);
            return Ok(());
        }
        let data = String::from_utf8(data).map_err(|_| Unreadable)?;
        let Some(filtered) = sight.filter(&data)? else {
            out.extend_from_slice(&raw);
            return Ok(());
        };
        out.extend_from_slice(&rest);
        // What was written over several lines has line breaks between its members.
        for line in filtered.split('\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
        Ok(())
    }
}

impl HttpBody for FilteredEvents {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
            let frame = match ready!(Pin::new(inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => {
                    // Half an event at the end is none.
                    this.inner = None;
                    return Poll::Ready(ended);
                }
            };
            let mut out = Vec::new();
            let data = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
            if this.event.feed(data, &this.sight, this.limit, &mut out).is_err() {
                tracing::warn!(reason = "tools_list_unreadable", "an event stream was cut off");
                this.inner = None;
                return Poll::Ready(Some(Err(BodyError::Cut)));
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{catalog::ScopeDefinition, resource::Resource, tools::ToolPattern};

    fn sight(caches: bool) -> Sight {
        let server = McpServer {
            path: "/mcp".to_owned(),
            resource: Resource::at("https://m.example", "/mcp"),
            name: "M".to_owned(),
            provider: "p".to_owned(),
            scopes: vec![ScopeDefinition {
                name: "read".to_owned(),
                description: String::new(),
                provider_scopes: ScopeSet::default(),
                default: true,
                implies: vec![],
                optional: false,
                tools: Some(vec![ToolPattern::parse("get_*").unwrap()]),
            }]
            .into(),
            filter_tools: true,
            identity_assertion: false,
        };
        Sight::new(&server, &ScopeSet::from_iter(["read"]), caches)
    }

    #[test]
    fn no_list_at_all_is_an_empty_one() {
        let empty = r#"{"jsonrpc":"2.0","id":1,"result":{"tools": null ,"nextCursor":null}}"#;
        let shown =
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":null,"nextCursor":null,"cacheScope":"private"}}"#;
        assert_eq!(sight(true).filter(empty), Ok(Some(shown.to_owned())));
        let odd = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}"#;
        assert_eq!(sight(true).filter(odd), Err(Unreadable));
    }

    const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"get_x","max":18446744073709551617, "z":1,"a":2},{"name":"set_x"},{"title":"get_y"},{"name":"get_z"}],"nextCursor":"c/1","cacheScope":"public","ttlMs":5}}"#;
    const SHOWN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"get_x","max":18446744073709551617, "z":1,"a":2},{"name":"get_z"}],"nextCursor":"c/1","cacheScope":"private","ttlMs":5}}"#;

    #[test]
    fn a_list_shows_what_may_be_called_and_is_nobody_elses() {
        assert_eq!(sight(true).filter(LIST).unwrap().as_deref(), Some(SHOWN));
        let bare = r#"{"id":1,"result":{"tools":[{"name":"set_x"}]}}"#;
        assert_eq!(
            sight(true).filter(bare).unwrap().as_deref(),
            Some(r#"{"id":1,"result":{"tools":[],"cacheScope":"private"}}"#)
        );
        assert_eq!(sight(false).filter(bare).unwrap().as_deref(), Some(r#"{"id":1,"result":{"tools":[]}}"#));
        let batch = format!("[ {LIST} , {{\"id\":2,\"result\":{{}}}}]");
        assert_eq!(
            sight(true).filter(&batch).unwrap().as_deref(),
            Some(format!("[{SHOWN},{{\"id\":2,\"result\":{{}}}}]").as_str())
        );
        let twice = r#"{"id":1,"result":{"tools":[{"name":"set_x"}],"tools":[{"name":"set_y"}]}}"#;
        assert!(!sight(false).filter(twice).unwrap().unwrap().contains("set_"));
    }

    #[test]
    fn what_is_no_list_passes_and_what_cannot_be_read_does_not() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[1]}}"#,
            r#"{"id":1,"error":{"code":1,"data":{"tools":[]}}}"#,
            r#"{"id":1,"result":{"content":[{"tools":[{"name":"set_x"}]}]}}"#,
            r#"{"id":1,"result":null}"#,
            "[]",
        ] {
            assert_eq!(sight(true).filter(text), Ok(None), "{text}");
        }
        for text in [
            "",
            "x",
            "1",
            "{",
            r#"{"id":1,"result":{"tools":{"name":"set_x"}}}"#,
            r#"{"id":1,"result":{"tools":"set_x"}}"#,
            r#"[{"id":1},2]"#,
            r#"{"id":1}{"id":2}"#,
        ] {
            assert_eq!(sight(true).filter(text), Err(Unreadable), "{text}");
        }
    }

    fn fed(chunks: &[&[u8]]) -> Result<Vec<u8>, Unreadable> {
        let (sight, mut event, mut out) = (sight(true), Event::default(), Vec::new());
        for chunk in chunks {
            event.feed(chunk, &sight, 4096, &mut out)?;
        }
        Ok(out)
    }

    #[test]
    fn events_pass_byte_for_byte_and_lists_filtered() {
        for stream in [
            "id: 1\nretry: 10\ndata:\n\n",
            "id: 1\r\ndata\r\n\r\n: comment\r\rdata: {\"id\":1}\n\n\n\nevent: x\n\n",
            "\u{feff}data: {\"id\":1}\n\n",
        ] {
            assert_eq!(fed(&[stream.as_bytes()]).unwrap(), stream.as_bytes(), "{stream:?}");
        }
        let expected = format!("event: message\nid: 7\ndata: {SHOWN}\n\n: next\n\n");
        for break_ in ["\n", "\r\n", "\r"] {
            for space in ["", " "] {
                for mark in ["", "\u{feff}"] {
                    let stream = format!(
                        "{mark}event: message{break_}data:{space}{LIST}{break_}id: 7{break_}{break_}: next\n\n"
                    );
                    // At a break of two characters the second one may come late, and then it passes by itself.
                    let out = String::from_utf8(fed(&[stream.as_bytes()]).unwrap()).unwrap();
                    assert_eq!(out.replace("\n\n\n", "\n\n"), expected, "{stream:?}");
                }
            }
        }
        let lines =
            LIST.replace(",\"cacheScope\"", "\ndata: ,\"cacheScope\"").replace(", \"z\"", ",\ndata:\"z\"");
        let out = String::from_utf8(fed(&[format!("data: {lines}\n\n").as_bytes()]).unwrap()).unwrap();
        assert!(!out.contains("set_x") && out.contains("get_z"));
        let data: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let message: Value = serde_json::from_str(&data.join("\n")).unwrap();
        assert_eq!(message["result"]["cacheScope"], json!("private"));
    }

    #[test]
    fn an_event_comes_as_soon_as_it_is_complete_and_half_of_one_never() {
        assert_eq!(fed(&[b"data: {\"id\":1}\r\n\r"]).unwrap(), b"data: {\"id\":1}\r\n\r");
        assert_eq!(fed(&[b"data: {\"id\":1}\r\n\r", b"\n"]).unwrap(), b"data: {\"id\":1}\r\n\r\n");
        assert_eq!(fed(&[format!("data: {LIST}\n").as_bytes()]).unwrap(), b"");
    }

    #[test]
    fn what_cannot_be_read_ends_the_stream() {
        for stream in
            [&b"data: x\n\n"[..], b"data: {\"id\":1,\"result\":{\"tools\":1}}\n\n", b"data: {\"\xff\":1}\n\n"]
        {
            assert_eq!(fed(&[stream]), Err(Unreadable));
        }
        assert_eq!(fed(&["x".repeat(4097).as_bytes()]), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_says_the_same(cuts in prop::collection::vec(1_usize..12, 0..200), crlf: bool) {
            let stream = format!("id: 1\ndata:\n\nevent: message\ndata: {LIST}\n\n: x\n\ndata: {{\"id\":2}}\n\n");
            let stream = if crlf { stream.replace('\n', "\r\n") } else { stream };
            let (mut chunks, mut rest) = (Vec::new(), stream.as_bytes());
            for cut in cuts {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = left;
            }
            chunks.push(rest);
            prop_assert_eq!(fed(&chunks), fed(&[stream.as_bytes()]));
        }
    }
}
