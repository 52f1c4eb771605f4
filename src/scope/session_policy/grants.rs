//! What grants allow, as a policy.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use super::{
    Actions, Allowed, CREATE_SESSION, ListedPrefix, SessionPolicyInput, Terms, bucket_arn,
    document, literal, objects_arn, statements,
};
use crate::admit::deny::Denial;
use crate::admit::grant::Carried;
use crate::admit::held::{SessionMode, session_mode};
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip::SourceIps;
use crate::sign::bucket::{self, BucketKind};
use crate::sign::command::IamResource;

/// What the grants allow on these buckets, or what needs no bucket if there are none; with `None`, all that they allow. What is still to
/// name its caller allows nothing.
#[must_use]
pub fn policy(input: &SessionPolicyInput<'_>, buckets: Option<&[&str]>) -> Value {
    document(input, allowed(input, buckets))
}

/// All that a role needs for the sessions of every caller.
#[must_use]
pub fn role_policy(input: &SessionPolicyInput<'_>) -> Value {
    let mut allowed = allowed(input, None);
    for grant in input.grants {
        for resource in grant.resources() {
            let ResourcePattern::OfCaller(pattern) = resource else {
                continue;
            };
            let (around, is_prefix) = pattern.around();
            let around: Vec<String> = around.iter().map(|text| literal(text)).collect();
            let keys = around.join("*") + if is_prefix { "*" } else { "" };
            let mut add = |actions, arn, prefix| {
                let terms = Terms {
                    actions,
                    prefix,
                    read_only: false,
                    source_ip: grant.source_ip().cloned(),
                    not_after: grant.not_after(),
                };
                allowed.add(terms, arn);
            };
            let (bucket, partition) = (pattern.bucket(), input.partition);
            let objects = carried_on(grant.actions(), IamResource::Object, None);
            add(objects, objects_arn(partition, bucket, &keys), None);
            if is_prefix {
                let lists = carried_on(grant.actions(), IamResource::Bucket, Some(true));
                let prefix = Some(ListedPrefix::Like(keys));
                add(lists, bucket_arn(partition, bucket), prefix);
            }
        }
    }
    document(input, allowed)
}

fn allowed(input: &SessionPolicyInput<'_>, buckets: Option<&[&str]>) -> Allowed {
    let mut allowed = Allowed::default();
    for grant in input.grants {
        let resources = grant.resources().iter();
        for resource in resources.filter(|resource| concerns(buckets, resource)) {
            if let Some(bucket) = resource.bucket()
                && !speaks_s3(bucket)
            {
                if let Some(mode) = session_mode(grant, bucket) {
                    let read_only = mode == SessionMode::ReadOnly;
                    allowed.add(
                        session_of(read_only, grant.source_ip(), grant.not_after()),
                        bucket_arn(input.partition, bucket),
                    );
                }
                continue;
            }
            for (actions, arn, prefix) in reach(grant.actions(), resource, input.partition) {
                let terms = Terms {
                    actions,
                    prefix,
                    read_only: false,
                    source_ip: grant.source_ip().cloned(),
                    not_after: grant.not_after(),
                };
                allowed.add(terms, arn);
            }
        }
    }
    allowed
}

/// Statements that deny what these entries do, wherever permissions say it: a list is denied under a prefix, and not one that begins
/// above it, nor anything in a directory bucket, which has one permission for everything.
#[must_use]
pub fn denials(denials: &[Denial], partition: &str) -> Vec<Value> {
    let mut denied = Allowed::default();
    for denial in denials {
        let resources = denial.resources().iter();
        for resource in resources.filter(|r| r.bucket().is_none_or(speaks_s3)) {
            for (mut actions, arn, prefix) in reach(denial.told_actions(), resource, partition) {
                actions.remove(CREATE_SESSION);
                let terms = Terms {
                    actions,
                    prefix,
                    read_only: false,
                    source_ip: None,
                    not_after: None,
                };
                denied.add(terms, arn);
            }
        }
    }
    statements("Deny", denied, None)
}

fn concerns(buckets: Option<&[&str]>, resource: &ResourcePattern) -> bool {
    match (buckets, resource.bucket()) {
        (None, _) => true,
        (Some(buckets), None) => buckets.is_empty(),
        (Some(buckets), Some(bucket)) => buckets.contains(&bucket),
    }
}

/// Whether permissions there are S3's own, on an ARN that the name tells.
pub(super) fn speaks_s3(name: &str) -> bool {
    match bucket::kind(name) {
        BucketKind::General | BucketKind::AccessPoint | BucketKind::MultiRegion => true,
        BucketKind::Directory | BucketKind::ObjectLambda | BucketKind::Outposts => false,
    }
}

/// What allows a session of a directory bucket.
pub(super) fn session_of(
    read_only: bool,
    source_ip: Option<&SourceIps>,
    not_after: Option<SystemTime>,
) -> Terms {
    Terms {
        actions: Actions::from([CREATE_SESSION]),
        prefix: None,
        read_only,
        source_ip: source_ip.cloned(),
        not_after,
    }
}

/// The objects that a resource covers, as an ARN; none if it covers no objects.
pub(super) fn objects(resource: &ResourcePattern, partition: &str) -> Option<String> {
    let (bucket, keys) = match resource {
        ResourcePattern::Service | ResourcePattern::Bucket(_) | ResourcePattern::OfCaller(_) => {
            return None;
        }
        ResourcePattern::WholeBucket(bucket) => (bucket, "*".to_owned()),
        ResourcePattern::Prefix { bucket, prefix } => (bucket, format!("{}*", literal(prefix))),
        ResourcePattern::Key { bucket, key } => (bucket, literal(key)),
    };
    Some(objects_arn(partition, bucket, &keys))
}

/// What these actions reach through a resource: actions, the ARN, and the `s3:prefix` that bounds them.
fn reach(
    carried: &BTreeMap<&'static str, Carried>,
    resource: &ResourcePattern,
    partition: &str,
) -> Vec<(Actions, String, Option<ListedPrefix>)> {
    let actions = |kind, listing| carried_on(carried, kind, listing);
    let mut reached = Vec::new();
    if let Some(arn) = objects(resource, partition) {
        reached.push((actions(IamResource::Object, None), arn, None));
    }
    match resource {
        ResourcePattern::Service => {
            reached.push((actions(IamResource::Service, None), "*".to_owned(), None));
        }
        ResourcePattern::Bucket(bucket) | ResourcePattern::WholeBucket(bucket) => {
            reached.push((
                actions(IamResource::Bucket, None),
                bucket_arn(partition, bucket),
                None,
            ));
        }
        ResourcePattern::Prefix { bucket, prefix } => {
            let prefix = Some(ListedPrefix::From(prefix.clone()));
            reached.push((
                actions(IamResource::Bucket, Some(true)),
                bucket_arn(partition, bucket),
                prefix,
            ));
        }
        ResourcePattern::Key { .. } | ResourcePattern::OfCaller(_) => {}
    }
    reached
}

/// The actions on resources of this kind; of those of a bucket, the ones that `s3:prefix` can bound, or the others.
fn carried_on(
    carried: &BTreeMap<&'static str, Carried>,
    kind: IamResource,
    listing: Option<bool>,
) -> Actions {
    let carried = carried.iter();
    carried
        .filter(|(_, c)| c.resource == kind && listing.is_none_or(|l| c.prefix_condition == l))
        .map(|(action, _)| *action)
        .collect()
}
