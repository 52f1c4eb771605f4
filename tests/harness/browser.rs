//! A real browser: headless Chromium, driven over `WebDriver` as its specification says.
//!
//! Invariant: neither the browser nor its driver outlives the test: both are in a process group that is killed when this is dropped.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::send;
use super::process::PATIENCE;
use super::tools::repository;

/// The name by which `WebDriver` tells an element from other values.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    /// The profile, and whatever else it writes.
    _folder: TempDir,
}

/// Light or dark, as the machine's user likes it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver runs: scripts/install-tools installs it");
        let lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = tokio::task::spawn_blocking(move || {
            let mut lines = lines.map_while(Result::ok);
            let line = lines.find(|line| line.contains("started successfully on port"));
            // The driver writes on, and must find a reader.
            std::thread::spawn(move || lines.for_each(drop));
            line
        });
        let line = port.await.expect("no panic").expect("it names its port");
        let port: u16 = line
            .trim_end_matches('.')
            .rsplit(' ')
            .next()
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("no port in {line:?}"));
        let profile = folder.path().join("profile");
        let profile = format!("--user-data-dir={}", profile.display());
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            _folder: folder,
        };
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
            "--hide-scrollbars",
            "--window-size=1280,900",
            &profile,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let started = browser.call("POST", "", wanted).await;
        let id = started["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    /// Goes to a page, and waits until it is loaded.
    pub(crate) async fn visit(&self, url: &str) {
        self.call("POST", "/url", json!({ "url": url })).await;
    }

    /// Where it is.
    pub(crate) async fn url(&self) -> String {
        let url = self.call("GET", "/url", Value::Null).await;
        url.as_str().expect("a URL").to_owned()
    }

    /// Loads the page again.
    pub(crate) async fn reload(&self) {
        self.call("POST", "/refresh", json!({})).await;
    }

    /// Clicks the element.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        let path = format!("/element/{element}/click");
        self.call("POST", &path, json!({})).await;
    }

    /// Chooses a file in an input for files.
    pub(crate) async fn choose_file(&self, selector: &str, file: &Path) {
        let element = self.find(selector).await;
        let path = format!("/element/{element}/value");
        self.call("POST", &path, json!({ "text": file.display().to_string() }))
            .await;
    }

    /// The element's text, as it is shown.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let text = self.run(script, json!([selector])).await;
        text.as_str().expect("a text").to_owned()
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.call("POST", "/execute/sync", body).await
    }

    /// Waits until the element's text holds these words, and returns it.
    pub(crate) async fn until(&self, selector: &str, words: &str) -> String {
        let shown = async {
            loop {
                let text = self.text(selector).await;
                if text.contains(words) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, shown).await {
            Ok(text) => text,
            Err(elapsed) => panic!(
                "no {words:?} in {selector}, {elapsed}: {:?}\n{:#?}",
                self.text(selector).await,
                self.log().await
            ),
        }
    }

    /// What the console holds since it was last asked: errors of scripts, of the network and of the content security policy.
    pub(crate) async fn log(&self) -> Vec<Value> {
        let log = self
            .call("POST", "/se/log", json!({ "type": "browser" }))
            .await;
        log.as_array().expect("entries").clone()
    }

    /// A window of this width that shows the whole page, in this scheme of colours.
    pub(crate) async fn look(&self, width: u32, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
        let mut height = json!(900);
        for _ in 0..2 {
            let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            self.devtools("Emulation.setDeviceMetricsOverride", metrics)
                .await;
            height = self
                .run("return document.documentElement.scrollHeight", json!([]))
                .await;
        }
    }

    /// Takes a picture of the whole page, for people to look at: in `target/page`.
    pub(crate) async fn picture(&self, name: &str) -> PathBuf {
        let taken = self.devtools("Page.captureScreenshot", json!({})).await;
        let folder = repository().join("target/page");
        std::fs::create_dir_all(&folder).expect("target is writable");
        let path = folder.join(format!("{name}.png"));
        let data = taken["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data);
        std::fs::write(&path, bytes.expect("base64")).expect("target is writable");
        println!("{}", path.display());
        path
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("POST", "/goog/cdp/execute", body).await
    }

    async fn find(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.call("POST", "/element", wanted).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [("content-type", "application/json")];
        let answer = tokio::time::timeout(PATIENCE, send(method, &url, headers, body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("the browser hangs at {path}"));
        let text = answer.text();
        assert_eq!(answer.status, 200, "{method} {path}: {text}");
        let mut answer: Value = serde_json::from_str(&text).expect("WebDriver speaks JSON");
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The group is the driver's own, with every process of its browser.
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
    }
}
