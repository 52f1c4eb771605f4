//! What presignd refuses, and that nobody else is asked first.

use presignd::proto::v1::{BatchPresignRequest, Command, batch_presign_result};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request};

use crate::harness::ceph::Ceph;
use crate::harness::commands::{command, copy, delete, list};
use crate::harness::issuer::{FakeIssuer, SigningKey};
use crate::harness::presignd::{
    Presignd, batch, ceph_tenant, get_object, put_object, reason, request,
};
use crate::harness::refusal::Refused;
use crate::harness::relay::Relay;
use crate::harness::sts::FakeSts;

const BUCKET: &str = "acme-files";

#[tokio::test]
async fn keys_that_only_the_body_names_need_a_session_or_the_whole_bucket() {
    let prefix = r#"[{ commands: [delete], resources: ["acme-files/denying/many/in/*"] }]"#;
    let presignd = Presignd::with_ceph_owner("acme", prefix).start().await;
    let many = request("acme", command!(DeleteObjects { bucket: BUCKET }));
    let refused = presignd.presign(many.clone()).await.expect_err("unbounded");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(reason(&refused), "COMMAND_DENIED");
    let one = delete(BUCKET, "denying/many/in/none");
    assert_eq!(presignd.run("acme", one, "").await.status, 204);
}

#[tokio::test]
async fn a_field_that_needs_a_permission_of_its_own_needs_its_grant() {
    let tagged = || {
        command!(PutObject {
            bucket: BUCKET,
            key: "denying/fields",
            tagging: "team=blue",
        })
    };
    let with_acl = || {
        command!(PutObject {
            bucket: BUCKET,
            key: "denying/fields",
            acl: "bucket-owner-full-control",
        })
    };
    let grants = |commands: &str| {
        format!(r#"[{{ commands: [{commands}], resources: ["acme-files/denying/*"] }}]"#)
    };
    let narrow = Presignd::with_ceph_tenant("acme", &grants("PutObject"))
        .start()
        .await;
    for command in [tagged(), with_acl()] {
        let what = format!("{command:?}");
        let refused = narrow.presign(request("acme", command)).await;
        assert_eq!(reason(&refused.expect_err(&what)), "COMMAND_DENIED");
    }
    let wide =
        Presignd::with_ceph_tenant("acme", &grants("PutObject, PutObjectAcl, PutObjectTagging"))
            .start()
            .await;
    for command in [tagged(), with_acl()] {
        let put = wide.run("acme", command, "").await;
        assert_eq!(put.status, 200, "{put:?}");
    }
}

/// The confused deputy: whatever of another tenant's a request names, presignd asks nobody for credentials.
#[tokio::test]
async fn a_request_for_another_tenants_object_upload_or_copy_source_gets_no_session() {
    let ceph = Ceph::shared();
    let sts = Relay::to(ceph.endpoint()).await;
    let counted = |name: &str, grants: &str| {
        let (direct, relayed) = (
            format!("sts_endpoint: \"{}\"", ceph.endpoint()),
            format!("sts_endpoint: \"{}\"", sts.url()),
        );
        let yaml = ceph_tenant(ceph.tenant(name), grants);
        assert!(yaml.contains(&direct), "{yaml}");
        yaml.replace(&direct, &relayed)
    };
    let acme = r#"[{ commands: [read, write, list, delete], resources: ["acme-files/*"] }]"#;
    let globex = r#"[{ commands: [read, write, list, delete], resources: ["globex-files/*"] }]"#;
    let presignd = Presignd::with_tenant("acme", &counted("acme", acme))
        .with_tenant(
            "globex",
            &(counted("globex", globex) + "\nbuckets: { theirs: { bucket: globex-files } }"),
        )
        .with_credentials(ceph.presignd_credentials().clone())
        .start()
        .await;

    let confused = [
        get_object("globex-files", "denying/k"),
        put_object("globex-files", "denying/k"),
        list("globex-files", "denying/"),
        copy("globex-files/denying/k", BUCKET, "denying/deputy"),
        copy("/globex-files/denying/k", BUCKET, "denying/deputy"),
        copy("acme-files/denying/k", "globex-files", "denying/deputy"),
        command!(UploadPart {
            bucket: "globex-files",
            key: "denying/k",
            upload_id: "2~theirs",
            part_number: 1,
        }),
        command!(UploadPartCopy {
            bucket: BUCKET,
            key: "denying/deputy",
            upload_id: "2~ours",
            part_number: 1,
            copy_source: "globex-files/denying/k",
        }),
        command!(AbortMultipartUpload {
            bucket: "globex-files",
            key: "denying/k",
            upload_id: "2~theirs",
        }),
        command!(CompleteMultipartUpload {
            bucket: "globex-files",
            key: "denying/k",
            upload_id: "2~theirs",
        }),
        command!(ListParts {
            bucket: "globex-files",
            key: "denying/k",
            upload_id: "2~theirs",
        }),
        // Only globex knows a bucket by this name.
        get_object("theirs", "globex-files/k"),
        copy("theirs/globex-files", BUCKET, "denying/deputy"),
    ];
    for command in confused.clone() {
        let what = format!("{command:?}");
        let refused = presignd.presign(request("acme", command)).await;
        let refused = refused.expect_err(&what);
        assert_eq!(refused.code(), Code::PermissionDenied, "{what}: {refused}");
        let records = presignd.records.all();
        let record = records.last().expect("a record");
        assert_eq!(record["outcome"], "denied", "{what}");
        assert_eq!(record["tenant"], "acme", "{what}");
        assert!(record.to_string().contains("globex-files"), "{record}");
    }
    assert_eq!(presignd.records.all().len(), confused.len());

    let batch = BatchPresignRequest {
        tenant: "acme".to_owned(),
        commands: confused
            .iter()
            .map(|command| Command {
                command: Some(command.clone()),
                ..Command::default()
            })
            .collect(),
        ..BatchPresignRequest::default()
    };
    let answer = presignd.client.clone().batch_presign(batch).await;
    for result in answer.expect("each is refused alone").into_inner().results {
        let Some(batch_presign_result::Result::Error(error)) = result.result else {
            panic!("{result:?}");
        };
        assert_eq!(error.code, Code::PermissionDenied as i32);
    }
    assert_eq!(presignd.records.all().len(), 2 * confused.len());

    // A tenant that is not there is refused as one of somebody else's would be.
    let unknown = request("initech", get_object("globex-files", "denying/k"));
    let unknown = presignd.presign(unknown).await.expect_err("no such tenant");
    assert_eq!(unknown.code(), Code::PermissionDenied, "{unknown}");
    assert_eq!(reason(&unknown), "TENANT_DENIED");
    let records = presignd.records.all();
    assert_eq!(records.last().expect("a record")["tenant"], "initech");
    assert_eq!(sts.connections(), 0, "STS was called");

    // And STS is where the calls would have been seen.
    presignd
        .issue("acme", get_object(BUCKET, "denying/k"))
        .await;
    assert_eq!(sts.connections(), 1);
}

/// The other confused deputy: whoever may use one tenant and names another hears what they would hear of none.
#[tokio::test]
async fn a_caller_of_one_tenant_who_names_another_learns_nothing_and_gets_no_session() {
    let signing = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&signing]).await;
    let sts = FakeSts::start().await;
    let callers = format!(
        "authentication: {{ jwt: {{ users: {{ issuer: \"{}\", audiences: [presignd], jwks: {{ url: \"{}\" }} }} }} }}
callers:
  - {{ match: {{ jwt: {{ issuer: users, subject: ann }} }}, tenants: [acme], name: ann }}
  - {{ match: {{ jwt: {{ issuer: users, subject: bob }} }}, tenants: [globex], name: bob }}",
        issuer.name(),
        issuer.keys_url()
    );
    let files = |bucket: &str| {
        format!(
            "buckets: {{ files: {{ bucket: {bucket} }} }}
grants: [{{ commands: [read, write, list, delete], resources: [\"{bucket}/*\"] }}]"
        )
    };
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", &files("acme-files"))
        .with_tenant("globex", &sts.tenant("globex", "", &files("globex-files")))
        .with_callers(&callers)
        .start()
        .await;
    let token = |name: &str| -> MetadataValue<Ascii> {
        let token = signing.token(&issuer.claims(&*presignd.clock, name));
        format!("Bearer {token}").parse().expect("ASCII")
    };
    let (ann, bob) = (token("ann"), token("bob"));

    let commands = [
        get_object("globex-files", "k"),
        put_object("globex-files", "k"),
        list("globex-files", ""),
        delete("globex-files", "k"),
        copy("globex-files/k", "acme-files", "k"),
        // Both tenants know a bucket by this name.
        get_object("files", "k"),
        // Granted to nobody.
        get_object("initech-files", "k"),
    ];
    let mut recorded = 0;
    for command in commands {
        let mut heard = Vec::new();
        for tenant in ["globex", "initech"] {
            let what = format!("{tenant}: {command:?}");
            let mut one = Request::new(request(tenant, command.clone()));
            one.metadata_mut().insert("authorization", ann.clone());
            let one = presignd.client.clone().presign(one).await;
            let mut many = Request::new(batch(tenant, [command.clone()]));
            many.metadata_mut().insert("authorization", ann.clone());
            let many = presignd.client.clone().batch_presign(many).await;
            let refusals = [one.expect_err(&what), many.expect_err(&what)];
            heard.push(refusals.map(|status| {
                let mut refused = Refused::read(&status);
                let why = (Code::PermissionDenied, "TENANT_DENIED");
                assert_eq!(refused.why(), why, "{what}");
                let record = presignd.records.of(&refused.issuance_id);
                assert_eq!(record["outcome"], "denied", "{what}");
                assert_eq!(record["tenant"], tenant, "{what}");
                assert_eq!(record["caller"], "ann", "{what}");
                recorded += 1;
                refused.issuance_id.clear();
                refused
            }));
        }
        assert_eq!(heard[0], heard[1], "{command:?}");
    }
    assert_eq!(presignd.records.all().len(), recorded);
    assert!(sts.calls().is_empty(), "STS was called");

    // And it was all Ann's doing.
    let mut rightful = Request::new(request("globex", get_object("files", "k")));
    rightful.metadata_mut().insert("authorization", bob);
    let answer = presignd.client.clone().presign(rightful).await;
    let url = answer.expect("of globex").into_inner().url;
    assert!(url.contains("/globex-files/k?"), "{url}");
    assert_eq!(sts.calls().len(), 1);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_role_that_does_not_trust_presignd_is_for_an_operator_to_mend() {
    let ceph = Ceph::shared();
    let acme = ceph.tenant("acme");
    let grants = r#"[{ commands: [read], resources: ["acme-files/*"] }]"#;
    // The owner of the buckets may do anything in them, but not assume the role.
    let presignd = Presignd::with_ceph_tenant("acme", grants)
        .with_credentials(acme.owner.clone())
        .start()
        .await;
    let refused = presignd
        .presign(request("acme", get_object(BUCKET, "denying/k")))
        .await
        .expect_err("no session");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(reason(&refused), "ROLE_REFUSED");
    let records = presignd.records.all();
    assert_eq!(records[0]["outcome"], "failed", "{records:?}");
}
