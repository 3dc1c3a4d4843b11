//! What people read about the configuration, generated from the table of keys.
//!
//! [`example`] is the annotated `proxy.toml` at the root of the repository, [`documentation`] is
//! `docs/configuration.md`. Tests compare both with the files on disk; `UPDATE=1 cargo test --lib config` writes them.
//!
//! Must never say anything that the table does not know, apart from the frame around it.

use std::fmt::Write as _;

use super::keys::{Absent, Key, Kind, SECTIONS, Section, Shape};

const WIDTH: usize = 110;

/// The annotated example: it loads as it stands, with the three environment variables that it names.
pub fn example() -> String {
    let mut out = String::from(
        "## mcp-deputy: every key, with its default. What is needed is written out, the rest is commented out.\n\
         ## Any value may also be { env = \"NAME\" } or { file = \"PATH\" }. Reference: docs/configuration.md\n",
    );
    for section in SECTIONS {
        example_section(&mut out, section);
    }
    out
}

fn example_section(out: &mut String, section: &Section) {
    out.push_str("\n\n");
    comment(out, section.doc);
    let off = if section.shown { "" } else { "# " };
    if section.shape != Shape::Root {
        let header = section.header().replace("NAME", "github");
        let _ = writeln!(out, "{off}{header}");
    }
    for key in section.keys {
        out.push('\n');
        comment(out, key.doc);
        if let Absent::Means(what) = key.absent {
            comment(out, &format!("Left out: {what}."));
        }
        let off = if section.shown && key.shown { "" } else { "# " };
        let _ = writeln!(out, "{off}{} = {}", key.name, key.example);
    }
}

/// `##` marks prose, so that removing `# ` from the other lines switches a key on.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("##");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = String::from("##");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

/// The reference of all keys, in Markdown.
pub fn documentation() -> String {
    let mut out = String::from(FRAME);
    for section in SECTIONS {
        documentation_section(&mut out, section);
    }
    variables(&mut out);
    out
}

const FRAME: &str = "\
# Configuration

<!-- Generated from the table of keys in src/config/keys.rs. Write it anew with: UPDATE=1 cargo test --lib config -->

`mcp-deputy serve --config proxy.toml` reads one file. Without `--config` it reads `proxy.toml` in the working directory;
where there is none, the environment alone must be enough. `mcp-deputy check` reads the same and tells what is wrong. A
wrong configuration ends both with status 64 and one or two sentences that name the file and, where there is one, the line, before a
port is bound.

`mcp-deputy config init` writes the first one from four answers, `mcp-deputy config example` prints one with every key, and
`mcp-deputy config schema` a JSON Schema, by which an editor completes and checks what is written
(`mcp-deputy config schema > proxy.schema.json`, and `#:schema ./proxy.schema.json` as the first line of `proxy.toml`).

- Unknown keys are errors.
- Any value may be `{ env = \"NAME\" }`, the value of an environment variable, or `{ file = \"PATH\" }`, the content of a
  file without the line break at its end. Lists are then separated by commas. Missing and empty ones are errors.
- Durations are texts such as `\"90s\"`, `\"15m\"`, `\"1h 30m\"` or `\"30d\"`; sizes are bytes or texts such as `\"16MiB\"`.
- Relative paths are seen from the working directory.

The smallest useful file:

```toml
public_url = \"https://mcp.example.com\"

[provider.github]
preset = \"github\"
client_id = { env = \"GITHUB_CLIENT_ID\" }
client_secret = { env = \"GITHUB_CLIENT_SECRET\" }

[[mcp_server]]
upstream_url = \"http://127.0.0.1:3000/mcp\"
```
";

fn documentation_section(out: &mut String, section: &Section) {
    let title = match section.shape {
        Shape::Root => "Top level".to_owned(),
        _ => format!("`{}`", section.header()),
    };
    let _ = write!(
        out,
        "\n## {title}\n\n{}\n\n| key | value | left out | what it is |\n| --- | --- | --- | --- |\n",
        section.doc
    );
    for key in section.keys {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            key.name,
            kind(key),
            absent(key),
            key.doc.replace('|', "\\|")
        );
    }
}

fn kind(key: &Key) -> String {
    match key.kind {
        Kind::Choice(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ")
        }
        Kind::Count => "number".to_owned(),
        Kind::Credential => "text, or `{ header = … }`".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Lists => "table of lists of texts".to_owned(),
        Kind::Ratio => "number from 0 to 1".to_owned(),
        Kind::Secret => "text, secret".to_owned(),
        Kind::SecretList => "list of texts, secret".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::TextList => "list of texts".to_owned(),
        Kind::Texts => "table of texts".to_owned(),
    }
}

fn absent(key: &Key) -> String {
    match key.absent {
        Absent::Default(value) => format!("`{value}`"),
        Absent::Means(what) => what.to_owned(),
        Absent::Needed => "needed".to_owned(),
    }
}

fn variables(out: &mut String) {
    out.push_str(
        "\n## Environment\n\nThese variables stand in for keys that the file leaves out; where both speak, the file \
         wins. An empty variable counts\nas absent. The ones about a provider or an MCP server are for the only one: \
         they add it where the file has none, complete\nit where the file has one, and are not looked at where it has \
         several. Without a file these four are enough (in a container, the two listeners besides):\n`MCP_DEPUTY_PUBLIC_URL`, `MCP_DEPUTY_UPSTREAM_URL`, \
         `MCP_DEPUTY_CLIENT_ID`, `MCP_DEPUTY_CLIENT_SECRET`.\n\n| variable | key |\n| --- | --- |\n",
    );
    for section in SECTIONS {
        for key in section.keys {
            if let Some(name) = key.variable {
                let note = match name {
                    "MCP_DEPUTY_PROVIDER" => " of a provider that is added; `github` without it",
                    _ => "",
                };
                let whereabouts = match section.shape {
                    Shape::Root => String::new(),
                    _ => format!("`{}` ", section.header()),
                };
                let _ = writeln!(out, "| `{name}` | {whereabouts}`{}`{note} |", key.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use super::*;
    use crate::config::from_text;

    fn on_disk(path: &str, generated: &str) {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
        if env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, generated).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == generated, "{} is out of date: UPDATE=1 cargo test --lib config", path.display());
    }

    #[test]
    fn the_example_on_disk_is_the_generated_one() {
        on_disk("proxy.toml", &example());
    }

    #[test]
    fn the_documentation_on_disk_is_the_generated_one() {
        on_disk("docs/configuration.md", &documentation());
    }

    #[test]
    fn the_example_loads_as_it_stands() {
        let env = |name: &str| name.starts_with("GITHUB_").then(|| "something".to_owned());
        let settings = from_text("proxy.toml", &example(), &env).unwrap();
        assert_eq!(settings.servers[0].path, "/mcp");
        assert_eq!(settings.providers[0].name, "github");
    }

    #[test]
    fn the_example_loads_with_every_key_switched_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = example();
        for name in ["certificate.pem", "key.pem", "logo.svg", "texts.toml", "pages"] {
            fs::create_dir(folder.path().join("pages")).ok();
            fs::write(folder.path().join(name), "").ok();
            text = text.replace(&format!("\"{name}\""), &format!("{:?}", folder.path().join(name)));
        }
        let text = text
            .lines()
            // It stands instead of most of the keys beside it.
            .filter(|line| !line.starts_with("# resource = "))
            // It goes with one preset only, and not with this one.
            .filter(|line| !line.starts_with("# tenant = "))
            // Not every binary can do that.
            .filter(|line| cfg!(feature = "otel") || !line.starts_with("# endpoint = "))
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            // A client has a secret or keys.
            .filter(|line| !line.starts_with("jwks = "))
            .collect::<Vec<_>>()
            .join("\n");
        let key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let env = |name: &str| (name != "MCP_DEPUTY_TENANT").then(|| key.to_owned());
        let settings = from_text("proxy.toml", &text, &env).unwrap();
        assert!(settings.tls.is_some());
        assert_eq!(settings.store.previous_keys.len(), 1);
        assert_eq!(settings.providers[0].host.as_deref(), Some("github.example.com"));
        assert_eq!(settings.servers[0].scopes[0].name, "repo:read");
    }

    #[test]
    fn the_smallest_file_of_the_documentation_loads() {
        let text = documentation();
        let smallest = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
        let env = |name: &str| name.starts_with("GITHUB_").then(|| "something".to_owned());
        from_text("proxy.toml", &smallest, &env).unwrap();
    }
}
