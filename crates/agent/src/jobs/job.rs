//! What a job is, and what of it must survive an interruption.

use serde::{Deserialize, Serialize};
use togather_model::{Failure, FailureKind, JobKind, Slot, SnapshotEvent, Timestamp, Ulid};
use url::Url;

use crate::{
    deploy::journal::new_id,
    node::Node,
    snapshots::{Manifest, Reason, Wanted},
};

/// What the node's own schedule is called where an operator is named.
pub const SCHEDULE: &str = "schedule";

/// Something about snapshots that takes long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The command's operation id, or one of the node's own.
    pub id: Ulid,
    /// What it is.
    pub kind: JobKind,
    /// Who ordered it; [`SCHEDULE`]: the node itself.
    pub operator: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None`: it is under way.
    pub ended_at: Option<Timestamp>,
    /// What goes on now, or what came of it.
    pub message: String,
    /// How much of the stage under way is done, in bytes.
    #[serde(default)]
    pub bytes_done: u64,
    /// How much that will be; `None`: not known.
    #[serde(default)]
    pub bytes_total: Option<u64>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The snapshot it is about.
    pub snapshot: Option<Manifest>,
    /// What a prune has forgotten so far: dumps, and databases that restores replaced.
    #[serde(default)]
    pub forgotten: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Take this snapshot.
    Create(Wanted),
    /// Prove a snapshot.
    Verify(Which),
    /// Put a snapshot in the live database's place.
    Restore {
        /// The snapshot.
        snapshot: Ulid,
        /// Another place than the node's own.
        place: Option<Url>,
    },
    /// Put a database that a restore replaced back.
    UndoRestore {
        /// Its name; `None`: the one that was replaced last.
        replaced: Option<String>,
    },
    /// Forget what nothing asks to keep.
    Prune,
}

/// Which snapshot is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// This one.
    This(Ulid),
    /// The newest.
    Newest,
    /// The newest, if it is not proven yet.
    NewestUnproven,
}

impl Work {
    /// A snapshot to be taken now, of the version that is live.
    pub async fn snapshot(node: &Node, reason: Reason) -> Self {
        let now = node.host.now();
        let live = node.live().await.ok().flatten();
        Self::Create(Wanted {
            id: new_id(now),
            at: now,
            reason,
            git_commit: live.map_or_else(String::new, |live| live.git_commit),
        })
    }

    /// What kind of job it is.
    #[must_use]
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::Create(_) => JobKind::Create,
            Self::Verify(_) => JobKind::Verify,
            Self::Restore { .. } => JobKind::Restore,
            Self::UndoRestore { .. } => JobKind::UndoRestore,
            Self::Prune => JobKind::Prune,
        }
    }
}

/// Databases about to change places, and the app that has to stand still meanwhile. Written down
/// before anything of it is done: what is to be done after a crash follows from it and from which
/// of the databases there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The database that becomes the live one.
    pub incoming: String,
    /// The name the live one gets.
    pub outgoing: String,
    /// The live one held nothing when this was written; if it still does, it need not be kept.
    pub outgoing_is_empty: bool,
    /// The incoming one was made for this, and is dropped if the swap is taken back.
    pub incoming_is_scratch: bool,
    /// The slots whose app is stopped and started again: those where it ran, and the live one
    /// whatever it did (an app in a crash loop may come up at any moment).
    pub running: Vec<Slot>,
    /// The slot that got the traffic, and the commit that has to answer in it.
    pub live: Option<(Slot, String)>,
    /// The live version was healthy. One that was not cannot be asked to be so when the swap is
    /// taken back.
    #[serde(default)]
    pub was_healthy: bool,
    /// The app was not healthy on the incoming database: the swap is being taken back.
    pub taking_back: Option<Failure>,
    /// There is no database from before to go back to: there was none, or it held nothing and is
    /// gone.
    #[serde(default)]
    pub is_all_there_is: bool,
}

/// A job that was under way when the agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// The job, as it was begun.
    pub job: Job,
    /// What was to be done.
    pub work: Work,
    /// The swap it had come to.
    pub swap: Option<Swap>,
    /// The swap could not be taken back, and it is tried once more.
    pub stuck: bool,
}

impl Job {
    /// Whether it exchanges the live database, so that no deployment may begin beside it.
    #[must_use]
    pub const fn swaps(&self) -> bool {
        self.kind.swaps()
    }

    /// Whether it could not be taken back.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        let failure = self.failure.as_ref();
        failure.is_some_and(|failure| failure.kind == FailureKind::Stuck)
    }

    /// What is to be written down of its ending.
    pub(crate) fn endings(&self) -> Vec<SnapshotEvent> {
        let (job, ended_at) = (self.kind, self.ended_at.unwrap_or(self.started_at));
        let took = self.started_at.duration_until(ended_at);
        let took = took.try_into().unwrap_or_default();
        let dump = self.snapshot.iter().map(|snapshot| &snapshot.dump);
        let spooled = self.snapshot.iter().filter(|snapshot| snapshot.spooled);
        let mut events: Vec<SnapshotEvent> = match job {
            JobKind::Create => spooled
                .map(|snapshot| SnapshotEvent::Spooled {
                    dump: snapshot.dump.clone(),
                })
                .collect(),
            JobKind::Verify | JobKind::Restore | JobKind::UndoRestore | JobKind::Prune => vec![],
        };
        events.push(match self.failure.clone() {
            None => SnapshotEvent::Completed {
                job,
                took,
                note: self.message.clone(),
                dumps: dump.chain(&self.forgotten).cloned().collect(),
            },
            Some(failure) if failure.kind == FailureKind::Stuck => {
                SnapshotEvent::Stuck { job, took, failure }
            }
            Some(failure) => SnapshotEvent::Failed {
                job,
                took,
                failure,
                dumps: self.forgotten.clone(),
            },
        });
        events
    }
}
