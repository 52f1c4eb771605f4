//! Tenant ids that could mislead somebody: refused, and recorded in few words.

use tonic::Code;

use crate::harness::presignd::{Presignd, batch, get_object, request, static_tenant};
use crate::harness::refusal::{Refused, refused};

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;

#[tokio::test]
async fn what_is_no_tenant_id_is_refused_by_the_field_and_not_repeated() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let huge = "acme".repeat(256 << 10);
    let mut records = 0;
    for id in [
        "",
        "*",
        ".",
        "../acme",
        "acme/../b",
        "acme\0",
        "acme\n",
        "acme ",
        "Acme",
        "ACME",
        "acme%2e",
        "{acme}",
        "${acme}",
        "\u{430}cme",
        "acm\u{435}",
        "a\u{301}cme",
        "ａｃｍｅ",
        "\u{202e}emca",
        "acme\u{200b}",
        &"a".repeat(64),
        &huge,
    ] {
        let unary = presignd.presign(request(id, get_object("acme-files", "k")));
        let unary = unary.await.unwrap_err();
        let many = presignd.presign_batch(batch(id, [get_object("acme-files", "k")]));
        let many = many.await.unwrap_err();
        for status in [unary, many] {
            let shown: String = id.chars().take(20).collect();
            let refusal = Refused::read(&status);
            let why = (Code::InvalidArgument, "INVALID_REQUEST");
            assert_eq!(refusal.why(), why, "{shown:?}");
            assert_eq!(refusal.fields, ["tenant"], "{shown:?}");
            assert!(status.message().len() + status.details().len() < 1000);
            records += 1;
            let record = presignd.records.of(&refusal.issuance_id);
            assert_eq!(record["outcome"], "denied", "{shown:?}");
            assert_eq!(record.get("tenant"), None, "{shown:?}");
            assert!(record.to_string().len() < 1000, "{shown:?}");
        }
    }
    assert_eq!(presignd.records.all().len(), records, "one for each");
    presignd
        .presign(request("acme", get_object("acme-files", "k")))
        .await
        .unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn ids_that_look_like_a_tenants_are_nobodys() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let long = "a".repeat(63);
    for id in ["acrne", "acme-", "acme_", "acme1", "a-c-m-e", "0", &long] {
        let refusal = refused(
            presignd
                .presign(request(id, get_object("acme-files", "k")))
                .await,
        );
        assert_eq!(
            refusal.why(),
            (Code::PermissionDenied, "TENANT_DENIED"),
            "{id}"
        );
        let record = presignd.records.of(&refusal.issuance_id);
        assert_eq!(
            (&record["outcome"], &record["tenant"]),
            (&"denied".into(), &id.into())
        );
    }
    presignd.shutdown().await.unwrap();
}
