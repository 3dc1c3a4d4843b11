//! What is said on the wire here, by the load generator and the backend alike, so that each can check the other.
//!
//! Person `n` has the third-party token `tp_<n>` with six digits. Whatever stands in between, the backend must get that
//! token for every request that was sent for person `n`, and its answer names the person: a gateway that swapped two
//! people's tokens would be found out at once.

use std::time::Duration;

/// Digits of a person's number.
pub(crate) const DIGITS: usize = 6;
/// The request header that says what kind of answer is wanted.
pub(crate) const KIND: &str = "x-bench";
/// Size of the big answer, in bytes.
pub(crate) const BIG: usize = 1 << 20;
/// The authority that requests name; `public_url` of the gateway is this with https.
pub(crate) const HOST: &str = "mcp.bench";
/// The body of every request: a tool call as MCP clients send it.
pub(crate) const CALL: &str = r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"search_issues","arguments":{"query":"is:open label:bug","limit":20},"_meta":{"progressToken":17}}}"#;

/// Events of a stream at full speed.
pub(crate) const BURST: u64 = 10_000;
/// Events of a paced stream.
pub(crate) const PACED: u64 = 300;
/// Time between two of them.
pub(crate) const PACE: Duration = Duration::from_millis(10);
/// Paced streams at the same time: their events come in turn.
pub(crate) const PACED_AT_ONCE: u32 = 100;
/// Size of an event, in bytes.
pub(crate) const EVENT: usize = 110;

const BEFORE: &str =
    r#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"Two issues of person "#;
const AFTER: &str = r#": #1204 The parser loses a line break at the end of a block quote; #1187 Opening a second window fails after the first one was closed. Both are open, and nobody is assigned to them."}],"isError":false}}"#;

/// The third-party token of person `number`.
pub(crate) fn third_party_token(number: usize) -> String {
    format!("tp_{number:0DIGITS$}")
}

/// The number in `Authorization: Bearer tp_<n>`, if it is one.
pub(crate) fn person_of(authorization: &[u8]) -> Option<&[u8]> {
    let digits = authorization.strip_prefix(b"Bearer tp_")?;
    (digits.len() == DIGITS && digits.iter().all(u8::is_ascii_digit)).then_some(digits)
}

/// The small JSON answer for the person with these digits.
pub(crate) fn answer(digits: &[u8]) -> Vec<u8> {
    [BEFORE.as_bytes(), digits, AFTER.as_bytes()].concat()
}

/// The big JSON answer for the person with these digits: [`BIG`] bytes.
pub(crate) fn big_answer(digits: &[u8]) -> Vec<u8> {
    let filler = BIG - BEFORE.len() - DIGITS - AFTER.len();
    let mut answer = Vec::with_capacity(BIG);
    answer.extend_from_slice(BEFORE.as_bytes());
    answer.extend_from_slice(digits);
    answer.extend((0..filler).map(|index| b'a' + u8::try_from(index % 26).unwrap_or_default()));
    answer.extend_from_slice(AFTER.as_bytes());
    answer
}

/// An event with a number, and the moment at which it was made ([`crate::clock::now`]): [`EVENT`] bytes.
pub(crate) fn event(number: u64, at: u64) -> String {
    format!(
        "id: {number:08}\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"at\":\"{at:020}\"}}}}\n\n"
    )
}

/// What [`event`] was made of; `None` if these bytes are none.
pub(crate) fn read_event(event: &[u8]) -> Option<(u64, u64)> {
    let number = |range: std::ops::Range<usize>| std::str::from_utf8(event.get(range)?).ok()?.parse().ok();
    let (number, at) = (number(4..12)?, number(EVENT - 25..EVENT - 5)?);
    (event.starts_with(b"id: ") && event.ends_with(b"\"}}\n\n")).then_some((number, at))
}

/// Where the person's digits stand in either answer.
pub(crate) fn digits_at() -> std::ops::Range<usize> {
    BEFORE.len()..BEFORE.len() + DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_its_person_and_nothing_else_does() {
        let token = format!("Bearer {}", third_party_token(42));
        assert_eq!(person_of(token.as_bytes()), Some(&b"000042"[..]));
        for wrong in
            ["Bearer tp_42", "Bearer tp_00004x", "tp_000042", "Bearer mcpd_000042", "Bearer tp_0000421"]
        {
            assert_eq!(person_of(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn an_event_can_be_read_again() {
        let written = event(9_999, 123_456_789);
        assert_eq!(written.len(), EVENT);
        assert_eq!(read_event(written.as_bytes()), Some((9_999, 123_456_789)));
        assert_eq!(read_event(&written.as_bytes()[1..]), None);
    }

    #[test]
    fn answers_are_json_of_the_size_that_is_promised_and_name_the_person() {
        for (answer, size) in [(answer(b"000042"), 290..310), (big_answer(b"000042"), BIG..BIG + 1)] {
            assert!(size.contains(&answer.len()), "{}", answer.len());
            assert_eq!(&answer[digits_at()], b"000042");
            assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
        }
    }
}
