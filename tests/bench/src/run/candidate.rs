//! Who is compared, and how each is started.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    placement::Side,
    stage::{Stage, free_port},
    tokens::Credentials,
};
use crate::{Failure, clock};

/// One that is compared.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    kind: Kind,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    /// The backend itself.
    Direct,
    HaproxyPlain,
    HaproxyJwt,
    Bare,
    /// Ours, this build of it.
    Deputy(PathBuf),
}

/// The one that everything is compared with.
pub(super) const HAPROXY: &str = "haproxy";
/// The backend, reached directly.
pub(super) const DIRECT: &str = "direct";
/// The pair of hyper connections.
pub(super) const BARE: &str = "bare";
/// Ours.
pub(super) const DEPUTY: &str = "mcp-deputy";

impl Peer {
    /// All, in the order in which they are told.
    pub(super) fn all(binary: &Path) -> Vec<Self> {
        [
            (DIRECT, Kind::Direct),
            (HAPROXY, Kind::HaproxyPlain),
            ("haproxy-jwt", Kind::HaproxyJwt),
            (BARE, Kind::Bare),
            (DEPUTY, Kind::Deputy(binary.to_owned())),
        ]
        .map(|(name, kind)| Self { name: name.to_owned(), kind })
        .into()
    }

    /// Another build of ours.
    pub(super) fn deputy(name: &str, binary: PathBuf) -> Self {
        Self { name: name.to_owned(), kind: Kind::Deputy(binary) }
    }

    /// What is sent to it as bearer tokens, so that the backend gets the third party's.
    pub(super) fn credentials(&self) -> Credentials {
        match self.kind {
            Kind::Direct | Kind::HaproxyPlain => Credentials::ThirdParty,
            Kind::HaproxyJwt => Credentials::Signed,
            Kind::Bare | Kind::Deputy(_) => Credentials::Ours,
        }
    }
}

/// One that runs. Killed when dropped.
pub(super) struct Running {
    pub(super) peer: Peer,
    pub(super) address: SocketAddr,
    /// `None`: it is the backend, which is not of this candidate's own.
    child: Option<Child>,
    log: PathBuf,
}

impl Running {
    /// Starts it and waits until it accepts connections.
    pub(super) fn start(peer: Peer, stage: &Stage) -> Result<Self, Failure> {
        let port = free_port()?;
        let folder = stage.folder.join("candidates").join(&peer.name);
        fs::create_dir_all(&folder)?;
        let log = folder.join("log");
        let config = |name: &str| stage.config(name, &folder, port);
        let command = match &peer.kind {
            Kind::Direct => {
                return Ok(Self { peer, address: stage.backend, child: None, log });
            }
            Kind::HaproxyPlain => haproxy(&config("haproxy.cfg")?),
            Kind::HaproxyJwt => {
                stage.tokens.write_public_key(&folder.join("public.pem"))?;
                haproxy(&config("haproxy-jwt.cfg")?)
            }
            Kind::Bare => bare(stage, port)?,
            Kind::Deputy(binary) => {
                stage.copy_store(&folder)?;
                let mut command = Command::new(binary);
                command.args(["serve", "--config"]).arg(config("proxy.toml")?);
                command
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = stage.spawn(Side::Candidate, command, &log)?;
        let mut running = Self { peer, address, child: Some(child), log };
        running.wait()?;
        Ok(running)
    }

    /// Its processes; none where it is the backend.
    pub(super) fn processes(&self) -> Vec<i32> {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        pid.map(clock::family).unwrap_or_default()
    }

    /// Whether it is the backend, reached directly.
    pub(super) fn is_backend(&self) -> bool {
        self.child.is_none()
    }

    /// Stops it, if it is not the backend.
    pub(super) fn stop(&mut self) {
        if let Some(child) = &mut self.child {
            stop(child);
        }
    }

    /// Empties its log, which would fill the disk.
    pub(super) fn forget_log(&self) {
        // It is opened for appending: what comes next stands at the beginning.
        let _ = fs::OpenOptions::new().write(true).open(&self.log).and_then(|log| log.set_len(0));
    }

    /// What it said last.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || begin.elapsed() > Duration::from_secs(20) {
                return Err(format!("{} does not start:\n{}", self.peer.name, self.last_words()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks it to end, and kills it where it does not.
pub(super) fn stop(child: &mut Child) {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let begin = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begin.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn haproxy(config: &Path) -> Command {
    let mut command = Command::new("haproxy");
    // In the foreground, one process.
    command.arg("-db").arg("-f").arg(config);
    command
}

fn bare(stage: &Stage, port: u16) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bare", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--backend", &stage.backend.to_string()])
        .args(["--workers", &stage.placement.workers.to_string()])
        .arg("--credentials")
        .arg(stage.tokens.file(Credentials::Ours));
    Ok(command)
}

/// Starts `command` with everything that it says in `log`.
pub(super) fn spawn(mut command: Command, log: &Path) -> Result<Child, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    log.set_len(0)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().map_err(|error| format!("{name} cannot be started: {error}").into())
}
