//! The file of a backup: lines of JSON, with a sum and a seal at the end.
//!
//! ```text
//! {"format":"mcp-deputy backup","version":1,"taken_at":…,"issuer":…,"made_by":…,"holds":…,"lacks":…}
//! {"client":{…}}                                              one line for each app, in the order of their ids
//! {"end":{"clients":…,"sha256":…,"seal":…,"key":…}}           SHA-256 over all lines before; a MAC over that; under which key
//! ```
//!
//! It holds apps and nothing else: no token, not even a sealed one, no person, and not the key. What people approved is not
//! restored either, since nobody could tell what of it was revoked after the backup was made. The sum finds what was cut off
//! or damaged; the seal, under the master key, what somebody else has written.
//!
//! Pure: who reads and writes the bytes is the caller's. Version 1 is all there is.

use serde::{Deserialize, Serialize};

use super::{client::Client, secret::Digest, time::Timestamp};

/// The longest line, in bytes: a record and what stands around it.
pub const LONGEST_LINE: usize = 64 * 1024;
const FORMAT: &str = "mcp-deputy backup";
const VERSION: u32 = 1;
const HOLDS: &str = "the apps that registered or were configured, and which of them were revoked";
const LACKS: &str =
    "people, what they approved, grants, tokens of any kind, browser sessions, and the encryption key";

/// What the file says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    format: String,
    version: u32,
    /// Everything that was acknowledged before this moment is in it.
    pub taken_at: Timestamp,
    /// The gateway's issuer.
    pub issuer: String,
    /// The version of mcp-deputy.
    pub made_by: String,
    holds: String,
    lacks: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct End {
    clients: u64,
    sha256: Digest,
    #[serde(with = "super::secret::base64url")]
    seal: Vec<u8>,
    /// The id of the master key of the seal. Only a hint; earlier versions did not write it.
    #[serde(default)]
    key: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Client(Box<Client>),
    End(End),
}

/// Why a file is no backup, or not a whole one. What is meant for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damaged {
    /// The first line is another one.
    #[error("it is no backup of mcp-deputy")]
    NotOne,
    /// A later version has made it.
    #[error("it has a form that this version of mcp-deputy does not know; a later one does")]
    Later,
    /// A line is none of ours.
    #[error("it is damaged: a line cannot be read")]
    Line,
    /// The last line is missing, or there is something behind it.
    #[error("it is not whole: its end is missing")]
    CutOff,
    /// The sum is another one.
    #[error("it is damaged: its sum is wrong")]
    Sum,
    /// The apps are not in the order of their ids, each once.
    #[error("it is damaged: an app stands there twice, or in another's place")]
    Order,
}

/// What the seal of a backup is a MAC over, part by part.
pub fn sealed_parts(sum: &Digest) -> [&[u8]; 2] {
    [FORMAT.as_bytes(), sum.as_bytes()]
}

/// Writes a backup, line by line.
pub struct Writer {
    sum: Running,
    clients: u64,
}

impl Writer {
    /// Begins, with the first line.
    pub fn begin(taken_at: Timestamp, issuer: &str, made_by: &str) -> (Self, Vec<u8>) {
        let head = Head {
            format: FORMAT.to_owned(),
            version: VERSION,
            taken_at,
            issuer: issuer.to_owned(),
            made_by: made_by.to_owned(),
            holds: HOLDS.to_owned(),
            lacks: LACKS.to_owned(),
        };
        let mut writer = Self { sum: Running::new(), clients: 0 };
        let line = writer.line(&head);
        (writer, line)
    }

    /// The line of a client.
    pub fn client(&mut self, client: Client) -> Vec<u8> {
        self.clients = self.clients.saturating_add(1);
        self.line(&Line::Client(Box::new(client)))
    }

    /// How many there were.
    pub fn clients(&self) -> u64 {
        self.clients
    }

    /// The last line. `seal` makes the MAC over [`sealed_parts`].
    pub fn end(self, seal: impl FnOnce(&Digest) -> [u8; 32]) -> Vec<u8> {
        self.end_under(None, seal)
    }

    /// The same, with the id of the key that the MAC is made with.
    pub fn end_under(mut self, key: Option<String>, seal: impl FnOnce(&Digest) -> [u8; 32]) -> Vec<u8> {
        let sha256 = self.sum.so_far();
        let end = End { clients: self.clients, sha256, seal: seal(&sha256).to_vec(), key };
        self.line(&Line::End(end))
    }

    fn line(&mut self, what: &impl Serialize) -> Vec<u8> {
        // A record that the store took is JSON; what could not be written leaves a line that no reader takes.
        let mut line = serde_json::to_vec(what).unwrap_or_default();
        line.push(b'\n');
        self.sum.add(&line);
        line
    }
}

/// What a line of a backup is.
#[derive(Debug)]
pub enum Read {
    /// The first one.
    Head(Head),
    /// An app.
    Client(Box<Client>),
    /// The last one: all is whole. What the seal is over, and the seal.
    End(Digest, Vec<u8>),
}

/// Reads a backup, line by line.
pub struct Reader {
    sum: Running,
    clients: u64,
    begun: bool,
    ended: bool,
    key: Option<String>,
    /// The id of the client that was read last.
    last: Option<String>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { sum: Running::new(), clients: 0, begun: false, ended: false, key: None, last: None }
    }
}

impl Reader {
    /// Takes the next line, with its end.
    pub fn line(&mut self, line: &[u8]) -> Result<Read, Damaged> {
        if self.ended || !line.ends_with(b"\n") {
            return Err(Damaged::CutOff);
        }
        if !self.begun {
            let head = head(line)?;
            self.begun = true;
            self.sum.add(line);
            return Ok(Read::Head(head));
        }
        match serde_json::from_slice(line).map_err(|_| Damaged::Line)? {
            Line::Client(client) => {
                if self.last.as_ref().is_some_and(|last| *last >= client.id) {
                    return Err(Damaged::Order);
                }
                self.last = Some(client.id.clone());
                self.clients = self.clients.saturating_add(1);
                self.sum.add(line);
                Ok(Read::Client(client))
            }
            Line::End(end) => {
                let sum = self.sum.so_far();
                if end.sha256 != sum || end.clients != self.clients {
                    return Err(Damaged::Sum);
                }
                self.ended = true;
                // Nobody vouches for it.
                self.key =
                    end.key.filter(|key| key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit()));
                Ok(Read::End(sum, end.seal))
            }
        }
    }

    /// The id of the key that the file says it was sealed with, when its end was read.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// To be called when there are no more lines.
    pub fn end(&self) -> Result<(), Damaged> {
        match (self.begun, self.ended) {
            (_, true) => Ok(()),
            (true, false) => Err(Damaged::CutOff),
            (false, false) => Err(Damaged::NotOne),
        }
    }
}

fn head(line: &[u8]) -> Result<Head, Damaged> {
    #[derive(Deserialize)]
    struct Which {
        format: String,
        version: u32,
    }
    let which: Which = serde_json::from_slice(line).map_err(|_| Damaged::NotOne)?;
    match which {
        Which { format, .. } if format != FORMAT => Err(Damaged::NotOne),
        Which { version: VERSION, .. } => serde_json::from_slice(line).map_err(|_| Damaged::Line),
        Which { .. } => Err(Damaged::Later),
    }
}

/// A sum that is taken on the way.
struct Running(aws_lc_rs::digest::Context);

impl Running {
    fn new() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn so_far(&self) -> Digest {
        Digest::from_bytes(self.0.clone().finish().as_ref()).unwrap_or_else(|| Digest::of([]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::tests::client;

    fn written() -> Vec<Vec<u8>> {
        let at = Timestamp::from_millis(5_000);
        let (mut writer, head) = Writer::begin(at, "https://mcp.example.com", "1");
        let body = r#"{"redirect_uris":["https://a.example/"]}"#;
        let clients = ["a", "b"].map(|id| writer.client(client(id, body, Some("s"), at)));
        let [a, b] = clients;
        vec![head, a, b, writer.end(|_| [7; 32])]
    }

    fn read(lines: &[Vec<u8>]) -> Result<Vec<String>, Damaged> {
        let mut reader = Reader::default();
        let mut ids = Vec::new();
        for line in lines {
            match reader.line(line)? {
                Read::Head(head) => assert_eq!(head.taken_at, Timestamp::from_millis(5_000)),
                Read::Client(client) => ids.push(client.id),
                Read::End(_, seal) => assert_eq!(seal, [7; 32]),
            }
        }
        reader.end()?;
        Ok(ids)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&written()).unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let whole = written();
        assert_eq!(read(&[]), Err(Damaged::NotOne));
        for length in 1..whole.len() {
            assert_eq!(read(&whole[..length]), Err(Damaged::CutOff), "{length}");
        }
        let mut cut = whole.clone();
        cut[3].pop();
        assert_eq!(read(&cut), Err(Damaged::CutOff));
        let twice = [whole.clone(), vec![whole[1].clone()]].concat();
        assert_eq!(read(&twice), Err(Damaged::CutOff));
        let mut other = whole.clone();
        other[1] = String::from_utf8(other[1].clone()).unwrap().replace("a.example", "b.example").into();
        assert_eq!(read(&other), Err(Damaged::Sum));
        let mut fewer = whole.clone();
        fewer.remove(1);
        assert_eq!(read(&fewer), Err(Damaged::Sum));
        for (index, other) in [(1, 2), (2, 1)] {
            let mut twice = whole.clone();
            twice[index] = whole[other].clone();
            assert_eq!(read(&twice), Err(Damaged::Order));
        }
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        assert_eq!(read(&swapped), Err(Damaged::Order));
        let mut later = whole.clone();
        later[0] =
            String::from_utf8(later[0].clone()).unwrap().replace("\"version\":1", "\"version\":2").into();
        assert_eq!(read(&later), Err(Damaged::Later));
        let mut other = whole;
        other[0] = b"{\"format\":\"tar\",\"version\":1}\n".to_vec();
        assert_eq!(read(&other), Err(Damaged::NotOne));
        assert_eq!(read(&[b"PK\x03\x04\n".to_vec()]), Err(Damaged::NotOne));
    }
}
