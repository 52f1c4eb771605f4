//! What many tenants cost: calls to STS, and memory. Counts, by a clock that the bench moves; nothing but the cold start is timed.
//!
//! presignd runs in this process, with a fake STS behind it, so that the calls are presignd's own and not what a network makes of them.
//!
//! `cargo bench --bench sessions`

mod sts;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use presignd::admit::expiry::{Asked, Mode};
use presignd::admit::quota::limit::Counting;
use presignd::admit::quota::{Quotas, Told};
use presignd::app::callers;
use presignd::app::tenants::{self, ProcessSurroundings};
use presignd::audit::{Confirmation, Recorder, Sink, TraceContext};
use presignd::authenticate::{Caller, Presented};
use presignd::clock::{Clock, SharedClock};
use presignd::config::{self, Settings};
use presignd::endpoint::Endpoints;
use presignd::names::TenantId;
use presignd::operate::StandingOrders;
use presignd::presign::{Arrival, Item, Presigner, Request};
use presignd::proto::s3::GetObject;
use presignd::proto::v1::Command;
use presignd::proto::v1::command::Command as Variant;
use presignd::scope::Scoper;
use presignd::scope::clock_skew::ClockSkews;
use presignd::telemetry::{Otlp, Traces};
use presignd::upload::S3;
use tokio::task::JoinSet;

use self::sts::Counter;

fn main() {
    // Only `cargo bench` passes this; `cargo test --benches` just wants to know that everything runs.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (cold, warm, urls) = if measured {
        (10_000, 1_000, 1_000_000)
    } else {
        (100, 10, 1_000)
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        cold_start(cold).await;
        hours_of_use(warm, urls, Duration::from_hours(6)).await;
    });
}

/// Every tenant's first request within the same second.
async fn cold_start(count: usize) {
    let start = resident();
    let settings = settings(count);
    let clock: SharedClock = Arc::new(MovedClock::default());
    let sts = Arc::new(Counter::new(&clock, Duration::from_millis(50)));
    let presignd = Arc::new(Presignd::new(&settings, &sts, &clock).await);
    let tenants = resident();

    let mut tasks = JoinSet::new();
    for n in 0..count {
        let presignd = Arc::clone(&presignd);
        tasks.spawn(async move {
            let came = now();
            presignd.issue(n).await;
            now() - came
        });
    }
    let mut waits = tasks.join_all().await;
    waits.sort();
    let sessions = resident();
    println!("\n{count} cold tenants at once, STS answering in 50 ms");
    println!("  {:<32}{:>12}", "calls", sts.calls());
    println!("  {:<32}{:>12}", "under way at once, at most", sts.most());
    let waits = [("half", count / 2), ("all", count - 1)].map(|(name, n)| (name, waits[n]));
    for (name, wait) in waits {
        println!("  {:<32}{wait:>12.1?}", format!("{name} served within"));
    }
    println!("\nMemory, resident");
    println!("  {:<32}{start:>10}kB", "at the start");
    let each = |kilobytes: usize| ratio(kilobytes, count);
    println!("  {:<32}{:>10.1}kB", "a tenant", each(tenants - start));
    println!(
        "  {:<32}{:>10.1}kB",
        "a session",
        each(sessions.saturating_sub(tenants))
    );
}

/// So many URLs for warm tenants, spread over hours.
async fn hours_of_use(count: usize, urls: usize, hours: Duration) {
    let settings = settings(count);
    let moved = Arc::new(MovedClock::default());
    let clock: SharedClock = Arc::clone(&moved) as _;
    let sts = Arc::new(Counter::new(&clock, Duration::ZERO));
    let presignd = Presignd::new(&settings, &sts, &clock).await;
    for n in 0..count {
        presignd.issue(n).await;
    }
    let first = sts.calls();
    let step = hours / u32::try_from(urls).expect("a number of URLs");
    for n in 0..urls {
        presignd.issue(n % count).await;
        moved.advance(step);
        // What was begun in the background takes no time here.
        while sts.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let refreshes = sts.calls() - first;
    println!("\n{urls} URLs for {count} warm tenants over {hours:?}");
    println!("  {:<32}{first:>12}", "calls for the first sessions");
    println!("  {:<32}{refreshes:>12}", "calls since: renewals ahead");
    println!("  {:<32}{:>12.0}", "URLs a call", ratio(urls, refreshes));
    println!(
        "  {:<32}{:>12.1}",
        "minutes between a tenant's calls",
        hours.as_secs_f64() / 60.0 * ratio(count, refreshes)
    );
}

fn settings(count: usize) -> Settings {
    let mut text = "callers: [{ match: anyone }]\ntenants:\n".to_owned();
    for n in 0..count {
        text += &format!(
            "  tenant-{n}:
    region: eu-west-1
    credentials: {{ assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/presignd-{n}\" }} }}
    expiry: {{ max: 1h }}
    grants:
      - {{ commands: [read, list, PutObject], resources: [\"files-{n}/*\"] }}
    limits:
      - {{ name: all, rate: 1000000/s, burst: 1000000 }}
"
        );
    }
    config::parse(
        &text,
        "bench",
        std::path::Path::new("."),
        &ProcessSurroundings,
    )
    .expect("it adds up")
}

/// The rooms, and whoever asks.
struct Presignd {
    rooms: Presigner,
    anyone: Caller,
}

impl Presignd {
    async fn new(settings: &Settings, sts: &Arc<Counter>, clock: &SharedClock) -> Self {
        let traces = Traces::start(&Otlp::default()).expect("no exporter");
        let skews = ClockSkews::new(Arc::clone(clock), settings.server.max_clock_skew);
        let rooms = Presigner {
            tenants: tenants::build(&settings.tenants, &Counting::new(Arc::clone(clock)))
                .expect("they add up"),
            quotas: Quotas::default(),
            orders: StandingOrders::default(),
            scoper: Scoper::new(Arc::clone(sts) as _, Arc::new(skews), Arc::clone(clock)),
            endpoints: Endpoints::default(),
            uploads: Box::new(S3::default()),
            recorder: Recorder::new(traces.sink(), Forgetful),
            clock: Arc::clone(clock),
        };
        let anyone = callers::authenticator(settings, clock)
            .authenticate(&Presented::default())
            .await
            .expect("anyone may ask");
        Self { rooms, anyone }
    }

    async fn issue(&self, tenant: usize) {
        let arrival = Arrival {
            told: Told::default(),
            method: "presignd.v1.PresignService/Presign",
            started: self.rooms.clock.now(),
            patience: Duration::from_mins(5),
            trace: TraceContext::default(),
            peer: None,
            caller: self.anyone.clone(),
        };
        let request = Request {
            tenant: TenantId::parse(&format!("tenant-{tenant}")).expect("an id"),
            asked: Asked {
                expires_in: Some(900),
                mode: Mode::Reject,
            },
            reason: String::new(),
            subject: String::new(),
            source_ip: None,
        };
        let command = Command {
            command: Some(Variant::GetObject(GetObject {
                bucket: Some(format!("files-{tenant}")),
                key: Some("invoices/2026/11/invoice-final.pdf".to_owned()),
                ..GetObject::default()
            })),
            ..Command::default()
        };
        let item = Item {
            issuance_id: uuid::Uuid::now_v7(),
            command: &command,
        };
        let issued = self.rooms.presign(&arrival, &request, &item).await;
        issued.expect("a URL");
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "these counts are far below 2^52"
)]
fn ratio(of: usize, to: usize) -> f64 {
    of as f64 / to.max(1) as f64
}

/// This process's resident memory, in kB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("a resident size").split_whitespace().next();
    words.and_then(|word| word.parse().ok()).expect("a number")
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is timed here is the machine's own time"
)]
fn now() -> Instant {
    Instant::now()
}

/// Stands still until it is moved.
#[derive(Debug, Default)]
struct MovedClock(Mutex<Duration>);

impl MovedClock {
    fn advance(&self, by: Duration) {
        *self.0.lock().expect("no panic") += by;
    }
}

impl Clock for MovedClock {
    fn now(&self) -> SystemTime {
        // 2026-01-02T03:04:05Z.
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }
}

/// Confirms records and keeps none.
#[derive(Debug)]
struct Forgetful;

impl Sink for Forgetful {
    fn write(&self, _: &[u8]) -> Confirmation {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self, _: Duration) -> Confirmation {
        Box::pin(std::future::ready(Ok(())))
    }
}
