//! What an interruption left: cleared away, or carried to its end where databases were changing
//! places.

use togather_model::{Failure, FailureKind, Ulid};

use super::{
    Done, Interrupted, Task, Work,
    restore::{failed, kept_as},
};
use crate::database::scratch_name;

impl Task<'_> {
    /// Puts in order what an interrupted job left, and says how it ended.
    ///
    /// # Errors
    /// It could not be put in order now; it is to be tried again.
    pub(super) async fn put_in_order(
        &self,
        interrupted: &Interrupted,
    ) -> Result<Result<Done, Failure>, Failure> {
        let (node, work) = (self.node, &interrupted.work);
        let exists = node.has_database().await;
        if !exists.map_err(|e| failed("the base services could not be looked at", &e))? {
            // There is no database that anything could be left in.
            return Ok(Err(interruption()));
        }
        let ended = node.snapshots.end_programs(self.id).await;
        ended.map_err(|e| failed("the interrupted programs were not ended", &e))?;
        if let Some(swap) = interrupted.swap.clone() {
            let swapped = node.database.exists(&swap.outgoing).await;
            let swapped = swapped.map_err(|e| failed("the databases could not be listed", &e))?;
            if interrupted.stuck && swapped && self.is_served().await? {
                let first = swap.taking_back.clone().unwrap_or_else(interruption);
                return Ok(Err(self.stuck(&swap, &first, &served()).await));
            }
            let ended = match swap.taking_back.clone() {
                Some(failure) => Err(self.take_back(swap, failure).await),
                None if self.is_swapped(&swap).await? => self.go_forward(swap).await,
                None => Err(self.take_back(swap, interruption()).await),
            };
            return Ok(ended.map(|kept| {
                let done =
                    "it was interrupted after the databases were swapped, and carried to its end";
                Done::saying(format!("{done}{}", kept_as(kept)))
            }));
        }
        match work {
            Work::Create(wanted) => {
                let ended = node.snapshots.end_programs(wanted.id).await;
                ended.map_err(|e| failed("the interrupted programs were not ended", &e))?;
                let whole = match node.snapshots.clear_away(wanted.id).await {
                    Ok(whole) => whole,
                    // Waiting for the store would keep the next snapshot from the spool.
                    Err(error) => {
                        let what = "what it left in the store was not removed; pruning finds it";
                        let left = Failure::caused_by(FailureKind::Other, what, &error);
                        let mut failure = interruption();
                        failure.causes.push(left.to_string());
                        return Ok(Err(failure));
                    }
                };
                if let Some(whole) = whole {
                    let message = format!("{} was stored just before the interruption", whole.dump);
                    return Ok(Ok(Done::about(whole, message)));
                }
            }
            Work::Verify(_) | Work::Restore { .. } => {
                let dropped = node.database.drop_scratch(self.id).await;
                dropped.map_err(|e| failed("the scratch database was not dropped", &e))?;
            }
            Work::UndoRestore { .. } | Work::Prune => {}
        }
        Ok(Err(interruption()))
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
    Failure::new(
        FailureKind::Other,
        "interrupted: the agent ended while it was under way",
    )
    .next("what it left is cleared away; order it again")
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
