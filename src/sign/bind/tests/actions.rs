//! Which IAM actions a request needs, by operation and by the fields that it sets.

use super::{copy, get, put, some};

use crate::proto::s3;
use crate::sign::bind::BindAny;

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn fields_decide_which_iam_actions_a_request_needs() {
    let bucket = || some("b");
    let key = || some("k");
    let version = || some("v");
    let on = || some("ON");
    let put_object = || put("k");
    let create_bucket = || s3::CreateBucket {
        bucket: bucket(),
        ..Default::default()
    };
    let cases: Vec<(Box<dyn BindAny>, &[&str])> = vec![
        (Box::new(get("b", "k")), &["s3:GetObject"]),
        (
            Box::new(s3::GetObject {
                version_id: version(),
                ..get("b", "k")
            }),
            &["s3:GetObjectVersion"],
        ),
        (
            Box::new(s3::HeadObject {
                bucket: bucket(),
                key: key(),
                version_id: version(),
                ..Default::default()
            }),
            &["s3:GetObjectVersion"],
        ),
        (
            Box::new(s3::GetObjectAttributes {
                bucket: bucket(),
                key: key(),
                object_attributes: vec!["ETag".to_owned()],
                ..Default::default()
            }),
            &["s3:GetObject", "s3:GetObjectAttributes"],
        ),
        (
            Box::new(s3::GetObjectTagging {
                bucket: bucket(),
                key: key(),
                version_id: version(),
                ..Default::default()
            }),
            &["s3:GetObjectVersionTagging"],
        ),
        (
            Box::new(s3::PutObjectAcl {
                bucket: bucket(),
                key: key(),
                version_id: version(),
                ..Default::default()
            }),
            &["s3:PutObjectVersionAcl"],
        ),
        (
            Box::new(s3::DeleteObject {
                bucket: bucket(),
                key: key(),
                version_id: version(),
                bypass_governance_retention: Some(true),
                ..Default::default()
            }),
            &["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"],
        ),
        (
            // The body may name versions, so both are needed.
            Box::new(s3::DeleteObjects {
                bucket: bucket(),
                ..Default::default()
            }),
            &["s3:DeleteObject", "s3:DeleteObjectVersion"],
        ),
        (
            Box::new(s3::PutObjectRetention {
                bucket: bucket(),
                key: key(),
                bypass_governance_retention: Some(true),
                ..Default::default()
            }),
            &["s3:PutObjectRetention", "s3:BypassGovernanceRetention"],
        ),
        (Box::new(put_object()), &["s3:PutObject"]),
        (
            Box::new(s3::PutObject {
                acl: some("private"),
                ..put_object()
            }),
            &["s3:PutObject", "s3:PutObjectAcl"],
        ),
        (
            Box::new(s3::PutObject {
                grant_read: some("id=\"x\""),
                ..put_object()
            }),
            &["s3:PutObject", "s3:PutObjectAcl"],
        ),
        (
            Box::new(s3::PutObject {
                tagging: some(""),
                ..put_object()
            }),
            &["s3:PutObject", "s3:PutObjectTagging"],
        ),
        (
            Box::new(s3::PutObject {
                object_lock_mode: some("GOVERNANCE"),
                ..put_object()
            }),
            &["s3:PutObject", "s3:PutObjectRetention"],
        ),
        (
            Box::new(s3::PutObject {
                object_lock_legal_hold_status: on(),
                ..put_object()
            }),
            &["s3:PutObject", "s3:PutObjectLegalHold"],
        ),
        (
            Box::new(s3::CreateMultipartUpload {
                bucket: bucket(),
                key: key(),
                grant_write_acp: some("id=\"x\""),
                tagging: some("a=b"),
                object_lock_event_hold: on(),
                object_lock_legal_hold_status: on(),
                ..Default::default()
            }),
            &[
                "s3:PutObject",
                "s3:PutObjectAcl",
                "s3:PutObjectTagging",
                "s3:PutObjectRetention",
                "s3:PutObjectLegalHold",
            ],
        ),
        (Box::new(copy("b/k")), &["s3:PutObject", "s3:GetObject"]),
        (
            Box::new(copy("b/k?versionId=v")),
            &["s3:PutObject", "s3:GetObjectVersion"],
        ),
        (
            Box::new(s3::CopyObject {
                tagging: some("a=b"),
                ..copy("b/k")
            }),
            &["s3:PutObject", "s3:PutObjectTagging", "s3:GetObject"],
        ),
        (
            Box::new(s3::RenameObject {
                bucket: bucket(),
                key: key(),
                rename_source: some("b/old"),
                ..Default::default()
            }),
            &["s3express:CreateSession", "s3:GetObject", "s3:DeleteObject"],
        ),
        (Box::new(create_bucket()), &["s3:CreateBucket"]),
        (
            Box::new(s3::CreateBucket {
                object_lock_enabled_for_bucket: Some(true),
                object_ownership: some("ObjectWriter"),
                acl: some("private"),
                ..create_bucket()
            }),
            &[
                "s3:CreateBucket",
                "s3:PutBucketAcl",
                "s3:PutBucketObjectLockConfiguration",
                "s3:PutBucketVersioning",
                "s3:PutBucketOwnershipControls",
            ],
        ),
    ];
    for (message, expected) in cases {
        let bound = message.to_bound().unwrap();
        let actions = bound.operation.actions.iter().enumerate();
        let needed: Vec<&str> = actions
            .filter(|(index, _)| bound.needed_actions & (1 << index) != 0)
            .map(|(_, action)| action.action)
            .collect();
        assert_eq!(needed, expected, "{}", bound.operation.name);
    }
}
