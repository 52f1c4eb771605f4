//! The sandbox's page in a real browser, over the embedded store and over Ceph: every step works, and nothing is complained of.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::harness::browser::{Browser, Scheme};
use crate::harness::ceph::Ceph;
use crate::harness::http::send;
use crate::harness::presignd::ceph_tenant;
use crate::harness::process::{Process, presignd, with_config};

/// The page over the embedded store.
fn sandbox() -> Process {
    let free = "127.0.0.1:0";
    presignd(["dev", "--grpc", free, "--s3", free, "--page", free]).start()
}

/// The page over Ceph. Sessions have no session policy, with which RGW of Ceph 16 loses forms; and acme's grants reach too far.
fn over_ceph() -> Process {
    let ceph = Ceph::shared();
    let managed = "policy_arns: [\"arn:aws:iam::aws:policy/AmazonS3FullAccess\"], sts_endpoint";
    let tenant = |name: &str, other: &str| {
        let grants = format!(
            "[{{ commands: [read, write, delete], resources: [\"{name}-files/*\"] }}, \
             {{ commands: [PutBucketCors], resources: [{name}-files] }}, \
             {{ commands: [GetObject], resources: [\"{other}-files/*\"] }}]"
        );
        let yaml = ceph_tenant(ceph.tenant(name), &grants).replace("sts_endpoint", managed);
        format!("  {name}:\n    {}\n", yaml.replace('\n', "\n    "))
    };
    let config = format!(
        "server: {{ listen: \"127.0.0.1:0\" }}\ncallers: [{{ match: anyone }}]\ntenants:\n{}{}",
        tenant("acme", "globex"),
        tenant("globex", "acme")
    );
    let keys = ceph.presignd_credentials();
    with_config("dev", &config)
        .argument("--page=127.0.0.1:0")
        .argument("--set-cors")
        .env("AWS_ACCESS_KEY_ID", keys.access_key_id())
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key())
        .start()
}

/// The page's address, once it is served.
async fn address(process: &Process, words: &str) -> String {
    let line = process.stderr_line(words).await;
    let mut words = line.split_whitespace();
    let address = words.find(|word| word.starts_with("http://"));
    address.expect("an address").to_owned()
}

/// Files to upload.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// A file of so many bytes, which are its own, and their SHA-256.
    fn of(&self, name: &str, size: usize) -> (PathBuf, String) {
        let mut seed = u32::try_from(size).expect("a small file");
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(size).collect();
        let path = self.0.path().join(name);
        std::fs::write(&path, &bytes).expect("the folder is writable");
        let hash = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        (path, hash)
    }
}

/// The steps in a browser.
struct Steps {
    browser: Browser,
    files: Files,
}

impl Steps {
    async fn open(url: &str) -> Self {
        let browser = Browser::start().await;
        browser.visit(url).await;
        let steps = Self {
            browser,
            files: Files::new(),
        };
        steps.ready().await;
        steps
    }

    async fn ready(&self) {
        let script =
            "return document.body.dataset.ready ?? document.querySelector('#broken').innerText";
        for _ in 0..200 {
            if self.browser.run(script, json!([])).await == "yes" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "the page does not start: {}, {:#?}",
            self.browser.run(script, json!([])).await,
            self.browser.log().await
        );
    }

    async fn click(&self, step: &str, what: &str) {
        self.browser
            .click(&format!("#{step} [data-do={what}]"))
            .await;
    }

    async fn result(&self, step: &str, words: &str) -> String {
        self.browser.until(&format!("#{step} .result"), words).await
    }

    /// What was asked and answered, even where it is folded.
    async fn exchange(&self, step: &str) -> String {
        let script = "return document.querySelector(arguments[0]).textContent";
        let text = self
            .browser
            .run(script, json!([format!("#{step} .exchange")]))
            .await;
        text.as_str().expect("a text").to_owned()
    }

    /// Downloads what was uploaded last, which has this hash.
    async fn downloads(&self, key: &str, hash: &str) {
        let shown = self
            .browser
            .run(
                "return document.querySelector('#download input').value",
                json!([]),
            )
            .await;
        assert_eq!(shown, key);
        self.click("download", "download").await;
        let said = self.result("download", hash).await;
        assert!(said.contains("the same bytes that went up"), "{said}");
        assert!(self.exchange("download").await.contains("\"getObject\""));
    }

    /// Nothing was complained of but these, each of which was.
    async fn complaints(&self, expected: &[&str]) {
        let log = self.browser.log().await;
        let texts: Vec<String> = log.iter().map(Value::to_string).collect();
        let unexpected: Vec<_> = texts
            .iter()
            .filter(|text| !expected.iter().any(|words| text.contains(words)))
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
        for words in expected {
            assert!(
                texts.iter().any(|text| text.contains(words)),
                "no {words} in {texts:#?}"
            );
        }
    }

    async fn form_submitted(&self) {
        let (file, hash) = self.files.of("by form.txt", 1000);
        self.browser
            .choose_file("#form input[type=file]", &file)
            .await;
        self.browser.click("#form button[type=submit]").await;
        let said = self.result("form", "sent the browser back").await;
        assert!(said.contains("page/form/by form.txt"), "{said}");
        self.ready().await;
        assert!(self.browser.url().await.ends_with('/'));
        self.downloads("page/form/by form.txt", &hash).await;
    }

    async fn form_sent(&self) {
        // S3 holds the form to its bounds, and says so to the script.
        let (file, _) = self.files.of("too large.bin", (16 << 20) + 1);
        self.browser
            .choose_file("#form input[type=file]", &file)
            .await;
        self.click("form", "fetch").await;
        self.result("form", "EntityTooLarge").await;
        self.complaints(&["status of 400"]).await;

        let (file, hash) = self.files.of("by fetch.txt", 2000);
        self.browser
            .choose_file("#form input[type=file]", &file)
            .await;
        self.click("form", "fetch").await;
        self.result("form", "S3 took it: page/form/by fetch.txt")
            .await;
        let exchange = self.exchange("form").await;
        for words in [
            "grpcurl -plaintext -d '{",
            "\"contentLengthRange\"",
            "PresignService/PresignPost",
            "\"policy\"",
        ] {
            assert!(exchange.contains(words), "no {words} in {exchange}");
        }
        self.downloads("page/form/by fetch.txt", &hash).await;
    }

    async fn put(&self) {
        // What progress was shown, and when.
        let watch = "window.seen = []; const bar = document.querySelector('#put progress');
            new MutationObserver(() => window.seen.push(bar.value)).observe(bar, { attributes: true });";
        self.browser.run(watch, json!([])).await;
        let (file, hash) = self.files.of("it's ü.bin", 8 << 20);
        self.browser
            .choose_file("#put input[type=file]", &file)
            .await;
        self.click("put", "upload").await;
        self.result("put", "S3 took it: page/put/it's ü.bin, 8.0 MiB, ETag \"")
            .await;
        let seen = self.browser.run("return window.seen", json!([])).await;
        let seen: Vec<f64> = serde_json::from_value(seen).expect("numbers");
        assert!(seen.is_sorted() && seen.last() == Some(&1.0), "{seen:?}");
        let exchange = self.exchange("put").await;
        assert!(
            exchange.contains("it'\\''s ü.bin") && exchange.contains("\"putObject\""),
            "{exchange}"
        );
        self.downloads("page/put/it's ü.bin", &hash).await;
        self.complaints(&[]).await;
    }

    /// Makes parts slow, so that they can be stopped, and the second one fail once.
    async fn hinder_parts(&self) {
        let script = "
            const [open, send] = [XMLHttpRequest.prototype.open, XMLHttpRequest.prototype.send];
            let broken = false;
            XMLHttpRequest.prototype.open = function (method, url) {
              this.part = new URL(url).searchParams.get('partNumber');
              if (this.part === '2' && !broken) { broken = true; url = url.replace(/X-Amz-Signature=./, (start) => start.slice(0, -1) + (start.endsWith('0') ? '1' : '0')); }
              return open.call(this, method, url);
            };
            XMLHttpRequest.prototype.send = function (body) {
              const wait = this.part > 2 ? 1500 : 0;
              let aborted = false;
              const abort = this.abort;
              this.abort = () => { aborted = true; abort.call(this); if (this.readyState < 2) this.onabort?.(); };
              setTimeout(() => { if (!aborted) send.call(this, body); }, wait);
            };";
        self.browser.run(script, json!([])).await;
    }

    /// `broken`: how the browser complains of a URL whose signature is wrong. Some stores verify it at the preflight.
    async fn parts(&self, broken: &[&str]) {
        self.hinder_parts().await;
        let (file, hash) = self.files.of("large.bin", (22 << 20) + 5);
        self.browser
            .choose_file("#parts input[type=file]", &file)
            .await;
        self.click("parts", "start").await;
        // The second part was sent again, and those that come after it wait.
        let done = "return document.querySelectorAll('#parts .grid [data-state=done]').length";
        let mut count = json!(0);
        for _ in 0..600 {
            count = self.browser.run(done, json!([])).await;
            if count == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(
            count.as_u64() >= Some(2),
            "{count} parts: {}",
            self.browser.text("#parts .result").await
        );
        self.click("parts", "pause").await;
        let said = self.result("parts", "Paused").await;
        let retried = self
            .browser
            .run(
                "return document.querySelector('#parts .grid').dataset.retried",
                json!([]),
            )
            .await;
        assert_eq!(retried, "1", "{said}");
        self.complaints(broken).await;

        // What was done survives a reload, the file has to be chosen again.
        self.browser.reload().await;
        self.ready().await;
        self.result("parts", "is under way").await;
        assert_eq!(self.browser.text("#parts [data-do=start]").await, "Resume");
        self.browser
            .choose_file("#parts input[type=file]", &file)
            .await;
        self.click("parts", "start").await;
        let said = self.result("parts", "one object of 5 parts").await;
        assert!(said.contains("page/parts/large.bin"), "{said}");
        let exchange = self.exchange("parts").await;
        assert!(
            exchange.contains("PresignParts") && !exchange.contains("StartMultipartUpload"),
            "{exchange}"
        );
        self.downloads("page/parts/large.bin", &hash).await;
        self.complaints(&[]).await;
    }

    async fn gives_up(&self) {
        self.hinder_parts().await;
        let (file, _) = self.files.of("given up.bin", 16 << 20);
        self.browser
            .choose_file("#parts input[type=file]", &file)
            .await;
        self.click("parts", "start").await;
        self.browser
            .until("#parts .exchange", "StartMultipartUpload")
            .await;
        self.result("parts", " of 16.0 MiB").await;
        self.click("parts", "cancel").await;
        self.result("parts", "Given up").await;
        assert_eq!(self.browser.text("#parts [data-do=start]").await, "Upload");
        self.browser.log().await;
    }

    async fn other_tenant(&self) {
        self.click("other", "reach").await;
        let said = self.result("other", "AccessDenied").await;
        assert!(
            said.contains("Stopped by the store") && said.contains("403"),
            "{said}"
        );
        let exchange = self.exchange("other").await;
        assert!(
            exchange.contains("globex-files") && exchange.contains("\"issuanceId\""),
            "{exchange}"
        );
        self.complaints(&["status of 403"]).await;
    }

    async fn pictures(&self, name: &str) {
        for (look, width, scheme) in [
            ("light", 1280, Scheme::Light),
            ("dark", 1280, Scheme::Dark),
            ("narrow", 400, Scheme::Light),
            ("narrow-dark", 400, Scheme::Dark),
        ] {
            self.browser.look(width, scheme).await;
            let wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(
                self.browser.run(wider, json!([])).await,
                0,
                "{look}: it scrolls sideways"
            );
            self.browser.picture(&format!("{name}-{look}")).await;
        }
    }

    async fn all(&self, name: &str, broken: &[&str]) {
        self.complaints(&[]).await;
        self.form_submitted().await;
        self.parts(broken).await;
        self.form_sent().await;
        self.put().await;
        self.other_tenant().await;
        self.pictures(name).await;
        self.gives_up().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_works_in_the_sandbox() {
    let process = sandbox();
    let steps = Steps::open(&address(&process, "The page").await).await;
    steps.all("sandbox", &["status of 403"]).await;

    // The page is a caller like any other: each URL has its record.
    let ended = process.terminated().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in [
        "PresignPost",
        "StartMultipartUpload",
        "\"command\":\"PutObject\"",
        "the sandbox's page",
    ] {
        assert!(
            ended.stdout.contains(words),
            "no {words} in {}",
            ended.stdout
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_works_over_a_store_with_cors_rules() {
    let ceph = Ceph::shared();
    let process = over_ceph();
    let url = address(&process, "the page is at").await;
    assert!(
        !process.stderr().contains("has no CORS rules"),
        "{}",
        process.stderr()
    );
    let steps = Steps::open(&url).await;
    let broken = ["blocked by CORS policy", "net::ERR_FAILED"];
    steps.all("ceph", &broken).await;
    let stored = ceph.object("acme-files", "page/form/by form.txt").await;
    assert_eq!(stored.map(|bytes| bytes.len()), Some(1000));
    let rules = ceph
        .as_owner("GET", "acme-files", "", "cors=", "")
        .await
        .text();
    assert!(
        rules.contains("<ExposeHeader>ETag</ExposeHeader>"),
        "{rules}"
    );
}

#[tokio::test]
async fn no_other_page_can_ask() {
    let process = sandbox();
    let url = address(&process, "The page").await;
    let own = url.trim_end_matches('/');
    let question = json!({ "method": "Presign", "request": { "tenant": "acme", "command": { "getObject": { "bucket": "acme-files", "key": "k" } } } });
    let ask = async |headers: &[(&str, &str)]| {
        let answer = send(
            "POST",
            &format!("{url}api/ask"),
            headers.iter().copied(),
            question.to_string(),
        )
        .await;
        (answer.status, answer.text())
    };
    let json = ("content-type", "application/json");
    let (status, text) = ask(&[json, ("origin", own)]).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("X-Amz-Signature"), "{text}");
    let host = own.trim_start_matches("http://");
    let rebound = [
        json,
        ("host", "rebound.example.com"),
        ("origin", "http://rebound.example.com"),
    ];
    for headers in [
        &[json][..],
        &[json, ("origin", "http://example.com")],
        &[json, ("origin", "null")],
        &[("content-type", "text/plain"), ("origin", own)],
        &rebound,
    ] {
        let (status, text) = ask(headers).await;
        assert_eq!(status, 403, "{headers:?}: {text}");
        assert!(!text.contains("X-Amz"), "{text}");
    }
    for (name, status) in [(host, 200), ("rebound.example.com", 403)] {
        let answer = send("GET", &url, [("host", name)], "").await;
        assert_eq!(answer.status, status, "{name}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(answer.headers.get("access-control-allow-origin"), None);
    }
    for (path, status) in [("nothing", 404), ("api/setup", 200), ("../Cargo.toml", 404)] {
        let answer = send("GET", &format!("{url}{path}"), [("host", host)], "").await;
        assert_eq!(answer.status, status, "{path}");
    }
    // What is no request of presignd's is answered as such.
    let headers = [json, ("origin", own)];
    let nonsense = send("POST", &format!("{url}api/ask"), headers, "{}").await;
    assert_eq!(nonsense.status, 400, "{nonsense:?}");
}
