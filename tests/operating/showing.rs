//! What operators are shown: all that holds, and nothing that could sign.

use presignd::proto::v1::operations_service_client::OperationsServiceClient;
use presignd::proto::v1::tenant_policy::Credentials;
use presignd::proto::v1::{
    Dependency, DependencyKind, DependencyState, GetStatusRequest, GetTenantRequest,
    GetUsageRequest,
};
use tonic::Request;

use super::{BOSS, CLIENT, Operated};
use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{Presignd, get_object, request};
use crate::harness::sts::FakeSts;

const SETTINGS: &str = "deny: [{ commands: [delete], resources: [\"acme-files/keep/*\"] }]
limits: [{ name: all, rate: 1/h, burst: 5 }]
expiry: { default: 10m, max: 1h }
buckets: { media: { bucket: acme-media-7f, region: eu-central-1, endpoint: { url: \"http://127.0.0.1:9\", path_style: true } } }
";

#[tokio::test]
async fn a_tenant_is_shown_as_it_is_without_its_secrets() {
    let over = Operated::start_with("state: { dir: state }\n", SETTINGS).await;
    over.presign("acme").await.unwrap();
    over.suspend("acme").await;
    let asked = GetTenantRequest {
        tenant: "acme".to_owned(),
    };
    let asked = over.by(BOSS, asked);
    let answer = over.operations().get_tenant(asked).await.unwrap();
    let answer = answer.into_inner();
    let all = format!("{answer:?}");
    assert!(!all.contains("PLANTED"), "{all}");
    let tenant = answer.tenant.unwrap();
    assert_eq!(tenant.tenant, "acme");
    assert_eq!(tenant.suspended.unwrap().reason, "a key was leaked");
    let grant = "commands: [read, write, delete], resources: [acme-files/*], max_expiry: 7200s";
    assert_eq!(tenant.grants[0].text, grant);
    assert!(!tenant.grants[0].ended);
    let deny = "commands: [delete], resources: [acme-files/keep/*]";
    assert_eq!(tenant.deny[0].text, deny);
    assert_eq!(tenant.default_expiry.unwrap().seconds, 600);
    assert_eq!(tenant.max_expiry.unwrap().seconds, 3600);
    let limit = &tenant.limits[0];
    assert_eq!((&*limit.limit, limit.most), ("all", 5));
    assert_eq!((limit.used, limit.left), (1, 4));
    let id = Credentials::StaticAccessKeyId("AKIDACME".to_owned());
    assert_eq!(tenant.credentials, Some(id));
    let home = tenant.home.unwrap();
    assert_eq!(
        (&*home.region, &*home.url),
        ("us-east-1", "http://127.0.0.1:9")
    );
    let media = &tenant.buckets["media"];
    assert_eq!(
        (&*media.bucket, &*media.region),
        ("acme-media-7f", "eu-central-1")
    );
}

#[tokio::test]
async fn usage_is_told_and_not_charged() {
    let over = Operated::start_with("", SETTINGS).await;
    for used in 0..3 {
        for _ in 0..2 {
            let asked = GetUsageRequest {
                tenant: "acme".to_owned(),
            };
            let asked = over.by(CLIENT, asked);
            let answer = over.operations().get_usage(asked).await.unwrap();
            let limits = answer.into_inner().limits;
            assert_eq!(limits.len(), 1);
            let limit = &limits[0];
            assert_eq!((limit.used, limit.left, limit.most), (used, 5 - used, 5));
            assert_eq!((&*limit.unit, &*limit.scope), ("urls", "tenant"));
            assert_eq!(limit.reset.as_ref().unwrap().seconds > 0, used > 0);
        }
        over.presign("acme").await.unwrap();
    }
}

fn of(kind: DependencyKind, dependencies: &[Dependency]) -> Vec<(&str, DependencyState)> {
    let mut found: Vec<_> = dependencies.iter().filter(|d| d.kind() == kind).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.iter().map(|d| (&*d.name, d.state())).collect()
}

fn by<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let shown = key.parse().expect("ASCII");
    request.metadata_mut().insert("x-api-key", shown);
    request
}

#[tokio::test]
async fn a_status_tells_of_sessions_and_of_what_presignd_needs() {
    let (sts, (key, hash)) = (FakeSts::start().await, new_key().await);
    let grants = "grants: [{ commands: [read], resources: [\"acme-files/*\"] }]";
    let callers = format!(
        "authentication: {{ api_keys: {{ boss: [\"{hash}\"] }} }}
callers: [{{ match: {{ api_key: boss }}, tenants: [\"*\"], may: [sign, operate] }}]"
    );
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", grants)
        .with_tenant("globex", &sts.tenant("globex", "", grants))
        .with_callers(&callers)
        .start()
        .await;
    let address = format!("http://{}", presignd.address);
    let mut operations = OperationsServiceClient::connect(address).await.unwrap();
    let status = operations.get_status(by(&key, GetStatusRequest {})).await;
    let status = status.unwrap().into_inner();
    assert_eq!(status.session_count, 0);
    assert!(of(DependencyKind::Sts, &status.dependencies).is_empty());
    let asked = request("acme", get_object("acme-files", "k"));
    let mut client = presignd.client.clone();
    client.presign(by(&key, asked)).await.unwrap();
    presignd.clock.advance(std::time::Duration::from_secs(100));

    let status = operations.get_status(by(&key, GetStatusRequest {})).await;
    let status = status.unwrap().into_inner();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(status.ready);
    assert!(status.uptime.unwrap().seconds >= 100);
    assert_eq!(status.session_count, 1);
    let [sessions] = &status.sessions[..] else {
        panic!("{:?}", status.sessions)
    };
    assert_eq!((&*sessions.tenant, sessions.count), ("acme", 1));
    let age = sessions.oldest_age.unwrap().seconds;
    assert!((99..130).contains(&age), "{age}");
    let working = |name| vec![(name, DependencyState::Working)];
    let needed = &status.dependencies;
    assert_eq!(of(DependencyKind::AuditOutput, needed), working(""));
    let [(_, DependencyState::Working)] = of(DependencyKind::Sts, needed)[..] else {
        panic!("{needed:?}")
    };
    for kind in [DependencyKind::Otlp, DependencyKind::Orders] {
        assert_eq!(of(kind, needed), [("", DependencyState::NotConfigured)]);
    }
    let asked = GetTenantRequest {
        tenant: "acme".to_owned(),
    };
    let tenant = operations.get_tenant(by(&key, asked)).await.unwrap();
    let Some(Credentials::Role(role)) = tenant.into_inner().tenant.unwrap().credentials else {
        panic!("a role")
    };
    assert_eq!(role.session_count, 1);
    assert_eq!(role.sessions[0].role_session_name, "presignd-acme.key.boss");
    assert!(role.sessions[0].expires_at.is_some());
    presignd.shutdown().await.unwrap();
}
