//! Resources that name their caller: `files/uploads/{caller}/*`.
//!
//! The caller's name is put in as it is, never encoded. Invariant: what it comes to for one name covers nothing of what it comes to for
//! another. A `*` stands behind a `/` that follows the name, so that `a` does not reach `ab`; and a name that could be read as more than
//! one part of a key, or as more than itself, is put in nowhere.

use std::fmt;

use super::{InvalidResource, ResourcePattern};

/// What stands for the tenant's id.
pub(super) const TENANT: &str = "{tenant}";
/// What stands for the caller's name.
const CALLER: &str = "{caller}";

/// A key, or the beginning of keys, with the caller's name in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OfCaller {
    bucket: String,
    /// What stands before, between and behind the names: two or more.
    around: Vec<String>,
    is_prefix: bool,
}

impl OfCaller {
    /// Reads what follows the bucket, without its `*`.
    pub(super) fn read(
        bucket: String,
        name: &str,
        is_prefix: bool,
    ) -> Result<Self, InvalidResource> {
        let around: Vec<String> = name.split(CALLER).map(str::to_owned).collect();
        let braces = |text: &String| text.contains(['{', '}']);
        let last = match &around[..] {
            [_, .., last] if !around.iter().any(braces) => last,
            _ => return Err(InvalidResource::Variable),
        };
        if is_prefix && !last.contains('/') {
            return Err(InvalidResource::OpenCaller);
        }
        Ok(Self {
            bucket,
            around,
            is_prefix,
        })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn bucket_mut(&mut self) -> &mut String {
        &mut self.bucket
    }

    /// What stands before, between and behind the names, and whether more may follow.
    #[must_use]
    pub fn around(&self) -> (&[String], bool) {
        (&self.around, self.is_prefix)
    }

    /// What it comes to for a caller. `None`: the name stands for nothing.
    #[must_use]
    pub fn of(&self, caller: &str) -> Option<ResourcePattern> {
        let name = is_one_part(caller).then(|| self.around.join(caller))?;
        // As with `.{caller}` and the name `.`.
        if name.split('/').any(|part| matches!(part, "." | "..")) {
            return None;
        }
        let bucket = self.bucket.clone();
        Some(if self.is_prefix {
            ResourcePattern::Prefix {
                bucket,
                prefix: name,
            }
        } else {
            ResourcePattern::Key { bucket, key: name }
        })
    }

    /// All that it may come to for any caller, and more: what begins as it does before the name.
    #[must_use]
    pub fn of_any(&self) -> ResourcePattern {
        let bucket = self.bucket.clone();
        match self.around.first() {
            Some(prefix) if !prefix.is_empty() => ResourcePattern::Prefix {
                bucket,
                prefix: prefix.clone(),
            },
            _ => ResourcePattern::WholeBucket(bucket),
        }
    }
}

/// Whether a caller's name can stand in a key as one part of it, and in a policy as nothing but itself.
#[must_use]
pub fn is_one_part(caller: &str) -> bool {
    let reads_otherwise =
        |c: char| c.is_control() || matches!(c, '/' | '*' | '?' | '$' | '{' | '}');
    !matches!(caller, "" | "." | "..") && !caller.contains(reads_otherwise)
}

/// As a configuration writes it.
impl fmt::Display for OfCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_prefix { "*" } else { "" };
        write!(f, "{}/{}{end}", self.bucket, self.around.join(CALLER))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admit::resource::Target;

    fn read(text: &str) -> Result<OfCaller, InvalidResource> {
        match ResourcePattern::of_tenant(text, "acme")? {
            ResourcePattern::OfCaller(pattern) => Ok(pattern),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_name_is_put_in_wherever_it_is_asked_for() {
        for (text, caller, expected) in [
            ("b/in/{caller}/*", "ann", Some("b/in/ann/*")),
            ("b/{caller}/*", "ann", Some("b/ann/*")),
            (
                "b/{tenant}/{caller}/x*",
                "key.media",
                Some("b/acme/key.media/x*"),
            ),
            ("b/{caller}/{caller}.txt", "a", Some("b/a/a.txt")),
            (
                "b/{caller}",
                "jwt.k8s.system:sa",
                Some("b/jwt.k8s.system:sa"),
            ),
            ("b/{caller}/*", "%2e%2e%2F", Some("b/%2e%2e%2F/*")),
            ("b/{caller}/*", "Ä", Some("b/Ä/*")),
            ("b/{caller}/*", "", None),
            ("b/{caller}/*", ".", None),
            ("b/{caller}/*", "..", None),
            ("b/.{caller}/*", ".", None),
            ("b/.{caller}/*", "a", Some("b/.a/*")),
            ("b/{caller}/*", "a/b", None),
            ("b/{caller}/*", "spiffe://x/a", None),
            ("b/{caller}/*", "a*", None),
            ("b/{caller}/*", "a?", None),
            ("b/{caller}/*", "${aws:username}", None),
            ("b/{caller}/*", "{caller}", None),
            ("b/{caller}/*", "a\n", None),
            ("b/{caller}/*", "a\u{85}", None),
        ] {
            let came = read(text).unwrap().of(caller);
            let came = came.map(|pattern| pattern.to_string());
            assert_eq!(came.as_deref(), expected, "{text} for {caller:?}");
        }
    }

    #[test]
    fn what_would_be_no_name_of_one_caller_is_refused() {
        for (text, expected) in [
            ("b/{caller}*", InvalidResource::OpenCaller),
            ("b/in/{caller}-*", InvalidResource::OpenCaller),
            ("b/{user}/*", InvalidResource::Variable),
            ("b/{Caller}/*", InvalidResource::Variable),
            ("b/{caller/*", InvalidResource::Variable),
            ("b/a}/*", InvalidResource::Variable),
            ("b/{}/*", InvalidResource::Variable),
            ("b/{{tenant}}/*", InvalidResource::Variable),
            ("b/{{caller}}/*", InvalidResource::Variable),
            ("{caller}/*", InvalidResource::BucketVariable),
            ("b-{tenant}/*", InvalidResource::BucketVariable),
            ("b-{tenant}", InvalidResource::BucketVariable),
            ("b/{caller}/*/x", InvalidResource::InnerWildcard),
            ("b/../{caller}/*", InvalidResource::DotSegment),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_put_in_covers_nothing_and_overlaps_all_that_it_might() {
        let pattern = ResourcePattern::parse("b/in/{caller}/*").unwrap();
        let object = |key| Target::Object { bucket: "b", key };
        assert!(!pattern.covers(&object("in/{caller}/x")));
        assert!(!pattern.covers(&object("in/ann/x")));
        assert!(pattern.overlaps(&object("in/ann/x")));
        assert!(!pattern.overlaps(&object("out/ann/x")));
        assert_eq!(pattern.to_string(), "b/in/{caller}/*");
    }

    /// Names as an attacker would choose them, beside another's.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ab.]{0,3}",
            "[abAB/%.*?${}]{0,6}",
            "(a|b|%2[fF]|%61|//|\\.\\./|e\u{301}|\u{e9}|\u{212b}|\u{c5}|\u{0}|\\\\){0,4}",
        ]
    }

    proptest! {
        /// Whatever their names are, no caller reaches a key below another's.
        #[test]
        fn no_caller_reaches_another(
            text in "b/[ab/]{0,3}\\{caller\\}[ab]{0,2}(/\\{caller\\})?/[ab]{0,2}\\*?",
            one in name(), other in name(), rest in "[ab/%]{0,4}",
        ) {
            let Ok(ResourcePattern::OfCaller(pattern)) = ResourcePattern::parse(&text) else {
                return Ok(());
            };
            let (Some(own), Some(others)) = (pattern.of(&one), pattern.of(&other)) else {
                return Ok(());
            };
            let key = match &others {
                ResourcePattern::Prefix { prefix, .. } => format!("{prefix}{rest}"),
                ResourcePattern::Key { key, .. } => key.clone(),
                other => panic!("{other}"),
            };
            let target = Target::Object { bucket: "b", key: &key };
            prop_assert!(others.covers(&target));
            prop_assert_eq!(own.covers(&target), one == other, "{} for {:?} and {:?}", text, one, other);
        }
    }
}
