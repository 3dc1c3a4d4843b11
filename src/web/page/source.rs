//! Where an app comes from and since when, in words of the catalogue: one that nobody knew a minute ago deserves a second
//! look.

use std::time::Duration;

use serde::Serialize;

/// Where an app comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Source {
    /// The name of a text.
    text: &'static str,
    /// Since when, where the text says so.
    age: Option<Age>,
}

impl Source {
    /// The operator wrote it down.
    pub const fn configured() -> Self {
        Self { text: "details.configured", age: None }
    }

    /// A metadata document describes it; approved here for the first time so long ago.
    pub fn document(approved: Option<Age>) -> Self {
        let text = if approved.is_some() { "details.document" } else { "details.document_new" };
        Self { text, age: approved }
    }

    /// It registered itself so long ago (RFC 7591).
    pub const fn registered(age: Age) -> Self {
        Self { text: "details.registered", age: Some(age) }
    }
}

/// How long ago something was: `t(age.text, number=age.number)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Age {
    /// The name of a text.
    text: &'static str,
    number: u64,
}

impl Age {
    /// In minutes, hours or days, whichever is readable.
    pub fn of(duration: Duration) -> Self {
        let minutes = duration.as_secs() / 60;
        let (text, number) = match minutes {
            0 => ("age.now", 0),
            1 => ("age.minute", 1),
            2..=119 => ("age.minutes", minutes),
            120..=2879 => ("age.hours", minutes / 60),
            _ => ("age.days", minutes / (24 * 60)),
        };
        Self { text, number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_registration_is_told_in_words() {
        for (seconds, text, number) in [
            (0, "age.now", 0),
            (60, "age.minute", 1),
            (120, "age.minutes", 2),
            (3600, "age.minutes", 60),
            (7200, "age.hours", 2),
            (47 * 3600, "age.hours", 47),
            (48 * 3600, "age.days", 2),
        ] {
            assert_eq!(Age::of(Duration::from_secs(seconds)), Age { text, number }, "{seconds}");
        }
    }
}
