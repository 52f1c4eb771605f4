//! What `GetUsage` tells of every kind of limit, to the number, after what is known to have been asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use presignd::proto::v1::operations_service_client::OperationsServiceClient;
use presignd::proto::v1::{GetTenantRequest, GetUsageRequest, LimitUsage};
use tempfile::TempDir;
use tonic::Request;

use super::{get, put_of};
use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{Presignd, TestClock, request, static_tenant};
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};

const GRANTS: &str =
    r#"grants: [{ commands: [read, write, delete], resources: ["acme-files/*"] }]"#;
const HOUR: u64 = 3600;
/// Noon in UTC of the tenth of November 2026.
const NOON: u64 = 1_794_312_000;
/// To the first of December.
const TO_DECEMBER: u64 = 20 * 24 * HOUR + 12 * HOUR;

/// presignd whose clock stands still, and two callers: `media` sees all, and `billing` only acme.
struct Using {
    presignd: Presignd,
    media: String,
    billing: String,
    _folder: TempDir,
}

impl Using {
    async fn start(service: &str, limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (media, billing) = (new_key().await, new_key().await);
        let top = format!(
            "state: {{ dir: \"{}\" }}
authentication: {{ api_keys: {{ media: [\"{}\"], billing: [\"{}\"] }} }}
callers:
  - {{ match: {{ api_key: media }}, tenants: [\"*\"], may: [sign, usage, operate] }}
  - {{ match: {{ api_key: billing }}, tenants: [acme], may: [sign, usage] }}
limits: [{service}]",
            folder.path().display(),
            media.1,
            billing.1
        );
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(NOON);
        let tenant = static_tenant(&format!("{GRANTS}\nlimits: [{limits}]"));
        let presignd = Presignd::with_tenant("acme", &tenant)
            .with_tenant("globex", &static_tenant(GRANTS))
            .with_clock(Arc::new(TestClock::stopped_at(noon)))
            .with_callers(&top);
        Self {
            presignd: presignd.start().await,
            media: media.0,
            billing: billing.0,
            _folder: folder,
        }
    }

    async fn usage(&self, key: &str) -> Vec<LimitUsage> {
        usage(&self.presignd, Some(key)).await
    }

    async fn ask(
        &self,
        key: &str,
        tenant: &str,
        command: presignd::proto::v1::command::Command,
    ) -> Result<(), tonic::Status> {
        let asked = by(Some(key), request(tenant, command));
        let answer = self.presignd.client.clone().presign(asked).await;
        answer.map(|_| ())
    }
}

fn by<T>(key: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        let shown = key.parse().expect("ASCII");
        request.metadata_mut().insert("x-api-key", shown);
    }
    request
}

async fn usage(presignd: &Presignd, key: Option<&str>) -> Vec<LimitUsage> {
    let address = format!("http://{}", presignd.address);
    let mut operations = OperationsServiceClient::connect(address).await.unwrap();
    let tenant = "acme".to_owned();
    let asked = by(key, GetUsageRequest { tenant });
    let answer = operations.get_usage(asked).await.unwrap();
    answer.into_inner().limits
}

/// Of a limit of the tenant's URLs: how much there may be, how much is used, and in how many seconds all of it is there again.
fn of(limit: &str, most: u64, used: u64, reset: u64) -> LimitUsage {
    LimitUsage {
        limit: limit.to_owned(),
        unit: "urls".to_owned(),
        scope: "tenant".to_owned(),
        caller: String::new(),
        most,
        used,
        left: most - used,
        reset: Some(prost_types::Duration {
            seconds: reset.cast_signed(),
            nanos: 0,
        }),
        shadow: false,
    }
}

fn of_service(limit: LimitUsage) -> LimitUsage {
    LimitUsage {
        scope: "service".to_owned(),
        ..limit
    }
}

fn of_bytes(limit: LimitUsage) -> LimitUsage {
    LimitUsage {
        unit: "upload_bytes".to_owned(),
        ..limit
    }
}

fn of_caller(caller: &str, limit: LimitUsage) -> LimitUsage {
    LimitUsage {
        scope: "caller".to_owned(),
        caller: caller.to_owned(),
        ..limit
    }
}

#[tokio::test]
async fn every_kind_of_limit_tells_what_was_used_of_it() {
    let using = Using::start(
        "{ name: everybody, rate: 6/h, burst: 20 }, { name: all-bytes, upload_bytes: 1KiB, per: month }",
        "{ name: rate, rate: 6/h, burst: 10 }, \
         { name: reads, commands: [read], rate: 1/h, burst: 3 }, \
         { name: daily, urls: 100, per: day }, \
         { name: berlin, urls: 100, per: day, time_zone: Europe/Berlin }, \
         { name: monthly, urls: 1000, per: month }, \
         { name: bytes, upload_bytes: 100B, per: day }, \
         { name: month-bytes, upload_bytes: 4096TiB, per: month }, \
         { name: weighed, urls: 50, per: day, weights: { PutObject: 7, read: 2 } }, \
         { name: own, rate: 6/h, burst: 5, each: caller }, \
         { name: own-daily, urls: 9, per: day, each: caller }, \
         { name: shadow, urls: 2, per: day, shadow: true }, \
         { name: deletes, commands: [delete], rate: 1/h, burst: 4 }",
    )
    .await;
    let day = 12 * HOUR;
    let nothing = using.usage(&using.media).await;
    let used: Vec<_> = nothing.iter().filter(|limit| limit.used > 0).collect();
    assert!(used.is_empty(), "{used:?}");
    // Those of each caller are of callers who have asked.
    assert_eq!(nothing.len(), 12);

    for (key, tenant, command) in [
        (&using.media, "acme", get()),
        (&using.media, "acme", put_of(10)),
        (&using.billing, "acme", get()),
        (&using.media, "globex", put_of(20)),
    ] {
        let _ = using.ask(key, tenant, command).await;
    }
    let globex = crate::harness::presignd::get_object("acme-files", "k");
    using.ask(&using.media, "globex", globex).await.unwrap();
    // One that is refused uses nothing.
    let over = refused(using.ask(&using.media, "acme", put_of(91)).await);
    assert_eq!(over.quotas, ["tenant:acme/limit:bytes"]);

    let own = [
        of("rate", 10, 3, 3 * 600),
        of("reads", 3, 2, 2 * HOUR),
        of("daily", 100, 3, day),
        of("berlin", 100, 3, day - HOUR),
        of("monthly", 1000, 3, TO_DECEMBER),
        of_bytes(of("bytes", 100, 10, day)),
        of_bytes(of("month-bytes", 1 << 52, 10, TO_DECEMBER)),
        of("weighed", 50, 2 + 7 + 2, day),
        of_caller("key.billing", of("own", 5, 1, 600)),
        of_caller("key.media", of("own", 5, 2, 2 * 600)),
        of_caller("key.billing", of("own-daily", 9, 1, day)),
        of_caller("key.media", of("own-daily", 9, 2, day)),
        LimitUsage {
            shadow: true,
            ..of("shadow", 2, 2, day)
        },
        of("deletes", 4, 0, 0),
    ];
    let service = [
        of_service(of("everybody", 20, 5, 5 * 600)),
        of_service(of_bytes(of("all-bytes", 1024, 30, TO_DECEMBER))),
    ];
    let all: Vec<_> = service.iter().chain(&own).cloned().collect();
    assert_eq!(using.usage(&using.media).await, all);
    // What others use is for those who may see all of them.
    assert_eq!(using.usage(&using.billing).await, own);
    assert_eq!(using.usage(&using.media).await, all, "looking uses nothing");
    let address = format!("http://{}", using.presignd.address);
    let mut operations = OperationsServiceClient::connect(address).await.unwrap();
    let tenant = "acme".to_owned();
    let asked = by(Some(&using.media), GetTenantRequest { tenant });
    let tenant = operations.get_tenant(asked).await.unwrap().into_inner();
    assert_eq!(tenant.tenant.unwrap().limits, all);

    // Ten minutes on, one of each rate of six in an hour is back, and no more of a day.
    using.presignd.clock.advance(Duration::from_mins(10));
    let later = using.usage(&using.billing).await;
    assert_eq!(later[0], of("rate", 10, 2, 2 * 600));
    assert_eq!(later[1], of("reads", 3, 2, 2 * HOUR - 600));
    assert_eq!(later[2], of("daily", 100, 3, day - 600));
    // And the next day all of it.
    using.presignd.clock.advance(Duration::from_secs(day));
    let next = using.usage(&using.billing).await;
    assert_eq!(next[0], of("rate", 10, 0, 0));
    assert_eq!(next[2], of("daily", 100, 0, 24 * HOUR - 600));
    assert_eq!(next[4], of("monthly", 1000, 3, TO_DECEMBER - day - 600));
    using.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn calls_of_sts_are_used_while_they_are_under_way() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let limits = "session: { scope: object }
limits: [{ name: many, sts_calls: 5 }, { name: urls, rate: 1/h, burst: 9 }, { name: few, sts_calls: 3 }]";
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", &format!("{GRANTS}\n{limits}"))
        .with_callers("callers: [{ match: anyone, may: [sign, usage] }]")
        .start()
        .await;
    // The least of them holds.
    let calls = |used| LimitUsage {
        unit: "sts_calls".to_owned(),
        ..of("few", 3, used, 0)
    };
    let told = usage(&presignd, None).await;
    assert_eq!(told, [of("urls", 9, 0, 0), calls(0)]);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..2 {
        let mut client = presignd.client.clone();
        let key = format!("in/{n}");
        let asked = request(
            "acme",
            crate::harness::presignd::get_object("acme-files", &key),
        );
        asking.spawn(async move { client.presign(asked).await });
    }
    sts.called(2).await;
    assert_eq!(usage(&presignd, None).await[1], calls(2));
    sts.answer(Answer::Session(Duration::from_hours(1)));
    for answer in asking.join_all().await {
        answer.unwrap();
    }
    assert_eq!(usage(&presignd, None).await[1], calls(0));
    presignd.shutdown().await.unwrap();
}
