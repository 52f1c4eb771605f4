//! Orders in a hash that replicas share: a field for each.
//!
//! Replicas look every second, so that an order reaches all of them within about that. Invariant: a hash that does not read as orders
//! changes nothing, and one that has forgotten them is told from one whose orders were ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Asking, Change, Order, OrderStore, Orders, OrdersAway};
use crate::names::TenantId;
use crate::redis::{Connection, NoAnswer};

/// The hash's name, below the prefix.
const NAME: &str = "orders";
/// How often replicas look, if nobody tells them of a change.
const EVERY: Duration = Duration::from_secs(1);
/// The field that says how the others are written. It stays when all orders are ended.
const VERSION: (&str, &str) = ("version", "1");
/// The field with the order about the service.
const SERVICE: &str = "service";
/// What the fields with orders about tenants begin with.
const TENANT: &str = "tenant:";

/// Keeps orders in Redis or Valkey.
#[derive(Debug)]
pub struct RedisStore {
    redis: Arc<Connection>,
    key: String,
    notices: watch::Receiver<u64>,
}

impl RedisStore {
    /// In this store, below its prefix.
    #[must_use]
    pub fn new(redis: Arc<Connection>) -> Self {
        Self {
            key: format!("{}:{{{NAME}}}", redis.prefix()),
            notices: redis.notices(),
            redis,
        }
    }
}

impl OrderStore for RedisStore {
    fn name(&self) -> &str {
        &self.key
    }

    fn read(&self) -> Asking<'_, Result<Option<Orders>, OrdersAway>> {
        Box::pin(async {
            let fields = self.redis.hash(NAME).await?;
            read(&fields.into_iter().collect()).map_err(OrdersAway)
        })
    }

    fn keep<'a>(
        &'a self,
        change: &'a Change,
        _after: &'a Orders,
    ) -> Asking<'a, Result<(), OrdersAway>> {
        Box::pin(async move {
            let field = field(change.tenant());
            let (name, version) = VERSION;
            self.redis.set_field(NAME, name, Some(version)).await?;
            match change {
                Change::Freeze(order) | Change::Suspend(_, order) => {
                    let text = serde_json::to_string(order);
                    let text = text.map_err(|error| OrdersAway(error.to_string()))?;
                    self.redis.set_field(NAME, &field, Some(&text)).await?;
                }
                Change::Unfreeze | Change::Resume(_) => {
                    self.redis.set_field(NAME, &field, None).await?;
                }
            }
            // It is kept: whoever does not hear of it sees it when they look next.
            let _ = self.redis.tell().await;
            Ok(())
        })
    }

    fn news(&self) -> Asking<'_, ()> {
        let mut notices = self.notices.clone();
        notices.mark_unchanged();
        Box::pin(async move {
            // It is over at once if nobody tells any more; then looking now and then is all there is.
            let told = async {
                if notices.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let _ = tokio::time::timeout(EVERY, told).await;
        })
    }
}

impl From<NoAnswer> for OrdersAway {
    fn from(why: NoAnswer) -> Self {
        Self(why.to_string())
    }
}

fn field(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(
        || SERVICE.to_owned(),
        |tenant| format!("{TENANT}{}", tenant.as_str()),
    )
}

fn read(fields: &BTreeMap<String, String>) -> Result<Option<Orders>, String> {
    let (name, known) = VERSION;
    match fields.get(name) {
        None if fields.is_empty() => return Ok(None),
        Some(version) if version == known => {}
        version => {
            let version = version.map_or("no", String::as_str);
            return Err(format!(
                "the hash is of {version} version, where this presignd knows {known}"
            ));
        }
    }
    let mut orders = Orders::default();
    for (field, text) in fields.iter().filter(|(field, _)| *field != name) {
        let broken = |why: &dyn std::fmt::Display| {
            format!("the field {field:?} is no order ({why}): mend it, or remove it")
        };
        let order: Order = serde_json::from_str(text).map_err(|error| broken(&error))?;
        if field == SERVICE {
            orders.frozen = Some(order);
            continue;
        }
        let tenant = field.strip_prefix(TENANT).unwrap_or_default();
        let tenant = TenantId::parse(tenant).map_err(|error| broken(&error))?;
        orders.suspended.insert(tenant, order);
    }
    Ok(Some(orders))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_hash_reads_as_the_orders_that_were_kept_or_as_nothing() {
        let order = Order::new("a \"leak\"", "key.boss", SystemTime::UNIX_EPOCH);
        let text = serde_json::to_string(&order).unwrap();
        let acme = TenantId::parse("acme").unwrap();
        let version = || ("version".to_owned(), "1".to_owned());
        let all = [None, Some(&acme)].map(|tenant| (field(tenant), text.clone()));
        let all = all.into_iter().chain([version()]).collect();
        let orders = read(&all).unwrap().unwrap();
        assert_eq!(orders.frozen.as_ref(), Some(&order));
        assert_eq!(orders.suspended[&acme], order);
        let ended = BTreeMap::from([version()]);
        assert_eq!(read(&ended), Ok(Some(Orders::default())));
        assert_eq!(read(&BTreeMap::new()), Ok(None));
        let other = BTreeMap::from([("version".to_owned(), "2".to_owned())]);
        assert!(read(&other).is_err());
        let none = BTreeMap::from([("service".to_owned(), text.clone())]);
        assert!(read(&none).is_err());
        for (field, text) in [
            ("service", "{}"),
            ("service", ""),
            ("tenant:", &*text),
            ("tenant:../a", &text),
            ("acme", &text),
        ] {
            let fields = BTreeMap::from([version(), (field.to_owned(), text.to_owned())]);
            let why = read(&fields).unwrap_err();
            assert!(why.contains(field), "{why}");
        }
    }
}
