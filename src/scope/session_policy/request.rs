//! What one request needs, as a policy.
//!
//! The permissions are those that admission asked the grants for, so a policy never holds one that no grant gives. Invariant: it
//! allows them on the request's own object, bucket or prefix, on the keys that a form lets through, and on the source that it names;
//! only keys that the body names are bounded by the grants instead. What presignd itself sends comes from no address that a grant knows:
//! its policy has none, and no URL is signed by such a session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::Value;

use super::grants::{objects, session_of, speaks_s3};
use super::{
    Actions, Allowed, ListedPrefix, SessionPolicyInput, Terms, bucket_arn, document, literal,
    objects_arn,
};
use crate::admit::grant::Grant;
use crate::admit::held::{SessionMode, mode_of, session_mode};
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
    policy(input, commands, source_ip, true)
}

/// The same for commands that presignd itself sends for whoever has the addresses, from its own.
#[must_use]
pub fn own_policy(
    input: &SessionPolicyInput<'_>,
    commands: &[&BoundCommand<'_>],
    source_ip: Option<&SourceIps>,
) -> Value {
    policy(input, commands, source_ip, false)
}

/// From which addresses, and until when.
type Use = (Option<SourceIps>, Option<SystemTime>);

fn policy(
    input: &SessionPolicyInput<'_>,
    commands: &[&BoundCommand<'_>],
    source_ip: Option<&SourceIps>,
    from_there: bool,
) -> Value {
    let mut actions: BTreeMap<(String, Option<ListedPrefix>, Use), Actions> = BTreeMap::new();
    let mut allowed = Allowed::default();
    let needed = commands.iter().copied();
    for (command, need) in needed.flat_map(|command| needs(command).map(move |n| (command, n))) {
        if let Some(bucket) = need.target.bucket()
            && !speaks_s3(bucket)
        {
            let mode = match need.action.resource {
                IamResource::ReferencedObject => Some(SessionMode::ReadOnly),
                _ => mode_of(command),
            };
            let giving = input.grants.iter().filter(|grant| {
                mode.is_some() && session_mode(grant, bucket) >= mode && takes(grant, source_ip)
            });
            for grant in giving {
                let read_only = mode == Some(SessionMode::ReadOnly);
                allowed.add(
                    session_of(
                        read_only,
                        source_ip.or(grant.source_ip()),
                        grant.not_after(),
                    ),
                    bucket_arn(input.partition, bucket),
                );
            }
            continue;
        }
        let giving = input.grants.iter();
        let giving = giving.filter(|grant| need.met_by(grant, command) && takes(grant, source_ip));
        let uses = |grant: &Grant| {
            let from = source_ip.or(grant.source_ip()).filter(|_| from_there);
            (from.cloned(), grant.not_after())
        };
        // Where a grant gives it from anywhere and for good, what others give from their addresses and until their ends is no more.
        let free = !matches!(need.target, Target::BodyKeys(_))
            && giving.clone().any(|grant| uses(grant) == (None, None));
        for grant in giving {
            let by = if free { (None, None) } else { uses(grant) };
            for arn in arns(&need, grant, input.partition) {
                let on = (arn, listed(&need), by.clone());
                actions.entry(on).or_default().insert(need.action.action);
            }
        }
    }
    for ((arn, prefix, (source_ip, not_after)), actions) in actions {
        let terms = Terms {
            actions,
            prefix,
            read_only: false,
            source_ip,
            not_after,
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
        read_only: false,
        source_ip: None,
        not_after: None,
    };
    allowed.add(terms, objects_arn(input.partition, "b", "k"));
    document(input, allowed)
}

/// What the need is about.
fn arns(need: &Need<'_>, grant: &Grant, partition: &str) -> Vec<String> {
    match (need.action.resource, need.target) {
        (IamResource::Service, _) => vec!["*".to_owned()],
        (IamResource::Object, Target::BodyKeys(bucket)) => {
            let resources = grant.resources().iter();
            let inside = resources.filter(|resource| resource.bucket() == Some(bucket));
            inside
                .filter_map(|resource| objects(resource, partition))
                .collect()
        }
        (IamResource::Object | IamResource::ReferencedObject, Target::Object { bucket, key }) => {
            vec![objects_arn(partition, bucket, &literal(key))]
        }
        (IamResource::Object, Target::Keys { bucket, prefix }) => {
            vec![objects_arn(
                partition,
                bucket,
                &format!("{}*", literal(prefix)),
            )]
        }
        (IamResource::Object | IamResource::ReferencedObject, _) => Vec::new(),
        (IamResource::Bucket, target) => {
            let bucket = target.bucket().into_iter();
            bucket.map(|bucket| bucket_arn(partition, bucket)).collect()
        }
    }
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
