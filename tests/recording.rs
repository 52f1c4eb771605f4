//! Every answer has its record, which says what was issued and holds nothing that would let its reader use it.

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{
    BatchPresignRequest, Command, PresignRequest, PresignResponse, batch_presign_result,
};

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::presignd::{Presignd, get_object, put_object, request};

const BUCKET: &str = "acme-files";
const GRANTS: &str =
    r#"[{ commands: [read, write, list, delete], resources: ["acme-files/recording/*"] }]"#;

/// The secrets of a URL, encoded as they stand there and as they are.
fn secrets(issued: &PresignResponse) -> Vec<String> {
    let (_, query) = issued.url.split_once('?').expect("a query");
    let mut secrets = vec![issued.url.clone(), query.to_owned()];
    for name in ["X-Amz-Signature", "X-Amz-Security-Token"] {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(known, _)| *known == name).expect(name);
        assert!(value.len() >= 64, "{name} is too short to search for");
        secrets.push(value.to_owned());
        let decoded = [("%2B", "+"), ("%2F", "/"), ("%3D", "=")]
            .iter()
            .fold(value.to_owned(), |text, (code, char)| {
                text.replace(code, char)
            });
        secrets.push(decoded);
    }
    secrets
}

fn assert_keeps_quiet(presignd: &Presignd, secrets: &[String]) {
    let records = presignd.records.all();
    assert!(!records.is_empty());
    for record in records {
        let record = record.to_string();
        for secret in secrets {
            assert!(!record.contains(secret.as_str()), "{secret} in {record}");
        }
        for mark in ["X-Amz-", "http://", "https://"] {
            assert!(!record.contains(mark), "{mark} in {record}");
        }
    }
}

fn access_key(issued: &PresignResponse) -> &str {
    let (_, rest) = issued.url.split_once("X-Amz-Credential=").expect("a key");
    rest.split_once("%2F").expect("a scope").0
}

#[tokio::test]
async fn each_url_has_a_record_that_names_it_and_does_not_hold_it() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let copy = command!(CopyObject {
        bucket: BUCKET,
        key: "recording/copied",
        copy_source: "/acme-files/recording/source é",
    });
    let version = command!(GetObject {
        bucket: BUCKET,
        key: "recording/k",
        version_id: "v1",
    });
    let list = command!(ListObjectsV2 {
        bucket: BUCKET,
        prefix: "recording/"
    });
    let cases: [(Variant, &str, Option<&str>); 5] = [
        (
            get_object(BUCKET, "recording/k é\u{202e}\n"),
            "GetObject",
            Some("recording/k é\u{202e}\n"),
        ),
        (
            put_object(BUCKET, "recording/k"),
            "PutObject",
            Some("recording/k"),
        ),
        (version, "GetObject", Some("recording/k")),
        (copy, "CopyObject", Some("recording/copied")),
        (list, "ListObjectsV2", None),
    ];
    let mut all = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (command, name, key) in cases {
        let issued = presignd
            .presign(PresignRequest {
                reason: "a test of records".to_owned(),
                subject: "user-7".to_owned(),
                ..request("acme", command)
            })
            .await
            .unwrap();
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(record["outcome"], "issued", "{record}");
        assert_eq!(record["tenant"], "acme", "{record}");
        assert_eq!(record["command"], name, "{record}");
        assert_eq!(record["bucket"], BUCKET, "{record}");
        assert_eq!(record["key"].as_str(), key, "{record}");
        assert_eq!(record["reason"], "a test of records", "{record}");
        assert_eq!(record["subject"], "user-7", "{record}");
        assert_eq!(record["access_key_id"], access_key(&issued), "{record}");
        let session = record["role_session_name"].as_str().expect("a session");
        assert!(session.contains("acme"), "{record}");
        names.insert(session.to_owned());
        all.push((issued, record));
    }
    assert_eq!(names.len(), 1, "one tenant and caller: {names:?}");
    assert_eq!(all[2].1["version_id"], "v1");
    assert_eq!(all[3].1["copy_source"], "acme-files/recording/source é");
    let secrets: Vec<_> = all.iter().flat_map(|(issued, _)| secrets(issued)).collect();
    assert_keeps_quiet(&presignd, &secrets);
}

#[tokio::test]
async fn each_command_of_a_batch_has_a_record_of_its_own() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let commands = [
        get_object(BUCKET, "recording/a"),
        get_object(BUCKET, "elsewhere/b"),
        get_object(BUCKET, "recording/c"),
    ];
    let batch = BatchPresignRequest {
        tenant: "acme".to_owned(),
        commands: commands
            .map(|command| Command {
                command: Some(command),
                ..Command::default()
            })
            .into(),
        ..BatchPresignRequest::default()
    };
    let answer = presignd.client.clone().batch_presign(batch).await;
    let results = answer.expect("an answer").into_inner().results;
    let records = presignd.records.all();
    assert_eq!((results.len(), records.len()), (3, 3));
    let mut held = Vec::new();
    for (index, (result, record)) in results.iter().zip(&records).enumerate() {
        assert_eq!(record["batch"]["index"], index, "{record}");
        assert_eq!(record["batch"]["size"], 3, "{record}");
        match result.result.as_ref().expect("a result") {
            batch_presign_result::Result::Response(issued) => {
                assert_eq!(record["issuance_id"], issued.issuance_id.as_str());
                assert_eq!(record["outcome"], "issued");
                held.extend(secrets(issued));
            }
            batch_presign_result::Result::Error(_) => {
                assert_eq!((index, &record["outcome"]), (1, &"denied".into()));
                assert_eq!(record["key"], "elsewhere/b");
            }
        }
    }
    assert_keeps_quiet(&presignd, &held);
}

#[tokio::test]
async fn no_record_holds_a_key_that_encrypts_or_signs() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let customer_key = "cGxhbnRlZCBtYXJrZXIsIHRoaXJ0eS10d28gYnl0ZXM=";
    let encrypted = |key: &str| {
        Variant::PutObject(s3::PutObject {
            bucket: Some(BUCKET.to_owned()),
            key: Some(key.to_owned()),
            sse_customer_algorithm: Some("AES256".to_owned()),
            sse_customer_key: Some(customer_key.to_owned()),
            ..s3::PutObject::default()
        })
    };
    let issued = presignd.issue("acme", encrypted("recording/e")).await;
    assert!(
        issued.headers.values().any(|value| value == customer_key),
        "the client needs it: {issued:?}"
    );
    let refused = presignd
        .presign(request("acme", encrypted("elsewhere/e")))
        .await
        .expect_err("not granted");
    assert!(!format!("{refused:?}").contains(customer_key));
    assert_eq!(presignd.records.all().len(), 2);

    let ceph = Ceph::shared();
    let mut held = secrets(&issued);
    held.push(customer_key.to_owned());
    held.push(ceph.presignd_credentials().secret_access_key().to_owned());
    assert_keeps_quiet(&presignd, &held);
}
