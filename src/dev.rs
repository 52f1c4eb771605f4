//! The sandbox behind `presignd dev`: an S3 and an STS in this process, to see presignd work without a cloud account.
//!
//! It enforces what it stands for: signatures, session tokens and expiry are verified, a session reaches its own
//! tenant's bucket only and no further than its session policy. It keeps objects as plain files, identities in memory,
//! and is no store for anything of worth.

mod access;
mod actions;
mod assume_role;
mod connections;
mod cors;
pub mod page;
mod policy;
mod presented;
mod refusals;
mod server;
mod sessions;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::access::{Secrets, TenantAccess};
use self::assume_role::AssumeRole;
pub use self::cors::CorsRule;
use self::server::{Front, MAX_FORM};
use self::sessions::{Identity, RANDOM_LEN, Sessions};

/// Tells the time; sessions and presigned URLs are held against it.
pub type SandboxClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Fills a buffer with bytes that nobody can guess.
type Random = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// Log targets of the embedded S3 server, which writes whole requests, session tokens and signatures included.
///
/// Whoever sets up logging switches these off, at every level.
pub const UNSAFE_LOG_TARGETS: [&str; 2] = ["s3s", "s3s_fs"];

/// Where the sandbox listens and keeps its files.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The address of S3 and STS; port 0 takes a free one.
    pub s3_listen: SocketAddr,
    /// The folder for buckets and objects, made if it does not exist; `None` is a temporary one, removed at the end.
    pub data: Option<PathBuf>,
}

/// A tenant that the sandbox plays: one bucket, and one role that reaches it.
#[derive(Debug, Clone)]
pub struct SandboxTenant {
    /// The tenant's id in presignd's configuration.
    pub tenant: String,
    /// Its bucket.
    pub bucket: String,
    /// The role that presignd assumes for it.
    pub role_arn: String,
    /// The external id that the role asks for.
    pub external_id: String,
    /// The region that its URLs are signed for.
    pub region: String,
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be listened on.
    #[error(
        "the sandbox's S3 cannot listen on {address}: {source}; name another address with --s3 (port 0 takes a free one)"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The folder cannot be made or written.
    #[error("the sandbox cannot keep its files in {}: {source}; name a folder that you may write to with --data", folder.display())]
    Data {
        /// The folder in question.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system gave no random bytes to make secrets of.
    #[error("the sandbox cannot make its credentials: {0}")]
    Random(#[from] getrandom::Error),
}

/// A running sandbox; dropping it stops it at once, [`shutdown`](Self::shutdown) lets requests in flight finish.
pub struct Sandbox {
    endpoint_url: String,
    tenants: Arc<[SandboxTenant]>,
    front: Arc<Front>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    /// Removed, with all that is in it, when the sandbox goes.
    temporary: Option<TempDir>,
}

impl Sandbox {
    /// Starts S3 and STS, with the tenants' buckets in place.
    pub async fn start(options: SandboxOptions, clock: SandboxClock) -> Result<Self, SandboxError> {
        let tenants = demo_tenants();
        let (folder, temporary) = data_folder(options.data)?;
        let mut random = [0; RANDOM_LEN];
        getrandom::fill(&mut random)?;
        let sessions = Arc::new(Sessions::new(Identity::new("AKIA", &random)));
        let services =
            (0..tenants.len()).map(|index| s3_service(&folder, &tenants, index, &sessions, &clock));
        let front = Front {
            services: services.collect::<Result<_, _>>()?,
            sessions: Arc::clone(&sessions),
            clock,
            cors: ArcSwap::default(),
        };
        let front = Arc::new(front);

        let address = options.s3_listen;
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = listening
            .await
            .map_err(|source| SandboxError::Listen { address, source })?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(connections::serve(
            listener,
            Arc::clone(&front),
            stop.clone(),
        ));
        Ok(Self {
            endpoint_url: format!("http://{}", reachable(bound)),
            tenants: tenants
                .iter()
                .map(|tenant| SandboxTenant::clone(tenant))
                .collect(),
            front,
            stop,
            server,
            temporary,
        })
    }

    /// The URL of S3 and of STS, path style, with the port really listened on.
    pub fn endpoint_url(&self) -> &str {
        &self.endpoint_url
    }

    /// The access key id of presignd's own identity, new at every start; it may assume the tenants' roles, and only that.
    pub fn access_key_id(&self) -> &str {
        &self.front.sessions.presignd().access_key_id
    }

    /// The secret of presignd's own identity.
    pub fn secret_access_key(&self) -> SecretString {
        self.front.sessions.presignd().secret_access_key.clone()
    }

    /// The tenants that the sandbox plays: `acme` and `globex`.
    pub fn tenants(&self) -> &[SandboxTenant] {
        &self.tenants
    }

    /// Gives every bucket these CORS rules. Until then pages of other origins, which all are, can send forms and nothing else.
    pub fn put_cors(&self, rules: Vec<CorsRule>) {
        self.front.cors.store(Arc::new(rules));
    }

    /// Stops accepting, lets requests in flight finish for a short time, and removes a temporary folder.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // A server that panicked has stopped as well.
        let _ = (&mut self.server).await;
        if let Some(folder) = self.temporary.take()
            && let Err(error) = folder.close()
        {
            tracing::warn!(%error, "the sandbox's temporary folder could not be removed");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

fn demo_tenants() -> Arc<[Arc<SandboxTenant>]> {
    let tenant = |tenant: &str, account: &str, external_id: &str, region: &str| {
        Arc::new(SandboxTenant {
            tenant: tenant.to_owned(),
            bucket: format!("{tenant}-files"),
            role_arn: format!("arn:aws:iam::{account}:role/presignd-{tenant}"),
            external_id: external_id.to_owned(),
            region: region.to_owned(),
        })
    };
    Arc::new([
        tenant("acme", "111122223333", "acme-7f3a", "eu-west-1"),
        tenant("globex", "444455556666", "globex-91c2", "us-east-1"),
    ])
}

fn data_folder(asked: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>), SandboxError> {
    if let Some(folder) = asked {
        return Ok((folder, None));
    }
    let temporary = tempfile::Builder::new().prefix("presignd-dev-").tempdir();
    let temporary = temporary.map_err(|source| SandboxError::Data {
        folder: std::env::temp_dir(),
        source,
    })?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

/// The S3 server of one tenant, over a folder of its own.
fn s3_service(
    folder: &Path,
    tenants: &Arc<[Arc<SandboxTenant>]>,
    index: usize,
    sessions: &Arc<Sessions>,
    clock: &SandboxClock,
) -> Result<S3Service, SandboxError> {
    let tenant = &tenants[index];
    let folder = folder.join(&tenant.tenant);
    let unusable = |source| SandboxError::Data {
        folder: folder.clone(),
        source,
    };
    let bucket = folder.join(&tenant.bucket);
    std::fs::create_dir_all(&bucket).map_err(unusable)?;
    // A folder that can be read only would fail at the first upload; better now.
    drop(tempfile::tempfile_in(&bucket).map_err(unusable)?);
    let files = s3s_fs::FileSystem::new(&folder)
        .map_err(|error| unusable(io::Error::other(format!("{error:?}"))))?;

    let mut config = S3Config::default();
    config.post_object_max_file_size = MAX_FORM as u64;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(Secrets(Arc::clone(sessions)));
    builder.set_access(TenantAccess {
        tenant: Arc::clone(tenant),
        index,
        clock: Arc::clone(clock),
    });
    builder.set_route(AssumeRole {
        tenants: Arc::clone(tenants),
        sessions: Arc::clone(sessions),
        clock: Arc::clone(clock),
        random: getrandom::fill,
    });
    Ok(builder.build())
}

/// An address that a client on this machine can connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
