//! The store, its key and its disk: modes, owners, where the key is, free space. Reads no record; of files that might hold
//! the key it reads small ones, compares them, and shows nothing of them.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::finding::{self, Check, Finding};
use crate::{
    config::{MasterKey, Settings, StoreUrl},
    gateway,
    store::keyfile::KeyFile,
};

/// A file that holds keys and nothing else is not larger.
const LARGEST_KEY: u64 = 8192;
/// How many entries of the folder are looked at.
const MOST_ENTRIES: usize = 1000;

/// Everything about the store. `config` is the file that the settings are from, `gateway` the user that the gateway runs as, `in_use` the
/// ids of the keys that it has from its key file.
pub(super) fn look(
    settings: &Settings,
    config: Option<&Path>,
    gateway: Option<u32>,
    in_use: &[String],
) -> Vec<Finding> {
    let StoreUrl::Disk(folder) = &settings.store.url else {
        let found = if settings.public_url.is_loopback() {
            Finding::ok(Check::Store, "memory:", "in memory, which is right for trying it out only")
        } else {
            Finding::of(&finding::STORE_IN_MEMORY, "memory:")
        };
        return vec![found];
    };
    let mut found = self::folder(folder, gateway);
    found.extend(key(settings, folder, config, gateway, in_use));
    found.extend(space(folder));
    found
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn mode(metadata: &Metadata) -> String {
    format!("mode {:04o}", metadata.mode() & 0o7777)
}

fn folder(folder: &Path, gateway: Option<u32>) -> Vec<Finding> {
    let place = shown(folder);
    let mut found = Vec::new();
    if let Some(finding) = replaceable(folder) {
        found.push(finding);
    }
    let metadata = match fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            found.push(Finding::ok(Check::Store, place, "not there yet: the first start makes it"));
            return found;
        }
        Err(_) => {
            found.push(Finding::of(&finding::STORE_UNREADABLE, place));
            return found;
        }
    };
    if metadata.mode() & 0o077 != 0 {
        found.push(Finding::of(&finding::STORE_OPEN, place.clone()).because(mode(&metadata)));
    }
    let Ok(entries) = fs::read_dir(folder) else {
        found.push(Finding::of(&finding::STORE_UNREADABLE, place));
        return found;
    };
    let owner = gateway.unwrap_or(metadata.uid());
    let mut strangers = usize::from(metadata.uid() != owner);
    for entry in entries.flatten().take(MOST_ENTRIES) {
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_symlink() && metadata.mode() & 0o077 != 0 {
            found.push(Finding::of(&finding::STORE_OPEN, shown(&entry.path())).because(mode(&metadata)));
        }
        strangers += usize::from(metadata.uid() != owner && !metadata.file_type().is_socket());
    }
    if strangers > 0 {
        let detail = format!("{strangers} of folder and files, beside user {owner}");
        found.push(Finding::of(&finding::STORE_WRONG_OWNER, place.clone()).because(detail));
    }
    if found.is_empty() {
        found.push(Finding::ok(Check::Store, place, "for its owner only"));
    }
    found
}

/// Whether everybody may put something else in its place.
fn replaceable(folder: &Path) -> Option<Finding> {
    let folder = std::path::absolute(folder).ok()?;
    let parent = folder.parent()?;
    let metadata = fs::metadata(parent).ok()?;
    let is_open = metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0;
    is_open.then(|| Finding::of(&finding::STORE_REPLACEABLE, shown(parent)).because(mode(&metadata)))
}

fn key(
    settings: &Settings,
    folder: &Path,
    config: Option<&Path>,
    gateway: Option<u32>,
    in_use: &[String],
) -> Vec<Finding> {
    let mut found = Vec::new();
    let beside = KeyFile::path_beside(folder);
    let place = shown(&beside);
    let is_configured = settings.store.key.is_some();
    if let Some(inside) = inside(settings, folder, &beside, config) {
        found.push(Finding::of(&finding::KEY_INSIDE_STORE, shown(&inside)));
    }
    match fs::metadata(&beside) {
        _ if is_configured => {}
        Ok(metadata) => {
            if metadata.mode() & 0o077 != 0 {
                found.push(Finding::of(&finding::KEY_OPEN, place.clone()).because(mode(&metadata)));
            }
            if gateway.is_some_and(|gateway| gateway != metadata.uid()) {
                found.push(Finding::of(&finding::KEY_WRONG_OWNER, place.clone()));
            }
            if found.is_empty() {
                found.extend(content(settings, &beside, &place, in_use));
            }
        }
        Err(_) if has_records(folder) => found.push(Finding::of(&finding::KEY_MISSING, place.clone())),
        Err(_) => {
            found.push(Finding::ok(Check::Key, place.clone(), "not there yet: the first start makes it"));
        }
    }
    if found.is_empty() {
        found.push(if is_configured {
            let what = "it comes from the configuration; no copy of the store's folder and no backup holds it";
            Finding::ok(Check::Key, "store.encryption_key", what)
        } else {
            let what = "beside the store, for its owner only; no copy of the store's folder and no backup holds it, so keep a \
                        copy elsewhere";
            Finding::ok(Check::Key, place, what)
        });
    }
    found
}

/// Whether the key file is one, and that of the gateway that runs.
fn content(settings: &Settings, beside: &Path, place: &str, in_use: &[String]) -> Option<Finding> {
    if fs::File::open(beside).is_err() {
        return Some(Finding::skipped(Check::Key, place, "this user may not read it"));
    }
    let Ok(Some(seals)) = gateway::seals(settings) else {
        return Some(Finding::of(&finding::KEY_DAMAGED, place));
    };
    let held: Vec<String> = seals.ids().iter().map(ToString::to_string).collect();
    let missing: Vec<&str> = in_use.iter().filter(|id| !held.contains(id)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| {
        Finding::of(&finding::KEY_OF_ANOTHER_DAY, place).because(format!("without {}", missing.join(", ")))
    })
}

fn has_records(folder: &Path) -> bool {
    folder.join("tree").exists()
}

/// A file in the folder of the store, or one level below it, that holds a key of this store; or the configuration with it.
fn inside(settings: &Settings, folder: &Path, beside: &Path, config: Option<&Path>) -> Option<PathBuf> {
    let real = fs::canonicalize(folder).ok()?;
    if let Some(config) = config.and_then(|config| fs::canonicalize(config).ok())
        && config.starts_with(&real)
        && settings.store.key.is_some()
    {
        return Some(config);
    }
    let mut keys: Vec<MasterKey> =
        settings.store.key.iter().chain(&settings.store.previous_keys).cloned().collect();
    keys.extend(read(beside).unwrap_or_default());
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_ENTRIES);
        entries.map(|entry| entry.path()).collect()
    };
    let mut candidates = files(&real);
    let folders: Vec<PathBuf> = candidates.iter().filter(|path| path.is_dir()).cloned().collect();
    candidates.extend(folders.iter().flat_map(|folder| files(folder)));
    candidates.into_iter().find(|path| {
        read(path).is_some_and(|held| {
            held.iter().any(|key| keys.iter().any(|known| known.expose() == key.expose()))
        })
    })
}

/// The keys that a file holds, where it holds keys and nothing else: one as it may be configured, or those of a key file.
fn read(path: &Path) -> Option<Vec<MasterKey>> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST_KEY {
        return None;
    }
    let text = Zeroizing::new(fs::read_to_string(path).ok()?);
    if let Ok(key) = MasterKey::parse(&text) {
        return Some(vec![key]);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = |line: &str| {
        let bytes =
            URL_SAFE_NO_PAD.decode(line.split(' ').next().unwrap_or_default()).ok().map(Zeroizing::new)?;
        bytes.as_slice().try_into().ok().map(MasterKey::from_bytes)
    };
    lines.map(key).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}

/// What is written to the disk when the gateway has to write much.
const LITTLE: u64 = 1024 * 1024 * 1024;
const NEARLY_NOTHING: u64 = 64 * 1024 * 1024;

fn space(folder: &Path) -> Vec<Finding> {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let place = shown(folder);
    let Ok(disk) = rustix::fs::statvfs(existing) else {
        return vec![Finding::skipped(Check::DiskSpace, place, "the system does not say")];
    };
    vec![with_free(disk.f_bavail.saturating_mul(disk.f_frsize), place)]
}

/// What so many free bytes mean.
fn with_free(free: u64, place: String) -> Finding {
    let detail = format!("{} MiB free", free / (1024 * 1024));
    match free {
        ..NEARLY_NOTHING => Finding::of(&finding::DISK_FULL, place).because(detail),
        NEARLY_NOTHING..LITTLE => Finding::of(&finding::DISK_FILLS, place).because(detail),
        _ => Finding::ok(Check::DiskSpace, place, detail),
    }
}

/// The configuration file: whether it holds secrets that others may read.
pub(super) fn configuration(settings: &Settings, config: Option<&Path>) -> Vec<Finding> {
    let mut found = Vec::new();
    // Larger than any network of somebody's own: 10.0.0.0/8 and fc00::/7.
    let is_large = |net: &ipnet::IpNet| net.prefix_len() < if net.addr().is_ipv4() { 8 } else { 7 };
    if settings.trusted_proxies.iter().any(is_large) {
        found.push(Finding::of(&finding::PROXIES_ARE_MANY, "trusted_proxies"));
    }
    if settings.admin_token.is_some() && !settings.admin_listen.ip().is_loopback() {
        let place = settings.admin_listen.to_string();
        found.push(Finding::of(&finding::ADMIN_LISTENS_WIDELY, place));
    }
    let place = config.map_or_else(|| "environment".to_owned(), shown);
    if let Some(config) = config
        && let Ok(metadata) = fs::metadata(config)
        && metadata.mode() & 0o007 != 0
        && fs::read_to_string(config).is_ok_and(|text| has_secret(&Zeroizing::new(text)))
    {
        found.push(Finding::of(&finding::CONFIGURATION_READABLE, place.clone()).because(mode(&metadata)));
    }
    if found.is_empty() {
        found.push(Finding::ok(Check::Configuration, place, "it is right"));
    }
    found
}

/// Whether a secret is written out, and not only where it is.
fn has_secret(text: &str) -> bool {
    const KEYS: [&str; 6] = [
        "client_secret",
        "secret",
        "encryption_key",
        "previous_encryption_keys",
        "admin_token",
        "initial_access_token",
    ];
    text.lines().any(|line| {
        let written = line.split_once('=');
        written.is_some_and(|(key, value)| {
            let value = value.trim_start().trim_start_matches('[').trim_start();
            KEYS.contains(&key.trim()) && value.starts_with(['"', '\''])
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_is_written_out_is_told_from_one_that_is_elsewhere() {
        assert!(has_secret("a = 1\n  client_secret = \"abc\"\n"));
        assert!(has_secret("previous_encryption_keys = [ \"abc\" ]\n"));
        assert!(!has_secret("previous_encryption_keys = [ { file = \"abc\" } ]\n"));
        assert!(!has_secret("client_secret = { env = \"SECRET\" }\n# client_secret = \"x\"\n"));
    }

    #[test]
    fn a_folder_that_everybody_may_change_is_found_and_a_sticky_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("data");
        let with = |mode| {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            replaceable(&store).and_then(|finding| finding.slug)
        };
        assert_eq!(with(0o777), Some("store_replaceable"));
        assert_eq!(with(0o1777), None);
        assert_eq!(with(0o755), None);
    }

    #[test]
    fn a_disk_that_fills_is_a_warning_and_a_full_one_a_fault() {
        let slug = |free| with_free(free, String::new()).slug;
        for free in [0, NEARLY_NOTHING - 1] {
            assert_eq!(slug(free), Some("disk_full"));
        }
        for free in [NEARLY_NOTHING, LITTLE - 1] {
            assert_eq!(slug(free), Some("disk_fills"));
        }
        assert_eq!(slug(LITTLE), None);
    }

    #[test]
    fn a_key_is_read_as_it_may_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let holds = |text: &str| {
            fs::write(&path, text).unwrap();
            read(&path).is_some()
        };
        assert!(holds("n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg\n"));
        assert!(holds("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"));
        assert!(holds(
            "# The keys.\nn4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg made=7\n\nn4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgA\n"
        ));
        assert!(!holds("something else"));
        assert!(!holds("# nothing\n"));
        assert!(!holds(&"A".repeat(5000)));
    }
}
