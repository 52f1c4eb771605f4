//! A connection's bytes, once it is known that they are HTTP/2, and whether any have moved lately.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What every client of HTTP/2 says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose preface was read, and is read again.
#[derive(Debug)]
pub(super) struct Stream<S> {
    inner: S,
    /// What is left of the preface to be read again.
    preface: &'static [u8],
    moved: Moved,
}

/// Whether bytes went either way since the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved(Arc<AtomicBool>);

impl Moved {
    /// Looks, and begins anew.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> Stream<S> {
    /// Waits for the preface. Fails where something else is said.
    pub(super) async fn begin(mut inner: S) -> io::Result<Self> {
        let mut said = [0; PREFACE.len()];
        let mut length = 0;
        while length < said.len() {
            let read = inner.read(&mut said[length..]).await?;
            length += read;
            // At the first byte that is wrong: a client of another protocol need not wait.
            if read == 0 || !PREFACE.starts_with(&said[..length]) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(Self {
            inner,
            preface: PREFACE,
            moved: Moved::default(),
        })
    }

    pub(super) fn moved(&self) -> Moved {
        self.moved.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let (now, later) = self
                .preface
                .split_at(self.preface.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.moved.set();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.moved.set();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, bytes))?;
        self.moved.set();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_preface_is_read_again_and_what_follows_after_it() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(PREFACE).await.unwrap();
        client.write_all(b"more").await.unwrap();
        let mut stream = Stream::begin(server).await.unwrap();
        assert!(!stream.moved().take());
        let mut read = [0; 28];
        // In pieces that do not fit the preface.
        for piece in read.chunks_mut(5) {
            stream.read_exact(piece).await.unwrap();
        }
        assert_eq!(read, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore");
        assert!(stream.moved().take() && !stream.moved().take());
    }

    #[tokio::test]
    async fn other_protocols_are_refused_at_once() {
        for said in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/1", b"\x16\x03\x01"] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said).await.unwrap();
            Stream::begin(server).await.unwrap_err();
        }
    }
}
