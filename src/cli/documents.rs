//! What the documents tell people to type and to write is taken: each command line of ours, each piece of configuration.
//!
//! Whoever follows a document pastes. Nothing here is run: command lines are parsed as the binary parses them, and
//! configurations judged as `mcp-deputy check` judges them. Tests only.

use std::{fs, path::Path};

use clap::{Parser as _, error::ErrorKind};

use super::{Arguments, operator};
use crate::{config, flow::fault, gateway};

/// A document of the repository: where it is, and what it says.
struct Document {
    path: String,
    text: String,
}

/// A fenced block of a document.
struct Block<'a> {
    /// The document, with the line that the block begins at.
    at: String,
    language: &'a str,
    text: String,
}

/// Every document that people follow.
fn documents() -> Vec<Document> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut found = Vec::new();
    for folder in ["", "docs", "tests/clients", "deploy/compose", "deploy/systemd", "deploy/kubernetes"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Document { path: path.strip_prefix(root).unwrap().display().to_string(), text });
            }
        }
    }
    found
}

/// Its fenced blocks, without the indentation that they have in a list.
fn blocks(document: &Document) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Block<'_>)> = None;
    for (number, line) in document.text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (open.as_mut(), line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let at = format!("{}:{}", document.path, number + 1);
                open = Some((indent, Block { at, language, text: String::new() }));
            }
            (Some(_), Some(_)) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// The spans of code outside blocks, in paragraphs and tables.
fn spans(document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    let mut prose = String::new();
    let mut in_block = false;
    for line in document.text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        if is_fence || in_block || line.trim().is_empty() {
            found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
            prose.clear();
        } else {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    found
}

/// The words of a shell's line as far as documents go: quotes, comments, and what ends a command (`None`).
fn words(line: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == '#' && word.is_none() => break,
            None if c.is_whitespace() => found.extend(word.take().map(Some)),
            None if matches!(c, '|' | '&' | ';' | '<' | '>' | '(' | ')') => {
                found.extend(word.take().map(Some));
                found.push(None);
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word.map(Some));
    found
}

/// The command lines of ours in a line: whoever runs them, as whomever, wherever.
fn ours(line: &str) -> Vec<Vec<String>> {
    words(line)
        .split(Option::is_none)
        .filter_map(|command| {
            let command: Vec<String> = command.iter().flatten().cloned().collect();
            let is_binary =
                |word: &String| word == "mcp-deputy" || word.ends_with("/mcp-deputy") && !word.contains(':');
            let begin = match command.first()?.as_str() {
                "cargo" => command.iter().position(|word| word == "--")?,
                "mcp-deputy" => 0,
                // Programs that run another one. Anywhere else a name of ours is a file, a user, an image or a Secret.
                "docker" | "kubectl"
                    if !command.iter().take(3).any(|word| word == "exec" || word == "run") =>
                {
                    return None;
                }
                "sudo" | "docker" | "kubectl" => command.iter().rposition(is_binary)?,
                word if word.ends_with("/mcp-deputy") => 0,
                _ => return None,
            };
            Some(command.get(begin + 1..)?.to_vec())
        })
        // `docker run … mcp-deputy`: the image, which serves.
        .filter(|arguments| !arguments.is_empty())
        .collect()
}

/// Why the binary would not take it: of which kind, and a sentence.
fn refused(arguments: &[String]) -> Option<(ErrorKind, String)> {
    if cfg!(not(feature = "sandbox")) && arguments.first().is_some_and(|command| command == "sandbox") {
        return None;
    }
    let line = ["mcp-deputy".to_owned()].into_iter().chain(arguments.iter().cloned()).map(Into::into);
    let error = Arguments::try_parse_from(operator::with_ids_last(line)).err()?;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        kind => Some((kind, error.to_string().lines().next().unwrap_or_default().to_owned())),
    }
}

#[test]
fn every_command_line_of_the_documents_is_taken() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&document).iter().filter(|block| matches!(block.language, "sh" | "text")) {
            for line in block.text.replace("\\\n", " ").lines() {
                // What is printed in a `text` block is no command; what is typed there follows a prompt.
                let Some(line) = line.strip_prefix("$ ").or((block.language == "sh").then_some(line)) else {
                    continue;
                };
                for arguments in ours(line) {
                    seen += 1;
                    wrong.extend(refused(&arguments).map(|(_, why)| format!("{}: {line}: {why}", block.at)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(seen > 25, "only {seen} command lines were found");
}

/// In prose a command may be named without what follows it; what is written of it must exist.
#[test]
fn every_command_that_the_documents_name_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for span in spans(&document) {
            // `ID…`: several of them; `…` alone: any.
            let line = span.replace("…", " ").replace("[--json]", "");
            for arguments in ours(&line).into_iter().filter(|_| !span.contains("mcp-deputy …")) {
                seen += 1;
                match refused(&arguments) {
                    // Named without what follows it.
                    Some((
                        ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                        _,
                    ))
                    | None => {}
                    Some((_, why)) => wrong.push(format!("{}: {span}: {why}", document.path)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(seen > 25, "only {seen} commands were found");
}

#[test]
fn every_piece_of_configuration_in_the_documents_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&document).into_iter().filter(|block| block.language == "toml") {
            seen += 1;
            let text = match block.text.parse::<toml::Table>() {
                Err(error) => {
                    wrong.push(format!("{}: {error}", block.at));
                    continue;
                }
                // A file of texts for people, which `branding.texts` names.
                Ok(table) if is_of_texts(&table) => {
                    let file = folder.path().join("texts.toml");
                    fs::write(&file, texts(&block.text)).unwrap();
                    completed(&format!("[branding]\ntexts = {file:?}\n"))
                }
                Ok(_) => completed(&block.text),
            };
            // Some keys are taken by a binary with another feature only, and this one names it.
            let of_another_build = |why: &String| text.contains("[tracing]") && why.contains("otel");
            let why = judged(&text, folder.path()).err().filter(|why| !of_another_build(why));
            wrong.extend(why.map(|why| format!("{}: {why}", block.at)));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(seen > 15, "only {seen} pieces were found");
}

/// What a piece leaves out that every configuration needs.
fn completed(piece: &str) -> String {
    let (root, tables) = match piece.find("\n[") {
        _ if piece.starts_with('[') => ("", piece),
        Some(begin) => piece.split_at(begin + 1),
        None => (piece, ""),
    };
    let add = |header: &str, text: &'static str| if piece.contains(header) { "" } else { text };
    [
        root,
        add("public_url", "public_url = \"https://mcp.example.com\"\n"),
        add(
            "[provider.",
            "[provider.github]\npreset = \"github\"\nclient_id = \"id\"\nclient_secret = \"secret\"\n",
        ),
        add("[[mcp_server]]", "[[mcp_server]]\nupstream_url = \"http://127.0.0.1:3000/mcp\"\n"),
        tables,
    ]
    .concat()
}

/// As `mcp-deputy check` does it; every variable is set, and a picture is there.
fn judged(text: &str, folder: &Path) -> Result<(), String> {
    let logo = folder.join("logo.svg");
    fs::write(
        &logo,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1v1z"/></svg>"#,
    )
    .unwrap();
    let text = text.replace("\"logo.svg\"", &format!("{logo:?}"));
    // What stands for one key of the file would speak everywhere.
    let env = |name: &str| {
        (!name.starts_with("MCP_DEPUTY_")).then(|| "9f86d081884c7d659a2feaa0c55ad015".to_owned())
    };
    let settings = config::from_text("proxy.toml", &text, &env).map_err(|error| error.to_string())?;
    let pages = gateway::pages(&settings).map_err(|error| fault::chain(&error))?;
    pages.check().map(drop).map_err(|error| fault::chain(&error))
}

const TEXTS: &str = include_str!("../../templates/texts.toml");

fn is_of_texts(piece: &toml::Table) -> bool {
    let ours: toml::Table = TEXTS.parse().unwrap();
    piece.keys().any(|name| name == "languages" || ours.get(name).is_some_and(toml::Value::is_table))
}

/// A piece of a catalogue. One with a language that is not ours is a piece of a whole, made as the document says: our English
/// under the new tag, with what the piece says of it.
fn texts(piece: &str) -> String {
    let Some(languages) = piece.lines().find(|line| line.starts_with("languages = ")) else {
        return piece.to_owned();
    };
    let own: Vec<&str> = piece.lines().filter(|line| line.contains(".fr = ")).collect();
    let mut out = String::new();
    for line in TEXTS.lines().filter(|line| !line.contains(".de = ")) {
        let line = match line.split_once(".en = ") {
            _ if line.starts_with("languages = ") => languages.to_owned(),
            None => line.to_owned(),
            Some((name, wording)) => {
                let name = format!("{name}.fr = ");
                let written = own.iter().find(|own| own.starts_with(&name));
                written.map_or_else(|| format!("{name}{wording}"), |own| (*own).to_owned())
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    assert!(!own.is_empty() && own.iter().all(|own| out.contains(own)), "there is no such text: {piece}");
    out
}
