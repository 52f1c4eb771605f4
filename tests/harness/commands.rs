//! Commands, with no more fields than a test sets.

use presignd::proto::v1::command::Command as Variant;

/// A command and those of its fields that are set: `command!(GetObject { bucket: "b", key: "k" })`.
macro_rules! command {
    ($name:ident { $($field:ident: $value:expr),* $(,)? }) => {
        ::presignd::proto::v1::command::Command::$name(::presignd::proto::s3::$name {
            $($field: Some($value.into()),)*
            ..Default::default()
        })
    };
}
pub(crate) use command;

/// `HeadObject`.
pub(crate) fn head(bucket: &str, key: &str) -> Variant {
    command!(HeadObject {
        bucket: bucket,
        key: key
    })
}

/// `DeleteObject`.
pub(crate) fn delete(bucket: &str, key: &str) -> Variant {
    command!(DeleteObject {
        bucket: bucket,
        key: key
    })
}

/// `ListObjectsV2`.
pub(crate) fn list(bucket: &str, prefix: &str) -> Variant {
    command!(ListObjectsV2 {
        bucket: bucket,
        prefix: prefix
    })
}

/// `CopyObject`; the source is `bucket/key`.
pub(crate) fn copy(source: &str, bucket: &str, key: &str) -> Variant {
    command!(CopyObject {
        bucket: bucket,
        key: key,
        copy_source: source,
    })
}
