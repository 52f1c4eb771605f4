//! Requests that end in a defect: their callers are told, their records say so, and what the panic says goes nowhere.

use presignd::proto::v1::PresignRequest;
use tonic::Code;

use super::secrets::Logs;
use super::{GRANTS, get};
use crate::harness::collector::{Collector, attributes};
use crate::harness::form::for_key;
use crate::harness::presignd::{Presignd, batch, get_object, static_tenant};
use crate::harness::refusal::{Refused, refused};

/// Stands in the words of every panic.
const WORDS: &str = "words-of-a-panic-marker";

/// The record says what became of the request, and nothing of the panic.
fn assert_recorded(presignd: &Presignd, refused: &Refused, method: &str, tenant: Option<&str>) {
    assert_eq!(refused.why(), (Code::Internal, "INTERNAL"));
    let record = presignd.records.of(&refused.issuance_id);
    for (name, value) in [
        ("outcome", "failed"),
        ("status", "INTERNAL"),
        ("reason_code", "INTERNAL"),
        ("detail", &refused.message),
        ("caller", "anyone"),
        ("method", method),
    ] {
        assert_eq!(record[name], value, "{record:#}");
    }
    assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let recorded = record.get("tenant").and_then(|tenant| tenant.as_str());
    assert_eq!(recorded, tenant, "{record:#}");
    assert!(!record.to_string().contains(WORDS), "{record:#}");
}

/// The panic comes where the record is kept: the last place, and one that every request passes.
#[tokio::test]
async fn a_request_that_panics_leaves_a_record_and_no_words() {
    let (logs, _capturing) = Logs::capture();
    let (collector, otlp) = Collector::start().await;
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_telemetry(&format!("otlp: {{ endpoint: \"{otlp}\" }}"))
        .start()
        .await;
    let nobody = PresignRequest {
        tenant: "../b".to_owned(),
        ..get()
    };
    let unary = "presignd.v1.PresignService/Presign";
    for (request, tenant) in [(get(), Some("acme")), (nobody, None)] {
        presignd.records.panic(WORDS);
        let status = presignd.presign(request).await.unwrap_err();
        assert!(!format!("{status:?}").contains(WORDS), "{status:?}");
        assert_recorded(&presignd, &Refused::read(&status), unary, tenant);
    }
    presignd.records.panic(WORDS);
    let commands = [get_object("acme-files", "a"), get_object("acme-files", "b")];
    let of_batch = refused(presignd.presign_batch(batch("acme", commands)).await);
    let method = "presignd.v1.PresignService/BatchPresign";
    assert_recorded(&presignd, &of_batch, method, Some("acme"));
    presignd.records.panic(WORDS);
    let of_form = refused(presignd.presign_post(for_key("acme-files", "up")).await);
    let method = "presignd.v1.PresignService/PresignPost";
    assert_recorded(&presignd, &of_form, method, Some("acme"));
    assert_eq!(presignd.records.all().len(), 4, "one for each answer");

    // Nothing is left behind: neither a lock nor a task.
    presignd.presign(get()).await.unwrap();
    presignd.shutdown().await.unwrap();
    let logs = logs.text();
    assert_eq!(logs.matches("a request panicked").count(), 4, "{logs}");
    assert!(!logs.contains(WORDS), "{logs}");
    let failed = |span: &&opentelemetry_proto::tonic::trace::v1::Span| {
        let attributes = attributes(span);
        let is = |name, value| attributes.get(name).is_some_and(|held| held == value);
        is("presignd.reason_code", "INTERNAL") && is("presignd.outcome", "failed")
    };
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(failed).count(), 4, "{spans:?}");
    assert!(!format!("{spans:?}").contains(WORDS), "{spans:?}");
}
