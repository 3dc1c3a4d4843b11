//! How files look: their length, their first lines, nothing left unfinished.

use crate::source::{Source, sources};

/// Nobody reads more than this for one idea.
const LONGEST: usize = 700;
/// What is worth a second look.
const LONG: usize = 400;

#[test]
fn files_are_short_enough_to_be_read() {
    let mut sources = sources("src");
    sources.extend(self::sources("tests"));
    let lines = |source: &Source| source.text.lines().count();
    sources.sort_by_key(lines);
    let median = lines(&sources[sources.len() / 2]);
    println!("{} files, median {median} lines; over {LONG}:", sources.len());
    for source in sources.iter().filter(|source| lines(source) > LONG) {
        println!("{:6} {}", lines(source), source.path);
    }
    let longest = sources.last().expect("there are files");
    assert!(lines(longest) <= LONGEST, "{} has {} lines, more than {LONGEST}", longest.path, lines(longest));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = sources("src")
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "without a module documentation: {silent:?}");
}

#[test]
fn examples_that_must_not_compile_have_a_twin_that_does() {
    let mut examples = 0;
    for source in sources("src") {
        let fences = || {
            source
                .text
                .lines()
                .filter_map(|line| line.trim_start_matches(['/', '!', ' ']).strip_prefix("```"))
        };
        // Opening and closing fences alternate.
        let opened: Vec<&str> = fences().step_by(2).collect();
        let forbidden = opened.iter().filter(|language| language.starts_with("compile_fail")).count();
        let twins = opened.iter().filter(|language| language.is_empty()).count();
        assert!(
            forbidden == 0 || twins > 0,
            "{}: nothing shows that the example fails for its own reason",
            source.path
        );
        examples += forbidden;
    }
    assert!(examples >= 3, "only {examples} examples state what must not compile");
}

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        for source in sources(folder) {
            for (index, line) in source.code.lines().enumerate() {
                if ["todo!", "unimplemented!", "dbg!"].iter().any(|mark| line.contains(mark)) {
                    found.push(format!("{}:{}", source.path, index + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "unfinished: {found:?}");
}
