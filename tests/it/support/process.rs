//! The real binary, with a configuration and a store in a folder of its own, and the world around it in this process.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use http::Request;
use mcp_deputy::sandbox::{
    fetch::Fetch,
    http::{Bound, LoopbackHost},
    mcp_server::{McpServer, Refusal},
    third_party::{ADA, Behaviour, ThirdParty},
};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Client, PATIENCE, Reply, Visitor,
    client::Registration,
    gateway::{PROVIDER, provider_entry, third_party},
    metrics::Metrics,
    port::Port,
    secrets,
};

const BINARY: &str = env!("CARGO_BIN_EXE_mcp-deputy");

/// Everything that outlives a process: the files, the third party, the MCP server.
pub(crate) struct World {
    pub(crate) origin: String,
    pub(crate) third_party: ThirdParty,
    pub(crate) fetch: Fetch,
    /// Where the MCP server is.
    pub(crate) upstream: String,
    admin: String,
    folder: TempDir,
    started: usize,
    _ports: [Port; 2],
    _stop: DropGuard,
}

impl World {
    pub(crate) async fn new() -> Self {
        secrets::begin();
        let stop = CancellationToken::new();
        let third_party = third_party(Behaviour::default(), &stop).await;
        let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
        let mcp_server = McpServer::start(bound, third_party.origin(), Refusal::default(), &stop);
        let ports = [Port::keep(), Port::keep()];
        let [public, admin] = [ports[0].number, ports[1].number];
        let origin = format!("http://127.0.0.1:{public}");
        let folder = TempDir::new().unwrap();
        let text = format!(
            "public_url = \"{origin}\"\nlisten = \"127.0.0.1:{public}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n\
             [store]\nurl = \"disk:{}\"\n{}[[mcp_server]]\npath = \"/mcp\"\nname = \"Tools\"\nupstream_url = \"{}\"\n\
             [limits]\nregistrations_per_minute = 100000\n",
            folder.path().join("data").display(),
            provider_entry(PROVIDER, &origin, &third_party, ""),
            mcp_server.url(),
        );
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let admin = format!("http://127.0.0.1:{admin}");
        let upstream = mcp_server.url().to_owned();
        let (fetch, stop) = (Fetch::new(), stop.drop_guard());
        Self { origin, third_party, fetch, upstream, admin, folder, started: 0, _ports: ports, _stop: stop }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    /// Writes the configuration anew.
    pub(crate) fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), change(text)).unwrap();
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> Metrics {
        let request = Request::get(format!("{}/metrics", self.admin)).body("".into()).unwrap();
        let reply: Reply = self.fetch.send(request).await.unwrap().into();
        Metrics::read(&reply.text())
    }

    /// Starts the gateway and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Process {
        self.begin(Command::new(BINARY)).await
    }

    /// The same after these commands of a shell, such as `ulimit`.
    pub(crate) async fn start_after(&mut self, commands: &str) -> Process {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{commands}; exec \"$0\" \"$@\""), BINARY]);
        self.begin(shell).await
    }

    async fn begin(&mut self, mut command: Command) -> Process {
        self.started += 1;
        let port = self.origin.rsplit(':').next().unwrap();
        let log = secrets::log_path(&format!("{port}-{}", self.started));
        let child = command
            .args(["serve", "--config"])
            .arg(self.config())
            .current_dir(self.folder.path())
            .env("MCP_DEPUTY_LOG", "trace")
            // Where the file does not say it.
            .env("MCP_DEPUTY_ADMIN_LISTEN", self.admin.trim_start_matches("http://"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut process = Process { child, admin: self.admin.clone(), log };
        // Connections to the one before are dead.
        self.fetch = Fetch::new();
        let ready = async {
            while self.probe("/readyz").await != Some(200) {
                if let Some(status) = process.child.try_wait().unwrap() {
                    panic!("ends before it is ready, {status}:\n{}", process.last_words());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        assert!(ready.is_ok(), "never becomes ready:\n{}", process.last_words());
        if let Ok(key) = std::fs::read_to_string(self.folder.path().join("data.key")) {
            for line in key.lines().filter(|line| !line.starts_with('#')) {
                secrets::note(line.split(' ').next().unwrap_or_default());
            }
        }
        process
    }

    /// What a command of the operator's says to this configuration: its status, and both outputs.
    pub(crate) async fn command(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(self.config()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output());
        let output =
            tokio::time::timeout(PATIENCE, output).await.expect("the command ends").unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The same, which must succeed with JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let (status, said, error) = self.command(&[arguments, &["--json"]].concat()).await;
        assert_eq!(status, Some(0), "{arguments:?}: {error}");
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
    }

    /// Lets the configuration name a store that is not there yet, under the same key.
    pub(crate) fn other_store(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let path =
            text.split("url = \"disk:").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        let other = PathBuf::from(format!("{path}-again"));
        std::fs::write(self.config(), text.replace(&path, other.to_str().unwrap())).unwrap();
        std::fs::copy(format!("{path}.key"), other.with_extension("key")).unwrap();
        other
    }

    /// Where the admin listener is.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// An answer of the admin API, with the token of the configuration.
    pub(crate) async fn admin_api(&self, method: &str, path: &str) -> Reply {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let token = text.split("admin_token = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let request = Request::builder().method(method).uri(format!("{}{path}", self.admin));
        let request = request.header("authorization", format!("Bearer {token}"));
        self.fetch.send(request.body("".into()).unwrap()).await.unwrap().into()
    }

    /// The folder of everything.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Writes more keys above the first table of the configuration.
    pub(crate) fn configure(&self, top: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), format!("{top}\n{text}")).unwrap();
    }

    /// The status of an admin page; `None` where nobody answers.
    pub(crate) async fn probe(&self, path: &str) -> Option<u16> {
        let request = Request::get(format!("{}{path}", self.admin)).body("".into()).unwrap();
        Fetch::new().send(request).await.ok().map(|answer| answer.status().as_u16())
    }

    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::among([&self.third_party], &ADA)
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        let registration = Registration::native(name).0.to_string();
        let request =
            Request::post(format!("{}/register", self.origin)).header("content-type", "application/json");
        let reply: Reply = self.fetch.send(request.body(registration.into()).unwrap()).await.unwrap().into();
        Client::registered(&self.origin, &reply.json())
    }

    /// The status of a request to the MCP server with this token.
    pub(crate) async fn admitted(&self, token: &str) -> u16 {
        let request = Request::post(format!("{}/mcp", self.origin))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18");
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        self.fetch.send(request.body(ping.into()).unwrap()).await.unwrap().status().as_u16()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for secret in self.third_party.secrets() {
            secrets::note(secret.expose_secret());
        }
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Process {
    child: Child,
    admin: String,
    log: PathBuf,
}

impl Process {
    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `kill -TERM`; returns at once.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// `kill -HUP`; returns at once.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id();
        assert!(Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap().success());
    }

    /// Waits until the journal has so many of this event; the last of them.
    pub(crate) async fn journaled(&self, event: &str, times: usize) -> Value {
        let found = async {
            loop {
                let told = self.told("event", event);
                if told.len() >= times {
                    return told.last().cloned().unwrap_or_default();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("{event} never came {times} times"))
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                match self.child.try_wait().unwrap() {
                    Some(status) => return status,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("does not end")
    }

    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// Its log.
    pub(crate) fn log(&self) -> &std::path::Path {
        &self.log
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The events of its log so far that have this field with this value.
    pub(crate) fn told(&self, field: &str, value: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event[field] == value).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
