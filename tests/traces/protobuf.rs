//! A reader of OTLP's `ExportTraceServiceRequest` that shares nothing with what wrote it. What cannot be read is a panic.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.7.0/opentelemetry/proto/trace/v1/trace.proto>

use std::collections::BTreeMap;

/// A span as the collector sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: none.
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    /// 2: server, 3: client.
    pub(crate) kind: u64,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<(String, BTreeMap<String, String>)>,
    /// 2: an error.
    pub(crate) status: u64,
    pub(crate) service: String,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(crate) fn step(&self) -> &str {
        self.attribute("mcp_deputy.step")
    }

    pub(crate) fn events(&self) -> Vec<&str> {
        self.events.iter().map(|(name, _)| name.as_str()).collect()
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()).into()),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a number without an end");
}

fn parts(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter_map(move |field| match field {
        (found, Field::Bytes(bytes)) if found == number => Some(bytes),
        _ => None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A `KeyValue`, its value as text.
fn pair(message: &[u8]) -> (String, String) {
    let key = parts(message, 1).next().map(text).unwrap_or_default();
    let value = parts(message, 2).next().map(fields).unwrap_or_default();
    let value = value.into_iter().next().map(|field| match field {
        (1, Field::Bytes(bytes)) => text(bytes),
        (2, Field::Number(flag)) => (flag == 1).to_string(),
        (3, Field::Number(number)) => number.to_string(),
        (kind, _) => panic!("a value of kind {kind}"),
    });
    (key, value.unwrap_or_default())
}

/// All spans of a request.
pub(crate) fn spans(request: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in parts(request, 1) {
        let about = parts(resource, 1).flat_map(|about| parts(about, 1).map(pair).collect::<Vec<_>>());
        let service = about.filter(|(key, _)| key == "service.name").map(|(_, name)| name).next();
        for scope in parts(resource, 2) {
            found.extend(
                parts(scope, 2)
                    .map(|message| Span { service: service.clone().unwrap_or_default(), ..span(message) }),
            );
        }
    }
    found
}

fn span(message: &[u8]) -> Span {
    let mut span = Span::default();
    for field in fields(message) {
        match field {
            (1, Field::Bytes(bytes)) => span.trace = hex(bytes),
            (2, Field::Bytes(bytes)) => span.id = hex(bytes),
            (3, Field::Bytes(bytes)) => span.state = text(bytes),
            (4, Field::Bytes(bytes)) => span.parent = hex(bytes),
            (5, Field::Bytes(bytes)) => span.name = text(bytes),
            (6, Field::Number(number)) => span.kind = number,
            (7, Field::Number(number)) => span.begun = number,
            (8, Field::Number(number)) => span.ended = number,
            (9, Field::Bytes(bytes)) => span.attributes.extend([pair(bytes)]),
            (11, Field::Bytes(bytes)) => {
                let name = parts(bytes, 2).next().map(text).unwrap_or_default();
                span.events.push((name, parts(bytes, 3).map(pair).collect()));
            }
            (15, Field::Bytes(bytes)) => {
                for field in fields(bytes) {
                    match field {
                        (3, Field::Number(code)) => span.status = code,
                        (2, Field::Bytes(message)) => assert!(message.is_empty(), "a status has no words"),
                        _ => {}
                    }
                }
            }
            (16, Field::Number(_)) => {}
            (other, _) => panic!("field {other} of a span"),
        }
    }
    span
}
