//! The one stream of events that feeds the journal, the wire, the terminal and JSON alike.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{failure::Failure, job::JobKind, line::Line, operation::OperationKind, step::Step};

/// Something that happened in an operation, or to snapshots. Events of one operation are numbered
/// from 1 without gaps, so whoever attaches again can tell that nothing was missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unique.
    pub id: Ulid,
    /// The operation it belongs to: a deployment, a job on snapshots, or the time in which the last
    /// verified snapshot was too old.
    pub operation_id: Ulid,
    /// Its number within the operation, from 1.
    pub sequence: u64,
    /// The node's name.
    pub node: String,
    /// Who ordered the operation; `schedule`: the node itself.
    pub operator: String,
    /// The version the operation is about; empty where it is about snapshots.
    pub version: String,
    /// When, by the node's clock, UTC.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum EventKind {
    /// The plan was stored; carrying it out begins.
    #[serde(rename = "deployment.started")]
    Started {
        /// What the operation sets out to do.
        kind: OperationKind,
    },
    /// A step begins. Written down before anything is touched.
    #[serde(rename = "deployment.step.started")]
    StepStarted {
        /// The step.
        step: Step,
    },
    /// A sign of life within a step.
    #[serde(rename = "deployment.step.progress")]
    StepProgress {
        /// The step.
        step: Step,
        /// What is going on.
        message: String,
    },
    /// A step ended well.
    #[serde(rename = "deployment.step.done")]
    StepDone {
        /// The step.
        step: Step,
        /// How long it took.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What it found or made, for people.
        note: String,
    },
    /// The plan says not to run this step.
    #[serde(rename = "deployment.step.skipped")]
    StepSkipped {
        /// The step.
        step: Step,
        /// Why.
        why: String,
    },
    /// A step failed. What was done is taken back now.
    #[serde(rename = "deployment.step.failed")]
    StepFailed {
        /// The step.
        step: Step,
        /// How long it took.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What, why, and what next.
        failure: Failure,
    },
    /// The undo of a step begins. Written down before anything is touched.
    #[serde(rename = "deployment.undo.started")]
    UndoStarted {
        /// The step being taken back.
        step: Step,
    },
    /// A step was taken back.
    #[serde(rename = "deployment.undo.done")]
    UndoDone {
        /// The step that was taken back.
        step: Step,
        /// How long it took.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What is true now, for people.
        note: String,
    },
    /// A step could not be taken back.
    #[serde(rename = "deployment.undo.failed")]
    UndoFailed {
        /// The step.
        step: Step,
        /// What, why, and what next.
        failure: Failure,
    },
    /// The agent was interrupted and takes the operation up again.
    #[serde(rename = "deployment.resumed")]
    Resumed {
        /// Whether it goes on (the switch was made) or takes everything back.
        forward: bool,
        /// The step that was under way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interrupted: Option<Step>,
    },
    /// Something worth knowing that changes nothing about the ending.
    #[serde(rename = "deployment.warning")]
    Warning {
        /// What.
        message: String,
    },
    /// Ending: the new version serves.
    #[serde(rename = "deployment.completed")]
    Completed {
        /// From start to ending.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
    /// Ending: it failed and was taken back.
    #[serde(rename = "deployment.undone")]
    Undone {
        /// From start to ending.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// Why it failed.
        failure: Failure,
    },
    /// Ending: an undo failed and a human is needed.
    #[serde(rename = "deployment.stuck")]
    Stuck {
        /// From start to ending.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What is true now, and what to do.
        failure: Failure,
    },
    /// An operator said what the schema is, whatever its bookkeeping said.
    #[serde(rename = "schema.set")]
    SchemaSet {
        /// Whose migrations.
        line: Line,
        /// At which the schema is; `None`: none ran. Not called `version`, which events have already.
        #[serde(rename = "schema")]
        version: Option<u64>,
        /// What its bookkeeping said, for people.
        before: String,
    },
    /// Something about snapshots.
    #[serde(untagged)]
    Snapshot(SnapshotEvent),
}

/// What happened to snapshots. Those that a deployment takes are a step of it, and told there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum SnapshotEvent {
    /// A job begins. Written down before anything is touched.
    #[serde(rename = "snapshot.started")]
    Started {
        /// What it does.
        job: JobKind,
    },
    /// The agent was interrupted, or a restore was stuck, and what was left is put in order.
    #[serde(rename = "snapshot.resumed")]
    Resumed {
        /// What the job was doing.
        job: JobKind,
    },
    /// Ending: the job did what it was to do.
    #[serde(rename = "snapshot.completed")]
    Completed {
        /// What it did.
        job: JobKind,
        /// From start to ending.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What came of it, for people.
        note: String,
        /// The dumps it took, proved, restored or forgot.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dumps: Vec<String>,
    },
    /// Ending: the job failed; nothing of it is left.
    #[serde(rename = "snapshot.failed")]
    Failed {
        /// What it was to do.
        job: JobKind,
        /// From start to ending.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What, why, and what next.
        failure: Failure,
        /// What it forgot all the same, which is gone for good.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dumps: Vec<String>,
    },
    /// Ending: a swap of databases could not be taken back, and a human is needed.
    #[serde(rename = "snapshot.stuck")]
    Stuck {
        /// What it was to do.
        job: JobKind,
        /// From start to ending.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
        /// What is true now, and what to do.
        failure: Failure,
    },
    /// A run of the schedule never got its turn.
    #[serde(rename = "snapshot.skipped")]
    Skipped {
        /// What it was to do.
        job: JobKind,
        /// What kept it.
        failure: Failure,
    },
    /// The store did not take a snapshot: it waits on the node's own disk.
    #[serde(rename = "snapshot.spooled")]
    Spooled {
        /// The dump's name.
        dump: String,
    },
    /// A snapshot that had waited was brought to the store.
    #[serde(rename = "snapshot.delivered")]
    Delivered {
        /// The dump's name.
        dump: String,
    },
    /// From now on the last verified snapshot is too old.
    #[serde(rename = "snapshot.overdue")]
    Overdue {
        /// Since when, and how old it should be at most.
        why: String,
    },
    /// There is a verified snapshot again that is young enough.
    #[serde(rename = "snapshot.overdue.ended")]
    OverdueEnded {
        /// How long there was none.
        #[serde(rename = "took_ms", with = "millis")]
        took: Duration,
    },
}

impl EventKind {
    /// Whether this is one of a deployment's three endings; nothing follows it.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::Undone { .. } | Self::Stuck { .. }
        )
    }
}

/// Durations in JSON are whole milliseconds, in fields whose names say so.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
        u64::try_from(took.as_millis())
            .unwrap_or(u64::MAX)
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
