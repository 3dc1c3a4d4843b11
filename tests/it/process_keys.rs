//! The encryption keys of the real binary: rotated under load, cut off at any moment, from a file and from the configuration.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::Request;
use mcp_deputy::{
    domain::secret::Digest,
    flow::ports::{Store as _, Table},
    store::disk::{DiskOptions, DiskStore},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use crate::support::{Client, Reply, Tokens, Visitor, process::World};

/// The ids of the keys of a key file, the current one first.
fn key_ids(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let keys = text.lines().filter(|line| !line.starts_with('#'));
    keys.map(|line| id_of(&URL_SAFE_NO_PAD.decode(line.split(' ').next().unwrap()).unwrap())).collect()
}

/// As docs/storage.md has it.
fn id_of(key: &[u8]) -> String {
    let digest = Digest::of([b"mcp-deputy key id".as_slice(), key].concat());
    format!("{:016x}", u64::from_be_bytes(digest.as_bytes()[..8].try_into().unwrap()))
}

/// Every record of the store that names each key in an envelope, by reading all bytes of all of them. Nobody uses the store.
async fn sealed(folder: &Path, ids: &[String]) -> BTreeMap<String, usize> {
    let store = DiskStore::open(folder, DiskOptions::default()).unwrap();
    let mut found = BTreeMap::new();
    for id in ids {
        let bytes = u64::from_str_radix(id, 16).unwrap().to_be_bytes();
        // Version and key id: nine bytes, which are twelve letters in the text of a record.
        let needle = URL_SAFE_NO_PAD.encode([&[1], bytes.as_slice()].concat());
        let mut count = 0;
        for table in Table::ALL {
            let all = store.scan(table, &[], None, usize::MAX).await.unwrap();
            count += all
                .iter()
                .filter(|(_, found)| found.value.windows(12).any(|window| window == needle.as_bytes()))
                .count();
        }
        found.insert(id.clone(), count);
    }
    found
}

/// Without the limits that a load from one address would hit.
fn without_limits(world: &World) {
    let text = fs::read_to_string(world.config()).unwrap();
    let more = "[limits]\nmax_grants_per_person = 10000\nauthorizations_per_minute = 100000\napprovals_per_minute = 100000\n";
    fs::write(world.config(), text.replace("[limits]\n", more)).unwrap();
}

/// What an app sends to the MCP server.
fn request(origin: &str, token: &str, session: Option<&str>, body: &Value) -> Request<bytes::Bytes> {
    let mut request = Request::post(format!("{origin}/mcp"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-06-18");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    request.body(body.to_string().into()).unwrap()
}

/// Opens a session.
async fn session(world: &World, token: &str) -> String {
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let opened: Reply =
        world.fetch.send(request(&world.origin, token, None, &initialize)).await.unwrap().into();
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    world.fetch.send(request(&world.origin, token, Some(&session), &ready)).await.unwrap();
    session
}

async fn ping(world: &World, token: &str, session: &str) -> u16 {
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    world.fetch.send(request(&world.origin, token, Some(session), &ping)).await.unwrap().status().as_u16()
}

#[derive(Default)]
struct Load {
    ends: AtomicBool,
    proxied: AtomicU64,
    refreshed: AtomicU64,
    signed_in: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn counts(&self) -> [u64; 3] {
        [&self.proxied, &self.refreshed, &self.signed_in].map(|count| count.load(Relaxed))
    }

    fn expect(&self, what: &str, status: u16) {
        if status != 200 {
            self.failed.lock().unwrap().push(format!("{what}: {status}"));
        }
    }
}

/// Requests on one session, as fast as they are answered.
async fn proxying(load: Arc<Load>, origin: String, token: String, session: String) {
    let fetch = mcp_deputy::sandbox::fetch::Fetch::new();
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    while !load.ends.load(Relaxed) {
        let answer = fetch.send(request(&origin, &token, Some(&session), &ping)).await;
        load.expect("proxied", answer.map_or(0, |answer| answer.status().as_u16()));
        load.proxied.fetch_add(1, Relaxed);
    }
}

/// Sign-ins, each refreshed a few times: every one with a page, a ticket, a link, a grant and answers that may be repeated.
async fn signing_in(load: Arc<Load>, client: Client, mut visitor: Visitor) {
    while !load.ends.load(Relaxed) {
        let answer = visitor.authorize(&client.asks()).await;
        let reply = client.try_redeem(&answer).await;
        load.expect("redeemed", reply.status);
        load.signed_in.fetch_add(1, Relaxed);
        let mut refresh = Tokens::of(&reply).refresh;
        for _ in 0..4 {
            let reply = client.try_refresh(&refresh).await;
            load.expect("refreshed", reply.status);
            // A lost answer is asked for again.
            let again = client.try_refresh(&refresh).await;
            load.expect("replayed", again.status);
            let next = Tokens::of(&reply).refresh;
            assert_eq!(Tokens::of(&again).refresh, next);
            refresh = next;
            load.refreshed.fetch_add(2, Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_under_load_fails_no_request_and_leaves_nothing_under_the_old_key() {
    let mut world = World::new().await;
    without_limits(&world);
    let data = world.folder().join("data");
    let mut process = world.start().await;
    let mut apps = Vec::new();
    for name in ["One", "Two", "Three"] {
        let client = world.client(name).await;
        let tokens = world.visitor().tokens(&client).await;
        let next = client.refresh(&tokens.refresh).await;
        apps.push((client, next));
    }
    // What is looked for is there before.
    process.terminate();
    process.ended().await;
    let [first]: [String; 1] = key_ids(&data.with_extension("key")).try_into().unwrap();
    let before = sealed(&data, std::slice::from_ref(&first)).await;
    assert!(before[&first] >= 4, "{before:?}");

    let mut process = world.start().await;
    let (load, mut lanes) = (Arc::new(Load::default()), JoinSet::new());
    let mut sessions = Vec::new();
    for (client, tokens) in &apps {
        let session = session(&world, &tokens.access).await;
        sessions.push((tokens.access.clone(), session.clone()));
        lanes.spawn(proxying(Arc::clone(&load), world.origin.clone(), tokens.access.clone(), session));
        lanes.spawn(signing_in(Arc::clone(&load), client.reconnected(), world.visitor()));
    }
    let mut rotations = Vec::new();
    for round in 0..3 {
        let begun = load.counts();
        let json: &[&str] = if round == 1 { &[] } else { &["--json"] };
        let (status, said, error) = world.command(&[&["keys", "rotate"][..], json].concat()).await;
        assert_eq!(status, Some(0), "{said}{error}");
        // Its load goes on behind it.
        while load.counts().iter().zip(begun).any(|(now, begun)| *now < begun + 3) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rotations.push(said);
    }
    let listed = world.json(&["keys", "list"]).await;
    load.ends.store(true, Relaxed);
    lanes.join_all().await;
    assert_eq!(*load.failed.lock().unwrap(), Vec::<String>::new());
    println!("{:?}", load.counts());

    // In lines for programs, and in sentences.
    let events: Vec<Value> = rotations[0].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let current = key_ids(&data.with_extension("key"));
    assert_eq!(current.len(), 4);
    assert_eq!((events[0]["event"].as_str(), events[0]["key"].as_str()), (Some("made"), Some(&*current[2])));
    let last = events.last().unwrap();
    assert_eq!((last["event"].as_str(), &last["kept"][0]["reason"]), (Some("done"), &json!("may_be_in_use")));
    assert!(last["resealed"].as_u64().unwrap() >= 4, "{last}");
    assert!(events.iter().any(|event| event["event"] == "progress" && event["state"] == "done"));
    let metrics = world.metrics().await;
    assert_eq!(metrics.value("mcp_deputy_keys_settled", &[]), 1);
    let records = |state| metrics.value("mcp_deputy_keys_records", &[("state", state)]);
    assert!(records("resealed") > 0 && records("left") == 0 && records("unreadable") == 0);
    for part in [
        "is in use from now on",
        "Nothing is sealed with an older key any more",
        "Kept the key",
        "mcp-deputy keys drop",
    ] {
        assert!(rotations[1].contains(part), "{}", rotations[1]);
    }
    let keys = listed["keys"].as_array().unwrap();
    assert_eq!(keys.iter().map(|key| key["id"].as_str().unwrap()).collect::<Vec<_>>(), current);
    assert!(keys[0]["records"].as_u64().unwrap() > 4 && keys[0]["state"] == "current", "{listed}");
    assert!(keys[1..].iter().all(|key| key["records"] == 0 && key["replaced_at"].is_string()), "{listed}");
    assert_eq!(process.told("event", "key_made").len(), 3);
    assert_eq!(process.told("event", "keys_resealed").len(), 3);
    assert_eq!(process.told("event", "keys_resealed")[2]["key"], current[0].as_str());

    // The session ids of before are good until their key is dropped, which nobody does by mistake.
    let (token, bound) = &sessions[0];
    assert_eq!(ping(&world, token, bound).await, 200);
    let (status, said, _) = world.command(&["keys", "drop"]).await;
    assert!(status == Some(0) && said.matches("Kept the key").count() == 3, "{said}");
    let dropped = world.json(&["keys", "drop", "--now"]).await;
    assert_eq!(dropped["dropped"].as_array().unwrap().len(), 3, "{dropped}");
    assert_eq!(process.told("event", "key_dropped").len(), 3);
    assert_eq!(ping(&world, token, bound).await, 404, "the client begins another session");
    let again = session(&world, token).await;
    assert_eq!(ping(&world, token, &again).await, 200);

    process.terminate();
    process.ended().await;
    assert_eq!(fs::metadata(data.with_extension("key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(key_ids(&data.with_extension("key")), [current[0].clone()]);
    let after = sealed(&data, &current).await;
    assert!(after[&current[0]] > 4 && current[1..].iter().all(|old| after[old] == 0), "{after:?}");
    // Nothing of what it has is lost: tokens and third-party tokens go on.
    let _process = world.start().await;
    for (client, tokens) in &apps {
        assert_eq!(world.admitted(&tokens.access).await, 200);
        client.reconnected().refresh(&tokens.refresh).await;
    }
}

/// The same look through the bytes of the store, without dropping a key: nothing names the older ones.
#[tokio::test]
async fn after_a_rotation_no_byte_of_the_store_names_the_old_key() {
    let mut world = World::new().await;
    let data = world.folder().join("data");
    let mut process = world.start().await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    client.refresh(&tokens.refresh).await;
    // On the way to the third party.
    let mut ada = world.visitor();
    let asking = client.asks();
    let departure = ada.approve_any(&asking).await;
    let back = ada.callback_of(&departure).await;
    assert_eq!(world.command(&["keys", "rotate"]).await.0, Some(0));
    process.terminate();
    process.ended().await;
    let [new, old]: [String; 2] = key_ids(&data.with_extension("key")).try_into().unwrap();
    let found = sealed(&data, &[new.clone(), old.clone()]).await;
    assert!(found[&old] == 0 && found[&new] >= 3, "{found:?}");
    let _process = world.start().await;
    let arrived = ada.open(&back).await;
    let to = arrived.leads_to().unwrap();
    assert!(to.contains("code="), "{to}");
}

/// Whatever becomes of it.
async fn ask_for_a_key(socket: PathBuf) -> std::io::Result<()> {
    let mut stream = tokio::net::UnixStream::connect(socket).await?;
    stream
        .write_all(b"POST /admin/v1/keys/new HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

#[tokio::test]
async fn a_rotation_that_is_killed_goes_on_with_the_next_start() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let mut held = Vec::new();
    for name in ["One", "Two", "Three", "Four"] {
        let client = world.client(name).await;
        let tokens = world.visitor().tokens(&client).await;
        held.push((client, tokens));
    }
    // Earlier and later, until some came so late that a key was there, however fast this machine is.
    let file = world.folder().join("data.key");
    let mut known = key_ids(&file);
    for round in 0.. {
        assert!(round < 100, "no key is ever made");
        let socket = world.folder().join("data/admin.sock");
        let ask = tokio::spawn(ask_for_a_key(socket));
        tokio::time::sleep(Duration::from_micros(600 * round + 100 * round * round)).await;
        process.kill();
        let _ = ask.await;
        let now = key_ids(&file);
        assert!(now.ends_with(&known), "a key was lost: {now:?} after {known:?}");
        known = now;
        process = world.start().await;
        if known.len() > 3 {
            break;
        }
    }
    for _ in 0..200 {
        if world.json(&["keys", "list"]).await["resealing"]["state"] == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let listed = world.json(&["keys", "list"]).await;
    assert_eq!(
        (&listed["resealing"]["state"], &listed["unreadable"]),
        (&json!("done"), &json!(0)),
        "{listed}"
    );
    let keys = listed["keys"].as_array().unwrap();
    assert!(keys.len() > 2 && keys[1..].iter().all(|key| key["records"] == 0), "{listed}");
    for (client, tokens) in &held {
        client.reconnected().refresh(&tokens.refresh).await;
    }
}

#[tokio::test]
async fn a_key_file_is_changed_offline_whole_or_not_at_all() {
    let mut world = World::new().await;
    let (status, _, error) = world.command(&["keys", "new", "--offline"]).await;
    assert!(status == Some(1) && error.contains("first start"), "{error}");
    let mut process = world.start().await;
    let (status, _, error) = world.command(&["keys", "new", "--offline"]).await;
    assert!(status == Some(1) && error.contains("without --offline"), "{error}");
    process.terminate();
    process.ended().await;
    let (status, _, error) = world.command(&["keys", "new"]).await;
    assert!(status == Some(1) && error.contains("no gateway"), "{error}");

    let file = world.folder().join("data.key");
    let before = fs::read(&file).unwrap();
    let command = |shell: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_mcp-deputy")]);
        command.args(["keys", "new", "--offline", "--config"]).arg(world.config()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // A disk that takes nothing more.
    assert!(!command("trap '' XFSZ; ulimit -f 0;").status().unwrap().success());
    assert_eq!(fs::read(&file).unwrap(), before);
    // Killed at some moment or other; whatever was there stays.
    let mut known = key_ids(&file);
    for round in 0..12 {
        let mut child = command("").spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 900));
        let _ = child.kill();
        child.wait().unwrap();
        let now = key_ids(&file);
        assert!(now.ends_with(&known), "{now:?} after {known:?}");
        known = now;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (status, said, _) = world.command(&["keys", "list", "--offline"]).await;
    assert!(status == Some(0) && known.iter().all(|id| said.contains(id.as_str())), "{said}");
    assert_eq!(world.command(&["keys", "new", "--offline"]).await.0, Some(0));
    let _process = world.start().await;
    let listed = world.json(&["keys", "list"]).await;
    assert_eq!(listed["keys"].as_array().unwrap().len(), known.len() + 1);
}

#[tokio::test]
async fn a_key_of_the_configuration_is_changed_there_and_everything_is_sealed_anew() {
    let mut world = World::new().await;
    let keys: [[u8; 32]; 2] = [crate::support::chance(), crate::support::chance()];
    let [old, new] = keys.map(|key| STANDARD.encode(key));
    for key in [&old, &new] {
        crate::support::secrets::note(key);
    }
    let text = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), text.replace("[store]\n", &format!("[store]\nencryption_key = \"{old}\"\n")))
        .unwrap();
    let mut process = world.start().await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    for verb in ["new", "rotate"] {
        let (status, said, error) = world.command(&["keys", verb]).await;
        assert_eq!(status, Some(1));
        assert!(
            said.contains("1. Make a new key: openssl rand -base64 32") && said.contains("5. "),
            "{said}"
        );
        assert!(error.contains("nothing was changed"), "{error}");
        let (status, said, _) = world.command(&["keys", verb, "--json"]).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert!(status == Some(1) && said["steps"].as_array().unwrap().len() == 5, "{said}");
    }
    assert!(!world.folder().join("data.key").exists());
    process.terminate();
    process.ended().await;
    let (status, said, _) = world.command(&["keys", "new", "--offline"]).await;
    assert!(status == Some(1) && said.contains("1. Make"), "{said}");

    // As the steps say.
    let text = fs::read_to_string(world.config()).unwrap();
    let next = format!("encryption_key = \"{new}\"\nprevious_encryption_keys = [\"{old}\"]\n");
    fs::write(world.config(), text.replace(&format!("encryption_key = \"{old}\"\n"), &next)).unwrap();
    let mut process = world.start().await;
    let mut listed = world.json(&["keys", "list"]).await;
    for _ in 0..200 {
        if listed["resealing"]["state"] == "done" {
            break;
        }
        listed = world.json(&["keys", "list"]).await;
    }
    let ids = keys.map(|key| id_of(&key));
    let of = |at: usize, name: &str| listed["keys"][at][name].clone();
    assert_eq!((of(0, "id"), of(0, "origin")), (json!(ids[1]), json!("configuration")), "{listed}");
    assert_eq!((of(1, "id"), of(1, "records")), (json!(ids[0]), json!(0)), "{listed}");
    assert!(of(0, "records").as_u64().unwrap() >= 1);
    let dropped = world.json(&["keys", "drop", "--now"]).await;
    assert_eq!(dropped["kept"][0]["reason"], "configured", "{dropped}");
    process.terminate();
    process.ended().await;

    // The last step: without the old key.
    let text = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), text.replace(&format!("previous_encryption_keys = [\"{old}\"]\n"), ""))
        .unwrap();
    let _process = world.start().await;
    let listed = world.json(&["keys", "list"]).await;
    assert_eq!((listed["keys"].as_array().unwrap().len(), &listed["unreadable"]), (1, &json!(0)));
    assert_eq!(world.admitted(&tokens.access).await, 200);
    client.reconnected().refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn a_backup_of_before_is_restored_while_its_key_is_known_and_says_why_not_afterwards() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let client = world.client("App").await;
    world.visitor().tokens(&client).await;
    let file = world.folder().join("backup");
    let path = file.to_str().unwrap().to_owned();
    assert_eq!(world.command(&["backup", &path]).await.0, Some(0));
    let [first]: [String; 1] = key_ids(&world.folder().join("data.key")).try_into().unwrap();
    assert_eq!(world.command(&["keys", "rotate"]).await.0, Some(0));

    // While the old key is known: elsewhere, with a copy of the key file.
    let original = fs::read_to_string(world.config()).unwrap();
    let store = world.other_store();
    let (status, said, error) = world.command(&["restore", &path]).await;
    assert!(status == Some(0) && said.contains(&client.id), "{error}");
    fs::remove_dir_all(&store).unwrap();
    fs::write(world.config(), &original).unwrap();
    let copy = fs::read_to_string(world.folder().join("data.key")).unwrap();

    // Dropped: it says which key is missing. Nobody has changed the file, and it does not say so.
    let dropped = world.json(&["keys", "drop", "--now"]).await;
    assert_eq!(dropped["dropped"], json!([first]), "{dropped}");
    process.terminate();
    process.ended().await;
    let store = world.other_store();
    let (status, _, error) = world.command(&["restore", &path]).await;
    assert_eq!(status, Some(1));
    assert!(error.contains(&format!("the key {first}, which is not here any more")), "{error}");
    assert!(error.contains("--without-seal") && !error.contains("changed it"), "{error}");
    assert!(!store.exists());
    // With the copy of the old key, as it says.
    let old = copy.lines().last().unwrap().split(' ').next().unwrap();
    let text = fs::read_to_string(world.config()).unwrap();
    let with = format!("[store]\nprevious_encryption_keys = [\"{old}\"]\n");
    fs::write(world.config(), text.replace("[store]\n", &with)).unwrap();
    let (status, _, error) = world.command(&["restore", &path]).await;
    assert_eq!(status, Some(0), "{error}");
}
