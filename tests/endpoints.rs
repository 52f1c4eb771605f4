//! Where URLs and forms lead: S3's endpoints, access points, directory buckets, and stores of one's own.

mod forms;
mod sessions;

use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{PresignRequest, PresignResponse, SigningOptions};
use tonic::Code;

use crate::harness::ceph::Ceph;
use crate::harness::commands::list;
use crate::harness::presignd::{
    Presignd, batch, ceph_tenant, get_object, put_object, request, static_credentials,
};
use crate::harness::refusal::{Refused, refused};
use crate::harness::tools::curl;
use crate::harness::url::Presigned;

pub(super) const POINT: &str = "arn:aws:s3:eu-west-1:111122223333:accesspoint/media";
pub(super) const GLOBAL: &str = "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap";
pub(super) const LAMBDA: &str = "arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/small";
pub(super) const OUTPOST: &str =
    "arn:aws:s3-outposts:eu-west-1:111122223333:outpost/op-01ac5d28a6a232904/accesspoint/here";
pub(super) const DIRECTORY: &str = "acme--euw1-az1--x-s3";

/// The request, signed so.
fn with(options: SigningOptions, command: Variant) -> PresignRequest {
    let mut request = request("acme", command);
    let command = request.command.as_mut().expect("it has one");
    command.options = Some(options);
    request
}

fn dual_stack() -> SigningOptions {
    SigningOptions {
        dual_stack: Some(true),
        ..SigningOptions::default()
    }
}

fn accelerated() -> SigningOptions {
    SigningOptions {
        accelerate: Some(true),
        ..SigningOptions::default()
    }
}

/// A tenant of AWS with long-lived keys.
fn aws(rest: &str) -> String {
    format!("region: eu-west-1\n{}", static_credentials(rest))
}

const ALL: &str = r#"grants: [{ commands: [read, write, list, delete, admin], resources: ["acme-files/*", "dotted.acme/*"] }]"#;

async fn issued(presignd: &Presignd, request: PresignRequest) -> PresignResponse {
    let asked = format!("{request:?}");
    let response = presignd.presign(request).await;
    response.unwrap_or_else(|status| panic!("{asked}: {status:?}"))
}

async fn host(presignd: &Presignd, request: PresignRequest) -> String {
    let issued = issued(presignd, request).await;
    let url = Presigned::read(&issued.url);
    let record = presignd.records.of(&issued.issuance_id);
    let host = url.origin.strip_prefix("https://").expect("AWS has TLS");
    assert_eq!(record["endpoint"], host);
    host.to_owned()
}

#[tokio::test]
async fn a_request_chooses_among_the_endpoints_of_s3() {
    let presignd = Presignd::with_tenant("acme", &aws(ALL)).start().await;
    let get = || get_object("acme-files", "k");
    let both = SigningOptions {
        fips: Some(true),
        ..dual_stack()
    };
    for (options, expected) in [
        (
            SigningOptions::default(),
            "acme-files.s3.eu-west-1.amazonaws.com",
        ),
        (
            dual_stack(),
            "acme-files.s3.dualstack.eu-west-1.amazonaws.com",
        ),
        (both, "acme-files.s3-fips.dualstack.eu-west-1.amazonaws.com"),
        (accelerated(), "acme-files.s3-accelerate.amazonaws.com"),
    ] {
        assert_eq!(host(&presignd, with(options, get())).await, expected);
    }
    // A batch has options of each command.
    let mut asked = batch("acme", [get(), get_object("dotted.acme", "k"), get()]);
    for (index, command) in asked.commands.iter_mut().enumerate() {
        command.options = (index < 2).then(accelerated);
    }
    let results = presignd.presign_batch(asked).await.unwrap();
    let origin = |at: usize| match &results[at] {
        ItemResult::Response(issued) => Presigned::read(&issued.url).origin,
        ItemResult::Error(status) => panic!("{status:?}"),
    };
    assert_eq!(origin(0), "https://acme-files.s3-accelerate.amazonaws.com");
    assert_eq!(origin(2), "https://acme-files.s3.eu-west-1.amazonaws.com");
    let ItemResult::Error(status) = &results[1] else {
        panic!("{:?}", results[1])
    };
    let refused = Refused::read_item(status);
    assert_eq!(refused.why(), (Code::InvalidArgument, "NO_ENDPOINT"));
    assert_eq!(refused.fields, ["commands[1].options.accelerate"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tenant_has_defaults_and_a_bucket_its_own() {
    let rest = format!(
        "endpoint: {{ dual_stack: true, accelerate: true }}
buckets:
  dotted.acme: {{ endpoint: {{ fips: true }} }}
{ALL}"
    );
    let presignd = Presignd::with_tenant("acme", &aws(&rest)).start().await;
    let get = |bucket| get_object(bucket, "k");
    let no = SigningOptions {
        dual_stack: Some(false),
        accelerate: Some(false),
        ..SigningOptions::default()
    };
    let create = Variant::CreateBucket(s3::CreateBucket {
        bucket: Some("acme-files".into()),
        ..Default::default()
    });
    for (asked, expected) in [
        (
            request("acme", get("acme-files")),
            "acme-files.s3-accelerate.dualstack.amazonaws.com",
        ),
        (
            with(no, get("acme-files")),
            "acme-files.s3.eu-west-1.amazonaws.com",
        ),
        (
            request("acme", get("dotted.acme")),
            "s3-fips.eu-west-1.amazonaws.com",
        ),
        // Acceleration does not know it.
        (
            request("acme", create),
            "acme-files.s3.dualstack.eu-west-1.amazonaws.com",
        ),
    ] {
        assert_eq!(host(&presignd, asked).await, expected);
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_s3_refuses_names_the_option_and_the_fix() {
    let store = format!(
        "region: eu-west-1\nendpoint: {{ url: \"http://s3.test:9000\" }}\n{}",
        static_credentials(ALL)
    );
    let presignd = Presignd::with_tenant("acme", &aws(ALL))
        .with_tenant("store", &store)
        .start()
        .await;
    let fips = SigningOptions {
        fips: Some(true),
        ..accelerated()
    };
    let get = |bucket| get_object(bucket, "k");
    let at_store = |options| PresignRequest {
        tenant: "store".to_owned(),
        ..with(options, get("acme-files"))
    };
    let delete = Variant::DeleteBucket(s3::DeleteBucket {
        bucket: Some("acme-files".into()),
        ..Default::default()
    });
    for (asked, field, says) in [
        (
            with(accelerated(), get("dotted.acme")),
            "accelerate",
            "set it to false",
        ),
        (
            with(fips, get("acme-files")),
            "accelerate",
            "set one of the two to false",
        ),
        (
            with(accelerated(), delete),
            "accelerate",
            "is not for DeleteBucket",
        ),
        (at_store(accelerated()), "accelerate", "another store"),
        (at_store(dual_stack()), "dual_stack", "another store"),
    ] {
        let refused = refused(presignd.presign(asked).await);
        assert_eq!(refused.why(), (Code::InvalidArgument, "NO_ENDPOINT"));
        assert_eq!(refused.fields, [format!("command.options.{field}")]);
        assert!(refused.message.contains(says), "{refused:?}");
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["outcome"], "denied", "{record:#}");
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn whoever_asks_says_that_they_pay() {
    let rest =
        format!("buckets: {{ dotted.acme: {{ endpoint: {{ requester_pays: true }} }} }}\n{ALL}");
    let presignd = Presignd::with_tenant("acme", &aws(&rest)).start().await;
    let pays = |said| SigningOptions {
        requester_pays: said,
        ..SigningOptions::default()
    };
    let create = || {
        Variant::CreateBucket(s3::CreateBucket {
            bucket: Some("dotted.acme".into()),
            ..Default::default()
        })
    };
    let by_member = Variant::GetObject(s3::GetObject {
        bucket: Some("dotted.acme".into()),
        key: Some("k".into()),
        request_payer: Some("requester".into()),
        ..Default::default()
    });
    for (command, said, header) in [
        (get_object("acme-files", "k"), None, None),
        (get_object("acme-files", "k"), Some(true), Some("requester")),
        (get_object("dotted.acme", "k"), None, Some("requester")),
        (get_object("dotted.acme", "k"), Some(false), None),
        (by_member.clone(), None, Some("requester")),
        (by_member, Some(true), Some("requester")),
        (create(), None, None),
        (create(), Some(false), None),
    ] {
        let issued = issued(&presignd, with(pays(said), command)).await;
        let sent = issued.headers.get("x-amz-request-payer");
        assert_eq!(sent.map(String::as_str), header, "{said:?}: {issued:?}");
        let signed = Presigned::read(&issued.url);
        let signed = signed.signed_headers().contains(&"x-amz-request-payer");
        assert_eq!(signed, header.is_some());
    }
    let refused = refused(presignd.presign(with(pays(Some(true)), create())).await);
    assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert_eq!(refused.fields, ["command.options.requester_pays"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_access_point_is_reached_through_grants_of_its_own() {
    let rest = format!(
        r#"buckets:
  media: {{ bucket: "{POINT}" }}
  world: {{ bucket: "{GLOBAL}" }}
grants:
  - {{ commands: [read, list], resources: ["media/pub/*", "{GLOBAL}/*", "{LAMBDA}/*", "{OUTPOST}/*", "{DIRECTORY}/*", "acme-files/*"] }}"#
    );
    let presignd = Presignd::with_tenant("acme", &aws(&rest)).start().await;
    for (bucket, real, host, scope) in [
        (
            "media",
            POINT,
            "media-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
            "eu-west-1/s3",
        ),
        (
            POINT,
            POINT,
            "media-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
            "eu-west-1/s3",
        ),
        (
            LAMBDA,
            LAMBDA,
            "small-111122223333.s3-object-lambda.eu-west-1.amazonaws.com",
            "eu-west-1/s3-object-lambda",
        ),
        (
            OUTPOST,
            OUTPOST,
            "here-111122223333.op-01ac5d28a6a232904.s3-outposts.eu-west-1.amazonaws.com",
            "eu-west-1/s3-outposts",
        ),
        (
            DIRECTORY,
            DIRECTORY,
            "acme--euw1-az1--x-s3.s3express-euw1-az1.eu-west-1.amazonaws.com",
            "eu-west-1/s3express",
        ),
    ] {
        let issued = issued(&presignd, request("acme", get_object(bucket, "pub/a b"))).await;
        let url = Presigned::read(&issued.url);
        assert_eq!(url.origin, format!("https://{host}"));
        assert_eq!(url.path, "/pub/a%20b");
        let credential = url.parameter("X-Amz-Credential");
        assert!(
            credential.ends_with(&format!("/{scope}/aws4_request")),
            "{credential}"
        );
        assert_eq!(presignd.records.of(&issued.issuance_id)["bucket"], real);
    }
    for bucket in ["world", GLOBAL] {
        let issued = issued(&presignd, request("acme", get_object(bucket, "k"))).await;
        let url = Presigned::read(&issued.url);
        assert_eq!(
            url.origin,
            "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com"
        );
        assert_eq!(url.parameter("X-Amz-Algorithm"), "AWS4-ECDSA-P256-SHA256");
        assert_eq!(url.parameter("X-Amz-Region-Set"), "*");
        let credential = url.parameter("X-Amz-Credential");
        assert!(credential.starts_with("AKIDSTATIC/2") && credential.ends_with("/s3/aws4_request"));
        assert_eq!(credential.split('/').count(), 4, "no region: {credential}");
        assert_eq!(presignd.records.of(&issued.issuance_id)["region"], "*");
    }
    // The prefix holds, another access point is another one, and so is the bucket of the access point's name.
    for (bucket, key) in [
        (POINT, "private/k"),
        (
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/acme-files",
            "pub/k",
        ),
        (
            "arn:aws:s3:eu-west-1:444455556666:accesspoint/media",
            "pub/k",
        ),
        (
            "arn:aws:s3:eu-central-1:111122223333:accesspoint/media",
            "pub/k",
        ),
        (
            "arn:aws-cn:s3:eu-west-1:111122223333:accesspoint/media",
            "pub/k",
        ),
    ] {
        let refused = refused(
            presignd
                .presign(request("acme", get_object(bucket, key)))
                .await,
        );
        assert_eq!(
            refused.why(),
            (Code::PermissionDenied, "COMMAND_DENIED"),
            "{bucket}"
        );
    }
    for bad in [
        "arn:aws:s3:::acme-files",
        "arn:aws:s3:eu-west-1:111122223333:accesspoint:media",
    ] {
        let refused = refused(
            presignd
                .presign(request("acme", get_object(bad, "k")))
                .await,
        );
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refused.fields, ["command.get_object.bucket"]);
    }
    presignd.shutdown().await.unwrap();
}

/// Runs the command by curl, which takes every name of `localhost` for this machine.
async fn by_curl(presignd: &Presignd, command: Variant, body: &str) -> String {
    let issued = presignd.issue("acme", command).await;
    let mut arguments: Vec<String> = ["-X", &issued.method, "-w", " %{http_code}"]
        .map(str::to_owned)
        .into();
    if !body.is_empty() {
        arguments.extend(["--data-binary".to_owned(), body.to_owned()]);
        arguments.extend(["-H".to_owned(), "content-type:".to_owned()]);
    }
    arguments.push(issued.url);
    let output = curl(arguments.into_iter().map(Into::into)).await;
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn a_store_is_reached_in_both_styles_and_signed_for_in_any_region() {
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [read, write, list], resources: ["acme-files/endpoints/*"] }]"#;
    let tenant = ceph_tenant(ceph.tenant("acme"), grants);
    let at = format!(
        "endpoint: {{ url: \"{}\", path_style: true }}",
        ceph.endpoint()
    );
    assert!(tenant.contains(&at));
    let by_host = ceph.endpoint().replace("127.0.0.1", "s3.localhost");
    for (index, (endpoint, origin, region)) in [
        (
            format!(
                "endpoint: {{ url: \"{}\", path_style: true, signing_region: somewhere-7 }}",
                ceph.endpoint()
            ),
            ceph.endpoint().to_owned(),
            "somewhere-7",
        ),
        (
            format!("endpoint: {{ url: \"{by_host}\", signing_region: eu-west-9 }}"),
            by_host.replace("s3.", "acme-files.s3."),
            "eu-west-9",
        ),
        (
            format!("endpoint: {{ url: \"{by_host}\" }}"),
            by_host.replace("s3.", "acme-files.s3."),
            "us-east-1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let presignd = Presignd::with_tenant("acme", &tenant.replace(&at, &endpoint))
            .with_credentials(ceph.presignd_credentials().clone())
            .start()
            .await;
        let key = format!("endpoints/{index} é");
        let put = presignd.issue("acme", put_object("acme-files", &key)).await;
        let url = Presigned::read(&put.url);
        assert_eq!(url.origin, origin);
        assert!(
            url.parameter("X-Amz-Credential")
                .contains(&format!("/{region}/s3/"))
        );
        assert_eq!(presignd.records.of(&put.issuance_id)["region"], region);

        let written = by_curl(&presignd, put_object("acme-files", &key), "there").await;
        assert_eq!(written, " 200", "{endpoint}");
        assert_eq!(
            by_curl(&presignd, get_object("acme-files", &key), "").await,
            "there 200"
        );
        let listed = by_curl(&presignd, list("acme-files", "endpoints/"), "").await;
        assert!(
            listed.contains(&key) && listed.ends_with(" 200"),
            "{listed}"
        );
        presignd.shutdown().await.unwrap();
    }
}
