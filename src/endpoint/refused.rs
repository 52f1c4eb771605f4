//! What S3's endpoint rules refuse, as the field at fault and what mends it.
//!
//! The rules say what is wrong in sentences of their own, one for each combination. Each has a row here; whatever has none is the bucket's
//! fault, in the rules' own words.

use std::borrow::Cow;

/// S3 has no endpoint for the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("S3 has no endpoint for this: {field} {detail}")]
pub struct NoEndpoint {
    /// The field at fault: of the command, or beside it.
    pub field: Cow<'static, str>,
    /// What is wrong with it, and what to do.
    pub detail: Cow<'static, str>,
}

/// The command's own field.
pub(super) const BUCKET: &str = "bucket";
/// Fields of the options.
const DUAL_STACK: &str = "options.dual_stack";
const FIPS: &str = "options.fips";
const ACCELERATE: &str = "options.accelerate";

/// What a sentence of the rules begins with, the field at fault, and what to say of it.
const ROWS: [(&str, &str, &str); 23] = [
    (
        "Cannot set dual-stack in combination with a custom endpoint",
        DUAL_STACK,
        "is for AWS, and this is another store: set it to false",
    ),
    (
        "S3 MRAP does not support dual-stack",
        DUAL_STACK,
        "is not for access points of several regions: set it to false",
    ),
    (
        "S3 Object Lambda does not support Dual-stack",
        DUAL_STACK,
        "is not for Object Lambda: set it to false",
    ),
    (
        "S3 Outposts does not support Dual-stack",
        DUAL_STACK,
        "is not for Outposts: set it to false",
    ),
    (
        "DualStack is enabled but this partition does not support DualStack",
        DUAL_STACK,
        "is not for this region: set it to false",
    ),
    (
        "A custom endpoint cannot be combined with FIPS",
        FIPS,
        "is for AWS, and this is another store: set it to false",
    ),
    (
        "Partition does not support FIPS",
        FIPS,
        "is not for this region: set it to false",
    ),
    (
        "FIPS is enabled but this partition does not support FIPS",
        FIPS,
        "is not for this region: set it to false",
    ),
    (
        "S3 MRAP does not support FIPS",
        FIPS,
        "is not for access points of several regions: set it to false",
    ),
    (
        "S3 Outposts does not support FIPS",
        FIPS,
        "is not for Outposts: set it to false",
    ),
    (
        "Accelerate cannot be used with FIPS",
        ACCELERATE,
        "does not go together with fips: set one of the two to false",
    ),
    (
        "A custom endpoint cannot be combined with S3 Accelerate",
        ACCELERATE,
        "is for AWS, and this is another store: set it to false",
    ),
    (
        "Path-style addressing cannot be used with S3 Accelerate",
        ACCELERATE,
        "needs the bucket in the host's name, where this one cannot stand (it has a dot, or the configuration has path_style): set it to \
         false",
    ),
    (
        "S3 Accelerate cannot be used in this region",
        ACCELERATE,
        "is not for this region: set it to false",
    ),
    (
        "S3Express does not support S3 Accelerate",
        ACCELERATE,
        "is not for directory buckets: set it to false",
    ),
    (
        "Access Points do not support S3 Accelerate",
        ACCELERATE,
        "is not for access points: set it to false",
    ),
    (
        "S3 MRAP does not support S3 Accelerate",
        ACCELERATE,
        "is not for access points of several regions: set it to false",
    ),
    (
        "S3 Object Lambda does not support S3 Accelerate",
        ACCELERATE,
        "is not for Object Lambda: set it to false",
    ),
    (
        "S3 Outposts does not support S3 Accelerate",
        ACCELERATE,
        "is not for Outposts: set it to false",
    ),
    (
        "Path-style addressing cannot be used with ARN buckets",
        BUCKET,
        "is an ARN, which path style cannot address: an operator has to give it a place without path_style in the tenant's buckets",
    ),
    (
        "Access points are not supported for this operation",
        BUCKET,
        "is an access point, and this command is for buckets: name the bucket",
    ),
    (
        "Invalid configuration: region from ARN",
        BUCKET,
        "is an ARN of another region than the tenant's: an operator has to set endpoint.use_arn_region, or give it a place in the tenant's \
         buckets",
    ),
    (
        "Client was configured for partition",
        BUCKET,
        "is an ARN of another partition than the tenant's region: an operator has to give it a place in the tenant's buckets",
    ),
];

impl NoEndpoint {
    /// What the rules say, for the caller.
    pub(super) fn said_by_rules(said: &str) -> Self {
        let row = ROWS.iter().find(|(start, ..)| said.starts_with(start));
        match row {
            Some((_, field, detail)) => Self {
                field: Cow::Borrowed(field),
                detail: Cow::Borrowed(detail),
            },
            None => Self::of_bucket(format!("is refused by S3's endpoint rules: {said}")),
        }
    }

    pub(super) fn of_bucket(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: Cow::Borrowed(BUCKET),
            detail: detail.into(),
        }
    }

    /// The accelerated endpoint does not know the command.
    pub(super) fn not_accelerated(command: &str) -> Self {
        Self {
            field: Cow::Borrowed(ACCELERATE),
            detail: format!("is not for {command}: set it to false").into(),
        }
    }

    /// The same, of a bucket that this message of the request names.
    #[must_use]
    pub fn of_bucket_in(self, message: &str) -> Self {
        if self.field != BUCKET {
            return self;
        }
        Self {
            field: format!("{message}.{BUCKET}").into(),
            ..self
        }
    }

    /// The same with the path of the whole request.
    #[must_use]
    pub fn in_command(self, place: &str, operation_field: &str) -> Self {
        let field = if self.field == BUCKET {
            format!("{place}.{operation_field}.{BUCKET}")
        } else {
            format!("{place}.{}", self.field)
        };
        Self {
            field: field.into(),
            ..self
        }
    }
}
