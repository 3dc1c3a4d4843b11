//! What the operator's commands print for people: aligned columns, or one fact per line. What apps and people call themselves
//! is a stranger's text: nothing in it reaches the terminal as anything but letters.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// A column is cut at this many characters, the first one aside, which holds ids.
const WIDEST: usize = 44;

/// A stranger's text without what a terminal would act on, or what would turn or hide its neighbours.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// An id or a login name as a word of a shell, since people copy it from here into a command: one that a shell would read as
/// more than a word is quoted. The client id of an app with a metadata document is a URL, and those may hold `$(…)` and `;`.
pub(super) fn word(text: &str) -> String {
    let text = plain(text);
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || "-._/:@+,%…".contains(c);
    if !text.is_empty() && text.chars().all(is_harmless) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// JSON as it may be shown on a terminal: what [`plain`] takes out of a text is written as an escape, so that programs read
/// the same.
pub(super) fn json(written: &str) -> String {
    let mut shown = String::with_capacity(written.len());
    for c in written.chars() {
        if is_odd(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// What stands in a column. Runs of blanks are one: a name with many of them would look like several columns, and say in
/// them whatever it likes.
fn cell(title: &str, column: usize, text: &str) -> String {
    if column == 0 {
        return word(text);
    }
    let is_blank = |c: char| {
        c.is_whitespace() || matches!(c, '\u{2800}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
    };
    let words: Vec<&str> = text.split(is_blank).filter(|word| !word.is_empty()).collect();
    let text = cut(&plain(&words.join(" ")));
    if COPIED.contains(&title) { word(&text) } else { text }
}

/// Columns, besides the first, of which people copy what stands there.
const COPIED: [&str; 2] = ["CLIENT", "USER"];

/// Writes rows under their titles.
pub(super) fn rows(out: &mut impl Write, titles: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let cells = |row: &Vec<String>| -> Vec<String> {
        let columns = titles.iter().zip(row).enumerate();
        columns.map(|(column, (title, text))| cell(title, column, text)).collect()
    };
    let first = titles.iter().map(|title| (*title).to_owned()).collect();
    let shown: Vec<Vec<String>> = std::iter::once(first).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| {
        shown.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    for row in &shown {
        let mut line = String::new();
        for (text, width) in row.iter().zip(&widths) {
            line.push_str(text);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(text.chars().count()) + 2));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes one fact per line.
pub(super) fn facts(out: &mut impl Write, facts: &[(&str, String)]) -> io::Result<()> {
    let width = facts.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
    for (title, text) in facts {
        writeln!(out, "{title:width$}  {}", plain(text))?;
    }
    Ok(())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_a_strangers_text_cannot_act() {
        let mut out = Vec::new();
        let evil = "\u{1b}[2J\u{202e}gnp.exe\u{7}".to_owned();
        let lines = [
            vec!["a".to_owned(), evil, "x".to_owned()],
            vec!["abc".to_owned(), "ä".repeat(60), String::new()],
        ];
        rows(&mut out, &["ID", "NAME", "STATE"], &lines).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text:?}");
        assert_eq!(lines[0].find("NAME"), Some(5));
        assert!(lines[1].starts_with("a    \u{fffd}[2J"), "{text}");
        assert_eq!(lines[2].chars().count(), 5 + WIDEST);
        assert!(lines[2].ends_with('…'));
    }

    /// What is copied from a table into a command is the id and nothing that a shell would do.
    #[test]
    fn attack_an_id_that_is_a_command_in_the_operators_shell() {
        for (text, shown) in [
            ("mcpd_ci_T0qkXW3v9b…", "mcpd_ci_T0qkXW3v9b…"),
            ("https://app.example/client.json", "https://app.example/client.json"),
            ("-", "-"),
            ("ada@example.com", "ada@example.com"),
            ("https://evil.example/$(id)", "'https://evil.example/$(id)'"),
            ("https://evil.example/;id$IFS'x'", r"'https://evil.example/;id$IFS'\''x'\'''"),
            ("https://issuer.example|7", "'https://issuer.example|7'"),
            ("a b", "'a b'"),
            ("~root", "'~root'"),
            ("", "''"),
            ("a\nb", "'a\u{fffd}b'"),
        ] {
            assert_eq!(word(text), shown);
        }
        let mut out = Vec::new();
        let row = ["https://evil.example/$(id)", "$(id)", "https://evil.example/&id", "$(id)"];
        rows(&mut out, &["GRANT", "USER", "CLIENT", "STATE"], &[row.map(ToOwned::to_owned).to_vec()])
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = "'https://evil.example/$(id)'  '$(id)'  'https://evil.example/&id'  $(id)";
        assert!(text.contains(line), "{text}");
        let cut_short = cell("CLIENT", 3, &format!("https://evil.example/$(id){}", "x".repeat(100)));
        assert!(cut_short.starts_with('\'') && cut_short.ends_with("…'"), "{cut_short}");
    }

    #[test]
    fn attack_a_name_that_looks_like_the_columns_beside_it() {
        for blanks in ["      ", " \t ", "\u{a0}\u{3000}\u{2003}", "\u{3164}\u{2800}"] {
            let name = format!("Nice app{blanks}revoked{blanks}2026-01-01");
            assert_eq!(cell("NAME (UNVERIFIED)", 1, &name), "Nice app revoked 2026-01-01");
        }
    }

    /// What programs read of the JSON is what there is; a terminal reads nothing of it.
    #[test]
    fn attack_json_that_acts_on_a_terminal() {
        let name = "\u{9b}31m\u{7f}\u{202e}\u{1b}[2J\u{e0041}\n é…";
        let value = serde_json::json!({ "name": name, "of": [name] });
        for written in [value.to_string(), format!("{value:#}")] {
            let shown = json(&written);
            assert!(!shown.contains(|c| is_odd(c) && c != '\n'), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            assert!(shown.contains("é…"));
        }
    }
}
