//! Everything around the candidates: folders, ports, the backend, people with tokens, and a single measurement.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    Options,
    candidate::{self, Running},
    placement::{Placement, Side},
    scenario::Scenario,
    tokens::Tokens,
};
use crate::{Failure, load::Measured};

/// How long the machine is left alone after a candidate was started anew.
const SETTLE: Duration = Duration::from_millis(200);

pub(super) struct Stage {
    pub(super) folder: PathBuf,
    pub(super) placement: Placement,
    pub(super) backend: SocketAddr,
    pub(super) tokens: Tokens,
    configs: PathBuf,
    store: PathBuf,
    process: Child,
}

impl Stage {
    /// Starts the backend and sees to it that there are people.
    pub(super) fn set(options: &Options) -> Result<Self, Failure> {
        fs::create_dir_all(&options.folder)?;
        let folder = fs::canonicalize(&options.folder)?;
        let placement = Placement::new(!options.no_pin)?;
        let backend = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["backend", "--listen", &backend.to_string()])
            .args(["--workers", &placement.workers.to_string()]);
        let log = folder.join("backend.log");
        let process = placement.on(Side::Other, || candidate::spawn(command, &log))??;
        let mut stage = Self {
            store: folder.join(format!("people-{}", options.people)),
            tokens: Tokens::default(),
            configs: options.configs.clone(),
            folder,
            placement,
            backend,
            process,
        };
        stage.tokens = Tokens::of(&stage.people(options)?, &stage.folder)?;
        Ok(stage)
    }

    /// The access tokens of people, in a store that is seeded where there is none with good ones.
    fn people(&self, options: &Options) -> Result<Vec<String>, Failure> {
        let out = self.store.join("tokens");
        let age = fs::metadata(&out).and_then(|file| file.modified()).map(|seeded| seeded.elapsed());
        // They live for 24 hours.
        let are_good = matches!(age, Ok(Ok(age)) if age < Duration::from_hours(20));
        if options.reseed || !are_good {
            let _ = fs::remove_dir_all(&self.store);
            fs::create_dir_all(&self.store)?;
            self.seed(options, &out).inspect_err(|_| drop(fs::remove_file(&out)))?;
        }
        Ok(fs::read_to_string(&out)?.lines().map(str::to_owned).collect())
    }

    fn seed(&self, options: &Options, out: &Path) -> Result<(), Failure> {
        eprintln!("seeding {} people", options.people);
        let port = free_port()?;
        let config = self.config("proxy.toml", &self.store, port)?;
        let more = fs::read_to_string(self.configs.join("proxy-seeding.toml"))?;
        // Keys of the top level come first.
        let text = format!("trusted_proxies = [\"127.0.0.0/8\"]\n{}{more}", fs::read_to_string(&config)?);
        fs::write(&config, text)?;
        let log = self.store.join("log");
        let mut command = Command::new(&options.binary);
        command.args(["serve", "--config"]).arg(config);
        let mut gateway = candidate::spawn(command, &log)?;
        let seeded = seeded(SocketAddr::from(([127, 0, 0, 1], port)), options.people, out);
        candidate::stop(&mut gateway);
        seeded.map_err(|failure| format!("seeding failed, see {}: {failure}", log.display()).into())
    }

    /// A copy of the seeded store, in place of what is there.
    pub(super) fn copy_store(&self, folder: &Path) -> Result<(), Failure> {
        let _ = fs::remove_dir_all(folder.join("data"));
        copy(&self.store.join("data"), &folder.join("data"))?;
        copy(&self.store.join("data.key"), &folder.join("data.key"))
    }

    /// Fills in a configuration; where it stands then.
    pub(super) fn config(&self, name: &str, folder: &Path, port: u16) -> Result<PathBuf, Failure> {
        let text = fs::read_to_string(self.configs.join(name))?
            .replace("{port}", &port.to_string())
            .replace("{admin_port}", &free_port()?.to_string())
            .replace("{backend_port}", &self.backend.port().to_string())
            .replace("{workers}", &self.placement.workers.to_string())
            .replace("{folder}", &folder.to_string_lossy());
        let filled = folder.join(name);
        fs::write(&filled, text)?;
        Ok(filled)
    }

    pub(super) fn spawn(&self, side: Side, command: Command, log: &Path) -> Result<Child, Failure> {
        self.placement.on(side, || candidate::spawn(command, log))?
    }

    pub(super) fn start(&mut self, peer: candidate::Peer) -> Result<Running, Failure> {
        Running::start(peer, self)
    }

    /// The same candidate, new.
    pub(super) fn restart(&mut self, candidate: &mut Running) -> Result<(), Failure> {
        let peer = candidate.peer.clone();
        candidate.stop();
        *candidate = Running::start(peer, self)?;
        thread::sleep(SETTLE);
        Ok(())
    }

    /// Measures once; where something is wrong, once more.
    pub(super) fn measure(
        &mut self,
        scenario: &Scenario,
        candidate: &mut Running,
        seconds: f64,
    ) -> Result<Measured, Failure> {
        let first = self.try_measure(scenario, candidate, seconds)?;
        let Some(wrong) = &first.wrong else { return Ok(first) };
        eprint!(" ({} is void: {wrong}; again)", candidate.peer.name);
        if scenario.once {
            self.restart(candidate)?;
        }
        let second = self.try_measure(scenario, candidate, seconds)?;
        let Some(wrong) = &second.wrong else { return Ok(second) };
        let (name, words) = (&candidate.peer.name, candidate.last_words());
        Err(format!("{} of {name} is void twice: {wrong}\n{words}", scenario.name).into())
    }

    fn try_measure(
        &self,
        scenario: &Scenario,
        candidate: &Running,
        seconds: f64,
    ) -> Result<Measured, Failure> {
        candidate.forget_log();
        let watched = if candidate.is_backend() { self.backend_processes() } else { candidate.processes() };
        let watched: Vec<_> = watched.iter().map(ToString::to_string).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["load", "--target", &candidate.address.to_string()])
            .args(["--kind", scenario.kind.name()])
            .arg("--credentials")
            .arg(self.tokens.file(candidate.peer.credentials()))
            .args(["--connections", &scenario.connections.to_string()])
            .args(["--threads", &self.placement.workers.to_string()])
            .args(["--seconds", &seconds.to_string()])
            .args(["--watch", &watched.join(",")])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if scenario.once {
            command.arg("--once");
        }
        let output = self.placement.on(Side::Other, || command.output())??;
        if !output.status.success() {
            return Ok(Measured {
                wrong: Some("the load generator gave up".to_owned()),
                ..Measured::default()
            });
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn backend_processes(&self) -> Vec<i32> {
        i32::try_from(self.process.id()).map(crate::clock::family).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        candidate::stop(&mut self.process);
    }
}

/// Waits for the gateway and seeds it.
fn seeded(gateway: SocketAddr, people: usize, out: &Path) -> Result<(), Failure> {
    let mut tries = 0;
    while std::net::TcpStream::connect(gateway).is_err() {
        tries += 1;
        if tries > 1000 {
            return Err("the gateway does not start".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["seed", "--gateway", &gateway.to_string(), "--people", &people.to_string(), "--out"])
        .arg(out);
    let output = command.output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into())
    }
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
