//! What stands in the place of a bucket's name: a name, or the ARN of an access point.
//!
//! Invariant: an ARN that is taken has one spelling, and no character that a policy or a URL would read as more than itself, so that a
//! grant on it and a request for it agree byte by byte.
//!
//! Source: the S3 user guide, "Access point naming restrictions" and "Directory bucket naming rules"; the Service Authorization
//! Reference, "Resource types defined by Amazon S3", "Amazon S3 Object Lambda" and "Amazon S3 on Outposts".

/// What a bucket's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// A general purpose bucket, or an alias that stands for one.
    General,
    /// A directory bucket, of S3 Express One Zone.
    Directory,
    /// The ARN of an access point.
    AccessPoint,
    /// The ARN of an access point for several regions.
    MultiRegion,
    /// The ARN of an access point that has a function change what it reads.
    ObjectLambda,
    /// The ARN of an access point on an Outpost.
    Outposts,
}

/// What ARNs start with.
const ARN: &str = "arn:";

/// What is wrong with an ARN, and how one is written.
const NOT_AN_ARN: &str = "is an ARN, but of no access point: write it as arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME, \
    arn:aws:s3::ACCOUNT:accesspoint/ALIAS.mrap, arn:aws:s3-object-lambda:REGION:ACCOUNT:accesspoint/NAME or \
    arn:aws:s3-outposts:REGION:ACCOUNT:outpost/OUTPOST/accesspoint/NAME";

/// What the name stands for. What is no bucket at all counts as a general purpose bucket, which nothing has.
#[must_use]
pub fn kind(bucket: &str) -> BucketKind {
    if is_arn(bucket) {
        split_arn(bucket).map_or(BucketKind::General, |(_, kind, _)| kind)
    } else if bucket.ends_with("--x-s3") {
        BucketKind::Directory
    } else {
        BucketKind::General
    }
}

/// Whether it is an ARN rather than a name.
#[must_use]
pub fn is_arn(bucket: &str) -> bool {
    bucket.starts_with(ARN)
}

/// What is wrong with a bucket, if anything. Stores may be stricter: the store, or S3's endpoint rules, say so.
#[must_use]
pub fn problem(bucket: &str) -> Option<&'static str> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if is_arn(bucket) {
        match split_arn(bucket) {
            Some((_, _, None)) => None,
            _ => Some(NOT_AN_ARN),
        }
    } else if bucket.is_empty()
        || bucket.len() > 255
        || !bucket.bytes().all(known)
        || bucket.starts_with('.')
    {
        Some("is not a bucket name: use 3 to 63 lower-case letters, digits, dots and hyphens")
    } else {
        None
    }
}

/// The bucket that a text starts with, and what follows the slash after it.
#[must_use]
pub fn split(text: &str) -> (&str, Option<&str>) {
    if is_arn(text)
        && let Some((bucket, _, rest)) = split_arn(text)
    {
        return (bucket, rest);
    }
    match text.split_once('/') {
        Some((bucket, rest)) => (bucket, Some(rest)),
        None => (text, None),
    }
}

/// The ARN that a text starts with, what it stands for, and what follows the slash after it.
fn split_arn(text: &str) -> Option<(&str, BucketKind, Option<&str>)> {
    let mut parts = text.splitn(6, ':');
    let [_, partition, service, region, account, resource] =
        std::array::from_fn(|_| parts.next().unwrap_or_default());
    let (outpost, resource) = match service {
        "s3-outposts" => {
            let (outpost, resource) = resource.strip_prefix("outpost/")?.split_once('/')?;
            (Some(outpost), resource)
        }
        _ => (None, resource),
    };
    let named = resource.strip_prefix("accesspoint/")?;
    let (name, rest) = match named.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (named, None),
    };
    let kind = match (service, name.strip_suffix(".mrap")) {
        ("s3", Some(alias)) if region.is_empty() && is_label(alias) => BucketKind::MultiRegion,
        ("s3", None) => BucketKind::AccessPoint,
        ("s3-object-lambda", None) => BucketKind::ObjectLambda,
        ("s3-outposts", None) => BucketKind::Outposts,
        _ => return None,
    };
    let in_place = kind == BucketKind::MultiRegion || (is_label(region) && is_label(name));
    let in_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let on_outpost = outpost.is_none_or(|outpost| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&outpost.len()) && outpost.bytes().all(known)
    });
    if !(is_label(partition) && in_place && in_account && on_outpost) {
        return None;
    }
    let length = text.len() - rest.map_or(0, |rest| rest.len() + 1);
    Some((&text[..length], kind, rest))
}

/// Whether it is a part of a host's name, in lower case.
fn is_label(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(known)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS_POINT: &str = "arn:aws:s3:eu-west-1:111122223333:accesspoint/media";
    const MULTI_REGION: &str = "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap";
    const OBJECT_LAMBDA: &str =
        "arn:aws-cn:s3-object-lambda:cn-north-1:111122223333:accesspoint/a1";
    const OUTPOSTS: &str =
        "arn:aws:s3-outposts:us-west-2:111122223333:outpost/op-01ac5d28a6a232904/accesspoint/media";

    #[test]
    fn each_name_stands_for_what_s3_takes_it_for() {
        for (bucket, expected) in [
            ("acme-files", BucketKind::General),
            ("dotted.acme", BucketKind::General),
            ("media-7xk2-s3alias", BucketKind::General),
            ("acme--euw1-az1--x-s3", BucketKind::Directory),
            (ACCESS_POINT, BucketKind::AccessPoint),
            (MULTI_REGION, BucketKind::MultiRegion),
            (OBJECT_LAMBDA, BucketKind::ObjectLambda),
            (OUTPOSTS, BucketKind::Outposts),
        ] {
            assert_eq!(problem(bucket), None, "{bucket}");
            assert_eq!(kind(bucket), expected, "{bucket}");
            assert_eq!(split(bucket), (bucket, None));
            for rest in ["", "k", "a/b/*", "object/k", "x:y/"] {
                assert_eq!(split(&format!("{bucket}/{rest}")), (bucket, Some(rest)));
            }
        }
    }

    #[test]
    fn what_is_no_one_spelling_of_an_access_point_is_refused() {
        for bad in [
            "arn:",
            "arn:aws:s3:::acme-files",
            "arn:aws:s3:::acme-files/k",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint:media",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/media/",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/media/object/k",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/media*",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/me?ia",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/${media}",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/Media",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/media.mrap",
            "arn:aws:s3::111122223333:accesspoint/media",
            "arn:aws:s3::111122223333:accesspoint/.mrap",
            "arn:aws:s3:*:111122223333:accesspoint/media",
            "arn:aws:s3:eu-west-1:11112222333:accesspoint/media",
            "arn:aws:s3:eu-west-1:*:accesspoint/media",
            "arn:*:s3:eu-west-1:111122223333:accesspoint/media",
            "arn:aws:s3-outposts:us-west-2:111122223333:accesspoint/media",
            "arn:aws:s3-outposts:us-west-2:111122223333:outpost/op.1/accesspoint/media",
            "arn:aws:s3-outposts:us-west-2:111122223333:outpost/op-1/bucket/media",
            "arn:aws:sqs:eu-west-1:111122223333:accesspoint/media",
        ] {
            assert_eq!(problem(bad), Some(NOT_AN_ARN), "{bad}");
        }
        for bad in ["", ".a", "a/b", "a b", "ARN:aws:s3"] {
            assert!(problem(bad).is_some_and(|why| why != NOT_AN_ARN), "{bad:?}");
        }
    }
}
