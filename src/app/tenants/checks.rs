//! What is checked of a tenant while its settings are read, by what this build of presignd knows of S3.

use std::sync::Arc;
use std::time::SystemTime;

use super::grants::{grants, store};
use super::role::session_policies;
use crate::admit::content::{ASKING, ResponseRule, TYPING};
use crate::admit::grant::{CLASSES, CommandSelector, Grant, Store};
use crate::admit::header::{ENCRYPTING, HeaderRules, SHARING, STORING};
use crate::admit::held;
use crate::admit::media_type::MediaRange;
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Located, Mistake};
use crate::proto::s3::PutObject;
use crate::scope::session_policy::MAX_SESSION_POLICY;
use crate::sign::bind::Bind as _;
use crate::sign::bucket;
use crate::sign::operations::{OPERATIONS, operation};

/// The process's environment, and what this build of presignd knows of S3.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSurroundings;

impl config::Surroundings for ProcessSurroundings {
    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn now(&self) -> SystemTime {
        SystemClock::new().now()
    }

    fn command(&self, name: &str) -> Result<(), String> {
        let Err(error) = CommandSelector::parse(name) else {
            return Ok(());
        };
        let known: Vec<&str> = CLASSES
            .into_iter()
            .chain(OPERATIONS.iter().map(|operation| operation.name))
            .collect();
        let meant = config::nearest(name, &known)
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        Err(format!("{error}{meant}"))
    }

    fn resource(&self, text: &str) -> Result<(), String> {
        // No tenant's id makes a resource good or bad.
        match ResourcePattern::of_tenant(text, "tenant") {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn bucket(&self, text: &str) -> Result<(), String> {
        match bucket::problem(text) {
            None => Ok(()),
            Some(problem) => Err(problem.to_owned()),
        }
    }

    fn media_type(&self, text: &str) -> Result<(), String> {
        match MediaRange::parse(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn source_ip(&self, text: &str) -> Result<(), String> {
        match source_ip::parse(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tenant(&self, id: &str, tenant: &Located<config::Tenant>) -> Vec<Mistake> {
        // Unknown commands and resources are reported where they stand.
        let Ok(grants) = grants(id, &tenant.value) else {
            return Vec::new();
        };
        let grants = Arc::new(grants);
        let mut mistakes = idle_rules(&tenant.value, &grants);
        mistakes.extend(values_unknown_to_aws(&tenant.value));
        mistakes.extend(resources_not_held(&tenant.value, &grants));
        mistakes.extend(long_policies(id, tenant, grants));
        mistakes
    }
}

/// Session policies that STS would not take.
fn long_policies(
    id: &str,
    tenant: &Located<config::Tenant>,
    grants: Arc<Vec<Grant>>,
) -> Vec<Mistake> {
    match tenant.value.credentials.role() {
        Some(role) if role.policy_arns.is_none() => {
            let policies = session_policies(id, &tenant.value, role, grants);
            let least = policies.least_length();
            let least = least.filter(|length| *length > MAX_SESSION_POLICY);
            let known = policies.too_long().map(|(bucket, length)| {
                too_long(tenant.value.session.scope, bucket.as_deref(), length)
            });
            // What is too long for every request is so for those of each bucket.
            let messages: Vec<String> = match least {
                Some(length) => vec![always_too_long(length)],
                None => known.collect(),
            };
            messages.into_iter().map(|m| tenant.mistake(m)).collect()
        }
        // Static credentials have no session.
        _ => Vec::new(),
    }
}

/// Resources on which no session policy holds a session to the grants, so that every request for them is refused.
fn resources_not_held(tenant: &config::Tenant, grants: &[Grant]) -> Vec<Mistake> {
    let role = tenant.credentials.role();
    let mut mistakes = Vec::new();
    if role.is_none_or(|role| role.policy_arns.is_some()) {
        return mistakes;
    }
    for (located, grant) in tenant.grants.iter().zip(grants) {
        for (text, resource) in located.value.resources.iter().zip(grant.resources()) {
            if let Err(why) = held::check_resource(grants, grant, resource) {
                mistakes.push(text.mistake(why.to_string()));
            }
        }
    }
    mistakes
}

/// Values in rules on headers that AWS does not know, so that no request could have them there.
fn values_unknown_to_aws(tenant: &config::Tenant) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if store(tenant) != Store::Aws {
        return mistakes;
    }
    for headers in tenant.grants.iter().flat_map(|grant| &grant.value.headers) {
        let rules = &headers.value;
        let rows = [
            ("server_side_encryption", &rules.server_side_encryption),
            ("acl", &rules.acl),
            ("storage_class", &rules.storage_class),
        ];
        for (name, rule) in rows {
            let mut fields = PutObject::FIELDS.iter();
            let known = fields.find(|field| field.field == name);
            let known = known.map_or(&[][..], |field| field.allowed_values);
            let (
                Some(config::HeaderRule::Require(values) | config::HeaderRule::Allow(values)),
                false,
            ) = (rule, known.is_empty())
            else {
                continue;
            };
            for value in values
                .iter()
                .filter(|value| !known.contains(&value.as_str()))
            {
                let meant = config::nearest(value, known)
                    .map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
                mistakes.push(headers.mistake(format!(
                    "`{name}` lists {value:?}, which AWS does not know{meant}"
                )));
            }
        }
    }
    mistakes
}

/// Rules on what is told about an object, in grants of no command that tells it.
fn idle_rules(tenant: &config::Tenant, grants: &[Grant]) -> Vec<Mistake> {
    let of_any = |grant: &Grant, names: &[&str]| {
        let mut operations = names.iter().filter_map(|name| operation(name));
        operations.any(|operation| grant.is_of(operation))
    };
    let mut mistakes = Vec::new();
    for (located, grant) in tenant.grants.iter().zip(grants) {
        let (rules, headers) = (grant.content(), grant.headers());
        let says = |of: fn(&HeaderRules) -> bool| headers.is_some_and(of);
        let rows = [
            ("content_types", rules.uploads.is_some(), &TYPING[..]),
            (
                "response_content_types` or `response_headers",
                rules.responses != ResponseRule::Inert,
                &ASKING[..],
            ),
            (
                "headers.server_side_encryption",
                says(|headers| headers.server_side_encryption.is_some()),
                &ENCRYPTING[..],
            ),
            (
                "headers.acl",
                says(|headers| headers.acl.is_some()),
                &SHARING[..],
            ),
            (
                "headers.storage_class",
                says(|headers| headers.storage_class.is_some()),
                &STORING[..],
            ),
        ];
        for (keys, is_set, commands) in rows {
            if is_set && !of_any(grant, commands) {
                mistakes.push(located.mistake(format!(
                    "`{keys}` is about {}, and this grant is of none of them: remove it",
                    commands.join(", ")
                )));
            }
        }
    }
    mistakes
}

fn too_long(scope: config::SessionScope, bucket: Option<&str>, length: usize) -> String {
    use config::SessionScope as Scope;
    let of = bucket.map_or_else(String::new, |bucket| format!(" for the bucket {bucket:?}"));
    let (of, fix) = match scope {
        Scope::Tenant => (
            of,
            "grant fewer commands or resources, or set session.scope to bucket or object",
        ),
        Scope::Bucket => (
            of,
            "grant fewer commands or resources on it, or set session.scope to object",
        ),
        // The keys are in the body, so it is the grants that bound them.
        Scope::Object => (
            format!(" for DeleteObjects{of}"),
            "grant it on fewer resources of the bucket",
        ),
    };
    format!(
        "the session policy that the grants come to{of} has {length} characters, and STS takes {MAX_SESSION_POLICY}: {fix}"
    )
}

fn always_too_long(length: usize) -> String {
    format!(
        "the session policy of any request has {length} characters or more, and STS takes {MAX_SESSION_POLICY}: shorten `session.deny` \
         or `deny`, or list fewer `kms_keys`"
    )
}
