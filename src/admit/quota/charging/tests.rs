//! Charging counts that replicas share. A fake stands for their store: a real one cannot be told when to be away and what to refuse, nor
//! what it was asked. That real ones count right is tested where they are.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::limit::{Counting, Terms};
use super::super::{Asking, CountsAway};
use super::*;
use crate::admit::upload::Upload;
use crate::clock::tests::SetClock;
use crate::sign::operations::operation;

const FULL: Level = Level {
    left: 5,
    reset: Duration::from_secs(7),
};

/// By the clock of the store.
const CHARGED_AT: u64 = 1_781_092_800_000_000;

#[derive(Debug, Default)]
struct Fake {
    away: AtomicBool,
    at_hand: AtomicBool,
    /// The place of the charge to refuse.
    refuses: Mutex<Option<usize>>,
    /// What it was asked, a line a call.
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn note(&self, what: &str, charges: &[Charge<'_>]) {
        let mut line = what.to_owned();
        for Charge { key, amount, .. } in charges {
            let tenant = key.tenant.map_or("service", TenantId::as_str);
            let caller = key.caller.unwrap_or("all");
            let _ = write!(line, " {tenant}/{}/{caller}:{amount}", key.limit);
        }
        self.asked.lock().unwrap().push(line);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn answer<T>(&self, answer: T) -> Result<T, CountsAway> {
        if self.away.load(Ordering::Relaxed) {
            Err(CountsAway("nobody is there".to_owned()))
        } else {
            Ok(answer)
        }
    }

    fn charged(&self, charges: &[Charge<'_>]) -> Charged {
        match *self.refuses.lock().unwrap() {
            Some(index) => Charged::Refused {
                index,
                short: Short::Until(Duration::from_secs(9)),
            },
            None => Charged::Made {
                counts: charges.iter().map(|_| (FULL, None)).collect(),
                at: CHARGED_AT,
            },
        }
    }
}

impl SharedCounts for Fake {
    fn charge_at_hand(&self, charges: &[Charge<'_>]) -> Option<Charged> {
        let at_hand = self.at_hand.load(Ordering::Relaxed);
        at_hand.then(|| {
            self.note("at hand", charges);
            self.charged(charges)
        })
    }

    fn charge<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Charged> {
        self.note("charge", charges);
        Box::pin(async { self.answer(self.charged(charges)) })
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>], at: u64) -> Asking<'a, ()> {
        assert_eq!(at, CHARGED_AT);
        self.note("refund", charges);
        Box::pin(async { self.answer(()) })
    }

    fn levels<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Vec<Level>> {
        let levels = charges.iter().map(|_| FULL).collect();
        Box::pin(async { self.answer(levels) })
    }
}

fn terms(name: &str, burst: u64, when_away: WhenAway) -> Terms {
    Terms {
        name: name.into(),
        commands: Vec::new(),
        weights: Vec::new(),
        unit: Unit::Urls,
        measure: Measure::Rate {
            interval: Duration::from_hours(1),
            burst,
        },
        each_caller: false,
        shadow: false,
        when_away,
    }
}

/// Four replicas, of which this is one.
fn built(terms: Vec<Terms>, tenant: Option<&TenantId>) -> Vec<Limit> {
    let counting = Counting {
        clock: Arc::new(SetClock::default()),
        ledger: None,
        replicas: NonZeroU32::new(4).unwrap(),
    };
    let limits = terms.into_iter();
    limits
        .map(|terms| Limit::new(terms, tenant, &counting).unwrap())
        .collect()
}

struct Charging {
    fake: Arc<Fake>,
    quotas: Quotas,
    tenant: TenantId,
    limits: TenantLimits,
}

impl Charging {
    fn new(service: Vec<Terms>, own: Vec<Terms>) -> Self {
        let (fake, tenant) = (Arc::new(Fake::default()), TenantId::parse("acme").unwrap());
        let limits = TenantLimits::new(built(own, Some(&tenant)));
        let shared = Arc::clone(&fake) as Arc<dyn SharedCounts>;
        Self {
            quotas: Quotas::new(built(service, None), Some(shared)),
            fake,
            tenant,
            limits,
        }
    }

    fn payer(&self) -> Payer<'_> {
        Payer {
            tenant: &self.tenant,
            limits: &self.limits,
            caller: "media",
        }
    }

    async fn charge(&self, urls: u64) -> Result<Receipt, NoRoom> {
        let costs = std::iter::once(cost(urls));
        let told = Told::default();
        self.quotas.charge(self.payer(), &told, &costs).await
    }

    fn set_away(&self, away: bool) {
        self.fake.away.store(away, Ordering::Relaxed);
    }
}

fn cost(urls: u64) -> Cost {
    Cost {
        operation: operation("GetObject").unwrap(),
        urls,
        upload: Upload::Nothing,
    }
}

fn of_everybody() -> Charging {
    let own = Terms {
        each_caller: true,
        ..terms("own", 10, WhenAway::Closed)
    };
    Charging::new(
        vec![terms("everybody", 10, WhenAway::Closed)],
        vec![terms("all", 10, WhenAway::Closed), own],
    )
}

#[tokio::test]
async fn all_limits_of_a_request_are_charged_in_one_call() {
    let charging = of_everybody();
    charging.charge(3).await.unwrap();
    let all = "service/everybody/all:3 acme/all/all:3 acme/own/media:3";
    assert_eq!(charging.fake.asked(), [format!("charge {all}")]);
    charging.fake.at_hand.store(true, Ordering::Relaxed);
    charging.charge(3).await.unwrap();
    assert_eq!(charging.fake.asked(), [format!("at hand {all}")]);
}

#[tokio::test]
async fn a_refusal_names_the_limit_that_has_no_room() {
    let charging = of_everybody();
    let whose = [
        ("service/limit:everybody", "service"),
        ("tenant:acme/limit:all", "tenant"),
        ("tenant:acme/limit:own", "caller"),
    ];
    for (index, (subject, scope)) in whose.into_iter().enumerate() {
        *charging.fake.refuses.lock().unwrap() = Some(index);
        let refused = charging.charge(1).await.unwrap_err();
        assert_eq!(&*refused.limit().subject, subject);
        assert_eq!(refused.limit().scope, scope);
        let NoRoom::Later { retry_after, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(retry_after, Duration::from_secs(9));
    }
}

#[tokio::test]
async fn what_the_store_was_charged_is_given_back_to_it_and_nothing_else() {
    let charging = of_everybody();
    let receipt = charging.charge(2).await.unwrap();
    charging.fake.asked();
    let costs = std::iter::once(cost(2));
    charging
        .quotas
        .refund(charging.payer(), &receipt, &costs)
        .await;
    let all = "refund service/everybody/all:2 acme/all/all:2 acme/own/media:2";
    assert_eq!(charging.fake.asked(), [all]);
    // What nobody charged.
    let nothing = Receipt::default();
    charging
        .quotas
        .refund(charging.payer(), &nothing, &costs)
        .await;
    assert!(charging.fake.asked().is_empty());
}

#[tokio::test]
async fn while_the_store_is_away_each_limit_does_what_it_says() {
    let shadow = Terms {
        shadow: true,
        ..terms("dry", 8, WhenAway::Closed)
    };
    let cases = [
        (vec![terms("open", 8, WhenAway::Open)], 20),
        (vec![terms("closed", 8, WhenAway::Closed)], 0),
        // A quarter of it.
        (vec![terms("local", 8, WhenAway::Local)], 2),
        (vec![shadow], 20),
        (
            vec![
                terms("local", 8, WhenAway::Local),
                terms("open", 8, WhenAway::Open),
            ],
            2,
        ),
        (
            vec![
                terms("open", 8, WhenAway::Open),
                terms("closed", 8, WhenAway::Closed),
            ],
            0,
        ),
    ];
    for (limits, fits) in cases {
        let charging = Charging::new(Vec::new(), limits.clone());
        charging.set_away(true);
        let mut let_through = 0;
        for _ in 0..20 {
            match charging.charge(1).await {
                Ok(_) => let_through += 1,
                Err(NoRoom::Away { limit }) => assert_eq!(&*limit.name, "closed"),
                Err(NoRoom::Later { limit, .. }) => assert_eq!(&*limit.name, "local"),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(let_through, fits, "{limits:?}");
        charging.set_away(false);
        charging.charge(1).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_counted_here_is_given_back_here() {
    let charging = Charging::new(Vec::new(), vec![terms("local", 8, WhenAway::Local)]);
    charging.set_away(true);
    for _ in 0..5 {
        let receipt = charging.charge(2).await.unwrap();
        charging.charge(1).await.unwrap_err();
        charging.fake.asked();
        let costs = std::iter::once(cost(2));
        // Also when the store is back by then.
        charging.set_away(false);
        charging
            .quotas
            .refund(charging.payer(), &receipt, &costs)
            .await;
        charging.set_away(true);
        assert!(charging.fake.asked().is_empty());
    }
}
