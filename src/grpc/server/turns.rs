//! What a connection sends in one turn leaves in one system call.
//!
//! HTTP/2 writes and flushes frame by frame, and to send a frame costs more than to make it. So what is written gathers here, and
//! leaves when the connection's turn is over: when it has nothing more to do until something happens. Invariant: nothing waits
//! longer than that; and no more gathers than twice [`MOST`] bytes, however much there is to send and however slowly it is taken.

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// With so much, it is sent before more is taken.
const MOST: usize = 64 << 10;

/// A stream whose writes gather.
#[derive(Debug)]
pub(super) struct Gathering<S>(Outgoing<S>);

/// Sends what has gathered.
#[derive(Debug)]
pub(super) struct Outgoing<S>(Arc<Mutex<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    gathered: Vec<u8>,
    /// How much of that is sent.
    sent: usize,
    /// The stream may hold some of what it was sent, as TLS does.
    unflushed: bool,
}

/// The stream, to be written to, and the other end of what it gathers.
pub(super) fn gathering<S>(stream: S) -> (Gathering<S>, Outgoing<S>) {
    let inner = Arc::new(Mutex::new(Inner {
        stream,
        gathered: Vec::new(),
        sent: 0,
        unflushed: false,
    }));
    (Gathering(Outgoing(Arc::clone(&inner))), Outgoing(inner))
}

impl<S> Outgoing<S> {
    fn inner(&self) -> MutexGuard<'_, Inner<S>> {
        // A panic within the stream may have left anything; its connection ends by it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Outgoing<S> {
    /// The connection on this stream, which sends at the end of each of its turns.
    pub(super) async fn along<C, E>(&self, mut connection: Pin<&mut C>) -> io::Result<()>
    where
        C: Future<Output = Result<(), E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        std::future::poll_fn(|context| {
            let ended = connection.as_mut().poll(context);
            // What is not taken now is sent in the turn that begins when it can be.
            if let Poll::Ready(sent) = self.inner().poll_send(context) {
                sent?;
            }
            ended.map_err(io::Error::other)
        })
        .await
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Sends all that has gathered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            let rest = &self.gathered[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => {
                    self.sent += sent;
                    self.unflushed = true;
                }
            }
        }
        if self.sent > 0 {
            self.begin_anew();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// All is sent. A connection that has less to send than it had gives the room back by and by.
    fn begin_anew(&mut self) {
        let (sent, room) = (self.sent, self.gathered.capacity());
        self.gathered.clear();
        self.sent = 0;
        if sent < room / 4 {
            self.gathered.shrink_to(room / 2);
        }
    }

    /// Makes room, if there is none.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.len() < MOST {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.inner().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.inner();
        ready!(inner.poll_room(context))?;
        let taken = bytes.len().min(MOST);
        inner.gathered.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.inner();
        ready!(inner.poll_room(context))?;
        let mut taken = 0;
        for slice in slices {
            let some = slice.len().min(MOST - taken);
            inner.gathered.extend_from_slice(&slice[..some]);
            taken += some;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done with: it is the end of the turn that sends.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.inner();
        ready!(inner.poll_send(context))?;
        Pin::new(&mut inner.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Takes as much at each write as it was told to; then nothing, for good.
    #[derive(Debug, Default)]
    struct Taker {
        takes: VecDeque<usize>,
        taken: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Taker {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let Some(most) = self.takes.pop_front() else {
                return Poll::Pending;
            };
            let taken = bytes.len().min(most);
            self.taken.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn taker(takes: &[usize]) -> (Gathering<Taker>, Outgoing<Taker>) {
        gathering(Taker {
            takes: takes.iter().copied().collect(),
            ..Taker::default()
        })
    }

    #[tokio::test]
    async fn what_is_written_in_a_turn_leaves_at_its_end_in_one_piece() {
        let (mut stream, outgoing) = taker(&[100, 100]);
        let shared = Outgoing(Arc::clone(&outgoing.0));
        let connection = async {
            stream.write_all(b"one ").await?;
            stream.flush().await?;
            stream.write_all(b"two").await?;
            assert!(shared.inner().stream.taken.is_empty());
            tokio::task::yield_now().await;
            assert_eq!(shared.inner().stream.taken, [b"one two"]);
            stream.write_all(b"three").await
        };
        outgoing.along(pin!(connection)).await.unwrap();
        let taken = &outgoing.inner().stream.taken;
        assert_eq!(taken.as_slice(), [&b"one two"[..], b"three"]);
    }

    #[tokio::test]
    async fn what_is_taken_in_pieces_keeps_its_order() {
        let (mut stream, outgoing) = taker(&[3, 1, 100]);
        let connection = async {
            let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
            assert_eq!(stream.write_vectored(&slices).await?, 7);
            stream.shutdown().await
        };
        outgoing.along(pin!(connection)).await.unwrap();
        assert_eq!(outgoing.inner().stream.taken.concat(), b"one two");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_holds_up_whoever_writes() {
        let (mut stream, outgoing) = taker(&[]);
        let connection = async {
            while stream.write(&[0; 10_000]).await? > 0 {}
            io::Result::Ok(())
        };
        let mut connection = pin!(connection);
        let mut along = pin!(outgoing.along(connection.as_mut()));
        // However often it has its turn.
        for _ in 0..100 {
            let turn = along.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(turn.is_pending(), "it waits");
        }
        let gathered = outgoing.inner().gathered.len();
        assert!((MOST..2 * MOST).contains(&gathered), "{gathered}");
    }

    #[tokio::test]
    async fn a_stream_that_breaks_ends_its_connection() {
        let (mut stream, outgoing) = taker(&[0]);
        let connection = async {
            stream.write_all(b"one").await.unwrap();
            std::future::pending::<Result<(), Infallible>>().await
        };
        let error = outgoing.along(pin!(connection)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[tokio::test]
    async fn room_is_given_back_and_reading_goes_by() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut stream, outgoing) = gathering(server);
        client.write_all(b"hello").await.unwrap();
        let connection = async {
            let mut read = [0; 5];
            stream.read_exact(&mut read).await?;
            assert_eq!(&read, b"hello");
            stream.write_all(&vec![0; 60_000]).await?;
            for _ in 0..20 {
                tokio::task::yield_now().await;
                stream.write_all(&[0; 10]).await?;
            }
            Ok::<_, io::Error>(())
        };
        outgoing.along(pin!(connection)).await.unwrap();
        assert!(outgoing.inner().gathered.capacity() < 100);
    }
}
