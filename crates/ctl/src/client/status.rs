//! What a node says about itself, and its form in JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use togather_model::{Lease, Line, Live, Operation, Schema, Timestamp, rollout::Rollout};
use togather_proto::{WireError, time, v1};

use super::{Fetching, Job, Snapshot};

/// What is true on a node.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// The version of its agent.
    pub agent_version: String,
    /// What the node is for, for example `production`; `None`: its agent is too old to say.
    pub environment: Option<String>,
    /// When it was asked, by the node's clock.
    pub at: Timestamp,
    /// The release it means to serve; `None` on an empty node.
    pub live: Option<Live>,
    /// What answers in the live slot; `None` where nothing should.
    pub health: Option<Health>,
    /// The database's schema; `None` when the database could not be asked.
    pub schema: Option<Schema>,
    /// Where the lines of migrations are that are not the app's own; `None`: none of it ran.
    pub other_lines: BTreeMap<Line, Option<u64>>,
    /// The newest snapshot.
    pub last_snapshot: Option<Snapshot>,
    /// The lease, while it lives.
    pub lease: Option<Lease>,
    /// The operation under way.
    pub running: Option<Operation>,
    /// The last one that ended.
    pub last: Option<Operation>,
    /// What differs from what the node means to be, a sentence each.
    pub drift: Vec<String>,
    /// The newest snapshot that was restored and found whole.
    pub last_verified: Option<Snapshot>,
    /// The last result of each kind of job, and the job under way.
    pub jobs: Vec<Job>,
    /// Why the age of the last verified snapshot is too high; `None`: it is not.
    pub snapshot_overdue: Option<String>,
    /// Databases that restores replaced and that are still kept.
    pub replaced_databases: Vec<String>,
    /// A restore, or its undo, that could not be taken back and that nothing has settled since.
    pub stuck_job: Option<Job>,
    /// Where the node keeps its snapshots; `None`: it does not say.
    pub snapshot_store: Option<SnapshotStore>,
    /// The images that are being fetched.
    pub fetches: Vec<ImageFetch>,
}

/// An image that is being fetched.
#[derive(Debug, Clone, Serialize)]
pub struct ImageFetch {
    /// Its name in Docker.
    pub image: String,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Fetching,
}

/// Where a node keeps its snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotStore {
    /// Its address.
    pub address: String,
    /// Whether it keeps an object from being replaced that may only be created: `yes`, `no` or
    /// `unknown`.
    pub conditional_writes: String,
    /// Why that is so, or is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A health answer.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// `healthy`, `degraded`, `unhealthy`, or `unreachable` when nothing answers.
    pub status: String,
    /// The version that answers.
    pub version: String,
    /// The commit that answers.
    pub git_commit: String,
    /// The slot that answers.
    pub slot: String,
    /// The parts of the answer.
    pub checks: Vec<Check>,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Health {
    /// Whether users are served: a degraded service still answers.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self.status.as_str(), "healthy" | "degraded" | "ready")
    }
}

/// One part of a health answer.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// `pass`, `warn` or `fail`.
    pub status: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl TryFrom<v1::NodeStatus> for NodeStatus {
    type Error = WireError;

    fn try_from(wire: v1::NodeStatus) -> Result<Self, WireError> {
        let within = |field: &'static str| move |error: WireError| error.within(field);
        let operation = |field, wire: Option<v1::Operation>| {
            wire.map(Operation::try_from)
                .transpose()
                .map_err(within(field))
        };
        let snapshot = |field, wire: Option<v1::Snapshot>| {
            wire.map(Snapshot::try_from)
                .transpose()
                .map_err(within(field))
        };
        let schema = wire.schema.map(Option::<Schema>::try_from).transpose();
        Ok(Self {
            agent_version: wire.agent_version,
            environment: Some(wire.environment).filter(|name| !name.is_empty()),
            at: time::read_timestamp("at", wire.at)?,
            live: wire
                .live
                .map(Live::try_from)
                .transpose()
                .map_err(within("live"))?,
            health: wire
                .health
                .filter(|health| !health.status.is_empty())
                .map(Health::from),
            schema: schema.map_err(within("schema"))?.flatten(),
            // A line that an agent of a later version knows is none of ours.
            other_lines: (wire.other_lines.into_iter())
                .filter_map(|of| Some((of.line.parse().ok()?, of.version)))
                .collect(),
            last_snapshot: snapshot("last_snapshot", wire.last_snapshot)?,
            lease: wire
                .lease
                .map(Lease::try_from)
                .transpose()
                .map_err(within("lease"))?,
            running: operation("running", wire.running)?,
            last: operation("last", wire.last)?,
            drift: wire.drift,
            last_verified: snapshot("last_verified", wire.last_verified)?,
            jobs: wire
                .jobs
                .into_iter()
                .map(Job::try_from)
                .collect::<Result<_, _>>()
                .map_err(within("jobs"))?,
            snapshot_overdue: Some(wire.snapshot_overdue).filter(|why| !why.is_empty()),
            replaced_databases: wire.replaced_databases,
            stuck_job: wire
                .stuck_job
                .map(Job::try_from)
                .transpose()
                .map_err(within("stuck_job"))?,
            snapshot_store: wire.snapshot_store.map(|store| SnapshotStore {
                address: store.address,
                conditional_writes: store.conditional_writes,
                reason: store.reason,
            }),
            fetches: wire.fetches.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<v1::ImageFetch> for ImageFetch {
    fn from(wire: v1::ImageFetch) -> Self {
        Self {
            image: wire.image,
            progress: wire.progress.unwrap_or_default().into(),
        }
    }
}

impl From<v1::Health> for Health {
    fn from(wire: v1::Health) -> Self {
        let check = |check: v1::health::Check| Check {
            name: check.name,
            status: check.status,
            message: check.message,
        };
        Self {
            status: wire.status,
            version: wire.version,
            git_commit: wire.git_commit,
            slot: wire.slot,
            checks: wire.checks.into_iter().map(check).collect(),
            message: wire.message,
        }
    }
}

/// A rollout, as a node remembers it.
#[derive(Debug, Clone)]
pub struct RolloutRecord {
    /// What it set out to do.
    pub rollout: Rollout,
    /// The rollout's text as it is stored.
    pub stored: v1::StoredRollout,
    /// How it ended; `None`: it has not.
    pub ending: Option<String>,
}

impl RolloutRecord {
    /// The release file's bytes.
    #[must_use]
    pub fn release(&self) -> Bytes {
        self.stored.release.clone()
    }
}

impl TryFrom<v1::RolloutRecord> for RolloutRecord {
    type Error = WireError;

    fn try_from(wire: v1::RolloutRecord) -> Result<Self, WireError> {
        let stored = wire.rollout.ok_or_else(|| WireError::missing("rollout"))?;
        let rollout = crate::rollout::stored::read(&stored)
            .map_err(|why| WireError::invalid("rollout.rollout", why))?;
        if rollout.id.to_string() != wire.rollout_id {
            return Err(WireError::invalid(
                "rollout_id",
                "the stored rollout has another id",
            ));
        }
        Ok(Self {
            rollout,
            stored,
            ending: Some(wire.ending).filter(|ending| !ending.is_empty()),
        })
    }
}
