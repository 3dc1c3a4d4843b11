//! The key file: where the master key comes from when the configuration names none.
//!
//! It lies beside the store, not in it, so that a copy of the store alone reveals nothing that is sealed. Whoever backs
//! the store up needs the key as well, and should keep it elsewhere: the caller says so when [`KeyFile::is_new`].
//!
//! The file is for its owner only. It appears whole or not at all, and so does every later one in its place ([`Held`]). A line is a
//! key in base64url, the current one first; behind it may stand when it was made and when another took its place, in seconds
//! since 1970. A file of one key is just that key.
//!
//! ```text
//! # A remark.
//! 8Jq…w made=1796000000
//! k2F…E made=1790000000 replaced=1796000000
//! ```

mod held;

use std::{
    error::Error,
    ffi::OsString,
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

pub use self::held::Held;
use super::{private, seal::MasterKey};
use crate::{
    domain::time::Timestamp,
    flow::{
        fault::Fault,
        ports::{Entropy, random},
    },
};

/// The most keys that a file may hold.
pub const MOST_KEYS: usize = 16;
/// The largest file that is read, in bytes.
const LARGEST: u64 = 8 * 1024;
const REMARK: &str =
    "# The encryption keys of mcp-deputy, the one in use first. To change them: mcp-deputy keys\n";

/// A key of a file.
#[derive(Clone, Debug)]
pub struct FileKey {
    /// The key.
    pub key: MasterKey,
    /// When it was made, where the file says so.
    pub made_at: Option<Timestamp>,
    /// When another one took its place, where the file says so.
    pub replaced_at: Option<Timestamp>,
}

/// The master keys from a file.
#[derive(Debug)]
pub struct KeyFile {
    /// The current key.
    pub key: FileKey,
    /// Those before it.
    pub previous: Vec<FileKey>,
    /// Whether the current one was made just now.
    pub is_new: bool,
}

impl KeyFile {
    /// The path of the key file that belongs to the store in the folder `store`: `./data` has `./data.key`.
    pub fn path_beside(store: &Path) -> PathBuf {
        // By way of the components, so that a slash at the end does not put the file into the folder.
        let mut path: OsString = store.components().as_path().into();
        path.push(".key");
        path.into()
    }

    /// Reads the key in the file `path`. Where there is no such file, makes a key if `may_create`.
    ///
    /// `may_create` should say that the store holds no record yet: to make a second key for a store that was sealed under
    /// another one would only hide that the first is lost. Fails when others may read the file.
    pub fn open(path: &Path, may_create: bool, entropy: &dyn Entropy) -> Result<Self, Fault> {
        let fault = |source| Fault::caused(format!("use the key file {}", path.display()), source);
        if let Some((key, previous)) = read(path).map_err(fault)? {
            return Ok(Self { key, previous, is_new: false });
        }
        if !may_create {
            return Err(fault("it is missing, and the store holds records sealed with its key: restore it, set store.encryption_key to that key, or begin with another store".into()));
        }
        let key = MasterKey::from_bytes(random(entropy)?);
        if create(path, &key, random(entropy)?).map_err(fault)? {
            let key = FileKey { key, made_at: None, replaced_at: None };
            return Ok(Self { key, previous: Vec::new(), is_new: true });
        }
        // Somebody else made one at the same moment: that one counts.
        let keys = read(path).and_then(|keys| keys.ok_or_else(|| "it appeared and is gone again".into()));
        let (key, previous) = keys.map_err(fault)?;
        Ok(Self { key, previous, is_new: false })
    }
}

type Failed = Box<dyn Error + Send + Sync>;

fn read(path: &Path) -> Result<Option<(FileKey, Vec<FileKey>)>, Failed> {
    match File::open(path) {
        Ok(file) => read_open(file).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_open(file: File) -> Result<(FileKey, Vec<FileKey>), Failed> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err("it is not a file".into());
    }
    if !private::is_private(&metadata) {
        return Err("others than its owner may read or change it: give it mode 0600".into());
    }
    if metadata.len() > LARGEST {
        return Err("it is too large to hold encryption keys".into());
    }
    // Room for all of it: what grows leaves copies of its content behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(LARGEST)?));
    file.take(LARGEST).read_to_string(&mut text).map_err(|_| "it cannot be read as text")?;
    parse(&text)
}

fn parse(text: &str) -> Result<(FileKey, Vec<FileKey>), Failed> {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut keys = lines.map(parse_line).collect::<Result<Vec<_>, _>>()?.into_iter();
    let current = keys.next().ok_or(NO_KEY)?;
    let previous: Vec<_> = keys.collect();
    if previous.len() >= MOST_KEYS {
        return Err("it holds more keys than are possible".into());
    }
    Ok((current, previous))
}

const NO_KEY: &str = "it does not hold 32 bytes in base64url";

fn parse_line(line: &str) -> Result<FileKey, Failed> {
    let mut words = line.split(' ');
    let bytes = URL_SAFE_NO_PAD.decode(words.next().unwrap_or_default()).map(Zeroizing::new);
    let key: [u8; 32] = bytes.ok().and_then(|bytes| bytes.as_slice().try_into().ok()).ok_or(NO_KEY)?;
    let mut parsed = FileKey { key: MasterKey::from_bytes(key), made_at: None, replaced_at: None };
    for word in words {
        let fact =
            word.split_once('=').and_then(|(name, seconds)| Some((name, seconds.parse::<u64>().ok()?)));
        match fact {
            Some(("made", seconds)) => parsed.made_at = Some(moment(seconds)),
            Some(("replaced", seconds)) => parsed.replaced_at = Some(moment(seconds)),
            _ => {
                return Err(
                    "a line of it says something that this version of mcp-deputy does not know".into()
                );
            }
        }
    }
    Ok(parsed)
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// What [`parse`] reads.
fn rendered(keys: &[FileKey]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(REMARK.len() + keys.len() * 128));
    text.push_str(REMARK);
    for key in keys {
        URL_SAFE_NO_PAD.encode_string(key.key.as_bytes(), &mut text);
        for (name, at) in [("made", key.made_at), ("replaced", key.replaced_at)] {
            if let Some(at) = at {
                for part in [" ", name, "=", &at.as_secs().to_string()] {
                    text.push_str(part);
                }
            }
        }
        text.push('\n');
    }
    text
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the key to a file of another name, then links it to its own: a link replaces nothing. `false` when there is a
/// key file already.
fn create(path: &Path, key: &MasterKey, nonce: [u8; 8]) -> Result<bool, Failed> {
    let folder = folder_of(path);
    private::create_folder(folder)?;
    let mut unfinished: OsString = path.into();
    unfinished.push(format!(".{:016x}", u64::from_be_bytes(nonce)));

    let mut file = private::options().create_new(true).write(true).open(&unfinished)?;
    let mut text = Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_bytes()));
    text.push('\n');
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    private::sync_folder(folder)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
            out.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn lies_beside_the_store() {
        assert_eq!(KeyFile::path_beside(Path::new("./data")), Path::new("./data.key"));
        assert_eq!(KeyFile::path_beside(Path::new("/var/lib/deputy/")), Path::new("/var/lib/deputy.key"));
    }

    #[test]
    fn is_made_once_and_then_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/data.key");
        let made = KeyFile::open(&path, true, &Constant(1)).unwrap();
        assert!(made.is_new);
        let read = KeyFile::open(&path, false, &Constant(2)).unwrap();
        assert!(!read.is_new);
        assert_eq!(read.key.key.as_bytes(), made.key.key.as_bytes());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn is_not_made_for_a_store_with_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        assert!(KeyFile::open(&path, false, &Constant(1)).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_key_that_came_first_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        assert!(create(&path, &MasterKey::from_bytes([1; 32]), [1; 8]).unwrap());
        assert!(!create(&path, &MasterKey::from_bytes([2; 32]), [2; 8]).unwrap());
        assert_eq!(read(&path).unwrap().unwrap().0.key.as_bytes(), &[1; 32]);
    }

    #[cfg(unix)]
    #[test]
    fn is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        KeyFile::open(&path, true, &Constant(1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(KeyFile::open(&path, true, &Constant(1)).is_err(), "mode {mode:o}");
        }
    }

    #[test]
    fn anything_else_in_it_is_refused_and_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        KeyFile::open(&path, true, &Constant(1)).unwrap();
        let key = "A".repeat(43);
        for text in [
            "",
            "\n",
            "# nothing\n",
            "AAAA",
            &"A".repeat(44),
            &"A".repeat(500),
            "not base64 at all",
            &format!("{key}\n{}", "A".repeat(42)),
            &format!("{key} made=x"),
            &format!("{key} color=1"),
            &format!("{key}\n").repeat(MOST_KEYS + 1),
            &format!("{key}\n{}", "# \n".repeat(4000)),
        ] {
            fs::write(&path, text).unwrap();
            assert!(KeyFile::open(&path, true, &Constant(1)).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
