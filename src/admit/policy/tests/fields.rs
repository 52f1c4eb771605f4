//! What a command's fields add to what it needs: permissions of other commands, and the source of a copy.

use super::{check, copy, decide_on, delete, get, put, some};

use crate::admit::policy::Denied;
use crate::proto::s3;

#[test]
fn the_version_of_an_object_needs_no_grant_of_its_own() {
    let message = s3::GetObject {
        version_id: some("v"),
        ..get("files", "a/k")
    };
    check(&[
        (&["GetObject on files/a/*"], &message, true),
        (&["read on files/b/*"], &message, false),
    ]);
}

#[test]
fn what_fields_add_is_granted_as_the_command_that_does_it_alone() {
    let with_acl = s3::PutObject {
        acl: some("private"),
        ..put("a/k")
    };
    let with_tags = s3::PutObject {
        tagging: some("a=b"),
        ..put("a/k")
    };
    let locked = s3::PutObject {
        object_lock_mode: some("GOVERNANCE"),
        ..put("a/k")
    };
    let held = s3::PutObject {
        object_lock_legal_hold_status: some("ON"),
        ..put("a/k")
    };
    check(&[
        (&["PutObject on files/*"], &put("a/k"), true),
        (&["PutObject on files/*"], &with_acl, false),
        (&["PutObject, PutObjectAcl on files/*"], &with_acl, true),
        (
            &["PutObject on files/*", "PutObjectAcl on files/a/*"],
            &with_acl,
            true,
        ),
        (
            &["PutObject on files/*", "PutObjectAcl on files/b/*"],
            &with_acl,
            false,
        ),
        (&["write on files/*"], &with_acl, true),
        (&["PutObject, PutObjectAcl on files/*"], &with_tags, false),
        (
            &["PutObject, PutObjectTagging on files/*"],
            &with_tags,
            true,
        ),
        (&["PutObject on files/*"], &locked, false),
        (&["PutObject, PutObjectRetention on files/*"], &locked, true),
        (&["PutObject on files/*"], &held, false),
        (&["PutObject, PutObjectLegalHold on files/*"], &held, true),
    ]);
    let Err(Denied::Action { action, grant, .. }) = decide_on(&["PutObject on files/*"], &with_acl)
    else {
        panic!("denied for another reason");
    };
    assert_eq!((action, grant), ("s3:PutObjectAcl", "PutObjectAcl"));

    // DeleteBucketOwnershipControls is checked under the same IAM action, and is still another command.
    let with_ownership = s3::CreateBucket {
        bucket: some("files"),
        object_ownership: some("ObjectWriter"),
        ..Default::default()
    };
    check(&[
        (
            &["CreateBucket, DeleteBucketOwnershipControls on files"],
            &with_ownership,
            false,
        ),
        (
            &["CreateBucket, PutBucketOwnershipControls on files"],
            &with_ownership,
            true,
        ),
    ]);
}

#[test]
fn a_bypass_of_retention_is_granted_by_name_only() {
    let bypass = s3::DeleteObject {
        bypass_governance_retention: Some(true),
        ..delete("a/k")
    };
    check(&[
        (&["delete on files/*"], &delete("a/k"), true),
        (&["delete on files/*"], &bypass, false),
        (&["DeleteObject on files/*"], &bypass, true),
        (
            &["delete on files/*", "PutObjectRetention on files/*"],
            &bypass,
            false,
        ),
        (&["delete, PutObjectRetention on files/*"], &bypass, false),
        (
            &["delete on files/*", "DeleteObject on files/b/*"],
            &bypass,
            false,
        ),
    ]);
}

#[test]
fn a_copy_reads_its_source_with_a_grant_to_get_it() {
    let message = copy("files/a/k", "b/k");
    let of_version = copy("files/a/k?versionId=v", "b/k");
    let part = s3::UploadPartCopy {
        bucket: some("files"),
        key: some("b/k"),
        copy_source: some("files/a/k"),
        part_number: Some(1),
        upload_id: some("u"),
        ..Default::default()
    };
    check(&[
        (&["write on files/*"], &message, false),
        (&["write on files/b/*"], &message, false),
        (&["write on files/b/*", "read on files/a/*"], &message, true),
        (
            &["write on files/b/*", "GetObject on files/a/k"],
            &message,
            true,
        ),
        (
            &["write on files/b/*", "GetObject on files/a/*"],
            &of_version,
            true,
        ),
        (
            &["write on files/b/*", "GetObject on files/a/*"],
            &part,
            true,
        ),
        (&["write on files/b/*"], &part, false),
        (
            &["write on files/b/*", "read on files/ab/*"],
            &message,
            false,
        ),
        (&["write on files/b/*", "read on others/*"], &message, false),
        (&["read on files/a/*"], &message, false),
        (
            &["write, read on files/b/*"],
            &copy("others/b/k", "b/k"),
            false,
        ),
        // They are checked under s3:GetObject as well, and hand out no bytes, or not all of them.
        (
            &["write on files/b/*", "HeadObject on files/a/*"],
            &message,
            false,
        ),
        (
            &["write on files/b/*", "GetObjectAttributes on files/a/*"],
            &message,
            false,
        ),
        (
            &["write on files/b/*", "SelectObjectContent on files/a/*"],
            &part,
            false,
        ),
    ]);
    let Err(Denied::Source { grant, target, .. }) = decide_on(&["write on files/b/*"], &of_version)
    else {
        panic!("denied for another reason");
    };
    assert_eq!(
        (grant, target.as_str()),
        ("GetObject", "\"files\", key \"a/k\"")
    );
}

#[test]
fn a_rename_takes_its_source_away() {
    let message = s3::RenameObject {
        bucket: some("files"),
        key: some("b/k"),
        rename_source: some("files/a/k"),
        ..Default::default()
    };
    check(&[
        (&["RenameObject on files/*"], &message, false),
        (&["RenameObject, GetObject on files/*"], &message, false),
        (
            &["RenameObject, GetObject, DeleteObject on files/*"],
            &message,
            true,
        ),
        (
            &["RenameObject on files/*", "read, delete on files/a/*"],
            &message,
            true,
        ),
        (
            &[
                "RenameObject on files/*",
                "read on files/a/*",
                "delete on files/b/*",
            ],
            &message,
            false,
        ),
        // It takes a session of a directory bucket, which no class gives.
        (&["write, read, delete on files/*"], &message, false),
    ]);
}
