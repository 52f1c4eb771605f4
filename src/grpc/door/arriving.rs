//! Messages on their way, which have to be there in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio::time::Sleep;
use tonic::Status;

/// A body that fails if it does not end within a time; or, of a stream, if a message that has begun does not.
///
/// Most messages come together with their headers: only one that has to be waited for costs a timer.
#[derive(Debug)]
pub(super) struct Arriving<B> {
    body: B,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where the messages of a stream begin and end.
    messages: Option<Framing>,
}

/// How far a stream's bytes have come in gRPC's framing: a byte that says whether the message is compressed, four for its length, and
/// the message.
#[derive(Debug, Default)]
struct Framing {
    /// Bytes of the next message's head.
    head: u8,
    /// The length, as far as it is known.
    length: u32,
    /// What the message that has begun still lacks.
    lacking: u32,
}

impl<B> Arriving<B> {
    /// One message.
    pub(super) fn new(body: B, patience: Duration) -> Self {
        Self {
            body,
            patience,
            timer: None,
            messages: None,
        }
    }

    /// Messages that may come when they like.
    pub(super) fn one_by_one(body: B, patience: Duration) -> Self {
        Self {
            messages: Some(Framing::default()),
            ..Self::new(body, patience)
        }
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let (Some(messages), Some(Ok(frame))) = (&mut this.messages, &frame)
                && let Some(data) = frame.data_ref()
                && messages.take(data)
            {
                // The next one has a time of its own.
                this.timer = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.messages.as_ref().is_some_and(Framing::is_between) {
            return Poll::Pending;
        }
        let patience = this.patience;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(context).map(|()| {
            let late = Status::deadline_exceeded("the message did not come in time");
            Some(Err(late.into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Framing {
    /// Takes more bytes; whether a message has ended in them.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while let Some((first, rest)) = bytes.split_first() {
            if self.lacking > 0 {
                let taken = bytes
                    .len()
                    .min(usize::try_from(self.lacking).unwrap_or(usize::MAX));
                self.lacking -= u32::try_from(taken).unwrap_or(self.lacking);
                bytes = &bytes[taken..];
                ended |= self.lacking == 0;
                continue;
            }
            if self.head > 0 {
                self.length = self.length << 8 | u32::from(*first);
            }
            self.head += 1;
            if self.head == 5 {
                self.lacking = self.length;
                ended |= self.lacking == 0;
                (self.head, self.length) = (0, 0);
            }
            bytes = rest;
        }
        ended
    }

    /// Whether no message has begun that is not here.
    fn is_between(&self) -> bool {
        self.head == 0 && self.lacking == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a stream of messages is cut, it is between two of them exactly where one ends.
        #[test]
        fn messages_end_where_they_do(
            lengths in prop::collection::vec(0_usize..300, 1..8),
            cuts in prop::collection::vec(1_usize..40, 1..400),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for length in &lengths {
                bytes.push(0);
                bytes.extend(u32::try_from(*length).unwrap().to_be_bytes());
                bytes.resize(bytes.len() + length, 0xff);
                ends.push(bytes.len());
            }
            let mut framing = Framing::default();
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < bytes.len() {
                let next = (at + cuts.next().unwrap()).min(bytes.len());
                let ended = framing.take(&bytes[at..next]);
                prop_assert_eq!(ended, ends.iter().any(|end| (at + 1..=next).contains(end)));
                at = next;
                prop_assert_eq!(framing.is_between(), ends.contains(&at), "at {}", at);
            }
        }
    }
}
