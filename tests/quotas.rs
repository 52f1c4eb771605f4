//! How much: days and their counts through restarts and reloads, bytes, weights, callers, the whole service, and what answers say of it.

mod restarting;
mod service;
mod uploading;
mod usage;

use std::time::{Duration, UNIX_EPOCH};

use presignd::audit::AuditError;
use presignd::clock::Clock as _;
use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use tempfile::TempDir;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{Presignd, batch, get_object, put_object, request, static_tenant};
use crate::harness::refusal::{Refused, refused};

const GRANTS: &str =
    r#"grants: [{ commands: [read, write, delete], resources: ["acme-files/*"] }]"#;
const ANYONE: &str = "callers: [{ match: anyone }]";
const DAY: Duration = Duration::from_hours(24);

/// presignd at noon, with two tenants under the same limits, and a folder for counts.
struct Counting {
    presignd: Presignd,
    _folder: TempDir,
}

impl Counting {
    /// `top` is more of the configuration's top level, such as `callers`.
    async fn with(top: &str, limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let top = format!("{top}\nstate: {{ dir: \"{}\" }}", folder.path().display());
        let tenant = static_tenant(&format!("{GRANTS}\nlimits: [{limits}]"));
        let builder = Presignd::with_tenant("acme", &tenant)
            .with_tenant("globex", &tenant)
            .with_callers(&top);
        let presignd = builder.start().await;
        // A day's end is far away, whenever this runs.
        let now = presignd.clock.now().duration_since(UNIX_EPOCH).unwrap();
        let to_midnight = DAY.as_secs() - now.as_secs() % DAY.as_secs();
        let noon = Duration::from_secs(to_midnight) + DAY / 2;
        presignd.clock.advance(noon);
        Self {
            presignd,
            _folder: folder,
        }
    }

    async fn ask(&self, command: Variant) -> Result<(), Refused> {
        match self.presignd.presign(request("acme", command)).await {
            Ok(_) => Ok(()),
            Err(status) => Err(Refused::read(&status)),
        }
    }

    /// How many of `attempts` are issued.
    async fn issued(&self, command: &Variant, attempts: usize) -> usize {
        let mut issued = 0;
        for _ in 0..attempts {
            issued += usize::from(self.ask(command.clone()).await.is_ok());
        }
        issued
    }
}

fn get() -> Variant {
    get_object("acme-files", "k")
}

fn put_of(bytes: i64) -> Variant {
    Variant::PutObject(s3::PutObject {
        bucket: Some("acme-files".into()),
        key: Some("k".into()),
        content_length: Some(bytes),
        ..s3::PutObject::default()
    })
}

fn told<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_day_holds_so_many_urls_and_the_next_as_many_again() {
    let counting = Counting::with(ANYONE, "{ name: daily, urls: 3, per: day }").await;
    assert_eq!(counting.issued(&get(), 3).await, 3);
    let refused = counting.ask(get()).await.unwrap_err();
    assert_eq!(refused.why(), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    assert_eq!(refused.quotas, ["tenant:acme/limit:daily"]);
    assert_eq!(refused.metadata["limit"], "daily");
    assert_eq!(refused.metadata["scope"], "tenant");
    // At midnight or up to a quarter of the wait later, so that not all come back together.
    let wait = refused.retry_after.unwrap();
    assert!(wait > Duration::from_hours(11) && wait <= Duration::from_hours(15));
    let record = counting.presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "denied");
    // Another tenant's day is another count.
    let globex = request("globex", get());
    counting.presignd.presign(globex).await.unwrap();

    counting.presignd.clock.advance(wait);
    assert_eq!(counting.issued(&get(), 5).await, 3);
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_at_once_get_all_that_a_small_day_holds() {
    let counting = Counting::with(ANYONE, "{ name: daily, urls: 60, per: day }").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let mut client = counting.presignd.client.clone();
        tasks.spawn(async move { client.presign(request("acme", get())).await });
    }
    while let Some(answer) = tasks.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(counting.issued(&get(), 1).await, 0);
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_day_counts_the_bytes_that_are_declared() {
    let counting = Counting::with(ANYONE, "{ name: bytes, upload_bytes: 10B, per: day }").await;
    let undeclared = counting.ask(put_object("acme-files", "k")).await;
    let undeclared = undeclared.unwrap_err();
    assert_eq!(undeclared.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert!(undeclared.message.contains("content_length"));
    counting.ask(put_of(6)).await.unwrap();
    let refused = counting.ask(put_of(6)).await.unwrap_err();
    assert_eq!(refused.why(), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    counting.ask(put_of(4)).await.unwrap();
    counting.ask(put_of(1)).await.unwrap_err();
    // Whoever uploads nothing is not held up.
    counting.ask(get()).await.unwrap();
    // More than a day ever holds: there is nothing to wait for.
    let never = counting.ask(put_of(11)).await.unwrap_err();
    assert_eq!(
        (never.reason.as_str(), never.retry_after),
        ("QUOTA_EXCEEDED", None)
    );
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn commands_weigh_what_they_are_said_to() {
    let limit = "{ name: all, rate: 1/h, burst: 10, weights: { PutObject: 3, read: 2 } }";
    let counting = Counting::with(ANYONE, limit).await;
    assert_eq!(counting.issued(&put_of(1), 5).await, 3);
    // One is left, and reading takes two.
    assert_eq!(counting.issued(&get(), 1).await, 0);
    let delete = Variant::DeleteObject(s3::DeleteObject {
        bucket: Some("acme-files".into()),
        key: Some("k".into()),
        ..s3::DeleteObject::default()
    });
    assert_eq!(counting.issued(&delete, 2).await, 1);
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn each_caller_has_a_count_where_a_limit_says_so() {
    let (media, billing) = (new_key().await, new_key().await);
    let top = format!(
        "authentication: {{ api_keys: {{ media: [\"{}\"], billing: [\"{}\"] }} }}
callers:
  - {{ match: {{ api_key: media }}, tenants: [acme] }}
  - {{ match: {{ api_key: billing }}, tenants: [acme] }}",
        media.1, billing.1
    );
    let limits =
        "{ name: own, rate: 1/h, burst: 2, each: caller }, { name: all, rate: 1/h, burst: 3 }";
    let counting = Counting::with(&top, limits).await;
    let ask = async |key: &str| {
        let mut request = Request::new(request("acme", get()));
        request
            .metadata_mut()
            .insert("x-api-key", key.parse().unwrap());
        counting.presignd.client.clone().presign(request).await
    };
    for _ in 0..2 {
        ask(&media.0).await.unwrap();
    }
    let own = refused(ask(&media.0).await);
    assert_eq!(own.quotas, ["tenant:acme/limit:own"]);
    assert_eq!(own.metadata["scope"], "caller");
    ask(&billing.0).await.unwrap();
    // Their own count has room; that of all is used up, and what was refused above took nothing of it.
    let all = refused(ask(&billing.0).await);
    assert_eq!(all.quotas, ["tenant:acme/limit:all"]);
    assert_eq!(all.metadata["scope"], "tenant");
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_services_limit_counts_all_tenants_together() {
    let top = format!("{ANYONE}\nlimits: [{{ name: everybody, rate: 1/h, burst: 3 }}]");
    let counting = Counting::with(&top, "{ name: all, rate: 1/h, burst: 2 }").await;
    assert_eq!(counting.issued(&get(), 2).await, 2);
    // Refused by its tenant's limit, so the service's is given back.
    let own = counting.ask(get()).await.unwrap_err();
    assert_eq!(own.quotas, ["tenant:acme/limit:all"]);
    let globex = || counting.presignd.presign(request("globex", get()));
    globex().await.unwrap();
    let service = refused(globex().await);
    assert_eq!(service.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(service.quotas, ["service/limit:everybody"]);
    assert_eq!(service.metadata["scope"], "service");
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shadow_lets_through_and_the_record_says_so() {
    let limits = "{ name: dry, rate: 1/h, burst: 1, shadow: true }";
    let counting = Counting::with(ANYONE, limits).await;
    assert_eq!(counting.issued(&get(), 3).await, 3);
    let records = counting.presignd.records.all();
    let shadows: Vec<_> = records.iter().map(|r| r.get("shadow_limits")).collect();
    let dry = serde_json::json!(["dry"]);
    assert_eq!(shadows, [None, Some(&dry), Some(&dry)]);
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_not_issued_is_given_back() {
    let limits = "{ name: all, rate: 1/h, burst: 2 }, { name: daily, urls: 2, per: day }";
    let counting = Counting::with(ANYONE, limits).await;
    let records = &counting.presignd.records;
    records.fail(Some(AuditError::Full(1)));
    for _ in 0..5 {
        let failed = counting.ask(get()).await.unwrap_err();
        assert_ne!(failed.code, Code::ResourceExhausted, "{failed:?}");
        let both = batch("acme", [get(), get()]);
        counting.presignd.presign_batch(both).await.unwrap_err();
    }
    records.fail(None);
    assert_eq!(counting.issued(&get(), 3).await, 2);
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_is_charged_by_what_is_allowed_of_it() {
    let counting = Counting::with(ANYONE, "{ name: daily, urls: 4, per: day }").await;
    let asked = || batch("acme", [get(), get_object("globex-files", "k"), get()]);
    for _ in 0..2 {
        let results = counting.presignd.presign_batch(asked()).await.unwrap();
        let issued = results
            .iter()
            .filter(|r| matches!(r, ItemResult::Response(_)));
        assert_eq!(issued.count(), 2);
    }
    let refused = refused(counting.presignd.presign_batch(asked()).await);
    assert_eq!(refused.why(), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    counting.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn answers_tell_what_there_is_and_what_is_left() {
    let limits = "{ name: all, rate: 6/h, burst: 2 }, { name: daily, urls: 9, per: day, commands: [read] }, \
         { name: bytes, upload_bytes: 1KiB, per: month, commands: [PutObject] }";
    let counting = Counting::with(ANYONE, limits).await;
    let client = &counting.presignd.client;
    let policy = r#""all";q=2;w=1200, "daily";q=9;w=86400, "bytes";q=1024;qu="content-bytes""#;

    let answer = client
        .clone()
        .presign(request("acme", get()))
        .await
        .unwrap();
    assert_eq!(told(answer.metadata(), "ratelimit-policy"), Some(policy));
    let left = told(answer.metadata(), "ratelimit").unwrap();
    assert!(left.starts_with(r#""all";r=1;t="#), "{left}");
    assert!(left.contains(r#", "daily";r=8;t="#), "{left}");

    let both = batch("acme", [put_of(24)]);
    let answer = client.clone().batch_presign(both).await.unwrap();
    let left = told(answer.metadata(), "ratelimit").unwrap();
    assert!(left.starts_with(r#""all";r=0;t="#), "{left}");
    assert!(left.contains(r#", "bytes";r=1000;t="#), "{left}");

    let status = client.clone().presign(request("acme", get())).await;
    let status = status.unwrap_err();
    assert_eq!(told(status.metadata(), "ratelimit-policy"), Some(policy));
    let left = told(status.metadata(), "ratelimit").unwrap();
    assert!(left.starts_with(r#""all";r=0;t="#), "{left}");
    counting.presignd.shutdown().await.unwrap();
}

/// A tenant that asks a hundred times as often as it may is refused, and nobody else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_noisy_tenant_is_refused_and_the_others_are_not() {
    const NOISY: usize = 8;
    const EACH: usize = 125;
    let counting = Counting::with(ANYONE, "{ name: all, rate: 1/h, burst: 10 }").await;
    let mut noise = tokio::task::JoinSet::new();
    for _ in 0..NOISY {
        let mut client = counting.presignd.client.clone();
        noise.spawn(async move {
            let mut issued = 0;
            for _ in 0..EACH {
                match client.presign(request("acme", get())).await {
                    Ok(_) => issued += 1,
                    Err(status) => {
                        let refused = Refused::read(&status);
                        assert_eq!(refused.quotas, ["tenant:acme/limit:all"]);
                    }
                }
            }
            issued
        });
    }
    for _ in 0..10 {
        let quiet = counting.presignd.presign(request("globex", get()));
        quiet.await.unwrap();
    }
    let issued: usize = noise.join_all().await.into_iter().sum();
    assert_eq!(issued, 10, "of {}", NOISY * EACH);
    counting.presignd.shutdown().await.unwrap();
}
