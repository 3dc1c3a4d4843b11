//! The id of a request: in every line that is logged for it, in the `X-Request-Id` of its answer, and on error pages as
//! the support id. Random, says nothing, and is never taken from outside.

use std::fmt;

use http::HeaderValue;

use crate::{
    flow::ports::{Entropy, random},
    observe::request,
};

/// The id of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestId([u8; 6]);

impl RequestId {
    /// A new id. Without chance it is all zero: no reason not to answer.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self(random(entropy).unwrap_or_default())
    }

    /// As the value of a header.
    pub fn header(self) -> HeaderValue {
        HeaderValue::try_from(request::hex(self.0)).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&request::hex(self.0))
    }
}
