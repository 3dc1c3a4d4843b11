//! A socket in the file system, for programs of the same user on the same computer.
//!
//! What protects it is its mode, 0600, which it has before anybody can connect: it is bound, restricted, and listens only
//! then. A file that a dead process has left in its place is replaced; one on which somebody still answers is not. It is
//! removed when it is dropped, unless somebody else has put theirs there meanwhile.
//!
//! It speaks HTTP/1.1, one request on each connection: whoever may connect is trusted, so the care that strangers need is not
//! taken here, nor is its code compiled once more.
//!
//! Must never be bound to a name below a folder that others may write to: whoever owns the folder can move the socket
//! away. Used by the composition root, which also decides who answers.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixSocket, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::body::Body;

/// The longest path of a socket, in bytes: what the smallest `sun_path` of the systems that we run on has room for, with its
/// final NUL.
pub const MAX_PATH: usize = 103;
/// Connections at the same time. Whoever may connect is the operator.
const CONNECTIONS: usize = 32;
/// How long a request may take to come.
const HEADER_READ: Duration = Duration::from_secs(20);
/// How long open connections may take when everything else has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// How long accepting rests when the system has no file descriptor or memory left.
const REST: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum LocalError {
    /// Somebody answers there.
    #[error("another process answers there")]
    Taken,
    /// There is something else in its place.
    #[error("there is a file in its place that is no socket")]
    NotASocket,
    /// Its path does not fit.
    #[error("its path has {0} bytes, and a socket's may have {MAX_PATH} at most")]
    TooLong(usize),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A bound socket that listens.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    place: Place,
}

/// Its file, by which it is known again.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    file: (u64, u64),
}

impl LocalSocket {
    /// Binds `path` and listens. To be called inside a runtime.
    pub fn bind(path: &Path) -> Result<Self, LocalError> {
        let length = path.as_os_str().len();
        if length > MAX_PATH {
            return Err(LocalError::TooLong(length));
        }
        clear(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => LocalError::Taken,
            _ => LocalError::System(error),
        })?;
        // Nobody can connect yet: connecting to a socket that does not listen is refused.
        let file = identity(path)?;
        let place = Place { path: path.to_owned(), file };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener: socket.listen(128)?, place })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Answers until `stop`, without looking at bodies of requests. The file goes at the end.
    pub async fn serve<F, A>(self, answer: F, stop: CancellationToken)
    where
        F: Fn(Request<()>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let Self { listener, place } = self;
        let (open, answer) = (TaskTracker::new(), Arc::new(answer));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let accepting = async {
            // The semaphore is never closed.
            while let Ok(seat) = Arc::clone(&places).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let answer = Arc::clone(&answer);
                        open.spawn(async move {
                            speak(stream, &*answer).await;
                            drop(seat);
                        });
                    }
                    Err(error) => {
                        tracing::error!(reason = "accept_failed", %error, "cannot accept connections on the admin socket");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        drop(listener);
        drop(place);
        open.close();
        if tokio::time::timeout(DRAIN, open.wait()).await.is_err() {
            tracing::debug!(reason = "local_connections_cut", count = open.len());
        }
    }
}

/// Answers one request.
async fn speak<A: Future<Output = Response<Body>>>(stream: UnixStream, answer: &impl Fn(Request<()>) -> A) {
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer(request.map(drop));
        async { Ok::<_, Infallible>(answered.await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_READ).keep_alive(false);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(reason = "local_connection_ended", %error);
    }
}

/// Takes away what a dead process has left.
fn clear(path: &Path) -> Result<(), LocalError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => return Err(LocalError::NotASocket),
        Ok(_) => {}
    }
    // Anything but a refusal means that somebody has it: also a queue that is full, and one that we may not enter.
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => return Err(LocalError::Taken),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for Place {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Where it cannot be removed, the next process finds it dead and does.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to a socket of somebody else's.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Who answers there, where that cannot be whoever the socket is meant to be of: in a folder that others may write to, anybody
/// can put theirs in its place while it is not there, and answer whatever they like.
pub fn stranger(stream: &UnixStream, path: &Path) -> io::Result<Option<u32>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::metadata(folder.unwrap_or(Path::new(".")))?.uid();
    let own = UnixStream::pair()?.0.peer_cred()?.uid();
    let peer = stream.peer_cred()?.uid();
    Ok((!is_meant(peer, own, folder)).then_some(peer))
}

/// Whether a process of this user may have the socket: whoever asks, root, or the owner of the folder, without whom nobody
/// can keep a file there.
fn is_meant(peer: u32, own: u32, folder: u32) -> bool {
    peer == own || peer == 0 || peer == folder
}

/// Whether others than its owner may put files beside this one.
pub fn is_open_to_others(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::metadata(folder.unwrap_or(Path::new(".")))
        .is_ok_and(|folder| folder.permissions().mode() & 0o022 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn it_is_for_its_owner_only_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = LocalSocket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(connect(&path).await.is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_ones_file_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        // The standard library's does not remove its file: what a killed process leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = LocalSocket::bind(&path).unwrap();
        assert!(matches!(LocalSocket::bind(&path), Err(LocalError::Taken)));
        assert!(connect(&path).await.is_ok(), "the first one's is still there");

        // Somebody moved it away and put theirs there: that one stays.
        fs::rename(&path, folder.path().join("t")).unwrap();
        let second = LocalSocket::bind(&path).unwrap();
        drop(first);
        assert!(connect(&path).await.is_ok());
        drop(second);
    }

    /// A socket that somebody else put where the gateway's is missing: what answers there is not believed.
    #[tokio::test]
    async fn attack_a_socket_in_the_place_of_the_gateways() {
        const GATEWAY: u32 = 990;
        const MALLORY: u32 = 1001;
        for (peer, own, folder, meant) in [
            (GATEWAY, GATEWAY, GATEWAY, true),
            (GATEWAY, 0, GATEWAY, true),
            (0, GATEWAY, 0, true),
            (GATEWAY, GATEWAY, 0, true),
            (MALLORY, GATEWAY, 0, false),
            (MALLORY, 0, 0, false),
            (MALLORY, 0, GATEWAY, false),
        ] {
            assert_eq!(is_meant(peer, own, folder), meant, "{peer} answers {own} in a folder of {folder}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _socket = LocalSocket::bind(&path).unwrap();
        let stream = connect(&path).await.unwrap();
        assert_eq!(stranger(&stream, &path).unwrap(), None);
        for (mode, open) in [(0o700, false), (0o755, false), (0o1777, true), (0o770, true)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(&path), open, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn what_is_no_socket_stays_and_a_path_that_is_too_long_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(LocalSocket::bind(&path), Err(LocalError::NotASocket)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let long = folder.path().join("x".repeat(MAX_PATH));
        let error = LocalSocket::bind(&long).unwrap_err();
        assert!(matches!(error, LocalError::TooLong(length) if length == long.as_os_str().len()));
        assert!(error.to_string().contains("103 at most"), "{error}");
    }
}
