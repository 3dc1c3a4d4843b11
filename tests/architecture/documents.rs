//! Documents that point somewhere: links and headings exist; the README and CI say the same command.

use std::{collections::BTreeSet, path::Path};

use crate::source::{files_below, read, root};

/// The command that the README promises and CI runs.
const TEST_COMMAND: &str = "tests/run --install";

#[test]
fn links_between_documents_resolve() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = read(&path).expect("it was just found");
        for target in links(&text) {
            if let Some(why) = broken_link(&path, &text, &target) {
                broken.push(format!("{path}: {target}: {why}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// A page that is not in the table of contents is in no book, and mdBook says nothing about it.
#[test]
fn every_page_is_in_the_book() {
    let contents = read("docs/SUMMARY.md").expect("the book has a table of contents");
    let listed: BTreeSet<String> = links(&contents).into_iter().collect();
    let pages = documents().into_iter().filter_map(|path| Some(path.strip_prefix("docs/")?.to_owned()));
    let missing: Vec<String> = pages.filter(|page| page != "SUMMARY.md" && !listed.contains(page)).collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {}", missing.join(", "));
}

/// Each reason on an error page has a section of its own, and none is explained that there is not.
#[test]
fn every_reason_of_an_error_page_is_explained() {
    let source = read("src/web/page/error.rs").expect("the error pages are there");
    let (_, slugs) = source.split_once("fn slug(").expect("they have reasons");
    let (slugs, _) = slugs.split_once("\n    }").expect("the function ends");
    let slugs: BTreeSet<&str> = slugs
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.split_once('"'))
        .map(|(slug, _)| slug)
        .collect();
    assert!(slugs.len() >= 20, "{slugs:?}");
    let faq = read("docs/faq.md").expect("they are explained");
    let explained: BTreeSet<&str> =
        faq.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    assert_eq!(explained, slugs);
}

/// In a book there is nothing outside it; what links there is broken where people read it.
#[test]
fn no_page_of_the_book_links_out_of_it() {
    for path in documents().into_iter().filter(|path| path.starts_with("docs/")) {
        let out: Vec<String> = links(&read(&path).expect("it was just found"))
            .into_iter()
            .filter(|target| target.starts_with("../"))
            .collect();
        assert!(out.is_empty(), "{path}: {}: write it as code instead", out.join(", "));
    }
}

/// Files of ours that are named, in prose and in what is to be pasted, and the steps of `tests/run`.
#[test]
fn files_and_steps_that_documents_name_exist() {
    let run = read("tests/run").expect("it is there");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in documents() {
        let text = read(&path).expect("it was just found");
        let beside = root().join(&path);
        for (number, line) in text.lines().enumerate() {
            for word in line.split(|c: char| c.is_whitespace() || "`()[]\"',;:|*".contains(c)) {
                let word = word.strip_prefix("$REPO/").unwrap_or(word).trim_end_matches(['/', '.']);
                if !is_file_of_ours(word) {
                    continue;
                }
                seen += 1;
                if !root().join(word).exists() && !beside.with_file_name(word).exists() {
                    wrong.push(format!("{path}:{}: there is no {word}", number + 1));
                }
            }
            let commands = line.split("`tests/run ").skip(1).filter_map(|rest| rest.split('`').next());
            for step in commands.flat_map(str::split_whitespace).filter(|word| !word.starts_with('-')) {
                if !run.contains(&format!("\n    \"{step}|")) {
                    wrong.push(format!("{path}:{}: there is no step {step}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(seen > 400, "only {seen} names were found");
}

/// Whether it is written like the path of something in the repository.
fn is_file_of_ours(word: &str) -> bool {
    word.split_once('/')
        .is_some_and(|(folder, _)| ["deploy", "docs", "src", "templates", "tests"].contains(&folder))
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

#[test]
fn ci_runs_the_command_of_the_readme() {
    let ci = read(".ci/run").expect(".ci/run is there");
    let commands: Vec<&str> = ci.lines().filter(|line| line.contains("tests/run")).collect();
    assert_eq!(commands, [TEST_COMMAND]);
    if let Some(readme) = read("README.md") {
        assert!(
            readme.lines().any(|line| line.trim() == TEST_COMMAND),
            "the README does not say `{TEST_COMMAND}`"
        );
    }
}

#[test]
fn a_broken_link_is_found() {
    let text = "# The three hats\n[a](docs/architecture.md) [b](#the-three-hats) [c](#nowhere) [d](docs/nothing.md) ![e](https://x.example)\n```\n[f](nothing)\n```\n";
    let broken: Vec<String> =
        links(text).into_iter().filter(|target| broken_link("README.md", text, target).is_some()).collect();
    assert_eq!(broken, ["#nowhere", "docs/nothing.md"]);
}

/// Every Markdown file of the repository.
fn documents() -> Vec<String> {
    let at_the_root =
        std::fs::read_dir(root()).expect("the root can be read").flatten().map(|entry| entry.path());
    let folders = ["docs", "deploy", "tests", "templates", "src", ".github"];
    let below: Vec<_> = folders.iter().flat_map(|folder| files_below(&root().join(folder))).collect();
    at_the_root
        .chain(below)
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter_map(|path| Some(path.strip_prefix(root()).ok()?.to_string_lossy().into_owned()))
        .collect()
}

/// The targets of all `[text](target)` outside code.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let spans = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        let targets = spans.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        if !in_code {
            found.extend(targets.map(|(target, _)| target.to_owned()));
        }
    }
    found
}

fn broken_link(from: &str, text: &str, target: &str) -> Option<&'static str> {
    if target.starts_with("https://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let other;
    let text = if file.is_empty() {
        text
    } else {
        let path = Path::new(from).parent().unwrap_or(Path::new("")).join(file);
        if !root().join(&path).exists() {
            return Some("there is no such file");
        }
        other = read(&path.to_string_lossy()).unwrap_or_default();
        &other
    };
    anchor.filter(|anchor| !headings(text).contains(*anchor)).map(|_| "there is no such heading")
}

/// The anchors of the headings, made as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles
        .map(|title| {
            let kept = title.to_lowercase().replace(' ', "-");
            kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}
