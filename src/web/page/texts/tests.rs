//! The catalogue against the templates and the code: no sentence anywhere else, no text unused, no place forgotten.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::web::page::{ErrorKind, templates::TEMPLATES};

fn texts() -> Texts {
    Texts::embedded().unwrap()
}

/// What is between quotes directly behind `before`.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.match_indices(before)
        .filter_map(|(at, _)| text[at + before.len()..].split_once('"').map(|(inside, _)| inside))
        .collect()
}

/// A template without what the engine reads.
fn without_tags(template: &str) -> String {
    let mut rest = template;
    let mut left = String::new();
    while let Some((at, end)) = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")]
        .into_iter()
        .filter_map(|(open, close)| rest.find(open).map(|at| (at, close)))
        .min()
    {
        left.push_str(&rest[..at]);
        rest = rest[at..].split_once(end).expect("a tag that ends").1;
    }
    left + rest
}

#[test]
fn no_template_holds_a_sentence() {
    for (name, template) in TEMPLATES {
        let html = without_tags(template);
        for attribute in [" title=", " alt=", " aria-label=", " placeholder=", " label="] {
            for value in quoted(&html, &format!("{attribute}\"")) {
                assert!(!value.contains(char::is_alphabetic), "{name}: {attribute}{value:?}");
            }
        }
        let mut outside = String::new();
        let mut is_markup = false;
        for c in html.chars() {
            match c {
                '<' => is_markup = true,
                '>' => is_markup = false,
                c if !is_markup => outside.push(c),
                _ => {}
            }
        }
        assert!(!outside.contains(char::is_alphabetic), "{name}: {}", outside.trim());
    }
}

/// Names of texts as they stand in templates and in the code of the pages, and those that follow from reasons.
fn used() -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (_, template) in TEMPLATES {
        used.extend(quoted(template, "t(\"").into_iter().map(ToOwned::to_owned));
    }
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/page");
    for file in fs::read_dir(room).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let code = fs::read_to_string(&file).unwrap();
        let (code, _) = code.split_once("#[cfg(test)]").unwrap_or((&code, ""));
        used.extend(
            code.split('"').skip(1).step_by(2).filter(|text| text.contains('.')).map(ToOwned::to_owned),
        );
    }
    used.insert("error.bad_parameter.unreadable".to_owned());
    for kind in ErrorKind::ALL {
        used.extend(["title", "sentence", "next"].map(|part| format!("error.{}.{part}", kind.slug())));
    }
    used
}

#[test]
fn every_text_is_used_and_every_name_is_a_text() {
    let (texts, used) = (texts(), used());
    let unused: Vec<_> = texts.texts.keys().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
    for (_, template) in TEMPLATES {
        for name in quoted(template, "t(\"").into_iter().filter(|name| !name.ends_with('.')) {
            assert!(texts.texts.contains_key(name), "{name}");
        }
    }
}

fn places(wording: &str) -> BTreeSet<&str> {
    let places = pieces(wording).into_iter();
    places.filter_map(|piece| if let Piece::Place(place) = piece { Some(place) } else { None }).collect()
}

#[test]
fn every_language_says_the_same() {
    let texts = texts();
    assert_eq!(texts.languages().map(|(_, tag)| tag).collect::<Vec<_>>(), ["en", "de"]);
    for (name, wordings) in &texts.texts {
        let first = &wordings[0];
        for wording in wordings {
            assert_eq!(places(wording), places(first), "{name}");
            assert!(!wording.trim().is_empty() && wording.trim() == wording, "{name}");
            assert!(!wording.contains(['<', '>', '&', '\n']) && !wording.contains("  "), "{name}: {wording}");
            let end = |text: &str| text.chars().last().filter(|c| ".?!:".contains(*c));
            assert_eq!(end(wording), end(first), "{name}: both are sentences, or none is");
            let straight = wording.contains(['"', '\'']);
            assert!(!straight, "{name}: quotation marks and apostrophes are those of the language");
        }
    }
}

/// Quotation marks as in the language, people addressed in one way, and one word for one thing.
#[test]
fn german_is_written_as_germans_write() {
    for (name, wordings) in &texts().texts {
        let [english, german] = &wordings[..] else { panic!("{name}") };
        assert!(!german.contains(['“', '”', '’', '‘']) || german.contains('„'), "{name}: {german}");
        assert_eq!(german.matches('„').count(), german.matches('“').count(), "{name}: {german}");
        assert!(!german.contains('”') && !english.contains('„'), "{name}: {german}");
        let words = || german.split(|c: char| !c.is_alphanumeric());
        for word in
            ["du", "dein", "deine", "deinem", "deinen", "deiner", "dich", "dir", "Du", "Dein", "Deine"]
        {
            assert!(!words().any(|said| said == word), "{name}: {german}");
        }
        // The left one stands in German wherever the right one stands in English.
        for (theirs, ours) in [
            ("gateway", "gateway"),
            ("operator", "betreiber"),
            ("app ", "app"),
            ("sign-in service", "anmeldedienst"),
            ("account", "kont"),
            ("start again", "von vorn"),
            ("disconnect", "renn"),
        ] {
            if english.replace("{account}", "").to_lowercase().contains(theirs) {
                assert!(german.to_lowercase().contains(ours), "{name}: {ours} in {german}");
            }
        }
    }
}

#[test]
fn a_text_is_escaped_and_its_places_are_not_escaped_twice() {
    let texts = texts();
    let (english, german) = (Language(0), Language(1));
    let port = |place: &str| (place == "port").then(|| "<b>1&amp;2</b>".to_owned());
    let told = texts.told("destination.this_computer_port", english, port).unwrap();
    assert_eq!(told, "this computer (port <b>1&amp;2</b>)");
    let told = texts.told("error.bad_parameter.title", english, |_| None).unwrap();
    assert_eq!(told, "The app’s request is not valid");
    assert_eq!(texts.told("choice.deny", german, |_| None).unwrap(), "Ablehnen");
    assert!(texts.told("destination.this_computer_port", german, |_| None).is_err(), "a place is not filled");
    assert!(texts.told("no.such.text", english, |_| None).is_err());
}
