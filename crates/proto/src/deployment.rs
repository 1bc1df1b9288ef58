//! Plans, operations and the live release.

use std::collections::BTreeMap;

use togather_model::{
    Digest, Line, Live, Operation, OperationKind, OperationState, Plan, PlannedLine, PlannedStep,
    Slot, Step,
};

use crate::{
    enums::{ReadNumber, number},
    error::{WireError, parse, read_all, read_optional},
    time, v1,
};

impl From<Live> for v1::Live {
    fn from(live: Live) -> Self {
        Self {
            slot: number::<v1::Slot>(live.slot),
            release: live.release.to_string(),
            version: live.version,
            git_commit: live.git_commit,
            schema: live.schema,
            other_lines: live.other_lines.into_iter().map(line_schema).collect(),
            made_of: live.made_of.map(|digest| digest.to_string()),
        }
    }
}

fn line_schema((line, version): (Line, u64)) -> v1::LineSchema {
    v1::LineSchema {
        line: line.to_string(),
        version: Some(version),
    }
}

/// A line that an agent of a later version knows is none of ours.
fn read_lines(wire: Vec<v1::LineSchema>) -> BTreeMap<Line, u64> {
    let read = |of: v1::LineSchema| Some((of.line.parse().ok()?, of.version?));
    wire.into_iter().filter_map(read).collect()
}

impl TryFrom<v1::Live> for Live {
    type Error = WireError;

    fn try_from(wire: v1::Live) -> Result<Self, WireError> {
        Ok(Self {
            slot: Slot::read_number("slot", wire.slot)?,
            release: parse("release", &wire.release)?,
            version: wire.version,
            git_commit: wire.git_commit,
            schema: wire.schema,
            other_lines: read_lines(wire.other_lines),
            made_of: read_digest("made_of", wire.made_of.as_deref())?,
        })
    }
}

impl From<Plan> for v1::Plan {
    fn from(plan: Plan) -> Self {
        Self {
            operation_id: plan.operation_id.to_string(),
            kind: number::<v1::OperationKind>(plan.kind),
            node: plan.node,
            release: plan.release.to_string(),
            version: plan.version,
            git_commit: plan.git_commit,
            from: plan.from.map(Into::into),
            to: number::<v1::Slot>(plan.to),
            schema_before: plan.schema_before,
            migrations: plan.migrations,
            steps: plan.steps.into_iter().map(Into::into).collect(),
            soak: Some(time::duration(plan.soak)),
            warnings: plan.warnings,
            configuration: plan.configuration.map(|id| id.to_string()),
            other_lines: plan.other_lines.into_iter().map(Into::into).collect(),
            app_configuration: plan.app_configuration.map(|id| id.to_string()),
            made_of: plan.made_of.map(|digest| digest.to_string()),
        }
    }
}

impl TryFrom<v1::Plan> for Plan {
    type Error = WireError;

    fn try_from(wire: v1::Plan) -> Result<Self, WireError> {
        Ok(Self {
            operation_id: parse("operation_id", &wire.operation_id)?,
            kind: OperationKind::read_number("kind", wire.kind)?,
            node: wire.node,
            release: parse("release", &wire.release)?,
            version: wire.version,
            git_commit: wire.git_commit,
            from: read_optional("from", wire.from)?,
            // Of use on the node alone.
            live_verdict: None,
            to: Slot::read_number("to", wire.to)?,
            schema_before: wire.schema_before,
            migrations: wire.migrations,
            steps: read_all("steps", wire.steps)?,
            soak: time::read_duration("soak", wire.soak)?,
            warnings: wire.warnings,
            configuration: read_digest("configuration", wire.configuration.as_deref())?,
            app_configuration: read_digest("app_configuration", wire.app_configuration.as_deref())?,
            made_of: read_digest("made_of", wire.made_of.as_deref())?,
            other_lines: read_all("other_lines", wire.other_lines)?,
        })
    }
}

impl From<PlannedLine> for v1::PlannedLine {
    fn from(planned: PlannedLine) -> Self {
        Self {
            line: planned.line.to_string(),
            before: planned.before,
            migrations: planned.migrations,
        }
    }
}

impl TryFrom<v1::PlannedLine> for PlannedLine {
    type Error = WireError;

    fn try_from(wire: v1::PlannedLine) -> Result<Self, WireError> {
        Ok(Self {
            line: parse("line", &wire.line)?,
            before: wire.before,
            migrations: wire.migrations,
        })
    }
}

fn read_digest(field: &'static str, text: Option<&str>) -> Result<Option<Digest>, WireError> {
    text.map(|text| parse(field, text)).transpose()
}

impl From<PlannedStep> for v1::PlannedStep {
    fn from(planned: PlannedStep) -> Self {
        Self {
            step: number::<v1::Step>(planned.step),
            skip: planned.skip,
            note: planned.note,
        }
    }
}

impl TryFrom<v1::PlannedStep> for PlannedStep {
    type Error = WireError;

    fn try_from(wire: v1::PlannedStep) -> Result<Self, WireError> {
        Ok(Self {
            step: Step::read_number("step", wire.step)?,
            skip: wire.skip,
            note: wire.note,
        })
    }
}

impl From<Operation> for v1::Operation {
    fn from(operation: Operation) -> Self {
        Self {
            id: operation.id.to_string(),
            kind: number::<v1::OperationKind>(operation.kind),
            operator: operation.operator,
            rollout_id: operation.rollout.map(|id| id.to_string()),
            release: operation.release.to_string(),
            version: operation.version,
            state: number::<v1::OperationState>(operation.state),
            started_at: Some(time::timestamp(operation.started_at)),
            ended_at: operation.ended_at.map(time::timestamp),
            failure: operation.failure.map(Into::into),
        }
    }
}

impl TryFrom<v1::Operation> for Operation {
    type Error = WireError;

    fn try_from(wire: v1::Operation) -> Result<Self, WireError> {
        let rollout = wire.rollout_id.as_deref();
        Ok(Self {
            id: parse("id", &wire.id)?,
            kind: OperationKind::read_number("kind", wire.kind)?,
            operator: wire.operator,
            rollout: rollout.map(|id| parse("rollout_id", id)).transpose()?,
            release: parse("release", &wire.release)?,
            version: wire.version,
            state: OperationState::read_number("state", wire.state)?,
            started_at: time::read_timestamp("started_at", wire.started_at)?,
            ended_at: time::read_optional_timestamp("ended_at", wire.ended_at)?,
            failure: read_optional("failure", wire.failure)?,
        })
    }
}
