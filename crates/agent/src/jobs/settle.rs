//! What an interruption left is put in order before anything else begins, however often that takes.

use std::sync::PoisonError;

use togather_model::SnapshotEvent;
use tokio_util::sync::CancellationToken;

use super::{Interrupted, Job, Jobs, RETRY, resume};
use crate::{
    log,
    snapshots::Progress,
    state::{StateError, entry},
};

/// An interrupted job being put in order.
pub(super) struct Settling {
    left: Interrupted,
    /// Somebody wants a restore instead.
    superseded: CancellationToken,
    over: CancellationToken,
}

impl Jobs {
    /// Puts in order what an interruption left, if anything; a restore that was stuck is tried to be
    /// taken back once more. Until that is done, nothing else begins.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn resume(&self) -> Result<Option<Job>, StateError> {
        let Some(interrupted) = self.take_up().await? else {
            return Ok(None);
        };
        let (this, job) = (self.clone(), interrupted.job.clone());
        self.current.send_replace(Some(job.clone()));
        let (superseded, over) = (CancellationToken::new(), CancellationToken::new());
        let settling = Settling {
            left: interrupted.clone(),
            superseded: superseded.clone(),
            over: over.clone(),
        };
        *self.settling.lock().unwrap_or_else(PoisonError::into_inner) = Some(settling);
        self.under_way.spawn(async move {
            let job = interrupted.job.clone();
            let task = this.task(job.id);
            task.say(Progress::stage(
                "putting in order what an interruption left",
            ));
            let settled = async {
                loop {
                    match Box::pin(task.put_in_order(&interrupted)).await {
                        Ok(ended) => break ended,
                        Err(failure) => {
                            tracing::warn!(job = %job.id, %failure, "not in order yet; trying again");
                        }
                    }
                    tokio::time::sleep(RETRY).await;
                }
            };
            let ended = tokio::select! {
                ended = settled => ended,
                () = superseded.cancelled() => Err(resume::superseded(job.id)),
                () = this.stopping.cancelled() => return,
            };
            this.end(job, ended).await;
            *this.settling.lock().unwrap_or_else(PoisonError::into_inner) = None;
            over.cancel();
        });
        Ok(Some(job))
    }

    async fn take_up(&self) -> Result<Option<Interrupted>, StateError> {
        let (state, name, now) = (&self.node.state, &self.node.name, self.node.host.now());
        if let Some(interrupted) = state.running_job().await? {
            let job = &interrupted.job;
            let resumed = SnapshotEvent::Resumed { job: job.kind };
            // A full disk must not keep the databases from being put in order.
            match state.append(entry(job, name, now, resumed)).await {
                Ok(event) => log::tell(&event),
                Err(error) => tracing::warn!(%error, "an event was not journalled"),
            }
            return Ok(Some(interrupted));
        }
        let Some(mut stuck) = state.stuck_job().await? else {
            return Ok(None);
        };
        stuck.job.ended_at = None;
        stuck.job.failure = None;
        match state.reopen_job(&stuck.job, name, now).await {
            Ok(event) => log::tell(&event),
            // A deployment was taken up; if it ends well, nothing is stuck any more.
            Err(StateError::Busy) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(stuck))
    }

    /// Gives up putting an interrupted job in order, and returns it: while the database server does
    /// not come up, that never ends, and a restore is what brings it up. Not where databases may
    /// have changed places half.
    pub(super) async fn supersede(&self) -> Option<Interrupted> {
        let settling = {
            let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
            settling.take_if(|settling| !settling.left.job.swaps())
        };
        let Settling {
            left,
            superseded,
            over,
        } = settling?;
        superseded.cancel();
        over.cancelled().await;
        Some(left)
    }
}
