//! Laws of the domain, held against generated input: redirect matching, the algebra of scopes, grants under random
//! interleavings, handles. (Tickets, arrivals, seals and session ids have theirs beside the code.)

#[cfg(test)]
mod grants;
#[cfg(test)]
mod handles;
#[cfg(test)]
mod redirects;
#[cfg(test)]
mod scopes;

#[cfg(test)]
use proptest::prelude::ProptestConfig;

/// So many cases each; failures are shown, not kept in files.
#[cfg(test)]
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
