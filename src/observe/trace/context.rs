//! W3C Trace Context (Level 1): the header `traceparent`, read strictly and written.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that says which trace and which span a request belongs to.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to it. Passed on as it came, or not at all; never read.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A place in a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
    /// Whether whoever sent it records it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// What the headers of a request say. `None` where they say nothing, say it twice, or say what is not valid: a new trace
    /// begins then (section 4.3).
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let first = values.next()?;
        if values.next().is_some() { None } else { Self::parse(first.as_bytes()) }
    }

    /// Reads one value (section 3.2.2). A later version may say more behind a further dash (section 3.2.4).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        let [v0, v1, b'-', rest @ ..] = known else { return None };
        let [version] = bytes::<1>(&[*v0, *v1])?;
        let may_have_more = version != 0 && more.first() == Some(&b'-');
        if version == 0xff || !(more.is_empty() || may_have_more) {
            return None;
        }
        let (trace, rest) = rest.split_at_checked(32)?;
        let (span, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let trace = bytes::<16>(trace).filter(|id| *id != [0; 16])?;
        let span = bytes::<8>(span).filter(|id| *id != [0; 8])?;
        let [flags] = bytes::<1>(flags.strip_prefix(b"-")?)?;
        Some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }

    /// As a value of the header.
    pub fn header(&self) -> Option<HeaderValue> {
        let Self { trace, span, is_sampled } = self;
        HeaderValue::try_from(format!("00-{}-{}-0{}", hex(trace), hex(span), u8::from(*is_sampled))).ok()
    }
}

/// The bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Lower-case hexadecimal digits, exactly as many as fill the bytes.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        let context = TraceContext::parse(VALID.as_bytes()).unwrap();
        assert_eq!((context.trace[0], context.span[7], context.is_sampled), (0x0a, 0x31, true));
        assert_eq!(context.header().unwrap(), VALID);
        let unsampled = TraceContext { is_sampled: false, ..context };
        assert_eq!(TraceContext::parse(unsampled.header().unwrap().as_bytes()), Some(unsampled));
    }

    #[test]
    fn other_flags_mean_nothing_and_later_versions_may_say_more() {
        for (text, is_sampled) in [
            (VALID.replace("-01", "-03"), true),
            (VALID.replace("-01", "-fe"), false),
            (VALID.replacen("00-", "cc-", 1), true),
            (VALID.replacen("00-", "cc-", 1) + "-what-the-future-will-be-like", true),
        ] {
            assert_eq!(
                TraceContext::parse(text.as_bytes()).map(|it| it.is_sampled),
                Some(is_sampled),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_valid_is_nothing() {
        for text in [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}-more"),
            &format!("{VALID} "),
            &format!(" {VALID}"),
            &VALID.replacen("00-", "ff-", 1),
            &VALID.replacen("00-", "0G-", 1),
            &(VALID.replacen("00-", "cc-", 1) + "."),
            &VALID.to_uppercase(),
            &VALID.replace('-', "_"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn said_twice_is_not_said() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::read(&headers), None);
        headers.append(TRACEPARENT, VALID.parse().unwrap());
        assert!(TraceContext::read(&headers).is_some());
        headers.append(TRACEPARENT, VALID.parse().unwrap());
        assert_eq!(TraceContext::read(&headers), None);
    }
}
