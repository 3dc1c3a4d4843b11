//! What is true: the rules of the permission journey, as values and pure functions.
//!
//! Nothing here waits, reads a clock, draws a random number, speaks HTTP or touches storage: functions take `now` and
//! random bytes as values. That is what makes the rules testable, and what lets a reader be convinced by reading.
//! This module imports nothing else of the crate.
//!
//! The types that carry the security argument:
//!
//! - [`redirect::MatchedRedirect`]: only from a client's registered list, for this request.
//! - [`consent::ConsentProof`]: only from an approved form, or from a taken ticket or arrival whose cookie matched.
//! - [`sign_in::SignInProof`]: only from an answered page of connected apps, or from a taken sign-in whose cookie matched.
//! - `Permit` (in [`crate::flow::admit`]): only from the admission of a bearer token.
//!
//! None of them can be cloned, defaulted or deserialized; what is stored between two steps holds raw facts.

pub mod access;
pub mod account;
pub mod arrival;
pub mod assertion;
pub mod backup;
pub mod catalog;
pub mod client;
pub mod consent;
pub mod document;
pub mod grant;
pub mod handle;
pub mod jwk;
pub mod jws;
pub mod keyring;
pub mod link;
pub mod metadata;
pub mod name;
pub mod origin;
pub mod person;
pub mod pkce;
pub mod post;
pub mod provider;
pub mod redirect;
pub mod refusal;
pub mod request;
pub mod resource;
pub mod restored;
pub mod scope;
pub mod secret;
pub mod showing;
pub mod sign_in;
pub mod ticket;
pub mod time;
pub mod tools;
