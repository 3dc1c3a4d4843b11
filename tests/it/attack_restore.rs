//! A backup as a way back into what was taken away, or into what somebody else may see.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::support::{Client, Tokens, process::World};

struct App {
    client: Client,
    tokens: Tokens,
    /// A code that nobody has redeemed.
    open: crate::support::Answer,
}

async fn app(world: &World, name: &str) -> App {
    let client = world.client(name).await;
    let mut ada = world.visitor();
    let tokens = ada.tokens(&client).await;
    let open = ada.authorize(&client.asks()).await;
    App { client, tokens, open }
}

/// Nothing of what it held before is good for anything.
async fn is_dead(world: &World, app: &App) {
    let client = app.client.reconnected();
    assert_eq!(world.admitted(&app.tokens.access).await, 401);
    let refused = client.try_refresh(&app.tokens.refresh).await.error();
    assert!(["invalid_grant", "invalid_client"].contains(&refused.as_str()), "{refused}");
    let refused = client.try_redeem(&app.open).await.error();
    assert!(["invalid_grant", "invalid_client"].contains(&refused.as_str()), "{refused}");
}

async fn backed_up(world: &World, name: &str) -> PathBuf {
    let file = world.folder().join(name);
    let (status, said, error) = world.command(&["backup", file.to_str().unwrap()]).await;
    assert_eq!(status, Some(0), "{error}");
    assert!(said.contains("no tokens") && said.contains("not the encryption key"), "{said}");
    file
}

async fn id_of(world: &World, what: &str, client: &str) -> String {
    let listed = world.json(&[what, "list", "--client", client]).await;
    listed["items"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn attack_restore_revives_revoked() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let [gone, consent, grant, kept] = [
        app(&world, "Revoked app").await,
        app(&world, "Revoked consent").await,
        app(&world, "Revoked grant").await,
        app(&world, "Kept").await,
    ];
    let early = app(&world, "Revoked before").await;
    world.command(&["clients", "revoke", &early.client.id]).await;
    let file = backed_up(&world, "backup").await;

    world.command(&["clients", "revoke", &gone.client.id]).await;
    let id = id_of(&world, "consents", &consent.client.id).await;
    assert_eq!(world.command(&["consents", "revoke", &id]).await.0, Some(0));
    let id = id_of(&world, "grants", &grant.client.id).await;
    assert_eq!(world.command(&["grants", "revoke", &id]).await.0, Some(0));
    assert_eq!(world.admitted(&kept.tokens.access).await, 200);
    let log = process.log().to_owned();
    process.terminate();
    process.ended().await;

    // Elsewhere, with the key; then once more, with the log of what happened since.
    for with_journal in [false, true] {
        let store = world.other_store();
        let log = log.to_str().unwrap().to_owned();
        let mut restore = vec!["restore", file.to_str().unwrap()];
        if with_journal {
            restore.extend(["--journal", &log]);
        }
        let (status, said, error) = world.command(&restore).await;
        assert_eq!(status, Some(0), "{error}");
        assert!(said.contains("People approve and sign in again"), "{said}");
        // What may have been revoked since is named, and what was revoked before is not.
        assert_eq!(said.contains(&gone.client.id), !with_journal, "{said}");
        for app in [&consent, &grant, &kept] {
            assert!(said.contains(&app.client.id), "{said}");
        }
        assert!(!said.contains(&early.client.id), "{said}");

        let mut process = world.start().await;
        for app in [&gone, &consent, &grant, &kept, &early] {
            is_dead(&world, app).await;
        }
        for what in ["consents", "grants"] {
            let listed = world.json(&[what, "list", "--all"]).await;
            assert!(listed["items"].as_array().unwrap().is_empty(), "{listed}");
        }
        // Apps that were not revoked go on under the same id, once people approve again.
        let tokens = world.visitor().tokens(&kept.client.reconnected()).await;
        assert_eq!(world.admitted(&tokens.access).await, 200);
        // Those that were revoked may not even ask.
        for (app, refused) in [(&early, true), (&gone, with_journal)] {
            let page = world.visitor().open(&app.client.asks().url()).await;
            assert_eq!(page.status != 200, refused, "{}", page.body);
        }
        process.terminate();
        process.ended().await;
        assert!(store.join("tree").exists());
    }
}

#[tokio::test]
async fn attack_backup_file_tells_secrets() {
    let mut world = World::new().await;
    let _process = world.start().await;
    let app = app(&world, "An app").await;
    let file = backed_up(&world, "backup").await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!world.folder().join("backup.part").exists());
    let text = fs::read_to_string(&file).unwrap();
    let first = text.lines().next().unwrap();
    for said in ["mcp-deputy backup", "\"version\":1", "\"holds\"", "\"lacks\"", &world.origin] {
        assert!(first.contains(said), "{first}");
    }
    assert!(text.contains(&app.client.id));
    let key = fs::read_to_string(world.folder().join("data.key")).unwrap();
    let grant = world.json(&["grants", "list"]).await["items"][0].clone();
    let digest = |secret: &str| mcp_deputy::domain::secret::Digest::of(secret).to_base64url();
    for secret in [
        key.trim(),
        &app.tokens.access,
        &app.tokens.refresh,
        &digest(&app.tokens.access),
        &digest(&app.tokens.refresh),
        grant["user"]["subject"].as_str().unwrap(),
        grant["id"].as_str().unwrap(),
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(!text.contains("\"ada\""), "a person is in it");
}

/// Every line of a backup that somebody else has written, or that did not arrive whole.
#[tokio::test]
async fn attack_backup_that_was_changed() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let app = app(&world, "An app").await;
    let file = backed_up(&world, "backup").await;
    process.terminate();
    process.ended().await;
    let key = fs::read(world.folder().join("data.key")).unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    let store = world.other_store();
    let refused = async |text: &str, why: &str| {
        fs::write(&file, text).unwrap();
        let (status, said, error) = world.command(&["restore", file.to_str().unwrap()]).await;
        assert_eq!(status, Some(1), "{said}");
        assert!(error.contains(why), "{error}");
        assert!(!store.exists(), "it has written something");
    };
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    refused(&lines[..lines.len() - 1].concat(), "not whole").await;
    refused(&whole[..whole.len() - 1], "not whole").await;
    refused(&whole.replace("An app", "An ape"), "sum is wrong").await;
    refused("PK\u{3}\u{4}\n", "no backup").await;
    refused(&whole.replace("\"version\":1", "\"version\":9"), "later").await;

    // With a right sum, which anybody can make, and an app that was never there. Its redirect URI is the attacker's.
    let forged = forge(&whole);
    refused(&forged, "sealed with another key").await;
    // And without the key nobody can tell.
    fs::remove_file(store.with_extension("key")).unwrap();
    refused(&whole, "the key is not here").await;
    assert!(!store.with_extension("key").exists(), "it made another key");
    fs::write(&file, &whole).unwrap();
    let trusting = ["restore", file.to_str().unwrap(), "--without-seal"];
    assert_eq!(world.command(&trusting).await.0, Some(0));
    fs::write(store.with_extension("key"), key).unwrap();
    fs::set_permissions(store.with_extension("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let _process = world.start().await;
    assert_eq!(world.json(&["clients", "show", &app.client.id]).await["state"], "active");
}

/// The same backup with another redirect URI, and the sum that fits.
fn forge(whole: &str) -> String {
    use mcp_deputy::domain::backup::{Read, Reader, Writer};

    let mut reader = Reader::default();
    let mut writer = None;
    let mut forged = Vec::new();
    for line in whole.replace("http://127.0.0.1", "https://evil.example").split_inclusive('\n') {
        let read = match serde_json::from_str::<serde_json::Value>(line) {
            Ok(value) if value.get("end").is_some() => break,
            _ => reader.line(line.as_bytes()).unwrap(),
        };
        match read {
            Read::Head(head) => {
                let (begun, line) = Writer::begin(head.taken_at, &head.issuer, &head.made_by);
                writer = Some(begun);
                forged.extend(line);
            }
            Read::Client(client) => forged.extend(writer.as_mut().unwrap().client(*client)),
            Read::End(..) => {}
        }
    }
    forged.extend(writer.unwrap().end(|_| [0; 32]));
    String::from_utf8(forged).unwrap()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what the gateway says of its own clock is held against that")]
async fn a_backup_replaces_nothing_and_a_restore_needs_an_empty_store_that_nobody_uses() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    let app = app(&world, "An app").await;
    let file = backed_up(&world, "backup").await;
    let path = file.to_str().unwrap();
    let before = fs::read(&file).unwrap();

    let (status, _, error) = world.command(&["backup", path]).await;
    assert!(status == Some(1) && error.contains("--force"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    world.client("One more").await;
    // What an earlier run left does not stand in the way, and is not followed.
    let victim = world.folder().join("victim");
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink(&victim, world.folder().join("backup.part")).unwrap();
    assert_eq!(world.command(&["backup", path, "--force"]).await.0, Some(0));
    assert_ne!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    let (status, out, said) = world.command(&["backup", "-"]).await;
    assert!(status == Some(0) && out.lines().count() == 4 && said.contains("2 apps"), "{said}");
    assert_eq!(process.told("event", "backup_taken").len(), 3);
    let last = world.metrics().await.value("mcp_deputy_last_backup_timestamp_seconds", &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(last <= now && last + 60 > now, "{last} {now}");

    let (status, _, error) = world.command(&["restore", path]).await;
    assert!(status == Some(1) && error.contains("another process holds the store"), "{error}");
    process.terminate();
    process.ended().await;
    let (status, _, error) = world.command(&["restore", path]).await;
    assert!(status == Some(1) && error.contains("not empty"), "{error}");
    let (status, said, _) = world.command(&["restore", path, "--dry-run"]).await;
    assert!(
        status == Some(0) && said.contains("Nothing was written") && said.contains(&app.client.id),
        "{said}"
    );

    let store = world.other_store();
    let (status, _, error) = world.command(&["restore", path, "--revoke", "mcpd_ci_nobody"]).await;
    assert!(status == Some(1) && error.contains("no app with this id"), "{error}");
    assert!(!Path::new(&store).exists());
    let (status, said, error) = world.command(&["restore", path, "--revoke", &app.client.id]).await;
    assert_eq!(status, Some(0), "{error}");
    assert!(
        said.contains("Restored 1 app, as it was") && said.contains("1 more comes back revoked"),
        "{said}"
    );
    let _process = world.start().await;
    assert_eq!(world.json(&["clients", "show", &app.client.id]).await["state"], "revoked");
}
