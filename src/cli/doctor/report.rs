//! The report: a table for people, colours on a terminal only; one JSON document for programs (docs/doctor.md).

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use super::finding::{Finding, Level};
use crate::cli::table::{json as shown, plain};

/// The JSON document. Members may be added, and none is taken away or changes its meaning.
#[derive(Serialize)]
struct Document<'a> {
    faults: usize,
    warnings: usize,
    skipped: usize,
    findings: &'a [Finding],
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

/// Writes the document.
pub(super) fn json(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    let document = Document {
        faults: count(findings, Level::Fault),
        warnings: count(findings, Level::Warning),
        skipped: count(findings, Level::Skipped),
        findings,
    };
    writeln!(out, "{}", shown(&serde_json::to_string_pretty(&document)?))
}

/// Prints for people.
pub(super) fn print(findings: &[Finding]) -> io::Result<()> {
    let out = io::stdout();
    let is_coloured = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    text(&mut out.lock(), findings, is_coloured)
}

fn text(out: &mut impl Write, findings: &[Finding], is_coloured: bool) -> io::Result<()> {
    let width =
        |of: fn(&Finding) -> &str| findings.iter().map(|it| of(it).chars().count()).max().unwrap_or(0);
    let checks = width(|finding| finding.check.name());
    for finding in findings {
        let (paint, end) = match (is_coloured, finding.level) {
            (false, _) => ("", ""),
            (true, Level::Ok) => ("\u{1b}[32m", "\u{1b}[0m"),
            (true, Level::Skipped) => ("\u{1b}[2m", "\u{1b}[0m"),
            (true, Level::Warning) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, Level::Fault) => ("\u{1b}[1;31m", "\u{1b}[0m"),
        };
        let (level, check) = (finding.level.as_str(), finding.check.name());
        let subject = plain(&finding.subject);
        let colon = if subject.is_empty() { "" } else { ": " };
        let slug = finding.slug.map(|slug| format!(" [{slug}]")).unwrap_or_default();
        let found = plain(&finding.found);
        writeln!(out, "{paint}{level:7}{end}  {check:checks$}  {subject}{colon}{found}{slug}")?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "{:7}  {:checks$}  -> {}", "", "", plain(remedy))?;
        }
    }
    let of = |level, one: &str, many: &str| match count(findings, level) {
        1 => format!("1 {one}"),
        many_of => format!("{many_of} {many}"),
    };
    writeln!(
        out,
        "\n{}, {}, {} well, {} not looked at.",
        of(Level::Fault, "fault", "faults"),
        of(Level::Warning, "warning", "warnings"),
        count(findings, Level::Ok),
        count(findings, Level::Skipped),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::{self, Check};

    #[test]
    fn people_see_what_is_wrong_and_what_to_do() {
        let findings = [
            Finding::ok(Check::Cookies, "https://x.example", "unchanged"),
            Finding::of(&finding::KEY_OPEN, "/var/lib/x.key\u{1b}[2J").because("mode 0644"),
        ];
        let mut out = Vec::new();
        text(&mut out, &findings, false).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        ok       cookies  https://x.example: unchanged
        FAULT    key      /var/lib/x.key�[2J: Others than its owner may read or change the key file; the gateway does not start with it: mode 0644 [key_open]
                          -> chmod 0600 it; if others could read it, make a new key

        1 fault, 0 warnings, 1 well, 0 not looked at.
        ");
    }
}
