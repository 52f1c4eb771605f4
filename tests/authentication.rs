//! Who asks: tokens, API keys and `anyone`, by the room itself and over gRPC.

pub(crate) mod api_keys;
mod certificates;
mod checking;
mod failing;
mod issuers;
mod renewing;
mod secrets;
mod serving;
mod tokens;

use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use presignd::app::callers;
use presignd::authenticate::{Authenticator, Caller, Presented, Right, Unauthenticated};
use presignd::clock::Clock;
use presignd::config::Settings;
use presignd::names::TenantId;

use crate::harness::presignd::{TestClock, parse, static_tenant};

/// Who asks by these sections `authentication` and `callers`, for the tenants `acme` and `globex`. Lives by this clock.
fn authenticator(yaml: &str, clock: &Arc<TestClock>) -> Authenticator {
    callers::authenticator(&settings(yaml), &(Arc::clone(clock) as Arc<dyn Clock>))
}

fn settings(yaml: &str) -> Settings {
    let tenant = static_tenant("grants: [{ commands: [read], resources: [\"acme-files/*\"] }]");
    let tenant = tenant.replace('\n', "\n    ");
    parse(&format!(
        "{yaml}\ntenants:\n  acme:\n    {tenant}\n  globex:\n    {tenant}\n"
    ))
}

/// A request with these headers, from an address.
fn from(address: &str, headers: &[(&str, &str)]) -> Presented {
    let header = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::try_from(*value).expect("a value"))
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().map(header) {
        map.append(name, value);
    }
    let peer = format!("{address}:50000").parse().expect("an address");
    Presented::read(&map, None, Some(peer))
}

fn showing(headers: &[(&str, &str)]) -> Presented {
    from("192.0.2.1", headers)
}

fn bearing(token: &str) -> Presented {
    showing(&[("authorization", &format!("Bearer {token}"))])
}

fn may_sign(caller: &Caller, tenant: &str) -> bool {
    caller.may(Right::Sign, &TenantId::parse(tenant).expect("an id"))
}

/// The name of the caller, or why there is none.
fn outcome(result: Result<Caller, Unauthenticated>) -> String {
    match result {
        Ok(caller) => caller.name().to_owned(),
        Err(Unauthenticated::Refused { why, .. }) => why.to_string(),
        Err(error) => error.to_string(),
    }
}
