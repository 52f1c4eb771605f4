//! One connection, from its first byte to its last.
//!
//! Invariant: whatever the client does or leaves undone, there is a time at which the connection ends. Before the first request it
//! is the handshake's; then it is that of an idle one, of its age, or of the server's end, and where the client does not let itself
//! be told to go, the connection is cut.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::services::Services;
use super::stream::{Moved, Stream};
use super::tls::Tls;
use super::turns::gathering;
use super::workers::{Place, UnderWay};
use crate::authenticate::certificate::PeerCertificate;

/// How much longer a handshake may take once the server is told to stop: long enough for a client that has begun in earnest.
const LATE_HANDSHAKE: Duration = Duration::from_secs(1);
/// A closing connection on which nothing is under way, and on which no byte moves for so long, is cut: its client is not there.
const STALL: Duration = Duration::from_secs(5);
/// How often an idle connection is looked at before it counts as idle for good.
const LOOKS: u32 = 4;
/// Requests that a client may take back before they are looked at, and broken ones that presignd may: beyond, the connection is
/// closed. It has to send them faster than they are looked at, which no client does that means no harm.
const MAX_RESETS: usize = 100;
/// What a client may send on one stream, and on the whole connection, before it is read. HTTP/2 closes a connection on which frames wait
/// whose bookkeeping takes more than half of the connection's window: small messages, on a stream that is not read on because its
/// answers are untaken, are to be held back by the stream's window before that.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Peer {
    /// Where they call from.
    pub(in crate::grpc) address: SocketAddr,
    /// Whom their certificate names, if they have one and it was verified.
    pub(in crate::grpc) certificate: Option<PeerCertificate>,
    /// When streams on the connection have to end.
    pub(in crate::grpc) ending: Arc<Ending>,
}

/// When streams on a connection have to end, whose requests would never end otherwise.
#[derive(Debug)]
pub(in crate::grpc) struct Ending {
    /// The connection closes.
    pub(in crate::grpc) closing: CancellationToken,
    /// How long there may be no request on a stream: as on a connection.
    pub(in crate::grpc) idle_timeout: Duration,
}

/// What a client may take on one connection, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Requests under way.
    pub max_streams: u32,
    /// The headers of one request, in bytes.
    pub max_header_bytes: u32,
    /// From the connection to the first bytes of HTTP/2, TLS between them.
    pub handshake_timeout: Duration,
    /// How long there may be no request.
    pub idle_timeout: Duration,
    /// How often clients are asked whether they are still there.
    pub keepalive_interval: Duration,
    /// How long they may take to say so, and to take what they were sent.
    pub keepalive_timeout: Duration,
    /// How long a connection lives, a tenth more or less.
    pub max_age: Duration,
    /// How long its last requests may take then.
    pub max_age_grace: Duration,
}

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is served.
    pub(super) services: Services,
    pub(super) limits: ConnectionLimits,
    /// Without it, plaintext.
    pub(super) tls: Option<Arc<Tls>>,
    /// No new requests: those under way are answered, then the connection closes.
    pub(super) stopping: CancellationToken,
}

/// Serves a connection until its end.
pub(super) async fn serve(
    stream: std::net::TcpStream,
    peer: Peer,
    shared: Arc<Shared>,
    place: Place,
) {
    // A connection's failure is its client's affair.
    let address = peer.address;
    if let Err(error) = open(stream, peer, &shared, place).await {
        tracing::debug!(peer = %address, "a connection ended: {error}");
    }
}

async fn open(
    stream: std::net::TcpStream,
    mut peer: Peer,
    shared: &Shared,
    place: Place,
) -> io::Result<()> {
    bound_sending(&stream, &shared.limits)?;
    // Only where the connection is served is the runtime whose events it waits for.
    let stream = TcpStream::from_std(stream)?;
    if let Some(tls) = &shared.tls {
        let begin = async {
            let stream = tls.accept(stream).await?;
            let certificate = certificate(&stream)?;
            Ok((Stream::begin(stream).await?, certificate))
        };
        let (stream, certificate) = in_time(shared, begin).await?;
        peer.certificate = certificate;
        http2(stream, peer, shared, place).await
    } else {
        let stream = in_time(shared, Stream::begin(stream)).await?;
        http2(stream, peer, shared, place).await
    }
}

/// Whom the client's certificate names, which the handshake has verified.
fn certificate(stream: &TlsStream<TcpStream>) -> io::Result<Option<PeerCertificate>> {
    let (_, session) = stream.get_ref();
    let own = session.peer_certificates().and_then(<[_]>::first);
    let read = own.map(|own| PeerCertificate::read(own)).transpose();
    read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A client that does not take what it is sent loses its connection, though it answers otherwise.
fn bound_sending(stream: &std::net::TcpStream, limits: &ConnectionLimits) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let most = limits.keepalive_interval + limits.keepalive_timeout;
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(most))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, limits);
    Ok(())
}

/// The handshake, within its time.
async fn in_time<T>(
    shared: &Shared,
    handshake: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = async {
        shared.stopping.cancelled().await;
        tokio::time::sleep(LATE_HANDSHAKE).await;
    };
    let timeout = tokio::time::sleep(shared.limits.handshake_timeout);
    tokio::select! {
        begun = handshake => begun,
        () = late => Err(io::ErrorKind::TimedOut.into()),
        () = timeout => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Serves requests, until the client goes or has to.
async fn http2<S>(stream: Stream<S>, peer: Peer, shared: &Shared, place: Place) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.limits;
    let moved = stream.moved();
    let closing = peer.ending.closing.clone();
    let requests = Arc::new(Requests::default());
    let (services, under_way) = (shared.services.clone(), Arc::clone(&requests));
    let service = service_fn(move |request: Request<Incoming>| {
        let counted = Counted::new(&under_way, place.request());
        let answering = services.answer(request, &peer);
        async move {
            let answer: Response<Body> = answering.await?;
            Ok::<_, Infallible>(answer.map(|body| Answer {
                body,
                _counted: counted,
            }))
        }
    });
    let (stream, outgoing) = gathering(stream);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut age = pin!(tokio::time::sleep(jittered(limits.max_age)));
    tokio::select! {
        ended = outgoing.along(connection.as_mut()) => return ended,
        () = shared.stopping.cancelled() => {}
        () = idle(&requests, limits.idle_timeout) => {}
        () = age.as_mut() => {}
    }
    closing.cancel();
    connection.as_mut().graceful_shutdown();
    // The server's own grace ends where this one may not.
    tokio::select! {
        ended = outgoing.along(connection.as_mut()) => ended,
        () = stalled(&requests, &moved) => Err(io::ErrorKind::TimedOut.into()),
        () = tokio::time::sleep(limits.max_age_grace), if !shared.stopping.is_cancelled() => {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

/// Until there was no request for so long, or for a look's time longer.
pub(in crate::grpc) async fn idle(requests: &Requests, timeout: Duration) {
    let mut quiet = Quiet::default();
    let mut look = pin!(tokio::time::sleep(timeout / LOOKS));
    loop {
        look.as_mut().await;
        again(look.as_mut(), timeout / LOOKS);
        if quiet.look(requests.begun(), requests.none()) {
            return;
        }
    }
}

/// How long there was no request, in looks.
#[derive(Debug, Default)]
struct Quiet {
    begun: u64,
    looks: u32,
}

impl Quiet {
    /// Looks at how many requests have begun so far, and whether none is left: is the connection idle?
    fn look(&mut self, begun: u64, none_left: bool) -> bool {
        let quiet = none_left && begun == self.begun;
        self.looks = if quiet { self.looks + 1 } else { 0 };
        self.begun = begun;
        self.looks >= LOOKS
    }
}

/// Until nothing is under way and no byte has moved for some time.
async fn stalled(requests: &Requests, moved: &Moved) {
    let mut look = pin!(tokio::time::sleep(STALL));
    moved.take();
    loop {
        look.as_mut().await;
        again(look.as_mut(), STALL);
        if !moved.take() && requests.none() {
            return;
        }
    }
}

fn again(sleep: Pin<&mut Sleep>, after: Duration) {
    let next = sleep.deadline() + after;
    sleep.reset(next);
}

/// A tenth more or less, so that connections that began together do not end together.
fn jittered(age: Duration) -> Duration {
    // Each state hashes with keys of its own, which is as random as this has to be.
    let share = RandomState::new().hash_one(()) % 2000;
    age / 10_000 * (9_000 + u32::try_from(share).unwrap_or_default())
}

/// The requests of one connection, or of one stream.
#[derive(Debug, Default)]
pub(in crate::grpc) struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    /// One begins.
    pub(in crate::grpc) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// One has ended.
    pub(in crate::grpc) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn none(&self) -> bool {
        self.begun() == self.ended.load(Ordering::Relaxed)
    }
}

/// A request, until the last of its answer was handed over.
#[derive(Debug)]
struct Counted {
    requests: Arc<Requests>,
    _under_way: UnderWay,
}

impl Counted {
    fn new(requests: &Arc<Requests>, under_way: UnderWay) -> Self {
        requests.begin();
        Self {
            requests: Arc::clone(requests),
            _under_way: under_way,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.requests.end();
    }
}

/// An answer whose request counts as long as it lasts.
struct Answer {
    body: Body,
    _counted: Counted,
}

impl http_body::Body for Answer {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let age = Duration::from_mins(100);
        let ages: Vec<Duration> = (0..1000).map(|_| jittered(age)).collect();
        let around = Duration::from_mins(90)..=Duration::from_mins(110);
        assert!(ages.iter().all(|age| around.contains(age)), "{ages:?}");
        let early = ages.iter().any(|age| *age < Duration::from_mins(95));
        let late = ages.iter().any(|age| *age > Duration::from_mins(105));
        assert!(early && late, "{ages:?}");
    }

    #[test]
    fn a_connection_is_idle_once_no_request_came_for_long_enough() {
        let mut quiet = Quiet::default();
        let mut looks = |looks: &[(u64, bool)]| -> Vec<bool> {
            let looks = looks.iter();
            looks
                .map(|(begun, none)| quiet.look(*begun, *none))
                .collect()
        };
        // One that is under way, however long; and others that began and ended between two looks.
        let busy = [(1, false); 9];
        assert_eq!(looks(&busy), [false; 9]);
        let frequent = [(2, true), (3, true), (4, true), (5, true), (6, true)];
        assert_eq!(looks(&frequent), [false; 5]);
        assert_eq!(looks(&[(6, true); 4]), [false, false, false, true]);
    }
}
