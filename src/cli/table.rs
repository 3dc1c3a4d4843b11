//! What the operator's commands print for people: aligned columns, or one fact per line. What apps and people call themselves
//! is a stranger's text: nothing in it reaches the terminal as anything but letters.

use std::io::{self, Write};

/// A column is cut at this many characters, the first one aside, which holds ids.
const WIDEST: usize = 44;

/// A stranger's text without what a terminal would act on, or what would turn or hide its neighbours.
pub(super) fn plain(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

/// Writes rows under their titles.
pub(super) fn rows(out: &mut impl Write, titles: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let cell = |column: usize, text: &str| if column == 0 { plain(text) } else { cut(&plain(text)) };
    let shown: Vec<Vec<String>> =
        std::iter::once(titles.iter().map(|title| (*title).to_owned()).collect())
            .chain(rows.iter().map(|row| {
                row.iter().enumerate().map(|(column, text)| cell(column, text)).collect::<Vec<_>>()
            }))
            .collect();
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
}
