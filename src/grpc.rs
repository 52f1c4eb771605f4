//! The front door: PresignService over gRPC.
//!
//! Each RPC runs as a task of its own, because tonic drops a handler whose caller has hung up, and a decision must not escape its
//! record that way.

mod reply;
mod request;
pub mod server;
mod status;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::audit::TraceContext;
use crate::authenticate::{Authenticator, Caller};
use crate::names::TenantId;
use crate::presign::{Arrival, FormItem, Item, Presigner};
use crate::proto::v1::presign_service_server::PresignService;
use crate::proto::v1::{
    BatchPresignRequest, BatchPresignResponse, Command, PresignPostRequest, PresignPostResponse,
    PresignRequest, PresignResponse,
};
use crate::refusal::Refusal;

/// The service's full name.
pub const SERVICE: &str = "presignd.v1.PresignService";

/// PresignService. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PresignApi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    presigner: Presigner,
    authenticator: Box<dyn Authenticator>,
    /// The longest that signing may take, whatever the caller's deadline.
    patience: Duration,
    tasks: TaskTracker,
}

impl PresignApi {
    /// The service over these rooms. No request is worked on for longer than `patience`.
    #[must_use]
    pub fn new(
        presigner: Presigner,
        authenticator: Box<dyn Authenticator>,
        patience: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            presigner,
            authenticator,
            patience,
            tasks: TaskTracker::new(),
        }))
    }

    /// The rooms.
    #[must_use]
    pub fn presigner(&self) -> &Presigner {
        &self.0.presigner
    }

    /// Waits for the requests under way, whether or not their callers still do.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Runs an RPC to its end, even if its caller hangs up.
    async fn run<T: Send + 'static>(
        &self,
        issuance_id: Uuid,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let result = self.0.tasks.spawn(work).await.unwrap_or_else(|panic| {
            tracing::error!(%issuance_id, "a request panicked: {panic}");
            Err(Refusal::Internal)
        });
        match result {
            Ok(message) => Ok(Response::new(message)),
            Err(refusal) => Err(status::status(&refusal, issuance_id)),
        }
    }
}

impl Inner {
    /// Who arrived, and how long they wait.
    fn arrival<T>(
        &self,
        method: &'static str,
        request: &Request<T>,
    ) -> (Arrival, Result<(), Refusal>) {
        let headers = request.metadata().as_ref();
        let patience = request::timeout(headers).map_or(self.patience, |timeout| {
            request::patience(timeout).min(self.patience)
        });
        let (caller, known) = match self.authenticator.authenticate(headers) {
            Ok(caller) => (caller, Ok(())),
            Err(error) => (Caller::Unknown, Err(error.into())),
        };
        let arrival = Arrival {
            method,
            started: self.presigner.clock.now(),
            patience,
            trace: TraceContext::from_headers(headers),
            peer: peer(request),
            caller,
        };
        (arrival, known)
    }

    fn item(&self, command: Command) -> Item {
        Item {
            issuance_id: self.issuance_id(),
            command,
        }
    }

    fn issuance_id(&self) -> Uuid {
        let now = self.presigner.clock.now();
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            since.as_secs(),
            since.subsec_nanos(),
        ))
    }
}

#[tonic::async_trait]
impl PresignService for PresignApi {
    async fn presign(
        &self,
        request: Request<PresignRequest>,
    ) -> Result<Response<PresignResponse>, Status> {
        let (arrival, known) = self
            .0
            .arrival("presignd.v1.PresignService/Presign", &request);
        let message = request.into_inner();
        let inner = Arc::clone(&self.0);
        let issuance_id = inner.issuance_id();
        self.run(issuance_id, async move {
            let tenant = TenantId::parse(&message.tenant).ok();
            match known.and_then(|()| request::read_presign(message)) {
                Ok((request, command)) => {
                    let item = Item {
                        issuance_id,
                        command,
                    };
                    let issued = inner.presigner.presign(&arrival, &request, &item).await?;
                    Ok(reply::response(issued, issuance_id))
                }
                Err(refusal) => Err(inner
                    .presigner
                    .refuse(&arrival, issuance_id, tenant.as_ref(), refusal)
                    .await),
            }
        })
        .await
    }

    async fn presign_post(
        &self,
        request: Request<PresignPostRequest>,
    ) -> Result<Response<PresignPostResponse>, Status> {
        let (arrival, known) = self
            .0
            .arrival("presignd.v1.PresignService/PresignPost", &request);
        let mut form = request.into_inner();
        let inner = Arc::clone(&self.0);
        let issuance_id = inner.issuance_id();
        self.run(issuance_id, async move {
            let tenant = TenantId::parse(&form.tenant).ok();
            match known.and_then(|()| request::read_post(&mut form)) {
                Ok(request) => {
                    let item = FormItem { issuance_id, form };
                    let issued = inner
                        .presigner
                        .presign_post(&arrival, &request, &item)
                        .await?;
                    Ok(reply::post_response(issued, issuance_id))
                }
                Err(refusal) => Err(inner
                    .presigner
                    .refuse(&arrival, issuance_id, tenant.as_ref(), refusal)
                    .await),
            }
        })
        .await
    }

    async fn batch_presign(
        &self,
        request: Request<BatchPresignRequest>,
    ) -> Result<Response<BatchPresignResponse>, Status> {
        let (arrival, known) = self
            .0
            .arrival("presignd.v1.PresignService/BatchPresign", &request);
        let message = request.into_inner();
        let inner = Arc::clone(&self.0);
        // Of the batch as a whole, if it is refused as one; each command has an id of its own besides.
        let issuance_id = inner.issuance_id();
        self.run(issuance_id, async move {
            let tenant = TenantId::parse(&message.tenant).ok();
            match known.and_then(|()| request::read_batch(message)) {
                Ok((request, commands)) => {
                    let items: Vec<Item> = commands.into_iter().map(|c| inner.item(c)).collect();
                    let results = inner
                        .presigner
                        .presign_batch(&arrival, &request, issuance_id, &items)
                        .await?;
                    Ok(reply::batch_response(&items, results))
                }
                Err(refusal) => Err(inner
                    .presigner
                    .refuse(&arrival, issuance_id, tenant.as_ref(), refusal)
                    .await),
            }
        })
        .await
    }
}

fn peer<T>(request: &Request<T>) -> Option<SocketAddr> {
    request
        .extensions()
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr)
}
