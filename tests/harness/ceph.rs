//! A real S3 and STS that enforces IAM: Ceph's RGW, one for the whole test binary, with two tenants.
//!
//! Invariant: the cluster ends with the test process, however that ends. The shell that started the daemons waits on a pipe
//! from this process, and once that closes ends them, by the pids they wrote.

mod rest;

use std::{
    collections::HashMap,
    io::Read as _,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use aws_credential_types::Credentials;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{http::Response, tools};

/// The user that presignd is.
const PRESIGND: &str = "presignd";

/// The cluster, its users, buckets and roles.
pub(crate) struct Ceph {
    endpoint: String,
    admin: Credentials,
    presignd: Credentials,
    tenants: Vec<CephTenant>,
    /// Closed by the kernel when this process ends.
    _stop: ChildStdin,
}

/// A tenant's side of the store: two buckets, their owner, and a role for these buckets alone.
pub(crate) struct CephTenant {
    /// Such as `acme`.
    pub(crate) name: &'static str,
    /// `{name}-files`
    pub(crate) bucket: String,
    /// `{name}-media`
    pub(crate) other_bucket: String,
    /// Of `presignd-{name}`, which presignd's user alone may assume. It has no account: `arn:aws:iam:::role/..`.
    pub(crate) role_arn: String,
    /// Keys of the buckets' owner, who reads and writes every object in them.
    pub(crate) owner: Credentials,
}

impl Ceph {
    /// The one cluster of this process, started by whoever asks first. Tenants: `acme` and `globex`. Panics, saying what to
    /// install, where Ceph is missing.
    pub(crate) fn shared() -> &'static Self {
        static CEPH: OnceLock<Result<Ceph, String>> = OnceLock::new();
        // On a thread of its own: the caller may already be in a runtime. And once, even if it fails.
        let started = CEPH.get_or_init(|| {
            std::thread::spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime")
                    .block_on(Self::start())
            })
            .join()
            .map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
        });
        started.as_ref().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The base URL of S3, STS and IAM: `http://127.0.0.1:{port}`.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Keys of the user whom the roles trust. It has no permission but to assume them.
    pub(crate) fn presignd_credentials(&self) -> &Credentials {
        &self.presignd
    }

    /// The ARN of that user.
    pub(crate) fn presignd_arn() -> String {
        user_arn(PRESIGND)
    }

    /// The tenant `acme` or `globex`.
    pub(crate) fn tenant(&self, name: &str) -> &CephTenant {
        self.tenants
            .iter()
            .find(|tenant| tenant.name == name)
            .unwrap_or_else(|| panic!("no tenant {name} in the harness"))
    }

    /// Writes an object as the bucket's owner.
    pub(crate) async fn put_object(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        let response = self.as_owner("PUT", bucket, key, "", body).await;
        assert_eq!(response.status, 200, "PUT {bucket}/{key}: {response:?}");
    }

    /// Reads an object as the bucket's owner. `None` where there is no such object.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let response = self.as_owner("GET", bucket, key, "", "").await;
        match (response.status, response.s3_code().as_str()) {
            (200, _) => Some(response.body),
            (404, "NoSuchKey") => None,
            _ => panic!("GET {bucket}/{key}: {response:?}"),
        }
    }

    /// The bucket's objects under a prefix, by their very keys: XML of their keys, entity tags, sizes and times.
    pub(crate) async fn objects(&self, bucket: &str, prefix: &str) -> Objects {
        let query = format!("list-type=2&prefix={}", rest::encode(prefix, ""));
        let response = self.as_owner("GET", bucket, "", &query, "").await;
        assert_eq!(response.status, 200, "{bucket}/{prefix}*: {response:?}");
        assert_eq!(response.xml("IsTruncated").as_deref(), Some("false"));
        Objects(response.text())
    }

    /// Sends a request to S3 as the bucket's owner. The query is encoded, and each of its parameters has a `=`.
    pub(crate) async fn as_owner(
        &self,
        method: &str,
        bucket: &str,
        key: &str,
        query: &str,
        body: impl Into<Bytes>,
    ) -> Response {
        let tenant = self
            .tenants
            .iter()
            .find(|tenant| tenant.bucket == bucket || tenant.other_bucket == bucket)
            .unwrap_or_else(|| panic!("no tenant owns {bucket} in the harness"));
        rest::s3(
            &self.endpoint,
            &tenant.owner,
            method,
            bucket,
            key,
            query,
            body,
        )
        .await
    }

    /// Creates a role that presignd's user may assume for up to 12 hours, and returns its ARN. `permissions` is an IAM
    /// policy.
    pub(crate) async fn make_role(&self, name: &str, permissions: &Value) -> String {
        let trust = policy(&json!({
            "Effect": "Allow",
            "Principal": { "AWS": [user_arn(PRESIGND)] },
            "Action": ["sts:AssumeRole"],
        }));
        self.make_role_of(name, &trust.to_string(), &permissions.to_string())
            .await
    }

    /// Creates a role from these very documents, and returns its ARN.
    pub(crate) async fn make_role_of(&self, name: &str, trust: &str, permissions: &str) -> String {
        let response = self
            .iam(&[
                ("Action", "CreateRole"),
                ("RoleName", name),
                ("AssumeRolePolicyDocument", trust),
                ("MaxSessionDuration", "43200"),
            ])
            .await;
        self.put_policy_document(name, permissions).await;
        response
            .xml("Arn")
            .unwrap_or_else(|| panic!("CreateRole names no ARN: {response:?}"))
    }

    /// Replaces what a role of [`Self::make_role`] may do. Sessions that are under way feel it at once.
    pub(crate) async fn put_role_policy(&self, name: &str, permissions: &Value) {
        self.put_policy_document(name, &permissions.to_string())
            .await;
    }

    async fn put_policy_document(&self, name: &str, permissions: &str) {
        self.iam(&[
            ("Action", "PutRolePolicy"),
            ("RoleName", name),
            ("PolicyName", "permissions"),
            ("PolicyDocument", permissions),
        ])
        .await;
    }

    /// Deletes a role of [`Self::make_role`]. Its sessions end at once.
    pub(crate) async fn delete_role(&self, name: &str) {
        self.iam(&[
            ("Action", "DeleteRolePolicy"),
            ("RoleName", name),
            ("PolicyName", "permissions"),
        ])
        .await;
        self.iam(&[("Action", "DeleteRole"), ("RoleName", name)])
            .await;
    }

    async fn iam(&self, form: &[(&str, &str)]) -> Response {
        let response = rest::iam(&self.endpoint, &self.admin, form).await;
        assert_eq!(response.status, 200, "{form:?}: {response:?}");
        response
    }

    async fn start() -> Self {
        let dir = cluster_directory();
        let stop = start_until_closed(&dir);
        let env = Environment::read(&dir.join("env"));
        let mut ceph = Self {
            endpoint: env.value("ENDPOINT").to_owned(),
            admin: keys(env.value("ADMIN_ACCESS_KEY"), env.value("ADMIN_SECRET_KEY")),
            presignd: env.create_user(PRESIGND),
            tenants: Vec::new(),
            _stop: stop,
        };
        for name in ["acme", "globex"] {
            let owner = env.create_user(&format!("{name}-owner"));
            let tenant = ceph.create_tenant(name, owner).await;
            ceph.tenants.push(tenant);
        }
        ceph
    }

    async fn create_tenant(&self, name: &'static str, owner: Credentials) -> CephTenant {
        let (bucket, other_bucket) = (format!("{name}-files"), format!("{name}-media"));
        let resources = json!([
            format!("arn:aws:s3:::{bucket}"),
            format!("arn:aws:s3:::{bucket}/*"),
            format!("arn:aws:s3:::{other_bucket}"),
            format!("arn:aws:s3:::{other_bucket}/*")
        ]);
        // What a role writes belongs to the user who assumed it: the owner of the bucket needs a policy to read it.
        let owners = policy(&json!({
            "Effect": "Allow",
            "Principal": { "AWS": [user_arn(&format!("{name}-owner"))] },
            "Action": ["s3:*"],
            "Resource": resources,
        }));
        for bucket in [&bucket, &other_bucket] {
            for (query, body) in [("", String::new()), ("policy=", owners.to_string())] {
                let response =
                    rest::s3(&self.endpoint, &owner, "PUT", bucket, "", query, body).await;
                assert!(
                    (200..300).contains(&response.status),
                    "PUT {bucket}?{query}: {response:?}"
                );
            }
        }
        let permissions = policy(&json!({
            "Effect": "Allow",
            "Action": ["s3:*"],
            "Resource": resources,
        }));
        let role_arn = self
            .make_role(&format!("presignd-{name}"), &permissions)
            .await;
        CephTenant {
            name,
            bucket,
            other_bucket,
            role_arn,
            owner,
        }
    }
}

/// A listing of objects. Equal to another only if no object came, went or was written in between.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Objects(String);

impl Objects {
    /// The keys, in the store's order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let element = |part: &str| part.split_once("</Key>").map(|(key, _)| unescape(key));
        self.0.split("<Key>").skip(1).filter_map(element).collect()
    }
}

/// The text of an XML element without elements in it.
fn unescape(xml: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    named.iter().fold(xml.to_owned(), |text, (name, char)| {
        text.replace(name, char)
    })
}

/// An IAM policy of one statement.
pub(crate) fn policy(statement: &Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// The ARN of a user, as trust policies name it.
fn user_arn(user: &str) -> String {
    format!("arn:aws:iam:::user/{user}")
}

fn keys(access_key: &str, secret_key: &str) -> Credentials {
    Credentials::new(access_key, secret_key, None, None, "ceph")
}

/// A new directory whose path is short enough for unix sockets.
fn cluster_directory() -> PathBuf {
    let mut base = std::env::temp_dir();
    if base.as_os_str().len() > 40 {
        base = PathBuf::from("/tmp");
    }
    tempfile::Builder::new()
        .prefix("presignd-ceph-")
        .tempdir_in(base)
        .expect("a temporary directory")
        .keep()
}

/// Starts the cluster in `dir`, for as long as the returned pipe is open.
fn start_until_closed(dir: &Path) -> ChildStdin {
    use std::os::unix::process::CommandExt as _;

    // One shell does both, so that the daemons end even if this process ends while they start.
    let script = r#"trap "" PIPE
        "$0/up.sh" "$1" </dev/null 2>&1 && echo up
        exec >&-
        read -r _
        exec "$0/down.sh" "$1""#;
    #[expect(
        clippy::zombie_processes,
        reason = "it outlives this function, and ends when the process does"
    )]
    let mut shell = Command::new("sh")
        .args(["-c", script])
        .arg(tools::repository().join("tests/ceph"))
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Out of reach of an interrupt from the keyboard, which goes to the whole process group.
        .process_group(0)
        .spawn()
        .expect("sh runs");
    let stop = shell.stdin.take().expect("stdin is a pipe");
    let mut said = String::new();
    shell
        .stdout
        .take()
        .expect("stdout is a pipe")
        .read_to_string(&mut said)
        .expect("up.sh speaks UTF-8");
    assert!(
        said.ends_with("up\n"),
        "Ceph does not start (scripts/install-tools installs it, scripts/test runs all tests):\n{said}"
    );
    stop
}

/// The variables that up.sh leaves.
struct Environment(HashMap<String, String>);

impl Environment {
    fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self(
            text.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
                .collect(),
        )
    }

    fn value(&self, name: &str) -> &str {
        &self.0[name]
    }

    /// IAM's own `CreateUser` is missing from older releases of RGW.
    fn create_user(&self, uid: &str) -> Credentials {
        let secret = uuid::Uuid::now_v7().simple().to_string();
        let access = format!("KEY{}", uid.to_uppercase().replace('-', ""));
        let mut command = self.value("RADOSGW_ADMIN").split(' ');
        let output = Command::new(command.next().expect("a program"))
            .args(command)
            .args(["user", "create", "--uid", uid, "--display-name", uid])
            .args(["--access-key", &access, "--secret-key", &secret])
            .stdin(Stdio::null())
            .output()
            .expect("radosgw-admin runs");
        assert!(
            output.status.success(),
            "user {uid}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        keys(&access, &secret)
    }
}
