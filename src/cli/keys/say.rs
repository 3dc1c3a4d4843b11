//! What `keys` prints for people.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::{table, tell::text};

/// What to do where the key comes from the configuration.
pub(super) const STEPS: [&str; 5] = [
    "Make a new key: openssl rand -base64 32",
    "In the configuration, put the key that store.encryption_key has now in front of the list store.previous_encryption_keys, and \
     the new one into store.encryption_key. Keep a copy of both somewhere else than the backups.",
    "Restart the gateway. It seals everything anew with the new key while it runs.",
    "Wait until mcp-deputy keys list shows no records for the old key, and a day longer: then pages and sessions that know it \
     are gone.",
    "Take the old key out of store.previous_encryption_keys, and restart the gateway. Backups from before need it to be checked.",
];

fn number(item: &Value, key: &str) -> Option<u64> {
    item.get(key).and_then(Value::as_u64)
}

pub(super) fn steps(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "The encryption key comes from the configuration (store.encryption_key), so it is changed there:\n"
    )?;
    STEPS.iter().enumerate().try_for_each(|(place, step)| writeln!(out, "{}. {step}", place + 1))
}

/// The keys of an answer, and what is to be said about them.
pub(super) fn list(out: &mut impl Write, listed: &Value) -> io::Result<()> {
    let keys = listed.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let row = |key: &Value| {
        let records = number(key, "records").map_or_else(|| "-".to_owned(), |records| records.to_string());
        vec![
            text(key, "id"),
            text(key, "state"),
            text(key, "origin").replace('_', " "),
            minute(&text(key, "made_at")),
            minute(&text(key, "replaced_at")),
            records,
            minute(&text(key, "needed_until")),
        ]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    let titles = ["KEY", "STATE", "FROM", "MADE", "REPLACED", "RECORDS", "NEEDED UNTIL"];
    table::rows(out, &titles, &rows)?;
    let Some(resealing) = listed.get("resealing") else { return Ok(()) };
    if text(resealing, "state") != "done" {
        writeln!(out, "\n{}", progress(resealing))?;
    }
    match number(listed, "unreadable").unwrap_or_default() {
        0 => Ok(()),
        unreadable => writeln!(
            out,
            "\n{unreadable} records hold something that no key here opens: its key is gone, or they are damaged. Whoever they belong \
             to must sign in again."
        ),
    }
}

/// How far it is, in one line.
pub(super) fn progress(resealing: &Value) -> String {
    let resealed = number(resealing, "resealed").unwrap_or_default();
    let of = number(resealing, "records").map_or_else(String::new, |records| {
        let percent = resealed.saturating_mul(100).checked_div(records).unwrap_or(100).min(100);
        format!(" of {records} ({percent} %)")
    });
    match text(resealing, "state").as_str() {
        "counting" => "Counting what is sealed with older keys …".to_owned(),
        "resealing" => format!("Sealing anew: {resealed}{of} records"),
        "settling" => format!("Sealed anew: {resealed}{of} records; waiting for what is under way …"),
        "failing" => format!(
            "Sealing anew: {resealed}{of} records; it failed (the gateway's log says why) and is tried again …"
        ),
        "done" => format!("Sealed anew: {resealed}{of} records."),
        other => other.to_owned(),
    }
}

/// What became of the older keys.
pub(super) fn dropped(out: &mut impl Write, answer: &Value) -> io::Result<()> {
    let list = |key| answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for id in list("dropped").iter().filter_map(Value::as_str) {
        writeln!(out, "Dropped the key {id}: what was sealed with it cannot be opened any more.")?;
    }
    for kept in list("kept") {
        let id = text(kept, "id");
        match text(kept, "reason").as_str() {
            "may_be_in_use" => writeln!(
                out,
                "Kept the key {id}: pages and sessions that know it may be open until {}, if none comes until then. To drop it \
                 then: mcp-deputy keys drop (with --now: at once)",
                minute(&text(kept, "until"))
            )?,
            "sealed" => writeln!(
                out,
                "Kept the key {id}: {} records are sealed with it.",
                number(kept, "records").unwrap_or_default()
            )?,
            "resealing" => {
                writeln!(out, "Kept the key {id}: the gateway has not sealed everything anew yet.")?;
            }
            _ => writeln!(
                out,
                "Kept the key {id}: it stands in the configuration; take it out there when nothing needs it: mcp-deputy keys list"
            )?,
        }
    }
    if list("dropped").is_empty() && list("kept").is_empty() {
        writeln!(out, "There is no older key.")?;
    }
    Ok(())
}

/// To the minute, as the other tables have it.
fn minute(at: &str) -> String {
    at.get(..16).map_or_else(|| at.to_owned(), |at| at.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_how_far_it_is() {
        for (resealing, said) in [
            (json!({ "state": "counting", "resealed": 0 }), "Counting what is sealed with older keys …"),
            (
                json!({ "state": "resealing", "resealed": 5, "records": 20 }),
                "Sealing anew: 5 of 20 (25 %) records",
            ),
            (
                json!({ "state": "done", "resealed": 21, "records": 20 }),
                "Sealed anew: 21 of 20 (100 %) records.",
            ),
            (json!({ "state": "done", "resealed": 0, "records": 0 }), "Sealed anew: 0 of 0 (100 %) records."),
        ] {
            assert_eq!(progress(&resealing), said);
        }
    }

    #[test]
    fn says_what_became_of_the_keys() {
        let answer = json!({ "dropped": ["aa"], "kept": [
            { "id": "bb", "reason": "may_be_in_use", "until": "2026-11-30T20:00:00Z" },
            { "id": "cc", "reason": "sealed", "records": 3 },
            { "id": "dd", "reason": "configured" } ] });
        let mut out = Vec::new();
        dropped(&mut out, &answer).unwrap();
        let out = String::from_utf8(out).unwrap();
        for part in ["Dropped the key aa", "bb: pages", "2026-11-30 20:00,", "cc: 3 records", "dd: it stands"]
        {
            assert!(out.contains(part), "{out}");
        }
    }
}
