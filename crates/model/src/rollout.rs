//! The controller's brain: from how far each node has come to what is to be done next.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::digest::Digest;

mod progress;

pub use self::progress::operation_id;

/// What a rollout set out to do. Stored on every chosen node, so that it can be taken up elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Names the rollout everywhere.
    pub id: Ulid,
    /// Who began it.
    pub operator: String,
    /// The release file's digest.
    pub release: Digest,
    /// The release's version.
    pub version: String,
    /// The chosen nodes by name, in the order they are walked through.
    pub nodes: Vec<String>,
    /// How many of the first nodes are canaries, watched for `canary_soak`.
    pub canary: usize,
    /// How long each node is watched; `None`: as the node's own strategy says.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub soak: Option<Duration>,
    /// How long each canary is watched.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub canary_soak: Option<Duration>,
    /// What becomes of the nodes already changed when one fails.
    pub on_failure: OnFailure,
    /// What becomes of a node that cannot be reached.
    pub unreachable: Unreachable,
    /// When it began, by the controller's clock.
    pub created_at: Timestamp,
    /// Each node makes its live release anew, from its own files; `release` names none then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redeploy: bool,
}

impl Rollout {
    /// How long this node is to be watched; `None`: as its own strategy says.
    #[must_use]
    pub fn soak_of(&self, node: &str) -> Option<Duration> {
        if self.nodes.iter().take(self.canary).any(|name| name == node) {
            self.canary_soak.or(self.soak)
        } else {
            self.soak
        }
    }
}

/// What becomes of the nodes already changed when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They stay on the new version; later nodes are untouched.
    Halt,
    /// They go back, newest first.
    Undo,
}

/// What becomes of a node that cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unreachable {
    /// The rollout ends there.
    Stop,
    /// The node is marked behind and the rollout goes on.
    Skip,
}

/// How far a node has come in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Not begun.
    Pending,
    /// A deployment of this rollout is under way there.
    Running,
    /// It runs the new version.
    Done,
    /// It ran the new version before the rollout began, so there is nothing to take back.
    Unchanged,
    /// The deployment failed and the node went back by itself.
    Failed,
    /// An undo failed there; a human is needed.
    Stuck,
    /// It could not be reached.
    Behind,
    /// It ran the new version and was taken back by this rollout.
    TakenBack,
    /// It ran the new version and could not be taken back; it still runs it.
    NotTakenBack,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<'a> {
    /// Watch the deployment under way on this node until it ends.
    Follow(&'a str),
    /// Deploy to this node.
    Deploy(&'a str),
    /// Take this node back to the version before.
    TakeBack(&'a str),
    /// There is nothing more to do.
    Finish(Ending),
}

/// How a rollout ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every chosen node runs the new version.
    Done,
    /// Every node that could be reached does; the others are behind.
    Behind,
    /// A node failed; those before it run the new version, those after it were not touched.
    Halted,
    /// A node failed, and those before it were taken back.
    Undone,
    /// A node needs a human.
    Stuck,
}

/// Decides what to do next. Pure, so that a rollout can be resumed from anywhere: ask the nodes how
/// far they are, and ask this.
#[must_use]
pub fn next<'a>(rollout: &'a Rollout, progress: &BTreeMap<String, Progress>) -> Next<'a> {
    let of = |node: &str| progress.get(node).copied().unwrap_or(Progress::Pending);
    let first = |wanted: Progress| {
        let mut nodes = rollout.nodes.iter().map(String::as_str);
        nodes.find(|node| of(node) == wanted)
    };
    let last = |wanted: Progress| {
        let mut nodes = rollout.nodes.iter().rev().map(String::as_str);
        nodes.find(|node| of(node) == wanted)
    };

    if let Some(node) = first(Progress::Running) {
        return Next::Follow(node);
    }
    if first(Progress::Stuck).is_some() {
        return Next::Finish(Ending::Stuck);
    }
    let behind = first(Progress::Behind).is_some();
    let stopped = first(Progress::Failed).is_some()
        || first(Progress::TakenBack).is_some()
        || first(Progress::NotTakenBack).is_some()
        || (behind && rollout.unreachable == Unreachable::Stop);
    if stopped {
        return match (rollout.on_failure, last(Progress::Done)) {
            (OnFailure::Halt, _) => Next::Finish(Ending::Halted),
            (OnFailure::Undo, Some(node)) => Next::TakeBack(node),
            (OnFailure::Undo, None) if first(Progress::NotTakenBack).is_some() => {
                Next::Finish(Ending::Halted)
            }
            (OnFailure::Undo, None) => Next::Finish(Ending::Undone),
        };
    }
    if let Some(node) = first(Progress::Pending) {
        return Next::Deploy(node);
    }
    Next::Finish(if behind { Ending::Behind } else { Ending::Done })
}

#[cfg(test)]
mod tests;
