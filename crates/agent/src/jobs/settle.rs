//! What an interruption left is put in order before anything else begins, however often that takes.

use std::sync::{MutexGuard, PoisonError};

use togather_model::{Failure, SnapshotEvent};
use tokio_util::sync::CancellationToken;

use super::{Done, Interrupted, Job, Jobs, RETRY, resume};
use crate::{
    log,
    snapshots::Progress,
    state::{StateError, entry},
};

/// An interrupted job being put in order.
pub(super) struct Settling {
    left: Interrupted,
    /// Why it is not in order yet, as far as was tried.
    why: Option<Failure>,
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
        *self.settling() = Some(Settling {
            left: interrupted.clone(),
            why: None,
            superseded: superseded.clone(),
            over: over.clone(),
        });
        self.under_way.spawn(async move {
            // Whoever waits for it to be over must not do so for ever, also when the agent stops.
            let _over = over.drop_guard();
            let job = interrupted.job.clone();
            let stage = Progress::stage("putting in order what an interruption left");
            this.task(&this.node, job.id).say(stage);
            let ended = tokio::select! {
                ended = this.settle(&interrupted) => ended,
                () = superseded.cancelled() => Err(resume::superseded(job.id)),
                () = this.stopping.cancelled() => return,
            };
            // Before the ending is told: whoever hears of it may look at the status at once.
            *this.settling() = None;
            this.end(job, ended).await;
        });
        Ok(Some(job))
    }

    /// Tries to put it in order until it is. What stands in the way is told, not only logged: the
    /// site may be down meanwhile, and a human can do something about it.
    async fn settle(&self, interrupted: &Interrupted) -> Result<Done, Failure> {
        loop {
            // It may be the files that stand in the way.
            let node = self.node.in_force();
            let task = self.task(&node, interrupted.job.id);
            let failure = match Box::pin(task.put_in_order(interrupted)).await {
                Ok(ended) => return ended,
                Err(failure) => failure,
            };
            tracing::warn!(job = %task.id, %failure, "not in order yet; trying again");
            let message = format!("not in order yet, trying again: {failure}");
            task.say(Progress::stage(&message));
            if let Some(settling) = &mut *self.settling() {
                settling.why = Some(failure);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whether an interrupted job is being put in order.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.settling().is_some()
    }

    /// What is not in order yet and why, in a sentence. Of a swap it is told from the beginning, for
    /// the app stands still; of anything else once it did not succeed at once.
    #[must_use]
    pub fn not_in_order(&self) -> Option<String> {
        let settling = self.settling();
        let Settling { left, why, .. } = settling.as_ref()?;
        let what = format!(
            "the {} of {:.0} was interrupted and is not in order yet",
            left.job.kind.words(),
            left.job.started_at
        );
        match why {
            Some(why) => Some(format!("{what}: {why}")),
            None => left.job.swaps().then_some(what),
        }
    }

    fn settling(&self) -> MutexGuard<'_, Option<Settling>> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
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
            let mut settling = self.settling();
            settling.take_if(|settling| !settling.left.job.swaps())
        };
        let Settling {
            left,
            superseded,
            over,
            ..
        } = settling?;
        superseded.cancel();
        over.cancelled().await;
        Some(left)
    }
}
