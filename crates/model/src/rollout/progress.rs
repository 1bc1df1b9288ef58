//! How far a node has come, told from what it remembers, so that any machine can take a rollout up.

use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use super::{Ending, Progress};
use crate::operation::{Operation, OperationKind, OperationState};

impl Progress {
    /// How far a node has come, out of its operations of this rollout, newest first. A node that
    /// remembers none has not begun.
    #[must_use]
    pub fn of_operations(operations: &[Operation]) -> Self {
        operations
            .first()
            .map_or(Self::Pending, |latest| match latest.kind {
                OperationKind::Deploy | OperationKind::Redeploy => {
                    Self::of_deployment(latest.state)
                }
                OperationKind::Rollback => Self::of_taking_back(latest.state),
            })
    }

    /// What the state of the rollout's deployment on a node means for the rollout.
    #[must_use]
    pub const fn of_deployment(state: OperationState) -> Self {
        match state {
            OperationState::Running => Self::Running,
            OperationState::Done => Self::Done,
            OperationState::Undone => Self::Failed,
            OperationState::Stuck => Self::Stuck,
        }
    }

    /// What the state of the rollback that takes a deployment back means for the rollout.
    #[must_use]
    pub const fn of_taking_back(state: OperationState) -> Self {
        match state {
            OperationState::Running => Self::Running,
            OperationState::Done => Self::TakenBack,
            OperationState::Undone => Self::NotTakenBack,
            OperationState::Stuck => Self::Stuck,
        }
    }

    /// How far the node counts as having come when a human orders a rollout that has ended to go
    /// on: what failed there is tried once more.
    #[must_use]
    pub const fn tried_again(self) -> Self {
        match self {
            Self::Failed | Self::Stuck => Self::Pending,
            Self::Pending
            | Self::Running
            | Self::Done
            | Self::Unchanged
            | Self::Behind
            | Self::TakenBack
            | Self::NotTakenBack => self,
        }
    }

    /// The progress in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "not begun",
            Self::Running => "running",
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::Behind => "behind",
            Self::TakenBack => "taken back",
            Self::NotTakenBack => "not taken back",
        }
    }
}

impl Ending {
    /// The ending's name on the wire, in tables and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Behind => "behind",
            Self::Halted => "halted",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
        }
    }
}

/// The id of what a rollout orders of a node. It depends on nothing but its arguments, so whoever
/// takes the rollout up sends the same order under the same id, and the node runs it once.
/// `earlier` is how many operations of this rollout the node has been through.
#[must_use]
pub fn operation_id(rollout: Ulid, node: &str, kind: OperationKind, earlier: usize) -> Ulid {
    let kind = match kind {
        OperationKind::Deploy => "deploy",
        OperationKind::Rollback => "rollback",
        OperationKind::Redeploy => "redeploy",
    };
    let digest = Sha256::digest(format!("{rollout}\n{node}\n{kind}\n{earlier}"));
    let random = digest
        .iter()
        .take(10)
        .fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
    Ulid::from_parts(rollout.timestamp_ms(), random)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::digest::Digest;

    fn operation(kind: OperationKind, state: OperationState) -> Operation {
        Operation {
            id: Ulid::nil(),
            kind,
            operator: "alice".into(),
            rollout: None,
            release: Digest::of(b""),
            version: "2.0.0".into(),
            state,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            failure: None,
        }
    }

    #[test]
    fn the_newest_operation_says_how_far_a_node_is() {
        let deployed = operation(OperationKind::Deploy, OperationState::Done);
        let undone = operation(OperationKind::Deploy, OperationState::Undone);
        let back = operation(OperationKind::Rollback, OperationState::Done);
        assert_eq!(Progress::of_operations(&[]), Progress::Pending);
        assert_eq!(
            Progress::of_operations(&[deployed.clone(), undone]),
            Progress::Done
        );
        assert_eq!(
            Progress::of_operations(&[back, deployed]),
            Progress::TakenBack
        );
    }

    #[test]
    fn a_rollback_that_is_under_way_is_followed_and_not_ordered_again() {
        let running = operation(OperationKind::Rollback, OperationState::Running);
        assert_eq!(Progress::of_operations(&[running]), Progress::Running);
    }

    #[test]
    fn the_same_order_has_the_same_id_and_any_other_another() {
        let rollout = Ulid::from_parts(1_700_000_000_000, 7);
        let id = |node, kind, earlier| operation_id(rollout, node, kind, earlier);
        let first = id("a", OperationKind::Deploy, 0);
        assert_eq!(first, id("a", OperationKind::Deploy, 0));
        assert_ne!(first, id("b", OperationKind::Deploy, 0));
        assert_ne!(first, id("a", OperationKind::Rollback, 0));
        assert_ne!(first, id("a", OperationKind::Deploy, 1));
        assert_eq!(first.timestamp_ms(), rollout.timestamp_ms());
    }
}
