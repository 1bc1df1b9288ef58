//! The journal of one operation: each step is written down before it starts and after it ends.
//!
//! The journal is the event stream: what was written is what followers see, and what a restarted
//! agent reads.

use std::collections::BTreeSet;

use togather_model::{
    Event, EventKind, Failure, FailureKind, Operation, OperationState, Step, Ulid,
};
use tracing::warn;

use crate::{host::Host, log, state::State};

/// Writes one operation's events.
pub struct Journal<'a> {
    state: &'a State,
    host: &'a dyn Host,
    node: &'a str,
    operation: &'a Operation,
}

impl<'a> Journal<'a> {
    /// The journal of this operation.
    #[must_use]
    pub const fn new(
        state: &'a State,
        host: &'a dyn Host,
        node: &'a str,
        operation: &'a Operation,
    ) -> Self {
        Self {
            state,
            host,
            node,
            operation,
        }
    }

    /// Writes an event down; when this returns it is on disk.
    ///
    /// # Errors
    /// It could not be written. A step that cannot be written down must not start.
    pub async fn write(&self, kind: EventKind) -> Result<Event, Failure> {
        let now = self.host.now();
        let written = self
            .state
            .append_event(self.operation, self.node, new_id(now), now, kind)
            .await;
        match written {
            Ok(event) => {
                log::tell(&event);
                Ok(event)
            }
            Err(e) => Err(Failure::caused_by(
                FailureKind::Other,
                "the journal could not be written",
                &e,
            )
            .next("free some room on the node's disk; look at `df -h /var/lib/togather`")),
        }
    }

    /// Writes down something that must not change the ending: if it cannot be written, the log
    /// says so, and that is all.
    pub async fn mention(&self, kind: EventKind) {
        if let Err(failure) = self.write(kind).await {
            warn!(%failure, "an event was not journalled");
        }
    }
}

/// What the journal says of an interrupted operation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps that were begun, whether or not they ended.
    pub begun: BTreeSet<Step>,
    /// Steps that ended well.
    pub done: BTreeSet<Step>,
    /// Steps that were taken back.
    pub undone: BTreeSet<Step>,
    /// Why everything is being taken back, once that was decided.
    pub failure: Option<Failure>,
    /// The ending, when it was written down and only the operation itself was not yet.
    pub ending: Option<OperationState>,
}

impl Progress {
    /// Reads an operation's events.
    #[must_use]
    pub fn read(events: &[Event]) -> Self {
        let mut progress = Self::default();
        for event in events {
            match &event.kind {
                EventKind::StepStarted { step } => {
                    progress.begun.insert(*step);
                }
                EventKind::StepDone { step, .. } => {
                    progress.done.insert(*step);
                }
                EventKind::UndoDone { step, .. } => {
                    progress.undone.insert(*step);
                }
                EventKind::StepFailed { failure, .. } => {
                    progress.failure.get_or_insert_with(|| failure.clone());
                }
                EventKind::Resumed {
                    forward: false,
                    interrupted,
                } => {
                    progress
                        .failure
                        .get_or_insert_with(|| interruption(*interrupted));
                }
                EventKind::Completed { .. } => progress.ending = Some(OperationState::Done),
                EventKind::Undone { failure, .. } => {
                    progress.ending = Some(OperationState::Undone);
                    progress.failure = Some(failure.clone());
                }
                EventKind::Stuck { failure, .. } => {
                    progress.ending = Some(OperationState::Stuck);
                    progress.failure = Some(failure.clone());
                }
                EventKind::Started { .. }
                | EventKind::StepProgress { .. }
                | EventKind::StepSkipped { .. }
                | EventKind::UndoStarted { .. }
                | EventKind::UndoFailed { .. }
                | EventKind::Resumed { .. }
                | EventKind::Warning { .. }
                | EventKind::SchemaSet { .. }
                | EventKind::Snapshot(_) => {}
            }
        }
        progress
    }

    /// The step that was under way, if one was.
    #[must_use]
    pub fn interrupted(&self) -> Option<Step> {
        self.begun.difference(&self.done).max().copied()
    }
}

/// The failure of an operation that was taken back because the agent was interrupted.
#[must_use]
pub fn interruption(step: Option<Step>) -> Failure {
    let mut failure = Failure::new(
        FailureKind::Other,
        step.map_or_else(
            || "the agent was interrupted".to_owned(),
            |step| format!("the agent was interrupted during `{step}`"),
        ),
    )
    .next("nothing of it is left; run the deployment again");
    failure.step = step;
    failure
}

/// A new ULID. Two in the same millisecond are told apart by chance alone, 80 bits of it.
#[must_use]
pub fn new_id(now: togather_model::Timestamp) -> Ulid {
    let random: u128 = u128::from(rand::random::<u64>()) << 16 | u128::from(rand::random::<u16>());
    Ulid::from_parts(now.as_millisecond().unsigned_abs(), random)
}
