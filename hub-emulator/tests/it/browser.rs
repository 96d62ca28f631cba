//! A headless Chromium, driven over the WebDriver protocol by `chromedriver`.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A browser starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a page is looked at while a test waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Browser {
    driver: Child,
    client: Client,
    session: String,
    /// Ends with the browser.
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // So that its browser can be ended with it.
            .process_group(0)
            .spawn()
            .expect("chromedriver, of Debian's package chromium-driver");
        let stdout = BufReader::new(driver.stdout.take().unwrap());
        let port = stdout
            .lines()
            .find_map(|line| {
                let line = line.ok()?;
                let (_, port) = line.split_once("successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver to say its port");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            client: Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            session: format!("http://127.0.0.1:{port}/session"),
            _profile: profile,
        };
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            &profile,
        ];
        let options = json!({"args": arguments});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let session = browser.ask(Method::POST, "", wanted).await;
        browser.session += "/";
        browser.session += session["sessionId"].as_str().expect("a session");
        browser
    }

    pub(crate) async fn open(&self, url: &str) {
        self.ask(Method::POST, "/url", json!({"url": url})).await;
    }

    /// What a function body returns in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        self.ask(Method::POST, "/execute/sync", script).await
    }

    /// The text that a person sees in an element; nothing where it is hidden.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = format!(
            "const e = document.querySelector({}); return e?.checkVisibility() ? e.innerText : ''",
            json!(selector)
        );
        self.run(&script)
            .await
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until an element shows a text.
    #[track_caller]
    pub(crate) fn shows(&self, selector: &str, text: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let shown = self.text(selector).await;
                if shown.contains(text) {
                    return;
                }
                assert!(
                    Instant::now() < deadline,
                    "{place}: {selector} shows {shown:?}, not {text:?}"
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// A command of the DevTools protocol.
    pub(crate) async fn command(&self, name: &str, parameters: Value) -> Value {
        let command = json!({"cmd": name, "params": parameters});
        self.ask(Method::POST, "/goog/cdp/execute", command).await
    }

    /// Writes what it shows into a file of this name in the build folder, for a person to look at.
    pub(crate) async fn screenshot(&self, name: &str) {
        let whole = json!({"format": "png", "captureBeyondViewport": true});
        let image = self.command("Page.captureScreenshot", whole).await;
        let image = STANDARD.decode(image["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), image).unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let answer = self.client.request(method, url).json(&body).send().await;
        let answer: Value = answer.unwrap().json().await.unwrap();
        let value = &answer["value"];
        assert!(value["error"].is_null(), "{path}: {value}");
        value.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
    }
}
