//! Answers that wait to be taken.
//!
//! The stream's task puts them here, and the connection takes them as its client has room for them. Invariant: whoever waits, for an
//! answer or for one to be taken, is woken.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tonic::Status;

use crate::proto::v1::StreamPresignResponse;

/// Where answers are put.
#[derive(Debug)]
pub(super) struct Answers(Arc<Mutex<State>>);

/// Where they are taken. Without it there is nobody to answer.
#[derive(Debug)]
pub struct Taking(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    untaken: VecDeque<Result<StreamPresignResponse, Status>>,
    /// Nothing more is put.
    ended: bool,
    /// Nothing more is taken.
    gone: bool,
    /// Waits for answers.
    taker: Option<Waker>,
    /// Waits for them to be taken.
    giver: Option<Waker>,
    /// Wants to know when the client has gone.
    watcher: Option<Waker>,
}

/// The client has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// A way for answers.
pub(super) fn answers() -> (Answers, Taking) {
    let state = Arc::default();
    (Answers(Arc::clone(&state)), Taking(state))
}

impl Answers {
    /// Puts one down.
    pub(super) fn put(&self, answer: StreamPresignResponse) {
        self.put_down(Ok(answer));
    }

    /// Ends, with an error if there is one.
    pub(super) fn end(self, status: Option<Status>) {
        if let Some(status) = status {
            self.put_down(Err(status));
        }
    }

    /// Until fewer than so many wait, or the client has gone.
    pub(super) fn poll_fewer(
        &self,
        than: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Gone>> {
        let mut state = lock(&self.0);
        if state.gone {
            return Poll::Ready(Err(Gone));
        }
        wait(&mut state.watcher, context);
        if state.untaken.len() < than {
            return Poll::Ready(Ok(()));
        }
        wait(&mut state.giver, context);
        Poll::Pending
    }

    fn put_down(&self, answer: Result<StreamPresignResponse, Status>) {
        let mut state = lock(&self.0);
        if state.gone {
            return;
        }
        state.untaken.push_back(answer);
        let taker = state.taker.take();
        drop(state);
        wake(taker);
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.ended = true;
        let taker = state.taker.take();
        drop(state);
        wake(taker);
    }
}

impl Stream for Taking {
    type Item = Result<StreamPresignResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = lock(&self.0);
        let Some(answer) = state.untaken.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            wait(&mut state.taker, context);
            return Poll::Pending;
        };
        let giver = state.giver.take();
        drop(state);
        wake(giver);
        Poll::Ready(Some(answer))
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.gone = true;
        let untaken = std::mem::take(&mut state.untaken);
        let watcher = state.watcher.take();
        drop(state);
        drop(untaken);
        wake(watcher);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing that holds the lock leaves the state half changed.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(waiting: &mut Option<Waker>, context: &Context<'_>) {
    match waiting {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waiting = Some(context.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, poll};
    use std::future::poll_fn;

    use super::*;

    fn answer(id: &str) -> StreamPresignResponse {
        StreamPresignResponse {
            request_id: id.to_owned(),
            ..StreamPresignResponse::default()
        }
    }

    #[tokio::test]
    async fn answers_are_taken_in_order_and_then_the_end() {
        let (answers, mut taking) = answers();
        answers.put(answer("1"));
        answers.put(answer("2"));
        answers.end(Some(Status::unavailable("the end")));
        for id in ["1", "2"] {
            assert_eq!(taking.next().await.unwrap().unwrap().request_id, id);
        }
        let end = taking.next().await.unwrap().unwrap_err();
        assert_eq!(end.message(), "the end");
        assert!(taking.next().await.is_none());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (answers, mut taking) = answers();
        let taken = tokio::spawn(async move { (taking.next().await, taking) });
        tokio::task::yield_now().await;
        answers.put(answer("1"));
        let (first, mut taking) = taken.await.unwrap();
        assert_eq!(first.unwrap().unwrap().request_id, "1");

        answers.put(answer("2"));
        let room = tokio::spawn(async move {
            let room = poll_fn(|context| answers.poll_fewer(1, context)).await;
            (room, answers)
        });
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        assert!(taking.next().await.is_some());
        let (room, answers) = room.await.unwrap();
        assert_eq!(room, Ok(()));

        let mut next = taking.next();
        assert!(poll!(&mut next).is_pending());
        drop(answers);
        assert!(next.await.is_none());
    }

    #[tokio::test]
    async fn without_a_client_nothing_is_kept() {
        let (answers, taking) = answers();
        answers.put(answer("1"));
        let full = tokio::spawn(async move {
            let room = poll_fn(|context| answers.poll_fewer(9, context)).await;
            assert_eq!(room, Ok(()));
            let gone = poll_fn(|context| answers.poll_fewer(1, context)).await;
            (gone, answers)
        });
        tokio::task::yield_now().await;
        drop(taking);
        let (gone, answers) = full.await.unwrap();
        assert_eq!(gone, Err(Gone));
        answers.put(answer("2"));
        let room = poll_fn(|context| answers.poll_fewer(0, context)).await;
        assert_eq!(room, Err(Gone));
        assert!(lock(&answers.0).untaken.is_empty());
    }
}
