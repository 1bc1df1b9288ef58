//! Events, every kind of them.

use togather_model::{Event, EventKind, JobKind, OperationKind, SnapshotEvent, Step};

use crate::{
    enums::{ReadNumber, number, optional_step},
    error::{WireError, parse, read},
    time::{self, duration, read_duration},
    v1::{self, event as wire},
};

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            operation_id: event.operation_id.to_string(),
            sequence: event.sequence,
            node: event.node,
            operator: event.operator,
            version: event.version,
            at: Some(time::timestamp(event.at)),
            kind: Some(event.kind.into()),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = WireError;

    fn try_from(wire: v1::Event) -> Result<Self, WireError> {
        Ok(Self {
            id: parse("id", &wire.id)?,
            operation_id: parse("operation_id", &wire.operation_id)?,
            sequence: wire.sequence,
            node: wire.node,
            operator: wire.operator,
            version: wire.version,
            at: time::read_timestamp("at", wire.at)?,
            kind: read("kind", wire.kind)?,
        })
    }
}

impl From<EventKind> for wire::Kind {
    fn from(kind: EventKind) -> Self {
        let step_number = number::<v1::Step>;
        match kind {
            EventKind::Started { kind } => Self::Started(wire::Started {
                kind: number::<v1::OperationKind>(kind),
            }),
            EventKind::StepStarted { step } => Self::StepStarted(wire::StepStarted {
                step: step_number(step),
            }),
            EventKind::StepProgress { step, message } => Self::StepProgress(wire::StepProgress {
                step: step_number(step),
                message,
            }),
            EventKind::StepDone { step, took, note } => Self::StepDone(wire::StepDone {
                step: step_number(step),
                took: Some(duration(took)),
                note,
            }),
            EventKind::StepSkipped { step, why } => Self::StepSkipped(wire::StepSkipped {
                step: step_number(step),
                why,
            }),
            EventKind::StepFailed {
                step,
                took,
                failure,
            } => Self::StepFailed(wire::StepFailed {
                step: step_number(step),
                took: Some(duration(took)),
                failure: Some(failure.into()),
            }),
            EventKind::UndoStarted { step } => Self::UndoStarted(wire::UndoStarted {
                step: step_number(step),
            }),
            EventKind::UndoDone { step, took, note } => Self::UndoDone(wire::UndoDone {
                step: step_number(step),
                took: Some(duration(took)),
                note,
            }),
            EventKind::UndoFailed { step, failure } => Self::UndoFailed(wire::UndoFailed {
                step: step_number(step),
                failure: Some(failure.into()),
            }),
            EventKind::Resumed {
                forward,
                interrupted,
            } => Self::Resumed(wire::Resumed {
                forward,
                interrupted: interrupted.map_or(0, step_number),
            }),
            EventKind::Warning { message } => Self::Warning(wire::Warning { message }),
            EventKind::SchemaSet {
                line,
                version,
                before,
            } => Self::SchemaSet(wire::SchemaSet {
                line: line.to_string(),
                version,
                before,
            }),
            EventKind::Completed { took } => Self::Completed(wire::Completed {
                took: Some(duration(took)),
            }),
            EventKind::Undone { took, failure } => Self::Undone(wire::Undone {
                took: Some(duration(took)),
                failure: Some(failure.into()),
            }),
            EventKind::Stuck { took, failure } => Self::Stuck(wire::Stuck {
                took: Some(duration(took)),
                failure: Some(failure.into()),
            }),
            EventKind::Snapshot(event) => event.into(),
        }
    }
}

impl From<SnapshotEvent> for wire::Kind {
    fn from(event: SnapshotEvent) -> Self {
        let job_number = number::<v1::JobKind>;
        match event {
            SnapshotEvent::Started { job } => Self::SnapshotStarted(wire::SnapshotStarted {
                job: job_number(job),
            }),
            SnapshotEvent::Resumed { job } => Self::SnapshotResumed(wire::SnapshotResumed {
                job: job_number(job),
            }),
            SnapshotEvent::Completed {
                job,
                took,
                note,
                dumps,
            } => Self::SnapshotCompleted(wire::SnapshotCompleted {
                job: job_number(job),
                took: Some(duration(took)),
                note,
                dumps,
            }),
            SnapshotEvent::Failed {
                job,
                took,
                failure,
                dumps,
            } => Self::SnapshotFailed(wire::SnapshotFailed {
                job: job_number(job),
                took: Some(duration(took)),
                failure: Some(failure.into()),
                dumps,
            }),
            SnapshotEvent::Stuck { job, took, failure } => {
                Self::SnapshotStuck(wire::SnapshotStuck {
                    job: job_number(job),
                    took: Some(duration(took)),
                    failure: Some(failure.into()),
                })
            }
            SnapshotEvent::Skipped { job, failure } => {
                Self::SnapshotSkipped(wire::SnapshotSkipped {
                    job: job_number(job),
                    failure: Some(failure.into()),
                })
            }
            SnapshotEvent::Spooled { dump } => {
                Self::SnapshotSpooled(wire::SnapshotSpooled { dump })
            }
            SnapshotEvent::Delivered { dump } => {
                Self::SnapshotDelivered(wire::SnapshotDelivered { dump })
            }
            SnapshotEvent::Overdue { why } => Self::SnapshotOverdue(wire::SnapshotOverdue { why }),
            SnapshotEvent::OverdueEnded { took } => {
                Self::SnapshotOverdueEnded(wire::SnapshotOverdueEnded {
                    took: Some(duration(took)),
                })
            }
        }
    }
}

impl TryFrom<wire::Kind> for EventKind {
    type Error = WireError;

    fn try_from(kind: wire::Kind) -> Result<Self, WireError> {
        let read_step = |step| Step::read_number("step", step);
        let read_job = |job| JobKind::read_number("job", job);
        let took = |wire| read_duration("took", wire);
        Ok(match kind {
            wire::Kind::Started(event) => Self::Started {
                kind: OperationKind::read_number("kind", event.kind)?,
            },
            wire::Kind::StepStarted(event) => Self::StepStarted {
                step: read_step(event.step)?,
            },
            wire::Kind::StepProgress(event) => Self::StepProgress {
                step: read_step(event.step)?,
                message: event.message,
            },
            wire::Kind::StepDone(event) => Self::StepDone {
                step: read_step(event.step)?,
                took: took(event.took)?,
                note: event.note,
            },
            wire::Kind::StepSkipped(event) => Self::StepSkipped {
                step: read_step(event.step)?,
                why: event.why,
            },
            wire::Kind::StepFailed(event) => Self::StepFailed {
                step: read_step(event.step)?,
                took: took(event.took)?,
                failure: read("failure", event.failure)?,
            },
            wire::Kind::UndoStarted(event) => Self::UndoStarted {
                step: read_step(event.step)?,
            },
            wire::Kind::UndoDone(event) => Self::UndoDone {
                step: read_step(event.step)?,
                took: took(event.took)?,
                note: event.note,
            },
            wire::Kind::UndoFailed(event) => Self::UndoFailed {
                step: read_step(event.step)?,
                failure: read("failure", event.failure)?,
            },
            wire::Kind::Resumed(event) => Self::Resumed {
                forward: event.forward,
                interrupted: optional_step("interrupted", event.interrupted)?,
            },
            wire::Kind::Warning(event) => Self::Warning {
                message: event.message,
            },
            wire::Kind::SchemaSet(event) => Self::SchemaSet {
                line: parse("line", &event.line)?,
                version: event.version,
                before: event.before,
            },
            wire::Kind::Completed(event) => Self::Completed {
                took: took(event.took)?,
            },
            wire::Kind::Undone(event) => Self::Undone {
                took: took(event.took)?,
                failure: read("failure", event.failure)?,
            },
            wire::Kind::Stuck(event) => Self::Stuck {
                took: took(event.took)?,
                failure: read("failure", event.failure)?,
            },
            wire::Kind::SnapshotStarted(event) => Self::Snapshot(SnapshotEvent::Started {
                job: read_job(event.job)?,
            }),
            wire::Kind::SnapshotResumed(event) => Self::Snapshot(SnapshotEvent::Resumed {
                job: read_job(event.job)?,
            }),
            wire::Kind::SnapshotCompleted(event) => Self::Snapshot(SnapshotEvent::Completed {
                job: read_job(event.job)?,
                took: took(event.took)?,
                note: event.note,
                dumps: event.dumps,
            }),
            wire::Kind::SnapshotFailed(event) => Self::Snapshot(SnapshotEvent::Failed {
                job: read_job(event.job)?,
                took: took(event.took)?,
                failure: read("failure", event.failure)?,
                dumps: event.dumps,
            }),
            wire::Kind::SnapshotStuck(event) => Self::Snapshot(SnapshotEvent::Stuck {
                job: read_job(event.job)?,
                took: took(event.took)?,
                failure: read("failure", event.failure)?,
            }),
            wire::Kind::SnapshotSkipped(event) => Self::Snapshot(SnapshotEvent::Skipped {
                job: read_job(event.job)?,
                failure: read("failure", event.failure)?,
            }),
            wire::Kind::SnapshotSpooled(event) => {
                Self::Snapshot(SnapshotEvent::Spooled { dump: event.dump })
            }
            wire::Kind::SnapshotDelivered(event) => {
                Self::Snapshot(SnapshotEvent::Delivered { dump: event.dump })
            }
            wire::Kind::SnapshotOverdue(event) => {
                Self::Snapshot(SnapshotEvent::Overdue { why: event.why })
            }
            wire::Kind::SnapshotOverdueEnded(event) => {
                Self::Snapshot(SnapshotEvent::OverdueEnded {
                    took: took(event.took)?,
                })
            }
        })
    }
}
