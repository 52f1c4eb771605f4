//! `presignd presign` at a terminal: what it prints works when a shell runs it, and what it says of errors helps.

use serde_json::{Value, json};

use crate::authentication::api_keys::{flipped, new_key};
use crate::harness::ceph::Ceph;
use crate::harness::certificates::{Authority, Mounted};
use crate::harness::http::{NO_HEADERS, send};
use crate::harness::presignd::{Builder, Presignd, ceph_tenant, static_tenant};
use crate::harness::process::{Ended, presignd, static_tenant as static_config, with_config};
use crate::harness::tools;
use crate::harness::url::Presigned;

/// `presignd presign ARGUMENTS`, as acme, at this presignd.
async fn presign(address: &str, arguments: &[&str]) -> Ended {
    let arguments = ["presign"].iter().chain(arguments).copied();
    presignd(arguments)
        .env("PRESIGND_SERVER", format!("http://{address}"))
        .env("PRESIGND_TENANT", "acme")
        .run()
        .await
}

/// What it prints, without the line's end. Panics if it fails.
async fn printed(address: &str, arguments: &[&str]) -> String {
    let ended = presign(address, arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.stdout.trim_end_matches('\n').to_owned()
}

/// What it complains of. Panics unless it does, and prints nothing.
async fn refused(address: &str, arguments: &[&str]) -> String {
    let ended = presign(address, arguments).await;
    assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{arguments:?}");
    ended.stderr
}

fn assert_says(said: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
}

/// acme on Ceph, with everything granted. Its sessions have no session policy, with which RGW of Ceph 16 loses forms.
fn ceph() -> Builder {
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [read, list, write, delete], resources: ["acme-files/*"], max_expiry: 1h }]"#;
    let managed = "policy_arns: [\"arn:aws:iam::aws:policy/AmazonS3FullAccess\"], sts_endpoint";
    let yaml = ceph_tenant(ceph.tenant("acme"), grants).replace("sts_endpoint", managed);
    let presignd = Presignd::with_tenant("acme", &yaml);
    presignd.with_credentials(ceph.presignd_credentials().clone())
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[tokio::test]
async fn the_examples_of_the_sandbox_work_as_printed() {
    let sandbox = presignd(["dev", "--grpc", "127.0.0.1:0", "--s3", "127.0.0.1:0"]).start();
    let line = sandbox.stderr_line("PresignService   ").await;
    let address = line.split_whitespace().nth(1).expect("an address");
    let script = format!(
        "set -e
export PRESIGND_SERVER=http://{address}
presignd() {{ '{}' \"$@\"; }}
echo hello > hello.txt
curl -fsS -T hello.txt \"$(presignd presign put s3://acme-files/a/hello.txt --tenant acme)\"
curl -fsS \"$(presignd presign get s3://acme-files/a/hello.txt --tenant acme --expires-in 15m)\"
curl -fsS --head \"$(presignd presign head s3://acme-files/a/hello.txt --tenant acme)\" | grep -i '^content-length: 6'
curl -fsS \"$(presignd presign list s3://acme-files/a/ --tenant acme --param MaxKeys=5)\" | grep -o '<Key>.*</Key>'
eval \"$(presignd presign post s3://acme-files/b/hello.txt --tenant acme --param content_length_range=1-100 --file hello.txt)\"
eval \"$(presignd presign get s3://acme-files/b/hello.txt --tenant acme --curl --file copy.txt)\"
cat copy.txt
eval \"$(presignd presign delete s3://acme-files/b/hello.txt --tenant acme --curl)\"
eval \"$(presignd presign get s3://acme-files/b/hello.txt --tenant acme --curl)\" | grep -o NoSuchKey || true
",
        env!("CARGO_BIN_EXE_presignd")
    );
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display();
    let output = tools::bash(&format!("cd '{folder}'\n{script}")).await;
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said.to_lowercase(),
        "hello\ncontent-length: 6\n<key>a/hello.txt</key>\nhello\nnosuchkey\n",
        "{errors}"
    );
    assert!(!errors.contains("presignd"), "{errors}");
}

#[tokio::test]
async fn lines_for_curl_take_every_name_as_it_is() {
    let store = Ceph::shared();
    let presignd = ceph().start().await;
    let address = &presignd.address;
    for name in [
        "plain.txt",
        "it's \"quoted\".txt",
        "$(touch planted) `touch planted`; touch planted & # \\.txt",
        "😀 é ü.txt",
        "{a,b} [1-3] ?*.txt",
        "-T",
        "a;b,c=d@e.txt",
        "line\nbreak.txt",
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), name).unwrap();
        let cd = format!("cd {} && ", quoted(&folder.path().display().to_string()));
        let key = format!("command/{name}");
        let place = format!("s3://acme-files/{key}");
        let metadata = "Metadata=said=it's $(touch planted)";
        let put = ["put", &place, "--param", metadata, "--curl"];
        let line = printed(address, &put).await;
        let output = tools::bash(&format!("{cd}{line}")).await;
        assert!(output.status.success(), "{line}\n{output:?}");
        let stored = store.object("acme-files", &key).await;
        assert_eq!(stored.as_deref(), Some(name.as_bytes()), "{line}");
        let head = store.as_owner("HEAD", "acme-files", &key, "", "").await;
        assert_eq!(head.header("x-amz-meta-said"), "it's $(touch planted)");

        let get = printed(address, &["get", &place, "--curl"]).await;
        let output = tools::bash(&format!("{cd}{get}")).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout), name, "{get}");

        // A field of a form is a line of text.
        if !name.contains('\n') {
            let key = format!("command/form/{name}");
            let post = [
                "post",
                &format!("s3://acme-files/{key}"),
                "--param",
                "success_action_status=201",
            ];
            let line = printed(address, &post).await;
            let output = tools::bash(&format!("{cd}{line}")).await;
            assert!(output.status.success(), "{line}\n{output:?}");
            let stored = store.object("acme-files", &key).await;
            assert_eq!(stored.as_deref(), Some(name.as_bytes()), "{line}");
        }
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn a_body_of_xml_is_sent_by_its_line() {
    let store = Ceph::shared();
    store.put_object("acme-files", "command/tagged", "x").await;
    let presignd = ceph().start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tags.xml");
    let tags = "<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>";
    std::fs::write(&file, tags).unwrap();
    let file = file.display().to_string();
    let place = "s3://acme-files/command/tagged";
    let by_name = ["PutObjectTagging", place, "--curl", "--file", &file];
    let output = tools::bash(&printed(&presignd.address, &by_name).await).await;
    assert!(output.status.success(), "{output:?}");
    let read = printed(&presignd.address, &["get-object-tagging", place]).await;
    let answer = send("GET", &read, NO_HEADERS, "").await;
    assert!(answer.text().contains("<Value>blue</Value>"), "{answer:?}");
    // What the URL alone does not say is said apart from it.
    let url = presign(&presignd.address, &by_name[..2]).await;
    assert_eq!(url.stdout.lines().count(), 1, "{url:?}");
    let notes = "presignd: the URL is for PUT\npresignd: S3 wants a content-md5 with the body (--curl writes one)\n";
    assert_eq!(url.stderr, notes);
    let put = ["put", place, "--param", "ContentType=text/plain"];
    let url = presign(&presignd.address, &put).await;
    assert_says(
        &url.stderr,
        &["PUT with these headers", "  content-type: text/plain"],
    );
}

/// What a URL says, without what the time makes of it.
fn timeless(answer: &Value) -> Presigned {
    let mut url = Presigned::read(answer["url"].as_str().expect("a URL"));
    url.query.remove("X-Amz-Date");
    url.query.remove("X-Amz-Signature");
    url
}

#[tokio::test]
async fn any_command_is_asked_for_as_by_grpcurl() {
    let grants = "grants: [{ commands: [read, list, write, delete, PutObjectAcl, PutObjectTagging], resources: [\"acme-files/*\"] }]";
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    let cases: [(&[&str], Value); 4] = [
        (
            &[
                "GetObject",
                "--param",
                "Bucket=acme-files",
                "--param",
                "Key=a b/é",
                "--param",
                "VersionId=3HL4k",
                "--param",
                "ResponseContentType=text/plain",
                "--param",
                "PartNumber=2",
                "--param",
                "IfModifiedSince=2026-11-28T17:45:00Z",
            ],
            json!({ "getObject": { "bucket": "acme-files", "key": "a b/é", "versionId": "3HL4k", "responseContentType": "text/plain",
                "partNumber": 2, "ifModifiedSince": "2026-11-28T17:45:00Z" } }),
        ),
        (
            &[
                "put_object",
                "s3://acme-files/k",
                "--param",
                "content_type=text/html",
                "--param",
                "Metadata=a=1",
                "--param",
                "Metadata=b=x=y",
                "--param",
                "ContentLength=5",
                "--param",
                "BucketKeyEnabled=true",
                "--param",
                "Tagging=a=b",
                "--param",
                "ACL=private",
            ],
            json!({ "putObject": { "bucket": "acme-files", "key": "k", "contentType": "text/html", "metadata": { "a": "1", "b": "x=y" },
                "contentLength": "5", "bucketKeyEnabled": true, "tagging": "a=b", "acl": "private" } }),
        ),
        (
            &[
                "list",
                "s3://acme-files/in/",
                "--param",
                "MaxKeys=7",
                "--param",
                "Delimiter=/",
            ],
            json!({ "listObjectsV2": { "bucket": "acme-files", "prefix": "in/", "maxKeys": 7, "delimiter": "/" } }),
        ),
        (
            &[
                "UploadPart",
                "s3://acme-files/k",
                "--param",
                "UploadId=u",
                "--param",
                "PartNumber=1",
            ],
            json!({ "uploadPart": { "bucket": "acme-files", "key": "k", "uploadId": "u", "partNumber": 1 } }),
        ),
    ];
    for (arguments, command) in cases {
        let rest = [
            "--json",
            "--expires-in",
            "1m30s",
            "--reason",
            "why",
            "--subject",
            "whom",
            "--clamp",
        ];
        let by_name = printed(&presignd.address, &[arguments, &rest].concat()).await;
        let request = json!({ "tenant": "acme", "command": command, "expiresIn": "90s", "reason": "why", "subject": "whom",
            "expiryMode": "EXPIRY_MODE_CLAMP" });
        let output = tools::grpcurl([
            "-d",
            &request.to_string(),
            &presignd.address,
            "presignd.v1.PresignService/Presign",
        ])
        .await;
        assert!(output.status.success(), "{output:?}");
        let by_name: Value = serde_json::from_str(&by_name).expect("JSON");
        let by_grpcurl: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            format!("{:?}", timeless(&by_name)),
            format!("{:?}", timeless(&by_grpcurl))
        );
        for field in ["method", "headers", "expiryBound"] {
            assert_eq!(by_name[field], by_grpcurl[field], "{arguments:?}");
        }
        let record = presignd
            .records
            .of(by_name["issuanceId"].as_str().expect("an id"));
        assert_eq!(
            (&record["reason"], &record["subject"]),
            (&json!("why"), &json!("whom"))
        );
        assert_eq!(record["expires_in"], 90);
    }
}

#[tokio::test]
async fn addresses_narrow_the_url() {
    let presignd = Presignd::with_ceph_tenant("acme", r#"[{ commands: [read], resources: ["acme-files/*"], source_ip: [127.0.0.0/8, 10.0.0.0/8] }]"#)
        .start()
        .await;
    Ceph::shared()
        .put_object("acme-files", "command/here", "x")
        .await;
    for (source, status) in [("127.0.0.1", 200), ("10.1.2.3", 403)] {
        let get = ["get", "s3://acme-files/command/here", "--source-ip", source];
        let url = printed(&presignd.address, &get).await;
        assert_eq!(
            send("GET", &url, NO_HEADERS, "").await.status,
            status,
            "{source}"
        );
    }
}

#[tokio::test]
async fn forms_are_printed_as_html_too() {
    let presignd = ceph().start().await;
    let post = [
        "post",
        "s3://acme-files/in/${filename}",
        "--param",
        "ContentTypeStartsWith=image/",
        "--html",
    ];
    let html = printed(&presignd.address, &post).await;
    assert_says(
        &html,
        &[
            "<form ",
            "method=\"post\"",
            "name=\"key\" value=\"in/${filename}\"",
            "type=\"file\"",
        ],
    );
    let line = presign(
        &presignd.address,
        &[
            "post",
            "s3://acme-files/k",
            "--param",
            "ContentTypeStartsWith=image/",
        ],
    )
    .await;
    assert_says(&line.stderr, &["Content-Type", "\"image/\""]);
    assert!(line.stdout.starts_with("curl "), "{line:?}");
}

#[tokio::test]
async fn errors_name_what_is_wrong_and_the_way_out() {
    let presignd = ceph().start().await;
    let address = &presignd.address;
    let get = "s3://acme-files/k";
    for (arguments, words) in [
        (
            &["get", "s3://globex-files/k"][..],
            &["PERMISSION_DENIED", "reason: COMMAND_DENIED", "issuance: "][..],
        ),
        (
            &["get", get, "--expires-in", "2h"],
            &[
                "INVALID_ARGUMENT",
                "expires_in: ",
                "cap_seconds: 3600",
                "EXPIRY_ABOVE_CAP",
            ],
        ),
        (
            &["get", "s3://acme-files/"],
            &["command.get_object.key: ", "reason: INVALID_REQUEST"],
        ),
        (
            &["get", get, "--param", "VersoinId=1"],
            &["no parameter `VersoinId`", "did you mean `version_id`"],
        ),
        (
            &["get", get, "--param", "PartNumber=two"],
            &["--param PartNumber", "whole number"],
        ),
        (
            &["get", get, "--param", "Key=k"],
            &["--param Key: it is given twice"],
        ),
        (
            &["gte", get],
            &["`gte` is no command", "did you mean `get`"],
        ),
        (
            &["PutObjectTaging", get],
            &["did you mean `PutObjectTagging`"],
        ),
        (&["get", "acme-files/k"], &["s3://BUCKET/KEY"]),
        (&["GetBucketCors", get], &["is for a bucket as a whole"]),
        (&["ListBuckets", get], &["is for no bucket"]),
        (&["get", get, "--html"], &["--html is for `post`"]),
        (
            &["get", get, "--tenant", "nobody"],
            &["PERMISSION_DENIED", "TENANT_DENIED"],
        ),
    ] {
        let said = refused(address, arguments).await;
        assert!(said.starts_with("presignd: "), "{said}");
        assert_says(&said, words);
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let said = refused(&closed.to_string(), &["get", get]).await;
    assert_says(&said, &["does not answer", &closed.to_string(), "refused"]);
    let wrong = presign(address, &["get", get, "--expires-in", "15"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert_says(&wrong.stderr, &["has no unit"]);
}

#[tokio::test]
async fn callers_show_who_they_are_over_tls() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.issue());
    let (key, hash) = new_key().await;
    let config = static_config("[GetObject]", &mounted.setting()).replace(
        "callers: [{ match: anyone }]",
        &format!("authentication: {{ api_keys: {{ me: [\"{hash}\"] }} }}\ncallers: [{{ match: {{ api_key: me }}, tenants: [acme] }}]"),
    );
    let serving = with_config("serve", &config).start();
    let url = format!("https://{}", serving.address().await);
    let [ca, key_file, wrong] = ["ca.crt", "key", "wrong"].map(|name| mounted.path(name));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&key_file, format!("{key}\n")).unwrap();
    std::fs::write(&wrong, flipped(&key)).unwrap();
    let [ca, key_file, wrong] = [&ca, &key_file, &wrong].map(|path| path.to_str().expect("text"));
    let ask = |more: &[&str]| {
        let base = [
            "presign",
            "get",
            "s3://acme-files/k",
            "--tenant",
            "acme",
            "--server",
            &url,
        ];
        presignd(base.iter().chain(more).copied())
    };
    let good = ask(&["--ca", ca, "--api-key-file", key_file]).run().await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(
        good.stdout.starts_with("http://127.0.0.1:9/acme-files/k?"),
        "{good:?}"
    );
    let good = ask(&["--ca", ca]).env("PRESIGND_API_KEY", &key).run().await;
    assert_eq!(good.code, Some(0), "{good:?}");
    for (start, words) in [
        (ask(&["--ca", ca]), "UNAUTHENTICATED"),
        (
            ask(&["--ca", ca, "--api-key-file", wrong]),
            "UNAUTHENTICATED",
        ),
        (ask(&["--ca", ca, "--token", &key]), "UNAUTHENTICATED"),
        (ask(&["--api-key-file", key_file]), "does not answer"),
        (ask(&["--ca", key_file]), "holds no certificate"),
        (
            ask(&["--ca", ca, "--api-key-file", "/nowhere/key"]),
            "/nowhere/key",
        ),
        (
            ask(&["--ca", ca, "--api-key-file", key_file]).env("PRESIGND_TOKEN", "x"),
            "more than one",
        ),
        (
            presignd([
                "presign",
                "get",
                "s3://acme-files/k",
                "--tenant",
                "acme",
                "--ca",
                ca,
            ]),
            "https://",
        ),
    ] {
        let ended = start.run().await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout, "", "{ended:?}");
        assert_says(&ended.stderr, &["presignd: ", words]);
        assert!(!ended.stderr.contains(&key), "{ended:?}");
    }
}
