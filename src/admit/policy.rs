//! May this tenant run this command? A pure decision.
//!
//! Default deny. A command needs a grant of itself on what it reaches for, and for each IAM permission that its fields add a grant
//! that carries it and is of the command which the permission belongs to. That `HeadObject` is checked under `s3:GetObject`
//! gives nobody the right to copy.

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use super::expiry::GrantCap;
use super::grant::Grant;
use super::resource::{ResourcePattern, Target};
use super::source_ip::SourceIps;
use super::upload::Upload;
use crate::sign::bind::{Violation, Violations};
use crate::sign::command::{BoundCommand, IamAction, IamResource, Operation, PathForm};
use crate::sign::operations;
use crate::sign::post_policy::PostForm;

/// How many broken rules are told one by one: each stands in an answer's trailers thrice.
const MAX_RULES: usize = 8;

/// The most bytes that S3 takes in one request.
const MAX_FORM_UPLOAD: u64 = 5 << 30;

/// What the grants say about a command that they allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The longest expiry under the grants that allow it.
    pub cap: GrantCap,
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
    /// An entry of the tenant's `deny` does, whatever grants say.
    #[error("deny[{index}] of the tenant denies {command} {on}{target}, whatever its grants say", on = action.map_or_else(|| "on ".to_owned(), |action| format!("because it denies {action} on ")))]
    Explicitly {
        /// The command.
        command: &'static str,
        /// The entry's place.
        index: usize,
        /// The permission that it denies, if it is not the command itself.
        action: Option<&'static str>,
        /// On what.
        target: String,
    },
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
        "{command} would upload any number of bytes to {target}, where max_upload of the grants is {most}: declare content_length (of an \
             upload in parts: size), which the client then has to send exactly so, or give the body as payload.content, or ask \
             PresignPost for a form, which bounds a range"
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
    /// Grants allow it, but not from all of the addresses that the request names.
    #[error(
        "{command} is allowed, but not from every address in source_ip: each has to lie within the source_ip of one grant that \
         allows it; leave source_ip out to take what the grants allow"
    )]
    SourceIp {
        /// The command.
        command: &'static str,
    },
}

/// One IAM permission that a request needs, and on what.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// The permission.
    pub action: &'static IamAction,
    /// What a grant of it has to cover.
    pub target: Target<'a>,
    /// The command that an operator has to grant for it.
    owner: &'static Operation,
}

/// Decides whether the grants, which have not ended, allow the command, to be used from these addresses or, with `None`, from wherever
/// the grants say.
///
/// # Errors
/// What no grant allows: the command, what a field says, a permission that a field adds, the source of a copy, or the addresses.
pub fn decide(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Called<'_>,
    source_ip: Option<&SourceIps>,
    now: SystemTime,
) -> Result<Allowed, Denied> {
    let decision = decide_from(grants, command, called, source_ip, now);
    if decision.is_err()
        && source_ip.is_some()
        && decide_from(grants, command, called, None, now).is_ok()
    {
        let command = command.operation.name;
        return Err(Denied::SourceIp { command });
    }
    decision
}

fn decide_from(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Called<'_>,
    source_ip: Option<&SourceIps>,
    now: SystemTime,
) -> Result<Allowed, Denied> {
    let operation = command.operation;
    let target = target_of(command);
    let itself = |grant: &Grant| {
        grant.is_of(operation) && grant.covers(&target) && keeps_terms(command, grant)
    };
    let mut cap = cap_of(grants, itself, source_ip, now)
        .ok_or_else(|| not_itself(grants, command, called, source_ip))?;
    for need in needs(command) {
        let met = |grant: &Grant| need.met_by(grant, command);
        let own = cap_of(grants, met, source_ip, now);
        cap = cap.narrower(own.ok_or_else(|| need.denied(operation, called))?);
    }
    let bounded_by_session_only = matches!(target, Target::BodyKeys(_)) && {
        let whole = needs(command)
            .all(|need| whole_bucket(grants, |grant| need.met_by(grant, command), &target));
        !(whole && whole_bucket(grants, itself, &target))
    };
    Ok(Allowed {
        cap,
        bounded_by_session_only,
    })
}

/// Whether the command keeps to what the grant says of objects: how large they are, and what browsers are told of them.
fn keeps_terms(command: &BoundCommand<'_>, grant: &Grant) -> bool {
    Upload::of(command).fits(grant.max_upload()) && grant.rules_broken_by(command).is_empty()
}

/// Why no grant of the command itself fits: there is none, each has a rule that a field breaks, or those left take less.
fn not_itself(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Called<'_>,
    source_ip: Option<&SourceIps>,
) -> Denied {
    let (target, upload) = (target_of(command), Upload::of(command));
    let rules = rules_broken(grants, command, &target);
    let most = most_upload(grants, command, source_ip);
    let most = most.filter(|most| !upload.fits(Some(*most)));
    let (command, target) = (
        command.operation.name,
        target.called(called.bucket).to_string(),
    );
    match (most, upload) {
        (Some(most), Upload::AtMost(bytes)) => Denied::UploadTooLarge {
            command,
            target,
            bytes,
            most,
        },
        (Some(most), _) => Denied::UploadUnbounded {
            command,
            target,
            most,
        },
        (None, _) if rules.is_empty() => Denied::Command { command, target },
        (None, _) => Denied::Content {
            command,
            violations: Violations(rules),
        },
    }
}

/// Bounds the upload of a form as the grants do, if its request leaves that to them.
pub fn bound_upload(grants: &[Grant], form: &mut PostForm<'_>, source_ip: Option<&SourceIps>) {
    if let Some(most) = most_upload(grants, &form.command, source_ip) {
        // No form takes more at once, whatever comes together in parts.
        form.bound_upload(most.min(MAX_FORM_UPLOAD));
    }
}

/// Whether a grant that may allow the command bounds what it uploads, so that it has to declare that to come under the grant.
#[must_use]
pub fn bounds_upload(grants: &[Grant], command: &BoundCommand<'_>) -> bool {
    let target = target_of(command);
    grants.iter().any(|grant| {
        grant.max_upload().is_some() && grant.is_of(command.operation) && grant.covers(&target)
    })
}

/// Whether the command is allowed from certain addresses alone: from those that the request names, or those of grants.
#[must_use]
pub fn bound_to_addresses(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    source_ip: Option<&SourceIps>,
) -> bool {
    let from_anywhere = |need: Need<'_>| {
        let mut grants = grants.iter();
        grants.any(|grant| grant.source_ip().is_none() && need.met_by(grant, command))
    };
    source_ip.is_some() || !needs(command).all(from_anywhere)
}

/// The most bytes that the command may upload under the grants that allow it otherwise, from these addresses if it names any. `None`:
/// nothing bounds it, or there is no such grant.
fn most_upload(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    source_ip: Option<&SourceIps>,
) -> Option<u64> {
    let target = target_of(command);
    let most = |source_ip| {
        let granting = grants.iter().filter(|grant| {
            grant.is_of(command.operation)
                && grant.covers(&target)
                && takes(grant, source_ip)
                && grant.rules_broken_by(command).is_empty()
        });
        granting.map(Grant::max_upload).reduce(wider)
    };
    // Where no grant takes the addresses, it is they that are in the way, and not the size.
    most(source_ip).or_else(|| most(None)).flatten()
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
    for rule in granting.flat_map(|grant| grant.rules_broken_by(command)) {
        if !broken.contains(&rule) && broken.len() < MAX_RULES {
            broken.push(rule);
        }
    }
    broken
}

/// The IAM permissions that this very request needs.
pub fn needs<'a>(command: &'a BoundCommand<'_>) -> impl Iterator<Item = Need<'a>> {
    let operation = command.operation;
    let target = target_of(command);
    let source = match &command.reference {
        Some(reference) => Target::Object {
            bucket: reference.bucket,
            key: reference.key,
        },
        None => Target::Service,
    };
    let needed = move |index: usize| command.needed_actions & (1 << index) != 0;
    let actions = operation.actions.iter().enumerate();
    actions
        .filter(move |(index, _)| needed(*index))
        .map(move |(_, action)| Need {
            action,
            target: match action.resource {
                IamResource::ReferencedObject => source,
                _ => target,
            },
            owner: owner_of(operation, action),
        })
}

impl Need<'_> {
    /// The command that an operator has to grant for it.
    pub(super) fn owner(&self) -> &'static Operation {
        self.owner
    }

    /// What the caller called the bucket that it is about.
    pub(super) fn named<'c>(&self, called: Called<'c>) -> Option<&'c str> {
        match self.action.resource {
            IamResource::ReferencedObject => called.source,
            _ => called.bucket,
        }
    }

    /// Whether it is a need of the command's own, rather than another's permission that a field adds.
    pub(super) fn is_own(&self, operation: &Operation) -> bool {
        self.owner.name == operation.name
    }

    /// Whether this grant carries the permission, wherever.
    pub(super) fn carried_by(&self, grant: &Grant) -> bool {
        carries(grant, self.owner, self.action)
    }

    /// Whether this grant alone meets the need of the command that has it.
    #[must_use]
    pub fn met_by(&self, grant: &Grant, command: &BoundCommand<'_>) -> bool {
        // What objects are is a matter of the command's own grants, and not of those that lend it a permission.
        let own = self.is_own(command.operation);
        self.carried_by(grant)
            && grant.covers(&self.target)
            && (!own || keeps_terms(command, grant))
    }

    fn denied(&self, operation: &Operation, called: Called<'_>) -> Denied {
        let (command, grant) = (operation.name, self.owner.name);
        match self.action.resource {
            IamResource::ReferencedObject => Denied::Source {
                command,
                grant,
                target: self.target.called(called.source).to_string(),
            },
            _ => Denied::Action {
                command,
                action: self.action.action,
                grant,
                target: self.target.called(called.bucket).to_string(),
            },
        }
    }
}

/// Whether a URL under the grant may be for all these addresses, if a request names any.
#[must_use]
pub fn takes(grant: &Grant, source_ip: Option<&SourceIps>) -> bool {
    match (grant.source_ip(), source_ip) {
        (Some(own), Some(asked)) => own.include(asked),
        _ => true,
    }
}

/// What the command reaches for.
pub(super) fn target_of<'a>(command: &'a BoundCommand<'_>) -> Target<'a> {
    let operation = command.operation;
    let beginning = command.left_open.and_then(|open| open.key_starts_with);
    match (operation.path, command.bucket, command.key) {
        (PathForm::Object, Some(bucket), Some(key)) => Target::Object { bucket, key },
        (PathForm::Object, Some(bucket), None) => Target::Keys {
            bucket,
            prefix: beginning.unwrap_or_default(),
        },
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

/// The longest expiry under the grants that fit. `None`: none fits.
///
/// A request that names addresses has its session from the grants that take them all, and the longest of those counts. Else the
/// session has the addresses of each grant, and what one grant allows from its addresses must not outlive that from another's.
fn cap_of(
    grants: &[Grant],
    fits: impl Fn(&Grant) -> bool,
    source_ip: Option<&SourceIps>,
    now: SystemTime,
) -> Option<GrantCap> {
    let fitting = || {
        let grants = grants.iter();
        grants.filter(|grant| fits(grant) && takes(grant, source_ip))
    };
    let longest = |of: &dyn Fn(&Grant) -> bool| {
        let grants = fitting().filter(|grant| of(grant));
        grants.map(Grant::cap).reduce(|a, b| a.wider(b, now))
    };
    // Grants that hold from anywhere hold from the addresses of the others too.
    longest(&|grant| source_ip.is_some() || grant.source_ip().is_none()).or_else(|| {
        let own = fitting().map(Grant::source_ip);
        let includes = |grant: &Grant, own| grant.source_ip().is_some_and(|ip| ip.include(own));
        own.flatten()
            .filter_map(|own| longest(&|grant| includes(grant, own)))
            .reduce(GrantCap::narrower)
    })
}

/// Whether one of the grants that fit covers the whole bucket.
fn whole_bucket(grants: &[Grant], fits: impl Fn(&Grant) -> bool, target: &Target<'_>) -> bool {
    let whole = |resource: &ResourcePattern| {
        matches!(resource, ResourcePattern::WholeBucket(_)) && resource.covers(target)
    };
    let mut fitting = grants.iter().filter(|grant| fits(grant));
    fitting.any(|grant| grant.resources().iter().any(whole))
}

/// The wider of two bounds.
fn wider<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    Some(a?.max(b?))
}
