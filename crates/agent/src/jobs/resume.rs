//! What an interruption left: cleared away, or carried to its end where databases were changing
//! places.

use togather_model::{Failure, FailureKind, Ulid};

use super::{
    Done, Interrupted, Swap, Task, Work,
    restore::{failed, kept_as},
};
use crate::{database::scratch_name, snapshots::SnapshotError};

impl Task<'_> {
    /// Puts in order what an interrupted job left, and says how it ended.
    ///
    /// # Errors
    /// It could not be put in order now; it is to be tried again.
    pub(super) async fn put_in_order(
        &self,
        interrupted: &Interrupted,
    ) -> Result<Result<Done, Failure>, Failure> {
        match &interrupted.swap {
            Some(swap) => self.settle_swap(swap, interrupted.stuck).await,
            None => self.clear_away(&interrupted.work).await,
        }
    }

    /// Carries a swap to one of its ends. Where the database's server is gone it is brought up first:
    /// without one nothing says which of its ends is near, and the app stands still.
    async fn settle_swap(
        &self,
        swap: &Swap,
        was_stuck: bool,
    ) -> Result<Result<Done, Failure>, Failure> {
        let node = self.node;
        let swapped = self.exists_once_up(&swap.outgoing).await?;
        let ended = node.snapshots.end_programs(self.id).await;
        ended.map_err(|e| failed("the interrupted programs were not ended", &e))?;
        if was_stuck && swapped && self.is_served().await? {
            let first = swap.taking_back.clone().unwrap_or_else(interruption);
            return Ok(Err(self.stuck(swap, &first, &served()).await));
        }
        let swap = swap.clone();
        let ended = match swap.taking_back.clone() {
            Some(failure) => Err(self.take_back(swap, failure).await),
            None if self.is_swapped(&swap).await? => self.go_forward(swap).await,
            None => Err(self
                .take_back(swap, broken_off().next("order it again"))
                .await),
        };
        Ok(ended.map(|kept| {
            let done =
                "it was interrupted after the databases were swapped, and carried to its end";
            Done::saying(format!("{done}{}", kept_as(kept)))
        }))
    }

    /// Clears away what a job left beside the live database and in the store.
    async fn clear_away(&self, work: &Work) -> Result<Result<Done, Failure>, Failure> {
        let node = self.node;
        let exists = node.has_database().await;
        if !exists.map_err(|e| failed("the base services could not be looked at", &e))? {
            // There is no database that anything could be left in.
            return Ok(Err(interruption()));
        }
        let ended = node.snapshots.end_programs(self.id).await;
        ended.map_err(|e| failed("the interrupted programs were not ended", &e))?;
        match work {
            Work::Create(wanted) => return self.clear_snapshot_away(wanted.id).await,
            Work::Verify(_) | Work::Restore { .. } => {
                let dropped = node.database.drop_scratch(self.id).await;
                dropped.map_err(|e| failed("the scratch database was not dropped", &e))?;
            }
            Work::UndoRestore { .. } | Work::Prune => {}
        }
        Ok(Err(interruption()))
    }

    async fn clear_snapshot_away(&self, id: Ulid) -> Result<Result<Done, Failure>, Failure> {
        let node = self.node;
        let ended = node.snapshots.end_programs(id).await;
        ended.map_err(|e| failed("the interrupted programs were not ended", &e))?;
        let whole = match node.snapshots.clear_away(id).await {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(Err(interruption())),
            // Waiting for the store would keep the next snapshot from the spool.
            Err(error) => return Ok(Err(left_in_the_store(&error))),
        };
        let message = format!("{} was stored just before the interruption", whole.dump);
        Ok(Ok(Done::about(whole, message)))
    }
}

/// Why a swap that was stuck is left to a human.
fn served() -> Failure {
    Failure::new(
        FailureKind::Stuck,
        "a version gets traffic again, and what it wrote since would be lost",
    )
}

/// Why a job failed that did not come to its end.
pub(super) fn interruption() -> Failure {
    broken_off().next("what it left is cleared away; order it again")
}

fn broken_off() -> Failure {
    Failure::new(
        FailureKind::Other,
        "interrupted: the agent ended while it was under way",
    )
}

/// The same where the store did not let what was left in it be removed.
fn left_in_the_store(error: &SnapshotError) -> Failure {
    let mut failure = broken_off();
    let what = "what it left in the store was not removed";
    let left = Failure::caused_by(FailureKind::Other, what, error);
    failure.causes.push(left.to_string());
    failure.next("order it again; the next prune removes what it left")
}

/// Why a job ended that a restore did not wait for.
pub(super) fn superseded(job: Ulid) -> Failure {
    Failure::new(
        FailureKind::Other,
        "interrupted: the agent ended while it was under way, and a restore did not wait for what it left",
    )
    .next(format!(
        "if the restore fails as well, drop the database {} where it is left",
        scratch_name(job)
    ))
}
