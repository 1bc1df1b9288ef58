//! An operation: one deployment or rollback on one node, from its command to its ending.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{digest::Digest, failure::Failure};

/// What an operation sets out to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Bring a release to the node.
    Deploy,
    /// Bring back a release the node has run before.
    Rollback,
    /// Make the live release anew, from the node's files as they are now.
    Redeploy,
}

/// How far an operation has come. A deployment has three endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Under way, or interrupted and not yet resumed.
    Running,
    /// The new version serves.
    Done,
    /// It failed, and what it did was taken back: the old version serves.
    Undone,
    /// An undo failed: a human is needed.
    Stuck,
}

impl OperationState {
    /// The state's name in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An operation as the node remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Chosen by the controller; the same command sent twice names the same operation.
    pub id: Ulid,
    /// What it set out to do.
    pub kind: OperationKind,
    /// Who ordered it.
    pub operator: String,
    /// The rollout it is part of.
    pub rollout: Option<Ulid>,
    /// The release file's digest.
    pub release: Digest,
    /// The release's version.
    pub version: String,
    /// How far it has come.
    pub state: OperationState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it did not end as done.
    pub failure: Option<Failure>,
}
