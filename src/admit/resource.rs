//! What a grant's resource covers.
//!
//! Matching is on the raw names that S3 will see, never on encoded text, and a prefix ends where the operator ended it: `a/*` does
//! not reach `ab/`. A bucket may be the ARN of an access point, which is another place than the bucket behind it. What names its caller
//! covers nothing until the name is put in.

mod of_caller;

use std::fmt;

pub use self::of_caller::{OfCaller, is_one_part};
use crate::sign::bucket;

/// One resource of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourcePattern {
    /// `*`: what names no bucket, such as `ListBuckets`.
    Service,
    /// `bucket`: the bucket itself, without its objects.
    Bucket(String),
    /// `bucket/*`: the bucket and all its objects.
    WholeBucket(String),
    /// `bucket/prefix*`: the objects whose key starts with the prefix, and lists of them.
    Prefix {
        /// The bucket.
        bucket: String,
        /// What the key starts with; not empty.
        prefix: String,
    },
    /// `bucket/key`: one object.
    Key {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// One of the last two, with `{caller}` in it.
    OfCaller(OfCaller),
}

/// The text is not a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResource {
    /// Nothing there.
    #[error(
        "is empty: write bucket/*, bucket/prefix/*, bucket/key, bucket, or * for commands that name no bucket"
    )]
    Empty,
    /// A wildcard that is not at the end.
    #[error(
        "has a '*' that is not at its end: a resource is bucket/*, bucket/prefix/* or bucket/key"
    )]
    InnerWildcard,
    /// A wildcard in the bucket.
    #[error("has a '*' in its bucket: name each bucket, and write bucket/* for all its objects")]
    BucketWildcard,
    /// Not a bucket name.
    #[error("does not start with a bucket name: use lower-case letters, digits, dots and hyphens")]
    BucketName,
    /// An ARN, and not one of an access point.
    #[error(
        "starts with an ARN, but of no access point: write a bucket by its name, and an access point as ARN/* or ARN/prefix/*,          without the `object/` of IAM's resources"
    )]
    Arn,
    /// A key that presignd never signs.
    #[error("has a '.' or '..' segment, and keys with one are never signed")]
    DotSegment,
    /// A brace that belongs to no variable.
    #[error(
        "has a brace that is not of {{tenant}} or {{caller}}, and there is no other variable, nor a way to write a brace"
    )]
    Variable,
    /// A variable in the bucket.
    #[error("has a variable in its bucket: {{tenant}} and {{caller}} stand in keys alone")]
    BucketVariable,
    /// A wildcard that would reach the callers whose names go on.
    #[error(
        "has its '*' in the part of the key that {{caller}} is in, where it would reach the callers whose names go on: write {{caller}}/*"
    )]
    OpenCaller,
}

impl ResourcePattern {
    /// Reads a resource as the configuration of a tenant writes it, with the tenant's id for `{tenant}`.
    ///
    /// # Errors
    /// If it is not a resource; the message says what to write.
    pub fn of_tenant(text: &str, id: &str) -> Result<Self, InvalidResource> {
        let (bucket, rest) = bucket::split(text);
        match rest {
            Some(rest) if rest.contains(of_caller::TENANT) => {
                let rest = rest.replace(of_caller::TENANT, id);
                Self::parse(&format!("{bucket}/{rest}"))
            }
            _ => Self::parse(text),
        }
    }

    /// Reads a resource, in which no id of a tenant is to be put.
    ///
    /// # Errors
    /// If it is not a resource; the message says what to write.
    pub fn parse(text: &str) -> Result<Self, InvalidResource> {
        if text.is_empty() {
            return Err(InvalidResource::Empty);
        }
        if text == "*" {
            return Ok(Self::Service);
        }
        let (bucket, rest) = bucket::split(text);
        if bucket.contains('*') {
            return Err(InvalidResource::BucketWildcard);
        }
        if bucket.contains(['{', '}']) {
            return Err(InvalidResource::BucketVariable);
        }
        if bucket::problem(bucket).is_some() {
            return Err(if bucket::is_arn(bucket) {
                InvalidResource::Arn
            } else {
                InvalidResource::BucketName
            });
        }
        let bucket = bucket.to_owned();
        let Some(rest) = rest else {
            return Ok(Self::Bucket(bucket));
        };
        let (name, is_prefix) = match rest.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (rest, false),
        };
        if name.contains('*') {
            return Err(InvalidResource::InnerWildcard);
        }
        if name
            .split('/')
            .any(|segment| segment == ".." || segment == ".")
        {
            return Err(InvalidResource::DotSegment);
        }
        if name.contains(['{', '}']) {
            return OfCaller::read(bucket, name, is_prefix).map(Self::OfCaller);
        }
        match (is_prefix, name.is_empty()) {
            (true, true) => Ok(Self::WholeBucket(bucket)),
            (true, false) => Ok(Self::Prefix {
                bucket,
                prefix: name.to_owned(),
            }),
            (false, true) => Err(InvalidResource::Empty),
            (false, false) => Ok(Self::Key {
                bucket,
                key: name.to_owned(),
            }),
        }
    }

    /// The bucket that the pattern names.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket)
            | Self::WholeBucket(bucket)
            | Self::Prefix { bucket, .. }
            | Self::Key { bucket, .. } => Some(bucket),
            Self::OfCaller(pattern) => Some(pattern.bucket()),
        }
    }

    /// Whether it covers what a caller's name makes of it.
    #[must_use]
    pub fn names_caller(&self) -> bool {
        matches!(self, Self::OfCaller(_))
    }

    /// The pattern in this bucket, if it is of any.
    #[must_use]
    pub fn in_bucket(mut self, name: &str) -> Self {
        match &mut self {
            Self::Service => {}
            Self::Bucket(bucket)
            | Self::WholeBucket(bucket)
            | Self::Prefix { bucket, .. }
            | Self::Key { bucket, .. } => name.clone_into(bucket),
            Self::OfCaller(pattern) => name.clone_into(pattern.bucket_mut()),
        }
        self
    }

    /// Whether the pattern covers the target.
    #[must_use]
    pub fn covers(&self, target: &Target<'_>) -> bool {
        match (self, target) {
            (Self::Service, target) => *target == Target::Service,
            (_, Target::Service) | (Self::OfCaller(_), _) => false,
            (pattern, target) if pattern.bucket() != target.bucket() => false,
            (Self::WholeBucket(_), _)
            // The body's keys are held to the grant by the session policy.
            | (Self::Prefix { .. } | Self::Key { .. }, Target::BodyKeys(_)) => true,
            (Self::Bucket(_), target) => matches!(target, Target::Bucket(_) | Target::List { .. }),
            (
                Self::Prefix { prefix, .. },
                Target::Object { key: name, .. }
                | Target::Keys { prefix: name, .. }
                | Target::List { prefix: name, .. },
            ) => name.starts_with(prefix.as_str()),
            (Self::Key { key, .. }, Target::Object { key: name, .. }) => name == key,
            (Self::Prefix { .. } | Self::Key { .. }, _) => false,
        }
    }

    /// Whether the pattern covers anything that the target may reach: more than it covers as a whole.
    #[must_use]
    pub fn overlaps(&self, target: &Target<'_>) -> bool {
        if let Self::OfCaller(pattern) = self {
            return pattern.of_any().overlaps(target);
        }
        let open = match *target {
            Target::Keys { prefix, .. } | Target::List { prefix, .. } => Some(prefix),
            _ => None,
        };
        self.covers(target)
            || self.bucket() == target.bucket()
                && match (self, open) {
                    (
                        Self::Prefix { prefix: name, .. } | Self::Key { key: name, .. },
                        Some(open),
                    ) => name.starts_with(open),
                    _ => false,
                }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("*"),
            Self::Bucket(bucket) => f.write_str(bucket),
            Self::WholeBucket(bucket) => write!(f, "{bucket}/*"),
            Self::Prefix { bucket, prefix } => write!(f, "{bucket}/{prefix}*"),
            Self::Key { bucket, key } => write!(f, "{bucket}/{key}"),
            Self::OfCaller(pattern) => pattern.fmt(f),
        }
    }
}

/// What a request reaches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// No bucket.
    Service,
    /// A bucket itself.
    Bucket(&'a str),
    /// The names in a bucket that start with a prefix, which may be empty.
    List {
        /// The bucket.
        bucket: &'a str,
        /// What the listed keys start with.
        prefix: &'a str,
    },
    /// One object.
    Object {
        /// The bucket.
        bucket: &'a str,
        /// The key.
        key: &'a str,
    },
    /// Any one object whose key starts so, at the client's choice.
    Keys {
        /// The bucket.
        bucket: &'a str,
        /// What the key starts with; may be empty.
        prefix: &'a str,
    },
    /// Objects that the body names, out of the signer's sight.
    BodyKeys(&'a str),
}

impl<'a> Target<'a> {
    /// The same in a bucket of another name, if there is one.
    #[must_use]
    pub fn called(self, name: Option<&'a str>) -> Self {
        let name = |bucket: &'a str| name.unwrap_or(bucket);
        match self {
            Self::Service => Self::Service,
            Self::Bucket(bucket) => Self::Bucket(name(bucket)),
            Self::List { bucket, prefix } => Self::List {
                bucket: name(bucket),
                prefix,
            },
            Self::Object { bucket, key } => Self::Object {
                bucket: name(bucket),
                key,
            },
            Self::Keys { bucket, prefix } => Self::Keys {
                bucket: name(bucket),
                prefix,
            },
            Self::BodyKeys(bucket) => Self::BodyKeys(name(bucket)),
        }
    }

    /// The bucket that it is in.
    #[must_use]
    pub fn bucket(&self) -> Option<&'a str> {
        match *self {
            Target::Service => None,
            Target::Bucket(bucket)
            | Target::List { bucket, .. }
            | Target::Object { bucket, .. }
            | Target::Keys { bucket, .. }
            | Target::BodyKeys(bucket) => Some(bucket),
        }
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Service => f.write_str("the account"),
            Target::Bucket(bucket) => write!(f, "the bucket {bucket:?}"),
            Target::List { bucket, prefix } => {
                write!(f, "the prefix {prefix:?} of the bucket {bucket:?}")
            }
            Target::Object { bucket, key } => write!(f, "{bucket:?}, key {key:?}"),
            Target::Keys { bucket, prefix } => {
                write!(f, "{bucket:?}, every key that begins with {prefix:?}")
            }
            Target::BodyKeys(bucket) => {
                write!(f, "objects of the bucket {bucket:?} that the body names")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POINT: &str = "arn:aws:s3:eu-west-1:111122223333:accesspoint/media";

    fn covers(pattern: &str, target: Target<'_>) -> bool {
        ResourcePattern::parse(pattern).unwrap().covers(&target)
    }

    fn object<'a>(bucket: &'a str, key: &'a str) -> Target<'a> {
        Target::Object { bucket, key }
    }

    #[test]
    fn patterns_cover_what_they_say_and_no_sibling() {
        let list = |prefix| Target::List {
            bucket: "b",
            prefix,
        };
        let keys = |prefix| Target::Keys {
            bucket: "b",
            prefix,
        };
        let cases = [
            ("b/*", object("b", "any/key"), true),
            ("b/*", Target::Bucket("b"), true),
            ("b/*", list(""), true),
            ("b/*", object("bb", "k"), false),
            ("b/*", Target::Service, false),
            ("b/a/*", object("b", "a/x"), true),
            ("b/a/*", object("b", "a/"), true),
            ("b/a/*", object("b", "ab/x"), false),
            ("b/a/*", object("b", "a"), false),
            ("b/a/*", object("b", "A/x"), false),
            ("b/a/*", object("b", "a%2Fx"), false),
            ("b/a/*", object("b", "/a/x"), false),
            ("b/a/*", Target::Bucket("b"), false),
            ("b/a/*", list("a/"), true),
            ("b/a/*", list("a/deep"), true),
            ("b/a/*", list("a"), false),
            ("b/a/*", list(""), false),
            ("b/a/*", Target::BodyKeys("b"), true),
            ("b/a/*", Target::BodyKeys("c"), false),
            ("b/*", keys(""), true),
            ("b/a/*", keys("a/"), true),
            ("b/a/*", keys("a/deep"), true),
            ("b/a/*", keys("a"), false),
            ("b/a/*", keys(""), false),
            ("b/a", keys("a"), false),
            ("b", keys("a"), false),
            ("c/*", keys("a"), false),
            ("b/pre*", object("b", "prefix"), true),
            ("b/k", object("b", "k"), true),
            ("b/k", object("b", "k2"), false),
            ("b/k", list("k"), false),
            ("b", Target::Bucket("b"), true),
            ("b", list(""), true),
            ("b", object("b", "k"), false),
            ("b", Target::BodyKeys("b"), false),
            ("*", Target::Service, true),
            ("*", Target::Bucket("b"), false),
            ("*", object("b", "k"), false),
            (&format!("{POINT}/*"), object(POINT, "any/key"), true),
            (&format!("{POINT}/a/*"), object(POINT, "a/x"), true),
            (&format!("{POINT}/a/*"), object(POINT, "b/x"), false),
            (POINT, Target::Bucket(POINT), true),
            (&format!("{POINT}/*"), object("media", "a"), false),
            ("media/*", object(POINT, "a"), false),
        ];
        for (pattern, target, expected) in cases {
            assert_eq!(
                covers(pattern, target),
                expected,
                "{pattern} against {target}"
            );
        }
    }

    #[test]
    fn what_is_not_a_resource_is_refused() {
        let cases = [
            ("", InvalidResource::Empty),
            ("b/", InvalidResource::Empty),
            ("*/*", InvalidResource::BucketWildcard),
            ("b*", InvalidResource::BucketWildcard),
            ("b/*/x", InvalidResource::InnerWildcard),
            ("b/**", InvalidResource::InnerWildcard),
            ("b/../c/*", InvalidResource::DotSegment),
            ("/k", InvalidResource::BucketName),
            ("b c/*", InvalidResource::BucketName),
            ("arn:aws:s3:::b/k", InvalidResource::Arn),
            ("arn:aws:s3:::b", InvalidResource::Arn),
        ];
        for (text, expected) in cases {
            assert_eq!(ResourcePattern::parse(text), Err(expected), "{text:?}");
        }
    }

    proptest! {
        /// A prefix grant covers exactly the keys that start with the prefix, whatever they are.
        #[test]
        fn a_prefix_never_reaches_a_sibling(prefix in "[a-c/%$?]{1,6}", key in "[a-c/%$?]{0,9}") {
            let pattern = ResourcePattern::parse(&format!("b/{prefix}*")).unwrap();
            prop_assert_eq!(pattern.covers(&object("b", &key)), key.starts_with(&prefix));
        }

        /// What covers a beginning covers every key that begins so.
        #[test]
        fn who_may_write_under_a_beginning_may_write_each_key(
            grant in "[a-c/]{0,4}", prefix in "[a-c/]{0,6}", rest in "[a-c/]{0,4}",
        ) {
            for text in [format!("b/{grant}*"), format!("b/{grant}"), "b".to_owned()] {
                let Ok(pattern) = ResourcePattern::parse(&text) else { continue };
                let key = format!("{prefix}{rest}");
                if pattern.covers(&Target::Keys { bucket: "b", prefix: &prefix }) {
                    prop_assert!(pattern.covers(&object("b", &key)));
                }
            }
        }

        /// Display and parse are inverse.
        #[test]
        fn patterns_print_as_they_are_written(text in "[a-z]{1,5}(/[a-c/]{0,5}\\*?)?") {
            if let Ok(pattern) = ResourcePattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
