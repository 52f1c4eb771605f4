//! Orders in a hash that replicas share: a field for each.
//!
//! Replicas look every second, so that an order reaches all of them within about that. Invariant: a hash that does not read as orders
//! changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Asking, Change, Order, OrderStore, Orders, OrdersAway};
use crate::names::TenantId;
use crate::redis::{Away, Redis};

/// How often replicas look.
const EVERY: Duration = Duration::from_secs(1);
/// The field with the order about the service.
const SERVICE: &str = "service";
/// What the fields with orders about tenants begin with.
const TENANT: &str = "tenant:";

/// Keeps orders in Redis or Valkey.
#[derive(Debug)]
pub struct RedisStore {
    redis: Redis,
    key: String,
}

impl RedisStore {
    /// In this store, below its prefix.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self {
            key: format!("{}:{{orders}}", redis.prefix()),
            redis,
        }
    }
}

impl OrderStore for RedisStore {
    fn name(&self) -> &str {
        &self.key
    }

    fn read(&self) -> Asking<'_, Result<Orders, OrdersAway>> {
        Box::pin(async { read(&self.redis.fields(&self.key).await?).map_err(OrdersAway) })
    }

    fn keep<'a>(
        &'a self,
        change: &'a Change,
        _after: &'a Orders,
    ) -> Asking<'a, Result<(), OrdersAway>> {
        Box::pin(async move {
            let field = field(change.tenant());
            match change {
                Change::Freeze(order) | Change::Suspend(_, order) => {
                    let text = serde_json::to_string(order);
                    let text = text.map_err(|error| OrdersAway(error.to_string()))?;
                    self.redis.set_field(&self.key, &field, &text).await?;
                }
                Change::Unfreeze | Change::Resume(_) => {
                    self.redis.remove_field(&self.key, &field).await?;
                }
            }
            Ok(())
        })
    }

    fn news(&self) -> Asking<'_, ()> {
        Box::pin(tokio::time::sleep(EVERY))
    }
}

impl From<Away> for OrdersAway {
    fn from(Away(why): Away) -> Self {
        Self(why)
    }
}

fn field(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(
        || SERVICE.to_owned(),
        |tenant| format!("{TENANT}{}", tenant.as_str()),
    )
}

fn read(fields: &BTreeMap<String, String>) -> Result<Orders, String> {
    let mut orders = Orders::default();
    for (field, text) in fields {
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
    Ok(orders)
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
        let all = [None, Some(&acme)].map(|tenant| (field(tenant), text.clone()));
        let orders = read(&BTreeMap::from(all)).unwrap();
        assert_eq!(orders.frozen.as_ref(), Some(&order));
        assert_eq!(orders.suspended[&acme], order);
        assert_eq!(read(&BTreeMap::new()), Ok(Orders::default()));
        for (field, text) in [
            ("service", "{}"),
            ("service", ""),
            ("tenant:", &*text),
            ("tenant:../a", &text),
            ("acme", &text),
        ] {
            let fields = BTreeMap::from([(field.to_owned(), text.to_owned())]);
            let why = read(&fields).unwrap_err();
            assert!(why.contains(field), "{why}");
        }
    }
}
