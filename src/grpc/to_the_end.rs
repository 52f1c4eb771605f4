//! Work that is done whether or not its caller stays.
//!
//! tonic drops the handler of a caller who has hung up. Invariant: work that was begun then goes on, as a task of its own, and so
//! comes to its record. Nearly all work is done before anybody could hang up, so nothing is spawned for it.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::CatchUnwind;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

/// Work that is counted, and whose panics go no further. On the heap from the start: it holds a whole request, and is not to be
/// copied about.
type Kept<F> = TrackedFuture<CatchUnwind<AssertUnwindSafe<Pin<Box<F>>>>>;

/// Work under way.
pub(super) struct ToTheEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Until it is done.
    work: Option<Kept<F>>,
}

/// The work panicked; what was said is in the log already, by the panic hook.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panicked;

impl<F> ToTheEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    /// Begins with the first poll. `tasks` waits for it.
    pub(super) fn new(work: Pin<Box<F>>, tasks: &TaskTracker) -> Self {
        let work = AssertUnwindSafe(work).catch_unwind();
        Self {
            work: Some(tasks.track_future(work)),
        }
    }
}

impl<F> Future for ToTheEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let done = Pin::new(work).poll(context);
        if done.is_ready() {
            self.work = None;
        }
        done.map_err(|_| Panicked)
    }
}

impl<F> Drop for ToTheEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    fn drop(&mut self) {
        // Outside of a runtime, or in one that shuts down, nothing goes on.
        if let Some((work, runtime)) = self.work.take().zip(Handle::try_current().ok()) {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_goes_on_and_is_waited_for() {
        let tasks = TaskTracker::new();
        let (go, gone) = oneshot::channel();
        let (done, mut ended) = oneshot::channel();
        let work = async move {
            gone.await.unwrap();
            done.send("done").unwrap();
        };
        let mut work = ToTheEnd::new(Box::pin(work), &tasks);
        assert!((&mut work).now_or_never().is_none());
        drop(work);
        tasks.close();
        assert_eq!(tasks.len(), 1);
        go.send(()).unwrap();
        tasks.wait().await;
        assert_eq!(ended.try_recv(), Ok("done"));
    }

    #[tokio::test]
    async fn what_was_never_begun_is_done_too() {
        let tasks = TaskTracker::new();
        let (done, ended) = oneshot::channel();
        drop(ToTheEnd::new(
            Box::pin(async move { done.send(()) }),
            &tasks,
        ));
        assert_eq!(ended.await, Ok(()));
    }

    #[tokio::test]
    async fn what_ends_at_once_is_no_task() {
        let tasks = TaskTracker::new();
        let answer = ToTheEnd::new(Box::pin(ready(7)), &tasks).now_or_never();
        assert_eq!(answer.unwrap().unwrap(), 7);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let tasks = TaskTracker::new();
        let work = async {
            assert!(
                tokio::task::try_id().is_none(),
                "it fails, as the test asks"
            );
        };
        let in_a_task = tokio::spawn(ToTheEnd::new(Box::pin(work), &tasks));
        assert!(in_a_task.await.unwrap().is_err());
        assert!(tasks.is_empty());
    }

    #[test]
    fn without_a_runtime_nothing_goes_on() {
        let tasks = TaskTracker::new();
        drop(ToTheEnd::new(Box::pin(pending::<()>()), &tasks));
        assert!(tasks.is_empty());
    }
}
