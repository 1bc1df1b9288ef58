//! Jobs on snapshots: what takes long, one at a time, whether or not anyone watches.
//!
//! A job is written down before anything of it is done, and its last result is remembered. None
//! begins beside a deployment; no deployment begins beside a restore. What an interruption left is
//! put in order at the next start.

mod app;
mod job;
mod leftovers;
pub mod replaced;
mod restore;
mod resume;
mod work;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, stream};
use togather_model::{Failure, FailureKind, SnapshotEvent, Ulid};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    leases, log,
    node::Node,
    snapshots::{Manifest, Progress},
    state::{StateError, entry},
};

pub use self::job::{Interrupted, Job, SCHEDULE, Swap, Which, Work};
pub use togather_model::JobKind;

/// How long to wait before what an interruption left is looked at again.
const RETRY: Duration = Duration::from_secs(5);

/// The node's jobs.
#[derive(Clone)]
pub struct Jobs {
    node: Node,
    /// The job under way, or the last one.
    current: Arc<watch::Sender<Option<Job>>>,
    under_way: TaskTracker,
    stopping: CancellationToken,
    /// The interrupted job that is being put in order.
    settling: Arc<Mutex<Option<Settling>>>,
}

/// An interrupted job being put in order.
struct Settling {
    left: Interrupted,
    /// Somebody wants a restore instead.
    superseded: CancellationToken,
    over: CancellationToken,
}

/// What came of a job.
#[derive(Debug, Default)]
struct Done {
    message: String,
    snapshot: Option<Manifest>,
}

impl Done {
    fn saying(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    fn about(snapshot: Manifest, message: String) -> Self {
        Self {
            snapshot: Some(snapshot),
            ..Self::saying(message)
        }
    }
}

/// A job being done.
struct Task<'a> {
    node: &'a Node,
    id: Ulid,
    current: &'a watch::Sender<Option<Job>>,
    stopping: &'a CancellationToken,
}

impl Task<'_> {
    fn say(&self, progress: Progress) {
        tracing::debug!(job = %self.id, progress.message);
        self.current.send_modify(|current| {
            if let Some(job) = current {
                job.message = progress.message;
                job.bytes_done = progress.bytes_done;
                job.bytes_total = progress.bytes_total;
            }
        });
    }

    /// These are gone for good, however the job ends.
    fn forgot(&self, names: &[String]) {
        self.current.send_modify(|current| {
            if let Some(job) = current {
                job.forgotten = names.to_vec();
            }
        });
    }

    async fn keep(&self, swap: &Swap) -> Result<(), Failure> {
        let kept = self.node.state.keep_swap(self.id, swap).await;
        kept.map_err(|e| unreadable(&e))
    }
}

impl Jobs {
    /// The jobs of this node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self {
            node,
            current: Arc::new(watch::Sender::new(None)),
            under_way: TaskTracker::new(),
            stopping: CancellationToken::new(),
            settling: Arc::default(),
        }
    }

    /// Begins a job, or returns the one with this id if the node knows it.
    ///
    /// `typed` is the live database's name as somebody typed it who wants it replaced.
    ///
    /// # Errors
    /// Another job or an operation is under way, somebody else has the node's lease, or another
    /// database is meant. Nothing was begun.
    pub async fn begin(
        &self,
        id: Ulid,
        operator: &str,
        work: Work,
        typed: Option<&str>,
    ) -> Result<Job, Failure> {
        // On its own: whoever orders it may hang up between its entry in the state and its start.
        let (this, operator) = (self.clone(), operator.to_owned());
        let typed = typed.map(str::to_owned);
        let beginning = tokio::spawn(async move {
            this.begin_whole(id, &operator, work, typed.as_deref())
                .await
        });
        beginning.await.unwrap_or_else(|broken| {
            let what = "beginning the job was broken off";
            Err(Failure::caused_by(FailureKind::Other, what, &broken)
                .next("look at the agent's journal on the node"))
        })
    }

    async fn begin_whole(
        &self,
        id: Ulid,
        operator: &str,
        work: Work,
        typed: Option<&str>,
    ) -> Result<Job, Failure> {
        let state = &self.node.state;
        if let Some(known) = state.job(id).await.map_err(|e| unreadable(&e))? {
            return match known.kind == work.kind() {
                true => Ok(self.watched(id).unwrap_or(known)),
                false => Err(Failure::new(
                    FailureKind::Other,
                    format!("job {id} was something else on this node"),
                )
                .next("run the command again; it chooses a new id")),
            };
        }
        if self.under_way.is_closed() {
            return Err(Failure::new(FailureKind::Held, "the agent is stopping")
                .next("send the command again once it has started"));
        }
        if let Some(typed) = typed {
            self.must_be_live(typed)?;
        }
        if matches!(work, Work::Restore { .. } | Work::UndoRestore { .. }) {
            leases::must_be_free_for(&self.node, operator).await?;
        }
        let job = Job {
            id,
            kind: work.kind(),
            operator: operator.to_owned(),
            started_at: self.node.host.now(),
            ended_at: None,
            message: "beginning".into(),
            bytes_done: 0,
            bytes_total: None,
            failure: None,
            snapshot: None,
            forgotten: vec![],
        };
        let mut begun = state.begin_job(&job, &work, &self.node.name).await;
        let mut left = None;
        if matches!(
            (&begun, &work),
            (Err(StateError::Busy), Work::Restore { .. })
        ) {
            left = self.supersede().await;
            if left.is_some() {
                begun = state.begin_job(&job, &work, &self.node.name).await;
            }
        }
        match begun {
            Ok(begun) => log::tell(&begun),
            Err(StateError::Busy) => return Err(self.busy().await),
            Err(error) => return Err(unreadable(&error)),
        }
        self.current.send_replace(Some(job.clone()));
        self.carry_out(job.clone(), work, left);
        Ok(job)
    }

    /// Gives up putting an interrupted job in order, and returns it: while the database server does
    /// not come up, that never ends, and a restore is what brings it up. Not where databases may
    /// have changed places half.
    async fn supersede(&self) -> Option<Interrupted> {
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

    fn must_be_live(&self, typed: &str) -> Result<(), Failure> {
        let live = self.node.database.live_name();
        if typed == live {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Other,
            format!(
                "the live database of this node is `{live}`, not `{typed}`; nothing was touched"
            ),
        )
        .next(format!("if you mean it, type `{live}`")))
    }

    /// What is under way instead.
    async fn busy(&self) -> Failure {
        let state = &self.node.state;
        if let Ok(Some((running, _))) = state.running().await {
            return leases::busy(&running);
        }
        match state.running_job().await {
            Ok(Some(running)) => held_by(&running.job),
            Ok(None) | Err(_) => Failure::new(FailureKind::Held, "something else was under way")
                .next("run the command again"),
        }
    }

    /// `left` is an interrupted job that this one did not wait for; it is put in order afterwards.
    fn carry_out(&self, job: Job, work: Work, left: Option<Interrupted>) {
        let this = self.clone();
        self.under_way.spawn(async move {
            let task = this.task(job.id);
            // A swap is brought to its end; what only reads or adds may be broken off.
            let may_break_off = !matches!(work, Work::Restore { .. } | Work::UndoRestore { .. });
            let done = tokio::select! {
                done = Box::pin(task.carry_out(&work)) => done,
                () = this.stopping.cancelled(), if may_break_off => {
                    let left = Interrupted { job: job.clone(), work, swap: None, stuck: false };
                    match task.put_in_order(&left).await {
                        Ok(ended) => ended,
                        // It stays open, and is put in order at the next start.
                        Err(failure) => return tracing::warn!(job = %job.id, %failure, "broken off"),
                    }
                }
            };
            if let Some(left) = left
                && let Err(failure) = this.task(left.job.id).put_in_order(&left).await
            {
                tracing::warn!(job = %left.job.id, %failure, "what it left is not cleared away");
            }
            this.end(job, done).await;
        });
    }

    fn task(&self, id: Ulid) -> Task<'_> {
        Task {
            node: &self.node,
            id,
            current: &self.current,
            stopping: &self.stopping,
        }
    }

    async fn end(&self, job: Job, done: Result<Done, Failure>) {
        let job = self.watched(job.id).unwrap_or(job);
        let job = write_ending(&self.node, job, done, &self.stopping).await;
        self.current.send_replace(Some(job));
    }

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

    fn watched(&self, id: Ulid) -> Option<Job> {
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

    /// Breaks off what may be broken off and waits for the rest, at most this long. Returns whether
    /// anything is still under way; that is put in order when the agent starts again.
    pub async fn wait(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.under_way.close();
        tokio::time::timeout(within, self.under_way.wait())
            .await
            .is_err()
    }
}

/// Writes down how a job ended, and tells it. Nothing else begins before that is written: a full
/// disk may have room again in a while. If the agent stops before, the job stays open, and is put in
/// order at the next start.
async fn write_ending(
    node: &Node,
    mut job: Job,
    done: Result<Done, Failure>,
    stopping: &CancellationToken,
) -> Job {
    job.ended_at = Some(node.host.now());
    match done {
        Ok(done) => {
            job.message = done.message;
            job.snapshot = done.snapshot;
            job.failure = None;
        }
        Err(failure) => {
            job.message = failure.what.clone();
            job.failure = Some(failure);
        }
    }
    loop {
        match node.state.end_job(&job, &node.name).await {
            Ok(events) => {
                events.iter().for_each(log::tell);
                return job;
            }
            Err(error) => {
                tracing::error!(%error, job = %job.id, job.message, "the job's ending was not written");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stopping.cancelled() => return job,
        }
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

/// The refusal of somebody who comes while this job is under way.
#[must_use]
pub fn held_by(job: &Job) -> Failure {
    Failure::new(
        FailureKind::Held,
        format!(
            "a job of {} is under way on this node since {:.0}: {} ({})",
            job.operator,
            job.started_at,
            job.kind.as_str(),
            job.id
        ),
    )
    .next("wait for it to end; it ends by itself, whether or not anyone watches")
}

fn unreadable(error: &StateError) -> Failure {
    Failure::caused_by(FailureKind::Other, "nothing was begun", error)
        .next("look at `df -h` and the agent's journal on the node")
}
