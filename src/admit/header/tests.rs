//! Rules on headers, as tables: of commands, and of forms.

use super::*;
use crate::proto::s3;
use crate::proto::v1::form_condition::Rule as Condition;
use crate::proto::v1::presign_post_request::KeyRule;
use crate::proto::v1::{FormCondition, PresignPostRequest};
use crate::sign::bind::{Bind as _, BindAny};
use crate::sign::operations::OPERATIONS;
use crate::sign::post_policy::bind::bind;

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn values(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

fn kms_alone() -> HeaderRules {
    HeaderRules {
        server_side_encryption: Some(HeaderRule::Require(values(&["aws:kms"]))),
        kms_keys: values(&["k1", "k2"]),
        ..Default::default()
    }
}

/// The fields that break a rule, with the rules.
fn broken(rules: &HeaderRules, message: &dyn BindAny) -> Vec<String> {
    let broken = rules.broken_by(&message.to_bound().unwrap());
    let told = broken.iter();
    told.map(|broken| format!("{} {}", broken.field, broken.description))
        .collect()
}

fn put(sse: &str, key: &str, acl: &str, class: &str) -> s3::PutObject {
    s3::PutObject {
        bucket: some("b"),
        key: some("k"),
        server_side_encryption: some(sse),
        ssekms_key_id: some(key),
        acl: some(acl),
        storage_class: some(class),
        ..Default::default()
    }
}

#[test]
fn encryption_that_is_required_has_to_be_said() {
    let listed = "is required, and one of aws:kms";
    for (sse, key, expected) in [
        ("aws:kms", "k1", vec![]),
        ("aws:kms", "k2", vec![]),
        (
            "aws:kms",
            "k3",
            vec!["ssekms_key_id is not one of k1, k2".to_owned()],
        ),
        (
            "aws:kms",
            "",
            vec!["ssekms_key_id is required, and one of k1, k2".to_owned()],
        ),
        (
            "AES256",
            "",
            vec!["server_side_encryption is not one of aws:kms".to_owned()],
        ),
        (
            "aws:kms:dsse",
            "k1",
            vec!["server_side_encryption is not one of aws:kms".to_owned()],
        ),
        ("", "", vec![format!("server_side_encryption {listed}")]),
    ] {
        let rules = kms_alone();
        assert_eq!(broken(&rules, &put(sse, key, "", "")), expected, "{sse}");
        let create = s3::CreateMultipartUpload {
            bucket: some("b"),
            key: some("k"),
            server_side_encryption: some(sse),
            ssekms_key_id: some(key),
            ..Default::default()
        };
        assert_eq!(broken(&rules, &create), expected, "{sse}");
        let copy = s3::CopyObject {
            bucket: some("b"),
            key: some("k"),
            copy_source: some("b/j"),
            server_side_encryption: some(sse),
            ssekms_key_id: some(key),
            ..Default::default()
        };
        assert_eq!(broken(&rules, &copy), expected, "{sse}");
    }
    let own_key = s3::PutObject {
        sse_customer_algorithm: some("AES256"),
        sse_customer_key: some("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        sse_customer_key_md5: some("hRasmdxgYDKV3nvbahU1MA=="),
        ..put("", "", "", "")
    };
    for rule in [
        HeaderRule::Require(values(&["AES256"])),
        HeaderRule::Allow(values(&["AES256"])),
        HeaderRule::Forbid,
    ] {
        let rules = HeaderRules {
            server_side_encryption: Some(rule),
            ..Default::default()
        };
        let told = broken(&rules, &own_key).join("\n");
        assert!(told.contains("sse_customer_algorithm"), "{told}");
    }
}

#[test]
fn what_is_allowed_may_be_left_out_and_what_is_forbidden_must() {
    let allowing = HeaderRules {
        acl: Some(HeaderRule::Allow(values(&[
            "private",
            "bucket-owner-full-control",
        ]))),
        storage_class: Some(HeaderRule::Allow(values(&["STANDARD"]))),
        server_side_encryption: Some(HeaderRule::Allow(values(&["AES256"]))),
        ..Default::default()
    };
    let forbidding = HeaderRules {
        acl: Some(HeaderRule::Forbid),
        storage_class: Some(HeaderRule::Forbid),
        server_side_encryption: Some(HeaderRule::Forbid),
        ..Default::default()
    };
    for (sse, acl, class, allowed) in [
        ("", "", "", true),
        ("AES256", "private", "STANDARD", true),
        ("", "bucket-owner-full-control", "", true),
        ("", "public-read", "", false),
        ("", "", "GLACIER", false),
        ("aws:kms", "", "", false),
    ] {
        let put = put(sse, "", acl, class);
        let told = broken(&allowing, &put);
        assert_eq!(told.is_empty(), allowed, "{told:?}");
        let told = broken(&forbidding, &put);
        let given = [sse, acl, class].iter().filter(|v| !v.is_empty()).count();
        assert_eq!(told.len(), given, "{told:?}");
        assert!(broken(&HeaderRules::default(), &put).is_empty());
    }
    let single = s3::PutObject {
        grant_read: some("id=\"1\""),
        ..put("", "", "", "")
    };
    for rules in [&allowing, &forbidding] {
        let told = broken(rules, &single).join("\n");
        assert!(told.starts_with("grant_read says what no rule"), "{told}");
    }
    let key_alone = put("", "k", "", "");
    let told = broken(&forbidding, &key_alone).join("\n");
    assert!(told.starts_with("ssekms_key_id"), "{told}");
}

#[test]
fn an_acl_that_the_body_could_give_has_to_be_in_the_header() {
    let acl_of = |acl: &str| s3::PutObjectAcl {
        bucket: some("b"),
        key: some("k"),
        acl: some(acl),
        ..Default::default()
    };
    let with = |acl| HeaderRules {
        acl: Some(acl),
        ..Default::default()
    };
    let allowing = with(HeaderRule::Allow(values(&["private"])));
    assert!(broken(&allowing, &acl_of("private")).is_empty());
    assert_eq!(
        broken(&allowing, &acl_of("")),
        ["acl is required, and one of private"]
    );
    for acl in ["", "private"] {
        let told = broken(&with(HeaderRule::Forbid), &acl_of(acl));
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

#[test]
fn a_form_keeps_the_rules_and_leaves_no_acl_to_its_client() {
    let form = |fields: &[(&str, &str)]| PresignPostRequest {
        bucket: "b".to_owned(),
        key_rule: Some(KeyRule::Key("k".to_owned())),
        fields: fields
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Default::default()
    };
    let rules = HeaderRules {
        acl: Some(HeaderRule::Allow(values(&["private"]))),
        ..kms_alone()
    };
    let told = |request: &PresignPostRequest| -> Vec<String> {
        let form = bind(request).unwrap();
        let broken = rules.broken_by(&form.command);
        broken.iter().map(|b| b.field.to_string()).collect()
    };
    let sse = "x-amz-server-side-encryption";
    let good = [
        (sse, "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k1"),
    ];
    assert_eq!(told(&form(&good)), [""; 0]);
    assert_eq!(told(&form(&[])), [format!("fields[\"{sse}\"]")]);
    let public = [&good[..], &[("acl", "public-read")]].concat();
    assert_eq!(told(&form(&public)), ["fields[\"acl\"]"]);

    let mut open = form(&good);
    open.conditions.push(FormCondition {
        field: "acl".to_owned(),
        rule: Some(Condition::StartsWith("private".to_owned())),
    });
    assert_eq!(told(&open), ["fields[\"acl\"]"]);
    let forbidding = HeaderRules {
        acl: Some(HeaderRule::Forbid),
        ..Default::default()
    };
    let bound = bind(&open).unwrap();
    assert_eq!(forbidding.broken_by(&bound.command).len(), 1);
}

#[test]
fn every_command_that_carries_a_header_is_known_to() {
    for (name, commands) in [
        (&ENCRYPTION, &ENCRYPTING[..]),
        (&ACL, &SHARING[..]),
        (&CLASS, &STORING[..]),
    ] {
        let carrying: Vec<&str> = OPERATIONS
            .iter()
            .filter(|operation| {
                let message = format!("presignd.s3.v1.{}", operation.name);
                let message = crate::grpc::client::DESCRIPTORS.get_message_by_name(&message);
                // What WriteGetObjectResponse says of an object is not kept.
                message.unwrap().get_field_by_name(name.field).is_some()
                    && operation.name != "WriteGetObjectResponse"
            })
            .map(|operation| operation.name)
            .collect();
        assert_eq!(carrying, commands, "{}", name.field);
    }
    let fields: Vec<(&str, &str)> = [s3::PutObject::FIELDS, s3::PutBucketAcl::FIELDS]
        .into_iter()
        .flatten()
        .map(|field| (field.name, field.field))
        .collect();
    let names = [&ENCRYPTION, &KMS_KEY, &OWN_KEY, &CLASS, &ACL];
    for name in names.into_iter().chain(&PERMISSIONS) {
        assert!(
            fields.contains(&(name.header, name.field)),
            "{}",
            name.field
        );
    }
}
