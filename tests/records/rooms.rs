//! The rooms without a server around them, for what shows only there: what they say of themselves, what they keep, and what becomes of
//! a request when one of them has a defect.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use presignd::admit::quota::Quotas;
use presignd::admit::quota::limit::Counting;
use presignd::app::tenants::{self, ProcessSurroundings};
use presignd::app::{App, Surroundings, callers};
use presignd::audit::{Confirmation, Recorder, Sink};
use presignd::clock::{Clock, SharedClock};
use presignd::config::{self, Settings};
use presignd::endpoint::Endpoints;
use presignd::grpc::PresignApi;
use presignd::operate::StandingOrders;
use presignd::presign::Presigner;
use presignd::proto::v1::presign_service_server::PresignService as _;
use presignd::proto::v1::{PresignRequest, PresignResponse};
use presignd::scope::clock_skew::ClockSkews;
use presignd::scope::sts::Sts;
use presignd::scope::{AssumeRole, AssumeRoleCall, Assumed, BoxFuture, ScopeError, Scoper};
use presignd::telemetry::{Otlp, Traces};
use presignd::upload::S3;
use tonic::{Code, Status};

use super::GRANTS;
use super::secrets::file;
use crate::harness::presignd::{Records, TestClock, aws_of, get_object, request};
use crate::harness::refusal::Refused;
use crate::harness::sts::FakeSts;

fn settings(tenants: &[(&str, &str)]) -> Settings {
    let mut text = format!(
        "server: {{ listen: 127.0.0.1:0 }}
callers: [{{ match: anyone }}]
authentication: {{ api_keys: {{ billing: [\"sha256:{}\"] }} }}
tenants:
",
        "0".repeat(64)
    );
    for (id, tenant) in tenants {
        text += &format!("  {id}:\n");
        for line in tenant.lines() {
            text += &format!("    {line}\n");
        }
    }
    config::parse(&text, "test.yaml", Path::new("."), &ProcessSurroundings)
        .unwrap_or_else(|mistakes| panic!("{mistakes:?} in\n{text}"))
}

fn skews(clock: SharedClock) -> Arc<ClockSkews> {
    Arc::new(ClockSkews::new(clock, Duration::from_secs(30)))
}

/// The service, as tonic calls it.
fn service(
    settings: &Settings,
    sts: Arc<dyn AssumeRole>,
    clock: SharedClock,
    sink: impl Sink + 'static,
) -> PresignApi {
    let traces = Traces::start(&Otlp::default()).unwrap();
    let authenticator = callers::authenticator(settings, &clock);
    let presigner = Presigner {
        tenants: tenants::build(&settings.tenants, &Counting::new(Arc::clone(&clock))).unwrap(),
        orders: StandingOrders::default(),
        quotas: Quotas::default(),
        scoper: Scoper::new(sts, skews(Arc::clone(&clock)), Arc::clone(&clock)),
        endpoints: Endpoints::default(),
        uploads: Box::new(S3::default()),
        recorder: Recorder::new(traces.sink(), sink),
        clock,
    };
    let patience = Duration::from_secs(10);
    PresignApi::new(presigner, authenticator, patience)
}

async fn presign(api: &PresignApi, request: PresignRequest) -> Result<PresignResponse, Status> {
    let answer = api.presign(tonic::Request::new(request)).await;
    answer.map(tonic::Response::into_inner)
}

fn of(tenant: &str) -> PresignRequest {
    request(tenant, get_object("acme-files", "k"))
}

const OWN_SECRET: &str = "presignd's-own-secret-marker";
const OWN_TOKEN: &str = "presignd's-own-token-marker";
const KEY: &str = "static-secret-key-marker";
const TOKEN: &str = "static-session-token-marker";

fn own() -> aws_credential_types::Credentials {
    let token = Some(OWN_TOKEN.to_owned());
    aws_credential_types::Credentials::new("AKIDPRESIGND", OWN_SECRET, token, None, "test")
}

#[tokio::test]
async fn nothing_that_holds_a_secret_shows_it() {
    let fake = FakeSts::start().await;
    let (key, token) = (file(KEY), file(TOKEN));
    let keys = format!(
        "region: us-east-1
endpoint: {{ url: \"http://s3.test:9000\", path_style: true }}
credentials:
  static: {{ access_key_id: AKIDSTATIC, secret_access_key: {{ file: \"{}\" }}, session_token: {{ file: \"{}\" }} }}
{GRANTS}",
        key.path().display(),
        token.path().display(),
    );
    let settings = settings(&[("acme", &fake.tenant("acme", "", GRANTS)), ("keys", &keys)]);
    let sts: Arc<dyn AssumeRole> = Arc::new(Sts::new(aws_of(own()).await, skews(fake.clock())));
    let records = Records::default();
    let api = service(&settings, Arc::clone(&sts), fake.clock(), records.clone());
    for tenant in ["acme", "keys"] {
        // By then its session is kept, and so is the key that is derived from it.
        let issued = presign(&api, of(tenant)).await.unwrap();
        assert!(issued.url.contains("X-Amz-Signature="));
    }
    let surroundings = Surroundings {
        clock: fake.clock(),
        aws: aws_of(own()).await,
        sink: records.clone(),
    };
    let app = App::start(&settings, surroundings).await.unwrap();
    let shown = [
        format!("{settings:?}{settings:#?}"),
        format!("{api:?}{api:#?}"),
        format!("{sts:?}{sts:#?}"),
        format!("{app:?}{app:#?}"),
    ];
    let session = &fake.sessions()[0];
    assert!(
        shown[1].contains(&session.access_key_id),
        "the session is there"
    );
    for shown in &shown {
        assert!(shown.contains("acme") || shown.contains("Sts"), "{shown}");
        for secret in [
            OWN_SECRET,
            OWN_TOKEN,
            KEY,
            TOKEN,
            &session.secret_access_key,
            &session.token,
            &session.token.replace('/', "%2F"),
        ] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

/// How many records there were.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Sink for Count {
    fn write(&self, _lines: &[u8]) -> Confirmation {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self, _within: Duration) -> Confirmation {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Ids, keys and buckets of callers' choice leave nothing behind.
#[tokio::test]
async fn nothing_is_kept_of_what_is_refused() {
    let fake = FakeSts::start().await;
    let settings = settings(&[("acme", &fake.tenant("acme", "", GRANTS))]);
    let sts: Arc<dyn AssumeRole> = Arc::new(Sts::new(aws_of(own()).await, skews(fake.clock())));
    let recorded = Count::default();
    let api = service(&settings, sts, fake.clock(), recorded.clone());
    presign(&api, of("acme")).await.unwrap();
    let before = format!("{api:?}").len();
    for number in 0..300 {
        for request in [
            of(&format!("bogus-{number}")),
            of(&format!("../bogus-{number}")),
            of(&"bogus".repeat(number)),
            request("acme", get_object(&format!("bogus-{number}"), "k")),
        ] {
            presign(&api, request).await.unwrap_err();
        }
    }
    assert_eq!(recorded.0.load(Ordering::Relaxed), 1 + 4 * 300);
    assert_eq!(fake.calls().len(), 1);
    let after = format!("{api:?}");
    assert!(!after.contains("bogus"), "{after}");
    assert!(
        after.len() < before + 100,
        "{before} bytes became {}: {after}",
        after.len()
    );
}

/// A fake, because no real STS makes presignd panic.
#[derive(Debug)]
struct PanickingSts;

impl AssumeRole for PanickingSts {
    fn assume_role<'a>(
        &'a self,
        call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Assumed, ScopeError>> {
        Box::pin(async move { panic!("words-of-a-panic-marker {call:?}") })
    }
}

/// Panics once, at the reading that is counted off. The clock is read twice where a caller is identified, and then where a URL is about
/// to be signed.
#[derive(Debug, Default)]
struct PanickingClock {
    clock: TestClock,
    readings: AtomicUsize,
}

impl Clock for PanickingClock {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        let left = self
            .readings
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        assert_ne!(left, Ok(1), "words-of-a-panic-marker");
        self.clock.monotonic()
    }
}

#[tokio::test]
async fn a_defect_in_a_room_ends_one_request_and_is_recorded() {
    let fake = FakeSts::start().await;
    let limited = format!("{GRANTS}\nlimits: [{{ name: all, rate: 1000/s }}]");
    let settings = settings(&[("acme", &fake.tenant("acme", "", &limited))]);
    let clock = Arc::new(PanickingClock::default());
    let records = Records::default();
    let shared = Arc::clone(&clock) as SharedClock;
    let api = service(&settings, Arc::new(PanickingSts), shared, records.clone());

    // The call to STS is a task of its own.
    let refusal = Refused::read(&presign(&api, of("acme")).await.unwrap_err());
    assert_eq!(refusal.why(), (Code::Unavailable, "STS_UNAVAILABLE"));
    assert_eq!(records.of(&refusal.issuance_id)["outcome"], "failed");

    // The clock is read to count that a key is wrong, and for the limit.
    for (key, caller) in [(Some("wrong"), "unknown"), (None, "anyone")] {
        clock.readings.store(1, Ordering::Relaxed);
        let mut request = tonic::Request::new(of("acme"));
        if let Some(key) = key {
            let key = key.parse().expect("text");
            request.metadata_mut().insert("x-api-key", key);
        }
        let status = api.presign(request).await.unwrap_err();
        assert!(!format!("{status:?}").contains("marker"), "{status:?}");
        let refusal = Refused::read(&status);
        assert_eq!(refusal.why(), (Code::Internal, "INTERNAL"));
        let record = records.of(&refusal.issuance_id);
        assert_eq!(
            (&record["outcome"], &record["tenant"], &record["caller"]),
            (&"failed".into(), &"acme".into(), &caller.into())
        );
        let left = clock.readings.load(Ordering::Relaxed);
        assert_eq!(left, 0, "the clock was read");
    }
    assert_eq!(records.all().len(), 3);
}
