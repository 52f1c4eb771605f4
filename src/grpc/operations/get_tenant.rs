//! `GetTenant`: what holds for a tenant.
//!
//! Invariant: it is made from what the rooms show of themselves, where no secret is to be had.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{SHOWN, count, duration, get_usage, read_tenant, rounded, shown};
use crate::admit::TenantRules;
use crate::admit::explain::{denial_text, text};
use crate::authenticate::Caller;
use crate::endpoint::TenantEndpoint;
use crate::grpc::{Inner, Unary};
use crate::names::TenantId;
use crate::presign::Arrival;
use crate::proto::v1::tenant_policy::Credentials;
use crate::proto::v1::{
    BucketPlace, CachedSession, GetTenantRequest, GetTenantResponse, PolicyEntry, TenantPolicy,
    TenantRole,
};
use crate::refusal::Refusal;
use crate::scope::Role;
use crate::scope::at_hand::{AtHand, Origin, SessionAtHand};
use crate::tenant::Tenant;

/// The RPC.
pub(in crate::grpc) struct GetTenant;

impl Unary for GetTenant {
    const METHOD: &'static str = "presignd.v1.OperationsService/GetTenant";
    type Message = GetTenantRequest;
    type Asked = TenantId;
    type Reply = GetTenantResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: GetTenantRequest) -> Result<TenantId, Refusal> {
        read_tenant(&message.tenant)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        tenant: TenantId,
    ) -> Result<GetTenantResponse, Refusal> {
        let work = async {
            let tenant = inner.operated(&arrival.caller, &tenant)?;
            let policy = policy(inner, &arrival.caller, &tenant).await;
            let tenant = Some(policy);
            Ok(GetTenantResponse { tenant }.into())
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, Some(&tenant), "", result)
            .await
    }
}

async fn policy(inner: &Inner, caller: &Caller, tenant: &Tenant) -> TenantPolicy {
    let (presigner, rules) = (&inner.presigner, &tenant.rules);
    let credentials = match tenant.session.origin() {
        Origin::Role(known) => {
            let sessions = presigner.scoper.at_hand_of(&tenant.id, SHOWN).await;
            Credentials::Role(role(known, sessions))
        }
        Origin::Static(id) => Credentials::StaticAccessKeyId(id.to_owned()),
    };
    let limits = presigner.usage(caller, tenant).await;
    let seconds = |seconds: u32| duration(Duration::from_secs(seconds.into()));
    TenantPolicy {
        tenant: tenant.id.to_string(),
        suspended: presigner
            .orders
            .standing()
            .about(Some(&tenant.id))
            .map(shown),
        grants: grants(rules, presigner.clock.now()),
        deny: entries(rules.deny.iter().map(|denial| (denial_text(denial), false))),
        default_expiry: Some(seconds(rules.expiry.default)),
        max_expiry: Some(seconds(rules.expiry.max)),
        limits: limits.into_iter().map(get_usage::usage).collect(),
        credentials: Some(credentials),
        home: Some(place("", tenant.buckets.home())),
        buckets: tenant
            .buckets
            .special()
            .map(|(name, bucket, at)| (name.to_owned(), place(bucket, at)))
            .collect(),
    }
}

fn grants(rules: &TenantRules, now: SystemTime) -> Vec<PolicyEntry> {
    let grants = rules.grants.iter();
    entries(grants.map(|grant| (text(grant), !grant.holds_at(now))))
}

fn entries(entries: impl Iterator<Item = (String, bool)>) -> Vec<PolicyEntry> {
    let entries = (0..).zip(entries);
    entries
        .map(|(index, (text, ended))| PolicyEntry { index, text, ended })
        .collect()
}

fn role(role: &Role, sessions: AtHand<SessionAtHand>) -> TenantRole {
    TenantRole {
        role_arn: role.arn.clone(),
        sts: role.sts.to_string(),
        session_duration: Some(duration(Duration::from_secs(role.duration.into()))),
        session_count: count(sessions.count),
        sessions: sessions.some.into_iter().map(session).collect(),
    }
}

fn session(session: SessionAtHand) -> CachedSession {
    CachedSession {
        role_session_name: session.name.to_string(),
        access_key_id: session.access_key_id,
        age: Some(rounded(session.age)),
        expires_at: session.ends.map(Into::into),
    }
}

fn place(bucket: &str, place: &TenantEndpoint) -> BucketPlace {
    BucketPlace {
        bucket: bucket.to_owned(),
        region: place.region.clone(),
        url: place.url.clone().unwrap_or_default(),
    }
}
