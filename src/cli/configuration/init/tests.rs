//! `config init` with somebody who has the answers ready, and with nobody there.

use std::collections::VecDeque;

use clap::Parser;

use super::*;
use crate::config::from_text;

/// Somebody who has the answers ready.
#[derive(Default)]
struct Person {
    answers: VecDeque<&'static str>,
    heard: String,
    secrets: usize,
}

impl Person {
    fn with(answers: &[&'static str]) -> Self {
        Self { answers: answers.iter().copied().collect(), ..Self::default() }
    }
}

impl Terminal for Person {
    fn say(&mut self, text: &str) -> io::Result<()> {
        self.heard.push_str(text);
        Ok(())
    }

    fn line(&mut self, is_secret: bool) -> io::Result<Option<String>> {
        self.secrets += usize::from(is_secret);
        Ok(self.answers.pop_front().map(str::to_owned))
    }

    fn rest(&mut self) -> io::Result<String> {
        Ok(self.answers.drain(..).collect::<Vec<_>>().join("\n") + "\n")
    }
}

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    init: Init,
}

fn typed(folder: &Path, flags: &[&str]) -> Init {
    let file = folder.join("proxy.toml").to_string_lossy().into_owned();
    let all = ["init", "--file", &file].into_iter().chain(flags.iter().copied());
    Typed::try_parse_from(all).unwrap_or_else(|error| panic!("{error}")).init
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const FLAGS: &[&str] = &[
    "--public-url",
    "https://mcp.example.com",
    "--upstream-url",
    "http://10.0.0.7/mcp",
    "--client-id",
    "Iv1",
];

#[test]
fn the_gateways_own_address_is_not_the_mcp_servers() {
    let folder = tempfile::tempdir().unwrap();
    let answers = ["http://localhost:3000", "http://localhost:3000/mcp", "", "Iv1", "s"];
    let mut person = Person::with(&answers);
    typed(folder.path(), &[]).run(&mut person, true).unwrap();
    assert_eq!(person.heard.matches("must not be where the gateway itself answers").count(), 1);
    assert!(!person.heard.contains("[http://127.0.0.1:3000/mcp]"), "it is not offered either");
    let settings = config::load(Some(&folder.path().join("proxy.toml")), &|_| None).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(settings.servers[0].upstream_url.as_str(), "http://127.0.0.1:8000/mcp");
}

#[test]
fn four_answers_make_a_file_that_check_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut person = Person::with(&["https://mcp.example.com/", "", "Iv1.01", "canary-secret"]);
    let told = typed(folder.path(), &[]).run(&mut person, true).unwrap();

    assert_eq!(names(folder.path()), ["github.secret", "proxy.toml"]);
    let file = folder.path().join("proxy.toml");
    let settings = config::load(Some(&file), &|_| None).unwrap();
    assert_eq!(settings.public_url.as_str(), "https://mcp.example.com");
    assert_eq!(settings.servers[0].upstream_url.as_str(), "http://127.0.0.1:3000/mcp");
    assert_eq!(settings.providers[0].client_id, "Iv1.01");

    let text = fs::read_to_string(&file).unwrap();
    assert!([&text, &told, &person.heard].iter().all(|said| !said.contains("canary")));
    assert_eq!((person.answers.len(), person.secrets), (0, 1));
    // Said before the client id is asked for, since the app has to be created first.
    let callback = person.heard.find("https://mcp.example.com/callback/github").unwrap();
    assert!(callback < person.heard.find("Its client ID").unwrap());
    for said in [
        "https://github.com/settings/applications/new",
        "https://mcp.example.com/callback/github",
        "mcp-deputy serve --config ",
        "https://mcp.example.com/mcp",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn the_secret_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let mut person = Person::with(&["", "", "Iv1.01", "canary-secret"]);
    typed(folder.path(), &[]).run(&mut person, true).unwrap();
    let secret = folder.path().join("github.secret");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(secret).unwrap(), "canary-secret\n");
}

#[test]
fn nothing_is_ever_overwritten() {
    for name in ["proxy.toml", "github.secret"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), "mine").unwrap();
        let mut person = Person::with(&["", "", "Iv1.01", "canary-secret"]);
        let stopped = typed(folder.path(), &[]).run(&mut person, true).unwrap_err();
        assert!(stopped.contains("is there already"), "{stopped}");
        assert_eq!(person.answers.len(), 4, "nobody is asked in vain");
        assert_eq!(names(folder.path()), [name]);
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "mine");
    }
}

#[test]
fn a_wrong_answer_is_told_at_once_and_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let answers =
        ["mcp.example.com", "http://mcp.example.com", "https://mcp.example.com", "", "Iv1.01", "", "s"];
    let mut person = Person::with(&answers);
    typed(folder.path(), &[]).run(&mut person, true).unwrap();
    assert!(person.heard.contains("public_url must"), "{}", person.heard);

    let folder = tempfile::tempdir().unwrap();
    let mut person = Person::with(&["a", "b", "c", "d"]);
    assert!(typed(folder.path(), &[]).run(&mut person, true).is_err());
    let mut person = Person::with(&["https://mcp.example.com"]);
    let stopped = typed(folder.path(), &[]).run(&mut person, true).unwrap_err();
    assert_eq!(stopped, "the answers ended; nothing was written");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn with_flags_nobody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut nobody = Person::default();
    let flags = [FLAGS, &["--client-secret-env", "SECRET"]].concat();
    let told = typed(folder.path(), &flags).run(&mut nobody, false).unwrap();
    assert!(told.contains("SECRET=… mcp-deputy check"), "{told}");
    assert_eq!((nobody.heard.as_str(), names(folder.path())), ("", vec!["proxy.toml".to_owned()]));
    let text = fs::read_to_string(folder.path().join("proxy.toml")).unwrap();
    let settings =
        from_text("proxy.toml", &text, &|name| (name == "SECRET").then(|| "s".to_owned())).unwrap();
    assert_eq!(settings.servers[0].upstream_url.as_str(), "http://10.0.0.7/mcp");
}

#[test]
fn a_secret_may_be_in_a_file_or_come_from_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("mine");
    fs::write(&place, "s").unwrap();
    let flags = [FLAGS, &["--client-secret-file", place.to_str().unwrap()]].concat();
    typed(folder.path(), &flags).run(&mut Person::default(), false).unwrap();
    assert_eq!(names(folder.path()), ["mine", "proxy.toml"]);

    let folder = tempfile::tempdir().unwrap();
    let flags = [FLAGS, &["--client-secret-file", "-"]].concat();
    typed(folder.path(), &flags).run(&mut Person::with(&["from-input"]), false).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("github.secret")).unwrap(), "from-input\n");
}

#[test]
fn what_cannot_be_used_leaves_nothing_behind() {
    for (flags, why) in [
        (vec!["--client-secret-file", "/nowhere/secret"], "cannot read /nowhere/secret"),
        (vec!["--client-secret-file", "-"], "must be one line"),
        (vec!["--client-secret-env", "A B"], "must be the name"),
        (vec![], "missing: --client-secret-file or --client-secret-env"),
        (
            vec!["--client-secret-env", "S", "--provider", "gihtub"],
            "there is no preset 'gihtub'; there are: github",
        ),
        (vec!["--client-secret-env", "S", "--host", "https://x"], "host must be"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let all = [FLAGS, &flags].concat();
        let stopped = typed(folder.path(), &all).run(&mut Person::default(), false).unwrap_err();
        assert!(stopped.contains(why), "{flags:?}: {stopped}");
        assert!(names(folder.path()).is_empty(), "{flags:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let flags =
        ["--public-url", "ftp://x", "--client-secret-env", "S", "--upstream-url", "x", "--client-id", "y"];
    assert!(
        typed(folder.path(), &flags).run(&mut Person::default(), false).unwrap_err().contains("public_url")
    );
}
