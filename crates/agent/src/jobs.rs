//! Jobs on snapshots: what takes long, one at a time, whether or not anyone watches.
//!
//! A job is written down before anything of it is done, and its last result is remembered. None
//! begins beside a deployment; no deployment begins beside a restore. What an interruption left is
//! put in order at the next start.

mod app;
mod fit;
mod job;
mod leftovers;
pub mod replaced;
mod restore;
mod resume;
mod settle;
mod watcher;
mod work;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use togather_model::{Failure, FailureKind, Ulid};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    leases, log,
    node::Node,
    snapshots::{Manifest, Progress},
    state::StateError,
};

pub use self::job::{Interrupted, Job, SCHEDULE, Swap, Which, Work};
use self::settle::Settling;
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
                job.forgotten.extend_from_slice(names);
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
            Err(error) => {
                self.clear_up_after(left);
                let is_busy = matches!(error, StateError::Busy);
                return Err(match is_busy {
                    true => self.busy().await,
                    false => unreadable(&error),
                });
            }
        }
        self.current.send_replace(Some(job.clone()));
        self.carry_out(job.clone(), work, left);
        Ok(job)
    }

    fn must_be_live(&self, typed: &str) -> Result<(), Failure> {
        let node = self.node.in_force();
        let live = node.database.live_name();
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
            let node = this.node.in_force();
            let task = this.task(&node, job.id);
            // A swap is brought to its end, and so is what destroys something, to be able to tell what;
            // what only reads or adds may be broken off.
            let may_break_off = matches!(work, Work::Create(_) | Work::Verify(_));
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
            if let Some(left) = left {
                this.try_to_clear_up_after(&left).await;
            }
            this.end(job, done).await;
        });
    }

    /// The same where nothing was begun in its stead after all.
    fn clear_up_after(&self, left: Option<Interrupted>) {
        let Some(left) = left else { return };
        let this = self.clone();
        self.under_way
            .spawn(async move { this.try_to_clear_up_after(&left).await });
    }

    async fn try_to_clear_up_after(&self, left: &Interrupted) {
        let node = self.node.in_force();
        if let Err(failure) = self.task(&node, left.job.id).put_in_order(left).await {
            tracing::warn!(job = %left.job.id, %failure, "what it left is not cleared away");
        }
    }

    /// `node` is this one with the files that are in force as the job begins.
    fn task<'a>(&'a self, node: &'a Node, id: Ulid) -> Task<'a> {
        Task {
            node,
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
