//! The source files of the crate, as text and as text without comments and literals.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One Rust file.
pub(crate) struct Source {
    /// Its path below the root of the repository, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
    /// The same with comments and literals blanked, line by line.
    pub(crate) code: String,
}

impl Source {
    /// The lines that are not in a `#[cfg(test)] mod … { … }` at the end of the file, numbered from one.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.code.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].trim_end().ends_with('{')
        });
        let end = tests.unwrap_or(lines.len());
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The names of the functions marked as tests.
    pub(crate) fn tests(&self) -> Vec<String> {
        let mut marked = false;
        let mut names = Vec::new();
        for line in self.code.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
                names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                marked = false;
            }
        }
        names
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the file at `path` below the root says.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Every Rust file below `folder`, in the order of their paths.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let files = files_below(&root().join(folder))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let mut found: Vec<Source> = files
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let path =
                path.strip_prefix(root()).expect("it is below the root").to_string_lossy().replace('\\', "/");
            Source { path, code: without_comments_and_literals(&text), text }
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "there is no source below {folder}");
    found
}

/// The files that exist for tests only: those of modules declared under `#[cfg(test)]`.
pub(crate) fn test_only(sources: &[Source]) -> BTreeSet<String> {
    let mut stems = Vec::new();
    for source in sources {
        let (folder, name) = source.path.rsplit_once('/').expect("it lies in a folder");
        let folder = match name {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            other => format!("{folder}/{}", other.trim_end_matches(".rs")),
        };
        let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            if let Some((_, module)) = pair[1].strip_suffix(';').and_then(|line| line.split_once("mod ")) {
                stems.push(format!("{folder}/{module}"));
            }
        }
    }
    let is_test = |path: &str| {
        stems.iter().any(|stem| {
            path.strip_prefix(stem.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    sources.iter().map(|source| source.path.clone()).filter(|path| is_test(path)).collect()
}

/// Every file below `folder`.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Blanks comments, strings and characters; keeps line breaks, so that line numbers stay true.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_a_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' | 'b' | 'c' if !after_a_word && raw_string(rest).is_some() => {
                raw_string(rest).expect("just asked")
            }
            '"' => quoted(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(rest[..length].chars().filter(|c| *c == '\n'));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the raw string that `rest` begins with.
fn raw_string(rest: &str) -> Option<usize> {
    let opened = rest.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = opened.len() - opened.trim_start_matches('#').len();
    let body = opened[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// The length of the string that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The length of the character that `rest` begins with; zero where it is a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((after, c))) => {
            let from = after + c.len_utf8();
            rest[from..].find('\'').map_or(rest.len(), |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_else() {
    let text = "a // crate::b\n\"crate::\\\"c\" r#\"crate::\"d\"#e 'x' '\\'' &'a str /* \n crate::f */ crate::g b\"h\" for\"\"";
    let code = without_comments_and_literals(text);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "&'a", "str", "crate::g", "b", "for"]);
    assert_eq!(code.lines().count(), text.lines().count());
}
