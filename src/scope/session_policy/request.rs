//! What one request needs, as a policy.
//!
//! The permissions are those that admission asked the grants for, so a policy never holds one that no grant gives. Invariant: it
//! allows them on the request's own object, bucket or prefix, on the keys that a form lets through, and on the source that it names;
//! only keys that the body names are bounded by the grants instead.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::grants::objects;
use super::{Actions, Allowed, ListedPrefix, SessionPolicyInput, Terms, arn, document, literal};
use crate::admit::grant::Grant;
use crate::admit::policy::{Need, needs, takes};
use crate::admit::resource::Target;
use crate::admit::source_ip::SourceIps;
use crate::sign::command::{BoundCommand, IamResource};

/// What these commands of a request need, from these addresses if it names any, else from those of the grants that give it.
#[must_use]
pub fn request_policy(
    input: &SessionPolicyInput<'_>,
    commands: &[&BoundCommand<'_>],
    source_ip: Option<&SourceIps>,
) -> Value {
    let mut actions: BTreeMap<(String, Option<ListedPrefix>, Option<SourceIps>), Actions> =
        BTreeMap::new();
    let needed = commands.iter().copied();
    for (command, need) in needed.flat_map(|command| needs(command).map(move |n| (command, n))) {
        let giving = input.grants.iter();
        let giving = giving.filter(|grant| need.met_by(grant, command) && takes(grant, source_ip));
        // Where a grant gives it from anywhere, what others give from their addresses is no more.
        let from_anywhere = source_ip.is_none()
            && !matches!(need.target, Target::BodyKeys(_))
            && giving.clone().any(|grant| grant.source_ip().is_none());
        for grant in giving {
            let from = source_ip.or(grant.source_ip()).filter(|_| !from_anywhere);
            for arn in arns(&need, grant, input.partition) {
                let on = (arn, listed(&need), from.cloned());
                actions.entry(on).or_default().insert(need.action.action);
            }
        }
    }
    let mut allowed = Allowed::default();
    for ((arn, prefix, source_ip), actions) in actions {
        let terms = Terms {
            actions,
            prefix,
            source_ip,
        };
        allowed.add(terms, arn);
    }
    document(input, allowed)
}

/// The policy of a request with names that are as short as they can be. No request's is much shorter.
#[must_use]
pub fn least_policy(input: &SessionPolicyInput<'_>) -> Value {
    let mut allowed = Allowed::default();
    let terms = Terms {
        actions: BTreeSet::from(["s3:GetObject"]),
        prefix: None,
        source_ip: None,
    };
    allowed.add(terms, arn(input.partition, "b/k"));
    document(input, allowed)
}

/// What the need is about.
fn arns(need: &Need<'_>, grant: &Grant, partition: &str) -> Vec<String> {
    let paths = match (need.action.resource, need.target) {
        (IamResource::Service, _) => return vec!["*".to_owned()],
        (IamResource::Object, Target::BodyKeys(bucket)) => {
            let resources = grant.resources().iter();
            let inside = resources.filter(|resource| resource.bucket() == Some(bucket));
            inside.filter_map(objects).collect()
        }
        (IamResource::Object | IamResource::ReferencedObject, Target::Object { bucket, key }) => {
            vec![format!("{bucket}/{}", literal(key))]
        }
        (IamResource::Object, Target::Keys { bucket, prefix }) => {
            vec![format!("{bucket}/{}*", literal(prefix))]
        }
        (IamResource::Object | IamResource::ReferencedObject, _) => Vec::new(),
        (IamResource::Bucket, target) => target.bucket().map(str::to_owned).into_iter().collect(),
    };
    paths.iter().map(|path| arn(partition, path)).collect()
}

/// The prefix that a list is bounded to.
fn listed(need: &Need<'_>) -> Option<ListedPrefix> {
    match need.target {
        Target::List { prefix, .. } if need.action.prefix_condition => {
            Some(ListedPrefix::Exactly(prefix.to_owned()))
        }
        _ => None,
    }
}
