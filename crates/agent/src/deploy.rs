//! The story of a deployment on one node.
//!
//! A plan is carried out step by step. If a step fails, every step begun is taken back, newest
//! first. There are three endings: *done*, *undone* and *stuck* (taking back failed, and a human
//! is told exactly what is true). After a crash the journal says how far it came: before the
//! switch everything is taken back, after it the deployment goes forward. Every step and every
//! undo may be run twice.

mod await_healthy;
mod expect;
mod fetch;
pub mod journal;
mod migrate;
mod prepare;
mod progress;
mod soak;
mod steps;
mod tidy;
mod undo;

#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use togather_model::{
    EventKind, Failure, FailureKind, Operation, OperationState, Plan, Release, Step, Undo,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::node::Node;
use journal::{Journal, Progress};

const RETRY: Duration = Duration::from_secs(5);

/// A deployment being carried out.
pub struct Deployment<'a> {
    node: &'a Node,
    operation: &'a Operation,
    plan: &'a Plan,
    release: &'a Release,
    journal: Journal<'a>,
    stopping: CancellationToken,
    /// How long to wait before an ending that could not be written is tried again.
    retry: Duration,
}

impl<'a> Deployment<'a> {
    /// A deployment of this plan on this node.
    #[must_use]
    pub fn new(
        node: &'a Node,
        operation: &'a Operation,
        plan: &'a Plan,
        release: &'a Release,
    ) -> Self {
        let journal = Journal::new(&node.state, &*node.host, &node.name, operation);
        Self {
            node,
            operation,
            plan,
            release,
            journal,
            stopping: CancellationToken::new(),
            retry: RETRY,
        }
    }

    /// The agent stops when this is cancelled: from then on nothing is waited for that the next start
    /// can do as well.
    #[must_use]
    pub fn until(mut self, stopping: CancellationToken) -> Self {
        self.stopping = stopping;
        self
    }

    /// Carries the plan out, from its first step to one of the three endings.
    pub async fn carry_out(&self) -> OperationState {
        let started = EventKind::Started {
            kind: self.plan.kind,
        };
        match self.journal.write(started).await {
            Ok(_) => self.go_forward(&Progress::default()).await,
            Err(failure) => self.end_undone(failure).await,
        }
    }

    /// Takes up what a crash interrupted.
    ///
    /// # Errors
    /// The journal could not be read; nothing was touched.
    pub async fn resume(&self) -> Result<OperationState, Failure> {
        let mut progress = self.read_progress().await?;
        if let Some(ending) = progress.ending {
            return Ok(self.end(ending, progress.failure, None).await);
        }
        let interrupted = progress.interrupted();
        let forward = progress.failure.is_none() && progress.done.contains(&Step::SwitchTraffic);
        self.journal
            .write(EventKind::Resumed {
                forward,
                interrupted,
            })
            .await?;
        if forward {
            // The machine may have been down since: have the new version prove itself again.
            progress.done.remove(&Step::ProveTraffic);
            return Ok(self.go_forward(&progress).await);
        }
        let failure = progress.failure.take();
        let failure = failure.unwrap_or_else(|| journal::interruption(interrupted));
        Ok(self.unwind(&progress, failure).await)
    }

    async fn go_forward(&self, already: &Progress) -> OperationState {
        for planned in &self.plan.steps {
            let step = planned.step;
            if already.done.contains(&step) {
                continue;
            }
            let outcome = match &planned.skip {
                Some(why) => self.skip(step, why).await,
                None => self.take(step).await,
            };
            if let Err(failure) = outcome {
                let progress = self
                    .read_progress()
                    .await
                    .unwrap_or_else(|_| self.assume_all_begun());
                return self.unwind(&progress, failure).await;
            }
        }
        // The point of no return: from here on the deployment is done, and tidying only warns.
        self.tidy().await;
        self.end_done().await
    }

    async fn skip(&self, step: Step, why: &str) -> Result<(), Failure> {
        let why = why.to_owned();
        self.journal
            .write(EventKind::StepSkipped { step, why })
            .await?;
        Ok(())
    }

    async fn take(&self, step: Step) -> Result<(), Failure> {
        self.journal.write(EventKind::StepStarted { step }).await?;
        let begun = Instant::now();
        match self.run(step).await {
            Ok(note) => {
                let took = begun.elapsed();
                self.journal
                    .write(EventKind::StepDone { step, took, note })
                    .await?;
                Ok(())
            }
            Err(mut failure) => {
                failure.step = Some(step);
                self.journal
                    .mention(EventKind::StepFailed {
                        step,
                        took: begun.elapsed(),
                        failure: failure.clone(),
                    })
                    .await;
                Err(failure)
            }
        }
    }

    /// Takes every step begun back, newest first.
    async fn unwind(&self, progress: &Progress, failure: Failure) -> OperationState {
        for step in Step::ALL.into_iter().rev() {
            let undo = step.undo();
            if undo == Undo::Nothing
                || !progress.begun.contains(&step)
                || progress.undone.contains(&step)
            {
                continue;
            }
            self.journal.mention(EventKind::UndoStarted { step }).await;
            let begun = Instant::now();
            match self.take_back(undo).await {
                Ok(note) => {
                    let took = begun.elapsed();
                    self.journal
                        .mention(EventKind::UndoDone { step, took, note })
                        .await;
                }
                Err(undo_failure) => {
                    self.journal
                        .mention(EventKind::UndoFailed {
                            step,
                            failure: undo_failure.clone(),
                        })
                        .await;
                    return self.end_stuck(step, failure, &undo_failure).await;
                }
            }
        }
        self.end_undone(failure).await
    }

    /// Clears away what is no longer needed. Failures here only warn.
    async fn tidy(&self) {
        for failure in tidy::tidy(self).await {
            let message = format!("tidying up did not finish: {failure}");
            self.journal.mention(EventKind::Warning { message }).await;
        }
    }

    async fn end_done(&self) -> OperationState {
        let took = self.elapsed();
        self.end(
            OperationState::Done,
            None,
            Some(EventKind::Completed { took }),
        )
        .await
    }

    async fn end_undone(&self, failure: Failure) -> OperationState {
        let took = self.elapsed();
        let ending = EventKind::Undone {
            took,
            failure: failure.clone(),
        };
        self.end(OperationState::Undone, Some(failure), Some(ending))
            .await
    }

    async fn end_stuck(&self, step: Step, cause: Failure, undo: &Failure) -> OperationState {
        let mut failure = Failure::new(
            FailureKind::Stuck,
            format!("`{step}` could not be taken back: {undo}"),
        );
        failure.step = Some(step);
        failure
            .causes
            .push(format!("it was being taken back because {cause}"));
        failure.next.extend(self.what_is_true_now().await);
        failure.next.extend(undo.next.iter().cloned());
        let took = self.elapsed();
        let ending = EventKind::Stuck {
            took,
            failure: failure.clone(),
        };
        self.end(OperationState::Stuck, Some(failure), Some(ending))
            .await
    }

    /// Writes the ending down, until it is written: while an operation stays open nothing else may
    /// begin, and a full disk may have room again in a while. If the agent stops before, the operation
    /// is taken up at the next start; since every undo may run twice, that is safe.
    async fn end(
        &self,
        state: OperationState,
        failure: Option<Failure>,
        mut ending: Option<EventKind>,
    ) -> OperationState {
        self.node.health.settle(state == OperationState::Done);
        while let Err(error) = self.try_to_end(state, failure.as_ref(), &mut ending).await {
            let operation = self.operation.id;
            tracing::error!(%operation, %error, "the ending was not written; trying again");
            tokio::select! {
                () = tokio::time::sleep(self.retry) => {}
                () = self.stopping.cancelled() => break,
            }
        }
        state
    }

    /// The event first, so that whoever follows it sees it, then the operation. An event that is
    /// written is taken out, so that it is not written again.
    async fn try_to_end(
        &self,
        state: OperationState,
        failure: Option<&Failure>,
        ending: &mut Option<EventKind>,
    ) -> Result<(), Failure> {
        if let Some(event) = ending.clone() {
            self.journal.write(event).await?;
            *ending = None;
        }
        let (operation, now) = (self.operation, self.node.host.now());
        let ended = &self.node.state;
        let ended = ended.end_operation(operation, state, failure.cloned(), now);
        ended
            .await
            .map(|_| ())
            .map_err(|e| Failure::caused_by(FailureKind::Other, "the operation is not closed", &e))
    }

    async fn read_progress(&self) -> Result<Progress, Failure> {
        let mut events = Vec::new();
        loop {
            let after = events
                .last()
                .map_or(0, |e: &togather_model::Event| e.sequence);
            let page = self.node.state.events(self.operation.id, after).await;
            let page = page.map_err(|e| {
                Failure::caused_by(FailureKind::Other, "the journal could not be read", &e)
            })?;
            if page.is_empty() {
                return Ok(Progress::read(&events));
            }
            events.extend(page);
        }
    }

    /// When even the journal cannot be read, everything is taken back that might have been done.
    fn assume_all_begun(&self) -> Progress {
        Progress {
            begun: self.plan.to_run().collect(),
            ..Progress::default()
        }
    }

    fn elapsed(&self) -> Duration {
        let since = self
            .operation
            .started_at
            .duration_until(self.node.host.now());
        since.try_into().unwrap_or_default()
    }
}
