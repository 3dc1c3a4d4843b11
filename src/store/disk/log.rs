//! The log: where a batch of writes becomes durable, with one write and one sync, wherever its records belong in the tree.
//!
//! Two files take turns. Each is made at its full size once, so that a sync has no size to write down, and is written from
//! its beginning again when everything in it has been folded into the tree. A *generation* is one such turn; the numbers of
//! generations only rise.
//!
//! ```text
//! file     frame · frame · … · anything
//! frame    sum (16 bytes) · generation (8, big-endian) · length of the payload (4) · payload
//! sum      the first 16 bytes of SHA-256 of: generation · where the frame begins in the file (8) · length · payload
//! payload  entries: version (8) · length of the key (2) · length of the value (4; all ones: deleted) · key · value
//! ```
//!
//! A frame is synced before the next one is written. So what a crash cuts off is at most one frame, the last one, of which
//! nobody was told; the sum finds that out, and what an earlier generation left behind the end as well, since place and
//! generation are in the sum.

use std::{
    error::Error,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::recent::{Changes, Stored};
use crate::store::private;

/// The size at which a file is made, in bytes. A batch that begins before this end is written whole; then it is the other
/// file's turn, as soon as that one is folded.
pub(super) const TURN: u64 = 8 * 1024 * 1024;

/// The names of the two files.
pub(super) const NAMES: [&str; 2] = ["log.0", "log.1"];

/// One of the two files, and where the next frame goes.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    generation: u64,
    end: u64,
}

/// The newest version in a batch, and what it changed.
type Batch = (u64, Changes);

impl LogFile {
    /// The file `name` in the folder `path`, and what its generation holds, unless that is one of those that the tree has:
    /// they end with `folded`. A file that is not there yet is made when it is written to.
    pub(super) fn read(
        path: &Path,
        name: &str,
        folded: u64,
    ) -> Result<(Self, Batch), Box<dyn Error + Send + Sync>> {
        let path = path.join(name);
        let file = match private::options().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let mut log = Self { path, file, generation: 0, end: 0 };
        let mut batch = (0, Changes::new());
        let Some(file) = &log.file else { return Ok((log, batch)) };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, HEAD as u64), &mut bytes)?;
        // What a head that means nothing says does not matter: either it leads nowhere, or the sum finds it out.
        let begins =
            bytes.get(SUM..).and_then(|rest| rest.first_chunk()).map_or(0, |said| u64::from_be_bytes(*said));
        if begins <= folded {
            log.generation = begins;
            return Ok((log, batch));
        }
        io::Read::read_to_end(&mut &*file, &mut bytes)?;
        let mut rest = bytes.as_slice();
        while let Some((generation, payload, behind)) = frame(rest, log.end) {
            if log.end > 0 && generation != log.generation {
                break;
            }
            log.generation = generation;
            log.end += (rest.len() - behind.len()) as u64;
            rest = behind;
            entries(payload, &mut batch)
                .ok_or("its log is damaged: a frame with a good sum makes no sense")?;
        }
        Ok((log, batch))
    }

    /// The turn that it is in; 0 before the first.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the file is there.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// How much of the file is in use, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Begins a new turn: what is in it must have been folded. Makes the file where there is none.
    pub(super) fn begin(&mut self, generation: u64) -> io::Result<()> {
        (self.generation, self.end) = (generation, 0);
        if self.file.is_some() {
            return Ok(());
        }
        let file = private::options().create(true).truncate(true).read(true).write(true).open(&self.path)?;
        let zeros = vec![0; 1024 * 1024];
        for _ in 0..TURN / zeros.len() as u64 {
            io::Write::write_all(&mut &file, &zeros)?;
        }
        file.sync_all()?;
        private::sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        self.file = Some(file);
        Ok(())
    }

    /// Makes what was read durable. A crash may have come between a write and its sync, and a sync that failed may have left
    /// in memory what never reached the disk: so it is written again, and synced.
    pub(super) fn confirm(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        let mut reader = file;
        io::Seek::rewind(&mut reader)?;
        io::Read::read_to_end(&mut io::Read::take(reader, self.end), &mut bytes)?;
        write_at(file, &bytes, 0)?;
        self.sync()
    }

    /// Writes a batch behind the last one. It is durable after [`sync`](Self::sync).
    pub(super) fn append(&mut self, changes: &Changes) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::Error::other("the log has no file")) };
        let frame = render(self.generation, self.end, changes)?;
        write_at(file, &frame, self.end)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

const SUM: usize = 16;
const HEAD: usize = SUM + 8 + 4;
const DELETED: u32 = u32::MAX;

fn render(generation: u64, place: u64, changes: &Changes) -> io::Result<Vec<u8>> {
    let too_large = |_| io::Error::other("a batch is too large for the log");
    let mut frame = vec![0; HEAD];
    for (key, change) in changes {
        frame.extend_from_slice(&change.version.to_be_bytes());
        frame.extend_from_slice(&u16::try_from(key.len()).map_err(too_large)?.to_be_bytes());
        let value = change.value.as_deref();
        let length = value.map_or(Ok(DELETED), |value| u32::try_from(value.len())).map_err(too_large)?;
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(key);
        frame.extend_from_slice(value.unwrap_or_default());
    }
    let (head, payload) = frame.split_at_mut(HEAD);
    let length = u32::try_from(payload.len()).map_err(too_large)?;
    let filled =
        [&sum(generation, place, length, payload)[..], &generation.to_be_bytes(), &length.to_be_bytes()];
    head.copy_from_slice(&filled.concat());
    Ok(frame)
}

/// The frame that begins at `place`: its generation, its payload and what stands behind it. `None`: there is none that is
/// whole.
fn frame(bytes: &[u8], place: u64) -> Option<(u64, &[u8], &[u8])> {
    let (said, rest) = bytes.split_first_chunk::<SUM>()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (generation, length) = (u64::from_be_bytes(*generation), u32::from_be_bytes(*length));
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (sum(generation, place, length, payload) == *said).then_some((generation, payload, behind))
}

fn sum(generation: u64, place: u64, length: u32, payload: &[u8]) -> [u8; SUM] {
    let mut context = Context::new(&SHA256);
    context.update(&generation.to_be_bytes());
    context.update(&place.to_be_bytes());
    context.update(&length.to_be_bytes());
    context.update(payload);
    // SHA-256 has 32 bytes, so there is a first half.
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// Adds what a payload says. Later ones win.
fn entries(mut payload: &[u8], (newest, changes): &mut Batch) -> Option<()> {
    while !payload.is_empty() {
        let (version, rest) = payload.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let (version, value) = (u64::from_be_bytes(*version), u32::from_be_bytes(*value));
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*key)))?;
        let (value, rest) = match value {
            DELETED => (None, rest),
            length => {
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(Bytes::copy_from_slice(value)), rest)
            }
        };
        *newest = version.max(*newest);
        changes.insert(key.to_vec(), Stored { version, value });
        payload = rest;
    }
    Some(())
}

fn write_at(file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom, Write as _};

    let mut file = file;
    file.seek(SeekFrom::Start(place))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn changes(entries: &[(&str, u64, Option<&str>)]) -> Changes {
        let stored = |version, value: Option<&str>| Stored {
            version,
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        };
        entries
            .iter()
            .map(|(key, version, value)| (key.as_bytes().to_vec(), stored(*version, *value)))
            .collect()
    }

    /// Three batches in one file.
    fn written(folder: &Path, generation: u64) -> LogFile {
        let (mut log, _) = LogFile::read(folder, NAMES[0], 0).unwrap();
        log.begin(generation).unwrap();
        for batch in [
            changes(&[("a", 1, Some("one")), ("b", 2, Some(""))]),
            changes(&[("a", 3, None)]),
            changes(&[("c", 4, Some("last"))]),
        ] {
            log.append(&batch).unwrap();
        }
        log.sync().unwrap();
        log
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let folder = TempDir::new().unwrap();
        let log = written(folder.path(), 7);
        let (found, (newest, read)) = LogFile::read(folder.path(), NAMES[0], 0).unwrap();
        assert_eq!((found.generation(), found.len(), newest), (7, log.len(), 4));
        assert_eq!(read, changes(&[("a", 3, None), ("b", 2, Some("")), ("c", 4, Some("last"))]));
        assert_eq!(fs::metadata(folder.path().join(NAMES[0])).unwrap().len(), TURN, "made at its full size");
    }

    #[test]
    fn what_the_tree_has_is_not_looked_at() {
        let folder = TempDir::new().unwrap();
        written(folder.path(), 7);
        let (found, (newest, read)) = LogFile::read(folder.path(), NAMES[0], 7).unwrap();
        assert_eq!((found.generation(), found.len(), newest, read.len()), (7, 0, 0, 0));
        assert_eq!(LogFile::read(folder.path(), NAMES[0], 6).unwrap().1.0, 4);
    }

    #[test]
    fn what_is_confirmed_stays_what_it_was() {
        let folder = TempDir::new().unwrap();
        let mut log = written(folder.path(), 7);
        let whole = fs::read(folder.path().join(NAMES[0])).unwrap();
        log.confirm().unwrap();
        assert_eq!(fs::read(folder.path().join(NAMES[0])).unwrap(), whole);
        log.append(&changes(&[("d", 5, None)])).unwrap();
        assert_eq!(
            LogFile::read(folder.path(), NAMES[0], 0).unwrap().1.0,
            5,
            "it goes on behind the last frame"
        );
    }

    #[test]
    fn a_cut_or_flipped_frame_ends_the_log_before_it_and_never_changes_what_it_says() {
        let folder = TempDir::new().unwrap();
        let log = written(folder.path(), 7);
        let path = folder.path().join(NAMES[0]);
        let whole = fs::read(&path).unwrap();
        let used = usize::try_from(log.len()).unwrap();
        let (_, _, behind) = frame(&whole, 0).unwrap();
        let first = whole.len() - behind.len();
        for at in 0..used {
            for damage in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= damage;
                bytes.truncate(used);
                fs::write(&path, &bytes).unwrap();
                let (found, (newest, _)) = LogFile::read(folder.path(), NAMES[0], 0).unwrap();
                assert!(found.len() < log.len(), "a flipped bit at {at} was not noticed");
                assert_eq!(newest >= 2, at >= first, "{at}");
            }
            fs::write(&path, &whole[..at]).unwrap();
            let (found, _) = LogFile::read(folder.path(), NAMES[0], 0).unwrap();
            assert!(found.len() <= at as u64, "read beyond the cut at {at}");
        }
    }

    #[test]
    fn what_an_earlier_turn_left_behind_is_not_read() {
        let folder = TempDir::new().unwrap();
        let mut log = written(folder.path(), 7);
        log.begin(9).unwrap();
        // As long as the first batch of the turn before, so that a whole frame of that turn stands right behind it.
        log.append(&changes(&[("x", 5, Some("one")), ("y", 6, Some(""))])).unwrap();
        log.sync().unwrap();
        let (found, (newest, read)) = LogFile::read(folder.path(), NAMES[0], 0).unwrap();
        assert_eq!((found.generation(), newest, read.len()), (9, 6, 2));
    }
}
