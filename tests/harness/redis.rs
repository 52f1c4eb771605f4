//! Redis, really: one server, a master with Sentinels, or a Cluster, on free ports of this machine, with nothing kept on disk.
//!
//! Invariant: no server outlives its value. Each is stopped by its own process id.

mod cluster;
pub(crate) mod counting;
mod sentinel;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use presignd::redis::{Connection, Identity, Login, Mode, Options, Tls};
use tempfile::TempDir;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::sentinel::Watched;
use super::certificates::Authority;
use super::process::{PATIENCE, signal};

/// The user that [`Redis::guarded`] knows, with no more rights than presignd needs.
pub(crate) const USER: &str = "presignd";
/// Its password.
pub(crate) const PASSWORD: &str = "PLANTED0PASSWORD";
/// Another, who may everything: as whom guarded servers speak to each other, and tests to them.
const BOSS: &str = "boss";
const BOSS_PASSWORD: &str = "PLANTED0BOSS";

/// One server.
pub(crate) struct Redis {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
    arguments: Vec<String>,
    /// What lets `redis-cli` in.
    access: Vec<String>,
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

    /// One that speaks TLS alone, with whom this authority knows, and has no other users than [`USER`] and the tests' own.
    pub(crate) async fn guarded(authority: &Authority) -> Self {
        Self::guarded_with(authority, None, &[]).await
    }

    /// One with more options. `place`: as the documentation names where more rights are needed.
    async fn guarded_with(authority: &Authority, place: Option<&str>, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let guard = Guard::new(authority, folder.path());
        let docs = include_str!("../../docs/configuration.md");
        let rule = docs.lines().find(|line| line.starts_with("user presignd "));
        let rule = rule.expect("the documentation has the rule");
        let rule = rule.replace(">PASSWORD", &format!(">{PASSWORD}"));
        let users = folder.path().join("users.acl");
        let text = format!(
            "user default off\n{rule} {}\nuser {BOSS} on >{BOSS_PASSWORD} ~* &* +@all\n",
            place.map(documented).unwrap_or_default()
        );
        std::fs::write(&users, text).expect("the folder is writable");
        let port = free_port();
        let mut arguments: Vec<String> = guard
            .settings(port)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        for (place, word) in arguments.iter_mut().enumerate() {
            if place % 2 == 0 {
                word.insert_str(0, "--");
            }
        }
        let users = users.to_string_lossy().into_owned();
        let own = [
            "--aclfile",
            &users,
            "--masteruser",
            BOSS,
            "--masterauth",
            BOSS_PASSWORD,
        ];
        arguments.extend(own.iter().chain(options).map(|word| (*word).to_owned()));
        Self::spawn("redis-server", port, arguments, guard.access(), folder).await
    }

    async fn serving(program: &str, first: &[&str], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let port_text = port.to_string();
        let own = ["--port", port_text.as_str()];
        let arguments = first.iter().chain(&own).chain(options);
        let arguments = arguments.map(|argument| (*argument).to_owned()).collect();
        Self::spawn(program, port, arguments, Vec::new(), folder).await
    }

    async fn spawn(
        program: &str,
        port: u16,
        arguments: Vec<String>,
        access: Vec<String>,
        folder: TempDir,
    ) -> Self {
        let child = spawn(program, &arguments, folder.path());
        let redis = Self {
            child,
            port,
            arguments,
            access,
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
        let output = cli(self.port, &self.access, command);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Neither does anything to a process that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What guarded servers need, in files: a certificate of their own, and whom to trust.
struct Guard {
    certificate: String,
    key: String,
    authority: String,
}

impl Guard {
    fn new(authority: &Authority, folder: &Path) -> Self {
        let pair = authority.issue();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("the folder is writable");
            path.to_string_lossy().into_owned()
        };
        Self {
            certificate: write("tls.crt", &pair.certificate),
            key: write("tls.key", &pair.key),
            authority: write("ca.crt", &authority.pem()),
        }
    }

    /// Names and values, as in a configuration file.
    fn settings(&self, port: u16) -> String {
        let Self {
            certificate,
            key,
            authority,
        } = self;
        format!(
            "port 0\ntls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority}\ntls-auth-clients \
             yes\ntls-replication yes\n"
        )
    }

    /// What lets `redis-cli` in.
    fn access(&self) -> Vec<String> {
        let tls = [
            "--tls",
            "--cacert",
            &self.authority,
            "--cert",
            &self.certificate,
        ];
        let login = ["--key", &self.key, "--user", BOSS, "--pass", BOSS_PASSWORD];
        let words = tls.iter().chain(&login);
        words.map(|word| (*word).to_owned()).collect()
    }
}

/// The rights that the documentation says are needed besides.
fn documented(place: &str) -> String {
    let docs = include_str!("../../docs/configuration.md");
    let (before, _) = docs.split_once(place).expect("the documentation says so");
    let (before, rights) = before.rsplit_once("`+").expect("the rights are named");
    assert!(
        before.ends_with("and ") || before.ends_with(", "),
        "{before}"
    );
    let (rights, _) = rights.split_once('`').expect("the rights end");
    format!("+{rights}")
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

/// How it is told of servers that are guarded.
pub(crate) fn guarded_options(
    addresses: &[SocketAddr],
    mode: Mode,
    authority: &Authority,
) -> Options {
    let pair = authority.issue();
    Options {
        login: Login {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.into()),
        },
        tls: Some(Tls {
            authorities: Some(authority.pem().into_bytes()),
            identity: Some(Identity {
                certificate: pair.certificate.into_bytes(),
                key: pair.key.into(),
            }),
        }),
        ..options(addresses, mode)
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

fn cli(port: u16, access: &[String], command: &[&str]) -> Output {
    Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(access)
        .args(command)
        .output()
        .expect("redis-cli runs: run scripts/install-tools")
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
