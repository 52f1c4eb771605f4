//! Metrics as a collector gets them: they move as requests do, hold nothing of what is asked, and are told in `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use presignd::metrics::{ALL, Kind, Metric};
use presignd::proto::v1::StreamPresignRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::ceph::Ceph;
use crate::harness::collector::Collector;
use crate::harness::presignd::{ceph_tenant, get_object, put_object, request};
use crate::harness::process::{self, presignd, static_tenant, with_config};
use crate::harness::tools::repository;

/// Numbers by name and attributes: `presignd.spans{presignd.result=failed}`. Of a histogram, how many it counts.
fn numbers(export: &ExportMetricsServiceRequest) -> BTreeMap<String, i64> {
    let mut numbers = BTreeMap::new();
    let resources = export.resource_metrics.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        let points = match metric.data.as_ref().expect("data") {
            Data::Sum(sum) => &sum.data_points,
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                    let count = i64::try_from(point.count).expect("few");
                    numbers.insert(series(&metric.name, &point.attributes), count);
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        for point in points {
            let Some(Value::AsInt(number)) = point.value else {
                panic!("{point:?}");
            };
            let twice = numbers.insert(series(&metric.name, &point.attributes), number);
            assert!(twice.is_none(), "{} twice", metric.name);
        }
    }
    numbers
}

fn series(name: &str, attributes: &[KeyValue]) -> String {
    let attribute = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(format!("{}={text}", pair.key)),
        _ => None,
    };
    let attributes: Vec<String> = attributes.iter().filter_map(attribute).collect();
    if attributes.is_empty() {
        return name.to_owned();
    }
    format!("{name}{{{}}}", attributes.join(","))
}

fn telemetry(endpoint: &str) -> String {
    format!(
        "telemetry: {{ otlp: {{ endpoint: \"{endpoint}\", timeout: 1s, metrics_interval: 1s }} }}\n"
    )
}

fn call(method: &str, code: &str) -> String {
    format!(
        "rpc.server.call.duration{{rpc.system.name=grpc,rpc.method=presignd.v1.PresignService/{method},\
         rpc.response.status_code={code}}}"
    )
}

#[tokio::test]
async fn what_is_done_is_counted_and_sent_before_the_end() {
    let (collector, url) = Collector::start().await;
    let config = telemetry(&url) + &static_tenant("[GetObject]", "");
    let (presignd, mut client) = process::serve(&config).await;
    for key in ["a", "b", "c"] {
        let asked = request("acme", get_object("acme-files", key));
        client.presign(asked).await.expect("a URL");
    }
    let denied = request("acme", put_object("acme-files", "k"));
    client.presign(denied).await.expect_err("not granted");
    drop(client);
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let exports = collector.exports();
    let first = numbers(exports.first().expect("one at the start"));
    assert_eq!(first["presignd.tenants"], 1);
    assert_eq!(first["presignd.configuration.good"], 1);
    let last = numbers(exports.last().expect("one at the end"));
    let lines = ended.stdout.len();
    for (series, expected) in [
        ("presignd.decisions{presignd.outcome=issued}", 3),
        (
            "presignd.decisions{presignd.outcome=denied,presignd.reason_code=COMMAND_DENIED}",
            1,
        ),
        (&call("Presign", "OK"), 3),
        (&call("Presign", "PERMISSION_DENIED"), 1),
        ("presignd.audit.records{presignd.result=confirmed}", 4),
        ("presignd.audit.records{presignd.result=failed}", 0),
        ("presignd.audit.bytes", i64::try_from(lines).unwrap()),
        ("presignd.audit.waiting", 0),
        ("presignd.spans{presignd.result=exported}", 4),
        ("presignd.spans{presignd.result=failed}", 0),
        ("presignd.spans.waiting", 0),
        ("presignd.requests.in_flight", 0),
        ("presignd.connections.open", 0),
        ("presignd.streams.open", 0),
    ] {
        assert_eq!(last.get(series), Some(&expected), "{series}: {last:#?}");
    }
}

/// A session that STS gives, and a stream that its client ends.
#[tokio::test]
async fn sessions_and_streams_are_counted() {
    let (collector, url) = Collector::start().await;
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [GetObject], resources: ["acme-files/*"] }]"#;
    let tenant = ceph_tenant(ceph.tenant("acme"), grants).replace('\n', "\n    ");
    let config = format!(
        "server: {{ listen: 127.0.0.1:0 }}\ncallers: [{{ match: anyone }}]\n{}tenants:\n  acme:\n    {tenant}\n",
        telemetry(&url)
    );
    let keys = ceph.presignd_credentials();
    let presignd = with_config("serve", &config)
        .env("AWS_ACCESS_KEY_ID", keys.access_key_id())
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key())
        .start();
    let mut client = presignd.client().await;
    for key in ["a", "b"] {
        let asked = request("acme", get_object("acme-files", key));
        client.presign(asked).await.expect("a URL");
    }
    let asked = ["c", "d", "e"].map(|key| StreamPresignRequest {
        request_id: key.to_owned(),
        request: Some(request("acme", get_object("acme-files", key))),
    });
    let answers = client.stream_presign(tokio_stream::iter(asked)).await;
    let mut answers = answers.expect("a stream").into_inner();
    while answers.message().await.expect("an answer").is_some() {}
    drop((answers, client));
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let last = numbers(collector.exports().last().expect("one at the end"));
    for (series, expected) in [
        ("presignd.sts.call.duration{presignd.result=ok}", 1),
        ("presignd.sessions.requested{presignd.cause=needed}", 1),
        ("presignd.sessions.requested{presignd.cause=renewal}", 0),
        ("presignd.sts.breaker.opened", 0),
        ("presignd.decisions{presignd.outcome=issued}", 5),
        (&call("Presign", "OK"), 2),
        (&call("StreamPresign", "OK"), 1),
        ("presignd.streams.open", 0),
        ("presignd.requests.in_flight", 0),
    ] {
        assert_eq!(last.get(series), Some(&expected), "{series}: {last:#?}");
    }
}

#[tokio::test]
async fn nobody_who_asks_makes_another_series() {
    let (collector, url) = Collector::start().await;
    let config = telemetry(&url) + &static_tenant("[GetObject]", "");
    let (presignd, mut client) = process::serve(&config).await;
    let series = |collector: &Collector| {
        let exports = collector.exports();
        let numbers = exports.iter().map(numbers);
        let names: BTreeSet<String> = numbers.flat_map(BTreeMap::into_keys).collect();
        names
    };
    for tenant in ["nobody", "acme", ""] {
        let asked = request(tenant, get_object("acme-files", "k"));
        let _ = client.presign(asked).await;
    }
    let before = collector.exports().len();
    while collector.exports().len() < before + 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let known = series(&collector);
    for number in 0..500 {
        let hostile = format!("tenant-{number}");
        let asked = request(&hostile, get_object(&hostile, &hostile));
        client.presign(asked).await.expect_err("no such tenant");
        let asked = request("acme", get_object("acme-files", &hostile));
        client.presign(asked).await.expect("a URL");
    }
    drop(client);
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(series(&collector), known);
    let sent = format!("{:?}", collector.exports());
    for secret in ["tenant-", "acme", "127.0.0.1"] {
        assert!(!sent.contains(secret), "{secret} in a metric");
    }
}

/// Spans have nowhere to go, and the metrics say so.
#[tokio::test]
async fn spans_that_are_lost_are_counted() {
    let (collector, url) = Collector::start().await;
    let hole = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hole = format!("http://{}", hole.local_addr().expect("an address"));
    let presignd = with_config("serve", &static_tenant("[GetObject]", ""))
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hole)
        .env("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1000")
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "64")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
        .start();
    let mut client = presignd.client().await;
    for _ in 0..500 {
        let asked = request("acme", get_object("acme-files", "k"));
        client.presign(asked).await.expect("a URL");
    }
    drop(client);
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let last = numbers(collector.exports().last().expect("one at the end"));
    let [failed, dropped] = ["failed", "dropped"]
        .map(|what| last[&format!("presignd.spans{{presignd.result={what}}}")]);
    assert_eq!(failed + dropped, 500, "{last:#?}");
    assert!(failed > 0 && dropped > 0, "{last:#?}");
    assert_eq!(last["presignd.decisions{presignd.outcome=issued}"], 500);
}

#[tokio::test]
async fn a_reload_is_counted_and_whether_the_configuration_is_good_is_told() {
    let (collector, url) = Collector::start().await;
    let config = telemetry(&url) + &static_tenant("[GetObject]", "");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("presignd.yaml");
    // Whole, as editors do: half a file is a broken one, and would count.
    let put = |text: &str| {
        let beside = folder.path().join(".new");
        std::fs::write(&beside, text).expect("written");
        std::fs::rename(&beside, &path).expect("put there");
    };
    put(&config);
    let presignd = presignd(["serve", "--config", path.to_str().expect("a path")])
        .env("ACME_SECRET", "PLANTED0SECRET")
        .env("ACME_TOKEN", "PLANTED0TOKEN")
        .start();
    let told = async |series: &str, is: fn(i64) -> bool| {
        let found = || {
            let exports = collector.exports();
            let last = exports.last().map(numbers).unwrap_or_default();
            last.get(series).is_some_and(|number| is(*number))
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !found() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(
            waited.await.is_ok(),
            "{series} is another: {}",
            presignd.stderr()
        );
    };
    told("presignd.configuration.good", |good| good == 1).await;
    put("tenants: broken\n");
    told("presignd.configuration.good", |good| good == 0).await;
    told(
        "presignd.configuration.reloads{presignd.result=broken}",
        |count| count > 0,
    )
    .await;
    put(&config);
    told("presignd.configuration.good", |good| good == 1).await;
    told(
        "presignd.configuration.reloads{presignd.result=good}",
        |count| count > 0,
    )
    .await;
    presignd.terminated().await;
}

/// The table of metrics, each with its unit and attributes.
#[test]
fn every_metric_is_told_in_the_documentation() {
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).expect("the page");
    let table = page
        .split("\n## ")
        .find(|part| part.starts_with("All of them"));
    let rows: BTreeMap<&str, Vec<&str>> = table
        .expect("the table")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let (name, rest) = row.split_once('`').expect("a name");
            (name, rest.split('|').map(str::trim).collect())
        })
        .collect();
    let documented: BTreeSet<&str> = rows.keys().copied().collect();
    let readings = ALL.map(Metric::read);
    let known: BTreeSet<&str> = readings.iter().map(|reading| reading.name).collect();
    assert_eq!(documented, known);
    for reading in &readings {
        let row = &rows[reading.name];
        let kind = match reading.kind {
            Kind::Counter => "counter",
            Kind::Level => "up-down counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(row[1], kind, "{}", reading.name);
        assert_eq!(row[2], format!("`{}`", reading.unit), "{}", reading.name);
        for (attribute, _) in reading.points.iter().flat_map(|point| &point.attributes) {
            assert!(
                row[3].contains(&format!("`{attribute}`")),
                "{}: {attribute}",
                reading.name
            );
        }
    }
}

/// One request over HTTP/1.1: the status line and headers, and the body.
async fn fetched(address: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("taken in");
    let asked = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("an answer and its end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn metrics_can_be_fetched() {
    let config = "telemetry: { prometheus: { listen: 127.0.0.1:0 } }\n".to_owned()
        + &static_tenant("[GetObject]", "");
    let (presignd, mut client) = process::serve(&config).await;
    let said = presignd.stderr_line("metrics can be fetched").await;
    let (_, address) = said.rsplit_once("address=").expect("an address");
    for _ in 0..2 {
        let asked = request("acme", get_object("acme-files", "k"));
        client.presign(asked).await.expect("a URL");
    }
    // Whoever holds connections and asks for nothing takes up those that are served, for a while.
    let idle = tokio::net::TcpStream::connect(address)
        .await
        .expect("taken in");
    let (head, body) = fetched(address, "GET", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let format = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(head.contains(format), "{head}");
    let lines: BTreeSet<&str> = body.lines().collect();
    for line in [
        "# TYPE presignd_decisions_total counter",
        "presignd_decisions_total{presignd_outcome=\"issued\"} 2",
        "presignd_tenants 1",
        "presignd_connections_open 1",
        "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",\
         rpc_method=\"presignd.v1.PresignService/Presign\",rpc_response_status_code=\"OK\"} 2",
    ] {
        assert!(lines.contains(line), "{line}: {body}");
    }
    let (head, body) = fetched(address, "HEAD", "/metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && body.is_empty(),
        "{head}"
    );
    let (head, _) = fetched(address, "GET", "/").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let (head, _) = fetched(address, "DELETE", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    drop((client, idle));
    assert_eq!(presignd.terminated().await.code, Some(0));
}

#[tokio::test]
async fn an_address_for_metrics_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address));
    let (_taken, address) = taken.expect("an address");
    let config = format!("telemetry: {{ prometheus: {{ listen: \"{address}\" }} }}\n")
        + &static_tenant("[GetObject]", "");
    let ended = with_config("serve", &config).run().await;
    assert_eq!(ended.code, Some(1));
    let words = format!("cannot listen on {address} for whoever fetches metrics");
    assert!(ended.stderr.contains(&words), "{}", ended.stderr);
}
