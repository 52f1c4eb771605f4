//! Which IAM actions an S3 operation needs, as AWS's service authorization reference for S3 lists them.
//!
//! An operation that is not named here needs the action of its own name, so that only a policy that allows every
//! action, or exactly that one, lets it through.

use std::borrow::Cow;

use http::HeaderMap;

/// The actions that `operation` needs on the bucket or the object that its URL names.
///
/// Empty for the operations whose object is named elsewhere: they are decided once it is known.
pub(super) fn on_target(
    operation: &str,
    versioned: bool,
    headers: &HeaderMap,
) -> Vec<Cow<'static, str>> {
    let action = match operation {
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => "s3:ListBucket",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "ListParts" => "s3:ListMultipartUploadParts",
        "GetObject" | "HeadObject" => get_object(versioned),
        "DeleteObject" => delete_object(versioned),
        "PutObject" | "CreateMultipartUpload" | "CopyObject" => return write(headers),
        "UploadPart" | "UploadPartCopy" | "CompleteMultipartUpload" => "s3:PutObject",
        "DeleteObjects" | "PostObject" => return Vec::new(),
        other => return vec![format!("s3:{other}").into()],
    };
    vec![action.into()]
}

/// The action that reads an object or a version of it.
pub(super) fn get_object(versioned: bool) -> &'static str {
    if versioned {
        "s3:GetObjectVersion"
    } else {
        "s3:GetObject"
    }
}

/// The action that deletes an object or a version of it.
pub(super) fn delete_object(versioned: bool) -> &'static str {
    if versioned {
        "s3:DeleteObjectVersion"
    } else {
        "s3:DeleteObject"
    }
}

/// Writing an object, and whatever else the headers set on it.
fn write(headers: &HeaderMap) -> Vec<Cow<'static, str>> {
    let mut actions = vec!["s3:PutObject".into()];
    let mut with = |action: &'static str, prefixes: &[&str]| {
        let given = |prefix: &&str| headers.keys().any(|name| name.as_str().starts_with(prefix));
        if prefixes.iter().any(given) {
            actions.push(action.into());
        }
    };
    with("s3:PutObjectTagging", &["x-amz-tagging"]);
    with("s3:PutObjectAcl", &["x-amz-acl", "x-amz-grant-"]);
    with(
        "s3:PutObjectRetention",
        &["x-amz-object-lock-mode", "x-amz-object-lock-retain"],
    );
    with("s3:PutObjectLegalHold", &["x-amz-object-lock-legal-hold"]);
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_need_the_actions_that_iam_names() {
        let mut tagged = HeaderMap::new();
        tagged.insert("x-amz-tagging", http::HeaderValue::from_static("a=b"));
        tagged.insert("x-amz-grant-read", http::HeaderValue::from_static("id=1"));
        let plain = HeaderMap::new();
        for (operation, versioned, headers, expected) in [
            ("GetObject", false, &plain, &["s3:GetObject"][..]),
            ("HeadObject", true, &plain, &["s3:GetObjectVersion"]),
            ("ListObjectsV2", false, &plain, &["s3:ListBucket"]),
            ("PutObject", false, &plain, &["s3:PutObject"]),
            (
                "PutObject",
                false,
                &tagged,
                &["s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectAcl"],
            ),
            ("GetObject", false, &tagged, &["s3:GetObject"]),
            ("PutBucketPolicy", false, &plain, &["s3:PutBucketPolicy"]),
            ("DeleteObjects", false, &plain, &[]),
        ] {
            assert_eq!(
                on_target(operation, versioned, headers),
                expected,
                "{operation}"
            );
        }
    }
}
