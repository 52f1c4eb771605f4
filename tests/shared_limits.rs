//! Limits hold for all replicas together, and each does as it says while Redis is away.

use std::time::Duration;

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::presignd::{get_object, put_object, request};
use crate::harness::process::{Process, serve, static_tenant};
use crate::harness::redis::Redis;
use crate::harness::refusal::Refused;
use crate::harness::relay::Relay;

type Client = PresignServiceClient<Channel>;

/// A replica with these limits, on a Redis at this address.
fn configuration(commands: &str, limits: &str, address: &str, redis: &str) -> String {
    let tenant = static_tenant(commands, "");
    format!(
        "{tenant}    limits:\n{limits}state:\n  redis: {{ servers: [\"{address}\"], {redis} }}\n"
    )
}

async fn ask(client: &Client, command: Variant) -> Result<(), Status> {
    let asked = client.clone().presign(request("acme", command)).await;
    asked.map(|_| ())
}

fn get() -> Variant {
    get_object("acme-files", "k")
}

/// Three replicas whose tenant has these limits, asked as below.
async fn issued_by_three(limits: &str, attempts: usize) -> usize {
    let redis = Redis::start().await;
    let address = redis.address().to_string();
    issued_by(
        configuration("[read]", limits, &address, "timeout: 2s"),
        attempts,
    )
    .await
}

/// Three replicas with this limit of the whole service, asked as below. Leases of tenants' limits are off.
async fn issued_of_the_service(limit: &str, attempts: usize) -> usize {
    let redis = Redis::start().await;
    let address = redis.address();
    let tenant = static_tenant("[read]", "");
    let yaml = format!(
        "{tenant}limits: [{limit}]\nstate: {{ redis: {{ servers: [\"{address}\"], timeout: 2s, lease: {{ share: 0% }} }} }}\n"
    );
    issued_by(yaml, attempts).await
}

/// Three replicas, each asked by four at a time, until each was asked so often; and how many they issued in all.
async fn issued_by(yaml: String, attempts: usize) -> usize {
    let mut processes = Vec::new();
    for _ in 0..3 {
        let (process, client) = serve(&yaml).await;
        shared(&client, &process).await;
        processes.push((process, client));
    }
    let mut asking = Vec::new();
    for (_, client) in &processes {
        for _ in 0..4 {
            let client = client.clone();
            asking.push(tokio::spawn(async move {
                let mut issued = 0;
                for _ in 0..attempts / 4 {
                    match ask(&client, get()).await {
                        Ok(()) => issued += 1,
                        Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
                    }
                }
                issued
            }));
        }
    }
    let mut issued = 0;
    for asked in asking {
        issued += asked.await.expect("no panic");
    }
    issued
}

/// Waits until a replica has found Redis: until then limits that are closed refuse. What it is asked meanwhile is a command that no
/// limit here counts.
async fn shared(client: &Client, process: &Process) {
    let waiting = async {
        loop {
            match ask(client, get()).await {
                Err(status) if status.code() == Code::Unavailable => {}
                Ok(()) => break,
                Err(status) => panic!("{status:?}: {}", process.stderr()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    waited.expect("Redis is found");
}

/// Three replicas under a rate of 1200 an hour and 600 at once issue no more than that and a block each, of six; and not much less.
async fn assert_within_a_rate(issued: impl Future<Output = usize>) {
    let begun = tokio::time::Instant::now();
    // Three more, with which each was found ready.
    let issued = issued.await + 3;
    let earned = usize::try_from(begun.elapsed().as_secs() / 3).expect("not long") + 1;
    assert!(
        issued <= 600 + earned + 3 * 6,
        "{issued} in {:?}",
        begun.elapsed()
    );
    assert!(issued >= 600 - 3 * 6, "{issued}");
}

/// Three replicas that may issue 600 a day never issue more; and not much less.
async fn assert_within_a_day(asking: impl AsyncFn() -> usize) {
    // It may be midnight while this runs, but not twice.
    let (mut issued, mut tries) = (usize::MAX, 0);
    while issued > 600 && tries < 2 {
        issued = asking().await + 3;
        tries += 1;
    }
    assert!((600 - 3 * 6..=600).contains(&issued), "{issued}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_stay_within_a_rate_and_their_blocks() {
    let limits = "      - { name: all, rate: 1200/h, burst: 600 }\n";
    assert_within_a_rate(issued_by_three(limits, 400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_never_exceed_a_day() {
    let limits = "      - { name: all, urls: 600, per: day }\n";
    assert_within_a_day(async || issued_by_three(limits, 400).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_stay_within_a_rate_of_the_whole_service_and_their_blocks() {
    let limit = "{ name: everybody, rate: 1200/h, burst: 600 }";
    assert_within_a_rate(issued_of_the_service(limit, 400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_never_exceed_a_day_of_the_whole_service() {
    let limit = "{ name: everybody, urls: 600, per: day }";
    assert_within_a_day(async || issued_of_the_service(limit, 400).await).await;
}

/// What is done to Redis, and how it is undone.
enum Outage {
    Killed,
    Hung,
    Cut,
}

/// Every limit does as it says while Redis is away, nobody waits long, and it is found again.
async fn outage(outage: Outage) {
    let mut redis = Redis::start().await;
    let relay = Relay::to(&format!("http://{}", redis.address())).await;
    let address = relay.url().trim_start_matches("http://").to_owned();
    let limits = "      - { name: reads, commands: [read], rate: 1000/s, burst: 1000 }
      - { name: writes, commands: [write], rate: 1/h, burst: 1, when_away: open }
      - { name: lists, commands: [list], rate: 1/h, burst: 8, when_away: local }\n";
    let more = "timeout: 200ms, replicas: 4, lease: { share: 0% }";
    let yaml = configuration("[read, write, list]", limits, &address, more);
    let (process, client) = serve(&yaml).await;
    shared(&client, &process).await;
    let put = || put_object("acme-files", "k");
    let list = || {
        Variant::ListObjectsV2(s3::ListObjectsV2 {
            bucket: Some("acme-files".to_owned()),
            ..s3::ListObjectsV2::default()
        })
    };
    ask(&client, put()).await.expect("the first");
    let second = ask(&client, put()).await.expect_err("the burst is one");
    assert_eq!(second.code(), Code::ResourceExhausted);
    match outage {
        Outage::Killed => redis.kill(),
        Outage::Hung => redis.signal("STOP"),
        Outage::Cut => relay.cut(true),
    }
    process.stderr_line("Redis is away").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..20 {
        let closed = ask(&client, get()).await.expect_err("it is closed");
        assert_eq!(closed.code(), Code::Unavailable);
        let refused = Refused::read(&closed);
        assert_eq!(refused.why(), (Code::Unavailable, "COUNTS_UNAVAILABLE"));
        ask(&client, put()).await.expect("it is open");
    }
    // This replica's share of eight is two.
    let mut local = 0;
    for _ in 0..5 {
        match ask(&client, list()).await {
            Ok(()) => local += 1,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
    assert_eq!(local, 2);
    // Forty-five waits of 200 ms would be nine seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    match outage {
        Outage::Killed => redis.restart().await,
        Outage::Hung => redis.signal("CONT"),
        Outage::Cut => relay.cut(false),
    }
    process.stderr_line("Redis is back").await;
    shared(&client, &process).await;
    let said = process.stderr();
    let switches = |words: &str| said.matches(words).count();
    assert!(
        switches("Redis is away") <= 2 && switches("Redis is back") <= 2,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_do_as_they_say_while_redis_is_killed() {
    outage(Outage::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_do_as_they_say_while_redis_hangs() {
    outage(Outage::Hung).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_do_as_they_say_while_redis_is_cut_off() {
    outage(Outage::Cut).await;
}
