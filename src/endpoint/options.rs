//! Which of S3's endpoints a request goes to: what it asks for, and what the tenant's configuration says where it does not.
//!
//! Invariant: what the request says counts, `false` too; a default reaches only requests that its endpoint serves at all.

use crate::sign::command::{Operation, PathForm};

/// What a request asks for; `None`: the tenant's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// An endpoint with IPv6.
    pub dual_stack: Option<bool>,
    /// An endpoint with FIPS 140 modules.
    pub fips: Option<bool>,
    /// S3 Transfer Acceleration.
    pub accelerate: Option<bool>,
}

/// Which endpoint it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Variant {
    /// With IPv6.
    pub dual_stack: bool,
    /// With FIPS 140 modules.
    pub fips: bool,
    /// With S3 Transfer Acceleration.
    pub accelerate: bool,
}

impl Options {
    /// The endpoint for this operation where these are the defaults.
    #[must_use]
    pub fn or(self, defaults: Variant, operation: &Operation) -> Variant {
        Variant {
            dual_stack: self.dual_stack.unwrap_or(defaults.dual_stack),
            fips: self.fips.unwrap_or(defaults.fips),
            accelerate: self
                .accelerate
                .unwrap_or(defaults.accelerate && is_accelerated(operation)),
        }
    }
}

/// Whether the accelerated endpoint knows the operation. Source: the S3 user guide, "Getting started with Amazon S3 Transfer
/// Acceleration": all but those on buckets as such.
pub(super) fn is_accelerated(operation: &Operation) -> bool {
    matches!(operation.path, PathForm::Bucket | PathForm::Object)
        && !matches!(operation.name, "CreateBucket" | "DeleteBucket")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::operations::operation;

    #[test]
    fn what_is_asked_counts_and_defaults_fill_in() {
        let all = Variant {
            dual_stack: true,
            fips: true,
            accelerate: true,
        };
        let get = operation("GetObject").unwrap();
        assert_eq!(Options::default().or(all, get), all);
        assert_eq!(
            Options::default().or(Variant::default(), get),
            Variant::default()
        );
        let (yes, no) = (Some(true), Some(false));
        let asked = |said| Options {
            dual_stack: said,
            fips: said,
            accelerate: said,
        };
        assert_eq!(asked(no).or(all, get), Variant::default());
        assert_eq!(asked(yes).or(Variant::default(), get), all);
    }

    #[test]
    fn acceleration_by_default_spares_what_it_does_not_know() {
        let default = Variant {
            accelerate: true,
            ..Variant::default()
        };
        for (name, accelerated) in [
            ("GetObject", true),
            ("ListObjectsV2", true),
            ("ListBuckets", false),
            ("CreateBucket", false),
            ("DeleteBucket", false),
            ("WriteGetObjectResponse", false),
        ] {
            let variant = Options::default().or(default, operation(name).unwrap());
            assert_eq!(variant.accelerate, accelerated, "{name}");
        }
    }
}
