//! Why the grants allow a command, or do not: grant by grant. Pure.
//!
//! Asks of each grant what [`policy`](super::policy) asks, one thing at a time. Invariant: a command is allowed exactly if each of its
//! requirements has a grant with nothing in the way; a law holds that.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::deny::Denial;
use super::grant::{CommandSelector, Grant};
use super::policy::{self, Called};
use super::resource::{ResourcePattern, Target};
use super::source_ip::SourceIps;
use super::upload::Upload;
use crate::sign::command::BoundCommand;

/// The most grants that are told where none allows what is required.
const MOST_NEAR: usize = 20;

/// What a grant has to allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The command that the grant has to be of.
    pub command: &'static str,
    /// The IAM permission that it has to carry; `None` for the command itself.
    pub action: Option<&'static str>,
    /// What it has to cover.
    pub target: String,
    /// Those that do; where there are none, those that nearly do.
    pub grants: Vec<Considered>,
    /// The entries of `deny` that deny it, whatever grants do.
    pub denied_by: Vec<Considered>,
}

/// A grant, or an entry of `deny`, that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Its place among the tenant's.
    pub index: usize,
    /// What it says, as a configuration does.
    pub text: String,
    /// What is in the way.
    pub why_not: Vec<String>,
}

impl Requirement {
    /// Whether a grant allows it, and nothing denies it.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.denied_by.is_empty() && self.grants.iter().any(|grant| grant.why_not.is_empty())
    }

    /// `named` is what the caller called the target's bucket.
    fn of(
        grants: &[Grant],
        command: &'static str,
        action: Option<&'static str>,
        (target, named): (Target<'_>, Option<&str>),
        obstacles: impl Fn(&Grant) -> Obstacles,
    ) -> Self {
        let target = target.called(named).to_string();
        let considered = |allowing: bool| {
            let looked_at = grants.iter().enumerate();
            let kept = looked_at.filter_map(|(index, grant)| {
                let obstacles = obstacles(grant);
                let kept = obstacles.none() == allowing && obstacles.near();
                kept.then(|| Considered {
                    index,
                    text: text(grant),
                    why_not: obstacles.told(command, action, &target),
                })
            });
            kept.take(MOST_NEAR).collect::<Vec<_>>()
        };
        let allowing = considered(true);
        let grants = if allowing.is_empty() {
            considered(false)
        } else {
            allowing
        };
        Self {
            command,
            action,
            target,
            grants,
            denied_by: Vec::new(),
        }
    }

    /// The same, with the entries that deny it.
    fn unless(mut self, denials: &[Denial], denies: impl Fn(&Denial) -> bool) -> Self {
        let denying = denials.iter().enumerate().filter(|(_, d)| denies(d));
        let told = denying.map(|(index, denial)| Considered {
            index,
            text: denial_text(denial),
            why_not: Vec::new(),
        });
        self.denied_by = told.take(MOST_NEAR).collect();
        self
    }
}

/// What is in the way of a grant.
#[derive(Debug)]
struct Obstacles {
    other_command: bool,
    resource: Reach,
    /// What the grant says of objects, and the command does not keep.
    terms: Vec<String>,
    other_addresses: bool,
    /// When it ended, as a configuration says it.
    ended: Option<String>,
}

/// What the resources of a grant are to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// They cover it.
    Covers,
    /// They do not.
    Misses,
    /// They do not, and the caller's name can stand in one of them for nothing.
    NamesNobody,
}

impl Reach {
    fn of(grant: &Grant, target: &Target<'_>) -> Self {
        if grant.covers(target) {
            Self::Covers
        } else if grant.names_caller() {
            Self::NamesNobody
        } else {
            Self::Misses
        }
    }
}

impl Obstacles {
    fn none(&self) -> bool {
        !self.other_command
            && self.resource == Reach::Covers
            && self.terms.is_empty()
            && !self.other_addresses
            && self.ended.is_none()
    }

    /// Whether the grant has anything to do with what is asked.
    fn near(&self) -> bool {
        !self.other_command || self.resource == Reach::Covers
    }

    fn told(self, command: &str, action: Option<&str>, target: &str) -> Vec<String> {
        let mut told = Vec::new();
        if self.other_command {
            told.push(match action {
                Some(action) => {
                    format!("it does not carry {action}: a grant that names {command} does")
                }
                None => format!("it is not of {command}"),
            });
        }
        if self.resource != Reach::Covers {
            told.push(if self.resource == Reach::NamesNobody {
                format!("it does not cover {target}, since the caller's name is no one part of a key that could stand for {{caller}}")
            } else {
                format!("it does not cover {target}")
            });
        }
        told.extend(self.terms);
        if self.other_addresses {
            told.push("its source_ip does not hold every address in source_ip".to_owned());
        }
        if let Some(end) = self.ended {
            told.push(format!("it ended at {end}"));
        }
        told
    }
}

/// What the grants have to allow for the command, to be used from these addresses if there are any, and which of them do.
#[must_use]
pub fn explain(
    grants: &[Grant],
    denials: &[Denial],
    command: &BoundCommand<'_>,
    called: Called<'_>,
    source_ip: Option<&SourceIps>,
    now: SystemTime,
) -> Vec<Requirement> {
    let operation = command.operation;
    let target = policy::target_of(command);
    let itself = Requirement::of(
        grants,
        operation.name,
        None,
        (target, called.bucket),
        |grant| Obstacles {
            other_command: !grant.is_of(operation),
            resource: Reach::of(grant, &target),
            terms: terms_broken(grant, command),
            other_addresses: !policy::takes(grant, source_ip),
            ended: ended(grant, now),
        },
    )
    .unless(denials, |denial| denial.denies(command));
    let needs = policy::needs(command).map(|need| {
        let named = need.named(called);
        let own = need.is_own(operation);
        Requirement::of(
            grants,
            need.owner().name,
            Some(need.action.action),
            (need.target, named),
            |grant| Obstacles {
                other_command: !need.carried_by(grant),
                resource: Reach::of(grant, &need.target),
                terms: if own {
                    terms_broken(grant, command)
                } else {
                    Vec::new()
                },
                other_addresses: !policy::takes(grant, source_ip),
                ended: ended(grant, now),
            },
        )
        .unless(denials, |denial| denial.denies_need(&need))
    });
    std::iter::once(itself).chain(needs).collect()
}

/// When the grant ended, if it has.
fn ended(grant: &Grant, now: SystemTime) -> Option<String> {
    let end = grant.not_after().filter(|_| !grant.holds_at(now));
    end.map(rfc3339)
}

/// The time as a configuration says it.
fn rfc3339(time: SystemTime) -> String {
    // Configurations hold none that is out of range.
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}

/// What the grant says of objects, and the command does not keep.
fn terms_broken(grant: &Grant, command: &BoundCommand<'_>) -> Vec<String> {
    let upload = Upload::of(command);
    let most = grant.max_upload();
    let too_large = (!upload.fits(most)).then(|| {
        let most = most.unwrap_or_default();
        match upload {
            Upload::AtMost(bytes) => {
                format!("its max_upload is {most} bytes, and this would upload up to {bytes}")
            }
            _ => format!("its max_upload is {most} bytes, and nothing bounds this upload: declare content_length"),
        }
    });
    let broken = grant.rules_broken_by(command).into_iter();
    let broken = broken.map(|rule| format!("{} {}", rule.field, rule.description));
    too_large.into_iter().chain(broken).collect()
}

/// What a grant says, as a configuration does.
#[must_use]
pub fn text(grant: &Grant) -> String {
    let mut text = named(grant.commands(), grant.resources());
    // Writing to a string does not fail.
    if let Some(seconds) = grant.max_expiry() {
        let _ = write!(text, ", max_expiry: {seconds}s");
    }
    if let Some(bytes) = grant.max_upload() {
        let _ = write!(text, ", max_upload: {bytes}");
    }
    if let Some(source_ip) = grant.source_ip() {
        let networks = source_ip.networks().iter().map(ToString::to_string);
        let _ = write!(text, ", source_ip: [{}]", joined(networks));
    }
    if let Some(end) = grant.not_after() {
        let _ = write!(text, ", not_after: {}", rfc3339(end));
    }
    // Writing to a string does not fail.
    let _ = write!(text, "{}", grant.content());
    if let Some(headers) = grant.headers() {
        let _ = write!(text, "{headers}");
    }
    text
}

/// What an entry of `deny` says, as a configuration does.
#[must_use]
pub fn denial_text(denial: &Denial) -> String {
    named(denial.commands(), denial.resources())
}

/// Commands and resources, as a configuration names them.
fn named(commands: &[CommandSelector], resources: &[ResourcePattern]) -> String {
    let commands = commands.iter().map(|selector| match selector {
        CommandSelector::Class(class) => class.name().to_owned(),
        CommandSelector::Named(operation) => operation.name.to_owned(),
    });
    let resources = resources.iter().map(ToString::to_string);
    format!(
        "commands: [{}], resources: [{}]",
        joined(commands),
        joined(resources)
    )
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
