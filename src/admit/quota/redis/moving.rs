//! Counts of a slot that moves to another server of a Cluster: some are here already and others still there, and no call may have both.
//!
//! Invariant: as of a call over all of them, every charge is made or none, but for what cannot be given back: it stays used. In between
//! others may see charges that come to nothing.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::Charge;
use super::super::arithmetic::Bound;
use super::script::{Action, Answer, Count, Line};
use super::{Ran, Shared};
use crate::redis::NoAnswer;

impl Shared {
    /// Runs the script over one count after the other.
    pub(super) async fn run_apart(
        self: &Arc<Self>,
        action: Action,
        charges: &[Charge<'_>],
        extras: &[u64],
    ) -> Result<Ran, NoAnswer> {
        let mut bounds: SmallVec<[Bound; 4]> = SmallVec::new();
        let mut counts: SmallVec<[Count; 4]> = SmallVec::new();
        let mut time = 0;
        for (index, charge) in charges.iter().enumerate() {
            let extra = extras.get(index..=index).unwrap_or_default();
            let one = std::slice::from_ref(charge);
            let ran = self.run_together(action, one, extra).await;
            if let Ok((
                bound,
                Answer::Done {
                    now,
                    counts: counted,
                },
            )) = ran
            {
                bounds.extend(bound);
                counts.extend(counted);
                time = now;
                continue;
            }
            if action == Action::Charge {
                self.undo(charges, extras, &bounds, &counts).await;
            }
            let (bound, answer) = ran?;
            bounds.extend(bound);
            return Ok((
                bounds,
                match answer {
                    Answer::Refused { now, used, .. } => Answer::Refused { now, index, used },
                    done @ Answer::Done { .. } => done,
                },
            ));
        }
        Ok((bounds, Answer::Done { now: time, counts }))
    }

    /// Gives back what was made of the first charges.
    async fn undo(
        &self,
        charges: &[Charge<'_>],
        extras: &[u64],
        bounds: &[Bound],
        counts: &[Count],
    ) {
        for (index, (charge, (bound, count))) in
            charges.iter().zip(bounds.iter().zip(counts)).enumerate()
        {
            if count.shadowed {
                continue;
            }
            let extra = extras.get(index).filter(|_| count.extra).copied();
            let charge = Charge {
                amount: charge.amount.saturating_add(extra.unwrap_or(0)),
                ..*charge
            };
            // Within the same bounds: what is given back of a window that has ended is not of the next.
            let line = Line::of(self.redis.prefix(), &charge, *bound, 0);
            let undone = self.script.run(&self.redis, Action::Refund, &[line]).await;
            if let Err(error) = undone {
                tracing::debug!("what was charged for nothing stays so: {error}");
            }
        }
    }
}
