//! Lines to copy into an app's configuration or a terminal, made so that nothing in them can become anything else.
//!
//! What goes into them is the operator's (an address, a name), and still is never trusted: in JSON it is written by a JSON
//! writer, on a command line it is there only as a word that no shell reads differently.

use serde::Serialize;
use serde_json::{Value, json};

use super::Verbatim;

/// How an MCP server is entered in the apps that we know.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Snippets {
    /// A line for a terminal; `None` where the address is no plain word.
    claude_code: Option<String>,
    vscode: String,
    cursor: String,
    other: String,
}

impl Snippets {
    /// For the server at `url`, under a name that [`slug`] made.
    pub(super) fn new(name: &str, url: &Verbatim) -> Self {
        let url = url.as_str();
        let typed = json!({ "type": "http", "url": url });
        Self {
            claude_code: is_plain_word(url).then(|| format!("claude mcp add --transport http {name} {url}")),
            vscode: written(&json!({ "servers": { name: typed.clone() } })),
            cursor: written(&json!({ "mcpServers": { name: { "url": url } } })),
            other: written(&json!({ "mcpServers": { name: typed } })),
        }
    }
}

fn written(value: &Value) -> String {
    // Only maps with odd keys fail to become JSON; there are none.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The name under which an app could keep a server: lower case, digits and dashes, never empty, none of `taken`.
pub(super) fn slug(name: &str, taken: &[String]) -> String {
    const LONGEST: usize = 40;
    let mut slug = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() == LONGEST {
            break;
        }
    }
    let slug = match slug.trim_end_matches('-') {
        "" => "mcp",
        slug => slug,
    };
    let numbered = (2..).map(|number| format!("{slug}-{number}"));
    let mut candidates = std::iter::once(slug.to_owned()).chain(numbered);
    candidates.find(|candidate| !taken.contains(candidate)).unwrap_or_else(|| slug.to_owned())
}

/// Whether every shell takes this for one word and nothing else.
fn is_plain_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'.' | b'_' | b'-');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_server_is_entered_as_its_app_expects_it() {
        let snippets = Snippets::new("github-tools", &Verbatim::new("https://mcp.example.com/mcp"));
        assert_eq!(
            snippets.claude_code.as_deref(),
            Some("claude mcp add --transport http github-tools https://mcp.example.com/mcp")
        );
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let url = "https://mcp.example.com/mcp";
        assert_eq!(
            read(&snippets.vscode),
            json!({ "servers": { "github-tools": { "type": "http", "url": url } } })
        );
        assert_eq!(read(&snippets.cursor), json!({ "mcpServers": { "github-tools": { "url": url } } }));
        assert_eq!(read(&snippets.other)["mcpServers"]["github-tools"]["type"], "http");
    }

    #[test]
    fn names_become_slugs() {
        let taken = ["github-tools".to_owned(), "github-tools-2".to_owned()];
        for (name, expected) in [
            ("GitHub tools", "github-tools-3"),
            ("  --Notes & more!  ", "notes-more"),
            ("日本語", "mcp"),
            ("", "mcp"),
            ("mcp.example.com/mcp", "mcp-example-com-mcp"),
        ] {
            assert_eq!(slug(name, &taken), expected, "{name}");
        }
        assert_eq!(slug(&"ab ".repeat(100), &[]).len(), 40);
    }

    /// The bug class of install lines: what is copied does something else than it says.
    #[test]
    fn attack_an_address_that_runs_a_command() {
        for url in [
            "https://a.example/$(id)",
            "https://a.example/`id`",
            "https://a.example/;id",
            "https://a.example/&id",
            "https://a.example/'",
            "https://a.example/\"",
            "https://a.example/ x",
            "https://a.example/\n",
            "https://a.example/%PATH%",
            "https://a.example/?a=b",
            "https://a.example/~",
            "https://a.example/!x",
            "--config",
        ] {
            assert_eq!(Snippets::new("x", &Verbatim::new(url)).claude_code, None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_and_address_the_snippets_say_just_that(name in ".*", url in ".*") {
            let (name, url) = (slug(&name, &[]), Verbatim::new(&url));
            prop_assert!(!name.is_empty() && name.len() <= 40);
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            let snippets = Snippets::new(&name, &url);
            if let Some(line) = &snippets.claude_code {
                let words: Vec<_> = line.split(' ').collect();
                prop_assert_eq!(words, ["claude", "mcp", "add", "--transport", "http", name.as_str(), url.as_str()]);
            }
            for (json, root) in [(&snippets.vscode, "servers"), (&snippets.cursor, "mcpServers"), (&snippets.other, "mcpServers")] {
                let read: Value = serde_json::from_str(json).unwrap();
                prop_assert_eq!(read[root][&name]["url"].as_str(), Some(url.as_str()));
            }
        }
    }
}
