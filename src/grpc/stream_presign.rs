//! `StreamPresign`: many requests under way on one stream.
//!
//! A task for each stream reads its requests, works on all of them in turns, and puts the answers down where the connection takes them.
//! It does not wait for the client: what was read comes to its record and its answer whatever the client does, and requests that
//! are worked on do not stand still while answers are untaken. Invariant: a stream has [`MOST`] requests under way and answers untaken
//! at most, and reads no further; it ends when its connection is to close.

mod answers;

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

pub(super) use self::answers::Taking;
use self::answers::{Answers, answers};
use super::door::{Held, Room, Ticket, Timed};
use super::server::{Requests, idle};
use super::{Ending, Inner, Peer, PresignApi, Unary, Unidentified, caught, reply, request, status};
use crate::admit::quota::Told;
use crate::authenticate::Unauthenticated;
use crate::metrics;
use crate::presign::{Arrival, Item};
use crate::proto::v1::stream_presign_response::Result as ItemResult;
use crate::proto::v1::{Command, PresignResponse, StreamPresignRequest, StreamPresignResponse};
use crate::refusal::Refusal;

/// The RPC's full name.
pub(super) const METHOD: &str = "presignd.v1.PresignService/StreamPresign";
/// The most requests under way and answers untaken of one stream.
const MOST: usize = 64;

/// One request on a stream.
struct OnStream;

impl Unary for OnStream {
    const METHOD: &'static str = METHOD;
    type Message = StreamPresignRequest;
    type Asked = (crate::presign::Request, Box<Command>);
    type Reply = PresignResponse;

    fn tenant(message: &Self::Message) -> &str {
        let request = message.request.as_ref();
        request.map_or("", |request| &request.tenant)
    }

    fn read(message: StreamPresignRequest) -> Result<Self::Asked, Refusal> {
        request::read_on_stream(message)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, command): Self::Asked,
    ) -> Result<PresignResponse, Refusal> {
        let item = Item {
            issuance_id,
            command: &command,
        };
        let issued = inner.presigner.presign(arrival, &request, &item).await?;
        Ok(reply::response(issued, issuance_id))
    }
}

/// What the requests of a stream have in common.
struct Opened {
    inner: Arc<Inner>,
    /// What each request begins with: it is identified anew, since what its caller has shown may have come to its end.
    arriving: Unidentified,
    /// The end of the client's patience with the whole stream.
    deadline: Option<Instant>,
    /// Without it, the stream did not come by the door.
    room: Option<Arc<Room>>,
    ending: Option<Arc<Ending>>,
    requests: Requests,
}

/// What became of one request.
struct Answered {
    answer: StreamPresignResponse,
    /// Why the stream is not to go on.
    end: Option<Status>,
}

/// Why no more is read.
enum End {
    /// The client has no more to ask.
    NoMore,
    /// The client has gone.
    Gone,
    /// What came could not be read.
    Unreadable(Status),
    /// For a reason of presignd's.
    Status(Status),
}

impl PresignApi {
    /// Opens a stream: knows its caller, and begins to read.
    pub(super) async fn open(
        &self,
        mut request: Request<Streaming<StreamPresignRequest>>,
    ) -> Result<Response<Taking>, Status> {
        let patience = request::timeout(request.metadata().as_ref()).map(request::patience);
        let deadline = patience.map(|patience| Instant::now() + patience);
        let (ticket, arriving) = self.enter(METHOD, &mut request);
        let peer = request.extensions().get::<Peer>();
        let opened = Opened {
            inner: Arc::clone(&self.0),
            arriving: arriving.clone(),
            deadline,
            room: ticket.as_ref().map(Ticket::room),
            ending: peer.map(|peer| Arc::clone(&peer.ending)),
            requests: Requests::default(),
        };
        let messages = request.into_inner();
        let issuance_id = self.0.issuance_id();
        let api = self.clone();
        let work = Box::pin(async move {
            let _ticket = ticket;
            let inner = &opened.inner;
            let (arrival, known) = inner.identified(arriving, issuance_id).await;
            if let Err(refusal) = known {
                let refusal = inner.refuse(&arrival, issuance_id, None, refusal).await;
                return (Err(refusal), Told::default());
            }
            // Whoever is refused is timed at the door.
            let timed = Timed::begin(&api, METHOD);
            let (answers, taking) = answers();
            let tasks = inner.tasks.clone();
            tasks.spawn(async move {
                let _open = metrics::STREAMS.hold();
                let end = Arc::new(opened).flow(messages, answers).await;
                timed.end(end);
            });
            (Ok(taking), Told::default())
        });
        self.run(issuance_id, work).await
    }
}

impl Opened {
    /// Answers what comes, for as long as the stream lasts. How it ended.
    async fn flow(
        self: Arc<Self>,
        messages: Streaming<StreamPresignRequest>,
        answers: Answers,
    ) -> Code {
        let mut messages = messages;
        let mut under_way = FuturesUnordered::new();
        let begin = |message, held| Arc::clone(&self).answer(message, held);
        let end = {
            let mut time_up = pin!(self.time_up());
            poll_fn(|context| {
                // What comes is begun first, so that the records of as many as possible are written together.
                let read = self.poll_read(&mut messages, &under_way, &answers, begin, context);
                if let Some(status) = self.poll_answered(&mut under_way, &answers, context) {
                    return Poll::Ready(End::Status(status));
                }
                if read.is_ready() {
                    return read;
                }
                time_up.as_mut().poll(context).map(End::Status)
            })
            .await
        };
        // What the client still sends is not waited for.
        drop(messages);
        let mut unknown = None;
        while let Some(answered) = under_way.next().await {
            answers.put(answered.answer);
            self.requests.end();
            unknown = unknown.or(answered.end);
        }
        let gone = matches!(end, End::Gone);
        let status = match end {
            End::NoMore | End::Gone => unknown,
            End::Status(status) => Some(status),
            End::Unreadable(status) => Some(self.unreadable(status).await),
        };
        let code = match &status {
            Some(status) => status.code(),
            None if gone => Code::Cancelled,
            None => Code::Ok,
        };
        answers.end(status);
        code
    }

    /// Begins with what comes, as far as there is room.
    fn poll_read<F: Future<Output = Answered>>(
        &self,
        messages: &mut Streaming<StreamPresignRequest>,
        under_way: &FuturesUnordered<F>,
        answers: &Answers,
        begin: impl Fn(StreamPresignRequest, Option<Held>) -> F,
        context: &mut Context<'_>,
    ) -> Poll<End> {
        loop {
            let room = MOST.saturating_sub(under_way.len());
            if ready!(answers.poll_fewer(room, context)).is_err() {
                return Poll::Ready(End::Gone);
            }
            let message = match ready!(messages.poll_next_unpin(context)) {
                Some(Ok(message)) => message,
                Some(Err(status)) => return Poll::Ready(End::Unreadable(status)),
                None => return Poll::Ready(End::NoMore),
            };
            self.requests.begin();
            match self.room.as_ref().map(Room::take) {
                None => under_way.push(begin(message, None)),
                Some(Some(held)) => under_way.push(begin(message, Some(held))),
                Some(None) => {
                    let refused = status::unrecorded_item(&Refusal::Overloaded);
                    let told = Told::default();
                    answers.put(answer(message.request_id, ItemResult::Error(refused), told));
                    self.requests.end();
                }
            }
        }
    }

    /// Puts down what is answered, and says whether the stream has to end for it.
    fn poll_answered<F: Future<Output = Answered>>(
        &self,
        under_way: &mut FuturesUnordered<F>,
        answers: &Answers,
        context: &mut Context<'_>,
    ) -> Option<Status> {
        while let Poll::Ready(Some(answered)) = under_way.poll_next_unpin(context) {
            answers.put(answered.answer);
            self.requests.end();
            if answered.end.is_some() {
                return answered.end;
            }
        }
        None
    }

    /// Answers one request, which has this place.
    async fn answer(
        self: Arc<Self>,
        message: StreamPresignRequest,
        held: Option<Held>,
    ) -> Answered {
        let inner = &self.inner;
        let issuance_id = inner.issuance_id();
        let mut request_id = message.request_id.clone();
        request_id.truncate(request_id.floor_char_boundary(request::MAX_REQUEST_ID));
        let work = pin!(inner.answer::<OnStream>(self.arriving(), issuance_id, message));
        // Only what keeps the record of a panic can still panic.
        let result = caught(issuance_id, work).await;
        drop(held);
        let (result, told) = result.unwrap_or_else(|_| (Err(Refusal::Internal), Told::default()));
        let refusal = match result {
            Ok(issued) => {
                return Answered {
                    answer: answer(request_id, ItemResult::Response(issued), told),
                    end: None,
                };
            }
            Err(refusal) => refusal,
        };
        let unknown = matches!(
            refusal,
            Refusal::Unauthenticated(
                Unauthenticated::Refused { .. } | Unauthenticated::TooManyFailures { .. }
            )
        );
        let error = status::item_status(&refusal, issuance_id);
        Answered {
            answer: answer(request_id, ItemResult::Error(error), told),
            end: unknown.then(|| status::unrecorded(&refusal)),
        }
    }

    /// A request that arrives now.
    fn arriving(&self) -> Unidentified {
        let mut arriving = self.arriving.clone();
        arriving.arrival.started = self.inner.presigner.clock.now();
        arriving.arrival.patience = self.patience();
        arriving
    }

    /// How long a request may take that comes now.
    fn patience(&self) -> Duration {
        let left = self
            .deadline
            .map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(self.inner.patience, |left| left.min(self.inner.patience))
    }

    /// Until the stream has to end, and why.
    async fn time_up(&self) -> Status {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let ending = async {
            let Some(ending) = &self.ending else {
                return pending().await;
            };
            tokio::select! {
                () = ending.closing.cancelled() => {}
                () = idle(&self.requests, ending.idle_timeout) => {}
            }
        };
        tokio::select! {
            () = ending => status::unrecorded(&Refusal::StreamClosed),
            () = deadline => status::unrecorded(&Refusal::DeadlineExceeded),
        }
    }

    /// The end of a stream whose next message could not be read, with its record; if it is the client who has gone, without.
    async fn unreadable(&self, status: Status) -> Status {
        let refusal = match &self.room {
            Some(room) => room.unreadable(&status),
            None => None,
        };
        let Some(refusal) = refusal else {
            return status;
        };
        let inner = &self.inner;
        let issuance_id = inner.issuance_id();
        let recorded = async {
            let (arrival, known) = inner.identified(self.arriving(), issuance_id).await;
            let refusal = known.err().unwrap_or(refusal);
            inner.refuse(&arrival, issuance_id, None, refusal).await
        };
        let refusal = caught(issuance_id, pin!(recorded)).await;
        status::status(&refusal.unwrap_or(Refusal::Internal), issuance_id)
    }
}

fn answer(request_id: String, result: ItemResult, told: Told) -> StreamPresignResponse {
    let (policy, left) = told.metadata().unwrap_or_default();
    // Names of limits and numbers are plain text.
    let policy = String::from_utf8(policy.into()).unwrap_or_default();
    StreamPresignResponse {
        request_id,
        ratelimit_policy: policy,
        ratelimit: left,
        result: Some(result),
    }
}
