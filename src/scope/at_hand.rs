//! The sessions that are at hand, and where a tenant's credentials come from: for operators to look at.
//!
//! Invariant: nothing leaves that could sign.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Role, Scoper, Session, Source, TenantSession};
use crate::names::TenantId;

/// A session at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionAtHand {
    /// Its name, for AWS's own logs.
    pub name: Arc<str>,
    /// What names it in S3's own logs.
    pub access_key_id: String,
    /// For how long it has been at hand.
    pub age: Duration,
    /// When it ends.
    pub ends: Option<SystemTime>,
}

/// All sessions of a tenant at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantAtHand {
    /// Whose.
    pub tenant: TenantId,
    /// How many.
    pub count: usize,
    /// For how long the oldest has been at hand.
    pub oldest: Duration,
    /// When the first of them ends.
    pub first_ends: Option<SystemTime>,
}

/// Some of what is at hand, and how much there is in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtHand<T> {
    /// As many as were wanted.
    pub some: Vec<T>,
    /// How many sessions there are.
    pub count: usize,
}

/// Where a tenant's credentials come from.
#[derive(Debug)]
pub enum Origin<'a> {
    /// A role.
    Role(&'a Role),
    /// The tenant itself, with the credentials of this access key id.
    Static(&'a str),
}

impl TenantSession {
    /// Where the credentials come from.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        match &self.source {
            Source::Role(role, _) => Origin::Role(role),
            Source::Static(session) => Origin::Static(session.credentials.access_key_id()),
        }
    }
}

impl Scoper {
    /// The sessions of a tenant at hand, as many of them as are wanted: those that end first.
    pub async fn at_hand_of(&self, tenant: &TenantId, most: usize) -> AtHand<SessionAtHand> {
        let (sessions, now, tenant) = (self.cache.sessions(), self.clock.now(), tenant.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let mut some = Vec::new();
            sessions.each(now, |of, session| {
                if *of == tenant {
                    some.push(SessionAtHand {
                        name: Arc::clone(&session.name),
                        access_key_id: session.credentials.access_key_id().to_owned(),
                        age: age(session, now),
                        ends: session.credentials.expires_at(),
                    });
                }
            });
            let count = some.len();
            some.sort_by(|a, b| (a.ends, &a.access_key_id).cmp(&(b.ends, &b.access_key_id)));
            some.truncate(most);
            AtHand { some, count }
        });
        looking.await.unwrap_or_else(|_| nothing())
    }

    /// The tenants of which sessions are at hand, as many of them as are wanted: those with the most.
    pub async fn at_hand(&self, most: usize) -> AtHand<TenantAtHand> {
        let (sessions, now) = (self.cache.sessions(), self.clock.now());
        let looking = tokio::task::spawn_blocking(move || {
            let mut tenants: HashMap<TenantId, TenantAtHand> = HashMap::new();
            let mut count = 0;
            sessions.each(now, |of, session| {
                count += 1;
                let (age, ends) = (age(session, now), session.credentials.expires_at());
                let tenant = tenants.entry(of.clone());
                let tenant = tenant.or_insert_with(|| TenantAtHand {
                    tenant: of.clone(),
                    count: 0,
                    oldest: age,
                    first_ends: ends,
                });
                tenant.count += 1;
                tenant.oldest = tenant.oldest.max(age);
                tenant.first_ends = tenant.first_ends.into_iter().chain(ends).min();
            });
            let mut some: Vec<_> = tenants.into_values().collect();
            some.sort_by(|a, b| (Reverse(a.count), &a.tenant).cmp(&(Reverse(b.count), &b.tenant)));
            some.truncate(most);
            AtHand { some, count }
        });
        looking.await.unwrap_or_else(|_| nothing())
    }
}

fn nothing<T>() -> AtHand<T> {
    AtHand {
        some: Vec::new(),
        count: 0,
    }
}

fn age(session: &Session, now: SystemTime) -> Duration {
    session
        .life
        .saturating_sub(session.left(now).unwrap_or_default())
}
