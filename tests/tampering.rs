//! A URL works as it was issued, or not at all: each parameter and header that is signed, and all else of it, is changed, removed and
//! doubled in turn, and the store refuses.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use presignd::proto::s3;
use presignd::proto::v1::PresignResponse;
use presignd::proto::v1::command::Command as Variant;

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::http::{self, Response};
use crate::harness::presignd::{Presignd, fetch, get_object, lasting, put_object, request};

const BUCKET: &str = "acme-files";
const GRANTS: &str =
    r#"[{ commands: [read, write, list, delete], resources: ["acme-files/tampering/*"] }]"#;

/// A request, taken apart.
#[derive(Clone)]
struct Parts {
    method: String,
    origin: String,
    path: String,
    /// Name and value, encoded.
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

impl Parts {
    fn of(issued: &PresignResponse) -> Self {
        let (place, query) = issued.url.split_once('?').expect("a query");
        let slash = place["http://".len()..].find('/').expect("a path") + "http://".len();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').expect("each parameter has a value");
            (name.to_owned(), value.to_owned())
        };
        Self {
            method: issued.method.clone(),
            origin: place[..slash].to_owned(),
            path: place[slash..].to_owned(),
            query: query.split('&').map(pair).collect(),
            headers: issued.headers.clone().into_iter().collect(),
        }
    }

    fn value(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("no parameter {name}")).1
    }

    /// The request with another value of this parameter.
    fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        let found = other.query.iter_mut().find(|(known, _)| known == name);
        value.clone_into(&mut found.unwrap_or_else(|| panic!("no parameter {name}")).1);
        other
    }

    fn altered(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut other = self.clone();
        change(&mut other);
        other
    }

    fn url(&self) -> String {
        let query: Vec<_> = self.query.iter().map(|(n, v)| format!("{n}={v}")).collect();
        format!("{}{}?{}", self.origin, self.path, query.join("&"))
    }

    async fn send(&self, body: &'static str) -> Response {
        let headers = self.headers.iter().map(|(n, v)| (n, v));
        http::send(&self.method, &self.url(), headers, body).await
    }
}

/// The text with another last character, of the same kind.
fn nudged(text: &str) -> String {
    let mut other = text.to_owned();
    let next = match other.pop() {
        None => 'x',
        Some('0') => '1',
        Some('a') => 'b',
        Some(c) if c.is_ascii_digit() => '0',
        Some(_) => 'a',
    };
    other.push(next);
    other
}

/// Everything that somebody in between, or the holder of the URL, might try.
fn tamperings(good: &Parts) -> Vec<(String, Parts)> {
    let mut all = Vec::new();
    let mut add = |what: String, parts: Parts| all.push((what, parts));
    parameters(good, &mut add);
    signature(good, &mut add);
    place(good, &mut add);
    all
}

/// Each parameter in turn.
fn parameters(good: &Parts, add: &mut impl FnMut(String, Parts)) {
    for (index, (name, value)) in good.query.iter().enumerate() {
        let twice = (name.clone(), nudged(value));
        add(format!("{name} changed"), good.with(name, &nudged(value)));
        add(
            format!("{name} longer"),
            good.with(name, &format!("{value}1")),
        );
        add(
            format!("{name} empty"),
            good.with(name, if value.is_empty() { "x" } else { "" }),
        );
        add(
            format!("{name} removed"),
            good.altered(|p| drop(p.query.remove(index))),
        );
        add(
            format!("{name} doubled"),
            good.altered(|p| p.query.insert(index + 1, twice)),
        );
        add(
            format!("{name} in capitals"),
            good.altered(|p| p.query[index].0 = swapped_case(name)),
        );
    }
    for (name, value) in [
        ("response-content-type", "text%2Fhtml"),
        ("versionId", "null"),
        ("acl", ""),
        ("uploads", ""),
        ("x-other", "1"),
    ] {
        let more = good.altered(|p| p.query.push((name.to_owned(), value.to_owned())));
        add(format!("{name} added"), more);
    }
}

/// What the signature is made of, and what it covers.
fn signature(good: &Parts, add: &mut impl FnMut(String, Parts)) {
    add(
        "expiry lengthened".into(),
        good.with("X-Amz-Expires", "604800"),
    );
    add(
        "expiry unbounded".into(),
        good.with("X-Amz-Expires", "99999999"),
    );
    add(
        "no signature".into(),
        good.with("X-Amz-Signature", &"0".repeat(64)),
    );
    let scope: Vec<&str> = good.value("X-Amz-Credential").split("%2F").collect();
    for (index, part) in scope.iter().enumerate() {
        let mut other = scope.clone();
        let changed = nudged(part);
        other[index] = &changed;
        let other = other.join("%2F");
        add(
            format!("credential part {index}"),
            good.with("X-Amz-Credential", &other),
        );
    }
    let signed = good.value("X-Amz-SignedHeaders");
    let names: Vec<&str> = signed.split("%3B").collect();
    for name in &names {
        let others: Vec<&str> = names.iter().filter(|n| *n != name).copied().collect();
        let others = good.with("X-Amz-SignedHeaders", &others.join("%3B"));
        add(format!("{name} no longer signed"), others.clone());
        if *name != "host" {
            let gone = others.altered(|p| p.headers.retain(|(n, _)| n != name));
            add(format!("{name} neither signed nor sent"), gone);
        }
    }
    let more = format!("{signed}%3Bx-more");
    add(
        "another signed header".into(),
        good.with("X-Amz-SignedHeaders", &more),
    );

    for (index, (name, value)) in good.headers.iter().enumerate() {
        let changed = good.altered(|p| p.headers[index].1 = nudged(value));
        add(format!("header {name} changed"), changed);
        let removed = good.altered(|p| drop(p.headers.remove(index)));
        add(format!("header {name} removed"), removed);
        let doubled = good.altered(|p| p.headers.push((name.clone(), nudged(value))));
        add(format!("header {name} doubled"), doubled);
    }
}

/// The method, and where it is sent.
fn place(good: &Parts, add: &mut impl FnMut(String, Parts)) {
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        if method != good.method {
            let other = good.altered(|p| method.clone_into(&mut p.method));
            add(format!("{method} for {}", good.method), other);
        }
    }
    for path in [
        "/acme-files/tampering/neighbour".to_owned(),
        "/globex-files/tampering/neighbour".to_owned(),
        "/acme-files/".to_owned(),
        "/".to_owned(),
        format!("{}x", good.path),
        format!("{}/", good.path),
        format!("/{}", good.path),
        format!("{}/../neighbour", good.path),
        swapped_case(&good.path),
    ] {
        add(format!("path {path}"), good.altered(|p| p.path = path));
    }
    add(
        "another host".into(),
        good.altered(|p| p.origin = p.origin.replace("127.0.0.1", "localhost")),
    );
}

/// The URL with a parameter before each that has its name. Ceph takes the last of them, to check as to obey, and so ignores it.
fn doublings(good: &Parts) -> impl Iterator<Item = (&str, Parts)> {
    good.query.iter().enumerate().map(|(index, (name, value))| {
        let twice = (name.clone(), nudged(value));
        let doubled = good.altered(|p| p.query.insert(index, twice));
        (name.as_str(), doubled)
    })
}

fn swapped_case(text: &str) -> String {
    let swap = |c: char| match c {
        c if c.is_ascii_lowercase() => c.to_ascii_uppercase(),
        c => c.to_ascii_lowercase(),
    };
    text.chars().map(swap).collect()
}

/// Sends every tampering of a URL, none of which may do anything, and then the URL, which must.
async fn holds(what: &str, issued: &PresignResponse, body: &'static str) {
    let ceph = Ceph::shared();
    let good = Parts::of(issued);
    assert_eq!(good.url(), issued.url, "taken apart without loss");
    let prefix = format!("tampering/{what}/");
    let before = ceph.objects(BUCKET, &prefix).await;

    let tamperings = tamperings(&good);
    assert!(tamperings.len() > 60, "{}", tamperings.len());
    let mut passed = Vec::new();
    for some in tamperings.chunks(16) {
        let answers = some.iter().map(|(_, parts)| parts.send("tampered"));
        for ((tampering, _), answer) in some.iter().zip(join_all(answers).await) {
            if !(400..500).contains(&answer.status) {
                passed.push(format!("{tampering}: {}", answer.status));
            }
        }
    }
    assert_eq!(passed, Vec::<String>::new(), "{what}");
    assert_eq!(ceph.objects(BUCKET, &prefix).await, before, "{what}");

    let untouched = fetch(issued, body).await;
    assert!(
        (200..300).contains(&untouched.status),
        "{what}, untouched: {untouched:?}"
    );
    for (name, doubled) in doublings(&good) {
        let answer = doubled.send(body).await;
        assert!(
            (400..500).contains(&answer.status) || says_the_same(&answer, &untouched),
            "{what}, {name} doubled: {answer:?}"
        );
    }
}

/// Whether two answers are alike in all but their times and ids.
fn says_the_same(one: &Response, other: &Response) -> bool {
    let headers = |response: &Response| {
        let mut headers = response.headers.clone();
        for name in ["date", "last-modified", "x-amz-request-id"] {
            headers.remove(name);
        }
        headers
    };
    let text = |response: &Response| {
        let text = response.text();
        let time = response.xml("LastModified").unwrap_or_default();
        text.replace(&time, "")
    };
    (one.status, headers(one), text(one)) == (other.status, headers(other), text(other))
}

async fn presignd() -> Presignd {
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, "tampering/neighbour", "next door")
        .await;
    Presignd::with_ceph_tenant("acme", GRANTS).start().await
}

#[tokio::test]
async fn a_download_holds() {
    let presignd = presignd().await;
    Ceph::shared()
        .put_object(BUCKET, "tampering/get/k", "0123456789")
        .await;
    let command = command!(GetObject {
        bucket: BUCKET,
        key: "tampering/get/k",
        range: "bytes=0-3",
        response_content_disposition: "attachment; filename=\"a b\"",
        response_content_type: "image/png",
        response_cache_control: "no-store",
    });
    holds("get", &presignd.issue("acme", command).await, "").await;
}

#[tokio::test]
async fn an_upload_holds() {
    let presignd = presignd().await;
    Ceph::shared()
        .put_object(BUCKET, "tampering/put/k", "as it was")
        .await;
    let command = Variant::PutObject(s3::PutObject {
        bucket: Some(BUCKET.to_owned()),
        key: Some("tampering/put/k".to_owned()),
        content_type: Some("text/plain".to_owned()),
        tagging: Some("team=blue".to_owned()),
        metadata: HashMap::from([("colour".to_owned(), "red".to_owned())]),
        ..s3::PutObject::default()
    });
    holds("put", &presignd.issue("acme", command).await, "new").await;
    let object = Ceph::shared().object(BUCKET, "tampering/put/k").await;
    assert_eq!(object.as_deref(), Some(&b"new"[..]));
}

#[tokio::test]
async fn a_part_of_an_upload_holds() {
    let presignd = presignd().await;
    let key = "tampering/part/k";
    let create = command!(CreateMultipartUpload {
        bucket: BUCKET,
        key: key,
        content_type: "image/png",
    });
    let created = presignd.run("acme", create, "").await;
    let id = created.xml("UploadId").expect("an id");
    let command = command!(UploadPart {
        bucket: BUCKET,
        key: key,
        upload_id: id.as_str(),
        part_number: 1,
        content_md5: "9Mk4XxkC9zNLALm07NFk3g==",
    });
    let issued = presignd.issue("acme", command).await;
    assert!(issued.headers.contains_key("content-md5"), "{issued:?}");
    holds("part", &issued, "part").await;
}

#[tokio::test]
async fn a_deletion_holds() {
    let presignd = presignd().await;
    Ceph::shared()
        .put_object(BUCKET, "tampering/delete/k", "here")
        .await;
    let command = command!(DeleteObject {
        bucket: BUCKET,
        key: "tampering/delete/k",
    });
    holds("delete", &presignd.issue("acme", command).await, "").await;
    let object = Ceph::shared().object(BUCKET, "tampering/delete/k").await;
    assert_eq!(object, None);
}

#[tokio::test]
async fn a_copy_holds() {
    let presignd = presignd().await;
    Ceph::shared()
        .put_object(BUCKET, "tampering/copy/k", "as it was")
        .await;
    let command = command!(CopyObject {
        bucket: BUCKET,
        key: "tampering/copy/k",
        copy_source: "acme-files/tampering/neighbour",
        metadata_directive: "COPY",
    });
    holds("copy", &presignd.issue("acme", command).await, "").await;
}

#[tokio::test]
async fn a_list_holds() {
    let presignd = presignd().await;
    let command = command!(ListObjectsV2 {
        bucket: BUCKET,
        prefix: "tampering/list/",
        delimiter: "/",
        max_keys: 10,
    });
    holds("list", &presignd.issue("acme", command).await, "").await;
}

#[tokio::test]
async fn a_url_does_not_take_anothers_token_or_keys() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS)
        .with_ceph_tenant(
            "globex",
            r#"[{ commands: [read], resources: ["globex-files/tampering/*"] }]"#,
        )
        .start()
        .await;
    let ceph = Ceph::shared();
    for bucket in [BUCKET, "globex-files"] {
        ceph.put_object(bucket, "tampering/token", "here").await;
    }
    let acme = presignd
        .issue("acme", get_object(BUCKET, "tampering/token"))
        .await;
    let globex = presignd
        .issue("globex", get_object("globex-files", "tampering/token"))
        .await;
    for url in [&acme, &globex] {
        assert_eq!(fetch(url, "").await.status, 200);
    }
    let (acme, globex) = (Parts::of(&acme), Parts::of(&globex));
    let of = |from: &Parts, name| from.value(name).to_owned();
    for (ours, theirs) in [(&acme, &globex), (&globex, &acme)] {
        let token = ours.with("X-Amz-Security-Token", &of(theirs, "X-Amz-Security-Token"));
        let keys = ours.with("X-Amz-Credential", &of(theirs, "X-Amz-Credential"));
        let both = keys.with("X-Amz-Security-Token", &of(theirs, "X-Amz-Security-Token"));
        let place = theirs.altered(|p| ours.path.clone_into(&mut p.path));
        for mixed in [token, keys, both, place] {
            let answer = mixed.send("").await;
            assert_eq!(answer.status, 403, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_url_ends_when_the_answer_says() {
    let presignd = presignd().await;
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, "tampering/expiry", "as it was")
        .await;
    let mut brief = Vec::new();
    for command in [
        get_object(BUCKET, "tampering/expiry"),
        put_object(BUCKET, "tampering/expiry"),
    ] {
        let lasting_one = presignd.issue("acme", command.clone()).await;
        let issued = presignd
            .presign(lasting(1, request("acme", command)))
            .await
            .unwrap();
        brief.push((issued, lasting_one));
    }
    let end = brief
        .iter()
        .map(|(issued, _)| issued.expires_at.expect("an end").seconds)
        .max()
        .expect("two");
    // The store counts in whole seconds.
    sleep_until(end + 2, &presignd).await;
    for (issued, lasting_one) in &brief {
        let late = fetch(issued, "too late").await;
        assert_eq!(late.status, 403, "{late:?}");
        if issued.method == "PUT" {
            let object = ceph.object(BUCKET, "tampering/expiry").await;
            assert_eq!(object.as_deref(), Some(&b"as it was"[..]));
        }
        assert_eq!(fetch(lasting_one, "in time").await.status, 200);
    }
}

/// Waits for a time, in seconds since 1970.
async fn sleep_until(seconds: i64, presignd: &Presignd) {
    use presignd::clock::Clock as _;
    let seconds = u64::try_from(seconds).expect("after 1970");
    let then = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    if let Ok(left) = then.duration_since(presignd.clock.now()) {
        tokio::time::sleep(left).await;
    }
}
