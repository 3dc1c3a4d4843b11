//! HTTP over the flows: requests are read strictly, steps are taken, outcomes become answers.
//!
//! [`route`] shows the whole URL space on one screen and the order in which a request is judged. One small file per
//! endpoint, named after the flow behind it. [`read`], [`parameters`], [`credentials`], [`origin`] and [`browser`] say what
//! a request means; [`reply`] is the one place where refusals and faults become answers; [`page`] makes what people see.
//!
//! Must never: decide what a flow decides; redirect anywhere that a flow did not return as an address; repeat in an
//! answer what a stranger sent; log a query, a header or a body. Made by the composition root: one [`Site`] per process,
//! one [`Web`] per worker.

mod account;
pub mod address;
pub mod admin;
mod arrival;
mod authorize;
pub mod browser;
mod callback;
mod consent;
pub mod credentials;
mod home;
mod introspect;
mod jwks;
mod limit;
mod limits;
mod mcp;
pub mod metadata;
pub mod mirror;
pub mod origin;
pub mod page;
pub mod parameters;
pub mod read;
mod register;
pub mod reply;
pub mod request_id;
mod revoke;
pub mod route;
mod share;
mod site;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod token;
pub mod traffic;
mod visit;

pub use self::{
    limits::Rates,
    route::Web,
    site::{Mount, Site, SiteError, SiteParts},
    visit::Caller,
};
