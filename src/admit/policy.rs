//! May this tenant run this command? A pure decision.
//!
//! Default deny. A command needs a grant of itself on what it reaches for, and for each IAM permission that its fields add a grant
//! that carries it and is of the command which the permission belongs to. That `HeadObject` is checked under `s3:GetObject`
//! gives nobody the right to copy.

#[cfg(test)]
mod tests;

use super::grant::Grant;
use super::resource::Target;
use super::upload::Upload;
use crate::sign::command::{BoundCommand, IamAction, IamResource, Operation, PathForm};
use crate::sign::operations;
use crate::sign::post_policy::{KeyRule, LengthRange, PostForm};

/// What the grants say about a command that they allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The longest expiry under the grants that allow it, in seconds.
    pub max_expiry: Option<u32>,
    /// Whether the keys are in the body and the grant is narrower than the bucket, so that only a session policy holds them to it.
    pub bounded_by_session_only: bool,
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
    /// Every grant of the command on the target allows smaller uploads only.
    #[error(
        "{command} would upload up to {bytes} bytes to {target}, where max_upload of the grants is {most}: ask for less"
    )]
    UploadTooLarge {
        /// The command.
        command: &'static str,
        /// What it would write.
        target: String,
        /// How much it would upload.
        bytes: u64,
        /// The largest `max_upload`.
        most: u64,
    },
    /// Every grant of the command on the target bounds uploads, and this one has no bound.
    #[error(
        "{command} would upload any number of bytes to {target}, where max_upload of the grants is {most}: declare content_length, which \
             the client then has to send exactly so, or ask PresignPost for a form, which bounds a range"
    )]
    UploadUnbounded {
        /// The command.
        command: &'static str,
        /// What it would write.
        target: String,
        /// The largest `max_upload`.
        most: u64,
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
/// What no grant allows: the command, a permission that a field adds, or the source of a copy.
pub fn decide(grants: &[Grant], command: &BoundCommand<'_>) -> Result<Allowed, Denied> {
    decide_for(grants, command, &target_of(command), Upload::of(command))
}

/// Decides whether the grants allow the form, and what its file is bounded to.
///
/// # Errors
/// What no grant allows: the upload, its size, or a permission that a field adds.
pub fn decide_form(
    grants: &[Grant],
    form: &PostForm<'_>,
) -> Result<(Allowed, Option<LengthRange>), Denied> {
    let command = &form.command;
    let bucket = command.bucket.unwrap_or_default();
    let target = match form.key {
        KeyRule::Exact(key) => Target::Object { bucket, key },
        KeyRule::StartsWith { prefix, .. } => Target::Keys { bucket, prefix },
    };
    // What a form leaves open, it takes from the grants.
    let content_length =
        form.content_length
            .or_else(|| match most_upload(grants, command.operation, &target)? {
                Upload::AtMost(max) => Some(LengthRange { min: 0, max }),
                Upload::Nothing | Upload::Unbounded => None,
            });
    let allowed = decide_for(grants, command, &target, Upload::within(content_length))?;
    Ok((allowed, content_length))
}

/// Decides about a command on this target with this upload.
fn decide_for(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    target: &Target<'_>,
    upload: Upload,
) -> Result<Allowed, Denied> {
    let operation = command.operation;
    // One grant has to allow all of it: a long life from one and a large upload from another would be more than either says.
    let fits = |grant: &Grant| grant.is_of(operation) && upload.fits(grant.max_upload());
    let (mut cap, mut whole) = cap_of(grants, fits, target)
        .ok_or_else(|| not_allowed(grants, operation, target, upload))?;
    for (index, action) in operation.actions.iter().enumerate() {
        if command.needed_actions & (1 << index) == 0 {
            continue;
        }
        let (action_cap, action_whole) = match action.resource {
            IamResource::ReferencedObject => source_cap(grants, command, action)?,
            _ => action_cap(grants, operation, action, target)?,
        };
        cap = narrower(cap, action_cap);
        whole &= action_whole;
    }
    Ok(Allowed {
        max_expiry: cap,
        bounded_by_session_only: matches!(target, Target::BodyKeys(_)) && !whole,
    })
}

/// Why no grant allows the operation on the target.
fn not_allowed(
    grants: &[Grant],
    operation: &'static Operation,
    target: &Target<'_>,
    upload: Upload,
) -> Denied {
    let (command, target_name) = (operation.name, target.to_string());
    match (most_upload(grants, operation, target), upload) {
        (Some(Upload::AtMost(most)), Upload::AtMost(bytes)) => Denied::UploadTooLarge {
            command,
            target: target_name,
            bytes,
            most,
        },
        (Some(Upload::AtMost(most)), _) => Denied::UploadUnbounded {
            command,
            target: target_name,
            most,
        },
        _ => Denied::Command {
            command,
            target: target_name,
        },
    }
}

/// The most that the grants of the operation let be uploaded to the target. `None`: there is no such grant.
fn most_upload(grants: &[Grant], operation: &Operation, target: &Target<'_>) -> Option<Upload> {
    let covers = |grant: &&Grant| {
        let mut resources = grant.resources().iter();
        grant.is_of(operation) && resources.any(|resource| resource.covers(target))
    };
    let bounds = grants.iter().filter(covers).map(Grant::max_upload);
    let most = bounds.reduce(|a, b| Some(a?.max(b?)))?;
    Some(most.map_or(Upload::Unbounded, Upload::AtMost))
}

/// What the command reaches for.
fn target_of<'a>(command: &'a BoundCommand<'_>) -> Target<'a> {
    let operation = command.operation;
    match (operation.path, command.bucket, command.key) {
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
) -> Result<Reach, Denied> {
    let owner = owner_of(operation, action);
    cap_of(grants, |grant| carries(grant, owner, action), target).ok_or_else(|| Denied::Action {
        command: operation.name,
        action: action.action,
        grant: owner.name,
        target: target.to_string(),
    })
}

fn source_cap(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    action: &IamAction,
) -> Result<Reach, Denied> {
    let operation = command.operation;
    let owner = owner_of(operation, action);
    let target = match &command.reference {
        Some(reference) => Target::Object {
            bucket: reference.bucket,
            key: reference.key,
        },
        None => Target::Service,
    };
    cap_of(grants, |grant| carries(grant, owner, action), &target).ok_or_else(|| Denied::Source {
        command: operation.name,
        grant: owner.name,
        target: target.to_string(),
    })
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
