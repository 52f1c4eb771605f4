//! The measured processes, and their CPU time.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::empty::Layout;

/// A server process; it is killed when this goes.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    /// The configuration file, for as long as the process may read it.
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// The empty service.
    pub(crate) fn empty(layout: Layout) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(this)
            .args(layout.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the empty service starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut address = String::new();
        output
            .read_line(&mut address)
            .expect("it says where it listens");
        Self {
            process,
            address: address.trim().to_owned(),
            _folder: None,
        }
    }

    /// presignd with one tenant, sending spans to a collector if there is one.
    pub(crate) fn presignd(collector: Option<&str>) -> Self {
        Self::limited(
            None,
            collector,
            "",
            "{ name: all, rate: 1000000/s, burst: 1000000 }",
        )
    }

    /// presignd with one tenant besides those of this folder.
    #[allow(dead_code, reason = "the benchmark of very many tenants starts it")]
    pub(crate) fn among(tenants: &Path) -> Self {
        Self::limited(
            Some(tenants),
            None,
            "",
            "{ name: all, rate: 1000000/s, burst: 1000000 }",
        )
    }

    /// presignd under no limit at all.
    pub(crate) fn unlimited() -> Self {
        Self::limited(None, None, "", "")
    }

    /// presignd under limits of every kind, of the service, the tenant and its callers, that all have room.
    pub(crate) fn under_every_limit() -> Self {
        Self::counting("{ dir: state }")
    }

    /// The same, with counts in this Redis, of which a replica leases so much.
    #[allow(dead_code, reason = "the benchmark of requests starts it")]
    pub(crate) fn under_shared_limits(redis: &Redis, lease: &str) -> Self {
        let server = format!("127.0.0.1:{}", redis.port);
        // Each has a tenant's counts to itself.
        let prefix = if lease == "0%" { "asked" } else { "leased" };
        Self::counting(&format!(
            "{{ redis: {{ servers: [\"{server}\"], prefix: {prefix}, lease: {{ share: {lease} }} }} }}"
        ))
    }

    fn counting(state: &str) -> Self {
        let rate = "rate: 1000000/s, burst: 1000000";
        let service = format!("state: {state}\nlimits: [{{ name: everybody, {rate} }}]\n");
        let own = format!(
            "{{ name: all, {rate} }}, {{ name: reads, commands: [read], weights: {{ GetObject: 2 }}, {rate} }}, \
             {{ name: own, each: caller, {rate} }}, {{ name: daily, urls: 4000000000, per: day }}, \
             {{ name: bytes, upload_bytes: 1TiB, per: month, time_zone: Europe/Berlin }}, {{ name: calls, sts_calls: 8 }}"
        );
        Self::limited(None, None, &service, &own)
    }

    /// `service` is more of the configuration's top level, and `limits` are the tenant's.
    fn limited(
        tenants: Option<&Path>,
        collector: Option<&str>,
        service: &str,
        limits: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let address = free_address();
        let telemetry = collector
            .map(|url| format!("telemetry:\n  otlp: {{ endpoint: \"{url}\" }}\n"))
            .unwrap_or_default();
        let others = tenants
            .map(|folder| format!("tenants_dir: \"{}\"\n", folder.display()))
            .unwrap_or_default();
        let config = format!(
            "server:\n  listen: {address}\ncallers: [{{ match: anyone }}]\n{telemetry}{service}{others}tenants:\n  acme:
    region: eu-west-1
    credentials:
      static: {{ access_key_id: ASIAIOSFODNN7EXAMPLE, secret_access_key: {{ file: secret }}, session_token: {{ file: token }} }}
    grants:
      - {{ commands: [read], resources: [\"acme-files/*\"], max_expiry: 1h }}
    limits: [{limits}]
"
        );
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file can be written");
            path
        };
        write("secret", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        write(
            "token",
            &"IQoJb3JpZ2luX2VjEJr3wEaCWV1/Xdlc3+tMSJH"
                .chars()
                .cycle()
                .take(900)
                .collect::<String>(),
        );
        let config = write("presignd.yaml", &config);
        // As if it had been there for long: what was written a moment ago is read twice.
        std::thread::sleep(Duration::from_millis(250));
        let mut process = Command::new(env!("CARGO_BIN_EXE_presignd"))
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("presignd starts");
        let mut records = process.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while records.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        Self {
            process,
            address,
            _folder: Some(folder),
        }
    }

    /// The bytes of memory that it has.
    #[allow(dead_code, reason = "the benchmark of very many tenants asks for it")]
    pub(crate) fn resident(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.process.id()));
        let statm = statm.expect("the process lives");
        let pages = statm.split_whitespace().nth(1);
        let pages: usize = pages
            .and_then(|pages| pages.parse().ok())
            .expect("a number");
        pages * 4096
    }

    /// The CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.process.id());
        let nanos = fs::read_dir(tasks)
            .expect("the process lives")
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanos)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Redis, whose CPU time is its own; it is killed when this goes.
#[allow(dead_code, reason = "the benchmark of requests starts it")]
pub(crate) struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// `None`: there is none on this machine.
    #[allow(dead_code, reason = "the benchmark of requests starts it")]
    pub(crate) fn start() -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let port = listener.local_addr().ok()?.port();
        drop(listener);
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { process, port };
        // Who asks before it listens is told that it is away.
        for _ in 0..500 {
            if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(redis);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener
        .local_addr()
        .expect("the port is known")
        .to_string()
}

/// A collector that takes every span unread, on the current runtime: what a real one does with them costs presignd nothing. Returns its
/// URL.
pub(crate) fn collector() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("the port is known");
    listener.set_nonblocking(true).expect("a socket can wait");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket can wait");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(taken)));
        }
    });
    format!("http://{address}")
}

/// The answer to an export, as gRPC: an empty message, and OK.
async fn taken(
    request: http::Request<Incoming>,
) -> Result<http::Response<impl hyper::body::Body<Data = Bytes, Error = hyper::Error>>, hyper::Error>
{
    let mut spans = request.into_body();
    while let Some(frame) = spans.frame().await {
        frame?;
    }
    let message = Frame::data(Bytes::from_static(&[0; 5]));
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [Ok(message), Ok(Frame::trailers(trailers))];
    let mut answer = http::Response::new(StreamBody::new(stream::iter(frames)));
    let grpc = http::HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert("content-type", grpc);
    Ok(answer)
}
