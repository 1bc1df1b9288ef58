//! The node's own schedule, by tokio-cron-scheduler, which calls the clock itself: snapshots taken,
//! proven and forgotten.
//!
//! Always UTC. It looks once a minute, and what is due is computed from the state alone: a run that
//! was missed while the agent was down, or that could not be written down, is caught up, once. A run that cannot begin because something else is under way
//! waits for it; when the next one is due before it could begin, it is recorded as skipped.

mod cron;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zone;

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use futures::{FutureExt as _, future::BoxFuture};
use rand::RngExt as _;
use togather_model::{Failure, FailureKind, SnapshotEvent, Timestamp};
use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job as Timed, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

pub use self::cron::{Cron, NotCron};
use crate::{
    deploy::journal::new_id,
    jobs::{Job, JobKind, Jobs, SCHEDULE, Which, Work},
    log,
    node::Node,
    snapshots::Reason,
    state::{self, StateError},
};

/// How often a run that cannot begin yet is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// When it is looked whether something is due. What cron's texts mean is for [`Cron`] alone to say: a
/// second reading of them would be another one.
const LOOK: &str = "0 * * * * *";
/// When what is spooled is brought to the store, if it can be reached again.
const DELIVERY: &str = "0 */15 * * * *";

/// When what is done.
#[derive(Debug, Clone)]
pub struct ScheduleSettings {
    /// When a snapshot is taken.
    pub create: Option<Cron>,
    /// When the newest one is proven, if it is not yet.
    pub verify: Option<Cron>,
    /// When those are forgotten that nothing asks to keep.
    pub prune: Option<Cron>,
    /// Each begins up to this much later.
    pub jitter: Duration,
}

/// The schedule at work.
pub struct Schedule {
    scheduler: JobScheduler,
    stopping: CancellationToken,
}

#[derive(Clone)]
struct Runner {
    node: Node,
    jobs: Jobs,
    jitter: Duration,
    /// How often a run that cannot begin yet is tried again.
    retry: Duration,
    stopping: CancellationToken,
}

/// One of the jobs, and a lock that only one run of it holds.
#[derive(Clone)]
struct Entry {
    kind: JobKind,
    cron: Cron,
    running: Arc<Mutex<()>>,
}

impl Schedule {
    /// Starts the schedule, and catches up what was missed.
    ///
    /// # Errors
    /// The scheduler does not start.
    pub async fn start(
        node: Node,
        jobs: Jobs,
        settings: ScheduleSettings,
    ) -> Result<Self, JobSchedulerError> {
        let stopping = CancellationToken::new();
        let runner = Runner {
            node,
            jobs,
            jitter: settings.jitter,
            retry: RETRY,
            stopping: stopping.clone(),
        };
        let entries = [
            (JobKind::Create, settings.create),
            (JobKind::Verify, settings.verify),
            (JobKind::Prune, settings.prune),
        ];
        let entries = entries.into_iter().filter_map(|(kind, cron)| {
            Some(Entry {
                kind,
                cron: cron?,
                running: Arc::default(),
            })
        });
        let entries: Arc<[Entry]> = entries.collect();
        let looking = {
            let runner = runner.clone();
            move || runner.clone().look(entries.clone()).boxed()
        };
        let delivering = move || runner.clone().deliver().boxed();
        let scheduler = JobScheduler::new().await?;
        scheduler.add(at(LOOK, looking.clone())?).await?;
        scheduler.add(at(DELIVERY, delivering.clone())?).await?;
        scheduler.start().await?;
        // A spool may take hours to be brought; the next snapshot does not wait for it.
        tokio::spawn(looking());
        tokio::spawn(delivering());
        Ok(Self {
            scheduler,
            stopping,
        })
    }

    /// Begins nothing any more.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::warn!(%error, "the schedule did not stop in order");
        }
    }
}

/// Calls this at these times, cron's with seconds in front; in UTC, whatever the machine's zone.
fn at(
    times: &str,
    call: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> Result<Timed, JobSchedulerError> {
    Timed::new_async_tz(times, Utc, move |_, _| call())
}

impl Runner {
    async fn look(self, entries: Arc<[Entry]>) {
        for entry in &*entries {
            if !self.run_if_due(entry).await {
                return;
            }
        }
    }

    /// Returns false while an earlier look is still at it. What comes after it waits: a proof is to
    /// be of the snapshot that was due before it.
    async fn run_if_due(&self, entry: &Entry) -> bool {
        let Ok(_alone) = entry.running.try_lock() else {
            return false;
        };
        if let Err(error) = self.begin_if_due(entry).await {
            let kind = entry.kind.as_str();
            tracing::error!(%error, kind, "the schedule could not be seen to; trying again in a minute");
        }
        true
    }

    async fn begin_if_due(&self, entry: &Entry) -> Result<(), StateError> {
        let state = &self.node.state;
        let now = self.node.host.now();
        let Some(seen_to) = state.seen_to(entry.kind).await? else {
            // A new node owes nothing yet.
            return state.see_to(entry.kind, now).await;
        };
        // A clock that was ahead once must not put off every run until that day.
        let seen_to = match seen_to > now {
            true => {
                tracing::warn!(%seen_to, kind = entry.kind.as_str(), "the clock was ahead; the schedule goes on from now");
                state.see_to(entry.kind, now).await?;
                now
            }
            false => seen_to,
        };
        let Some(mut due) = entry.cron.due(seen_to, now) else {
            return Ok(());
        };
        if !self.sleep(random_below(self.jitter)).await {
            return Ok(());
        }
        if !self.node.in_force().has_database().await.unwrap_or(true) {
            return state.see_to(entry.kind, due).await;
        }
        loop {
            let work = self.work(entry.kind).await;
            let id = new_id(self.node.host.now());
            match self.jobs.begin(id, SCHEDULE, work, None).await {
                Ok(_) => return state.see_to(entry.kind, due).await,
                Err(failure) if failure.kind == FailureKind::Held => {
                    if let Some(next) = entry.cron.due(due, self.node.host.now()) {
                        self.record_skipped(entry.kind, due, failure).await?;
                        state.see_to(entry.kind, due).await?;
                        due = next;
                    }
                }
                Err(failure) => {
                    tracing::error!(%failure, kind = entry.kind.as_str(), "a scheduled job did not begin");
                }
            }
            if !self.sleep(self.retry).await {
                return Ok(());
            }
        }
    }

    async fn work(&self, kind: JobKind) -> Work {
        match kind {
            JobKind::Verify => Work::Verify(Which::NewestUnproven),
            JobKind::Prune => Work::Prune,
            JobKind::Create | JobKind::Restore | JobKind::UndoRestore => {
                Work::snapshot(&self.node.in_force(), Reason::Scheduled).await
            }
        }
    }

    async fn record_skipped(
        &self,
        kind: JobKind,
        due: Timestamp,
        why: Failure,
    ) -> Result<(), StateError> {
        let now = self.node.host.now();
        let mut failure = Failure::new(
            FailureKind::Held,
            format!("the run that was due at {due:.0} was skipped"),
        );
        failure.causes.push(why.to_string());
        let job = Job {
            id: new_id(now),
            kind,
            operator: SCHEDULE.to_owned(),
            started_at: due,
            ended_at: Some(now),
            message: failure.what.clone(),
            bytes_done: 0,
            bytes_total: None,
            failure: Some(failure.clone()),
            snapshot: None,
            forgotten: vec![],
        };
        let (state, node) = (&self.node.state, &self.node.name);
        let event = state.record_job(&job, &failure, node).await?;
        log::tell(&event);
        Ok(())
    }

    async fn deliver(self) {
        loop {
            match self.node.in_force().snapshots.deliver_next().await {
                Ok(Some(dump)) => self.tell_delivered(dump).await,
                Ok(None) => return,
                Err(error) => return tracing::warn!(%error, "what is spooled waits on"),
            }
        }
    }

    async fn tell_delivered(&self, dump: String) {
        let at = self.node.host.now();
        let delivered = SnapshotEvent::Delivered { dump };
        let delivered = state::Entry::of_node(&self.node.name, new_id(at), at, delivered);
        match self.node.state.append(delivered).await {
            Ok(event) => log::tell(&event),
            Err(error) => tracing::warn!(%error, "an event was not journalled"),
        }
    }

    /// Returns whether the agent still runs after it.
    async fn sleep(&self, length: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(length) => true,
            () = self.stopping.cancelled() => false,
        }
    }
}

fn random_below(most: Duration) -> Duration {
    most.mul_f64(rand::rng().random_range(0.0..1.0))
}
