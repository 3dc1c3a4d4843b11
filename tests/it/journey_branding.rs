//! Pages as an operator wants them, from the configuration to the browser; and what an operator cannot break.

use std::{
    fs,
    process::{Command, Output},
};

use mcp_deputy::sandbox::third_party::ADA;
use tempfile::TempDir;

use crate::support::{Gateway, Setup};

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><path d=\"M0 0h9v9z\"/></svg>";
const TEXTS: &str = "[home]\nwhat.en = \"Welcome to the tools of Example Inc.\"\n";
const HOME: &str = "{% extends \"layout.html\" %}\n{% block title %}Start{% endblock %}\n{% block content %}\n<h1>Our own page</h1>\n\
                    <p>{{ t(\"home.what\") }}</p>\n{% for server in servers %}<p>{{ server.name }}: {{ server.url }}</p>{% endfor %}\n\
                    {% endblock %}\n";

/// A folder with everything that branding can name, and the section that names it.
fn branded() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("logo.svg"), LOGO).unwrap();
    fs::write(path("texts.toml"), TEXTS).unwrap();
    fs::create_dir(path("pages")).unwrap();
    fs::write(path("pages/home.html"), HOME).unwrap();
    fs::write(path("pages/.hidden"), "left by an editor").unwrap();
    let section = format!(
        "[branding]\nproduct_name = \"Example tools\"\nlogo = {:?}\ntexts = {:?}\ntemplates = {:?}\n\
         contact = \"mailto:help@example.com\"\ncolors = {{ accent = \"#6b21a8\" }}\n",
        path("logo.svg"),
        path("texts.toml"),
        path("pages")
    );
    (folder, section)
}

#[tokio::test]
async fn pages_look_as_the_operator_wants() {
    let (_folder, section) = branded();
    let gateway = Setup { tables: section, ..Setup::default() }.start().await;
    let mut ada = gateway.visitor(&ADA);
    let home = ada.open(&gateway.url("/")).await;
    for wanted in [
        "<h1>Our own page</h1>",
        "Welcome to the tools of Example Inc.",
        "--accent: #6b21a8",
        "mailto:help@example.com",
    ] {
        assert!(home.body.contains(wanted), "{wanted}: {}", home.body);
    }
    let client = gateway.client("Example tools").await;
    let page = ada.consent_page(&client.asks()).await;
    assert!(page.title().ends_with("– Example tools"), "{}", page.title());
    assert!(page.body.contains("src=\"data:image/svg+xml;base64,"), "{}", page.body);
    assert!(
        page.body.contains("looks like <bdi>Example tools</bdi>"),
        "nobody is believed to be the gateway itself"
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("img-src data:;") && policy.contains("default-src 'none'; script-src 'none'"),
        "{policy}"
    );
    // The whole way works on these pages, too.
    ada.tokens(&client).await;
}

#[tokio::test]
async fn without_branding_no_picture_may_be_shown() {
    let gateway = Gateway::start().await;
    let home = gateway.visitor(&ADA).open(&gateway.url("/")).await;
    assert!(home.headers["content-security-policy"].to_str().unwrap().contains("img-src 'none'"));
}

fn run(command: &str, folder: &TempDir, section: &str) -> Output {
    let text = format!(
        "public_url = \"https://mcp.example.com\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[store]\nurl = \
         \"memory:\"\n[provider.github]\npreset = \"github\"\nclient_id = \"x\"\nclient_secret = \"planted-nothing\"\n\
         [[mcp_server]]\nupstream_url = \"http://127.0.0.1:3000/mcp\"\n{section}"
    );
    let path = folder.path().join("proxy.toml");
    fs::write(&path, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mcp-deputy")).args([command, "--config"]).arg(path).output().unwrap()
}

/// `check` and `serve` say the same, in one sentence and with status 64, before anything is bound.
#[test]
fn what_is_wrong_with_pages_is_said_before_anybody_sees_them() {
    let (folder, section) = branded();
    let good = run("check", &folder, &section);
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    let page = |text: &str| HOME.replace("<h1>Our own page</h1>", text);
    for (file, text, sentence) in [
        ("pages/home.html", page("{{ nothing }}"), "undefined"),
        ("pages/home.html", page("{% if %}"), "syntax error"),
        ("pages/home.html", page("<script>alert(1)</script>"), "home.html must not have <script>"),
        (
            "pages/home.html",
            HOME.replace("{{ server.url }}", ""),
            "home.html does not show the address of an MCP server",
        ),
        ("pages/other.html", HOME.to_owned(), "other.html: none of our templates is called that"),
        ("pages/app.html", "<p>Trust us.</p>".to_owned(), "does not show the name of the app"),
        ("texts.toml", "[home]\nwhat.en = \"{x}\"".to_owned(), "texts.toml:2: home.what must have no places"),
        ("texts.toml", "[warning]\nhides.en = \"Fine.\"".to_owned(), "warning.hides cannot be replaced"),
        ("logo.svg", LOGO.replace("<path", "<script/><path"), "plain SVG"),
        ("logo.svg", "x".repeat(33 * 1024), "more than 32 KiB"),
    ] {
        let (folder, section) = branded();
        fs::write(folder.path().join(file), text).unwrap();
        for command in ["check", "serve"] {
            let wrong = run(command, &folder, &section);
            let said = String::from_utf8(wrong.stderr).unwrap();
            assert_eq!(wrong.status.code(), Some(64), "{command} {file}: {said}");
            assert!(said.contains(sentence), "{command} {file}: {said}");
            assert!(!said.contains("planted-nothing") && said.trim().lines().count() == 1, "{said}");
        }
    }
    for (colours, sentence) in [
        (
            "colors = { text = \"#cccccc\" }",
            "colors: text on page has a contrast of 1.6, and needs 4.5 to be seen",
        ),
        ("colors_dark = { accent = \"#222222\" }", "colors_dark: on_accent on accent has a contrast of"),
    ] {
        for command in ["check", "serve"] {
            let wrong = run(command, &folder, &format!("[branding]\n{colours}\n"));
            let said = String::from_utf8(wrong.stderr).unwrap();
            assert_eq!(wrong.status.code(), Some(64), "{said}");
            assert!(said.contains(sentence), "{said}");
        }
    }
}
