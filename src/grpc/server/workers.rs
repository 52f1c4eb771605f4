//! One thread for each core, with a runtime of its own: what begins on one ends there.
//!
//! A request costs less CPU so than on threads that steal work from each other. The price is that load is balanced once, when a
//! connection is taken in: it goes to the worker with the fewest.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The workers. Dropping them ends them, and whatever still runs there.
#[derive(Debug)]
pub(super) struct Workers {
    each: Vec<Worker>,
    threads: Vec<JoinHandle<()>>,
    /// Ends the threads, wherever this is dropped.
    stop: DropGuard,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    load: Arc<Load>,
}

/// What a worker has to do at the moment.
#[derive(Debug, Default)]
struct Load {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// A connection's place at a worker, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

/// A request's, likewise.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Load>);

impl Workers {
    /// Starts as many.
    pub(super) fn start(count: NonZeroUsize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut started = Self {
            each: Vec::new(),
            threads: Vec::new(),
            stop: stop.clone().drop_guard(),
        };
        // Its logs go where those of this thread do.
        let logs = tracing::dispatcher::get_default(Clone::clone);
        for number in 0..count.get() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            started.each.push(Worker {
                runtime: runtime.handle().clone(),
                load: Arc::default(),
            });
            let (stop, logs) = (stop.clone(), logs.clone());
            let thread = std::thread::Builder::new().name(format!("presignd-{number}"));
            started.threads.push(thread.spawn(move || {
                let _logs = tracing::dispatcher::set_default(&logs);
                runtime.block_on(stop.cancelled());
                // Ends its tasks, and does not wait for a file or a name that somebody still looks up.
                runtime.shutdown_background();
            })?);
        }
        Ok(started)
    }

    /// Runs a connection where there is least to do.
    pub(super) fn run<F>(&self, connection: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let least = self.each.iter().min_by_key(|worker| worker.load.now());
        if let Some(worker) = least {
            worker.load.connections.fetch_add(1, Ordering::Relaxed);
            let place = Place(Arc::clone(&worker.load));
            worker.runtime.spawn(connection(place));
        }
    }

    /// Ends whatever still runs, and waits for that.
    pub(super) async fn end(self) {
        drop(self.stop);
        let threads = self.threads;
        let ended = tokio::task::spawn_blocking(|| {
            for thread in threads {
                // A worker that panicked has ended as well.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
    }
}

impl Load {
    /// For comparing: connections first, because they stay, and requests among equals.
    fn now(&self) -> (usize, usize) {
        (
            self.connections.load(Ordering::Relaxed),
            self.requests.load(Ordering::Relaxed),
        )
    }
}

impl Place {
    /// A request of this connection begins.
    pub(super) fn request(&self) -> UnderWay {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_evenly_and_go_where_one_has_closed() {
        let workers = Workers::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let (report, mut placed) = mpsc::unbounded_channel();
        let place = || {
            let report = report.clone();
            workers.run(|place| async move {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                report.send((name, place)).unwrap();
            });
        };
        let mut open: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for _ in 0..9 {
            place();
            let (worker, place) = placed.recv().await.unwrap();
            open.entry(worker).or_default().push(place);
        }
        let counts: Vec<usize> = open.values().map(Vec::len).collect();
        assert_eq!(counts, [3, 3, 3], "{open:?}");

        open.get_mut("presignd-1").unwrap().pop();
        place();
        let (worker, _place) = placed.recv().await.unwrap();
        assert_eq!(worker, "presignd-1");
    }

    #[tokio::test]
    async fn among_equals_the_one_with_fewer_requests_is_chosen() {
        let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let (report, mut placed) = mpsc::unbounded_channel();
        let place = || {
            let report = report.clone();
            workers.run(|place| async move {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                report.send((name, place)).unwrap();
            });
        };
        place();
        let (busy, first) = placed.recv().await.unwrap();
        let _request = first.request();
        place();
        let (_, _second) = placed.recv().await.unwrap();
        place();
        let (third, _place) = placed.recv().await.unwrap();
        assert_ne!(third, busy);
    }

    #[tokio::test]
    async fn the_end_ends_what_runs() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let (alive, mut gone) = mpsc::channel::<()>(1);
        workers.run(|place| async move {
            let _held = (place, alive);
            std::future::pending::<()>().await;
        });
        workers.end().await;
        assert_eq!(gone.recv().await, None);
    }
}
