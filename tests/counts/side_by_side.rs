//! Whatever is asked, and in whatever order: a Redis says what this process does.

use std::time::Duration;

use jiff::Timestamp;
use presignd::admit::quota::limit::{Cost, Terms};
use presignd::admit::quota::redis::Leasing;
use presignd::admit::quota::{NoRoom, Period};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::terms::{commands, cost, daily, each_caller, limit, rate, shadow, window};
use super::world::{Asking, MINUTE, Made, NOON, Store, World, running};

/// No leases: every charge is Redis's own.
const EXACT: Leasing = Leasing {
    share: 0,
    life: Duration::from_hours(1),
};
const COMMANDS: [&str; 3] = ["GetObject", "PutObject", "DeleteObjects"];
const CALLERS: [&str; 2] = ["media", "ci"];
const TENANTS: [&str; 2] = ["acme", "globex"];

#[derive(Debug, Clone)]
enum Step {
    /// By this tenant's caller: of these commands, so many.
    Charge(usize, usize, Vec<(usize, u64)>),
    /// Of what was charged, which.
    GiveBack(prop::sample::Index),
    Advance(u32),
    /// More or less of each limit.
    Reload(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let costs = prop::collection::vec((0..COMMANDS.len(), 0_u64..5), 1..3);
    let charge = (0..TENANTS.len(), 0..CALLERS.len(), costs)
        .prop_map(|(tenant, caller, costs)| Step::Charge(tenant, caller, costs));
    let give_back = any::<prop::sample::Index>().prop_map(Step::GiveBack);
    // A few minutes, and now and then half a day.
    let advance = prop_oneof![4 => 0_u32..9, 1 => Just(719)].prop_map(Step::Advance);
    let reload = (0_u64..4).prop_map(Step::Reload);
    let step = prop_oneof![8 => charge, 2 => give_back, 3 => advance, 1 => reload];
    prop::collection::vec(step, 1..40)
}

fn limits(more: u64) -> Vec<Terms> {
    vec![
        limit("often", rate(1, 9 + more)),
        each_caller("each", rate(3, 12 + more)),
        Terms {
            weights: vec![(commands(&["delete"])[0], 3)],
            ..limit("weighed", daily(30 + more))
        },
        Terms {
            commands: commands(&["write"]),
            ..each_caller("writes", window(12 + more, Period::Day, "Asia/Kathmandu"))
        },
        shadow("dry", rate(2, 4 + more)),
        shadow("month", window(40 + more, Period::Month, "Europe/Berlin")),
    ]
}

fn service(more: u64) -> Vec<Terms> {
    vec![limit("all", daily(50 + more)), shadow("some", daily(20))]
}

/// One of the two.
struct Side {
    world: World,
    made: Vec<Made>,
}

impl Side {
    fn new(mut world: World) -> Self {
        world.set_service(service(0));
        for tenant in TENANTS {
            world.set(tenant, limits(0));
        }
        Self {
            world,
            made: Vec::new(),
        }
    }

    /// What came of it, in words, and how long there is to wait.
    async fn step(&mut self, step: &Step) -> (String, Option<Duration>) {
        match step {
            Step::Charge(tenant, caller, costs) => {
                let costs = costs.iter();
                let costs: Vec<Cost> = costs
                    .map(|(command, urls)| cost(COMMANDS[*command], *urls))
                    .collect();
                match self.world.charge(who(*tenant, *caller), &costs).await {
                    Ok(made) => {
                        let said = format!("charged, would refuse: {:?}", made.shadows());
                        self.made.push(made);
                        (said, None)
                    }
                    Err((
                        NoRoom::Later {
                            retry_after,
                            limit,
                            asked,
                            ..
                        },
                        _,
                    )) => (format!("{asked} of {limit:?} later"), Some(retry_after)),
                    Err((refused, _)) => (format!("{refused:?}"), None),
                }
            }
            Step::GiveBack(which) => {
                if !self.made.is_empty() {
                    let made = self.made.swap_remove(which.index(self.made.len()));
                    self.world.give_back(&made).await;
                }
                ("given back".to_owned(), None)
            }
            Step::Advance(minutes) => {
                self.world.advance(MINUTE * *minutes).await;
                ("later".to_owned(), None)
            }
            Step::Reload(more) => {
                self.world.set_service(service(*more));
                for tenant in TENANTS {
                    self.world.set(tenant, limits(*more));
                }
                ("reloaded".to_owned(), None)
            }
        }
    }

    /// What is left of everything.
    async fn left(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (tenant, caller) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let left = self
                .world
                .look(who(tenant, caller), cost("PutObject", 1))
                .await;
            let left = left.into_iter();
            all.extend(left.map(|limit| {
                let (subject, caller) = (&limit.limit.subject, CALLERS[caller]);
                (format!("{subject} of {caller}"), limit.left)
            }));
        }
        all
    }
}

fn who(tenant: usize, caller: usize) -> Asking<'static> {
    Asking {
        tenant: TENANTS[tenant],
        caller: CALLERS[caller],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_says_what_this_process_does() {
    let redis = running().await;
    let runtime = tokio::runtime::Handle::current();
    let law = move |steps: Vec<Step>| {
        runtime.block_on(async {
            let start: Timestamp = NOON.parse().expect("a time");
            let mut here = Side::new(World::with(Store::InProcess, Vec::new()).await);
            let mut there = Side::new(World::on(&redis, EXACT, start).await);
            for step in steps {
                let (expected, wait) = here.step(&step).await;
                let (actual, actual_wait) = there.step(&step).await;
                prop_assert_eq!(&actual, &expected, "{:?}", step);
                if let (Some(wait), Some(actual)) = (wait, actual_wait) {
                    prop_assert!(there.world.near(actual, wait), "{actual:?} {wait:?}");
                }
                prop_assert_eq!(there.left().await, here.left().await, "after {:?}", step);
            }
            Ok::<(), TestCaseError>(())
        })
    };
    let ran = tokio::task::spawn_blocking(move || {
        let config = Config {
            cases: 64,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config).run(&steps(), law)
    });
    ran.await
        .expect("no panic")
        .unwrap_or_else(|error| panic!("{error}"));
}
