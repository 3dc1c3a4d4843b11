//! Who is compared, and how each is started.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    people::People,
    placement::Side,
    stage::{Stage, free_port},
    tokens::Credentials,
};
use crate::{Failure, clock};

/// One that is compared.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    /// Its place in the list.
    number: usize,
    kind: Kind,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    /// A backend, in the place of a candidate.
    Direct,
    Haproxy,
    HaproxyJwt,
    Nginx,
    NginxAuth,
    Bare,
    /// Ours, this build of it.
    Deputy(PathBuf),
    /// The same with HTTP/2 towards the backend.
    DeputyHttp2(PathBuf),
}

/// For what it is started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Setting {
    /// As configured.
    Usual,
    /// With room for so many idle streams.
    Streams(usize),
    /// Behind TLS.
    Tls,
}

impl Setting {
    /// Connections and streams that ours must admit: for streams a few connections more, and room that may not all stay open.
    fn places(self) -> (usize, usize) {
        let streams = if let Self::Streams(streams) = self { streams.max(2000) } else { 0 };
        (streams + 200, streams * 8 / 7 + 200)
    }

    /// For the names of folders.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Streams(_) => "streams",
            Self::Tls => "tls",
        }
    }
}

/// The one that everything is compared with.
pub(super) const HAPROXY: &str = "haproxy";
/// The same, with tokens that it checks.
pub(super) const HAPROXY_JWT: &str = "haproxy-jwt";
/// A backend in the place of a candidate, reached directly.
pub(super) const DIRECT: &str = "direct";
/// The pair of hyper connections.
pub(super) const BARE: &str = "bare";
/// Ours.
pub(super) const DEPUTY: &str = "mcp-deputy";
/// Ours with HTTP/2 towards the backend.
pub(super) const DEPUTY_HTTP2: &str = "mcp-deputy-http2";

impl Peer {
    /// All, in the order in which they are told.
    pub(super) fn all(binary: &Path) -> Vec<Self> {
        [
            (DIRECT, Kind::Direct),
            (HAPROXY, Kind::Haproxy),
            (HAPROXY_JWT, Kind::HaproxyJwt),
            ("nginx", Kind::Nginx),
            ("nginx-auth", Kind::NginxAuth),
            (BARE, Kind::Bare),
            (DEPUTY, Kind::Deputy(binary.to_owned())),
            (DEPUTY_HTTP2, Kind::DeputyHttp2(binary.to_owned())),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, (name, kind))| Self { name: name.to_owned(), number, kind })
        .collect()
    }

    /// Another build of ours.
    pub(super) fn deputy(name: &str, number: usize, binary: PathBuf) -> Self {
        Self { name: name.to_owned(), number, kind: Kind::Deputy(binary) }
    }

    /// Whether it is a backend, reached directly.
    pub(super) fn is_direct(&self) -> bool {
        self.kind == Kind::Direct
    }

    /// Whether it speaks HTTP/2 to the backend.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::DeputyHttp2(_))
    }

    /// Whether it decides who may pass by asking or verifying; such variants of others are not measured with streams.
    pub(super) fn is_variant(&self) -> bool {
        matches!(self.kind, Kind::HaproxyJwt | Kind::NginxAuth)
    }

    /// Whether it can be put behind TLS here.
    pub(super) fn has_tls(&self) -> bool {
        matches!(self.kind, Kind::Haproxy | Kind::Nginx | Kind::Deputy(_))
    }

    /// What is sent to it as bearer tokens, so that the backend gets the third party's.
    pub(super) fn credentials(&self) -> Credentials {
        match self.kind {
            Kind::Direct | Kind::Haproxy | Kind::Nginx => Credentials::ThirdParty,
            Kind::HaproxyJwt => Credentials::Signed,
            Kind::NginxAuth | Kind::Bare | Kind::Deputy(_) | Kind::DeputyHttp2(_) => Credentials::Ours,
        }
    }

    /// The build of ours that it is.
    pub(super) fn binary(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Deputy(binary) | Kind::DeputyHttp2(binary) => Some(binary),
            _ => None,
        }
    }

    /// The program, where it is one of its own.
    pub(super) fn program(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Direct | Kind::Bare => None,
            Kind::Haproxy | Kind::HaproxyJwt => found("haproxy"),
            Kind::Nginx | Kind::NginxAuth => found("nginx"),
            Kind::Deputy(binary) | Kind::DeputyHttp2(binary) => Some(binary.clone()),
        }
    }
}

/// One that runs. Stopped when dropped.
pub(super) struct Running {
    pub(super) peer: Peer,
    pub(super) setting: Setting,
    pub(super) address: SocketAddr,
    children: Vec<Child>,
    /// What is still to be started.
    commands: Vec<Command>,
    log: PathBuf,
}

impl Running {
    /// Starts it and waits until it accepts connections. `place` is the name of its folder.
    pub(super) fn start(
        peer: Peer,
        setting: Setting,
        place: &str,
        stage: &Stage,
        people: &People,
    ) -> Result<Self, Failure> {
        let mut running = Self::prepare(peer, setting, place, stage, people)?;
        running.exec(stage)?;
        let begin = Instant::now();
        while TcpStream::connect(running.address).is_err() {
            running.still_runs()?;
            if begin.elapsed() > Duration::from_secs(20) {
                return Err(format!("{} does not start:\n{}", running.peer.name, running.last_words()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    /// Does what comes before the start.
    pub(super) fn prepare(
        peer: Peer,
        setting: Setting,
        place: &str,
        stage: &Stage,
        people: &People,
    ) -> Result<Self, Failure> {
        let folder = stage.folder.join("candidates").join(place);
        fs::create_dir_all(&folder)?;
        let log = folder.join("log");
        let port = free_port()?;
        let ours = people.tokens.file(Credentials::Ours);
        let backend = stage.backend_of(peer.number, peer.is_http2()).to_string();
        let config = |names: &[&str], auth: &str| {
            let (connections, streams) = setting.places();
            let own = [
                ("{backend}", backend.as_str()),
                ("{auth_port}", auth),
                ("{connections}", &connections.to_string()),
                ("{streams}", &streams.to_string()),
            ];
            stage.config(names, &folder, port, &own)
        };
        let mut commands = Vec::new();
        match &peer.kind {
            Kind::Direct => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["backend", "--listen", &format!("127.0.0.1:{port}")])
                    .args(["--workers", &stage.placement.workers.to_string()]);
                commands.push(command);
            }
            Kind::Haproxy if setting == Setting::Tls => {
                commands.push(haproxy(&config(&["haproxy-tls.cfg"], "")?));
            }
            Kind::Nginx if setting == Setting::Tls => {
                commands.push(nginx(&config(&["nginx-tls.conf"], "")?, &folder));
            }
            Kind::Haproxy => commands.push(haproxy(&config(&["haproxy.cfg"], "")?)),
            Kind::HaproxyJwt => {
                people.tokens.write_public_key(&folder.join("public.pem"))?;
                commands.push(haproxy(&config(&["haproxy-jwt.cfg"], "")?));
            }
            Kind::Nginx => commands.push(nginx(&config(&["nginx.conf"], "")?, &folder)),
            Kind::NginxAuth => {
                let auth = free_port()?;
                commands.push(our_own("auth", stage, auth, &ours)?);
                commands.push(nginx(&config(&["nginx-auth.conf"], &auth.to_string())?, &folder));
            }
            Kind::Bare => {
                let mut command = our_own("bare", stage, port, &ours)?;
                command.args(["--backend", &backend]);
                commands.push(command);
            }
            Kind::Deputy(binary) | Kind::DeputyHttp2(binary) => {
                people.copy_store(&folder)?;
                let mut names = vec!["proxy.toml"];
                if peer.is_http2() {
                    names.push("proxy-http2.toml");
                }
                match setting {
                    Setting::Usual => {}
                    Setting::Streams(_) => names.push("proxy-streams.toml"),
                    Setting::Tls => names.push("proxy-tls.toml"),
                }
                let mut command = Command::new(binary);
                command.args(["serve", "--config"]).arg(config(&names, "")?);
                commands.push(command);
            }
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self { peer, setting, address, children: Vec::new(), commands, log })
    }

    /// Starts what was prepared, and does not wait.
    pub(super) fn exec(&mut self, stage: &Stage) -> Result<(), Failure> {
        for command in self.commands.drain(..) {
            let child = stage.placement.on(Side::Candidate, || spawn(command, &self.log))??;
            self.children.push(child);
        }
        Ok(())
    }

    /// Its processes.
    pub(super) fn processes(&self) -> Vec<i32> {
        let pids = self.children.iter().filter_map(|child| i32::try_from(child.id()).ok());
        pids.flat_map(clock::family).collect()
    }

    /// Fails where a process of it has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), Failure> {
        for child in &mut self.children {
            if child.try_wait()?.is_some() {
                return Err(format!("{} has ended:\n{}", self.peer.name, self.last_words()).into());
            }
        }
        Ok(())
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
}

impl Drop for Running {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(stop);
    }
}

/// Asks it to end, and kills it where it does not.
pub(super) fn stop(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id())
        && matches!(child.try_wait(), Ok(None))
    {
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

fn nginx(config: &Path, folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-c").arg(config).arg("-p").arg(folder).args(["-e", "stderr"]);
    command
}

/// A part that this program plays itself.
fn our_own(role: &str, stage: &Stage, port: u16, credentials: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([role, "--listen", &format!("127.0.0.1:{port}")])
        .args(["--workers", &stage.placement.workers.to_string()])
        .arg("--credentials")
        .arg(credentials);
    Ok(command)
}

/// Where a program is that is started by its name.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Starts `command` with everything that it says in `log`.
pub(super) fn spawn(mut command: Command, log: &Path) -> Result<Child, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    // What is no file cannot be emptied.
    let _ = log.set_len(0);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().map_err(|error| format!("{name} cannot be started: {error}").into())
}
