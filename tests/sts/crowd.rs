//! Many cold tenants at once, within one process: how many calls that makes at a time, and that all are served.
//!
//! STS is a counter here, because ten thousand calls over HTTP would measure the fake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use presignd::admit::expiry::{Asked, Mode};
use presignd::admit::policy::Called;
use presignd::admit::quota::limit::Counting;
use presignd::app::{callers, tenants};
use presignd::authenticate::{Presented, Right};
use presignd::clock::{Clock as _, SharedClock, SystemClock};
use presignd::names::TenantId;
use presignd::scope::clock_skew::ClockSkews;
use presignd::scope::{AssumeRole, AssumeRoleCall, Assumed, BoxFuture, ScopeError, Scoper};
use presignd::sign::{Credentials, operations};
use tokio::task::JoinSet;

use crate::harness::presignd::{get_object, parse};
use crate::harness::session::admitted;

const TENANTS: usize = 10_000;
/// What docs/design.md promises.
const AT_ONCE: usize = 64;

/// Gives sessions of an hour after a while, and counts.
#[derive(Debug, Default)]
struct Counter {
    calls: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl AssumeRole for Counter {
    fn assume_role<'a>(
        &'a self,
        call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Assumed, ScopeError>> {
        Box::pin(async move {
            let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            self.calls.fetch_add(1, Ordering::Relaxed);
            if call.role_arn.ends_with("/hangs") {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let ends = SystemClock::new().now() + Duration::from_secs(call.duration.into());
            Ok(Assumed {
                credentials: Credentials::new(
                    "ASIA".to_owned(),
                    "secret".to_owned().into(),
                    Some("token".to_owned().into()),
                    Some(ends),
                ),
                packed_policy_size: None,
                session_token_utilization: None,
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cold_tenants_share_a_few_calls() {
    let mut text = "callers: [{ match: anyone }]\ntenants:\n".to_owned();
    for n in 0..TENANTS {
        let role = if n == 0 {
            "hangs".to_owned()
        } else {
            format!("r{n}")
        };
        text += &format!(
            "  t{n}:
    region: eu-west-1
    credentials: {{ assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/{role}\" }} }}
    grants: [{{ commands: [GetObject], resources: [\"files-{n}/*\"] }}]
"
        );
    }
    let settings = parse(&text);
    let clock: SharedClock = Arc::new(SystemClock::new());
    let anyone = callers::authenticator(&settings, &clock)
        .authenticate(&Presented::default())
        .await
        .expect("anyone may ask");
    let tenants = Arc::new(
        tenants::build(&settings.tenants, &Counting::new(Arc::clone(&clock))).expect("they add up"),
    );
    let counter = Arc::new(Counter::default());
    let skews = Arc::new(ClockSkews::new(Arc::clone(&clock), Duration::from_secs(30)));
    let scoper = Arc::new(Scoper::new(Arc::clone(&counter) as _, skews, clock));

    let mut tasks = JoinSet::new();
    for n in 0..TENANTS {
        let (tenants, scoper) = (Arc::clone(&tenants), Arc::clone(&scoper));
        let anyone = anyone.clone();
        tasks.spawn(async move {
            let id = TenantId::parse(&format!("t{n}")).expect("an id");
            let tenant = tenants.of(&anyone, Right::Sign, &id).expect("it is there");
            let command = get_object(&format!("files-{n}"), "k");
            let command = operations::message(&command).to_bound().expect("valid");
            let asked = Asked {
                expires_in: Some(300),
                mode: Mode::Reject,
            };
            let called = Called::default();
            let now = SystemClock::new().now();
            let standing = tenant.rules.standing(now, anyone.name());
            let authorized = tenant
                .rules
                .authorize(&standing, &command, called, asked, None);
            let authorized = authorized.expect("granted");
            let admitted = admitted(&tenant, &anyone, authorized).await;
            let commands = [&command];
            let asking = scoper.scope(&admitted, &anyone, &tenant.session, &commands);
            asking.await.map(drop)
        });
    }
    let results = tasks.join_all().await;
    let failed: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!(failed.len(), 1, "only the one that hangs: {failed:?}");
    assert!(matches!(failed[0], ScopeError::Unavailable { .. }));
    assert_eq!(counter.calls.load(Ordering::Relaxed), TENANTS);
    let most = counter.most.load(Ordering::Relaxed);
    assert!((10..=AT_ONCE).contains(&most), "{most}");
}
