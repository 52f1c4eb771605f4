//! Redis, really: one server, a master with Sentinels, or a Cluster, on free ports of this machine, with nothing kept on disk.
//!
//! Invariant: no server outlives its value. Each is stopped by its own process id.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use presignd::redis::{Connection, Login, Mode, Options, Tls};
use tempfile::TempDir;

use super::certificates::Authority;
use super::process::{PATIENCE, signal};

/// The user that [`Redis::guarded`] knows, with no more rights than presignd needs.
pub(crate) const USER: &str = "presignd";
/// Its password.
pub(crate) const PASSWORD: &str = "PLANTED0PASSWORD";

/// One server.
pub(crate) struct Redis {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// A server, once it answers.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One with more options.
    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::serving("redis-server", &[], options).await
    }

    /// One that speaks TLS alone, and knows nobody but [`USER`].
    pub(crate) async fn guarded(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let pair = authority.issue();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("the folder is writable");
            path.to_string_lossy().into_owned()
        };
        let certificate = write("tls.crt", &pair.certificate);
        let key = write("tls.key", &pair.key);
        let docs = include_str!("../../docs/configuration.md");
        let rule = docs.lines().find(|line| line.starts_with("user presignd "));
        let rule = rule.expect("the documentation has the rule");
        let rule = rule.replace(">PASSWORD", &format!(">{PASSWORD}"));
        let users = write("users.acl", &format!("user default off\n{rule}\n"));
        let port = free_port();
        let arguments = [
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
            "--aclfile",
            &users,
        ]
        .map(str::to_owned);
        Self::spawn("redis-server", port, arguments.to_vec(), folder).await
    }

    async fn serving(program: &str, first: &[&str], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let port_text = port.to_string();
        let own = ["--port", port_text.as_str()];
        let arguments = first.iter().chain(&own).chain(options);
        let arguments = arguments.map(|argument| (*argument).to_owned()).collect();
        Self::spawn(program, port, arguments, folder).await
    }

    async fn spawn(program: &str, port: u16, arguments: Vec<String>, folder: TempDir) -> Self {
        let child = spawn(program, &arguments, folder.path());
        let redis = Self {
            child,
            port,
            arguments,
            folder,
        };
        redis.listening().await;
        redis
    }

    async fn listening(&self) {
        let connecting = async {
            while tokio::net::TcpStream::connect(self.address())
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let listening = tokio::time::timeout(PATIENCE, connecting).await;
        listening.expect("the server listens");
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Kills it, as a machine that loses its power.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is a child");
    }

    /// Starts it anew where it was, with nothing in it.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn("redis-server", &self.arguments, self.folder.path());
        self.listening().await;
    }

    /// What `redis-cli` says to a command.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        cli(self.port, command)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Neither does anything to a process that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A master named `presignd`, its replica, and three Sentinels.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinels: Vec<Redis>,
}

impl Watched {
    pub(crate) async fn start() -> Self {
        let master = Redis::start().await;
        let port = master.port.to_string();
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &port]).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let folder = tempfile::tempdir().expect("a temporary directory");
            let own = free_port();
            let settings = format!(
                "port {own}\nbind 127.0.0.1\nsentinel monitor presignd 127.0.0.1 {port} 2\nsentinel down-after-milliseconds presignd \
                 1000\nsentinel failover-timeout presignd 5000\n"
            );
            let file = folder.path().join("sentinel.conf");
            std::fs::write(&file, settings).expect("the folder is writable");
            let arguments = vec![file.to_string_lossy().into_owned()];
            sentinels.push(Redis::spawn("redis-sentinel", own, arguments, folder).await);
        }
        let watched = Self {
            master,
            replica,
            sentinels,
        };
        until(|| {
            watched.sentinels.iter().all(|sentinel| {
                let known = sentinel.cli(&["sentinel", "master", "presignd"]);
                let mut lines = known.lines();
                let mut is = |name: &str, value: &str| {
                    lines.find(|line| *line == name).is_some() && lines.next() == Some(value)
                };
                is("num-slaves", "1") && is("num-other-sentinels", "2")
            })
        })
        .await;
        watched
    }
}

/// A Cluster of three masters.
pub(crate) struct Cluster(pub(crate) Vec<Redis>);

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let bus = free_port().to_string();
            nodes.push(Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await);
        }
        let addresses: Vec<String> = nodes
            .iter()
            .map(|node| node.address().to_string())
            .collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .arg("--cluster-yes")
            .output()
            .expect("redis-cli runs");
        assert!(created.status.success(), "{created:?}");
        until(|| {
            let up = |node: &Redis| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
            nodes.iter().all(up)
        })
        .await;
        Self(nodes)
    }
}

/// How presignd is told of it.
pub(crate) fn options(addresses: &[SocketAddr], mode: Mode) -> Options {
    Options {
        servers: addresses
            .iter()
            .map(|a| (a.ip().to_string(), a.port()))
            .collect(),
        mode,
        login: Login::default(),
        tls: None,
        database: 0,
        prefix: "presignd".to_owned(),
        timeout: Duration::from_millis(500),
    }
}

/// How it is told of [`Redis::guarded`].
pub(crate) fn guarded_options(redis: &Redis, authority: &Authority) -> Options {
    Options {
        login: Login {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.into()),
        },
        tls: Some(Tls {
            authorities: Some(authority.pem().into_bytes()),
        }),
        ..options(&[redis.address()], Mode::Single)
    }
}

/// Waits until the connection is there, or is not.
pub(crate) async fn is_here(connection: &Connection, here: bool) {
    until(|| connection.is_here() == here).await;
}

/// Waits until it is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.expect("it becomes so");
}

fn spawn(program: &str, arguments: &[String], folder: &Path) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    if program == "redis-server" {
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--repl-diskless-sync-delay", "0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("{program}: {error}: run scripts/install-tools"))
}

fn cli(port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(command)
        .output()
        .expect("redis-cli runs: run scripts/install-tools");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A port that nobody is on, and that no other server here is given: two of them on one would be one. It is below those that the system
/// gives to whoever connects.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = fastrand::u16(10_000..30_000);
        let is_new = GIVEN.lock().expect("no panic").insert(port);
        if is_new && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
