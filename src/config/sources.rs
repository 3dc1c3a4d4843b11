//! Which files a configuration is read from, and whether any of them changed: the file itself, those that its values are
//! read from (`{ file = "PATH" }`), and what its pages are made of.
//!
//! Contents are compared and not times: what Kubernetes mounts changes by a symbolic link that points elsewhere, and some
//! file systems count time in whole seconds. What is no file (a pipe, a terminal) can be read once only, so it is never looked at here. The
//! certificate is not among them; it is watched by itself (`net::tls`), so
//! that a mistake in the configuration does not keep it from being renewed.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::DEFAULT_FILE;

/// A mark of what the files of a configuration hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark(u64);

/// Marks what the configuration at `path` is read from; without a path the default file, if it is there. A file that cannot
/// be read is marked as such.
pub fn mark(path: Option<&Path>) -> Mark {
    let path = path.unwrap_or(Path::new(DEFAULT_FILE));
    let mut hasher = DefaultHasher::new();
    let text = content(path);
    text.hash(&mut hasher);
    let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    for file in referred(&text) {
        hash(&file, &mut hasher);
    }
    Mark(hasher.finish())
}

/// What a file holds; of a folder (templates of pages), what its files hold.
fn hash(path: &Path, hasher: &mut DefaultHasher) {
    path.hash(hasher);
    let Ok(entries) = fs::read_dir(path) else { return content(path).hash(hasher) };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        file.hash(hasher);
        content(&file).hash(hasher);
    }
}

/// What a file holds. `None`: it cannot be read, or not twice.
fn content(path: &Path) -> Option<Vec<u8>> {
    let is_file = fs::metadata(path).is_ok_and(|it| it.is_file());
    is_file.then(|| fs::read(path).ok()).flatten()
}

/// What of this configuration can be read once only, if anything: itself, or a file that it names. Reading a pipe again would find nothing, or
/// wait for ever.
pub(super) fn fleeting(path: &Path) -> Option<PathBuf> {
    let is_fleeting = |path: &Path| fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir());
    if is_fleeting(path) {
        return Some(path.to_owned());
    }
    let text = content(path).and_then(|text| String::from_utf8(text).ok())?;
    referred(&text).into_iter().find(|path| is_fleeting(path))
}

/// The files that values are read from, and those that `[branding]` names.
fn referred(text: &str) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let Ok(document) = DeTable::parse(text) else { return files };
    collect(document.get_ref(), &mut files);
    if let Some(DeValue::Table(branding)) = document.get_ref().get("branding").map(toml::Spanned::get_ref) {
        for name in BRANDING {
            if let Some(DeValue::String(path)) = branding.get(name).map(toml::Spanned::get_ref) {
                files.insert(PathBuf::from(path.as_ref()));
            }
        }
    }
    files
}

/// Keys of `[branding]` that name a file or a folder.
const BRANDING: [&str; 3] = ["logo", "templates", "texts"];

fn collect(table: &DeTable<'_>, files: &mut BTreeSet<PathBuf>) {
    for (name, value) in table {
        if let (true, DeValue::String(path)) = (table.len() == 1 && name.get_ref() == "file", value.get_ref())
        {
            files.insert(PathBuf::from(path.as_ref()));
        }
        collect_value(value.get_ref(), files);
    }
}

fn collect_value(value: &DeValue<'_>, files: &mut BTreeSet<PathBuf>) {
    match value {
        DeValue::Table(table) => collect(table, files),
        DeValue::Array(items) => items.iter().for_each(|item| collect_value(item.get_ref(), files)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let [main, secret, other] = ["proxy.toml", "secret", "other"].map(|name| folder.path().join(name));
        let text = format!(
            "public_url = \"x\"\n[provider.a]\nclient_secret = {{ file = {secret:?} }}\n[store]\n\
             previous_encryption_keys = [{{ file = {other:?} }}]\n"
        );
        assert_eq!(referred(&text), BTreeSet::from([secret.clone(), other.clone()]));
        let mut seen = vec![mark(Some(&main))];
        let mut changed = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            let now = mark(Some(&main));
            assert!(!seen.contains(&now), "{path:?}");
            assert_eq!(mark(Some(&main)), now);
            seen.push(now);
        };
        changed(&main, &text);
        changed(&secret, "one");
        changed(&secret, "two");
        changed(&other, "three");
        changed(&main, "half a fi");
    }

    #[test]
    fn what_pages_are_made_of_is_looked_at_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("templates")).unwrap();
        let text = format!("[branding]\nlogo = {:?}\ntemplates = {:?}\n", at("logo.svg"), at("templates"));
        fs::write(at("proxy.toml"), text).unwrap();
        let mut before = mark(Some(&at("proxy.toml")));
        for name in ["logo.svg", "templates/home.html", "templates/other.html"] {
            fs::write(at(name), name).unwrap();
            let now = mark(Some(&at("proxy.toml")));
            assert_ne!(now, before, "{name}");
            before = now;
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_can_be_read_only_once_is_left_for_whoever_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let (main, pipe) = (folder.path().join("proxy.toml"), folder.path().join("pipe"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::write(&main, format!("client_secret = {{ file = {pipe:?} }}\n")).unwrap();
        // Reading it would wait for somebody who writes.
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            mark(Some(&pipe));
            mark(Some(&main));
            for path in [&main, &pipe] {
                assert_eq!(fleeting(path).as_ref(), Some(&pipe));
                let again = crate::config::load_again(Some(path), &|_| None).unwrap_err();
                assert!(again.sentence().contains("cannot be read again"), "{again}");
            }
            fs::write(&main, "client_secret = { file = \"none\" }\n").unwrap();
            assert_eq!(fleeting(&main), None);
            said.send(())
        });
        assert!(heard.recv_timeout(std::time::Duration::from_secs(5)).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_swapped_by_a_link_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["one", "two"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("proxy.toml"), name).unwrap();
        }
        // As Kubernetes does it: ..data is a link to a folder and is replaced by a rename.
        std::os::unix::fs::symlink(at("one"), at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/proxy.toml", at("proxy.toml")).unwrap();
        let before = mark(Some(&at("proxy.toml")));
        std::os::unix::fs::symlink(at("two"), at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(mark(Some(&at("proxy.toml"))), before);
    }
}
