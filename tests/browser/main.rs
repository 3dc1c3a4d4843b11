//! Real Chromium against our pages, with the headers that are really sent, and through the whole gateway.
//!
//! Skipped, and said so, where chromium or chromedriver is missing; with `MCP_DEPUTY_REQUIRE_BROWSER=1` that fails.
//! Screenshots go to `target/screenshots/`.

#[cfg(test)]
mod access;
#[cfg(test)]
mod account;
#[cfg(test)]
mod approve;
#[cfg(test)]
mod choices;
#[cfg(test)]
mod extremes;
#[cfg(test)]
mod gallery;
#[cfg(test)]
mod journey;
#[cfg(test)]
mod leave;
#[cfg(test)]
mod look;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod second;
#[cfg(test)]
mod site;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tour;
#[cfg(test)]
mod traces;
