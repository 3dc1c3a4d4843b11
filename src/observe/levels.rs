//! From which levels on is logged: as the configuration says, or for a while as the operator says.
//!
//! Levels can be changed while the process runs: for good by a configuration that is read again, or [`Chosen::change_for_now`],
//! until the next one of those, [`Chosen::restore`], or the end of the process. Whoever changes them, the libraries of
//! `CAPPED` stay where no secret can come from.
//!
//! Must never write a line: what became of it is said by whoever asked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, ParseError, Targets},
    registry::Registry,
    reload,
};

/// What is logged where nobody says otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// The longest filter that an operator may set for a while, in bytes.
pub const MAX_FILTER: usize = 1024;

/// Libraries that, below this level, may log what they send and receive. Nobody can turn them, or a part of them, up.
const CAPPED: ([&str; 5], LevelFilter) =
    (["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"], LevelFilter::INFO);

/// The level to which those libraries can be turned up, and which they are.
pub fn capped() -> (&'static str, &'static [&'static str]) {
    ("info", &CAPPED.0)
}

/// What changes the filter of a log.
pub(super) type Handle = reload::Handle<Targets, Registry>;

/// The levels of a log that has begun.
pub struct Chosen {
    handle: Handle,
    filters: Mutex<Filters>,
}

struct Filters {
    /// What the configuration says.
    configured: String,
    /// What the operator says instead.
    for_now: Option<String>,
}

/// Which levels hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The filter that holds.
    pub filter: String,
    /// The one of the configuration.
    pub configured: String,
    /// Whether the operator has set another one for a while.
    pub is_for_now: bool,
}

/// Why levels were not changed for a while. Nothing has changed then.
#[derive(Debug, Error)]
pub enum NotChanged {
    /// It is none.
    #[error("the log filter is not valid: {0}")]
    Filter(#[from] ParseError),
    /// A word that stands alone and is no level: as a filter it would be a target, and hide everything else.
    #[error(
        "the log filter is not valid: what stands alone must be a level (off, error, warn, info, debug, trace)"
    )]
    NoLevel,
    /// Too long to be meant.
    #[error("the log filter is not valid: it has more than {MAX_FILTER} bytes")]
    TooLong,
}

impl Chosen {
    /// Of a log that begins with this filter.
    pub(super) fn new(handle: Handle, configured: &str) -> Self {
        Self { handle, filters: Mutex::new(Filters { configured: written(configured), for_now: None }) }
    }

    /// The configuration says this, from now on. Whatever was set for a while is over.
    pub(super) fn configure(&self, filter: &str) -> Result<(), ParseError> {
        let targets = parse(filter)?;
        *self.filters() = Filters { configured: written(filter), for_now: None };
        self.apply(targets);
        Ok(())
    }

    /// Logs from these levels on until the configuration is read again, the levels are restored, or the process ends.
    pub fn change_for_now(&self, filter: &str) -> Result<(), NotChanged> {
        judge_for_now(filter)?;
        let targets = parse(filter)?;
        self.filters().for_now = Some(written(filter));
        self.apply(targets);
        Ok(())
    }

    /// Logs as the configuration says. Returns whether that was not so before.
    pub fn restore(&self) -> bool {
        let mut filters = self.filters();
        let was_changed = filters.for_now.take().is_some();
        // It was parsed before.
        if let Ok(targets) = parse(&filters.configured) {
            self.apply(targets);
        }
        was_changed
    }

    /// Which levels hold.
    pub fn shown(&self) -> Shown {
        let filters = self.filters();
        let filter = filters.for_now.as_ref().unwrap_or(&filters.configured).clone();
        Shown { filter, configured: filters.configured.clone(), is_for_now: filters.for_now.is_some() }
    }

    fn apply(&self, targets: Targets) {
        // Fails only where the log itself is gone.
        let _ = self.handle.reload(targets);
    }

    fn filters(&self) -> MutexGuard<'_, Filters> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a filter lets lines of this target and level through. One that is none lets nothing.
pub fn lets_through(filter: &str, target: &str, level: Level) -> bool {
    parse(filter).is_ok_and(|targets| targets.would_enable(target, &level))
}

/// A filter as it is shown: its directives, without what is empty.
fn written(filter: &str) -> String {
    let directives: Vec<_> = filter.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    if directives.is_empty() { DEFAULT_FILTER.to_owned() } else { directives.join(",") }
}

/// Whether a filter may be set for a while. What an operator types in the night is judged more strictly than a configuration,
/// which `check` has seen.
pub fn judge_for_now(filter: &str) -> Result<(), NotChanged> {
    if filter.len() > MAX_FILTER {
        return Err(NotChanged::TooLong);
    }
    let written = written(filter);
    let mut alone = written.split(',').filter(|directive| !directive.contains('='));
    if alone.any(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(NotChanged::NoLevel);
    }
    Ok(parse(filter).map(drop)?)
}

/// A filter, with the libraries below their cap.
pub(super) fn parse(filter: &str) -> Result<Targets, ParseError> {
    // The room of the sockets is a package of its own, which nobody who writes a filter needs to know.
    let directives: Vec<_> =
        written(filter).split(',').map(|one| one.replacen("mcp_deputy::net", "mcp_deputy_net", 1)).collect();
    let wanted: Targets = directives.join(",").parse()?;
    let default = wanted.default_level().unwrap_or(LevelFilter::OFF);
    let (capped, cap) = CAPPED;
    let is_capped = |target: &str| capped.contains(&target.split("::").next().unwrap_or_default());
    let theirs = capped.map(|library| {
        let level = wanted.iter().find(|(target, _)| *target == library).map_or(default, |(_, level)| level);
        (library, level.min(cap))
    });
    let ours = wanted.iter().filter(|(target, _)| !is_capped(target));
    Ok(Targets::new().with_default(default).with_targets(ours).with_targets(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_does_not_hide_everything() {
        for wrong in ["debgu", "info,mcp_deputy", "mcp_deputy::flow", "warn, hyper"] {
            assert!(matches!(judge_for_now(wrong), Err(NotChanged::NoLevel)), "{wrong}");
        }
        assert!(matches!(judge_for_now("info,mcp_deputy=loud"), Err(NotChanged::Filter(_))));
        assert!(matches!(judge_for_now(&"a".repeat(MAX_FILTER + 1)), Err(NotChanged::TooLong)));
        for right in ["debug", "DEBUG", "info,mcp_deputy::flow=trace", " warn , mcp_deputy=debug,", "off", ""]
        {
            assert!(judge_for_now(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn what_is_let_through_can_be_told_before() {
        let journal = "mcp_deputy::journal";
        for (filter, does) in [
            ("info", true),
            ("warn", false),
            ("warn,mcp_deputy::journal=info", true),
            ("mcp_deputy::flow=debug", false),
            ("nonsense=nonsense", false),
        ] {
            assert_eq!(lets_through(filter, journal, Level::INFO), does, "{filter}");
        }
        for filter in ["trace", "h2=trace,hyper=trace", "trace,h2::codec=trace"] {
            assert!(!lets_through(filter, "h2::codec::framed_read", Level::DEBUG), "{filter}");
        }
    }
}
