//! This machine's clock against the `Date` of others: whole seconds, read together with how long the answer took.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header::DATE};

use super::finding::{self, Check, Finding};
use crate::domain::time::Timestamp;

const FAULT: u64 = 60;
const WARNING: u64 = 10;

/// How far apart, where the answer came between these moments. `None`: it has no date.
pub(super) fn compare(
    whose: &str,
    headers: &HeaderMap,
    asked: Timestamp,
    answered: Timestamp,
) -> Option<Finding> {
    // A cache in between tells an old date, and says how old.
    if headers.contains_key("age") {
        return None;
    }
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let date = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (early, late) =
        (Duration::from_millis(asked.as_millis()), Duration::from_millis(answered.as_millis()));
    // It was made within that second, somewhere between asking and answering.
    let ahead = early.saturating_sub(date + Duration::from_secs(1)).as_secs();
    let behind = date.saturating_sub(late).as_secs();
    let (apart, direction) = if ahead > 0 { (ahead, "ahead of") } else { (behind, "behind") };
    let detail = format!("this machine is {apart} s {direction} {whose}");
    Some(match apart {
        FAULT.. => Finding::of(&finding::CLOCK_WRONG, whose).because(detail),
        WARNING.. => Finding::of(&finding::CLOCK_DRIFTS, whose).because(detail),
        _ => Finding::ok(Check::Clock, whose, "the clocks agree"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_is_named_in_seconds_and_direction() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let mut headers = HeaderMap::new();
        assert!(compare("x", &headers, at(0), at(0)).is_none());
        headers.insert(DATE, "Thu, 01 Jan 1970 01:00:00 GMT".parse().unwrap());
        let told = |asked, answered| {
            let found = compare("x", &headers, at(asked), at(answered)).unwrap();
            (found.slug, found.found)
        };
        assert_eq!(told(3600, 3601).0, None);
        // A slow answer is no skew.
        assert_eq!(told(3500, 3700).0, None);
        assert_eq!(told(3620, 3621).0, Some("clock_drifts"));
        assert!(told(3700, 3700).1.ends_with("this machine is 99 s ahead of x"));
        assert!(told(3000, 3001).1.ends_with("this machine is 599 s behind x"));
        assert_eq!(told(3000, 3001).0, Some("clock_wrong"));
    }
}
