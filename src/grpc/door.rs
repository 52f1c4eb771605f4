//! What every request for PresignService passes before its message is read: is there room, and does the message come?
//!
//! Invariant: a request holds its place until it is decided and answered, whether or not its caller still waits. What is refused
//! because its message does not come whole, is too large or no protobuf leaves a record like any other refusal. What is refused for
//! want of room does not: nothing was read, and it has to stay cheap.

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
use super::{METHODS, PresignApi, Unidentified, status};
use crate::proto::v1::presign_service_server::PresignServiceServer;
use crate::refusal::Refusal;

/// An answer that is on its way.
pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// How often to say what was refused.
const NEWS: Duration = Duration::from_secs(1);

/// The door of PresignService. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door {
    api: PresignApi,
    service: PresignServiceServer<PresignApi>,
    room: Arc<Room>,
    max_request_bytes: usize,
}

/// How many requests may be under way.
#[derive(Debug)]
struct Room {
    most: usize,
    taken: AtomicUsize,
    /// Those for which there was none, and which were not told of yet.
    refused: AtomicU64,
}

/// A request's place, and what is known of it before its message is. One of the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Ticket(Arc<Place>);

#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    arriving: Mutex<Option<Unidentified>>,
    /// Whether the message was read, so that what becomes of it is the service's business.
    read: AtomicBool,
}

impl Door {
    pub(super) fn new(api: PresignApi, max_request_bytes: usize, max_in_flight: usize) -> Self {
        let service = PresignServiceServer::new(api.clone())
            .max_decoding_message_size(max_request_bytes)
            .max_encoding_message_size(usize::MAX);
        Self {
            api,
            service,
            room: Arc::new(Room {
                most: max_in_flight,
                taken: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
            }),
            max_request_bytes,
        }
    }

    /// Answers one request.
    pub(super) fn answer(&self, request: Request<Incoming>) -> Answering {
        let Some(method) = method(request.uri().path()) else {
            return self.service.clone().call(request);
        };
        if !self.room.take() {
            return Box::pin(ready(Ok(answer(status::overloaded()))));
        }
        let (headers, extensions) = (request.headers(), request.extensions());
        let arriving = self.api.arriving(method, headers, extensions);
        let patience = arriving.arrival.patience;
        let ticket = Ticket(Arc::new(Place {
            room: Arc::clone(&self.room),
            arriving: Mutex::new(Some(arriving)),
            read: AtomicBool::new(false),
        }));
        let mut request = request.map(|body| Arriving::new(body, patience));
        request.extensions_mut().insert(ticket.clone());
        let answering = self.service.clone().call(request);
        let (api, most) = (self.api.clone(), self.max_request_bytes);
        Box::pin(async move {
            let answered = answering.await?;
            let unread = ticket.unread();
            Ok(
                match unread.and_then(|arriving| Some((arriving, refusal(&answered, most)?))) {
                    Some((arriving, refusal)) => answer(api.refuse(arriving, refusal).await),
                    None => answered,
                },
            )
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

/// What tonic refused before the service saw it, in presignd's words.
fn refusal(answered: &Response<Body>, most: usize) -> Option<Refusal> {
    match Status::from_header_map(answered.headers())?.code() {
        Code::OutOfRange => Some(Refusal::TooLarge { most }),
        Code::DeadlineExceeded => Some(Refusal::DeadlineExceeded),
        Code::Internal => Some(Refusal::NotProtobuf),
        // Compressed, say, or the client took it back.
        _ => None,
    }
}

/// The method's full name, where it is one.
fn method(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix('/')?;
    METHODS.into_iter().find(|method| *method == name)
}

fn answer(status: Status) -> Response<Body> {
    status.into_http()
}

impl Room {
    fn take(&self) -> bool {
        if self.taken.fetch_add(1, Ordering::Relaxed) < self.most {
            return true;
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl Ticket {
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

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
