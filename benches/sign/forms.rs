//! Forms per CPU-second: signing alone, and from the request to the fields of the reply, beside the bare cost of the hashing and, where
//! they are installed, botocore and the SDK for JavaScript, which run in processes of their own and count their own CPU time.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use presignd::proto::v1::presign_post_request::{ContentTypeRule, KeyRule};
use presignd::proto::v1::{ContentLengthRange, PresignPostRequest};
use presignd::sign::Credentials;
use presignd::sign::post_policy::bind::bind;
use presignd::sign::post_policy::{PostForm, presign_post};

use super::compress;
use super::contender::Contender;
use super::workload::{
    BUCKET, CREDENTIALS, EXPIRES_IN, KEYS, TOKEN_CHARACTERS, credentials, endpoint, key, signed_at,
};

/// The same form in Python: prints forms per CPU-second.
const BOTOCORE: &str = r#"
import time, botocore.session
from botocore.config import Config
session = botocore.session.Session()
session.set_credentials("ASIAIOSFODNN7EXAM000", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE000", "x" * 900)
client = session.create_client("s3", region_name="eu-west-1", config=Config(signature_version="s3v4"))
def sign(n):
    client.generate_presigned_post("acme-files", f"reports/2026/11/23/{n:08}/summary.pdf", Fields={"Content-Type": "application/pdf"},
        Conditions=[{"Content-Type": "application/pdf"}, ["content-length-range", 1, 10485760]], ExpiresIn=900)
for n in range(50): sign(n)
start, count = time.process_time(), 1000
for n in range(count): sign(n)
print(count / (time.process_time() - start))
"#;

/// The same form in JavaScript: prints forms per CPU-second.
const JAVASCRIPT: &str = r#"
const { S3Client } = require("@aws-sdk/client-s3");
const { createPresignedPost } = require("@aws-sdk/s3-presigned-post");
const credentials = { accessKeyId: "ASIAIOSFODNN7EXAM000", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE000", sessionToken: "x".repeat(900) };
const client = new S3Client({ region: "eu-west-1", credentials });
const sign = (n) => createPresignedPost(client, { Bucket: "acme-files", Key: `reports/2026/11/23/${String(n).padStart(8, "0")}/summary.pdf`,
  Fields: { "Content-Type": "application/pdf" }, Conditions: [["content-length-range", 1, 10485760]], Expires: 900 });
(async () => {
  for (let n = 0; n < 500; n++) await sign(n);
  const start = process.cpuUsage(), count = 5000;
  for (let n = 0; n < count; n++) await sign(n);
  const { user, system } = process.cpuUsage(start);
  console.log(count / ((user + system) / 1e6));
})();
"#;

fn request(n: usize) -> PresignPostRequest {
    PresignPostRequest {
        bucket: BUCKET.to_owned(),
        key_rule: Some(KeyRule::Key(key(n))),
        content_type_rule: Some(ContentTypeRule::ContentType("application/pdf".to_owned())),
        content_length_range: Some(ContentLengthRange {
            min: 1,
            max: 10_485_760,
        }),
        ..PresignPostRequest::default()
    }
}

/// Measures and prints. Says whether a requirement was missed.
pub(crate) fn measure(rounds: usize) -> bool {
    let requests: Vec<_> = (0..KEYS).map(request).collect();
    let bound: Vec<_> = requests.iter().map(|r| bind(r).expect("valid")).collect();
    let credentials: Vec<Credentials> = (0..CREDENTIALS).map(credentials).collect();
    let (endpoint, now) = (endpoint(), signed_at());
    let end = now + Duration::from_secs(EXPIRES_IN.into());
    let sign = |form: &PostForm<'_>, n: usize| {
        let credentials = &credentials[n % CREDENTIALS];
        let signed = presign_post(form, &endpoint, credentials, now, end);
        black_box(&signed);
    };
    let whole = |n: usize| {
        let form = bind(&requests[n % KEYS]).expect("valid");
        let credentials = &credentials[n % CREDENTIALS];
        let signed = presign_post(&form, &endpoint, credentials, now, end);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let fields: Vec<(String, String)> = signed.fields().map(owned).collect();
        black_box((signed.url(), fields));
    };
    let blocks = {
        let length = |token: usize| {
            let secret = "secret".to_owned().into();
            let token = (token > 0).then(|| "x".repeat(token).into());
            let credentials =
                Credentials::new("ASIAIOSFODNN7EXAM000".to_owned(), secret, token, None);
            let signed = presign_post(&bound[0], &endpoint, &credentials, now, end);
            let policy = signed.fields().find(|(name, _)| *name == "policy");
            policy.expect("a form has a policy").1.len()
        };
        // All but the part that is the same for all forms of a key, of which the conditions of the signature take about 220.
        let own = length(0) - 220;
        vec![[0x5a; 64]; (own + 9).div_ceil(64) + 1]
    };
    let mut contenders = [
        Contender::new("presignd", |calls| {
            (0..calls).for_each(|n| sign(&bound[n % KEYS], n));
        }),
        Contender::new("with binding, fields", |calls| (0..calls).for_each(whole)),
        Contender::new("SHA-256 alone", |calls| {
            (0..calls).for_each(|_| compress(&blocks));
        }),
    ];
    for _ in 0..rounds {
        contenders.iter_mut().for_each(Contender::measure);
    }
    println!(
        "\nforms, {TOKEN_CHARACTERS}-character session token, {CREDENTIALS} credentials, {KEYS} keys, {} SHA-256 blocks a form",
        blocks.len()
    );
    println!(
        "  {:<24}{:>18}{:>12}{:>16}",
        "", "forms/CPU-second", "ns/form", "presignd is"
    );
    let [presignd, _, floor] = &contenders;
    let row = |name: &str, rate: f64, ratio: f64| {
        println!("  {name:<24}{rate:>18.0}{:>12.0}{ratio:>15.2}x", 1e9 / rate);
    };
    for contender in &contenders {
        row(contender.name, contender.rate(), presignd.over(contender));
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let python = Command::new(tools.join("venv/bin/python"))
        .args(["-B", "-c", BOTOCORE])
        .output();
    let node = Command::new("node")
        .args(["-e", JAVASCRIPT])
        .env("NODE_PATH", tools.join("npm/node_modules"))
        .output();
    for (name, output) in [("botocore", python), ("SDK for JavaScript", node)] {
        let rate = output
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok());
        match rate.and_then(|rate| rate.trim().parse::<f64>().ok()) {
            Some(rate) => row(name, rate, presignd.rate() / rate),
            None => println!("  {name:<24}  not installed: see scripts/install-tools"),
        }
    }
    let cost = floor.over(presignd);
    let missed = cost > 3.5;
    println!(
        "  {}  at most 3.5 times the cost of SHA-256 alone: {cost:.2}",
        if missed { "MISS" } else { "pass" }
    );
    missed
}
