//! A tenant's role, and the session policies that its grants come to.
//!
//! Their lengths are looked at when the configuration is read, and the policies are made for whoever asks first, so that later requests
//! only look theirs up and idle tenants take no room. One is made each time for a copy between two buckets under the scope of buckets, for every request under the scope of objects, and for whoever names the addresses of a URL.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::identity::Identity;
use super::session_name::role_session_name;
use super::session_policy::{
    MAX_SESSION_POLICY, SessionPolicyInput, denials, least_policy, own_policy, policy,
    request_policy, session_policy,
};
use super::{AssumeRoleCall, NarrowedTo, StsEndpoint};
use crate::admit::alike::Alike;
use crate::admit::by_caller::{ByCaller, RulesOfCaller, name_callers};
use crate::admit::deny::Denial;
use crate::admit::grant::Grant;
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip::SourceIps;
use crate::names::TenantId;
use crate::proto::s3::DeleteObjects;
use crate::sign::bind::{Bind, BindAny as _};
use crate::sign::command::BoundCommand;

/// A tenant's role, and what its sessions are narrowed to.
#[derive(Debug)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// As whom presignd comes to it; names stand for themselves.
    pub identity: Identity,
    /// How long a session lasts, in seconds.
    pub duration: u32,
    /// Where the session comes from.
    pub sts: Arc<StsEndpoint>,
    /// What a session is good for.
    pub bounds: SessionBounds,
    /// The longest expiry that the tenant's caps allow: sessions in use are renewed before they are too short for it.
    pub longest_expiry: Duration,
}

/// What narrows the sessions of a role. AWS would take both at once; here it is one or the other.
#[derive(Debug)]
pub enum SessionBounds {
    /// Policies that are made from the grants.
    Grants(SessionPolicies),
    /// Managed policies, by their ARNs; presignd does not know what they allow.
    Managed(Arc<[String]>),
}

/// How much of a tenant's grants one session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionScope {
    /// All of them.
    Tenant,
    /// Those on the buckets of the request.
    Bucket,
    /// What the request needs.
    Object,
}

/// The session policies of a tenant.
#[derive(Debug)]
pub struct SessionPolicies {
    grants: Arc<Vec<Grant>>,
    besides: Arc<Besides>,
    scope: SessionScope,
    /// Where rules name their callers: the policies of each.
    of_callers: Option<ByCaller<SessionPolicies>>,
    /// The policies that were asked for, each made once: those of buckets under their scope.
    of_buckets: OnceLock<Box<OfBuckets>>,
    /// The one for all, or under the scope of buckets that of requests which name none.
    of_none: OnceLock<Arc<SessionPolicy>>,
}

/// A policy for each bucket, made when it is first asked for.
type OfBuckets = HashMap<Box<str>, OnceLock<Arc<SessionPolicy>>>;

/// What they say besides grants, kept once for all tenants of which it is the same.
#[derive(Debug, PartialEq)]
struct Besides {
    terms: PolicyTerms,
    /// The statements that deny: the operator's own, and those of the tenant's denials.
    deny: Vec<Value>,
}

/// What the policies of a tenant say besides its grants.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyTerms {
    /// Keys that encrypt the tenant's objects, as ARNs.
    pub kms_keys: Vec<String>,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// How old a signature may be where it is used, in seconds.
    pub signature_age: Option<u32>,
    /// Statements of the operator's own, which deny.
    pub deny: Vec<Value>,
    /// What the tenant is denied.
    pub denials: Arc<Vec<Denial>>,
}

/// Who stands for any caller where the length of a policy is measured: 32 letters.
const MEASURED: &str = "caller-with-a-name-of-32-letters";

/// A request's policy is longer than STS takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session policy for this request has {length} characters, and STS takes {MAX_SESSION_POLICY}: its names are too long for a \
     session of their own, or hold too many characters that a policy has to escape (beyond ASCII, `*`, `?`, `$`, quotes)"
)]
pub struct PolicyTooLong {
    /// Its length, in characters.
    pub length: usize,
}

/// A session policy, and a digest that stands for it.
#[derive(Debug)]
pub struct SessionPolicy {
    /// The policy's JSON.
    pub text: String,
    /// Whether it is good for one request alone, and for others that are the same.
    pub of_one_request: bool,
    digest: [u8; 32],
}

impl Role {
    /// What a session of this caller for these commands on one bucket is narrowed to, from these addresses if the request names any.
    pub(super) fn narrowed_for(
        &self,
        caller: &str,
        commands: &[&BoundCommand<'_>],
        source_ip: Option<&SourceIps>,
    ) -> Result<NarrowedTo, PolicyTooLong> {
        Ok(match &self.bounds {
            SessionBounds::Grants(policies) => {
                let policy = match policies.of_caller(caller) {
                    Some(own) => own.policy_for(commands, source_ip)?,
                    None => policies.policy_for(commands, source_ip)?,
                };
                NarrowedTo::Policy(policy)
            }
            SessionBounds::Managed(arns) => NarrowedTo::Managed(Arc::clone(arns)),
        })
    }

    /// What a session is narrowed to that presignd itself uses for these commands, allowed for these addresses if the request names any.
    pub(super) fn narrowed_for_own_use(
        &self,
        caller: &str,
        commands: &[&BoundCommand<'_>],
        source_ip: Option<&SourceIps>,
    ) -> Result<NarrowedTo, PolicyTooLong> {
        Ok(match &self.bounds {
            SessionBounds::Grants(policies) => {
                let own = policies.of_caller(caller);
                let input = own.as_deref().unwrap_or(policies).input();
                let policy = own_policy(&input, commands, source_ip);
                NarrowedTo::Policy(fitting(SessionPolicy::new(&policy, true))?)
            }
            SessionBounds::Managed(arns) => NarrowedTo::Managed(Arc::clone(arns)),
        })
    }

    /// What sessions are narrowed to, as far as that is known before any request, by the bucket that they are for. At least one.
    #[must_use]
    pub fn known_narrowings(&self) -> BTreeMap<Option<String>, NarrowedTo> {
        let policies = match &self.bounds {
            SessionBounds::Managed(arns) => {
                return BTreeMap::from([(None, NarrowedTo::Managed(Arc::clone(arns)))]);
            }
            SessionBounds::Grants(policies) => policies,
        };
        let measured = policies.measured();
        let policies = measured.as_deref().unwrap_or(policies);
        let known = policies.known().into_iter();
        let mut known: BTreeMap<_, _> = known
            .map(|(bucket, policy)| (bucket.map(str::to_owned), NarrowedTo::Policy(policy)))
            .collect();
        // Where a request has its own, the role is assumed with the least of them like with any.
        if policies.scope == SessionScope::Object {
            let least = SessionPolicy::new(&least_policy(&policies.input()), true);
            known.insert(None, NarrowedTo::Policy(least));
        } else if known.is_empty() {
            let policy = policies.of_grants(Some(&[]));
            known.insert(None, NarrowedTo::Policy(policy));
        }
        known
    }

    /// The call that brings a session for a caller of the tenant.
    #[must_use]
    pub fn call(&self, tenant: &TenantId, caller: &str, narrowed_to: NarrowedTo) -> AssumeRoleCall {
        AssumeRoleCall {
            endpoint: StsEndpoint::clone(&self.sts),
            role_arn: self.arn.clone(),
            identity: self.identity.naming(tenant, caller),
            session_name: role_session_name(tenant, caller),
            duration: self.duration,
            narrowed_to,
        }
    }

    /// A digest of every parameter of the call but the caller's name.
    pub(super) fn digest(&self, tenant: &TenantId, narrowed_to: &NarrowedTo) -> [u8; 32] {
        let mut digest = Sha256::new();
        let parts = [
            tenant.as_str(),
            &self.arn,
            &self.sts.region,
            self.sts.url.as_deref().unwrap_or_default(),
        ];
        for part in parts {
            add(&mut digest, part);
        }
        self.identity.add_to(&mut digest);
        digest.update(self.duration.to_le_bytes());
        match narrowed_to {
            NarrowedTo::Policy(policy) => {
                add(&mut digest, "policy");
                digest.update(policy.digest);
            }
            NarrowedTo::Managed(arns) => {
                add(&mut digest, "managed");
                arns.iter().for_each(|arn| add(&mut digest, arn));
            }
        }
        digest.finalize().into()
    }
}

/// Adds a text, and where it ends.
pub(super) fn add(digest: &mut Sha256, text: &str) {
    digest.update(text.len().to_le_bytes());
    digest.update(text.as_bytes());
}

impl Besides {
    fn of(terms: PolicyTerms) -> Arc<Self> {
        static ALIKE: Alike<Besides> = Alike::new();
        let own = terms.deny.iter().cloned();
        let deny = own
            .chain(denials(&terms.denials, &terms.partition))
            .collect();
        // Keys and what is denied are a tenant's own.
        let alike = terms.kms_keys.is_empty() && terms.denials.is_empty();
        let besides = Self { terms, deny };
        if alike {
            ALIKE.shared(besides)
        } else {
            Arc::new(besides)
        }
    }
}

impl SessionPolicies {
    /// The session policies for these grants.
    #[must_use]
    pub fn new(grants: Arc<Vec<Grant>>, terms: PolicyTerms, scope: SessionScope) -> Self {
        Self {
            of_callers: name_callers(&grants, &terms.denials).then(ByCaller::default),
            grants,
            besides: Besides::of(terms),
            scope,
            of_buckets: OnceLock::new(),
            of_none: OnceLock::new(),
        }
    }

    /// The buckets of the policies that are known before any request: each, or none if there is one for all. Under the scope of objects
    /// those of `DeleteObjects`, whose keys a request does not name.
    fn buckets(&self) -> BTreeSet<Option<&str>> {
        let grants = self.grants.iter();
        match self.scope {
            SessionScope::Tenant => BTreeSet::from([None]),
            SessionScope::Bucket => {
                let resources = grants.flat_map(Grant::resources);
                resources.map(ResourcePattern::bucket).collect()
            }
            SessionScope::Object => {
                let delete = <DeleteObjects as Bind>::OPERATION;
                let granted = grants.filter(|grant| grant.is_of(delete));
                let buckets = granted.flat_map(Grant::resources);
                let buckets = buckets.filter_map(ResourcePattern::bucket);
                buckets.map(Some).collect()
            }
        }
    }

    /// The policies that are known before any request.
    fn known(&self) -> BTreeMap<Option<&str>, Arc<SessionPolicy>> {
        let buckets = self.buckets().into_iter();
        let known = buckets.filter_map(|bucket| {
            let policy = match (self.scope, bucket) {
                (SessionScope::Object, Some(bucket)) => {
                    let command = DeleteObjects {
                        bucket: Some(bucket.to_owned()),
                        ..DeleteObjects::default()
                    };
                    self.of_request(&[&command.to_bound().ok()?], None)
                }
                _ => self.of_scope(bucket),
            };
            Some((bucket, policy))
        });
        known.collect()
    }

    /// The policy of all grants, or of those on one bucket.
    fn of_scope(&self, bucket: Option<&str>) -> Arc<SessionPolicy> {
        match self.scope {
            SessionScope::Tenant => self.of_grants(None),
            SessionScope::Bucket | SessionScope::Object => self.of_grants(Some(bucket.as_slice())),
        }
    }

    /// Where such a policy is kept; one on a bucket that no grant names is not.
    fn kept(&self, bucket: Option<&str>) -> Option<&OnceLock<Arc<SessionPolicy>>> {
        let Some(bucket) = bucket else {
            return Some(&self.of_none);
        };
        let of_buckets = self.of_buckets.get_or_init(|| {
            let buckets = self.buckets().into_iter().flatten();
            let kept = buckets.map(|bucket| (bucket.into(), OnceLock::new()));
            Box::new(kept.collect())
        });
        of_buckets.get(bucket)
    }

    /// Those of this caller. `None`: they are the same for all.
    fn of_caller(&self, caller: &str) -> Option<Arc<Self>> {
        let of_callers = self.of_callers.as_ref()?;
        Some(of_callers.of(caller, || self.made_for(caller)))
    }

    /// Those of a caller with a name of some length, if they are not the same for all.
    fn measured(&self) -> Option<Arc<Self>> {
        self.of_callers.as_ref()?;
        Some(Arc::new(self.made_for(MEASURED)))
    }

    fn made_for(&self, caller: &str) -> Self {
        let terms = &self.besides.terms;
        let RulesOfCaller { grants, deny } =
            RulesOfCaller::of(&self.grants, &terms.denials, caller);
        let terms = PolicyTerms {
            denials: Arc::new(deny),
            ..terms.clone()
        };
        let mut own = Self::new(Arc::new(grants), terms, self.scope);
        // Where the name stands for nothing, it will not do so in another one either.
        own.of_callers = None;
        own
    }

    /// The lengths of the policies that are known before any request, in characters, by the bucket that they are for; with a name of 32
    /// characters where they name their callers.
    #[must_use]
    pub fn lengths(&self) -> BTreeMap<Option<String>, usize> {
        let measured = self.measured();
        let known = measured.as_deref().unwrap_or(self).known().into_iter();
        known
            .map(|(bucket, policy)| (bucket.map(str::to_owned), policy.text.len()))
            .collect()
    }

    /// Whether each caller has policies of their own.
    #[must_use]
    pub fn name_callers(&self) -> bool {
        self.of_callers.is_some()
    }

    /// Those that are too long for STS.
    pub fn too_long(&self) -> impl Iterator<Item = (Option<String>, usize)> {
        self.lengths()
            .into_iter()
            .filter(|(_, length)| *length > MAX_SESSION_POLICY)
    }

    /// How long the policy of a request is at least, in characters, where every request has its own.
    #[must_use]
    pub fn least_length(&self) -> Option<usize> {
        let own = self.scope == SessionScope::Object;
        let measured = self.measured();
        let policies = measured.as_deref().unwrap_or(self);
        own.then(|| session_policy(&least_policy(&policies.input())).len())
    }

    pub(super) fn policy_for(
        &self,
        commands: &[&BoundCommand<'_>],
        source_ip: Option<&SourceIps>,
    ) -> Result<Arc<SessionPolicy>, PolicyTooLong> {
        if source_ip.is_some() || self.scope == SessionScope::Object {
            return fitting(self.of_request(commands, source_ip));
        }
        let bucket = commands.first().and_then(|command| command.bucket);
        let source = commands
            .iter()
            .find_map(|command| command.reference.as_ref());
        let source = source.map(|reference| reference.bucket);
        let own = match self.scope {
            SessionScope::Bucket => bucket,
            SessionScope::Tenant | SessionScope::Object => None,
        };
        if let (Some(own), Some(source)) = (own, source)
            && source != own
        {
            // A copy between buckets needs both in one session.
            return fitting(self.of_grants(Some(&[own, source])));
        }
        fitting(match self.kept(own) {
            Some(kept) => Arc::clone(kept.get_or_init(|| self.of_scope(own))),
            None => self.of_scope(own),
        })
    }

    fn of_grants(&self, buckets: Option<&[&str]>) -> Arc<SessionPolicy> {
        SessionPolicy::new(&policy(&self.input(), buckets), false)
    }

    fn of_request(
        &self,
        commands: &[&BoundCommand<'_>],
        source_ip: Option<&SourceIps>,
    ) -> Arc<SessionPolicy> {
        SessionPolicy::new(&request_policy(&self.input(), commands, source_ip), true)
    }

    fn input(&self) -> SessionPolicyInput<'_> {
        let Besides { terms, deny } = &*self.besides;
        SessionPolicyInput {
            grants: &self.grants,
            kms_keys: &terms.kms_keys,
            partition: &terms.partition,
            signature_age: terms.signature_age,
            deny,
        }
    }
}

impl SessionPolicy {
    fn new(policy: &Value, of_one_request: bool) -> Arc<Self> {
        let text = session_policy(policy);
        let digest = Sha256::digest(text.as_bytes()).into();
        Arc::new(Self {
            text,
            of_one_request,
            digest,
        })
    }
}

/// A policy that was made for a request, if STS takes it: asking STS would only take longer to say no.
fn fitting(policy: Arc<SessionPolicy>) -> Result<Arc<SessionPolicy>, PolicyTooLong> {
    let length = policy.text.len();
    if length > MAX_SESSION_POLICY {
        Err(PolicyTooLong { length })
    } else {
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::grant::{CommandSelector, Store, Terms};
    use crate::proto::s3;
    use crate::scope::identity::OwnIdentity;

    fn role(scope: SessionScope, commands: &[&str]) -> Role {
        let selectors = commands.iter().map(|c| CommandSelector::parse(c).unwrap());
        let resources = ["b/*", "c/in/*"].map(|r| ResourcePattern::parse(r).unwrap());
        let grant = Grant::new(
            selectors.collect(),
            resources.into(),
            Terms::default(),
            Store::Aws,
        );
        let terms = PolicyTerms {
            kms_keys: Vec::new(),
            partition: "aws".to_owned(),
            signature_age: None,
            deny: Vec::new(),
            denials: Arc::default(),
        };
        Role {
            arn: "arn:aws:iam::111122223333:role/x".to_owned(),
            identity: Identity::Own(OwnIdentity::default()),
            duration: 3600,
            longest_expiry: Duration::from_mins(15),
            sts: StsEndpoint {
                region: "eu-west-1".to_owned(),
                url: None,
            }
            .into(),
            bounds: SessionBounds::Grants(SessionPolicies::new(
                Arc::new(vec![grant]),
                terms,
                scope,
            )),
        }
    }

    #[test]
    fn what_is_good_for_one_request_is_not_renewed_ahead_and_is_kept_apart() {
        let get = s3::GetObject {
            bucket: Some("b".to_owned()),
            key: Some("k".to_owned()),
            ..s3::GetObject::default()
        };
        let command = get.to_bound().unwrap();
        let addresses = SourceIps::of(["10.0.0.0/8".parse().unwrap()]);
        for (scope, ahead) in [
            (SessionScope::Tenant, true),
            (SessionScope::Bucket, true),
            (SessionScope::Object, false),
        ] {
            let role = role(scope, &["read"]);
            let own = |source_ip| {
                let narrowed = role.narrowed_for("ann", &[&command], source_ip).unwrap();
                narrowed.of_one_request()
            };
            assert_eq!(own(None), !ahead, "{scope:?}");
            assert!(own(addresses.as_ref()), "{scope:?}");
        }
    }

    #[test]
    fn what_is_known_before_any_request_is_what_no_request_names() {
        let known = |scope, commands: &[&str]| -> Vec<Option<String>> {
            let role = role(scope, commands);
            let known = role.known_narrowings();
            known.into_keys().collect()
        };
        let bucket = |name: &str| Some(name.to_owned());
        assert_eq!(known(SessionScope::Tenant, &["read"]), [None]);
        assert_eq!(
            known(SessionScope::Bucket, &["read"]),
            [bucket("b"), bucket("c")]
        );
        assert_eq!(known(SessionScope::Object, &["read"]), [None]);
        assert_eq!(
            known(SessionScope::Object, &["delete"]),
            [None, bucket("b"), bucket("c")]
        );
    }
}
