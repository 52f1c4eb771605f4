//! `credentials.assume_role` and `credentials.web_identity`: the role whose sessions sign a tenant's URLs, and how presignd gets them.
//!
//! Invariant: what belongs to one way into a role is not given with the other, and STS's own rules hold for every value.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::arn::{PolicyArn, RoleArn, policy_arn, role_arn};
use super::mistake::Located;
use super::quantity::duration_text;
use super::reader::{Reader, Section};
use super::session_tags::{SessionTag, session_tags, source_identity};
use super::tree::Node;
use super::url::{BaseUrl, base_url};

/// A role, and how its sessions are obtained.
#[derive(Debug, Clone)]
pub struct Role {
    /// The tenant's role.
    pub role_arn: Located<RoleArn>,
    /// How long a session lives, from 15 minutes to 12 hours.
    pub duration: Located<Duration>,
    /// The STS to ask; `None`: AWS's, in the tenant's region.
    pub sts_endpoint: Option<BaseUrl>,
    /// Managed policies that narrow a session, instead of one made from the grants; at most 10.
    pub policy_arns: Option<Located<Vec<PolicyArn>>>,
    /// As whom presignd comes to STS.
    pub identity: Identity,
}

/// As whom presignd comes to STS.
#[derive(Debug, Clone)]
pub enum Identity {
    /// As itself, with its own credentials.
    AssumeRole(AssumeRole),
    /// With a token of an identity provider.
    WebIdentity(WebIdentity),
}

/// `assume_role`: STS `AssumeRole`, called with presignd's own credentials.
#[derive(Debug, Clone, Default)]
pub struct AssumeRole {
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// What its sessions are tagged with, by key.
    pub session_tags: Vec<SessionTag>,
    /// What its sessions say of their origin, for good. May hold `{tenant}` and `{caller}`.
    pub source_identity: Option<String>,
}

/// `web_identity`: STS `AssumeRoleWithWebIdentity`, called with a token that somebody else renews in a file.
#[derive(Debug, Clone)]
pub struct WebIdentity {
    /// The file.
    pub token_file: PathBuf,
}

/// The life of a session where none is configured, STS's own default.
const DURATION: Duration = Duration::from_hours(1);
/// What STS accepts.
const DURATIONS: RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);
/// How long a session lasts at most if the credentials that ask for it are a session themselves.
const CHAINED: Duration = Duration::from_hours(1);
/// The most managed session policies that STS takes.
const MAX_POLICIES: usize = 10;

/// Variables that make presignd's own credentials the session of a role, in the order in which the SDK looks at them.
const SESSIONS: [(&str, &str); 3] = [
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "IRSA"),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "a task role of ECS",
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "Pod Identity or a container's role",
    ),
];

pub(super) fn assume_role(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Role> {
    let mut section = reader.section(node)?.guarded();
    let external_id = section.optional("external_id", |r, n| r.parsed(n, external_id));
    let session_tags = session_tags(&mut section);
    let source_identity = section.optional("source_identity", |r, n| r.parsed(n, source_identity));
    let role = role(&mut section);
    section.finish();
    let identity = Identity::AssumeRole(AssumeRole {
        external_id: external_id?,
        session_tags: session_tags?,
        source_identity: source_identity?,
    });
    let role = role?(identity);
    warn_of_chaining(reader, &role);
    Some(role)
}

pub(super) fn web_identity(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Role> {
    let mut section = reader.section(node)?.guarded();
    let token_file = section.required("token_file", |r, n| r.parsed(n, token_file));
    let role = role(&mut section);
    section.finish();
    // Relative like the files of secrets. It is not read here: it may be of another machine, and will have changed by then.
    let token_file = reader.folder.join(token_file?);
    Some(role?(Identity::WebIdentity(WebIdentity { token_file })))
}

/// What both ways share.
fn role(section: &mut Section<'_, '_, '_>) -> Option<impl FnOnce(Identity) -> Role + use<>> {
    let role = section.required("role_arn", |reader, node| {
        let arn = reader.parsed(node, role_arn)?;
        Some(reader.locate(node.at, arn))
    });
    let default = section.reader.locate(section.at(), DURATION);
    let duration = section.or("duration", default, |reader, node| {
        let duration = reader.duration(node, &DURATIONS)?;
        Some(reader.locate(node.at, duration))
    });
    let sts_endpoint = section.optional("sts_endpoint", |r, n| r.parsed(n, base_url));
    let policy_arns = section.optional("policy_arns", policy_arns);
    let (role_arn, duration) = (role?, duration?);
    let (sts_endpoint, policy_arns) = (sts_endpoint?, policy_arns?);
    Some(|identity| Role {
        role_arn,
        duration,
        sts_endpoint,
        policy_arns,
        identity,
    })
}

fn policy_arns(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Vec<PolicyArn>>> {
    let arns = reader.distinct(node, policy_arn)?;
    if !(1..=MAX_POLICIES).contains(&arns.len()) {
        let message = format!("name 1 to {MAX_POLICIES} managed policies, or remove the list");
        reader.mistake(node.at, message);
        return None;
    }
    let arns = arns.into_iter().map(|arn| arn.value).collect();
    let arns = reader.locate(node.at, arns);
    let message = "with `policy_arns` presignd sends no session policy of its own: what it signs is held to the grants by its own \
                   decision alone, and these policies are the only other bound";
    reader.warn_in(&arns, message);
    Some(arns)
}

/// STS's rule for `ExternalId`.
fn external_id(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if (2..=1224).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("an external id is 2 to 1,224 letters, digits or `_+=,.@:/-`".to_owned())
    }
}

/// A path, and not the token itself, which logs would repeat where it is not found.
fn token_file(text: &str) -> Result<PathBuf, String> {
    let good = (1..=1024).contains(&text.len()) && !text.contains(char::is_control);
    if good && !text.starts_with("eyJ") {
        Ok(PathBuf::from(text))
    } else {
        Err("this is not the path of a file: name the file that holds the token".to_owned())
    }
}

fn warn_of_chaining(reader: &mut Reader<'_>, role: &Role) {
    let set = |name: &str| {
        let value = reader.surroundings.environment(name);
        value.is_some_and(|value| !value.is_empty())
    };
    // Keys in the environment come before all of these.
    if role.duration.value <= CHAINED || set("AWS_ACCESS_KEY_ID") {
        return;
    }
    if let Some((variable, whose)) = SESSIONS.iter().find(|(variable, _)| set(variable)) {
        let message = format!(
            "{} is longer than the sessions that STS will give: here presignd's own credentials are a session ({variable} is set: \
             {whose}), and from one role to the next they last 1h at most. Set 1h or less, or use `web_identity`",
            duration_text(role.duration.value)
        );
        reader.warn_in(&role.duration, message);
    }
}
