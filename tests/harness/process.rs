//! presignd in a process of its own: the real binary, with arguments, an environment, pipes and signals.
//!
//! Invariant: no process outlives its test. It is killed and reaped when dropped, and nothing waits for it without an end.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::transport::Channel;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// presignd, about to be started, with an environment that holds nothing but `PATH`.
pub(crate) struct Start {
    command: Command,
    unread: bool,
    folder: Option<TempDir>,
}

/// A process that was started.
pub(crate) struct Process {
    child: Child,
    stdout: watch::Receiver<String>,
    stderr: watch::Receiver<String>,
    /// Only where nobody else reads it.
    unread: Option<ChildStdout>,
    /// Of the configuration.
    _folder: Option<TempDir>,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `presignd ARGUMENTS`
pub(crate) fn presignd<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Start {
    let mut command = Command::new(env!("CARGO_BIN_EXE_presignd"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Start {
        command,
        unread: false,
        folder: None,
    }
}

/// `presignd COMMAND --config presignd.yaml` with this file, in whose folder it runs: what it says names the file so. The
/// secrets of [`static_tenant`] are in its environment.
pub(crate) fn with_config(command: &str, yaml: &str) -> Start {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("presignd.yaml"), yaml).expect("the folder is writable");
    let mut start = presignd([command, "--config", "presignd.yaml"]);
    start.command.current_dir(folder.path());
    start.folder = Some(folder);
    start
        .env("ACME_SECRET", "PLANTED0SECRET")
        .env("ACME_TOKEN", "PLANTED0TOKEN")
}

/// `presignd serve` with this configuration, once it answers; and a client of it.
pub(crate) async fn serve(yaml: &str) -> (Process, PresignServiceClient<Channel>) {
    let process = with_config("serve", yaml).start();
    let client = process.client().await;
    (process, client)
}

impl Start {
    /// With another argument.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// With a variable in its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With a pipe as standard output that nobody reads until [`Process::unread_stdout`].
    pub(crate) fn with_unread_stdout(mut self) -> Self {
        self.unread = true;
        self
    }

    /// With a file as standard output, which shows at once what was written.
    pub(crate) fn with_stdout_to(mut self, path: &Path) -> Self {
        self.command
            .stdout(File::create(path).expect("the file is writable"));
        self
    }

    /// With a pipe as standard output whose reader has gone.
    pub(crate) fn with_closed_stdout(mut self) -> Self {
        let (_, writer) = std::io::pipe().expect("a pipe");
        self.command.stdout(writer);
        self
    }

    pub(crate) fn start(mut self) -> Process {
        let mut child = self.command.spawn().expect("presignd starts");
        let mut unread = child.stdout.take();
        let stdout = if self.unread {
            watch::channel(String::new()).1
        } else {
            unread
                .take()
                .map_or_else(|| watch::channel(String::new()).1, gather)
        };
        let stderr = gather(child.stderr.take().expect("stderr is a pipe"));
        Process {
            child,
            stdout,
            stderr,
            unread,
            _folder: self.folder,
        }
    }

    /// Starts it, and waits for its end.
    pub(crate) async fn run(self) -> Ended {
        self.start().ended().await
    }
}

impl Process {
    /// The first line of standard error that holds `words`, once it is there.
    pub(crate) async fn stderr_line(&self, words: &str) -> String {
        line(&self.stderr, words).await
    }

    /// The first line of standard output that holds `words`, once it is there.
    pub(crate) async fn stdout_line(&self, words: &str) -> String {
        line(&self.stdout, words).await
    }

    /// All of standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// The address that `presignd serve` says it serves on, in logs of either format.
    pub(crate) async fn address(&self) -> String {
        let line = self.stderr_line("serving").await;
        let (_, rest) = line.split_once("address").expect("it names its address");
        let rest = rest.trim_start_matches(['"', ':', '=']);
        let end = rest.find(['"', ' ']).expect("more follows");
        rest[..end].to_owned()
    }

    /// A client, on a connection of its own.
    pub(crate) async fn client(&self) -> PresignServiceClient<Channel> {
        PresignServiceClient::connect(format!("http://{}", self.address().await))
            .await
            .expect("presignd answers")
            .max_decoding_message_size(usize::MAX)
    }

    /// The pipe of [`Start::with_unread_stdout`], once.
    pub(crate) fn unread_stdout(&mut self) -> ChildStdout {
        self.unread.take().expect("a pipe that nobody has taken")
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        1024 * kibibytes
            .and_then(|n| n.parse::<usize>().ok())
            .expect("a number")
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end. Panics, with what it said, where that does not come.
    pub(crate) async fn ended(mut self) -> Ended {
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child of this process") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let status = tokio::time::timeout(PATIENCE, end).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end: {}", self.stderr()));
        Ended {
            code: status.code(),
            stdout: rest(&mut self.stdout).await,
            stderr: rest(&mut self.stderr).await,
        }
    }

    /// Sends SIGTERM, and waits for the end.
    pub(crate) async fn terminated(self) -> Ended {
        self.signal("TERM");
        self.ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither does anything to a process that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pipe gives, as it comes, until it is closed.
fn gather(mut pipe: impl Read + Send + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..read]);
            // Whole lines alone: a chunk may end within a character.
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                let lines: Vec<u8> = bytes.drain(..=end).collect();
                sender.send_modify(|said| said.push_str(&String::from_utf8_lossy(&lines)));
            }
        }
        sender.send_modify(|said| said.push_str(&String::from_utf8_lossy(&bytes)));
    });
    receiver
}

async fn line(said: &watch::Receiver<String>, words: &str) -> String {
    let find = |said: &str| {
        let mut whole = said
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .find(|line| line.contains(words))
            .map(|line| line.trim_end().to_owned())
    };
    let mut said = said.clone();
    let found = tokio::time::timeout(PATIENCE, said.wait_for(|said| find(said).is_some())).await;
    match found {
        Ok(Ok(said)) => find(&said).expect("waited for above"),
        Ok(Err(_)) => panic!("it ended without {words:?}"),
        Err(elapsed) => panic!("no {words:?} so far: {elapsed}"),
    }
}

/// All that was said, once the pipe is closed.
async fn rest(said: &mut watch::Receiver<String>) -> String {
    let closed = async { while said.changed().await.is_ok() {} };
    let closed = tokio::time::timeout(PATIENCE, closed).await;
    closed.expect("the pipes of a process close with it");
    said.borrow().clone()
}

/// A configuration with a tenant `acme`, who may do these commands in `acme-files`, and signs without anybody's help: with
/// keys that begin with `PLANTED`. `server` is more of that section, such as `grace: 5s`.
pub(crate) fn static_tenant(commands: &str, server: &str) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0, {server} }}
callers: [{{ match: anyone }}]
tenants:
  acme:
    region: us-east-1
    endpoint: {{ url: \"http://127.0.0.1:9\", path_style: true }}
    credentials:
      static:
        access_key_id: AKIDACME
        secret_access_key: {{ env: ACME_SECRET }}
        session_token: {{ env: ACME_TOKEN }}
    grants:
      - {{ commands: {commands}, resources: [acme-files/*] }}
"
    )
}

/// Sends a signal, such as `TERM`.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status();
    assert!(sent.expect("kill runs").success(), "kill -{name} {pid}");
}
