//! `doctor`, with the real binary: in a healthy set-up it finds nothing; of each planted fault it finds exactly that one, says
//! what to do, and its exit status is 1.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use mcp_deputy::{gateway::now, net::tls::Certificates, sandbox::third_party::StaticClient};
use rustls::ServerConfig;
use serde_json::Value;

use crate::support::{
    PATIENCE,
    backend::Backend,
    front::{Front, Twist},
    process::{Process, World},
};

const DAY: u64 = 24 * 60 * 60;
/// Long enough for nobody to be warned.
const MONTHS: u64 = 90;

/// A gateway behind a proxy that speaks TLS, everything as it should be.
struct Scene {
    world: World,
    front: Front,
    process: Option<Process>,
    certificate: PathBuf,
    secret: String,
}

/// What doctor said.
struct Said {
    status: Option<i32>,
    text: String,
    report: Value,
}

impl Scene {
    /// With this proxy, and a certificate that is good for so many days from now on.
    async fn set(twist: Twist, days: u64) -> Self {
        let world = World::new().await;
        let listen = world.origin.trim_start_matches("http://").to_owned();
        Self::before(world, &listen, twist, now().as_secs() + days * DAY).await
    }

    /// Before it starts; the proxy sends everything to `backend`.
    async fn before(world: World, backend: &str, twist: Twist, not_after: u64) -> Self {
        let (tls, pem) = certificate(not_after);
        let certificate = world.folder().join("root.pem");
        fs::write(&certificate, pem).unwrap();
        let front = Front::start(backend, Some(tls), twist).await;
        let text = fs::read_to_string(world.config()).unwrap();
        let secret = between(&text, "client_secret = \"", "\"");
        let scene = Self { world, front, process: None, certificate, secret };
        scene.edit("public_url = \"", "\"", &scene.url());
        scene.world.configure("trusted_proxies = [\"127.0.0.1\"]");
        scene.register(&format!("{}/callback/quarry", scene.url()));
        scene
    }

    async fn healthy() -> Self {
        Self::set(Twist::default(), MONTHS).await
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.front.port)
    }

    /// Replaces what stands between these in the configuration.
    fn edit(&self, from: &str, to: &str, with: &str) {
        let text = fs::read_to_string(self.world.config()).unwrap();
        let old = between(&text, from, to);
        let text = text.replacen(&format!("{from}{old}{to}"), &format!("{from}{with}{to}"), 1);
        fs::write(self.world.config(), text).unwrap();
        mode(&self.world.config(), 0o600);
    }

    /// Registers our client at the third party, with this redirect URI.
    fn register(&self, redirect_uri: &str) {
        let text = fs::read_to_string(self.world.config()).unwrap();
        let provider = between(&text, "[provider.", "]");
        self.world.third_party.register_client(StaticClient {
            client_id: between(&text, "client_id = \"", "\""),
            client_secret: self.secret.clone().into(),
            name: "The gateway".to_owned(),
            redirect_uris: vec![redirect_uri.replace("/quarry", &format!("/{provider}"))],
        });
    }

    fn store(&self) -> PathBuf {
        self.world.folder().join("data")
    }

    async fn run(mut self) -> Said {
        self.start().await;
        self.doctor().await
    }

    async fn start(&mut self) {
        mode(&self.world.config(), 0o600);
        self.process = Some(self.world.start().await);
    }

    async fn doctor(&self) -> Said {
        let (status, text, error) = self.asked(&["--json"]).await;
        let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {error}"));
        let (_, table, _) = self.asked(&[]).await;
        let key = fs::read_to_string(self.store().with_extension("key")).unwrap_or_default();
        for said in [&text, &table, &error] {
            assert!(!said.contains(&self.secret), "the client secret is shown");
            assert!(key.is_empty() || !said.contains(key.trim()), "the key is shown");
            assert!(!said.contains('\u{1b}'), "colours where nobody sees them");
        }
        Said { status, text: text + &table, report }
    }

    async fn asked(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-deputy"));
        command.arg("doctor").args(more).arg("--config").arg(self.world.config()).stdin(Stdio::null());
        command.env("SSL_CERT_FILE", &self.certificate);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

impl Said {
    /// The slugs of everything that is wrong.
    fn slugs(&self) -> BTreeSet<&str> {
        self.report["findings"].as_array().unwrap().iter().filter_map(|it| it["slug"].as_str()).collect()
    }

    /// Exactly this is wrong, and somebody can do something about it.
    fn finds(&self, slug: &str, remedy: &str) {
        self.told(slug, remedy);
        assert_eq!(self.status, Some(1), "{}", self.text);
    }

    fn warns(&self, slug: &str, remedy: &str) {
        self.told(slug, remedy);
        assert_eq!(self.status, Some(0), "{}", self.text);
    }

    fn told(&self, slug: &str, remedy: &str) {
        assert_eq!(self.slugs(), BTreeSet::from([slug]), "{}", self.text);
        let finding =
            self.report["findings"].as_array().unwrap().iter().find(|it| it["slug"] == slug).unwrap();
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{}", self.text);
        assert!(self.text.contains(&format!("[{slug}]")), "{}", self.text);
    }
}

fn between(text: &str, from: &str, to: &str) -> String {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from} in {text}"));
    rest.split(to).next().unwrap().to_owned()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A certificate for 127.0.0.1, and its PEM to be trusted.
fn certificate(not_after: u64) -> (Arc<ServerConfig>, String) {
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(not_after);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let certificates = Certificates::from_pem(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    (certificates.server_config().unwrap(), made.pem())
}

#[tokio::test]
async fn a_healthy_gateway_is_found_healthy() {
    let said = Scene::healthy().await.run().await;
    assert_eq!(said.status, Some(0), "{}", said.text);
    assert!(said.slugs().is_empty(), "{}", said.text);
    for count in ["faults", "warnings", "skipped"] {
        assert_eq!(said.report[count], 0, "{}", said.text);
    }
    // Everything was looked at.
    let checks: BTreeSet<&str> =
        said.report["findings"].as_array().unwrap().iter().map(|it| it["check"].as_str().unwrap()).collect();
    assert_eq!(checks.len(), 16, "{checks:?}");
}

#[tokio::test]
async fn a_healthy_gateway_with_nothing_in_front_is_found_healthy() {
    let mut world = World::new().await;
    mode(&world.config(), 0o600);
    let process = world.start().await;
    let (status, said, _) = world.command(&["doctor"]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("0 faults, 0 warnings") && said.contains("0 not looked at"), "{said}");
    drop(process);
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_no_fault_and_what_is_unknown_is_said() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    scene.process = None;
    let said = scene.doctor().await;
    said.warns("gateway_not_running", "Start it");
    assert!(said.report["skipped"].as_u64().unwrap() >= 4, "{}", said.text);
    assert!(said.text.contains("only the running gateway can say"), "{}", said.text);
}

#[tokio::test]
async fn planted_a_public_url_that_does_not_exist() {
    let scene = Scene::healthy().await;
    scene.edit("public_url = \"", "\"", "https://no-such-host.invalid");
    scene.register("https://no-such-host.invalid/callback/quarry");
    scene.run().await.finds("public_url_unresolved", "Correct the host in public_url");
}

#[tokio::test]
async fn planted_a_public_url_where_nobody_listens() {
    let scene = Scene::healthy().await;
    scene.edit("public_url = \"", "\"", "https://127.0.0.1:1");
    scene.register("https://127.0.0.1:1/callback/quarry");
    scene.run().await.finds("public_url_unreachable", "correct public_url");
}

#[tokio::test]
async fn planted_a_proxy_that_does_not_pass_the_host() {
    let twist = Twist { drops_host: true, ..Twist::default() };
    Scene::set(twist, MONTHS).await.run().await.finds("host_not_passed", "proxy_set_header Host");
}

#[tokio::test]
async fn planted_a_proxy_that_takes_secure_and_samesite_from_cookies() {
    let twist = Twist { takes_from_cookies: &["Secure", "SameSite"], ..Twist::default() };
    let said = Scene::set(twist, MONTHS).await.run().await;
    said.finds("cookies_changed", "proxy_cookie_flags");
    assert!(said.text.contains("Secure is gone, SameSite is gone"), "{}", said.text);
}

#[tokio::test]
async fn planted_a_platform_that_adds_a_domain_to_cookies() {
    let twist = Twist { adds_to_cookies: "; Domain=127.0.0.1", ..Twist::default() };
    let said = Scene::set(twist, MONTHS).await.run().await;
    said.finds("cookies_changed", "proxy_cookie_domain");
    assert!(said.text.contains("there is a Domain"), "{}", said.text);
}

#[tokio::test]
async fn planted_a_proxy_that_keeps_cookies() {
    let twist = Twist { drops_cookies: true, ..Twist::default() };
    Scene::set(twist, MONTHS).await.run().await.finds("cookies_dropped", "Set-Cookie");
}

#[tokio::test]
async fn planted_a_proxy_that_is_not_trusted() {
    let scene = Scene::healthy().await;
    scene.edit("trusted_proxies = [\"", "\"]", "192.0.2.7");
    scene.run().await.finds("proxy_not_trusted", "trusted_proxies = [\"127.0.0.1\"]");
}

#[tokio::test]
async fn planted_a_proxy_that_hides_who_is_asking() {
    let twist = Twist { hides_the_client: true, ..Twist::default() };
    Scene::set(twist, MONTHS).await.run().await.finds("forwarded_for_missing", "X-Forwarded-For");
}

#[tokio::test]
async fn planted_a_proxy_that_believes_its_clients() {
    let twist = Twist { believes_the_client: true, ..Twist::default() };
    Scene::set(twist, MONTHS).await.run().await.finds("forwarded_for_chosen", "append");
}

#[tokio::test]
async fn planted_a_proxy_that_people_reach_without_tls() {
    let twist = Twist { says_proto: Some("http"), ..Twist::default() };
    Scene::set(twist, MONTHS).await.run().await.warns("forwarded_proto_plain", "https");
}

#[tokio::test]
async fn planted_well_knowns_that_the_proxy_keeps_to_itself() {
    let twist = Twist { blocks: Some("/.well-known/"), ..Twist::default() };
    Scene::set(twist, MONTHS).await.run().await.finds("well_known_blocked", "/.well-known/oauth-");
}

#[tokio::test]
async fn planted_well_knowns_of_another_day() {
    let twist = Twist { rewrites: Some(("S256".to_owned(), "plain".to_owned())), ..Twist::default() };
    let said = Scene::set(twist, MONTHS).await.run().await;
    said.finds("well_known_wrong", "caches");
    assert!(said.text.contains("code_challenge_methods_supported"), "{}", said.text);
}

#[tokio::test]
async fn planted_another_gateway_at_public_url() {
    // It has the same configuration, as far as a stranger sees.
    let mut other = World::new().await;
    let backend = other.origin.trim_start_matches("http://").to_owned();
    let world = World::new().await;
    let mut scene = Scene::before(world, &backend, Twist::default(), now().as_secs() + MONTHS * DAY).await;
    scene.start().await;
    let text = fs::read_to_string(other.config()).unwrap();
    let old = between(&text, "public_url = \"", "\"");
    fs::write(other.config(), text.replacen(&old, &scene.url(), 1)).unwrap();
    let _process = other.start().await;
    scene.doctor().await.finds("another_gateway", "lead to this gateway");
}

#[tokio::test]
async fn planted_a_proxy_that_does_not_reach_the_gateway() {
    let world = World::new().await;
    let end = now().as_secs() + MONTHS * DAY;
    let scene = Scene::before(world, "127.0.0.1:1", Twist::default(), end).await;
    scene.run().await.finds("public_url_bad_gateway", "listen");
}

#[tokio::test]
async fn planted_a_certificate_that_has_expired() {
    let world = World::new().await;
    let backend = world.origin.trim_start_matches("http://").to_owned();
    let scene = Scene::before(world, &backend, Twist::default(), now().as_secs() - DAY).await;
    scene.run().await.finds("certificate_expired", "Renew it");
}

#[tokio::test]
async fn planted_a_certificate_that_expires() {
    Scene::set(Twist::default(), 1).await.run().await.finds("certificate_expires_now", "Renew it now");
    Scene::set(Twist::default(), 10).await.run().await.warns("certificate_expires_soon", "renewal");
}

#[tokio::test]
async fn planted_a_certificate_that_nobody_knows() {
    let scene = Scene::healthy().await;
    let (_, stranger) = certificate(now().as_secs() + MONTHS * DAY);
    fs::write(&scene.certificate, stranger).unwrap();
    scene.run().await.finds("certificate_untrusted", "whole chain");
}

#[tokio::test]
async fn planted_a_provider_with_another_time() {
    let scene = Scene::healthy().await;
    let endpoint = scene.world.third_party.authorization_endpoint();
    let origin = scene.world.third_party.origin();
    let late = Twist { late: 3600, ..Twist::default() };
    let front = Front::start(origin.trim_start_matches("http://"), None, late).await;
    let path = endpoint.strip_prefix(origin).unwrap();
    let late = format!("http://127.0.0.1:{}{path}", front.port);
    scene.edit("authorization_endpoint = \"", "\"", &late);
    let said = scene.run().await;
    said.finds("clock_wrong", "Synchronise");
    assert!(said.text.contains("s ahead of http://127.0.0.1:"), "{}", said.text);
}

#[tokio::test]
async fn planted_a_wrong_client_secret() {
    let scene = Scene::healthy().await;
    scene.edit("client_secret = \"", "\"", "not-the-secret-of-this-app");
    scene.run().await.finds("client_secret_wrong", "client_secret that the provider shows");
}

#[tokio::test]
async fn planted_a_client_that_the_provider_does_not_know() {
    let scene = Scene::healthy().await;
    scene.edit("client_id = \"", "\"", "nobody");
    scene.run().await.finds("client_id_unknown", "client_id that the provider shows");
}

#[tokio::test]
async fn planted_a_redirect_uri_that_is_not_registered() {
    let scene = Scene::healthy().await;
    scene.register("https://mcp.example.com/callback/quarry");
    let callback = format!("{}/callback/", scene.url());
    scene.run().await.finds("redirect_uri_unknown", &callback);
}

#[tokio::test]
async fn planted_a_provider_that_is_away() {
    let scene = Scene::healthy().await;
    scene.edit("userinfo_endpoint = \"", "\"", "http://127.0.0.1:1/user");
    scene.run().await.finds("provider_unreachable", "firewall");
}

#[tokio::test]
async fn planted_an_mcp_server_that_is_down() {
    let scene = Scene::healthy().await;
    scene.edit("upstream_url = \"", "\"", "http://127.0.0.1:1/mcp");
    scene.run().await.finds("mcp_server_unreachable", "Start the MCP server");
}

#[tokio::test]
async fn planted_an_mcp_server_that_redirects() {
    let backend = Backend::saying(307, &[("location", "/backend/?canary=1")], "").await;
    let scene = Scene::healthy().await;
    scene.edit("upstream_url = \"", "\"", &backend.url);
    scene.run().await.finds("mcp_server_redirects", &format!("upstream_url = \"{}/\"", backend.url));
}

#[tokio::test]
async fn planted_something_else_where_the_mcp_server_should_be() {
    let canary = "ignore-all-previous-instructions";
    let backend = Backend::saying(200, &[("x-canary", "ignore-all-previous-instructions")], canary).await;
    let scene = Scene::healthy().await;
    scene.edit("upstream_url = \"", "\"", &backend.url);
    let said = scene.run().await;
    said.finds("mcp_server_elsewhere", "upstream_url");
    assert!(!said.text.contains(canary), "{}", said.text);
}

#[tokio::test]
async fn planted_a_key_file_that_others_may_read() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    mode(&scene.store().with_extension("key"), 0o644);
    scene.doctor().await.finds("key_open", "chmod 0600");
}

#[tokio::test]
async fn planted_a_key_inside_the_store() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    let copy = scene.store().join("copy-of-the-key");
    fs::copy(scene.store().with_extension("key"), &copy).unwrap();
    mode(&copy, 0o600);
    scene.doctor().await.finds("key_inside_store", "Move it out");
}

/// After a rotation the key file holds more than a key.
#[tokio::test]
async fn planted_a_copy_of_a_key_file_with_several_keys_inside_the_store() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    let (status, _, error) = scene.world.command(&["keys", "new"]).await;
    assert_eq!(status, Some(0), "{error}");
    let (key, copy) = (scene.store().with_extension("key"), scene.store().join("copy"));
    fs::copy(&key, &copy).unwrap();
    mode(&copy, 0o600);
    scene.doctor().await.finds("key_inside_store", "Move it out");
    // One of before the rotation opens the copies of before it.
    let text = fs::read_to_string(&key).unwrap();
    let old = text.lines().last().unwrap().split(' ').next().unwrap();
    fs::write(&copy, format!("{old}\n")).unwrap();
    scene.doctor().await.finds("key_inside_store", "Move it out");
}

/// The gateway that runs goes on; it would not start any more.
#[tokio::test]
async fn planted_a_key_file_that_holds_no_key() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    for text in ["", "half a k", "AAAA\n"] {
        fs::write(scene.store().with_extension("key"), text).unwrap();
        scene.doctor().await.finds("key_damaged", "Bring the key file back");
    }
}

/// The gateway that runs still has the right one; the next start would not.
#[tokio::test]
async fn planted_the_key_file_of_another_day() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    let key = scene.store().with_extension("key");
    let copy = fs::read(&key).unwrap();
    assert_eq!(scene.world.command(&["keys", "new"]).await.0, Some(0));
    fs::write(&key, copy).unwrap();
    scene.doctor().await.finds("key_of_another_day", "mcp-deputy keys new");
}

#[tokio::test]
async fn planted_a_key_that_is_gone() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    fs::remove_file(scene.store().with_extension("key")).unwrap();
    scene.doctor().await.finds("key_missing", "Bring the key file back");
}

#[tokio::test]
async fn planted_a_store_that_others_may_enter() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    mode(&scene.store(), 0o755);
    scene.doctor().await.finds("store_open", "chmod 0700");
}

#[tokio::test]
async fn planted_a_configuration_that_others_may_read() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    mode(&scene.world.config(), 0o644);
    scene.doctor().await.warns("configuration_readable", "chmod 0600");
}

#[tokio::test]
async fn planted_a_configuration_that_the_gateway_refused() {
    let mut scene = Scene::healthy().await;
    scene.start().await;
    scene.world.configure("log = \"mcp_deputy=loud\"");
    let refused = async {
        while scene.world.metrics().await.value("mcp_deputy_config_last_reload_successful", &[]) == 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it is read again");
    scene.doctor().await.warns("configuration_refused", "mcp-deputy check");
}

#[tokio::test]
async fn planted_proxies_that_are_half_the_world() {
    let scene = Scene::healthy().await;
    scene.edit("trusted_proxies = [\"", "\"]", "0.0.0.0/1");
    scene.run().await.warns("proxies_are_many", "only the addresses");
}

#[tokio::test]
async fn a_configuration_that_is_refused_is_said_in_both_ways() {
    let world = World::new().await;
    fs::write(world.config(), "public_url = 7\n").unwrap();
    let (status, _, error) = world.command(&["doctor"]).await;
    assert_eq!(status, Some(64), "{error}");
    assert!(error.contains("proxy.toml"), "{error}");
    let (status, said, _) = world.command(&["doctor", "--json"]).await;
    assert_eq!(status, Some(64));
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["findings"][0]["slug"], "configuration_wrong");
}

#[tokio::test]
async fn attack_a_stranger_learns_nothing_of_the_mirror() {
    let mut scene = Scene::healthy().await;
    scene.world.configure("admin_token = \"0123456789abcdef0123456789abcdef\"");
    scene.start().await;
    let listen = scene.world.origin.clone();
    let ask = async |query: &str| {
        let request = http::Request::get(format!("{listen}/consent{query}"))
            .header("host", scene.url().trim_start_matches("https://"));
        let answer = scene.world.fetch.send(request.body("".into()).unwrap()).await.unwrap();
        let mut headers = answer.headers().clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (answer.status(), headers, answer.body().clone())
    };
    let nothing = ask("").await;
    assert_eq!(nothing.0, 405);
    // Also while a nonce is open, and once more with one that was used.
    let opened = scene.world.admin_api("POST", "/admin/v1/mirror").await.json();
    assert_eq!(ask("?mirror=guess").await, nothing);
    let nonce = opened["nonce"].as_str().unwrap();
    assert_eq!(ask(&format!("?mirror={nonce}")).await.0, 200);
    assert_eq!(ask(&format!("?mirror={nonce}")).await, nothing);
}
