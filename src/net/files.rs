//! Open files: how many this process may have, and for how many connections and streams that is enough.
//!
//! To the system every connection is an open file, ours to an MCP server as much as a client's to us. Most systems start
//! programs with a low limit (1024) that they may raise themselves up to a higher one: the low one protects programs that
//! wait with `select`, which nobody here does. Beyond the limit nothing can be accepted and no MCP server be reached; so the
//! caps of connections and streams are kept where the files suffice for both.
//!
//! [`raise`] changes the whole process: called by the command line, once, before anything is bound.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no connection of a client and none to an MCP server: listeners, the operator's connections, the store, the
/// log; calls to third parties, and those to hosts of documents with their look-ups of names (160 of both at most).
const RESERVE: usize = 256;
/// Files that a worker has to wait on its sockets.
const PER_WORKER: usize = 4;
/// How much of a low limit is reserved at most: this part.
const PART: usize = 4;

/// How a limit was raised: before and after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Raised {
    /// Files that the process could have open when it was started.
    pub before: usize,
    /// Those that it may have open now.
    pub now: usize,
}

/// Raises the limit of open files as far as the system lets us. Fails where it does not let us; the limit stays then.
pub fn raise() -> io::Result<Raised> {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum })?;
    }
    Ok(Raised { before: number(before.current), now: limit() })
}

/// Files that this process may have open at the same time.
pub fn limit() -> usize {
    number(getrlimit(Resource::Nofile).current)
}

/// `None` is no limit.
fn number(limit: Option<u64>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Connections of clients, and answers to them that are open as streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Places {
    /// Connections.
    pub connections: usize,
    /// Streams.
    pub streams: usize,
}

impl Places {
    /// As many of these as `limit` open files suffice for: a file for each connection, and one for each `per_file` streams,
    /// which is 1 where an MCP server has a connection for each. Where there are too few, each kind gets half of them, and
    /// what the other does not need. At least one of each.
    #[must_use]
    pub fn within(self, limit: usize, workers: usize, per_file: usize) -> Self {
        let per_file = per_file.max(1);
        let reserve = workers.saturating_mul(PER_WORKER).saturating_add(RESERVE).min(limit / PART);
        let room = limit - reserve;
        let share = |other: usize| (room / 2).max(room.saturating_sub(other));
        let (connections, streams) = (self.connections, self.streams.div_ceil(per_file));
        Self {
            connections: connections.min(share(streams)).max(1),
            streams: self.streams.min(share(connections).saturating_mul(per_file)).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(connections: usize, streams: usize, limit: usize) -> (usize, usize) {
        let places = Places { connections, streams }.within(limit, 2, 1);
        (places.connections, places.streams)
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(within(10_000, 5_000, 20_000), (10_000, 5_000));
        assert_eq!(within(15_000, 4_000, 20_000), (15_000, 4_000));
        assert_eq!(within(1_000_000, 1_000_000, usize::MAX), (1_000_000, 1_000_000));
    }

    #[test]
    fn too_few_files_are_shared() {
        // 264 are reserved; of a low limit, a quarter.
        assert_eq!(within(16_384, 12_288, 20_528), (10_132, 10_132));
        assert_eq!(within(16_384, 12_288, 1_024), (384, 384));
        assert_eq!(within(16_384, 12_288, 256), (96, 96));
        // What one kind does not need is the other's.
        assert_eq!(within(16_384, 100, 1_024), (668, 100));
        assert_eq!(within(100, 12_288, 1_024), (100, 668));
        for limit in 0..2_000 {
            let (connections, streams) = within(16_384, 12_288, limit);
            assert!(connections >= 1 && streams >= 1);
            assert!(limit < 4 || connections + streams <= limit, "{limit}");
        }
    }

    #[test]
    fn streams_over_few_connections_need_few_files() {
        let places = Places { connections: 16_384, streams: 12_288 };
        let shared = places.within(20_000, 2, 64);
        assert_eq!(shared, places);
        let places = places.within(1_024, 2, 64);
        // 192 files for the streams.
        assert_eq!((places.connections, places.streams), (576, 12_288));
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let raised = raise().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert!(raised.now >= raised.before);
        assert_eq!(raise().unwrap(), Raised { before: raised.now, now: raised.now });
        assert_eq!(limit(), raised.now);
    }
}
