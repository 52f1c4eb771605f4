//! The front door: PresignService and OperationsService over gRPC.
//!
//! Each RPC runs to its end, even if its caller hangs up: a decision must not escape its record that way.
//! Nor by a panic: that is a refusal like any other, to the caller and in the record.

mod batch_presign;
pub mod client;
mod door;
mod explain_presign;
pub mod health;
mod operations;
mod presign;
mod presign_parts;
mod presign_post;
mod rate_limit;
mod reply;
pub(crate) mod request;
pub mod server;
mod start_multipart_upload;
mod status;
mod stream_presign;
mod to_the_end;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use http::HeaderMap;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use self::batch_presign::BatchPresign;
use self::door::Ticket;
use self::explain_presign::ExplainPresign;
use self::operations::{
    FreezeService, GetStatus, GetTenant, GetUsage, ListTenants, ReloadConfiguration, ResumeTenant,
    SuspendTenant, UnfreezeService,
};
use self::presign::Presign;
use self::presign_parts::PresignParts;
use self::presign_post::PresignPost;
use self::server::{Ending, Peer};
use self::start_multipart_upload::StartMultipartUpload;
use self::stream_presign::Taking;
use self::to_the_end::{Panicked, ToTheEnd};
use crate::admit::quota::Told;
use crate::audit::TraceContext;
use crate::authenticate::{Authenticator, Caller, Gate, Presented, Unauthenticated};
use crate::names::TenantId;
use crate::operate::Controls;
use crate::presign::{Arrival, Presigner, at_once};
use crate::proto::v1::presign_service_server::PresignService;
use crate::proto::v1::{
    BatchPresignRequest, BatchPresignResponse, ExplainPresignRequest, ExplainPresignResponse,
    PresignPartsRequest, PresignPartsResponse, PresignPostRequest, PresignPostResponse,
    PresignRequest, PresignResponse, StartMultipartUploadRequest, StartMultipartUploadResponse,
    StreamPresignRequest,
};
use crate::refusal::Refusal;

/// The service's full name.
pub const SERVICE: &str = "presignd.v1.PresignService";
/// The full name of the service for operators.
pub const OPERATIONS: &str = "presignd.v1.OperationsService";
/// The methods' full names.
const METHODS: [&str; 16] = [
    Presign::METHOD,
    BatchPresign::METHOD,
    stream_presign::METHOD,
    PresignPost::METHOD,
    ExplainPresign::METHOD,
    StartMultipartUpload::METHOD,
    PresignParts::METHOD,
    ListTenants::METHOD,
    GetTenant::METHOD,
    GetUsage::METHOD,
    SuspendTenant::METHOD,
    ResumeTenant::METHOD,
    FreezeService::METHOD,
    UnfreezeService::METHOD,
    ReloadConfiguration::METHOD,
    GetStatus::METHOD,
];

/// PresignService and OperationsService. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PresignApi(Arc<Inner>);

/// A message and its reply, the only ones of an RPC or some of a stream: what is its own between the door and the reply.
trait Unary: 'static {
    /// Its full name.
    const METHOD: &'static str;
    /// What is asked, as it came.
    type Message: Send + 'static;
    /// What is asked, once its rules hold.
    type Asked: Send;
    /// What is answered.
    type Reply: Send + 'static;

    /// The tenant that the message names; empty if it is about none.
    fn tenant(message: &Self::Message) -> &str;

    /// Reads the message.
    fn read(message: Self::Message) -> Result<Self::Asked, Refusal>;

    /// Does the work. Whatever comes of it is recorded when this ends.
    fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        asked: Self::Asked,
    ) -> impl Future<Output = Result<Self::Reply, Refusal>> + Send;
}

/// A request whose sender is not known yet.
#[derive(Debug, Clone)]
struct Unidentified {
    arrival: Arrival,
    presented: Presented,
}

#[derive(Debug)]
struct Inner {
    presigner: Presigner,
    gate: Arc<Gate>,
    /// The longest that signing may take, whatever the caller's deadline.
    patience: Duration,
    tasks: TaskTracker,
    /// Set once, when all is built that operators reach.
    controls: OnceLock<Controls>,
}

impl PresignApi {
    /// The service over these rooms. No request is worked on for longer than `patience`.
    #[must_use]
    pub fn new(presigner: Presigner, authenticator: Authenticator, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            presigner,
            gate: Arc::new(Gate::new(authenticator)),
            patience,
            tasks: TaskTracker::new(),
            controls: OnceLock::new(),
        }))
    }

    /// Gives operators what they reach. Only the first time counts.
    pub fn control(&self, controls: Controls) {
        let _ = self.0.controls.set(controls);
    }

    /// The rooms.
    #[must_use]
    pub fn presigner(&self) -> &Presigner {
        &self.0.presigner
    }

    /// Where callers are known.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }

    /// The longest that signing may take, or a message to come.
    fn patience(&self) -> Duration {
        self.0.patience
    }

    /// Waits for the requests under way, whether or not their callers still do.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// What is known of a request before it is asked who sent it.
    fn arriving(
        &self,
        method: &'static str,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Unidentified {
        self.0.arriving(method, headers, peer)
    }

    /// Takes a request over from the door: what it knows, and the request's place, which is to be held to the end. A request from
    /// within this process did not come by the door, and has no place.
    fn enter<T>(
        &self,
        method: &'static str,
        request: &mut Request<T>,
    ) -> (Option<Ticket>, Unidentified) {
        let ticket = request.extensions_mut().remove::<Ticket>();
        let arriving = ticket.as_ref().and_then(Ticket::arrival);
        let mut arriving = arriving.unwrap_or_else(|| {
            let headers = request.metadata().as_ref();
            self.arriving(method, headers, None)
        });
        // What the message took to come is not there for signing any more.
        let arrival = &mut arriving.arrival;
        let took = self.0.presigner.clock.now().duration_since(arrival.started);
        arrival.patience = arrival.patience.saturating_sub(took.unwrap_or_default());
        (ticket, arriving)
    }

    /// Answers a unary RPC: knows its caller, reads its message, and does its work to the end.
    async fn answer<R: Unary>(
        &self,
        mut request: Request<R::Message>,
    ) -> Result<Response<R::Reply>, Status> {
        let (ticket, arriving) = self.enter(R::METHOD, &mut request);
        let message = request.into_inner();
        let inner = Arc::clone(&self.0);
        let issuance_id = issuance_id(arriving.arrival.started);
        // Room first: then it is made there, and not copied there afterwards.
        let room = Box::new_uninit();
        let work = Box::write(room, async move {
            let _ticket = ticket;
            inner.answer::<R>(arriving, issuance_id, message).await
        });
        self.run(issuance_id, Box::into_pin(work)).await
    }

    /// Refuses a request whose message was not read, and records that.
    async fn refuse(&self, mut arriving: Unidentified, refusal: Refusal) -> Status {
        let inner = Arc::clone(&self.0);
        let issuance_id = inner.issuance_id();
        let work = Box::pin(async move {
            let known = inner.identified(&mut arriving, issuance_id).await;
            let refusal = known.err().unwrap_or(refusal);
            let arrival = arriving.arrival;
            let refusal = inner.refuse(&arrival, issuance_id, None, refusal).await;
            (Err(refusal), arrival.told)
        });
        match self.run::<Infallible>(issuance_id, work).await {
            Err(status) => status,
            Ok(never) => match never.into_inner() {},
        }
    }

    /// Runs an RPC to its end, even if its caller hangs up.
    async fn run<T: Send + 'static>(
        &self,
        issuance_id: Uuid,
        work: Pin<Box<impl Future<Output = (Result<T, Refusal>, Told)> + Send + 'static>>,
    ) -> Result<Response<T>, Status> {
        let ended = ToTheEnd::new(work, &self.0.tasks).await;
        // Only what keeps the record of a panic can still have panicked, and then nothing can be recorded.
        let (result, told) = ended.unwrap_or_else(|Panicked| {
            tracing::error!(%issuance_id, "a request panicked, and its record too");
            (Err(Refusal::Internal), Told::default())
        });
        match result {
            Ok(message) => {
                let mut response = Response::new(message);
                rate_limit::tell(response.metadata_mut(), told);
                Ok(response)
            }
            Err(refusal) => {
                let mut status = status::status(&refusal, issuance_id);
                rate_limit::tell(status.metadata_mut(), told);
                Err(status)
            }
        }
    }
}

impl Inner {
    /// What operators reach. Nothing, where nobody gave it.
    fn controls(&self) -> &Controls {
        self.controls.get_or_init(Controls::default)
    }

    /// Knows the caller of a message, reads it, and does its work.
    async fn answer<R: Unary>(
        &self,
        mut arriving: Unidentified,
        issuance_id: Uuid,
        message: R::Message,
    ) -> (Result<R::Reply, Refusal>, Told) {
        let known = self.identified(&mut arriving, issuance_id).await;
        let arrival = &arriving.arrival;
        let tenant = TenantId::parse(R::tenant(&message)).ok();
        let tenant = tenant.as_ref();
        let work = async {
            match known.and_then(|()| R::read(message)) {
                Ok(asked) => R::work(self, arrival, issuance_id, asked).await,
                Err(refusal) => Err(self.refuse(arrival, issuance_id, tenant, refusal).await),
            }
        };
        let result = self
            .unless_it_panics(arrival, issuance_id, tenant, pin!(work))
            .await;
        (result, arriving.arrival.told)
    }

    /// What comes of the work; if it panics, a refusal with a record of its own.
    async fn unless_it_panics<T>(
        &self,
        arrival: &Arrival,
        issuance_id: Uuid,
        tenant: Option<&TenantId>,
        work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    ) -> Result<T, Refusal> {
        match caught(issuance_id, work).await {
            Ok(result) => result,
            Err(Panicked) => Err(self
                .refuse(arrival, issuance_id, tenant, Refusal::Internal)
                .await),
        }
    }

    /// What is known of a request before it is asked who sent it.
    fn arriving(
        &self,
        method: &'static str,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Unidentified {
        let patience = request::timeout(headers).map_or(self.patience, |timeout| {
            request::patience(timeout).min(self.patience)
        });
        let certificate = peer.and_then(|peer| peer.certificate.clone());
        let peer = peer.map(|peer| peer.address);
        Unidentified {
            presented: Presented::read(headers, certificate, peer),
            arrival: Arrival {
                method,
                started: self.presigner.clock.now(),
                patience,
                trace: TraceContext::from_headers(headers),
                peer,
                caller: Caller::unknown(),
                told: Told::default(),
            },
        }
    }

    /// Finds out who arrived, and how long they still wait.
    async fn identified(
        &self,
        arriving: &mut Unidentified,
        issuance_id: Uuid,
    ) -> Result<(), Refusal> {
        let Unidentified { arrival, presented } = arriving;
        let identifying = pin!(self.identify(arrival, presented));
        let known = caught(issuance_id, identifying).await;
        known.unwrap_or(Err(Refusal::Internal))
    }

    async fn identify(&self, arrival: &mut Arrival, presented: &Presented) -> Result<(), Refusal> {
        let authenticator = self.gate.authenticator();
        let mut identified = pin!(authenticator.authenticate(presented));
        // Who is known already costs no timer.
        let known = if let Some(known) = at_once(identified.as_mut()).await {
            known
        } else {
            let began = self.presigner.clock.monotonic();
            let known = Box::pin(tokio::time::timeout(arrival.patience, identified)).await;
            let spent = self.presigner.clock.monotonic().saturating_sub(began);
            arrival.patience = arrival.patience.saturating_sub(spent);
            known.map_err(|_| Refusal::DeadlineExceeded)?
        };
        arrival.caller = known?;
        Ok(())
    }

    /// Records a refusal, except of an address that would flood the records with them.
    async fn refuse(
        &self,
        arrival: &Arrival,
        issuance_id: Uuid,
        tenant: Option<&TenantId>,
        refusal: Refusal,
    ) -> Refusal {
        if let Refusal::Unauthenticated(Unauthenticated::TooManyFailures { .. }) = refusal {
            return refusal;
        }
        // Apart from the room of those that are served, of which nearly all are.
        let refusing = self.presigner.refuse(arrival, issuance_id, tenant, refusal);
        Box::pin(refusing).await
    }

    fn issuance_id(&self) -> Uuid {
        issuance_id(self.presigner.clock.now())
    }
}

/// A new one, which says when it was given.
fn issuance_id(given: SystemTime) -> Uuid {
    let since = given.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

/// What comes of the work, unless it panics. What the panic says may hold anything, so that is left to the process's panic hook.
async fn caught<T>(
    issuance_id: Uuid,
    work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Panicked> {
    // Rooms are shared with other requests as they were: what a lock holds is whole between any two statements.
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_| {
        tracing::error!(%issuance_id, "a request panicked");
        Panicked
    })
}

#[tonic::async_trait]
impl PresignService for PresignApi {
    async fn presign(
        &self,
        request: Request<PresignRequest>,
    ) -> Result<Response<PresignResponse>, Status> {
        self.answer::<Presign>(request).await
    }

    async fn batch_presign(
        &self,
        request: Request<BatchPresignRequest>,
    ) -> Result<Response<BatchPresignResponse>, Status> {
        self.answer::<BatchPresign>(request).await
    }

    type StreamPresignStream = Taking;

    async fn stream_presign(
        &self,
        request: Request<Streaming<StreamPresignRequest>>,
    ) -> Result<Response<Taking>, Status> {
        self.open(request).await
    }

    async fn presign_post(
        &self,
        request: Request<PresignPostRequest>,
    ) -> Result<Response<PresignPostResponse>, Status> {
        self.answer::<PresignPost>(request).await
    }

    async fn explain_presign(
        &self,
        request: Request<ExplainPresignRequest>,
    ) -> Result<Response<ExplainPresignResponse>, Status> {
        self.answer::<ExplainPresign>(request).await
    }

    async fn start_multipart_upload(
        &self,
        request: Request<StartMultipartUploadRequest>,
    ) -> Result<Response<StartMultipartUploadResponse>, Status> {
        self.answer::<StartMultipartUpload>(request).await
    }

    async fn presign_parts(
        &self,
        request: Request<PresignPartsRequest>,
    ) -> Result<Response<PresignPartsResponse>, Status> {
        self.answer::<PresignParts>(request).await
    }
}
