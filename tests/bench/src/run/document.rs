//! Puts a run into the document, in the place of the one before.

use std::{fmt::Write as _, fs, path::Path};

use super::{Sample, chart, checks::Check, machine, table};
use crate::Failure;

const BEGIN: &str =
    "<!-- Written by tests/bench/run --write. What stands between these two comments is replaced. -->\n";
const END: &str = "<!-- The end of what tests/bench/run writes. -->";

/// Writes the figures between the two comments in `docs/performance.md`, and the chart beside it.
pub(super) fn write(
    docs: &Path,
    binary: &Path,
    told: &[(&'static str, String)],
    samples: &[Sample],
    checks: &[Check],
) -> Result<(), Failure> {
    let path = docs.join("performance.md");
    let mut written = String::from("\n| | |\n| --- | --- |\n");
    for (name, value) in machine::described(binary).iter().chain(told) {
        let _ = writeln!(written, "| {name} | {value} |");
    }
    if let Some(chart) = chart::of(samples) {
        fs::write(docs.join("performance.svg"), chart)?;
        written.push_str("\n![Processor time per request](performance.svg)\n");
    }
    written += &table::of(samples);
    written.push_str("\n### What it must show\n\n```text\n");
    for check in checks {
        let _ = writeln!(written, "{}", check.told());
    }
    written.push_str("```\n\n");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, replaced(&text, &written).ok_or("performance.md has lost its two comments")?)?;
    Ok(())
}

fn replaced(text: &str, written: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{written}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}\nb");
        assert_eq!(replaced(&text, "new\n"), Some(format!("a\n{BEGIN}new\n{END}\nb")));
        assert_eq!(replaced("a", "new"), None);
    }
}
