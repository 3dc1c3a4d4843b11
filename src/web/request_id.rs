//! The id of a request: in every line that is logged for it, in the `X-Request-Id` of its answer, and on error pages as
//! the support id. Random, says nothing, and is never taken from outside.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use http::HeaderValue;

use crate::{flow::ports::Entropy, observe::request};

/// How many ids are drawn at once.
const AT_ONCE: usize = 64;

/// Where a worker has its ids from.
#[derive(Debug, Default)]
pub struct RequestIds(Mutex<Vec<[u8; 6]>>);

impl RequestIds {
    /// A new id. Without chance it is all zero: no reason not to answer.
    pub fn next(&self, entropy: &dyn Entropy) -> RequestId {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.is_empty() {
            let mut bytes = [0; 6 * AT_ONCE];
            // To draw a few bytes costs as much as to draw many.
            if entropy.fill(&mut bytes).is_ok() {
                drawn.extend(bytes.as_chunks().0);
            }
        }
        RequestId(drawn.pop().unwrap_or_default())
    }
}

/// The id of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId([u8; 6]);

impl RequestId {
    /// As the value of a header.
    #[inline]
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_bytes(&request::hex(self.0)).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&request::hex_text(self.0))
    }
}
