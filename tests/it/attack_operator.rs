//! What an operator's machine does to a gateway: signals at the wrong moment, files that come and go, copies of other days, two of
//! everything at once.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use mcp_deputy::domain::{
    backup::{Read, Reader, Writer},
    client::Client as Record,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use crate::support::{PATIENCE, process::World, secrets};

/// `serve`, as somebody else than the usual helpers starts it. Killed when dropped.
struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    fn begin(world: &World, name: &str, with: impl FnOnce(&mut Command)) -> Self {
        let log = secrets::log_path(&format!("{}-{name}", world.origin.rsplit(':').next().unwrap()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-deputy"));
        command.arg("serve").current_dir(world.folder()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).unwrap());
        with(&mut command);
        Self { child: command.spawn().unwrap(), log }
    }

    fn hang_up(&self) {
        let id = self.child.id();
        assert!(Command::new("sh").args(["-c", &format!("kill -HUP {id}")]).status().unwrap().success());
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until its log has these words.
    async fn says(&self, words: &str) {
        let said = async {
            while !self.said().contains(words) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("never says {words}: {}", self.said()));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn becomes_ready(world: &World, served: &Served) {
    let ready = async {
        while world.probe("/readyz").await != Some(200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, ready).await.unwrap_or_else(|_| panic!("never becomes ready: {}", served.said()));
}

/// Whoever restarts a service and then has it read its configuration again does so within the same second.
#[tokio::test]
async fn attack_a_hangup_while_it_starts_is_no_end() {
    let world = World::new().await;
    // An issuer that takes its time: the start waits for it.
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", issuer.local_addr().unwrap());
    world.rewrite(|text| {
        format!("{text}[provider.slow]\npreset = \"oidc\"\nissuer = \"{url}\"\nclient_id = \"x\"\nclient_secret = \"not-a-secret-at-all\"\n")
            .replace("[[mcp_server]]\n", "[[mcp_server]]\nprovider = \"quarry\"\n")
    });
    let mut served = Served::begin(&world, "slow", |command| {
        command.arg("--config").arg(world.config());
    });
    let asked = timeout(PATIENCE, issuer.accept()).await;
    assert!(asked.is_ok(), "{}", served.said());
    served.hang_up();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = served.child.try_wait().unwrap();
    assert!(ended.is_none(), "signal {:?}: {}", ended.unwrap().signal(), served.said());
}

/// `serve --config <(decrypt proxy.toml)`: what can be read once only is read once.
#[tokio::test]
async fn a_configuration_from_a_pipe_is_read_once() {
    let world = World::new().await;
    let text = fs::read_to_string(world.config()).unwrap();
    let admin = world.admin().trim_start_matches("http://").to_owned();
    let mut served = Served::begin(&world, "pipe", |command| {
        command.args(["--config", "/dev/stdin"]).stdin(Stdio::piped());
        command.env("MCP_DEPUTY_ADMIN_LISTEN", admin);
    });
    served.child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    becomes_ready(&world, &served).await;
    // It is not there to be read again, which changes nothing, and is said.
    served.hang_up();
    served.says("the new configuration was not taken").await;
    assert_eq!(world.probe("/readyz").await, Some(200));
    assert_eq!(served.said().matches("was not taken").count(), 1, "it is tried again and again");
}

/// The file that a gateway was started with is taken away. What the environment says is not the whole of it: who may come in stands in
/// the file.
#[tokio::test]
async fn attack_a_configuration_that_is_gone_is_not_the_environment() {
    let world = World::new().await;
    let port = world.origin.rsplit(':').next().unwrap();
    let (origin, admin) = (world.origin.clone(), world.admin().trim_start_matches("http://").to_owned());
    fs::write(
        world.config(),
        format!(
            "listen = \"127.0.0.1:{port}\"\n[store]\nurl = \"disk:data\"\n[access]\nusers = [\"github:1\"]\n"
        ),
    )
    .unwrap();
    let served = Served::begin(&world, "gone", |command| {
        command.env("MCP_DEPUTY_PUBLIC_URL", origin).env("MCP_DEPUTY_ADMIN_LISTEN", admin);
        command.env("MCP_DEPUTY_LISTEN", format!("127.0.0.1:{port}")).env("MCP_DEPUTY_STORE", "disk:data");
        command.env("MCP_DEPUTY_UPSTREAM_URL", &world.upstream).env("MCP_DEPUTY_CLIENT_ID", "x");
        command.env("MCP_DEPUTY_CLIENT_SECRET", "not-a-secret-at-all");
    });
    becomes_ready(&world, &served).await;
    fs::remove_file(world.config()).unwrap();
    served.hang_up();
    let said = async {
        loop {
            let said = served.said();
            assert!(!said.contains("configuration_reloaded"), "everybody may come in now: {said}");
            if said.contains("configuration_refused") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, said).await.expect("says nothing");
}

/// The lines of a backup in which each app was changed, with a sum that fits and no seal.
fn forged(file: &Path, change: impl Fn(&Value) -> Vec<Value>) -> Vec<u8> {
    let mut reader = Reader::default();
    let (mut writer, mut lines) = (None, Vec::new());
    for line in fs::read(file).unwrap().split_inclusive(|byte| *byte == b'\n') {
        match reader.line(line).unwrap() {
            Read::Head(head) => {
                let (begun, line) = Writer::begin(head.taken_at, &head.issuer, &head.made_by);
                writer = Some(begun);
                lines.extend(line);
            }
            Read::Client(client) => {
                for changed in change(&serde_json::to_value(*client).unwrap()) {
                    let changed: Record = serde_json::from_value(changed).unwrap();
                    lines.extend(writer.as_mut().unwrap().client(changed));
                }
            }
            Read::End(..) => {}
        }
    }
    lines.extend(writer.unwrap().end(|_| [0; 32]));
    lines
}

/// A backup of one app, of a gateway that has ended.
async fn backup_of_one(world: &mut World) -> (PathBuf, String) {
    let mut process = world.start().await;
    let client = world.client("An app").await;
    world.visitor().tokens(&client).await;
    let file = world.folder().join("backup");
    assert_eq!(world.command(&["backup", file.to_str().unwrap()]).await.0, Some(0));
    process.terminate();
    process.ended().await;
    (file, client.id)
}

/// The key is lost for good, and all that is left is a backup: it holds nothing that is sealed.
#[tokio::test]
async fn a_backup_without_its_key_leads_to_a_gateway_that_starts() {
    let mut world = World::new().await;
    let (file, id) = backup_of_one(&mut world).await;
    let store = world.other_store();
    fs::remove_file(store.with_extension("key")).unwrap();
    let path = file.to_str().unwrap();
    let (status, said, error) = world.command(&["restore", path, "--without-seal"]).await;
    assert_eq!(status, Some(0), "{error}");
    assert!(said.contains("new encryption key"), "{said}");
    assert_eq!(fs::metadata(store.with_extension("key")).unwrap().permissions().mode() & 0o777, 0o600);
    let _process = world.start().await;
    assert_eq!(world.json(&["clients", "show", &id]).await["state"], "active");
}

/// Apps that no registration would have let in, in a file that an operator trusts because its key is lost.
#[tokio::test]
async fn attack_restore_of_what_nobody_could_have_registered() {
    let mut world = World::new().await;
    let (file, id) = backup_of_one(&mut world).await;
    let far = u64::MAX / 2;
    let document = "https://good.example/app.json";
    let lines = forged(&file, |honest| {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut client = honest.clone();
            change(&mut client);
            client
        };
        let mut all = vec![
            // A verified host, by what the file says.
            with(&|it| (it["id"], it["source"]) = (json!(document), json!("registered"))),
            with(&|it| {
                (it["id"], it["source"]) = (json!("https://bank.example/app.json"), json!("document"));
                it["document"] = json!({ "at": far });
                it["used_at"] = json!(far);
            }),
            with(&|it| {
                (it["id"], it["metadata"]["redirect_uris"]) =
                    (json!(derived("a")), json!(["javascript:alert(1)"]));
            }),
            with(&|it| {
                (it["id"], it["metadata"]["redirect_uris"]) =
                    (json!(derived("b")), json!(["http://evil.example/"]));
            }),
            with(&|it| {
                (it["id"], it["metadata"]["client_name"]) = (json!(derived("c")), json!("x".repeat(5000)));
            }),
            with(&|it| {
                (it["id"], it["metadata"]["token_endpoint_auth_method"]) =
                    (json!(derived("d")), json!("client_secret_basic"));
            }),
            with(&|it| it["id"] = json!("")),
            with(&|it| it["id"] = json!("operators-own")),
            // Never to be forgotten, and dead for ever.
            with(&|it| {
                (it["id"], it["used_at"], it["unused_until"]) = (json!(derived("e")), json!(far), json!(far));
                (it["voided_at"], it["registered_at"]) = (json!(far), json!(far));
            }),
            honest.clone(),
        ];
        all.sort_by_key(|client| client["id"].as_str().unwrap().to_owned());
        all
    });
    fs::write(&file, lines).unwrap();
    let _store = world.other_store();
    let path = file.to_str().unwrap();
    let (status, dry, error) = world.command(&["restore", path, "--without-seal", "--dry-run"]).await;
    assert_eq!(status, Some(0), "{error}");
    let (status, said, error) = world.command(&["restore", path, "--without-seal"]).await;
    assert_eq!(status, Some(0), "{error}");
    assert!(said.contains("Restored 3 apps") && dry.contains("Would restore 3 apps"), "{said}{dry}");
    assert!(said.contains("7 are left out: they could not register here"), "{said}");
    assert!(!said.contains("javascript:"), "{said}");

    let _process = world.start().await;
    let listed = world.json(&["clients", "list", "--all"]).await;
    let known: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(known.len(), 3, "{listed}");
    assert!(known.contains(&&*id));
    for client in listed["items"].as_array().unwrap() {
        for moment in ["used_at", "registered_at"] {
            assert!(client[moment].as_str().unwrap() < "2200", "{client}");
        }
    }
    // What people approve for it counts.
    let (_, backed_up, _) = world.command(&["backup", "-"]).await;
    for line in backed_up.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(client) = line.get("client") else { continue };
        for moment in ["used_at", "unused_until", "voided_at", "registered_at"] {
            assert!(client[moment].as_u64().unwrap() < 7_000_000_000_000, "{moment}: {client}");
        }
        // The next reading of it is newer.
        assert!(client["document"].is_null() || client["document"]["at"] == 0, "{client}");
    }
}

/// A client id as we give them out, for what does not exist.
fn derived(what: &str) -> String {
    use mcp_deputy::domain::{
        handle::{Handle, Kind},
        secret::Digest,
    };
    Handle::derived(Kind::Client, &Digest::of(what)).expose().to_owned()
}

/// Twice the same app: the second one cannot be written, and half of a store would be left.
#[tokio::test]
async fn attack_restore_of_an_app_that_stands_twice() {
    let mut world = World::new().await;
    let (file, _) = backup_of_one(&mut world).await;
    let lines = forged(&file, |honest| vec![honest.clone(), honest.clone()]);
    fs::write(&file, lines).unwrap();
    let store = world.other_store();
    let (status, _, error) = world.command(&["restore", file.to_str().unwrap(), "--without-seal"]).await;
    assert!(status == Some(1) && error.contains("damaged"), "{error}");
    assert!(!store.exists(), "it has written something");
}

/// The machine goes down in the middle of a restore, comes up again, and starts its services: what was revoked may not be back yet.
#[tokio::test]
async fn attack_a_restore_that_was_cut_off_is_not_served() {
    let mut world = World::new().await;
    let (file, _) = backup_of_one(&mut world).await;
    let lines = forged(&file, |honest| {
        let mut ids: Vec<String> = (0..6000).map(|number| derived(&number.to_string())).collect();
        ids.sort();
        let with = |id: String| {
            let mut client = honest.clone();
            client["id"] = json!(id);
            client
        };
        ids.into_iter().map(with).collect()
    });
    fs::write(&file, lines).unwrap();
    let store = world.other_store();
    let mut restoring = Command::new(env!("CARGO_BIN_EXE_mcp-deputy"))
        .args(["restore", file.to_str().unwrap(), "--without-seal", "--config"])
        .arg(world.config())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = async {
        while fs::read(store.join("log.0")).map_or(0, |log| log.iter().filter(|byte| **byte != 0).count())
            < 4096
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, begun).await.expect("never begins");
    restoring.kill().unwrap();
    assert_eq!(restoring.wait().unwrap().signal(), Some(9), "it was too fast");

    let served = Served::begin(&world, "half", |command| {
        command.arg("--config").arg(world.config());
    });
    served.says("a restore into it was cut off").await;
    // The remedy that it names.
    drop(served);
    fs::remove_dir_all(&store).unwrap();
    let (status, _, error) = world.command(&["restore", file.to_str().unwrap(), "--without-seal"]).await;
    assert_eq!(status, Some(0), "{error}");
    let _process = world.start().await;
}

/// A log that is none, or of somebody else, has no revocation in it: that is not the same as that nothing was revoked.
#[tokio::test]
async fn attack_restore_with_a_log_that_says_nothing() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let client = world.client("An app").await;
    let file = world.folder().join("backup");
    let path = file.to_str().unwrap();
    assert_eq!(world.command(&["backup", path]).await.0, Some(0));
    assert_eq!(world.command(&["clients", "revoke", &client.id]).await.0, Some(0));
    process.terminate();
    process.ended().await;
    let store = world.other_store();
    let log = world.folder().join("log");
    for text in ["", "Nov 29 mcp-deputy[1]: started\n", "{\"message\":\"hello\"}\n", "\u{1f}\u{8b}\n"] {
        fs::write(&log, text).unwrap();
        let (status, said, error) =
            world.command(&["restore", path, "--journal", log.to_str().unwrap()]).await;
        assert!(status == Some(1) && error.contains("no line of the gateway's journal"), "{said}{error}");
        assert!(!store.exists());
    }
    // As the usual keepers of logs wrap its lines.
    let lines = fs::read_to_string(process.log()).unwrap();
    for member in ["log", "MESSAGE"] {
        let wrapped: Vec<String> =
            lines.lines().map(|line| json!({ member: format!("{line}\n"), "x": 1 }).to_string()).collect();
        fs::write(&log, wrapped.join("\n")).unwrap();
        let (status, said, error) =
            world.command(&["restore", path, "--dry-run", "--journal", log.to_str().unwrap()]).await;
        assert!(status == Some(0) && said.contains("1 more comes back revoked"), "{said}{error}");
    }
}

/// Another key file than that of the store: an older copy, or another machine's.
#[tokio::test]
async fn a_key_that_is_not_the_stores_is_said_at_the_start() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let client = world.client("An app").await;
    world.visitor().tokens(&client).await;
    process.terminate();
    process.ended().await;
    let process = world.start().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(process.told("reason", "key_unknown").is_empty());
    drop(process);
    fs::write(world.folder().join("data.key"), format!("{}A\n", "A".repeat(42))).unwrap();
    let process = world.start().await;
    let said = async {
        while process.told("reason", "key_unknown").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, said).await.expect("says nothing");
    assert_eq!(process.told("reason", "key_unknown")[0]["level"], "ERROR");
}
