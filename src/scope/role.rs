//! A tenant's role, and the session policies that its grants come to.
//!
//! The policies are made when the configuration is read, so that a request only looks its own up. Only a copy between two buckets, under
//! the scope of buckets, has one made for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::identity::Identity;
use super::session_name::role_session_name;
use super::session_policy::{MAX_SESSION_POLICY, SessionPolicyInput, session_policy};
use super::{AssumeRoleCall, NarrowedTo, StsEndpoint};
use crate::admit::grant::Grant;
use crate::names::TenantId;
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
    pub sts: StsEndpoint,
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
}

/// The session policies of a tenant.
#[derive(Debug)]
pub struct SessionPolicies {
    grants: Arc<Vec<Grant>>,
    kms_keys: Vec<String>,
    partition: String,
    scope: SessionScope,
    /// The policy for each bucket, or the one for all; made once.
    known: HashMap<Option<String>, Arc<SessionPolicy>>,
}

/// A session policy, and a digest that stands for it.
#[derive(Debug)]
pub struct SessionPolicy {
    /// The policy's JSON.
    pub text: String,
    digest: [u8; 32],
}

impl Role {
    /// What a session for this command is narrowed to.
    pub(super) fn narrowed_for(&self, command: &BoundCommand<'_>) -> NarrowedTo {
        match &self.bounds {
            SessionBounds::Grants(policies) => NarrowedTo::Policy(policies.policy_for(command)),
            SessionBounds::Managed(arns) => NarrowedTo::Managed(Arc::clone(arns)),
        }
    }

    /// Whether sessions in use are renewed before they are too short, or used up.
    #[expect(clippy::unused_self, reason = "it depends on what a session holds")]
    pub(super) fn refreshed_ahead(&self) -> bool {
        true
    }

    /// What sessions are narrowed to, as far as that is known before any request, by the bucket that they are for. At least one.
    #[must_use]
    pub fn known_narrowings(&self) -> BTreeMap<Option<&str>, NarrowedTo> {
        let policies = match &self.bounds {
            SessionBounds::Managed(arns) => {
                return BTreeMap::from([(None, NarrowedTo::Managed(Arc::clone(arns)))]);
            }
            SessionBounds::Grants(policies) => policies,
        };
        let known = policies.known.iter();
        let mut known: BTreeMap<_, _> = known
            .map(|(bucket, policy)| (bucket.as_deref(), NarrowedTo::Policy(Arc::clone(policy))))
            .collect();
        if known.is_empty() {
            // Every request has its own. This one is for none, and the role is assumed with it like with any.
            let policy = policies.make(Some(&[]));
            known.insert(None, NarrowedTo::Policy(policy));
        }
        known
    }

    /// The call that brings a session for a caller of the tenant.
    #[must_use]
    pub fn call(&self, tenant: &TenantId, caller: &str, narrowed_to: NarrowedTo) -> AssumeRoleCall {
        AssumeRoleCall {
            endpoint: self.sts.clone(),
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

impl SessionPolicies {
    /// The session policies for these grants.
    #[must_use]
    pub fn new(
        grants: Arc<Vec<Grant>>,
        kms_keys: Vec<String>,
        partition: String,
        scope: SessionScope,
    ) -> Self {
        let mut policies = Self {
            grants,
            kms_keys,
            partition,
            scope,
            known: HashMap::new(),
        };
        policies.known = match scope {
            SessionScope::Tenant => HashMap::from([(None, policies.make(None))]),
            SessionScope::Bucket => {
                let resources = policies.grants.iter().flat_map(Grant::resources);
                let buckets = resources.map(|r| r.bucket().map(str::to_owned));
                buckets
                    .map(|bucket| {
                        let policy = policies.make(Some(bucket.as_deref().as_slice()));
                        (bucket, policy)
                    })
                    .collect()
            }
        };
        policies
    }

    /// The lengths of the policies in characters, by the bucket that they are for.
    pub fn lengths(&self) -> BTreeMap<Option<&str>, usize> {
        self.known
            .iter()
            .map(|(bucket, policy)| (bucket.as_deref(), policy.text.len()))
            .collect()
    }

    /// Those that are too long for STS.
    pub fn too_long(&self) -> impl Iterator<Item = (Option<&str>, usize)> {
        self.lengths()
            .into_iter()
            .filter(|(_, length)| *length > MAX_SESSION_POLICY)
    }

    pub(super) fn policy_for(&self, command: &BoundCommand<'_>) -> Arc<SessionPolicy> {
        let bucket = command.bucket;
        let source = command.reference.as_ref().map(|reference| reference.bucket);
        let key = match self.scope {
            SessionScope::Tenant => None,
            SessionScope::Bucket => bucket.map(str::to_owned),
        };
        match (self.known.get(&key), bucket, source, self.scope) {
            // A copy between buckets needs both in one session.
            (_, Some(bucket), Some(source), SessionScope::Bucket) if source != bucket => {
                self.make(Some(&[bucket, source]))
            }
            (Some(policy), ..) => Arc::clone(policy),
            (None, bucket, ..) => self.make(Some(bucket.as_slice())),
        }
    }

    fn make(&self, buckets: Option<&[&str]>) -> Arc<SessionPolicy> {
        let text = session_policy(&SessionPolicyInput {
            grants: &self.grants,
            buckets,
            kms_keys: &self.kms_keys,
            partition: &self.partition,
        });
        let digest = Sha256::digest(text.as_bytes()).into();
        Arc::new(SessionPolicy { text, digest })
    }
}
