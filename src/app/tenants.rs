//! A configured tenant, as what each room has to know of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use super::limits;
use crate::admit::content::{ASKING, ContentRules, ResponseRule, TYPING};
use crate::admit::deny::Denial;
use crate::admit::expiry::TenantExpiry;
use crate::admit::grant::{CLASSES, CommandSelector, Grant, Store, Terms};
use crate::admit::header::{ENCRYPTING, HeaderRule, HeaderRules, SHARING, STORING};
use crate::admit::held;
use crate::admit::media_type::MediaRange;
use crate::admit::quota::TenantLimits;
use crate::admit::quota::limit::Counting;
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip::{self, SourceIps};
use crate::admit::{RulesByCaller, TenantRules};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Located, Mistake};
use crate::endpoint::buckets::Buckets;
use crate::endpoint::options::Variant;
use crate::endpoint::{Defaults, TenantEndpoint};
use crate::names::TenantId;
use crate::proto::s3::PutObject;
use crate::scope::identity::{Identity, OwnIdentity, SessionTag};
use crate::scope::session_policy::{self, MAX_SESSION_POLICY, SessionPolicyInput};
use crate::scope::{
    PolicyTerms, Role, SessionBounds, SessionPolicies, SessionScope, StsEndpoint, TenantSession,
};
use crate::sign::bind::Bind as _;
use crate::sign::operations::{OPERATIONS, operation};
use crate::sign::{Credentials, bucket};
use crate::tenant::{ById, Tenant, Tenants};

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
        let mut mistakes = idle_rules(id, &tenant.value);
        mistakes.extend(values_unknown_to_aws(&tenant.value));
        mistakes.extend(resources_not_held(id, &tenant.value));
        mistakes.extend(long_policies(id, tenant));
        mistakes
    }
}

/// Session policies that STS would not take.
fn long_policies(id: &str, tenant: &Located<config::Tenant>) -> Vec<Mistake> {
    match (grants(id, &tenant.value), tenant.value.credentials.role()) {
        (Ok(grants), Some(role)) if role.policy_arns.is_none() => {
            let policies = session_policies(id, &tenant.value, role, Arc::new(grants));
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
        // Unknown commands and resources are reported where they stand, and static credentials have no session.
        _ => Vec::new(),
    }
}

/// Resources on which no session policy holds a session to the grants, so that every request for them is refused.
fn resources_not_held(id: &str, tenant: &config::Tenant) -> Vec<Mistake> {
    let role = tenant.credentials.role();
    let (Ok(grants), true) = (
        grants(id, tenant),
        role.is_some_and(|role| role.policy_arns.is_none()),
    ) else {
        return Vec::new();
    };
    let mut mistakes = Vec::new();
    for (located, grant) in tenant.grants.iter().zip(&grants) {
        for (text, resource) in located.value.resources.iter().zip(grant.resources()) {
            if let Err(why) = held::check_resource(&grants, grant, resource) {
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
fn idle_rules(id: &str, tenant: &config::Tenant) -> Vec<Mistake> {
    let Ok(grants) = grants(id, tenant) else {
        return Vec::new();
    };
    let of_any = |grant: &Grant, names: &[&str]| {
        let mut operations = names.iter().filter_map(|name| operation(name));
        operations.any(|operation| grant.is_of(operation))
    };
    let mut mistakes = Vec::new();
    for (located, grant) in tenant.grants.iter().zip(&grants) {
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

/// The tenants of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build(
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    counting: &Counting,
) -> anyhow::Result<Tenants> {
    tenants
        .iter()
        .map(|(id, tenant)| {
            build_one(id, &tenant.value, counting).with_context(|| format!("the tenant {id:?}"))
        })
        .collect()
}

/// Tenants as a configuration that was read anew has them.
#[derive(Debug)]
pub struct Renewed {
    /// All of them.
    pub tenants: ById,
    /// How many there were not before.
    pub added: usize,
    /// How many were otherwise before.
    pub changed: usize,
    /// How many there are no more.
    pub removed: usize,
}

impl Renewed {
    /// Whether nothing is new.
    #[must_use]
    pub const fn is_as_before(&self) -> bool {
        self.added == 0 && self.changed == 0 && self.removed == 0
    }
}

/// The tenants of a configuration that has been read anew. Those whose settings are as before stay the very same, with all that is known of
/// them; of the others, limits and roles that are as before go on where they were.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn renew(
    current: &ById,
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    counting: &Counting,
) -> anyhow::Result<Renewed> {
    let mut renewed = Renewed {
        tenants: ById::with_capacity(tenants.len()),
        added: 0,
        changed: 0,
        removed: 0,
    };
    for (name, tenant) in tenants {
        let id = TenantId::parse(name)?;
        let earlier = current.get(&id);
        let same = earlier.filter(|earlier| earlier.settings == tenant.value.fingerprint.bytes());
        let tenant = if let Some(same) = same {
            Arc::clone(same)
        } else {
            let built = build_one(name, &tenant.value, counting);
            let built = built.with_context(|| format!("the tenant {name:?}"))?;
            Arc::new(if let Some(earlier) = earlier {
                renewed.changed += 1;
                continuing(built, earlier)
            } else {
                renewed.added += 1;
                built
            })
        };
        renewed.tenants.insert(id, tenant);
    }
    renewed.removed = current.len() + renewed.added - renewed.tenants.len();
    Ok(renewed)
}

/// A tenant with what still holds of what is known from its earlier settings.
fn continuing(mut tenant: Tenant, earlier: &Tenant) -> Tenant {
    let earlier_limits = &earlier.rules.limits;
    tenant.rules.limits.continue_from(earlier_limits);
    tenant.session = tenant.session.continuing(&earlier.session);
    tenant
}

/// One tenant of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build_one(id: &str, tenant: &config::Tenant, counting: &Counting) -> anyhow::Result<Tenant> {
    let id = TenantId::parse(id)?;
    let session = match &tenant.credentials {
        config::Credentials::Role(role) => {
            TenantSession::assume_role(id.clone(), build_role(id.as_str(), tenant, role)?)
                .limited(limits::sts_calls(&tenant.limits, &id))
        }
        config::Credentials::Static(fixed) => {
            let access_key_id = fixed.access_key_id.expose_secret().to_owned();
            let secret = fixed.secret_access_key.clone();
            let credentials =
                Credentials::new(access_key_id, secret, fixed.session_token.clone(), None);
            TenantSession::fixed(id.clone(), credentials)
        }
    };
    let (grants, deny) = (grants(id.as_str(), tenant)?, denials(id.as_str(), tenant)?);
    Ok(Tenant {
        rules: TenantRules {
            callers: RulesByCaller::new(&grants, &deny),
            grants,
            deny,
            expiry: TenantExpiry {
                default: seconds(tenant.expiry.default),
                max: seconds(tenant.expiry.max),
                backdate: seconds(tenant.expiry.backdate),
                signature_age: signature_age(tenant),
            },
            limits: TenantLimits::new(limits::build(&tenant.limits, Some(&id), counting)?),
            has_session_policy: tenant
                .credentials
                .role()
                .is_some_and(|role| role.policy_arns.is_none()),
        },
        session,
        buckets: build_buckets(tenant),
        settings: tenant.fingerprint.bytes(),
        id,
    })
}

fn build_buckets(tenant: &config::Tenant) -> Buckets {
    let place = |region: &String, endpoint: &config::Endpoint| {
        TenantEndpoint::new(
            endpoint.signing_region.as_ref().unwrap_or(region).clone(),
            endpoint.url.as_ref().map(|url| url.as_str().to_owned()),
            endpoint.path_style,
        )
        .by_default(Defaults {
            variant: Variant {
                dual_stack: endpoint.dual_stack,
                fips: endpoint.fips,
                accelerate: endpoint.accelerate,
            },
            use_arn_region: endpoint.use_arn_region,
            requester_pays: endpoint.requester_pays,
        })
    };
    let home = place(&tenant.region, &tenant.endpoint);
    let buckets = tenant.buckets.iter().map(|bucket| &bucket.value);
    buckets.fold(Buckets::at(home), |known, bucket| {
        let region = bucket.region.as_ref().unwrap_or(&tenant.region);
        let endpoint = bucket.endpoint.as_ref().unwrap_or(&tenant.endpoint);
        let elsewhere = bucket.region.is_some() || bucket.endpoint.is_some();
        let own = elsewhere.then(|| place(region, endpoint));
        known.with(&bucket.name, &bucket.bucket, own)
    })
}

/// A tenant's role, as whoever assumes it knows it.
///
/// # Errors
/// If a command or resource is not one.
pub fn build_role(id: &str, tenant: &config::Tenant, role: &config::Role) -> anyhow::Result<Role> {
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
        None => SessionBounds::Grants(session_policies(
            id,
            tenant,
            role,
            Arc::new(grants(id, tenant)?),
        )),
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
        longest_expiry: longest_expiry(tenant),
    })
}

/// The longest that any URL of the tenant may live.
fn longest_expiry(tenant: &config::Tenant) -> Duration {
    let cap = |grant: &Located<config::Grant>| {
        let cap = grant.value.max_expiry.as_ref();
        cap.map_or(Duration::MAX, |cap| cap.value)
    };
    let longest = tenant.grants.iter().map(cap).max();
    longest.unwrap_or_default().min(tenant.expiry.max)
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
    id: &str,
    tenant: &config::Tenant,
    role: &config::Role,
    grants: Arc<Vec<Grant>>,
) -> SessionPolicies {
    let scope = match tenant.session.scope {
        config::SessionScope::Tenant => SessionScope::Tenant,
        config::SessionScope::Bucket => SessionScope::Bucket,
        config::SessionScope::Object => SessionScope::Object,
    };
    let deny = tenant.session.deny.iter().flat_map(|deny| &deny.value);
    let partition = role.role_arn.value.partition();
    // What is not read is reported, and whatever is made of the tenant then is not used.
    let denials = denials(id, tenant).unwrap_or_default();
    let terms = PolicyTerms {
        kms_keys: kms_keys(tenant),
        partition: partition.to_owned(),
        signature_age: signature_age(tenant),
        deny: deny.map(config::DenyStatement::json).collect(),
        denials: Arc::new(denials),
    };
    SessionPolicies::new(grants, terms, scope)
}

fn signature_age(tenant: &config::Tenant) -> Option<u32> {
    let age = tenant.session.signature_age.as_ref();
    age.map(|age| seconds(age.value))
}

/// The permissions that a tenant's role needs: what all the grants carry.
///
/// # Errors
/// If a command or resource is not one.
pub fn role_policy(
    id: &str,
    tenant: &config::Tenant,
    role: &config::Role,
) -> anyhow::Result<serde_json::Value> {
    let input = SessionPolicyInput {
        grants: &grants(id, tenant)?,
        kms_keys: &kms_keys(tenant),
        partition: role.role_arn.value.partition(),
        // What narrows a session besides its grants is the sessions' own.
        signature_age: None,
        deny: &[],
    };
    Ok(session_policy::role_policy(&input))
}

fn kms_keys(tenant: &config::Tenant) -> Vec<String> {
    let keys = tenant.kms_keys.iter();
    keys.map(|key| key.value.as_str().to_owned()).collect()
}

/// A tenant's grants, as admission knows them.
///
/// # Errors
/// If a command or resource is not one.
pub fn grants(id: &str, tenant: &config::Tenant) -> anyhow::Result<Vec<Grant>> {
    let store = store(tenant);
    let grant = |grant: &Located<config::Grant>| -> anyhow::Result<Grant> {
        let resources = grant.value.resources.iter();
        Ok(Grant::new(
            selectors(&grant.value.commands)?,
            resources
                .map(|text| resource(id, tenant, &text.value))
                .collect::<anyhow::Result<_>>()?,
            terms(&grant.value)?,
            store,
        ))
    };
    tenant.grants.iter().map(grant).collect()
}

/// What a tenant is denied, as admission knows it.
///
/// # Errors
/// If a command or resource is not one.
pub fn denials(id: &str, tenant: &config::Tenant) -> anyhow::Result<Vec<Denial>> {
    let denial = |denial: &Located<config::Denial>| -> anyhow::Result<Denial> {
        let resources = denial.value.resources.iter();
        Ok(Denial::new(
            selectors(&denial.value.commands)?,
            resources
                .map(|text| resource(id, tenant, &text.value))
                .collect::<anyhow::Result<_>>()?,
            store(tenant),
        ))
    };
    tenant.deny.iter().map(denial).collect()
}

fn store(tenant: &config::Tenant) -> Store {
    if tenant.endpoint.url.is_some() {
        Store::Compatible
    } else {
        Store::Aws
    }
}

/// A resource of a grant, in the bucket that its name stands for.
fn resource(id: &str, tenant: &config::Tenant, text: &str) -> anyhow::Result<ResourcePattern> {
    let pattern = ResourcePattern::of_tenant(text, id)?;
    let mut buckets = tenant.buckets.iter().map(|bucket| &bucket.value);
    let named = buckets.find(|bucket| pattern.bucket() == Some(&bucket.name));
    Ok(match named {
        Some(bucket) => pattern.in_bucket(&bucket.bucket),
        None => pattern,
    })
}

fn terms(grant: &config::Grant) -> anyhow::Result<Terms> {
    let ranges = |types: &[Located<String>]| -> anyhow::Result<Vec<MediaRange>> {
        let types = types.iter();
        types
            .map(|text| Ok(MediaRange::parse(&text.value)?))
            .collect()
    };
    let content = ContentRules {
        uploads: grant.content_types.as_deref().map(ranges).transpose()?,
        responses: match &grant.response_headers {
            config::ResponseHeaders::Inert => ResponseRule::Inert,
            config::ResponseHeaders::Types(types) => ResponseRule::Types(ranges(types)?),
            config::ResponseHeaders::Denied => ResponseRule::Nothing,
        },
    };
    let networks = grant.source_ip.iter().flat_map(|networks| &networks.value);
    let networks: Vec<_> = networks
        .map(|network| source_ip::parse(&network.value))
        .collect::<Result<_, _>>()?;
    Ok(Terms {
        max_expiry: grant.max_expiry.as_ref().map(|cap| seconds(cap.value)),
        max_upload: grant.max_upload,
        content,
        headers: grant
            .headers
            .as_ref()
            .map(|headers| Box::new(headers_of(&headers.value))),
        source_ip: SourceIps::of(networks),
        not_after: grant.not_after.as_ref().map(|end| end.value.time),
    })
}

fn headers_of(headers: &config::Headers) -> HeaderRules {
    let rule = |rule: &Option<config::HeaderRule>| {
        rule.as_ref().map(|rule| match rule {
            config::HeaderRule::Require(values) => HeaderRule::Require(values.clone()),
            config::HeaderRule::Allow(values) => HeaderRule::Allow(values.clone()),
            config::HeaderRule::Forbid => HeaderRule::Forbid,
        })
    };
    HeaderRules {
        server_side_encryption: rule(&headers.server_side_encryption),
        kms_keys: headers.kms_keys.clone(),
        acl: rule(&headers.acl),
        storage_class: rule(&headers.storage_class),
    }
}

pub(super) fn selectors(names: &[Located<String>]) -> anyhow::Result<Vec<CommandSelector>> {
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
        let text = format!(
            "tenants:\n  acme:\n    region: eu-west-1\n{tenant}callers: [{{ match: anyone }}]\n"
        );
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
        assert!(said.contains("set session.scope to object"), "{said}");
        assert!(!said.contains("scope to bucket"), "{said}");
    }

    #[test]
    fn sessions_of_one_request_hold_any_grants_that_name_their_keys() {
        let wide = prefixes("files", 50);
        assert!(parse(&tenant("object", &wide)).is_ok());
        // What DeleteObjects reaches is in no request.
        let deletes = wide.replace("GetObject", "GetObject, DeleteObjects");
        let [said] = &mistakes(&tenant("object", &deletes))[..] else {
            panic!("one mistake")
        };
        let words = "for DeleteObjects for the bucket \"files\" has";
        assert!(said.contains(words), "{said}");
    }

    #[test]
    fn an_operators_statements_count_in_every_scope() {
        let deny = |characters: usize| {
            let resource = "r".repeat(characters);
            let statement =
                format!(r#"{{ "Effect": "Deny", "Action": "s3:*", "Resource": "{resource}" }}"#);
            let grants = prefixes("files", 1).replace("GetObject", "GetObject, DeleteObjects");
            let tenant = tenant("SCOPE, deny: 'STATEMENT'", &grants);
            tenant.replace("STATEMENT", &statement)
        };
        for scope in ["tenant", "bucket", "object"] {
            assert!(
                parse(&deny(1500).replace("SCOPE", scope)).is_ok(),
                "{scope}"
            );
            let said = mistakes(&deny(2000).replace("SCOPE", scope));
            assert_eq!(said.len(), 1, "{said:?}");
            let fix = "shorten `session.deny`";
            assert_eq!(said[0].contains(fix), scope == "object", "{said:?}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_told_of_where_they_stand() {
        let grants = "      - { commands: [read], resources: [a/*], source_ip: [10.0.0.1/8, office, 10.0.0.0/8] }\n";
        let said = mistakes(&tenant("tenant", grants));
        let places = [
            "a.yaml:7:59: tenants.acme.grants[0].source_ip[0]: `10.0.0.1/8` has bits beyond its prefix length: write 10.0.0.0/8",
            "a.yaml:7:71: tenants.acme.grants[0].source_ip[1]: `office` is no IP address",
        ];
        assert_eq!(said.len(), places.len(), "{said:#?}");
        for (said, place) in said.iter().zip(places) {
            assert!(said.starts_with(place), "{said}\nnot {place}");
        }
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
            let grants = Arc::new(grants("acme", tenant).unwrap());
            let lengths = session_policies("acme", tenant, role, grants);
            lengths.lengths().get(&None).copied()
        };
        let lengths: Vec<usize> = (1..60).map_while(length_of).collect();
        let (last, step) = (lengths[lengths.len() - 1], lengths[3] - lengths[2]);
        assert!(lengths.len() < 59, "some are too long");
        assert!(last <= MAX_SESSION_POLICY, "{last}");
        assert!(last + 2 * step > MAX_SESSION_POLICY, "{last} is far below");
    }

    #[test]
    fn a_grant_on_a_name_is_one_on_its_bucket() {
        let named = tenant(
            "tenant",
            "      - { commands: [read, list], resources: [\"media/a/*\", \"acme-logs/*\"] }
    buckets: { media: { bucket: acme-media-7f, region: eu-central-1 }, acme-logs: { region: us-east-1 } }
",
        );
        let settings = parse(&named).unwrap();
        let tenant = &settings.tenants["acme"].value;
        let resources: Vec<String> = grants("acme", tenant).unwrap()[0]
            .resources()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(resources, ["acme-media-7f/a/*", "acme-logs/*"]);
        let policy = role_policy("acme", tenant, tenant.credentials.role().unwrap()).unwrap();
        let policy = policy.to_string();
        assert!(
            policy.contains("arn:aws:s3:::acme-media-7f/a/*"),
            "{policy}"
        );
        assert!(!policy.contains(":::media"), "{policy}");
    }

    #[test]
    fn rules_on_content_are_for_grants_of_commands_that_have_any() {
        let grants =
            "      - { commands: [list], resources: [\"a/*\"], content_types: [image/png] }
      - { commands: [write], resources: [\"a/*\"], response_headers: deny }
      - { commands: [write], resources: [\"a/*\"], content_types: [image/png] }
      - { commands: [HeadObject], resources: [\"a/*\"], response_content_types: [image/png] }
";
        let said = mistakes(&tenant("tenant", grants));
        let places = [
            "a.yaml:7:9: tenants.acme.grants[0]: `content_types` is about CopyObject, ",
            "a.yaml:8:9: tenants.acme.grants[1]: `response_content_types` or `response_headers` is about GetObject, ",
        ];
        assert_eq!(said.len(), places.len(), "{said:#?}");
        for (said, place) in said.iter().zip(places) {
            assert!(said.starts_with(place), "{said}\nnot {place}");
        }
    }

    #[test]
    fn rules_on_headers_are_for_grants_of_commands_that_have_any() {
        let grants =
            "      - { commands: [read], resources: [\"a/*\"], headers: { acl: forbid, storage_class: forbid } }
      - { commands: [PutObjectAcl], resources: [\"a/*\"], headers: { acl: forbid, server_side_encryption: forbid } }
";
        let said = mistakes(&tenant("tenant", grants));
        let places = [
            "a.yaml:7:9: tenants.acme.grants[0]: `headers.acl` is about CopyObject, ",
            "a.yaml:7:9: tenants.acme.grants[0]: `headers.storage_class` is about CopyObject, ",
            "a.yaml:8:9: tenants.acme.grants[1]: `headers.server_side_encryption` is about CopyObject, ",
        ];
        assert_eq!(said.len(), places.len(), "{said:#?}");
        for (said, place) in said.iter().zip(places) {
            assert!(said.starts_with(place), "{said}\nnot {place}");
        }
    }

    #[test]
    fn values_that_aws_does_not_know_are_told_of_for_aws_alone() {
        let grants =
            "      - { commands: [PutObject], resources: [\"a/*\"], headers: { acl: { allow: [privat, private] }, storage_class: { require: [STANDRAD] } } }
";
        let on_aws = tenant("tenant", grants);
        let said = mistakes(&on_aws);
        let place = "a.yaml:7:54: tenants.acme.grants[0].headers: ";
        let wanted = [
            "`acl` lists \"privat\", which AWS does not know: did you mean `private`?",
            "`storage_class` lists \"STANDRAD\", which AWS does not know: did you mean `STANDARD`?",
        ];
        assert_eq!(said, wanted.map(|wanted| format!("{place}{wanted}")));
        let elsewhere = format!("    endpoint: {{ url: \"http://127.0.0.1:9\" }}\n{on_aws}");
        let elsewhere = elsewhere.replace(
            "role_arn:",
            "sts_endpoint: \"http://127.0.0.1:9\", role_arn:",
        );
        assert!(parse(&elsewhere).is_ok(), "{:?}", parse(&elsewhere).err());
    }

    #[test]
    fn variables_that_are_none_or_too_wide_are_told_of_where_they_stand() {
        let grants = "      - { commands: [read], resources: [\"a/{user}/*\", \"a-{tenant}/*\", \"a/{caller}*\", \"a/{tenant}/{caller}/*\"] }
    deny: [{ commands: [delete], resources: [\"a/x}\"] }]
";
        let said = mistakes(&tenant("tenant", grants));
        let places = [
            "a.yaml:7:41: tenants.acme.grants[0].resources[0]: `a/{user}/*` has a brace that is not of {tenant} or {caller}",
            "a.yaml:7:55: tenants.acme.grants[0].resources[1]: `a-{tenant}/*` has a variable in its bucket",
            "a.yaml:7:71: tenants.acme.grants[0].resources[2]: `a/{caller}*` has its '*' in the part of the key that {caller} is in",
            "a.yaml:8:46: tenants.acme.deny[0].resources[0]: `a/x}` has a brace",
        ];
        assert_eq!(said.len(), places.len(), "{said:#?}");
        for (said, place) in said.iter().zip(places) {
            assert!(said.starts_with(place), "{said}\nnot {place}");
        }
    }

    #[test]
    fn a_role_has_what_every_caller_may_need_and_a_session_what_its_own_does() {
        let grants = "      - { commands: [GetObject, ListObjectsV2], resources: [\"files/{tenant}/{caller}/*\"] }
    deny: [{ commands: [DeleteObject], resources: [\"files/{tenant}/{caller}/*\"] }]
";
        let settings = parse(&tenant("tenant", grants)).unwrap();
        let tenant = &settings.tenants["acme"].value;
        let role = tenant.credentials.role().unwrap();
        let needed = role_policy("acme", tenant, role).unwrap().to_string();
        assert!(
            needed.contains(r#""arn:aws:s3:::files/acme/*/*""#),
            "{needed}"
        );
        assert!(needed.contains(r#""s3:prefix":"acme/*/*""#), "{needed}");
        let of_role = grants_length(tenant, role);
        assert!(of_role > needed.len(), "{of_role} with a name in it");

        let counting = Counting::new(Arc::new(SystemClock::new()));
        let built = build_one("acme", tenant, &counting).unwrap();
        let resources = |caller: &str| -> Vec<String> {
            let rules = built.rules.of(caller);
            let (grant, denial) = (&rules.grants()[0], &rules.deny()[0]);
            let all = grant.resources().iter().chain(denial.resources());
            all.map(ToString::to_string).collect()
        };
        assert_eq!(resources("ann"), ["files/acme/ann/*"; 2]);
        assert_eq!(
            resources("a/b"),
            ["files/acme/{caller}/*", "files/acme/*"],
            "nothing is granted, and whatever might be meant is denied"
        );
    }

    fn grants_length(tenant: &config::Tenant, role: &config::Role) -> usize {
        let grants = Arc::new(grants("acme", tenant).unwrap());
        session_policies("acme", tenant, role, grants).lengths()[&None]
    }

    #[test]
    fn static_credentials_have_no_session_policy_to_be_too_long() {
        let fixed = "    credentials: { static: { access_key_id: A, secret_access_key: { env: PATH } } }\n    grants:\n";
        assert!(parse(&(fixed.to_owned() + &prefixes("files", 50))).is_ok());
    }

    #[test]
    fn a_tenant_that_says_the_same_stays_the_same() {
        let counting = Counting::new(Arc::new(SystemClock::new()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let text = |age: &str| {
            format!(
                "callers: [{{ match: anyone }}]
tenants:
  acme: {{ region: eu-west-1, expiry: {{ max: {age} }}, credentials: {{ static: {{ access_key_id: A, secret_access_key: {{ file: secret }} }} }} }}
"
            )
        };
        let renewed = |current: &ById, text: &str| {
            let settings = config::parse(text, "a.yaml", folder.path(), &ProcessSurroundings);
            renew(current, &settings.unwrap().tenants, &counting).unwrap()
        };
        std::fs::write(&file, "one").unwrap();
        let first = renewed(&ById::new(), &text("1h"));
        assert_eq!((first.added, first.changed, first.removed), (1, 0, 0));
        let first = first.tenants;

        let moved = renewed(&first, &format!("# A comment.\n\n{}", text("1h")));
        assert!(moved.is_as_before());
        let id = TenantId::parse("acme").unwrap();
        assert!(Arc::ptr_eq(&first[&id], &moved.tenants[&id]));

        assert_eq!(renewed(&first, &text("2h")).changed, 1);
        std::fs::write(&file, "two").unwrap();
        assert_eq!(renewed(&first, &text("1h")).changed, 1);
        let other = text("1h").replace("acme", "globex");
        let other = renewed(&first, &other);
        assert_eq!((other.added, other.changed, other.removed), (1, 0, 1));
    }
}
