//! Forms have the endpoints that S3 takes them at.

use presignd::proto::v1::{HeaderPlacement, PresignPostRequest, SigningOptions};
use tonic::Code;

use super::{ALL, DIRECTORY, POINT, accelerated, aws, dual_stack};
use crate::harness::form::for_key;
use crate::harness::presignd::Presignd;
use crate::harness::refusal::refused;

fn with(options: SigningOptions, form: PresignPostRequest) -> PresignPostRequest {
    PresignPostRequest {
        options: Some(options),
        ..form
    }
}

#[tokio::test]
async fn a_form_is_posted_where_its_options_say() {
    let presignd = Presignd::with_tenant("acme", &aws(ALL)).start().await;
    for (options, url) in [
        (
            SigningOptions::default(),
            "https://acme-files.s3.eu-west-1.amazonaws.com/",
        ),
        (
            dual_stack(),
            "https://acme-files.s3.dualstack.eu-west-1.amazonaws.com/",
        ),
        (
            accelerated(),
            "https://acme-files.s3-accelerate.amazonaws.com/",
        ),
        (
            SigningOptions {
                fips: Some(true),
                ..SigningOptions::default()
            },
            "https://acme-files.s3-fips.eu-west-1.amazonaws.com/",
        ),
    ] {
        let form = with(options, for_key("acme-files", "k"));
        assert_eq!(presignd.presign_post(form).await.unwrap().url, url);
    }
    let refused = refused(
        presignd
            .presign_post(with(accelerated(), for_key("dotted.acme", "k")))
            .await,
    );
    assert_eq!(refused.why(), (Code::InvalidArgument, "NO_ENDPOINT"));
    assert_eq!(refused.fields, ["options.accelerate"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_for_urls_and_what_s3_takes_no_forms_for_is_refused() {
    let rest = format!(
        "buckets: {{ media: {{ bucket: \"{POINT}\" }} }}
grants: [{{ commands: [PutObject], resources: [\"media/*\", \"{DIRECTORY}/*\", \"acme-files/*\"] }}]"
    );
    let presignd = Presignd::with_tenant("acme", &aws(&rest)).start().await;
    let hoisted = SigningOptions {
        header_placement: HeaderPlacement::Query.into(),
        requester_pays: Some(true),
        ..SigningOptions::default()
    };
    let none = SigningOptions::default();
    for (form, fields) in [
        (
            with(hoisted, for_key("acme-files", "k")),
            &["options.header_placement", "options.requester_pays"][..],
        ),
        (with(none, for_key(POINT, "k")), &["bucket"]),
        (with(none, for_key("media", "k")), &["bucket"]),
        (with(none, for_key(DIRECTORY, "k")), &["bucket"]),
    ] {
        let refused = refused(presignd.presign_post(form).await);
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refused.fields, fields, "{refused:?}");
    }
    presignd.shutdown().await.unwrap();
}
