//! Watching jobs: what is under way, and one of them to its end.

use futures::{Stream, stream};
use togather_model::Ulid;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Job, Jobs};
use crate::{node::Node, state::StateError};

impl Jobs {
    /// The job under way, as it is now.
    #[must_use]
    pub fn running(&self) -> Option<Job> {
        let current = self.current.borrow();
        current.clone().filter(|job| job.ended_at.is_none())
    }

    /// Changes whenever the job under way does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Job>> {
        self.current.subscribe()
    }

    pub(super) fn watched(&self, id: Ulid) -> Option<Job> {
        self.current.borrow().clone().filter(|job| job.id == id)
    }

    /// The job with this id as it is now, and each time that it changes, until it has ended. The
    /// stream is over without an ending when the agent stops.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn watch(
        &self,
        id: Ulid,
        stopping: CancellationToken,
    ) -> Result<Option<impl Stream<Item = Job> + use<>>, StateError> {
        let watcher = Watcher {
            // Before the first look, so that no change falls between the look and the wait.
            changes: self.current.subscribe(),
            node: self.node.clone(),
            id,
            stopping,
            told: None,
        };
        if self.node.state.job(id).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(stream::unfold(watcher, |mut watcher| async move {
            let job = watcher.next().await?;
            Some((job, watcher))
        })))
    }
}

struct Watcher {
    changes: watch::Receiver<Option<Job>>,
    node: Node,
    id: Ulid,
    stopping: CancellationToken,
    told: Option<Job>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Job> {
        if self.told.as_ref().is_some_and(|job| job.ended_at.is_some()) {
            return None;
        }
        loop {
            let current = self.changes.borrow_and_update().clone();
            let job = match current.filter(|job| job.id == self.id) {
                Some(job) => job,
                // Another one has begun since: this one has ended, and is in the state.
                None => self.node.state.job(self.id).await.ok()??,
            };
            if self.told.as_ref() != Some(&job) {
                self.told = Some(job.clone());
                return Some(job);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.stopping.cancelled() => return None,
            }
        }
    }
}
