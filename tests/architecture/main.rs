//! The rules that hold between files: read from the source text, so that they fail before anybody has to notice.
//!
//! - `rooms`: who may import whom, and what may be named in one place only.
//! - `files`: length, module documentation, nothing left unfinished.
//! - `documents`: links between documents lead somewhere; the README and CI run the same command.
//! - `conformance`: every requirement has its row, and what a row names exists.
//!
//! `UPDATE=1 cargo test --test architecture` takes the word `pending` from what exists by now.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod files;
#[cfg(test)]
mod rooms;
#[cfg(test)]
mod source;
