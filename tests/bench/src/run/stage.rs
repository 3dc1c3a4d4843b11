//! Everything around the candidates: folders, ports, the backend, people with tokens.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use super::{
    Options, candidate,
    placement::{Placement, Side},
};
use crate::{Failure, tell};

/// On how many addresses the backend listens.
const ADDRESSES: usize = 32;

pub(super) struct Stage {
    pub(super) folder: PathBuf,
    pub(super) placement: Placement,
    /// Ports of the backend for HTTP/1.1 and for HTTP/2.
    backend: (u16, u16),
    configs: PathBuf,
    open_files: u64,
    process: Child,
}

impl Stage {
    /// Starts the backend.
    pub(super) fn set(options: &Options) -> Result<Self, Failure> {
        fs::create_dir_all(&options.folder)?;
        let folder = fs::canonicalize(&options.folder)?;
        let placement = Placement::new(!options.no_pin)?;
        let open_files = crate::clock::raise_open_files()?;
        let backend = (free_port()?, free_port()?);
        let listens =
            |port| (0..ADDRESSES).map(|number| address(number, port).to_string()).collect::<Vec<_>>();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["backend", "--listen", &listens(backend.0).join(",")])
            .args(["--listen-http2", &listens(backend.1).join(",")])
            .args(["--workers", &placement.workers.to_string()]);
        let log = folder.join("backend.log");
        let process = placement.on(Side::Other, || candidate::spawn(command, &log))??;
        let configs = options.configs.clone();
        certify(&folder.join("certificates"))?;
        Ok(Self { folder, placement, backend, configs, open_files, process })
    }

    /// Where candidate `number` reaches the backend. Each has an address of its own: thousands of connections that
    /// another one has just closed would leave no ports to connect from.
    pub(super) fn backend_of(&self, number: usize, http2: bool) -> SocketAddr {
        address(number, if http2 { self.backend.1 } else { self.backend.0 })
    }

    /// Puts these configurations one behind the other and fills them in, first with `own` places and their values; where the
    /// result stands.
    pub(super) fn config(
        &self,
        names: &[&str],
        folder: &Path,
        port: u16,
        own: &[(&str, &str)],
    ) -> Result<PathBuf, Failure> {
        let mut text = String::new();
        for name in names {
            text += &fs::read_to_string(self.configs.join(name))?;
        }
        for (place, value) in own {
            text = text.replace(place, value);
        }
        let text = text
            .replace("{port}", &port.to_string())
            .replace("{admin_port}", &free_port()?.to_string())
            .replace("{workers}", &self.placement.workers.to_string())
            .replace("{open_files}", &self.open_files.to_string())
            .replace("{certificates}", &self.certificates().to_string_lossy())
            .replace("{folder}", &folder.to_string_lossy());
        let filled = folder.join(names.first().ok_or("no configuration")?);
        fs::write(&filled, text)?;
        Ok(filled)
    }

    /// The backend's process.
    pub(super) fn backend_process(&self) -> String {
        self.process.id().to_string()
    }

    /// Where the certificate is that stands for the gateway's name.
    pub(super) fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// How many idle streams can stand: each takes two files of a candidate, where the backend is reached over HTTP/1.1.
    pub(super) fn streams(&self, wanted: usize, two_files: bool) -> usize {
        if two_files && wanted >= 10_000 && self.open_files < 20_500 { 9_000 } else { wanted }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        candidate::stop(&mut self.process);
    }
}

/// A certificate (ECDSA P-256) that is believed because it is known, its key, and both in one file.
fn certify(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let made = rcgen::generate_simple_self_signed([tell::HOST.to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.join("both.pem"), format!("{certificate}{key}"))?;
    fs::write(folder.join("certificate.pem"), certificate)?;
    Ok(fs::write(folder.join("key.pem"), key)?)
}

/// The address of candidate `number`.
fn address(number: usize, port: u16) -> SocketAddr {
    let number = u8::try_from(number % ADDRESSES).unwrap_or_default();
    SocketAddr::from(([127, 0, 0, 1 + number], port))
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
