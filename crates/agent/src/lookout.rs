//! The lookout: knows what there is in the snapshot store without asking it each time, says when the
//! last verified snapshot is too old and when that is over, and finds out what kind of store it is.
//!
//! What it knows is remembered, so that metrics and status can tell it while the store is away and
//! after the agent was started again.

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::pending;
use serde::{Deserialize, Serialize};
use togather_model::{Schema, SnapshotEvent, Timestamp, Ulid};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    deploy::journal::new_id,
    jobs::{Job, Jobs},
    log,
    node::Node,
    snapshots::{Answer, ConditionalWrites, Manifest, Survey},
    state::{Entry, StateError},
    status::{self, overdue, within},
};

/// How often it looks while nothing happens. A look is one listing of the store.
const EVERY: Duration = Duration::from_mins(5);

/// By this name the state remembers what was seen in the store.
const SNAPSHOTS: &str = "snapshots";

/// Keeps watch over the node's snapshots.
#[derive(Clone)]
pub struct Lookout {
    node: Node,
    overdue_after: Duration,
    known: Arc<Mutex<Known>>,
    store: Arc<Mutex<ConditionalWrites>>,
    /// One look at a time, so that nothing is told twice.
    looking: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of the node's snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// When the store was last seen; `None`: never.
    pub seen_at: Option<Timestamp>,
    /// The newest snapshot there.
    pub last: Option<Sight>,
    /// The newest there that was found whole.
    pub last_verified: Option<Sight>,
    /// How many wait on the node's own disk.
    pub spooled: usize,
    /// Since when there has been a database, as far as was seen; `None`: there is none.
    #[serde(default)]
    pub database_since: Option<Timestamp>,
    /// Whether the last verified one is too old.
    #[serde(skip)]
    pub is_overdue: bool,
}

/// What is known of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The dump's size.
    pub bytes: u64,
}

impl Sight {
    fn of(manifest: &Manifest) -> Self {
        Self {
            taken_at: manifest.taken_at,
            bytes: manifest.bytes,
        }
    }
}

impl Lookout {
    /// A lookout over this node's snapshots, who knows what was seen last time. Nothing is asked of
    /// the store yet.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn open(node: Node, overdue_after: Duration) -> Result<Self, StateError> {
        let mut known: Known = node.state.seen(SNAPSHOTS).await?.unwrap_or_default();
        known.is_overdue = node.state.overdue().await?.is_some();
        let store = node.state.seen(&kind_of(&node)).await?;
        if let Some(store) = &store {
            node.snapshots.recall(ConditionalWrites::clone(store));
        }
        let untried = || ConditionalWrites::unknown("the store was not tried out yet");
        Ok(Self {
            node,
            overdue_after,
            known: Arc::new(Mutex::new(known)),
            store: Arc::new(Mutex::new(store.unwrap_or_else(untried))),
            looking: Arc::default(),
        })
    }

    /// What is known.
    #[must_use]
    pub fn known(&self) -> Known {
        guard(&self.known).clone()
    }

    /// Whether the store keeps an object from being replaced that may only be created, as far as that
    /// was found out.
    #[must_use]
    pub fn store(&self) -> ConditionalWrites {
        guard(&self.store).clone()
    }

    /// How old the last verified snapshot may be.
    #[must_use]
    pub const fn overdue_after(&self) -> Duration {
        self.overdue_after
    }

    /// Looks now, whenever a job has ended, and from time to time, until the agent stops.
    pub fn keep(&self, jobs: &Jobs, stopping: CancellationToken) {
        let (this, mut jobs) = (self.clone(), jobs.changes());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = this.look() => {}
                    () = stopping.cancelled() => return,
                }
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = has_ended(&mut jobs) => {}
                    () = stopping.cancelled() => return,
                }
            }
        });
    }

    /// Looks at the store and at the clock. What cannot be seen stays as it was known.
    pub async fn look(&self) {
        let _alone = self.looking.lock().await;
        let node = &self.node.in_force();
        let (survey, spooled, schema) = tokio::join!(
            within("the snapshots are not known", node.snapshots.survey(None)),
            within("the spool is not known", node.snapshots.spooled()),
            within("the schema is not known", status::schema(node)),
        );
        match survey {
            Ok(survey) => self.see(&survey),
            Err(silence) => tracing::warn!(silence, "the snapshot store was not seen"),
        }
        if let Ok(spooled) = spooled {
            guard(&self.known).spooled = spooled.len();
        }
        let schema = schema.ok();
        if let Some(schema) = schema {
            self.see_database(schema);
        }
        if let Err(error) = node.state.remember(SNAPSHOTS, &self.known()).await {
            tracing::warn!(%error, "what was seen of the snapshots is not remembered");
        }
        if let Err(error) = self.judge(schema).await {
            tracing::error!(%error, "whether snapshots are overdue was not written down");
        }
        self.try_store_out().await;
    }

    fn see(&self, survey: &Survey) {
        let now = self.node.host.now();
        let verified = overdue::last_verified(&survey.snapshots, now);
        let mut known = guard(&self.known);
        known.seen_at = Some(now);
        known.last = survey.snapshots.first().map(Sight::of);
        known.last_verified = verified.map(Sight::of);
    }

    fn see_database(&self, schema: Schema) {
        let now = self.node.host.now();
        let mut known = guard(&self.known);
        known.database_since = match schema {
            Schema::NoDatabase => None,
            Schema::Empty | Schema::Unversioned | Schema::At { .. } => {
                known.database_since.or(Some(now))
            }
        };
    }

    /// Since when there has been something to take snapshots of. A node that was set up long before
    /// its first deployment owes none for that time.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn since(&self) -> Result<Option<Timestamp>, StateError> {
        let serving = self.node.state.serving_since().await?;
        Ok(serving.or(self.known().database_since))
    }

    /// Says once that snapshots are overdue, and once that they are not any more.
    async fn judge(&self, schema: Option<Schema>) -> Result<(), StateError> {
        let state = &self.node.state;
        let (now, verified) = (self.node.host.now(), self.known().last_verified);
        let verified = verified.map(|sight| sight.taken_at);
        let why = overdue::find(verified, self.since().await?, self.overdue_after, now);
        let is_overdue = match (why.is_empty(), schema) {
            (true, _) | (false, Some(Schema::NoDatabase)) => false,
            (false, Some(_)) => true,
            // Whether there is anything to take a snapshot of is not known: as it was.
            (false, None) => return Ok(()),
        };
        // Known whether or not it can be written down: a full disk is when it matters most.
        guard(&self.known).is_overdue = is_overdue;
        match (state.overdue().await?, is_overdue) {
            (None, true) => {
                let overdue = SnapshotEvent::Overdue { why };
                self.tell(new_id(now), now, overdue).await?;
            }
            (Some(since), false) => {
                let took = since.at.duration_until(now).try_into().unwrap_or_default();
                let ended = SnapshotEvent::OverdueEnded { took };
                self.tell(since.operation_id, now, ended).await?;
            }
            (None, false) | (Some(_), true) => {}
        }
        Ok(())
    }

    async fn tell(&self, id: Ulid, at: Timestamp, event: SnapshotEvent) -> Result<(), StateError> {
        let entry = Entry::of_node(&self.node.name, id, at, event);
        log::tell(&self.node.state.append(entry).await?);
        Ok(())
    }

    /// Finds out once what kind of store it is; what could not be found out is tried again.
    async fn try_store_out(&self) {
        if self.store().answer != Answer::Unknown || self.known().seen_at.is_none() {
            return;
        }
        let found = self.node.in_force().snapshots.conditional_writes().await;
        *guard(&self.store) = found.clone();
        if found.answer == Answer::Unknown {
            return;
        }
        let (what, answer) = (kind_of(&self.node), found.answer.as_str());
        tracing::info!(
            conditional_writes = answer,
            found.reason,
            "the store was tried out"
        );
        if let Err(error) = self.node.state.remember(&what, &found).await {
            tracing::warn!(%error, "what the store is like is not remembered");
        }
    }
}

/// By this name the state remembers what kind of store it is.
fn kind_of(node: &Node) -> String {
    format!("store {}", node.snapshots.address())
}

/// Waits until a job has ended that had not before.
async fn has_ended(jobs: &mut watch::Receiver<Option<Job>>) {
    while jobs.changed().await.is_ok() {
        let job = jobs.borrow_and_update();
        if job.as_ref().is_some_and(|job| job.ended_at.is_some()) {
            return;
        }
    }
    // There will be none any more.
    pending().await
}

/// A poisoned lock means a panic elsewhere; what it holds is whole.
fn guard<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
