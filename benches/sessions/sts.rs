//! An STS that gives sessions of an hour after a while, by the clock of the bench, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use presignd::clock::SharedClock;
use presignd::scope::{AssumeRole, AssumeRoleCall, Assumed, BoxFuture, ScopeError};
use presignd::sign::Credentials;

/// As long as AWS's tokens are.
const TOKEN_CHARACTERS: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Counter {
    clock: SharedClock,
    /// How long a call takes.
    takes: Duration,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Counter {
    pub(crate) fn new(clock: &SharedClock, takes: Duration) -> Self {
        Self {
            clock: Arc::clone(clock),
            takes,
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How many were under way at once, at the most.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl AssumeRole for Counter {
    fn assume_role<'a>(
        &'a self,
        call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Assumed, ScopeError>> {
        Box::pin(async move {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let ends = self.clock.now() + Duration::from_secs(call.duration.into());
            let credentials = Credentials::new(
                format!("ASIA{number:016}"),
                format!("{number:040}").into(),
                Some(format!("{number:0TOKEN_CHARACTERS$}").into()),
                Some(ends),
            );
            Ok(Assumed {
                credentials,
                packed_policy_size: None,
                session_token_utilization: None,
            })
        })
    }
}
