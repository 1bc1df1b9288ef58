//! What `status --check` finds wrong with a node.

use togather_model::{Failure, FailureKind, JobKind, OperationState};

use super::{Row, why};
use crate::{
    client::Job,
    error::{Error, Kind},
};

impl Row {
    /// What is wrong here, the worst first.
    pub(super) fn complaint(&self) -> Option<Error> {
        self.stuck().or_else(|| {
            if self.dirty {
                let dirty = "a migration failed half-way and its schema is dirty";
                return Some(self.failed(FailureKind::Migration, dirty));
            }
            if let Some(health) = self.health.as_ref().filter(|health| !health.serves()) {
                let what = format!("{}: {}", health.status, why(health));
                return Some(self.failed(FailureKind::Unhealthy, &what));
            }
            self.untidy()
        })
    }

    fn failed(&self, kind: FailureKind, what: &str) -> Error {
        Error::new(Kind::Failed(kind), format!("{}: {what}", self.name))
    }

    fn stuck(&self) -> Option<Error> {
        if let Some(job) = &self.stuck_job {
            let error = self.failed(FailureKind::Stuck, &stuck(job));
            return Some(job.failure.iter().fold(error, advised));
        }
        let last = self.last.as_ref().filter(|_| self.running.is_none())?;
        if last.state != OperationState::Stuck {
            return None;
        }
        let what = format!("{} is stuck", last.version);
        let error = self.failed(FailureKind::Stuck, &what);
        Some(match &last.failure {
            Some(failure) => advised(error.cause(failure.to_string()), failure),
            None => error,
        })
    }

    /// Users are served; but not everything is as it should be.
    fn untidy(&self) -> Option<Error> {
        let mut reasons = self.drift.clone();
        reasons.extend(self.snapshot_overdue.clone());
        reasons.extend(self.failed_jobs().map(said));
        if reasons.is_empty() {
            return None;
        }
        let error = self.failed(FailureKind::Other, &reasons.join("; "));
        let failures = self.failed_jobs().map(|(_, failure)| failure);
        Some(failures.fold(error, advised))
    }

    /// The jobs without which there will be no verified snapshot when one is needed, and that
    /// failed the last time.
    pub(super) fn failed_jobs(&self) -> impl Iterator<Item = (&Job, &Failure)> {
        let counts = |job: &&Job| match job.kind {
            JobKind::Create | JobKind::Verify => job.ended_at.is_some(),
            JobKind::Restore | JobKind::UndoRestore | JobKind::Prune => false,
        };
        let ended = self.jobs.iter().filter(counts);
        ended.filter_map(|job| Some((job, job.failure.as_ref()?)))
    }
}

/// A stuck job in words.
pub(super) fn stuck(job: &Job) -> String {
    let what = format!("the {} of {:.0} is stuck", job.kind.words(), job.started_at);
    match &job.failure {
        Some(failure) => format!("{what}: {failure}"),
        None => format!("{what}, and is being taken back"),
    }
}

/// A failed job in words.
pub(super) fn said((job, failure): (&Job, &Failure)) -> String {
    format!("the last {} failed: {failure}", job.kind.words())
}

fn advised(error: Error, failure: &Failure) -> Error {
    failure.next.iter().fold(error, Error::next)
}
