//! Which request is being worked on, for the log.
//!
//! Whatever is logged while a request is worked on carries its id, method and path, so that a support id finds everything
//! that belongs to it. That is written down for each line and not for each request: most requests are never written of,
//! and a `tracing` span for each would cost more than all of their judging.

use std::{borrow::Cow, fmt};

use super::trace::Span;
pub use super::trace::Value;

tokio::task_local! {
    static CURRENT: Request;
}

/// A request, as the log names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Its id, random.
    pub id: [u8; 6],
    /// Its method, where that is known by name.
    pub method: &'static str,
    /// Its path, where that is one of ours: people paste secrets into URLs.
    pub path: Cow<'static, str>,
    /// Its span, where it may be followed.
    pub span: Span,
}

impl Request {
    /// Works on this request.
    pub fn within<F: Future>(self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self, work)
    }

    /// The same with work that does not wait.
    #[cfg(test)]
    pub(crate) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// As an object of JSON.
    pub(super) fn as_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "id": hex_text(self.id), "method": self.method, "name": "request", "path": self.path });
        if let (Some(trace), Some(fields)) = (self.span.trace_id(), json.as_object_mut()) {
            fields.insert("trace_id".to_owned(), trace.into());
        }
        json
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request={} {} {:?}", hex_text(self.id), self.method, self.path)
    }
}

/// The request that the caller works on; `None` outside of any.
pub fn current() -> Option<Request> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The span of the request that the caller works on.
#[cfg(feature = "otel")]
pub(super) fn span() -> Span {
    CURRENT.try_with(|request| request.span.clone()).unwrap_or_default()
}

/// Something happened to the request that the caller works on: an event of its span. `attributes` is asked only where somebody
/// hears it.
#[cfg(feature = "otel")]
pub fn happened(name: &'static str, attributes: impl FnOnce() -> Vec<(&'static str, Value)>) {
    // Outside of any request nobody hears it.
    let _ = CURRENT.try_with(|request| request.span.happened(name, attributes));
}

/// Something happened to the request that the caller works on, which nobody hears.
#[cfg(not(feature = "otel"))]
#[inline]
pub fn happened(_: &'static str, _: impl FnOnce() -> Vec<(&'static str, Value)>) {}

/// Works on the request that the caller works on, in another task.
pub async fn continued<T>(request: Option<Request>, work: impl Future<Output = T>) -> T {
    match request {
        Some(request) => request.within(work).await,
        None => work.await,
    }
}

/// The bytes as lower-case hexadecimal digits.
#[inline]
pub fn hex(bytes: [u8; 6]) -> [u8; 12] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut digits = [0; 12];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

/// The same as text.
pub fn hex_text(bytes: [u8; 6]) -> String {
    hex(bytes).map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_two_digits_each() {
        assert_eq!(hex_text([0, 9, 10, 0x9f, 0xa0, 0xff]), "00090a9fa0ff");
    }
}
