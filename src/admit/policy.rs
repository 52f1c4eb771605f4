//! May this tenant run this command? A pure decision.
//!
//! Default deny. A command needs a grant of itself on what it reaches for, and for each IAM permission that its fields add a grant
//! that carries it and is of the command which the permission belongs to. That `HeadObject` is checked under `s3:GetObject`
//! gives nobody the right to copy.

#[cfg(test)]
mod tests;

use super::grant::Grant;
use super::resource::Target;
use crate::sign::bind::{Violation, Violations};
use crate::sign::command::{BoundCommand, IamAction, IamResource, Operation, PathForm};
use crate::sign::operations;

/// How many broken rules are told one by one.
const MAX_RULES: usize = 16;

/// What the grants say about a command that they allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The longest expiry under the grants that allow it, in seconds.
    pub max_expiry: Option<u32>,
    /// Whether the keys are in the body and the grant is narrower than the bucket, so that only a session policy holds them to it.
    pub bounded_by_session_only: bool,
}

/// What the caller called the buckets of a command, where they have other names. Nothing is decided by it: sentences say it, and not
/// the names of buckets that the caller did not name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Called<'a> {
    /// The bucket.
    pub bucket: Option<&'a str>,
    /// The bucket of the object that a copy reads.
    pub source: Option<&'a str>,
}

/// No grant allows the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No grant of the command reaches the target.
    #[error("no grant allows {command} on {target}")]
    Command {
        /// The command.
        command: &'static str,
        /// What it reaches for.
        target: String,
    },
    /// A field of the command needs a permission of its own.
    #[error(
        "{command} with these fields also needs {action}: no grant that carries it, such as one that names {grant}, covers {target}"
    )]
    Action {
        /// The command.
        command: &'static str,
        /// The IAM action.
        action: &'static str,
        /// The command whose grant would carry it.
        grant: &'static str,
        /// What it reaches for.
        target: String,
    },
    /// Every grant of the command on the target has a rule that a field breaks.
    #[error("no grant of {command} there allows these fields: {violations}")]
    Content {
        /// The command.
        command: &'static str,
        /// The fields, and the rules.
        violations: Violations,
    },
    /// The source of a copy may not be read.
    #[error("{command} reads {target}: no grant of {grant} covers it")]
    Source {
        /// The command.
        command: &'static str,
        /// The command whose grant would allow it.
        grant: &'static str,
        /// The source.
        target: String,
    },
}

/// Decides whether the grants allow the command.
///
/// # Errors
/// What no grant allows: the command, what a field says, a permission that a field adds, or the source of a copy.
pub fn decide(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Called<'_>,
) -> Result<Allowed, Denied> {
    let operation = command.operation;
    let target = target_of(command, command.bucket);
    let shown = || target_of(command, called.bucket.or(command.bucket)).to_string();
    let fits =
        |grant: &Grant| grant.is_of(operation) && grant.content().broken_by(command).is_empty();
    let (mut cap, mut whole) = cap_of(grants, fits, &target).ok_or_else(|| {
        match rules_broken(grants, command, &target) {
            rules if rules.is_empty() => Denied::Command {
                command: operation.name,
                target: shown(),
            },
            rules => Denied::Content {
                command: operation.name,
                violations: Violations(rules),
            },
        }
    })?;
    for (index, action) in operation.actions.iter().enumerate() {
        if command.needed_actions & (1 << index) == 0 {
            continue;
        }
        let (action_cap, action_whole) = match action.resource {
            IamResource::ReferencedObject => source_cap(grants, command, called.source, action)?,
            _ => action_cap(grants, operation, action, &target).ok_or_else(|| Denied::Action {
                command: operation.name,
                action: action.action,
                grant: owner_of(operation, action).name,
                target: shown(),
            })?,
        };
        cap = narrower(cap, action_cap);
        whole &= action_whole;
    }
    Ok(Allowed {
        max_expiry: cap,
        bounded_by_session_only: matches!(target, Target::BodyKeys(_)) && !whole,
    })
}

/// The rules that the command breaks of the grants that would allow it otherwise, each once.
fn rules_broken(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    target: &Target<'_>,
) -> Vec<Violation> {
    let mut broken = Vec::new();
    let granting = grants
        .iter()
        .filter(|grant| grant.is_of(command.operation) && grant.covers(target));
    for rule in granting.flat_map(|grant| grant.content().broken_by(command)) {
        if !broken.contains(&rule) && broken.len() < MAX_RULES {
            broken.push(rule);
        }
    }
    broken
}

/// What the command reaches for, in a bucket of this name.
fn target_of<'a>(command: &'a BoundCommand<'_>, bucket: Option<&'a str>) -> Target<'a> {
    let operation = command.operation;
    match (operation.path, bucket, command.key) {
        (PathForm::Object, Some(bucket), Some(key)) => Target::Object { bucket, key },
        (PathForm::Bucket, Some(bucket), _) if operation.keys_in_body() => Target::BodyKeys(bucket),
        (PathForm::Bucket, Some(bucket), _)
            if operation.actions.iter().any(|a| a.prefix_condition) =>
        {
            let prefix = command.query.iter().find(|q| q.name == "prefix");
            Target::List {
                bucket,
                prefix: prefix.map_or("", |q| q.value.as_str()),
            }
        }
        (_, Some(bucket), _) => Target::Bucket(bucket),
        (_, None, _) => Target::Service,
    }
}

fn action_cap(
    grants: &[Grant],
    operation: &'static Operation,
    action: &IamAction,
    target: &Target<'_>,
) -> Option<Reach> {
    let owner = owner_of(operation, action);
    cap_of(grants, |grant| carries(grant, owner, action), target)
}

fn source_cap(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Option<&str>,
    action: &IamAction,
) -> Result<Reach, Denied> {
    let operation = command.operation;
    let owner = owner_of(operation, action);
    let fits = |grant: &Grant| carries(grant, owner, action);
    cap_of(grants, fits, &source_of(command, None)).ok_or_else(|| Denied::Source {
        command: operation.name,
        grant: owner.name,
        target: source_of(command, called).to_string(),
    })
}

/// What a copy reads, in a bucket of another name if there is one.
fn source_of<'a>(command: &'a BoundCommand<'_>, called: Option<&'a str>) -> Target<'a> {
    match &command.reference {
        Some(reference) => Target::Object {
            bucket: called.unwrap_or(reference.bucket),
            key: reference.key,
        },
        None => Target::Service,
    }
}

fn carries(grant: &Grant, owner: &Operation, action: &IamAction) -> bool {
    // Another command's name in the same grant must not lend this one what only its own name brings.
    let named = !action.by_name_only || grant.names(owner);
    named && grant.is_of(owner) && grant.actions().contains_key(action.action)
}

/// The command that an operator has to grant for an action: the operation, unless the action is granted apart from it.
fn owner_of(operation: &'static Operation, action: &IamAction) -> &'static Operation {
    if !action.granted_apart {
        return operation;
    }
    let verb = action.action.split_once(':').map_or("", |(_, verb)| verb);
    // What S3 calls GetObjectVersion is a GetObject.
    let verb = verb.strip_suffix("Version").unwrap_or(verb);
    operations::operation(verb).unwrap_or(operation)
}

/// The longest cap, and whether the whole bucket is covered.
type Reach = (Option<u32>, bool);

/// The longest cap of the grants that fit and cover the target, and whether one of them covers the whole bucket. `None`: none fits.
fn cap_of(grants: &[Grant], fits: impl Fn(&Grant) -> bool, target: &Target<'_>) -> Option<Reach> {
    let mut found = None;
    for grant in grants.iter().filter(|grant| fits(grant)) {
        for resource in grant
            .resources()
            .iter()
            .filter(|resource| resource.covers(target))
        {
            let whole = matches!(resource, super::resource::ResourcePattern::WholeBucket(_));
            let cap = grant.max_expiry();
            found = Some(match found {
                None => (cap, whole),
                Some((known, was_whole)) => (wider(known, cap), was_whole || whole),
            });
        }
    }
    found
}

/// The wider of two caps; `None` is no cap.
fn wider(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    Some(a?.max(b?))
}

/// The narrower of two caps; `None` is no cap.
fn narrower(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (cap, None) | (None, cap) => cap,
    }
}
