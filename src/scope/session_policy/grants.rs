//! What grants allow, as a policy.

use serde_json::Value;

use super::{Actions, Allowed, ListedPrefix, SessionPolicyInput, Terms, arn, document, literal};
use crate::admit::grant::Grant;
use crate::admit::resource::ResourcePattern;
use crate::sign::command::IamResource;

/// What the grants allow on these buckets, or what needs no bucket if there are none; with `None`, all that they allow, which is also
/// all that a role needs.
#[must_use]
pub fn policy(input: &SessionPolicyInput<'_>, buckets: Option<&[&str]>) -> Value {
    let mut allowed = Allowed::default();
    for grant in input.grants {
        let resources = grant.resources().iter();
        for resource in resources.filter(|resource| concerns(buckets, resource)) {
            for (actions, arn, prefix) in reach(grant, resource, input.partition) {
                let terms = Terms {
                    actions,
                    prefix,
                    source_ip: grant.source_ip().cloned(),
                };
                allowed.add(terms, arn);
            }
        }
    }
    document(input, allowed)
}

fn concerns(buckets: Option<&[&str]>, resource: &ResourcePattern) -> bool {
    match (buckets, resource.bucket()) {
        (None, _) => true,
        (Some(buckets), None) => buckets.is_empty(),
        (Some(buckets), Some(bucket)) => buckets.contains(&bucket),
    }
}

/// The objects that a resource covers, as the path of an ARN; none if it covers no objects.
pub(super) fn objects(resource: &ResourcePattern) -> Option<String> {
    match resource {
        ResourcePattern::Service | ResourcePattern::Bucket(_) => None,
        ResourcePattern::WholeBucket(bucket) => Some(format!("{bucket}/*")),
        ResourcePattern::Prefix { bucket, prefix } => {
            Some(format!("{bucket}/{}*", literal(prefix)))
        }
        ResourcePattern::Key { bucket, key } => Some(format!("{bucket}/{}", literal(key))),
    }
}

/// What a grant allows through one of its resources: actions, the ARN, and the `s3:prefix` that bounds them.
fn reach(
    grant: &Grant,
    resource: &ResourcePattern,
    partition: &str,
) -> Vec<(Actions, String, Option<ListedPrefix>)> {
    let actions = |kind: IamResource, listing: Option<bool>| -> Actions {
        let carried = grant.actions().iter();
        carried
            .filter(|(_, c)| c.resource == kind && listing.is_none_or(|l| c.prefix_condition == l))
            .map(|(action, _)| *action)
            .collect()
    };
    let mut reached = Vec::new();
    if let Some(path) = objects(resource) {
        reached.push((
            actions(IamResource::Object, None),
            arn(partition, &path),
            None,
        ));
    }
    match resource {
        ResourcePattern::Service => {
            reached.push((actions(IamResource::Service, None), "*".to_owned(), None));
        }
        ResourcePattern::Bucket(bucket) | ResourcePattern::WholeBucket(bucket) => {
            reached.push((
                actions(IamResource::Bucket, None),
                arn(partition, bucket),
                None,
            ));
        }
        ResourcePattern::Prefix { bucket, prefix } => {
            let prefix = Some(ListedPrefix::From(prefix.clone()));
            reached.push((
                actions(IamResource::Bucket, Some(true)),
                arn(partition, bucket),
                prefix,
            ));
        }
        ResourcePattern::Key { .. } => {}
    }
    reached
}
