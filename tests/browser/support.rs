//! A browser for tests: chromedriver on a free port, headless Chromium with a profile of its own.
//!
//! [`Browser::start`] gives `None` (after saying why) where there is no browser. Whatever was started ends with the
//! value, also when a test panics.

use std::{
    env,
    future::Future,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    ChromiumLikeCapabilities, DesiredCapabilities, WebDriver,
    action_chain::ActionChain,
    error::{WebDriverError, WebDriverResult},
    session::http::{Body, HttpClient},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many tests have browsers at a time: more of them make every delay a guess. A test takes one place, whatever it starts:
/// two tests that held one each and waited for another would wait for ever.
static PLACES: Semaphore = Semaphore::const_new(2);

/// How long a browser gets for what it must do, in steps of [`STEP`]: half a minute. Machines on which everything is built and
/// tested at once are slow.
const STEPS: usize = 600;
const STEP: Duration = Duration::from_millis(50);

/// What a person points with.
#[derive(Clone, Copy)]
pub(crate) enum Pointer {
    /// It never hovers.
    Finger,
    Mouse,
}

/// A running browser with one window. Fields are dropped in this order: session, driver, profile.
pub(crate) struct Browser {
    driver: WebDriver,
    _process: Process,
    _profile: TempDir,
    place: Arc<SemaphorePermit<'static>>,
}

impl Browser {
    /// A browser on a machine with a mouse.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(MOUSE, json!({})).await
    }

    /// Somebody else's browser, in the same test.
    pub(crate) async fn another(&self) -> Option<Self> {
        Self::open(&[MOUSE], json!({}), Arc::clone(&self.place)).await
    }

    /// A browser on a machine whose pointer is a finger: it never hovers.
    pub(crate) async fn start_touch() -> Option<Self> {
        Self::start_with(FINGER, json!({})).await
    }

    /// A browser that runs no scripts in pages.
    pub(crate) async fn start_without_scripts() -> Option<Self> {
        let prefs = json!({ "profile.managed_default_content_settings.javascript": 2 });
        Self::start_with(MOUSE, prefs).await
    }

    /// A browser that keeps no cookies.
    pub(crate) async fn start_without_cookies() -> Option<Self> {
        Self::start_with(MOUSE, json!({ "profile.default_content_setting_values.cookies": 2 })).await
    }

    /// A browser that believes every certificate.
    pub(crate) async fn start_trusting_everybody() -> Option<Self> {
        Self::launch(&[MOUSE, "--ignore-certificate-errors"], json!({})).await
    }

    /// A browser for somebody who points like this and wants text of this size (16 where nobody changed it); it believes
    /// every certificate.
    pub(crate) async fn start_for(pointer: Pointer, text: u32) -> Option<Self> {
        let pointer = match pointer {
            Pointer::Finger => FINGER,
            Pointer::Mouse => MOUSE,
        };
        let prefs = json!({
            "webkit.webprefs.default_font_size": text,
            "webkit.webprefs.default_fixed_font_size": text * 13 / 16,
        });
        Self::launch(&[pointer, "--ignore-certificate-errors"], prefs).await
    }

    async fn start_with(pointer: &str, prefs: Value) -> Option<Self> {
        Self::launch(&[pointer], prefs).await
    }

    async fn launch(more: &[&str], prefs: Value) -> Option<Self> {
        Self::open(more, prefs, Arc::new(PLACES.acquire().await.unwrap())).await
    }

    async fn open(more: &[&str], prefs: Value, place: Arc<SemaphorePermit<'static>>) -> Option<Self> {
        let (Some(chromium), Some(chromedriver)) =
            (find(&["chromium", "chromium-browser", "google-chrome"]), find(&["chromedriver"]))
        else {
            let required = env::var("MCP_DEPUTY_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
            assert!(!required, "chromium or chromedriver is missing, and MCP_DEPUTY_REQUIRE_BROWSER=1");
            // Not `eprintln!`: the test runner would keep that to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: chromium or chromedriver is missing (Debian: apt-get install chromium-driver)"
            );
            return None;
        };
        let (process, port) = Process::start(&chromedriver);
        let profile = TempDir::new().unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(chromium.to_str().unwrap()).unwrap();
        for argument in ARGUMENTS.iter().chain(more) {
            capabilities.add_arg(argument).unwrap();
        }
        capabilities.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        capabilities.add_experimental_option("prefs", prefs).unwrap();
        let driver = WebDriver::builder(format!("http://127.0.0.1:{port}"), capabilities)
            .client(Wire::new())
            .connect()
            .await
            .unwrap();
        Some(Self { driver, _process: process, _profile: profile, place })
    }

    /// The session itself, for what is not spelled out here.
    pub(crate) fn driver(&self) -> &WebDriver {
        &self.driver
    }

    /// Opens `url` and waits until it is loaded.
    pub(crate) async fn goto(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// The result of a script in the page, such as `return 1`.
    pub(crate) async fn ask(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.unwrap().json().clone()
    }

    /// The address of the page in the current window.
    pub(crate) async fn url(&self) -> String {
        self.driver.current_url().await.unwrap().to_string()
    }

    /// Waits up to half a minute until the address in any window begins with `start`, and turns to that window.
    pub(crate) async fn turn_to(&self, start: &str) {
        for _ in 0..STEPS {
            for window in self.driver.windows().await.unwrap() {
                self.driver.switch_to_window(window).await.unwrap();
                if self.url().await.starts_with(start) {
                    return;
                }
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("no window at {start}");
    }

    /// The names of all cookies that go to `url`, sorted, those included that scripts cannot read.
    pub(crate) async fn cookie_names(&self, url: &str) -> Vec<String> {
        let cookies = self.devtools("Network.getCookies", json!({ "urls": [url] })).await;
        let cookies = cookies["cookies"].as_array().unwrap();
        let mut names: Vec<_> =
            cookies.iter().map(|cookie| cookie["name"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Where the middle of the first element that matches `selector` is, seen or not, scrolled into view. Waits up to half a
    /// minute until there is one: an address is that of the next page before the page is there.
    pub(crate) async fn middle_of(&self, selector: &str) -> (i64, i64) {
        let script = format!(
            "const e = document.querySelector({selector:?}); if (!e) return null; \
             e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); \
             return [Math.round(b.x + b.width / 2), Math.round(b.y + b.height / 2)]"
        );
        for _ in 0..STEPS {
            let place = self.driver.execute(&*script, Vec::new()).await;
            let place = place.map(|place| place.json().clone()).unwrap_or_default();
            if let (Some(x), Some(y)) = (place[0].as_i64(), place[1].as_i64()) {
                return (x, y);
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("no {selector} at {:?}", self.driver.current_url().await);
    }

    /// Pointer and keyboard, as fast as they get.
    pub(crate) fn hands(&self) -> ActionChain {
        self.driver.action_chain_with_delay(Some(Duration::ZERO), Some(Duration::ZERO))
    }

    /// Moves the pointer.
    pub(crate) async fn point_at(&self, (x, y): (i64, i64)) {
        let chain = self.hands();
        chain.move_to(x, y).perform().await.unwrap();
    }

    /// Moves the pointer and clicks without a pause between.
    pub(crate) async fn click_at(&self, (x, y): (i64, i64)) {
        let chain = self.hands();
        chain.move_to(x, y).click().perform().await.unwrap();
    }

    /// Points at the element, waits until it can be seen, and clicks it: what a person does.
    pub(crate) async fn click(&self, selector: &str) {
        let place = self.middle_of(selector).await;
        self.point_at(place).await;
        self.wait_for(&format!("return {}", seen(selector))).await;
        self.click_at(place).await;
    }

    /// Presses one key, without a pause.
    pub(crate) async fn press(&self, key: impl Into<char>) {
        let key: char = key.into();
        let chain = self.hands();
        chain.key_down(key).key_up(key).perform().await.unwrap();
    }

    /// Waits up to half a minute until the script returns true.
    pub(crate) async fn wait_for(&self, script: &str) {
        for _ in 0..STEPS {
            let answer = self.driver.execute(script, Vec::new()).await;
            if answer.is_ok_and(|answer| answer.json() == &Value::Bool(true)) {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("never true: {script} at {:?}", self.driver.current_url().await);
    }

    /// Waits up to half a minute until the address begins with `start`, and gives it.
    pub(crate) async fn wait_for_url(&self, start: &str) -> String {
        for _ in 0..STEPS {
            // The driver refuses where a page is just being left.
            if let Ok(url) = self.driver.current_url().await
                && url.as_str().starts_with(start)
            {
                return url.to_string();
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("never at {start} but at {:?}", self.driver.current_url().await);
    }

    /// A command of the Chrome developer tools protocol.
    pub(crate) async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.unwrap()
    }

    /// Makes this window's page as large as a screen of that size.
    pub(crate) async fn screen(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets media features, such as `("prefers-color-scheme", "dark")`.
    pub(crate) async fn media(&self, name: &str, value: &str) {
        let features = json!({ "features": [{ "name": name, "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Asks for pages in this language, as a browser does that is set to it.
    pub(crate) async fn language(&self, wanted: &str) {
        self.devtools("Network.enable", json!({})).await;
        let headers = json!({ "headers": { "Accept-Language": wanted } });
        self.devtools("Network.setExtraHTTPHeaders", headers).await;
    }

    /// Saves the whole page as `target/screenshots/NAME.png`.
    pub(crate) async fn screenshot(&self, name: &str) {
        self.photograph(name, true).await;
    }

    /// Saves what the window shows: it does not grow for the picture, by which a pointer would leave the page for a moment.
    pub(crate) async fn screenshot_of_window(&self, name: &str) {
        self.photograph(name, false).await;
    }

    async fn photograph(&self, name: &str, is_whole: bool) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        // A scroll bar would take from the picture what it does not take from the page.
        self.devtools("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
        let shot =
            self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": is_whole })).await;
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, shot["data"].as_str().unwrap());
        std::fs::write(folder.join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }
}

/// Script text that is true when the element can be seen.
pub(crate) fn seen(selector: &str) -> String {
    format!("(getComputedStyle(document.querySelector({selector:?})).visibility === 'visible')")
}

/// chromedriver, ended with the value.
struct Process(Child);

impl Process {
    fn start(path: &PathBuf) -> (Self, u16) {
        let mut child =
            Command::new(path).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let process = Self(child);
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| {
                line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
            })
            .unwrap();
        // The pipe stays read, so that the driver never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        (process, port)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How commands travel to the driver: thirtyfour's own client would bring another HTTP and TLS stack.
struct Wire(Client<HttpConnector, Full<Bytes>>);

impl Wire {
    fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl HttpClient for Wire {
    fn send<'a, 'b, 'f>(
        &'a self,
        request: Request<Body<'b>>,
    ) -> Pin<Box<dyn Future<Output = WebDriverResult<Response<Bytes>>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let request = request.map(|body| {
                Full::new(match body {
                    Body::Empty => Bytes::new(),
                    Body::Json(value) => Bytes::from(value.to_string()),
                })
            });
            let failed = |error: &dyn std::error::Error| WebDriverError::RequestFailed(error.to_string());
            let (parts, body) = self.0.request(request).await.map_err(|error| failed(&error))?.into_parts();
            let body = body.collect().await.map_err(|error| failed(&error))?.to_bytes();
            Ok(Response::from_parts(parts, body))
        })
    }

    fn new<'a, 'f>(&'a self) -> Pin<Box<dyn Future<Output = Arc<dyn HttpClient>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async { Arc::new(Wire::new()) as Arc<dyn HttpClient> })
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

const ARGUMENTS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // A hosted client, which is not there: its redirect URI is where the way ends.
    "--host-resolver-rules=MAP app.example ~NOTFOUND",
    // Room for a whole page, so that a place found in one page is the same place in the next.
    "--screen-info={1200x1400}",
    "--window-size=1000,1300",
    // Windows of tests are not on a screen, and all of them count as seen.
    "--disable-backgrounding-occluded-windows",
];

// Without a screen Chromium finds no pointing device, and answers media queries accordingly: say what there is.
const MOUSE: &str =
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4";
const FINGER: &str =
    "--blink-settings=primaryHoverType=1,availableHoverTypes=1,primaryPointerType=2,availablePointerTypes=2";
