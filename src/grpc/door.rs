//! What every request for PresignService or OperationsService passes before its message is read: is there room, and does the message come?
//!
//! Invariant: a request holds its place until it is decided and answered, whether or not its caller still waits. What is refused
//! because its message does not come whole, is too large or no protobuf leaves a record like any other refusal. What is refused for
//! want of room does not: nothing was read, and it has to stay cheap. A stream has a place until its caller is known; then each of
//! its requests has one of its own.

mod arriving;

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service as _;

use self::arriving::Arriving;
use super::{Ending, METHODS, OPERATIONS, Peer, PresignApi, Unidentified, status, stream_presign};
use crate::metrics::{self, CALLS};
use crate::proto::v1::operations_service_server::OperationsServiceServer;
use crate::proto::v1::presign_service_server::PresignServiceServer;
use crate::refusal::Refusal;

/// An answer that is on its way.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// How often to say what was refused.
const NEWS: Duration = Duration::from_secs(1);

/// The door of PresignService and OperationsService. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door {
    api: PresignApi,
    service: PresignServiceServer<PresignApi>,
    operations: OperationsServiceServer<PresignApi>,
    room: Arc<Room>,
}

/// How many requests may be under way, and how large one may be.
#[derive(Debug)]
pub(super) struct Room {
    max_request_bytes: usize,
    most: usize,
    taken: AtomicUsize,
    /// Those for which there was none, and which were not told of yet.
    refused: AtomicU64,
}

/// A request's place, and what is known of it before its message is. One of the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Ticket(Arc<Place>);

/// One request's part of the room.
#[derive(Debug)]
pub(super) struct Held(
    Arc<Room>,
    #[expect(dead_code, reason = "counts until it is dropped")] metrics::Held,
);

/// A call that is timed until it is answered, or given up.
#[derive(Debug)]
pub(super) struct Timed {
    api: PresignApi,
    method: &'static str,
    began: Duration,
    /// How it ended; if nobody says: its caller has gone.
    code: Option<Code>,
    elsewhere: bool,
}

#[derive(Debug)]
struct Place {
    held: Held,
    ending: Arc<Ending>,
    arriving: Mutex<Option<Unidentified>>,
    /// Whether the message was read, so that what becomes of it is the service's business.
    read: AtomicBool,
}

impl Door {
    pub(super) fn new(api: PresignApi, max_request_bytes: usize, max_in_flight: usize) -> Self {
        let service = PresignServiceServer::new(api.clone())
            .max_decoding_message_size(max_request_bytes)
            .max_encoding_message_size(usize::MAX);
        let operations = OperationsServiceServer::new(api.clone())
            .max_decoding_message_size(max_request_bytes)
            .max_encoding_message_size(usize::MAX);
        Self {
            api,
            service,
            operations,
            room: Arc::new(Room {
                max_request_bytes,
                most: max_in_flight,
                taken: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
            }),
        }
    }

    /// Answers one request of whoever is at the other end.
    pub(super) fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Answering {
        let Some(method) = method(request.uri().path()) else {
            return if is_operation(request.uri().path()) {
                self.operations.clone().call(request)
            } else {
                self.service.clone().call(request)
            };
        };
        let timed = Timed::begin(&self.api, method);
        let Some(held) = self.room.take() else {
            timed.end(Code::Unavailable);
            return Box::pin(ready(Ok(answer(status::unrecorded(&Refusal::Overloaded)))));
        };
        let headers = request.headers();
        let arriving = self.api.arriving(method, headers, Some(peer));
        let patience = arriving.arrival.patience;
        let is_stream = method == stream_presign::METHOD;
        let ticket = Ticket(Arc::new(Place {
            held,
            ending: Arc::clone(&peer.ending),
            arriving: Mutex::new(Some(arriving)),
            read: AtomicBool::new(false),
        }));
        let mut request = request.map(|body| {
            if is_stream {
                Arriving::one_by_one(body, self.api.patience())
            } else {
                Arriving::new(body, patience)
            }
        });
        request.extensions_mut().insert(ticket.clone());
        let answering = if is_operation(request.uri().path()) {
            self.operations.clone().call(request)
        } else {
            self.service.clone().call(request)
        };
        let room = Arc::clone(&self.room);
        Box::pin(async move {
            let answered = answering.await?;
            let unread = ticket.unread();
            let answered =
                match unread.and_then(|arriving| Some((arriving, room.refusal(&answered)?))) {
                    Some((arriving, refusal)) => answer(timed.api.refuse(arriving, refusal).await),
                    None => answered,
                };
            match answered.headers().get("grpc-status") {
                Some(code) => timed.end(Code::from_bytes(code.as_bytes())),
                // A stream is timed where it is answered.
                None if is_stream => timed.forget(),
                // The message is there, and the status will follow it.
                None => timed.end(Code::Ok),
            }
            Ok(answered)
        })
    }

    /// Says, every so often, how many requests there was no room for, for as long as this is awaited.
    pub(super) async fn tell(&self) {
        loop {
            tokio::time::sleep(NEWS).await;
            let refused = self.room.refused.swap(0, Ordering::Relaxed);
            if refused > 0 {
                tracing::warn!(
                    refused,
                    "requests refused: as many are under way as server.max_requests_in_flight allows"
                );
            }
        }
    }
}

/// The method's full name, where it is one.
fn method(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix('/')?;
    METHODS.into_iter().find(|method| *method == name)
}

/// Whether a path is one of OperationsService's methods.
fn is_operation(path: &str) -> bool {
    let name = path.strip_prefix('/');
    name.is_some_and(|name| name.starts_with(OPERATIONS))
}

fn answer(status: Status) -> Response<Body> {
    status.into_http()
}

impl Room {
    /// A part of it for one more request, if there is any.
    pub(super) fn take(self: &Arc<Self>) -> Option<Held> {
        if self.taken.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(Held(Arc::clone(self), metrics::IN_FLIGHT.hold()));
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
        metrics::OVERLOADED.count(0);
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// What tonic refused before the service saw it, in presignd's words.
    fn refusal(&self, answered: &Response<Body>) -> Option<Refusal> {
        self.unreadable(&Status::from_header_map(answered.headers())?)
    }

    /// Why tonic could not read a message, in presignd's words.
    pub(super) fn unreadable(&self, status: &Status) -> Option<Refusal> {
        match status.code() {
            Code::OutOfRange => Some(Refusal::TooLarge {
                most: self.max_request_bytes,
            }),
            Code::DeadlineExceeded => Some(Refusal::DeadlineExceeded),
            Code::Internal => Some(Refusal::NotProtobuf),
            // Compressed, say, or the client took it back.
            _ => None,
        }
    }
}

impl Timed {
    /// A call that begins now.
    pub(super) fn begin(api: &PresignApi, method: &'static str) -> Self {
        Self {
            began: api.presigner().clock.monotonic(),
            api: api.clone(),
            method,
            code: None,
            elsewhere: false,
        }
    }

    /// It ends now, like this.
    pub(super) fn end(mut self, code: Code) {
        self.code = Some(code);
    }

    /// It is timed elsewhere.
    fn forget(mut self) {
        self.elsewhere = true;
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if self.elsewhere {
            return;
        }
        let now = self.api.presigner().clock.monotonic();
        let code = self.code.unwrap_or(Code::Cancelled);
        let code = usize::try_from(i32::from(code)).unwrap_or_default();
        let place = metrics::call(self.method, code);
        CALLS.took(place, now.saturating_sub(self.began));
    }
}

impl Ticket {
    /// The room, for the requests of a stream.
    pub(super) fn room(&self) -> Arc<Room> {
        Arc::clone(&self.0.held.0)
    }

    /// When a stream has to end with its connection.
    pub(super) fn ending(&self) -> Arc<Ending> {
        Arc::clone(&self.0.ending)
    }

    /// What is known of the request, once its message was read: once.
    pub(super) fn arrival(&self) -> Option<Unidentified> {
        self.0.read.store(true, Ordering::Relaxed);
        self.0.take()
    }

    /// The same, where it was not.
    fn unread(&self) -> Option<Unidentified> {
        if self.0.read.load(Ordering::Relaxed) {
            return None;
        }
        self.0.take()
    }
}

impl Place {
    fn take(&self) -> Option<Unidentified> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        arriving.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
