//! A configured tenant, as what each room has to know of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use secrecy::ExposeSecret as _;

use crate::admit::TenantRules;
use crate::admit::expiry::TenantExpiry;
use crate::admit::grant::{CLASSES, CommandSelector, Grant, Store, Terms};
use crate::admit::limit::Limit;
use crate::admit::resource::ResourcePattern;
use crate::clock::SharedClock;
use crate::config::{self, Located, Mistake};
use crate::endpoint::TenantEndpoint;
use crate::names::TenantId;
use crate::scope::identity::{Identity, OwnIdentity, SessionTag};
use crate::scope::session_policy::{MAX_SESSION_POLICY, SessionPolicyInput, policy};
use crate::scope::{
    Role, SessionBounds, SessionPolicies, SessionScope, StsEndpoint, TenantSession,
};
use crate::sign::Credentials;
use crate::sign::operations::OPERATIONS;
use crate::tenant::{Tenant, Tenants};

/// The process's environment, and what this build of presignd knows of S3.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSurroundings;

impl config::Surroundings for ProcessSurroundings {
    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
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
        match ResourcePattern::parse(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tenant(&self, _id: &str, tenant: &Located<config::Tenant>) -> Vec<Mistake> {
        match (grants(&tenant.value), tenant.value.credentials.role()) {
            (Ok(grants), Some(role)) if role.policy_arns.is_none() => {
                session_policies(&tenant.value, role, Arc::new(grants))
                    .too_long()
                    .map(|(bucket, length)| tenant.mistake(too_long(bucket, length)))
                    .collect()
            }
            // Unknown commands and resources are reported where they stand, and static credentials have no session.
            _ => Vec::new(),
        }
    }
}

fn too_long(bucket: Option<&str>, length: usize) -> String {
    let (of, fix) = match bucket {
        Some(bucket) => (
            format!(" for the bucket {bucket:?}"),
            "grant fewer commands or resources on it",
        ),
        None => (
            String::new(),
            "grant fewer commands or resources, or set session.scope to bucket",
        ),
    };
    format!(
        "the session policy that the grants come to{of} has {length} characters, and STS takes {MAX_SESSION_POLICY}: {fix}"
    )
}

/// The tenants of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build(
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    clock: &SharedClock,
) -> anyhow::Result<Tenants> {
    tenants
        .iter()
        .map(|(id, tenant)| {
            build_one(id, &tenant.value, clock).with_context(|| format!("the tenant {id:?}"))
        })
        .collect()
}

fn build_one(id: &str, tenant: &config::Tenant, clock: &SharedClock) -> anyhow::Result<Tenant> {
    let id = TenantId::parse(id)?;
    let endpoint = tenant.endpoint.as_ref();
    let session = match &tenant.credentials {
        config::Credentials::Role(role) => {
            TenantSession::assume_role(id.clone(), build_role(tenant, role)?)
        }
        config::Credentials::Static(fixed) => {
            let access_key_id = fixed.access_key_id.expose_secret().to_owned();
            let secret = fixed.secret_access_key.clone();
            let credentials =
                Credentials::new(access_key_id, secret, fixed.session_token.clone(), None);
            TenantSession::fixed(id.clone(), credentials)
        }
    };
    Ok(Tenant {
        rules: TenantRules {
            grants: grants(tenant)?,
            expiry: TenantExpiry {
                default: seconds(tenant.expiry.default),
                max: seconds(tenant.expiry.max),
                backdate: seconds(tenant.expiry.backdate),
            },
            limits: tenant
                .limits
                .iter()
                .map(|limit| build_limit(&limit.value, clock))
                .collect::<Result<_, _>>()?,
            has_session_policy: tenant
                .credentials
                .role()
                .is_some_and(|role| role.policy_arns.is_none()),
        },
        session,
        endpoint: TenantEndpoint::new(
            tenant.region.clone(),
            endpoint.map(|endpoint| endpoint.url.as_str().to_owned()),
            endpoint.is_some_and(|endpoint| endpoint.path_style),
        ),
        id,
    })
}

/// A tenant's role, as whoever assumes it knows it.
///
/// # Errors
/// If a command or resource is not one.
pub fn build_role(tenant: &config::Tenant, role: &config::Role) -> anyhow::Result<Role> {
    let identity = match &role.identity {
        config::Identity::AssumeRole(own) => Identity::Own(OwnIdentity {
            external_id: own.external_id.clone(),
            session_tags: own.session_tags.iter().map(session_tag).collect(),
            source_identity: own.source_identity.clone(),
        }),
        config::Identity::WebIdentity(web) => Identity::Web {
            token_file: web.token_file.clone(),
        },
    };
    let bounds = match &role.policy_arns {
        Some(arns) => SessionBounds::Managed(
            arns.value
                .iter()
                .map(|arn| arn.as_str().to_owned())
                .collect(),
        ),
        None => SessionBounds::Grants(session_policies(tenant, role, Arc::new(grants(tenant)?))),
    };
    Ok(Role {
        arn: role.role_arn.value.as_str().to_owned(),
        identity,
        duration: seconds(role.duration.value),
        sts: StsEndpoint {
            region: tenant.region.clone(),
            url: role
                .sts_endpoint
                .as_ref()
                .map(|url| url.as_str().to_owned()),
        },
        bounds,
    })
}

fn session_tag(tag: &config::SessionTag) -> SessionTag {
    SessionTag {
        key: tag.key.clone(),
        value: tag.value.clone(),
        transitive: tag.transitive,
    }
}

/// The session policies that a tenant's grants come to.
#[must_use]
pub fn session_policies(
    tenant: &config::Tenant,
    role: &config::Role,
    grants: Arc<Vec<Grant>>,
) -> SessionPolicies {
    let kms_keys = kms_keys(tenant);
    let scope = match tenant.session.scope {
        config::SessionScope::Tenant => SessionScope::Tenant,
        config::SessionScope::Bucket => SessionScope::Bucket,
    };
    SessionPolicies::new(
        grants,
        kms_keys,
        role.role_arn.value.partition().to_owned(),
        scope,
    )
}

/// The permissions that a tenant's role needs: what all the grants carry.
///
/// # Errors
/// If a command or resource is not one.
pub fn role_policy(
    tenant: &config::Tenant,
    role: &config::Role,
) -> anyhow::Result<serde_json::Value> {
    Ok(policy(&SessionPolicyInput {
        grants: &grants(tenant)?,
        buckets: None,
        kms_keys: &kms_keys(tenant),
        partition: role.role_arn.value.partition(),
    }))
}

fn kms_keys(tenant: &config::Tenant) -> Vec<String> {
    let keys = tenant.kms_keys.iter();
    keys.map(|key| key.value.as_str().to_owned()).collect()
}

/// A tenant's grants, as admission knows them.
///
/// # Errors
/// If a command or resource is not one.
pub fn grants(tenant: &config::Tenant) -> anyhow::Result<Vec<Grant>> {
    let store = if tenant.endpoint.is_some() {
        Store::Compatible
    } else {
        Store::Aws
    };
    let grant = |grant: &Located<config::Grant>| -> anyhow::Result<Grant> {
        let resources = grant.value.resources.iter();
        Ok(Grant::new(
            selectors(&grant.value.commands)?,
            resources
                .map(|text| Ok(ResourcePattern::parse(&text.value)?))
                .collect::<anyhow::Result<_>>()?,
            Terms {
                max_expiry: grant
                    .value
                    .max_expiry
                    .as_ref()
                    .map(|expiry| seconds(expiry.value)),
                max_upload: grant.value.max_upload,
            },
            store,
        ))
    };
    tenant.grants.iter().map(grant).collect()
}

fn build_limit(limit: &config::Limit, clock: &SharedClock) -> anyhow::Result<Limit> {
    let commands = limit.commands.as_deref().unwrap_or_default();
    let interval = limit.rate.time_for(NonZeroU32::MIN);
    Limit::new(
        &limit.name,
        selectors(commands)?,
        interval,
        limit.burst,
        Arc::clone(clock),
    )
    .ok_or_else(|| anyhow!("the limit {:?} is faster than one a nanosecond", limit.name))
}

fn selectors(names: &[Located<String>]) -> anyhow::Result<Vec<CommandSelector>> {
    names
        .iter()
        .map(|name| Ok(CommandSelector::parse(&name.value)?))
        .collect()
}

/// Settings hold whole seconds of at most seven days, which fit.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const ROLE: &str = r#"assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd" }"#;

    fn parse(tenant: &str) -> Result<config::Settings, Vec<Mistake>> {
        let text = format!("tenants:\n  acme:\n    region: eu-west-1\n{tenant}");
        config::parse(&text, "a.yaml", Path::new(""), &ProcessSurroundings)
    }

    fn mistakes(tenant: &str) -> Vec<String> {
        let mistakes = parse(tenant).expect_err("there are mistakes");
        mistakes.iter().map(ToString::to_string).collect()
    }

    /// Grants of reading `count` prefixes of a bucket.
    fn prefixes(bucket: &str, count: usize) -> String {
        let prefixes: Vec<String> = (0..count)
            .map(|n| format!("\"{bucket}/a-prefix-of-some-length-{n}/*\""))
            .collect();
        let resources = prefixes.join(", ");
        format!("      - {{ commands: [GetObject], resources: [{resources}] }}\n")
    }

    fn tenant(scope: &str, grants: &str) -> String {
        format!(
            "    credentials: {{ {ROLE} }}\n    session: {{ scope: {scope} }}\n    grants:\n{grants}"
        )
    }

    #[test]
    fn a_command_that_is_none_is_told_with_the_one_that_was_meant() {
        use config::Surroundings as _;
        for known in CLASSES.into_iter().chain(["GetObject", "CreateSession"]) {
            assert_eq!(ProcessSurroundings.command(known), Ok(()), "{known}");
        }
        for (typed, meant) in [
            ("getObject", Some("GetObject")),
            ("get_object", Some("GetObject")),
            ("GetObjct", Some("GetObject")),
            ("ListObjectV2", Some("ListObjectsV2")),
            ("Read", Some("read")),
            ("s3:PutObject", Some("PutObject")),
            ("all", None),
            ("*", None),
            ("sts:AssumeRole", None),
        ] {
            let said = ProcessSurroundings.command(typed).unwrap_err();
            let named = said.split_once("did you mean `").map(|(_, rest)| rest);
            let named = named.and_then(|rest| rest.strip_suffix("`?"));
            assert_eq!(named, meant, "{typed}: {said}");
        }
    }

    #[test]
    fn commands_and_resources_are_checked_where_they_stand_with_everything_else() {
        let grants = "    credentials: { static: { access_key_id: A, secret_access_key: { env: NO_SUCH_VARIABLE_HERE } } }
    grants:
      - { commands: [GetObjct], resources: [\"a*/k\", a/k] }
    limits:
      - { name: l, commands: [reed], rate: 5/s }
";
        let said = mistakes(grants);
        let places = [
            "a.yaml:4:74: tenants.acme.credentials.static.secret_access_key.env: ",
            "a.yaml:6:22: tenants.acme.grants[0].commands[0]: `GetObjct` is neither",
            "a.yaml:6:45: tenants.acme.grants[0].resources[0]: `a*/k` has a '*' in its bucket",
            "a.yaml:8:31: tenants.acme.limits[0].commands[0]: `reed` is neither",
        ];
        assert_eq!(said.len(), places.len(), "{said:#?}");
        for (said, place) in said.iter().zip(places) {
            assert!(said.starts_with(place), "{said}\nnot {place}");
        }
    }

    #[test]
    fn a_session_policy_that_is_too_long_is_a_mistake_of_its_tenant() {
        let wide = prefixes("files", 50);
        let [said] = &mistakes(&tenant("tenant", &wide))[..] else {
            panic!("one mistake")
        };
        assert!(said.starts_with("a.yaml:2:3: tenants.acme: "), "{said}");
        assert!(said.contains("set session.scope to bucket"), "{said}");

        // Only the bucket that is too much is named, and what would not help is not proposed.
        let grants = wide + &prefixes("other", 2);
        let [said] = &mistakes(&tenant("bucket", &grants))[..] else {
            panic!("one mistake")
        };
        assert!(said.contains("for the bucket \"files\""), "{said}");
        assert!(!said.contains("session.scope"), "{said}");
    }

    #[test]
    fn sessions_of_one_bucket_hold_what_one_of_all_does_not() {
        let grants = prefixes("files", 25) + &prefixes("other", 25);
        assert!(mistakes(&tenant("tenant", &grants))[0].contains("session policy"));
        assert!(parse(&tenant("bucket", &grants)).is_ok());
    }

    #[test]
    fn the_session_policy_counts_what_is_sent() {
        let length_of = |count| {
            let settings = parse(&tenant("tenant", &prefixes("files", count))).ok()?;
            let tenant = &settings.tenants["acme"].value;
            let Some(role) = tenant.credentials.role() else {
                panic!("{:?}", tenant.credentials)
            };
            let grants = Arc::new(grants(tenant).unwrap());
            let lengths = session_policies(tenant, role, grants);
            lengths.lengths().get(&None).copied()
        };
        let lengths: Vec<usize> = (1..60).map_while(length_of).collect();
        let (last, step) = (lengths[lengths.len() - 1], lengths[3] - lengths[2]);
        assert!(lengths.len() < 59, "some are too long");
        assert!(last <= MAX_SESSION_POLICY, "{last}");
        assert!(last + 2 * step > MAX_SESSION_POLICY, "{last} is far below");
    }

    #[test]
    fn static_credentials_have_no_session_policy_to_be_too_long() {
        let fixed = "    credentials: { static: { access_key_id: A, secret_access_key: { env: PATH } } }\n    grants:\n";
        assert!(parse(&(fixed.to_owned() + &prefixes("files", 50))).is_ok());
    }
}
