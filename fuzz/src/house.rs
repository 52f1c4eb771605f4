//! presignd's rooms, built from a configuration as the binary builds them: with no network, a clock that stands still, and records
//! that are checked as they come.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use presignd::admit::quota::Quotas;
use presignd::admit::quota::limit::Counting;
use presignd::app::callers;
use presignd::app::tenants::{self, ProcessSurroundings};
use presignd::audit::{Confirmation, Recorder};
use presignd::clock::{Clock, SharedClock};
use presignd::config::{self, Located, Mistake, Surroundings, Tenant};
use presignd::endpoint::Endpoints;
use presignd::grpc::PresignApi;
use presignd::operate::{Asking, Change, OrderStore, Orders, OrdersAway, StandingOrders};
use presignd::presign::Presigner;
use presignd::scope::clock_skew::ClockSkews;
use presignd::scope::{AssumeRole, AssumeRoleCall, Assumed, BoxFuture, ScopeError, Scoper};
use presignd::sign::Credentials;
use presignd::telemetry::{Otlp, Traces};
use presignd::upload::{SignedCall, UploadError, Uploads};

use crate::MARKER;

/// Tenants of every kind: a store in the path, AWS, a role, and one that may do little.
const TENANTS: &str = r#"
tenants:
  store:
    region: us-east-1
    endpoint: { url: "http://127.0.0.1:9000", path_style: true }
    credentials: { static: { access_key_id: AKID, secret_access_key: { env: SECRET }, session_token: { env: TOKEN } } }
    grants: [{ commands: [read, write, delete, list, admin, CreateSession, RenameObject], resources: ["files/*", "logs.2026/*", "*"] }]
  aws:
    region: eu-west-1
    credentials: { static: { access_key_id: AKID, secret_access_key: { env: SECRET } } }
    expiry: { backdate: 1m, max: 7d }
    grants: [{ commands: [read, write, delete, list, admin, CreateSession, RenameObject], resources: ["files/*", "logs.2026/*", "*"] }]
  role:
    region: eu-west-1
    credentials: { assume_role: { role_arn: "arn:aws:iam::111122223333:role/r", session_tags: { who: "{caller}" } } }
    session: { scope: bucket }
    grants: [{ commands: [GetObject, PutObject, PutObjectTagging, CopyObject, DeleteObject, ListObjectsV2], resources: ["files/*", "logs.2026/*"] }]
  narrow:
    region: us-east-1
    endpoint: { url: "https://store.example" }
    credentials: { static: { access_key_id: AKID, secret_access_key: { env: SECRET } } }
    expiry: { default: 1m, max: 1h }
    grants:
      - { commands: [read, PutObject, list], resources: ["files/in/*"], max_expiry: 5m }
      - { commands: [DeleteObject], resources: ["files/in/one"] }
    limits: [{ name: writes, commands: [write], rate: 1000000/s }]
callers: [{ match: anyone }]
"#;

/// Runs a future to its end on this thread's runtime, whose clock moves on where nothing else does: no target waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Option<tokio::runtime::Runtime>> = const { RefCell::new(None) };
    }
    RUNTIME.with_borrow_mut(|runtime| {
        runtime
            .get_or_insert_with(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .start_paused(true)
                    .build()
                    .expect("a runtime")
            })
            .block_on(future)
    })
}

/// presignd, and what it recorded last.
pub struct House {
    /// The service, to be called as tonic calls it.
    pub api: PresignApi,
    /// Its records.
    pub sink: Sink,
    // Its spans have identities as long as it lives.
    _traces: Traces,
}

impl House {
    /// The rooms of [`TENANTS`], built once for each thread.
    pub fn with<T>(use_it: impl FnOnce(&Self) -> T) -> T {
        thread_local! {
            static HOUSE: House = House::new(TENANTS, StandingOrders::default());
        }
        HOUSE.with(use_it)
    }

    /// The same, where whoever asks may do everything, and orders are kept until `use_it` ends: what one input does, no other sees.
    pub fn operated<T>(use_it: impl FnOnce(&Self) -> T) -> T {
        thread_local! {
            static HOUSE: House = {
                let may = "match: anyone, may: [sign, explain, usage, operate] }";
                let (orders, keeper) = StandingOrders::kept(Arc::new(Taken));
                // It goes on whenever this thread's runtime does.
                block_on(async { tokio::spawn(keeper.run()) });
                House::new(&TENANTS.replace("match: anyone }", may), orders)
            };
        }
        HOUSE.with(|house| {
            let used = use_it(house);
            let orders = &house.api.presigner().orders;
            let standing = orders.standing();
            let resumed = standing.suspended.keys().cloned().map(Change::Resume);
            for change in resumed.chain([Change::Unfreeze]) {
                block_on(orders.order(change)).expect("orders are taken");
            }
            used
        })
    }

    fn new(configuration: &str, orders: StandingOrders) -> Self {
        let settings = config::parse(
            configuration,
            "fuzz.yaml",
            Path::new("/nonexistent"),
            &Known,
        )
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let clock: SharedClock = Arc::new(Still);
        let traces = Traces::start(&Otlp::default()).expect("traces");
        let sink = Sink::default();
        let authenticator = callers::authenticator(&settings, &clock);
        let presigner = Presigner {
            tenants: tenants::build(&settings.tenants, &Counting::new(Arc::clone(&clock)))
                .expect("tenants"),
            quotas: Quotas::default(),
            orders,
            scoper: Scoper::new(Arc::new(Session), skews(&clock), Arc::clone(&clock)),
            endpoints: Endpoints::default(),
            uploads: Box::new(Begun),
            recorder: Recorder::new(traces.sink(), sink.clone()),
            clock,
        };
        Self {
            api: PresignApi::new(presigner, authenticator, Duration::from_secs(10)),
            sink,
            _traces: traces,
        }
    }
}

/// Takes every order, and has none to tell.
#[derive(Debug)]
struct Taken;

impl OrderStore for Taken {
    fn name(&self) -> &str {
        "nowhere"
    }

    fn read(&self) -> Asking<'_, Result<Option<Orders>, OrdersAway>> {
        Box::pin(std::future::ready(Ok(Some(Orders::default()))))
    }

    fn keep<'a>(
        &'a self,
        _change: &'a Change,
        _after: &'a Orders,
    ) -> Asking<'a, Result<(), OrdersAway>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn news(&self) -> Asking<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// An S3 that begins every upload.
#[derive(Debug)]
struct Begun;

impl Uploads for Begun {
    fn begin<'a>(&'a self, _call: SignedCall<'a>) -> BoxFuture<'a, Result<String, UploadError>> {
        Box::pin(async { Ok("an+upload/of=all".to_owned()) })
    }

    fn give_up<'a>(&'a self, _call: SignedCall<'a>) -> BoxFuture<'a, Result<(), UploadError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The surroundings of the process, in whose environment every variable is a secret.
#[derive(Debug)]
pub struct Known;

impl Surroundings for Known {
    fn environment(&self, _name: &str) -> Option<String> {
        Some(MARKER.to_owned())
    }

    fn now(&self) -> SystemTime {
        ProcessSurroundings.now()
    }

    fn command(&self, name: &str) -> Result<(), String> {
        ProcessSurroundings.command(name)
    }

    fn resource(&self, text: &str) -> Result<(), String> {
        ProcessSurroundings.resource(text)
    }

    fn bucket(&self, text: &str) -> Result<(), String> {
        ProcessSurroundings.bucket(text)
    }

    fn media_type(&self, text: &str) -> Result<(), String> {
        ProcessSurroundings.media_type(text)
    }

    fn source_ip(&self, text: &str) -> Result<(), String> {
        ProcessSurroundings.source_ip(text)
    }

    fn tenant(&self, id: &str, tenant: &Located<Tenant>) -> Vec<Mistake> {
        ProcessSurroundings.tenant(id, tenant)
    }
}

/// Clocks that may be half a minute apart.
pub fn skews(clock: &SharedClock) -> Arc<ClockSkews> {
    Arc::new(ClockSkews::new(Arc::clone(clock), Duration::from_secs(30)))
}

/// 2026-01-02T03:04:05Z, for ever.
#[derive(Debug)]
pub struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(1_767_323_045)
    }
}

/// Sessions of an hour.
#[derive(Debug)]
struct Session;

impl AssumeRole for Session {
    fn assume_role<'a>(
        &'a self,
        _call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Assumed, ScopeError>> {
        let credentials = Credentials::new(
            "ASIAFUZZ".to_owned(),
            MARKER.to_owned().into(),
            Some(format!("token/+={MARKER}").into()),
            Some(Still.now() + Duration::from_secs(3600)),
        );
        Box::pin(std::future::ready(Ok(Assumed {
            credentials,
            packed_policy_size: None,
            session_token_utilization: None,
        })))
    }
}

/// Takes records, and holds them to what is promised of them.
#[derive(Debug, Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<serde_json::Value>>>);

impl Sink {
    /// What was recorded since this was asked last.
    pub fn take(&self) -> Vec<serde_json::Value> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

impl presignd::audit::Sink for Sink {
    fn write(&self, lines: &[u8]) -> Confirmation {
        let text = std::str::from_utf8(lines).expect("records are UTF-8");
        assert!(text.ends_with('\n'), "{text:?}");
        for line in text.lines() {
            assert!(!line.chars().any(acts_on_display), "{line:?}");
            assert!(!line.contains(MARKER), "{line}");
            let record: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
            assert!(
                record["issuance_id"].is_string() && record["outcome"].is_string(),
                "{line}"
            );
            self.0.lock().expect("no panic").push(record);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self, _within: Duration) -> Confirmation {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What ends a line, steers a terminal or reorders text.
fn acts_on_display(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
