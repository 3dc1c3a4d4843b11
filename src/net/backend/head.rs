//! Heads of HTTP/1.1 messages (RFC 9112): how a request is written, and what an answer's head says.
//!
//! **Writing.** Where a message ends is said by us alone: what a request's headers say about that, about the host or the
//! connection does not pass.
//!
//! **Reading** is httparse's work, as in hyper and with the same strictness: no folded lines, no space before a colon. How
//! long the body is, is decided here as RFC 9112 section 6.3 has it, and an answer that leaves room for two opinions is
//! refused, or is the last one on its connection.

use std::{io::Write as _, mem::MaybeUninit};

use bytes::{Buf as _, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

/// How long a head may be, in bytes. As many headers as hyper takes, each of a sensible length.
const LONGEST: usize = 64 * 1024;
/// How many headers an answer may have.
const HEADERS: usize = 100;
/// How many interim answers (1xx) are passed over.
const INTERIM: usize = 16;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// It is so many bytes long.
    Sized(u64),
    /// It says so itself.
    Chunked,
    /// It ends with the connection. Answers only.
    UntilClose,
}

/// What every request on a connection begins with behind its method: the target in origin form (RFC 9112 section 3.2.1),
/// the version and the host.
pub(super) fn opening(target: &str, host: &HeaderValue) -> Bytes {
    let mut opening = format!(" {target} HTTP/1.1\r\nhost: ").into_bytes();
    opening.extend_from_slice(host.as_bytes());
    opening.extend_from_slice(b"\r\n");
    opening.into()
}

/// Writes the head of a request behind `out`; whether another may follow on the connection.
///
/// A method that usually has no body says nothing of an empty one. Where there is one it goes last, and says so: there are
/// servers that look for none then, and take it for the next request (CL.0).
pub(super) fn write(
    out: &mut Vec<u8>,
    method: &Method,
    opening: &[u8],
    headers: &HeaderMap,
    framing: Framing,
) -> bool {
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(opening);
    for (name, value) in headers {
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
            continue;
        }
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
    let is_usual = ![Method::GET, Method::DELETE, Method::HEAD].contains(method);
    let is_followed = is_usual || framing == Framing::Sized(0);
    match framing {
        Framing::Sized(0) if !is_usual => {}
        // To write into memory does not fail.
        Framing::Sized(length) => _ = write!(out, "content-length: {length}\r\n"),
        Framing::Chunked | Framing::UntilClose => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(if is_followed { b"\r\n" } else { b"connection: close\r\n\r\n" });
    is_followed
}

/// What an answer's head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) answer: Response<()>,
    pub(super) framing: Framing,
    /// Whether the connection is good for another request when the body has ended.
    pub(super) is_kept: bool,
}

/// This is not an answer of HTTP/1.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// How far the reading of a head has come.
#[derive(Debug)]
pub(super) struct Reading {
    /// Filled with its headers.
    headers: HeaderMap,
    /// How much has come in which its end is not.
    seen: usize,
    /// How many interim answers may still come.
    interim: usize,
}

impl Reading {
    /// Of no byte so far. What stands in `headers` is forgotten at once, since it holds memory of others; its own is used again.
    pub(super) fn new(mut headers: HeaderMap) -> Self {
        headers.clear();
        Self { headers, seen: 0, interim: INTERIM }
    }

    /// The head is not all there.
    fn goes_on(&mut self, came: &[u8]) -> Result<Option<Head>, Malformed> {
        self.seen = came.len();
        if self.seen < LONGEST { Ok(None) } else { Err(Malformed) }
    }

    /// Whether the end of a head may have come since the last look. Who sends a head byte by byte does not make us read
    /// the whole of it again for each.
    fn may_have_ended(&self, came: &[u8]) -> bool {
        let new = came.get(self.seen.saturating_sub(3)..).unwrap_or_default();
        self.seen == 0
            || new.windows(2).any(|two| two == b"\n\n")
            || new.windows(3).any(|three| three == b"\n\r\n")
    }
}

/// Takes the head of the answer to a request with `method` from what `came`, interim answers included; `None` while it is not
/// all there.
pub(super) fn read(
    came: &mut Bytes,
    method: &Method,
    reading: &mut Reading,
) -> Result<Option<Head>, Malformed> {
    loop {
        if !reading.may_have_ended(came) {
            return reading.goes_on(came);
        }
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, came, &mut fields);
        let httparse::Status::Complete(length) = parsed.map_err(|_| Malformed)? else {
            return reading.goes_on(came);
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            reading.interim = reading.interim.checked_sub(1).ok_or(Malformed)?;
            reading.seen = 0;
            came.advance(length);
            continue;
        }
        let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let mut said = Said::default();
        for field in response.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
            if name == CONTENT_LENGTH {
                said.length(field.value)?;
            } else if name == TRANSFER_ENCODING {
                said.coding(field.value);
            } else {
                let value = HeaderValue::from_maybe_shared(came.slice_ref(field.value));
                reading.headers.append(name, value.map_err(|_| Malformed)?);
            }
        }
        came.advance(length);
        return judged(status, version, method, said, std::mem::take(&mut reading.headers)).map(Some);
    }
}

/// What a head says about the length of the body. It is for us and does not go on: whoever passes the body on says it anew.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
}

impl Said {
    /// `Content-Length`. It may be said twice only where both say the same.
    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for said in value.split(|byte| *byte == b',') {
            let said = number(said.trim_ascii()).ok_or(Malformed)?;
            if *self.length.get_or_insert(said) != said {
                return Err(Malformed);
            }
        }
        Ok(())
    }

    /// `Transfer-Encoding`.
    fn coding(&mut self, value: &[u8]) {
        self.codings = self.codings.saturating_add(1);
        self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
    }

    /// The framing of a body, and whether it is open to no doubt (RFC 9112 section 6.3). Other codings than `chunked` we never
    /// ask for, and what their last bytes mean is not ours to find out.
    fn framing(self, version: Version) -> Result<(Framing, bool), Malformed> {
        match (self.codings, self.length) {
            (0, Some(length)) => Ok((Framing::Sized(length), true)),
            (0, None) => Ok((Framing::UntilClose, false)),
            // A length beside it is what smuggling is made of: it counts for nothing, and nothing follows on this connection.
            (1, length) if self.is_chunked && version == Version::HTTP_11 => {
                Ok((Framing::Chunked, length.is_none()))
            }
            _ => Err(Malformed),
        }
    }
}

fn judged(
    status: StatusCode,
    version: Version,
    method: &Method,
    said: Said,
    headers: HeaderMap,
) -> Result<Head, Malformed> {
    let has_body = method != Method::HEAD
        && ![StatusCode::SWITCHING_PROTOCOLS, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED]
            .contains(&status);
    let (framing, is_clear) = if has_body {
        said.framing(version)?
    } else {
        // A server that speaks of a body where there is none may send it, except as an answer to HEAD.
        let is_clear = method == Method::HEAD || (said.codings == 0 && said.length.unwrap_or(0) == 0);
        (Framing::Sized(0), is_clear && status != StatusCode::SWITCHING_PROTOCOLS)
    };
    let is_kept = is_clear && goes_on(version, &headers);
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    *answer.version_mut() = version;
    *answer.headers_mut() = headers;
    Ok(Head { answer, framing, is_kept })
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let mut digits = digits.iter().peekable();
    digits.peek()?;
    digits.try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Whether the MCP server keeps the connection after this answer (RFC 9112 section 9.3). A word that we cannot read could
/// say that it does not.
fn goes_on(version: Version, headers: &HeaderMap) -> bool {
    let mut is_kept = version == Version::HTTP_11;
    for value in headers.get_all(CONNECTION) {
        let Ok(value) = value.to_str() else { return false };
        for option in value.split(',').map(|option| option.trim_matches([' ', '\t'])) {
            if option.eq_ignore_ascii_case("close") {
                return false;
            }
            is_kept |= option.eq_ignore_ascii_case("keep-alive");
        }
    }
    is_kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Result<Option<Head>, Malformed> {
        let mut came = Bytes::copy_from_slice(head.as_bytes());
        read(&mut came, &Method::POST, &mut Reading::new(HeaderMap::new()))
    }

    /// How the body of an answer with these headers ends, and whether the connection is kept.
    fn framing(start: &str, headers: &[&str]) -> Option<(Framing, bool)> {
        let head = format!("HTTP/{start}\r\n{}\r\n\r\n", headers.join("\r\n"));
        let head = if headers.is_empty() { format!("HTTP/{start}\r\n\r\n") } else { head };
        let head = of(&head).ok()?.expect("a whole head");
        Some((head.framing, head.is_kept))
    }

    #[test]
    fn where_a_body_ends_is_open_to_no_doubt() {
        use Framing::{Chunked, Sized, UntilClose};
        let (ok, chunked) = ("1.1 200 OK", "transfer-encoding: Chunked");
        for (start, headers, expected) in [
            (ok, &["content-length: 5"][..], Some((Sized(5), true))),
            (ok, &["Content-Length:5 "], Some((Sized(5), true))),
            (ok, &["content-length: 5", "content-length: 5"], Some((Sized(5), true))),
            (ok, &["content-length: 5, 5"], Some((Sized(5), true))),
            (ok, &["content-length: 5", "content-length: 6"], None),
            (ok, &["content-length: 5, 6"], None),
            (ok, &["content-length: +5"], None),
            (ok, &["content-length: -5"], None),
            (ok, &["content-length: 0x5"], None),
            (ok, &["content-length: 5 5"], None),
            (ok, &["content-length: "], None),
            (ok, &["content-length: 5,"], None),
            (ok, &["content-length: 18446744073709551616"], None),
            (ok, &["content-length : 5"], None),
            (ok, &["x: y", " content-length: 5"], None),
            (ok, &[chunked], Some((Chunked, true))),
            (ok, &[chunked, "content-length: 5"], Some((Chunked, false))),
            (ok, &[chunked, "content-length: 5", "content-length: 6"], None),
            (ok, &[chunked, chunked], None),
            (ok, &["transfer-encoding: gzip, chunked"], None),
            (ok, &["transfer-encoding: chunked, gzip"], None),
            (ok, &["transfer-encoding: identity"], None),
            (ok, &["transfer-encoding: \u{b}chunked"], None),
            (ok, &["transfer-encoding:"], None),
            (ok, &[], Some((UntilClose, false))),
            ("1.0 200 OK", &[], Some((UntilClose, false))),
            ("1.0 200 OK", &[chunked], None),
            ("1.0 200 OK", &["content-length: 5"], Some((Sized(5), false))),
            ("1.0 200 OK", &["content-length: 5", "connection: Keep-Alive"], Some((Sized(5), true))),
            ("1.1 204 No Content", &[], Some((Sized(0), true))),
            ("1.1 204 No Content", &["content-length: 0"], Some((Sized(0), true))),
            // Whoever says so may well send it.
            ("1.1 204 No Content", &["content-length: 5"], Some((Sized(0), false))),
            ("1.1 204 No Content", &[chunked], Some((Sized(0), false))),
            ("1.1 304 Not Modified", &["content-length: 5"], Some((Sized(0), false))),
            ("1.1 304 Not Modified", &[chunked], Some((Sized(0), false))),
            ("1.1 304 Not Modified", &[], Some((Sized(0), true))),
            ("1.1 101 Switching Protocols", &["upgrade: x"], Some((Sized(0), false))),
            ("1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", &["content-length: 1"], Some((Sized(1), true))),
            (ok, &["content-length: 5", "connection: x, \tClose"], Some((Sized(5), false))),
            (
                ok,
                &["content-length: 5", "connection: keep-alive", "connection: close"],
                Some((Sized(5), false)),
            ),
            (ok, &["content-length: 5", "connection: \u{e4}"], Some((Sized(5), false))),
            ("1.2 200 OK", &["content-length: 5"], None),
            ("2 200 OK", &[], None),
            ("1.1 20 OK", &[], None),
            ("1.1 099 No", &[], None),
        ] {
            assert_eq!(framing(start, headers), expected, "{start} {headers:?}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut came = Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        let head = read(&mut came, &Method::HEAD, &mut Reading::new(HeaderMap::new())).unwrap().unwrap();
        assert_eq!((head.framing, head.is_kept), (Framing::Sized(0), true));
    }

    #[test]
    fn a_head_comes_whole_and_what_stands_behind_it_stays() {
        let whole = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nA: b\r\na: c\r\nContent-Length: 3\r\n\r\nabc";
        let end = whole.len() - 3;
        for length in 0..end {
            assert!(of(&whole[..length]).unwrap().is_none(), "{length}");
        }
        let mut came = Bytes::from_static(whole.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("of the request"));
        let head = read(&mut came, &Method::POST, &mut Reading::new(headers)).unwrap().unwrap();
        assert_eq!(came, "abc");
        assert_eq!(head.answer.status(), StatusCode::CREATED);
        let of_a: Vec<_> = head.answer.headers().get_all("a").iter().collect();
        assert_eq!(of_a, ["b", "c"]);
        assert_eq!(head.answer.headers().len(), 2, "nothing of the request, and what is for us");
    }

    /// What comes in pieces is read like what comes at once, and a piece without an end costs no look at all that came before.
    #[test]
    fn attack_a_head_byte_by_byte() {
        for whole in [
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\na: b\n\n",
            "HTTP/1.1 200 OK\na: b\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n\n",
            "\r\n\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (mut reading, mut came) = (Reading::new(HeaderMap::new()), Bytes::new());
            for (index, byte) in whole.bytes().enumerate() {
                came = [&*came, &[byte]].concat().into();
                let head = read(&mut came, &Method::POST, &mut reading).unwrap();
                assert_eq!(head.is_some(), index + 1 == whole.len(), "{whole:?} {index}");
            }
            assert!(came.is_empty());
        }
        let mut reading = Reading::new(HeaderMap::new());
        let mut of = |came: &'static str| {
            read(&mut came.into(), &Method::POST, &mut reading).map(|head| head.is_some())
        };
        assert_eq!(of("HTTP/1.1 200 OK\r\n"), Ok(false));
        assert_eq!(of("HTTP/1.1 200 OK\r\na : b\r\n"), Ok(false), "looked at again without need");
        assert_eq!(of("HTTP/1.1 200 OK\r\na : b\r\n\r\n"), Err(Malformed));
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM + 1);
        assert_eq!(of(&format!("{many}HTTP/1.1 200 OK\r\n\r\n")).unwrap_err(), Malformed);
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(LONGEST));
        assert_eq!(of(&long).unwrap_err(), Malformed);
        let lines = "a: b\r\n".repeat(HEADERS + 1);
        assert_eq!(of(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).unwrap_err(), Malformed);
    }

    #[test]
    fn a_request_says_once_where_it_goes_and_where_it_ends() {
        let opening = opening("/mcp?a=b", &HeaderValue::from_static("mcp.internal:3000"));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "elsewhere"),
            ("content-length", "7"),
            ("transfer-encoding", "gzip"),
            ("connection", "upgrade"),
            ("accept", "one"),
            ("accept", "two"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let of = |method: Method, framing| {
            let mut out = Vec::new();
            write(&mut out, &method, &opening, &headers, framing);
            String::from_utf8(out).unwrap()
        };
        let start = "/mcp?a=b HTTP/1.1\r\nhost: mcp.internal:3000\r\naccept: one\r\naccept: two\r\n";
        for (method, framing, end) in [
            (Method::POST, Framing::Sized(12), "content-length: 12\r\n"),
            (Method::POST, Framing::Sized(0), "content-length: 0\r\n"),
            (Method::POST, Framing::Chunked, "transfer-encoding: chunked\r\n"),
            (Method::GET, Framing::Sized(0), ""),
            (Method::DELETE, Framing::Sized(0), ""),
            (Method::DELETE, Framing::Sized(2), "content-length: 2\r\nconnection: close\r\n"),
            (Method::GET, Framing::Chunked, "transfer-encoding: chunked\r\nconnection: close\r\n"),
        ] {
            assert_eq!(of(method.clone(), framing), format!("{method} {start}{end}\r\n"));
        }
    }
}
