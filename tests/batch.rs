//! Many commands at once: one result each, in order; one charge, one tenant, one record each.

use std::collections::BTreeSet;

use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{BatchPresignRequest, Command, ExpiryBound};
use tonic::Code;

use crate::harness::collector::{Collector, attributes};
use crate::harness::presignd::{Presignd, batch, get_object, put_object, request, static_tenant};
use crate::harness::refusal::{Refused, assert_version_7, refused};
use crate::harness::url::Presigned;

const GRANTS: &str = r#"grants:
  - { commands: [read], resources: ["acme-files/*"] }
  - { commands: [read], resources: ["acme-in/*"], max_expiry: 5m }"#;

fn with_limit(limit: &str) -> String {
    static_tenant(&format!("{GRANTS}\nlimits: [{limit}]"))
}

async fn acme() -> Presignd {
    Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await
}

fn gets(count: usize) -> BatchPresignRequest {
    batch(
        "acme",
        (0..count).map(|index| get_object("acme-files", &format!("k{index}"))),
    )
}

fn url(result: &ItemResult) -> Presigned {
    match result {
        ItemResult::Response(issued) => Presigned::read(&issued.url),
        ItemResult::Error(error) => panic!("{error:?}"),
    }
}

fn error(result: &ItemResult) -> Refused {
    match result {
        ItemResult::Error(error) => Refused::read_item(error),
        ItemResult::Response(issued) => panic!("{issued:?}"),
    }
}

#[tokio::test]
async fn one_to_500_commands_are_answered_in_order() {
    let presignd = acme().await;
    for count in [1, 500] {
        let results = presignd.presign_batch(gets(count)).await.unwrap();
        let paths: Vec<String> = results.iter().map(|result| url(result).path).collect();
        let expected: Vec<String> = (0..count).map(|i| format!("/acme-files/k{i}")).collect();
        assert_eq!(paths, expected);
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn no_commands_or_more_than_500_are_refused_as_one() {
    let presignd = acme().await;
    for count in [0, 501] {
        let refused = refused(presignd.presign_batch(gets(count)).await);
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refused.fields, ["commands"]);
        let records = presignd.records.all();
        assert_eq!(records.len(), 1 + usize::from(count == 501));
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["reason_code"], "INVALID_REQUEST");
        assert_eq!(record["method"], "presignd.v1.PresignService/BatchPresign");
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_failure_belongs_to_its_command() {
    let presignd = acme().await;
    let mut request = batch(
        "acme",
        [
            get_object("acme-files", "a"),
            get_object("globex-files", "b"),
            get_object("acme-files", "../c"),
            put_object("acme-files", "d"),
            get_object("acme-in", "e"),
            Variant::PutObject(s3::PutObject::default()),
        ],
    );
    request.commands.push(Command::default());
    request.commands.push(Command {
        command: Some(get_object("acme-files", "z")),
        ..Command::default()
    });
    request.expires_in = Some(prost_types::Duration {
        seconds: 600,
        nanos: 0,
    });
    let results = presignd.presign_batch(request).await.unwrap();
    assert_eq!(results.len(), 8);
    assert_eq!(url(&results[0]).path, "/acme-files/a");
    assert_eq!(url(&results[7]).path, "/acme-files/z");
    let expected: [(usize, Code, &str, &[&str]); 6] = [
        (1, Code::PermissionDenied, "COMMAND_DENIED", &[]),
        (
            2,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            &["commands[2].get_object.key"],
        ),
        (3, Code::PermissionDenied, "COMMAND_DENIED", &[]),
        (
            4,
            Code::InvalidArgument,
            "EXPIRY_ABOVE_CAP",
            &["expires_in"],
        ),
        (
            5,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            &[
                "commands[5].put_object.bucket",
                "commands[5].put_object.key",
            ],
        ),
        (
            6,
            Code::InvalidArgument,
            "INVALID_REQUEST",
            &["commands[6]"],
        ),
    ];
    let mut ids = BTreeSet::new();
    for (index, code, reason, fields) in expected {
        let refused = error(&results[index]);
        assert_eq!(refused.why(), (code, reason), "{index}");
        assert_eq!(refused.fields, fields, "{index}");
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["reason_code"], reason);
        assert_eq!(record["batch"]["index"], index);
        ids.insert(refused.issuance_id);
    }
    assert_eq!(ids.len(), 6);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_holds_for_all_is_applied_to_each() {
    let presignd = acme().await;
    let request = BatchPresignRequest {
        reason: "export".into(),
        subject: "user-17".into(),
        expiry_mode: presignd::proto::v1::ExpiryMode::Clamp.into(),
        expires_in: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..batch(
            "acme",
            [get_object("acme-files", "a"), get_object("acme-in", "b")],
        )
    };
    let results = presignd.presign_batch(request).await.unwrap();
    let mut bounds = Vec::new();
    for result in &results {
        let ItemResult::Response(issued) = result else {
            panic!("{result:?}")
        };
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(record["reason"], "export");
        assert_eq!(record["subject"], "user-17");
        bounds.push((url(result).expires_in(), issued.expiry_bound()));
    }
    let expected = [(600, ExpiryBound::Request), (300, ExpiryBound::GrantCap)];
    assert_eq!(bounds, expected);

    let broken = BatchPresignRequest {
        expires_in: Some(prost_types::Duration {
            seconds: 0,
            nanos: 0,
        }),
        ..gets(2)
    };
    let refused = refused(presignd.presign_batch(broken).await);
    assert_eq!(refused.fields, ["expires_in"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tenant_that_is_not_the_callers_refuses_the_whole_batch() {
    let presignd = acme().await;
    let foreign = BatchPresignRequest {
        tenant: "globex".into(),
        ..gets(3)
    };
    let of_batch = refused(presignd.presign_batch(foreign).await);
    assert_eq!(of_batch.why(), (Code::PermissionDenied, "TENANT_DENIED"));
    let records = presignd.records.all();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0]["issuance_id"], of_batch.issuance_id.as_str());
    assert_eq!(records[0]["batch"]["size"], 3);
    assert_eq!(records[0]["tenant"], "globex");

    // As for a single command.
    let single = refused(
        presignd
            .presign(request("globex", get_object("acme-files", "k")))
            .await,
    );
    assert_eq!(
        (single.code, single.message),
        (of_batch.code, of_batch.message)
    );
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_is_charged_whole_or_not_at_all() {
    let tenant = with_limit("{ name: reads, rate: 1/h, burst: 10 }");
    let presignd = Presignd::with_tenant("acme", &tenant).start().await;
    presignd.presign_batch(gets(7)).await.unwrap();

    let of_batch = refused(presignd.presign_batch(gets(4)).await);
    assert_eq!(of_batch.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(of_batch.quotas, ["tenant:acme/limit:reads"]);
    assert_eq!(of_batch.metadata["limit"], "reads");
    // One more than is left, at one an hour, or up to a quarter later.
    let wait = of_batch.retry_after.unwrap().as_secs();
    assert!((3500..=4500).contains(&wait), "{wait} s");
    assert_eq!(presignd.records.all().len(), 8, "7 items and one batch");
    assert_eq!(
        presignd.records.of(&of_batch.issuance_id)["batch"]["size"],
        4
    );

    // Nothing was taken: the rest is still there, and no more than that.
    presignd.presign_batch(gets(3)).await.unwrap();
    let next = refused(presignd.presign_batch(gets(1)).await);
    assert_eq!(next.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_no_burst_holds_is_never_worth_a_retry() {
    let tenant = with_limit("{ name: reads, rate: 100/s, burst: 10 }");
    let presignd = Presignd::with_tenant("acme", &tenant).start().await;
    let refused = refused(presignd.presign_batch(gets(11)).await);
    assert_eq!(refused.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(refused.quotas, ["tenant:acme/limit:reads"]);
    assert_eq!(refused.retry_after, None);
    presignd.presign_batch(gets(10)).await.unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn commands_that_are_refused_are_not_charged() {
    let tenant = with_limit("{ name: reads, rate: 1/h, burst: 2 }");
    let presignd = Presignd::with_tenant("acme", &tenant).start().await;
    // Two that count, among many that do not.
    let commands = (0..20).map(|index| match index {
        3 | 11 => get_object("acme-files", "k"),
        n if n % 2 == 0 => get_object("acme-files", ".."),
        _ => get_object("globex-files", "k"),
    });
    let results = presignd
        .presign_batch(batch("acme", commands))
        .await
        .unwrap();
    let issued: Vec<usize> = (0..20)
        .filter(|&i| matches!(results[i], ItemResult::Response(_)))
        .collect();
    assert_eq!(issued, [3, 11]);
    let next = refused(presignd.presign_batch(gets(1)).await);
    assert_eq!(next.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_command_has_a_record_and_a_span() {
    let (collector, url) = Collector::start().await;
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_telemetry(&format!("otlp: {{ endpoint: \"{url}\" }}"))
        .start()
        .await;
    let commands = [
        get_object("acme-files", "a"),
        get_object("globex-files", "b"),
        get_object("acme-files", "c"),
    ];
    let results = presignd
        .presign_batch(batch("acme", commands))
        .await
        .unwrap();
    let mut expected = Vec::new();
    for (index, result) in results.iter().enumerate() {
        let (id, outcome) = match result {
            ItemResult::Response(issued) => (issued.issuance_id.clone(), "issued"),
            ItemResult::Error(error) => (Refused::read_item(error).issuance_id, "denied"),
        };
        assert_version_7(&id);
        let record = presignd.records.of(&id);
        assert_eq!(record["outcome"], outcome);
        assert_eq!(
            record["batch"],
            serde_json::json!({ "index": index, "size": 3 })
        );
        expected.push((id, outcome.to_owned(), index.to_string()));
    }
    assert_eq!(expected[1].1, "denied");

    let records = presignd.records.clone();
    presignd.shutdown().await.unwrap();
    let spans = collector.spans();
    assert_eq!(spans.len(), 3);
    let mut seen = Vec::new();
    for span in &spans {
        let attributes = attributes(span);
        assert_eq!(attributes["presignd.batch.size"], "3");
        let id = attributes["presignd.issuance_id"].clone();
        let span_id = <[u8; 8]>::try_from(&*span.span_id).unwrap();
        let span_id = format!("{:016x}", u64::from_be_bytes(span_id));
        assert_eq!(records.of(&id)["span_id"], span_id.as_str());
        seen.push((
            id,
            attributes["presignd.outcome"].clone(),
            attributes["presignd.batch.index"].clone(),
        ));
    }
    seen.sort_by(|a, b| a.2.cmp(&b.2));
    assert_eq!(seen, expected);
}
