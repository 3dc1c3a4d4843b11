//! Traces that are not compiled in: the same shapes with nothing in them. The compiler takes them away.
#![expect(clippy::unused_self, reason = "the same shapes as with the feature")]

use http::HeaderMap;

use super::Step;

/// Follows nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer {}

/// Is no span.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Span {}

/// Is no request that is followed.
#[derive(Debug)]
pub struct Entered;

/// Is no call that is followed.
#[derive(Debug)]
pub struct Leg;

impl Tracer {
    /// Nothing begins.
    #[inline]
    pub fn enters(&self, _: Step, _: [u8; 6], _: &'static str, _: &str) -> Entered {
        Entered
    }
}

impl Entered {
    /// No span.
    #[inline]
    pub fn span(&self) -> Span {
        Span {}
    }

    /// Nothing ends.
    #[inline]
    pub fn ends(self, _: u16, _: &'static str) {}
}

impl Span {
    /// It belongs to no trace.
    #[inline]
    pub(in crate::observe) fn trace_id(&self) -> Option<String> {
        None
    }

    /// Nobody asks.
    #[inline]
    pub fn admitted(&self, _: &HeaderMap) {}

    /// Nothing is a stream.
    #[inline]
    pub fn streams(&self) {}

    /// The headers stay as they are.
    #[inline]
    pub fn leg(&self, _: &mut HeaderMap, _: &str) -> Leg {
        Leg
    }

    /// Nothing is joined.
    #[inline]
    pub fn leads_to(&self, _: &str) {}

    /// Nothing is joined.
    #[inline]
    pub fn leads_to_parameter(&self, _: &str, _: &str) {}

    /// Nothing is joined.
    #[inline]
    pub fn comes_from(&self, _: Option<&str>) {}
}

impl Leg {
    /// Nothing ends.
    #[inline]
    pub fn ends(self, _: impl FnOnce() -> (Option<u16>, &'static str)) {}
}
