//! The conformance table: every requirement in force has one row, and what the row names exists.
//!
//! A row is `| number | requirement | code | tests |`. The last two hold items separated by commas: a path or the name of
//! a test in backticks, a step as `` `tests/run STEP` ``, a file whose documentation has examples that must not compile as
//! ``doc `path` ``. Before an item, `pending` says that it does not exist yet. `does not apply: …`, `planned: …` and `–`
//! name nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::source::{read, root, sources};

const TABLE: &str = "docs/conformance.md";

/// What a cell names.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Item {
    Code(String),
    CompileFail(String),
    Nothing,
    Step(String),
    Test(String),
}

struct Row {
    number: String,
    items: Vec<(bool, Item)>,
}

#[test]
fn every_requirement_has_one_row() {
    let rows = rows(&read(TABLE).expect("the table is there"));
    let mut wanted: BTreeMap<String, usize> = (1..=192).map(|n| (n.to_string(), 0)).collect();
    wanted.extend((1..=35).map(|n| (format!("CD{n}"), 0)));
    wanted.extend((1..=51).map(|n| (format!("S{n}"), 0)));
    for row in &rows {
        *wanted.entry(row.number.clone()).or_default() += 1;
    }
    let wrong: Vec<_> = wanted.into_iter().filter(|(_, count)| *count != 1).collect();
    assert!(wrong.is_empty(), "not exactly one row: {wrong:?}");
    assert_eq!(rows.len(), 192 + 35 + 51, "there are rows that nobody asked for");
}

#[test]
fn what_the_rows_name_exists() {
    let text = read(TABLE).expect("the table is there");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join(TABLE), updated(&text, &exists())).expect("the table can be written");
        return;
    }
    let exists = exists();
    let mut missing = Vec::new();
    let (mut here, mut pending, mut whole) = (0, 0, 0);
    let rows = rows(&text);
    for row in &rows {
        let waits = row.items.iter().filter(|(pending, _)| *pending).count();
        whole += usize::from(waits == 0);
        pending += waits;
        for (_, item) in row.items.iter().filter(|(pending, item)| !pending && *item != Item::Nothing) {
            here += 1;
            if !exists(item) {
                missing.push(format!("{}: {item:?}", row.number));
            }
        }
    }
    println!(
        "{TABLE}: {} rows, {whole} of them whole; {here} items are there, {pending} are pending",
        rows.len()
    );
    assert!(missing.is_empty(), "{TABLE} names what does not exist:\n{}\n", missing.join("\n"));
    // What is there by now must say so, else the table rots in the other direction.
    let stale = updated(&text, &exists) != text;
    assert!(!stale, "{TABLE} calls pending what exists: UPDATE=1 cargo test --test architecture");
}

#[test]
fn a_row_that_lies_is_found() {
    let table = "| 1 | Words. | `src/lib.rs`, pending `src/lib.rs` | `a_row_that_lies_is_found`, `no_such_test`, doc `src/lib.rs`, `tests/run format`, `tests/run nope` |\n| 2 | Words. | does not apply: a freedom, not a duty | – |\n";
    let rows = rows(table);
    let exists = exists();
    let found: Vec<(bool, bool)> =
        rows[0].items.iter().map(|(pending, item)| (*pending, exists(item))).collect();
    let wanted = [
        (false, true),
        (true, true),
        (false, true),
        (false, false),
        (false, false),
        (false, true),
        (false, false),
    ];
    assert_eq!(found, wanted);
    assert_eq!(rows[1].items, [(false, Item::Nothing), (false, Item::Nothing)]);
    assert!(!updated(table, &exists).contains("pending"));
    assert!(updated("| 1 | x | pending `src/none.rs` | – |", &exists).contains("pending `src/none.rs`"));
}

/// Reads the rows whose first cell is a number.
fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, words, code, tests, _] = cells.as_slice() else {
            continue;
        };
        if !number.trim_start_matches("CD").trim_start_matches('S').starts_with(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        assert!(!words.is_empty(), "row {number} has no words");
        let items = [code, tests].into_iter().flat_map(|cell| items(number, cell)).collect();
        rows.push(Row { number: (*number).to_owned(), items });
    }
    rows
}

fn items(number: &str, cell: &str) -> Vec<(bool, Item)> {
    if cell == "–" || cell.starts_with("does not apply: ") || cell.starts_with("planned: ") {
        return vec![(false, Item::Nothing)];
    }
    let read = |part: &str| item(part).unwrap_or_else(|| panic!("row {number}: `{part}` cannot be read"));
    cell.split(", ").map(read).collect()
}

fn item(part: &str) -> Option<(bool, Item)> {
    if part == "pending" {
        return Some((true, Item::Nothing));
    }
    let (pending, part) = part.strip_prefix("pending ").map_or((false, part), |rest| (true, rest));
    let (example, part) = part.strip_prefix("doc ").map_or((false, part), |rest| (true, rest));
    let name = part.strip_prefix('`')?.strip_suffix('`')?.to_owned();
    let item = match name.strip_prefix("tests/run ") {
        Some(step) => Item::Step(step.to_owned()),
        None if example => Item::CompileFail(name),
        None if name.contains(['/', '.']) => Item::Code(name),
        None => Item::Test(name),
    };
    Some((pending, item))
}

/// A judge of items, knowing all tests and steps.
fn exists() -> impl Fn(&Item) -> bool {
    let tests: BTreeSet<String> =
        ["src", "tests"].into_iter().flat_map(sources).flat_map(|source| source.tests()).collect();
    let steps = read("tests/run").unwrap_or_default();
    move |item| match item {
        Item::Code(path) => root().join(path).is_file(),
        Item::CompileFail(path) => read(path).is_some_and(|text| text.contains("```compile_fail")),
        Item::Nothing => true,
        Item::Step(step) => steps.contains(&format!("\nstep_{step}()")),
        Item::Test(name) => tests.contains(name),
    }
}

/// The table without the word `pending` before what exists.
fn updated(text: &str, exists: &impl Fn(&Item) -> bool) -> String {
    let mut updated = text.to_owned();
    for (_, rest) in text.match_indices("pending ").map(|(at, _)| text.split_at(at)) {
        let part: String = rest.chars().take_while(|c| !matches!(c, ',' | '|' | '\n')).collect();
        let part = part.trim_end();
        if item(part).is_some_and(|(_, item)| item != Item::Nothing && exists(&item)) {
            updated = updated.replace(part, part.trim_start_matches("pending "));
        }
    }
    updated
}
