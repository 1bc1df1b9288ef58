//! What nodes have been through.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use togather_model::{Event, EventKind, Operation, OperationKind, SnapshotEvent, Timestamp, Ulid};

use super::table;

/// The `schema` field of a history.
pub const SCHEMA: &str = "togather.fleet/history/v1";

/// The nodes' operations, and what happened to their snapshots.
#[derive(Debug, Serialize)]
pub struct History {
    schema: &'static str,
    nodes: Vec<NodeHistory>,
}

/// What one node has been through, newest first.
#[derive(Debug, Serialize)]
pub struct NodeHistory {
    /// The node's name.
    pub name: String,
    /// The operations.
    pub operations: Vec<Operation>,
    /// What happened to snapshots.
    pub snapshots: Vec<Event>,
    /// What operators said of the schema.
    pub schemas: Vec<Event>,
    /// Why there is nothing to be seen.
    pub error: Option<String>,
}

impl History {
    /// Brings the nodes' answers together.
    #[must_use]
    pub const fn of(nodes: Vec<NodeHistory>) -> Self {
        Self {
            schema: SCHEMA,
            nodes,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = table::table([
            "NODE", "STARTED", "WHAT", "VERSION", "STATE", "TOOK", "OPERATOR", "WHY",
        ]);
        for node in &self.nodes {
            for line in lines(node) {
                table.add_row(line.cells(&node.name));
            }
        }
        table::text(table)
    }
}

/// A line of the table.
struct Line<'a> {
    started: Timestamp,
    what: &'static str,
    version: &'a str,
    state: &'static str,
    took: Option<Duration>,
    operator: &'a str,
    why: &'a str,
}

/// A node's deployments and jobs, each once, and what happened besides.
fn lines(node: &NodeHistory) -> Vec<Line<'_>> {
    // What began is told by its ending, as soon as there is one.
    let mut ended = BTreeSet::new();
    let events = node.snapshots.iter();
    let mut lines: Vec<Line<'_>> = events.filter_map(|e| of_event(e, &mut ended)).collect();
    lines.extend(node.operations.iter().map(of_operation));
    lines.extend(node.schemas.iter().filter_map(of_schema));
    lines.sort_by_key(|line| std::cmp::Reverse(line.started));
    lines
}

fn of_operation(operation: &Operation) -> Line<'_> {
    let took = operation.ended_at.and_then(|ended| {
        let took = ended.duration_since(operation.started_at);
        took.try_into().ok()
    });
    let failure = operation.failure.as_ref();
    Line {
        started: operation.started_at,
        what: match operation.kind {
            OperationKind::Deploy => "deploy",
            OperationKind::Rollback => "rollback",
            OperationKind::Redeploy => "redeploy",
        },
        version: &operation.version,
        state: operation.state.as_str(),
        took,
        operator: &operation.operator,
        why: failure.map_or("", |failure| &failure.what),
    }
}

fn of_schema(event: &Event) -> Option<Line<'_>> {
    let EventKind::SchemaSet { before, .. } = &event.kind else {
        return None;
    };
    Some(Line {
        started: event.at,
        what: "schema set",
        version: "",
        state: "done",
        took: None,
        operator: &event.operator,
        why: before,
    })
}

/// `ended` are those whose ending was seen; events come newest first.
fn of_event<'a>(event: &'a Event, ended: &mut BTreeSet<Ulid>) -> Option<Line<'a>> {
    let EventKind::Snapshot(about) = &event.kind else {
        return None;
    };
    let mut ends = |what, state, took: Duration, why| {
        ended.insert(event.operation_id);
        (event.at - took, what, state, Some(took), why)
    };
    let (started, what, state, took, why) = match about {
        SnapshotEvent::Completed { job, took, .. } => ends(job.words(), "done", *took, ""),
        SnapshotEvent::Failed {
            job, took, failure, ..
        } => ends(job.words(), "failed", *took, &failure.what),
        SnapshotEvent::Stuck { job, took, failure } => {
            ends(job.words(), "stuck", *took, &failure.what)
        }
        SnapshotEvent::OverdueEnded { took } => ends("overdue", "over", *took, ""),
        SnapshotEvent::Skipped { job, failure } => {
            (event.at, job.words(), "skipped", None, &*failure.what)
        }
        SnapshotEvent::Spooled { dump } => (event.at, "spooled", "waiting", None, &**dump),
        SnapshotEvent::Delivered { dump } => (event.at, "delivered", "done", None, &**dump),
        SnapshotEvent::Started { .. } | SnapshotEvent::Overdue { .. }
            if ended.contains(&event.operation_id) =>
        {
            return None;
        }
        SnapshotEvent::Started { job } => (event.at, job.words(), "running", None, ""),
        SnapshotEvent::Overdue { why } => (event.at, "overdue", "still", None, &**why),
        SnapshotEvent::Resumed { .. } => return None,
    };
    Some(Line {
        started,
        what,
        version: "",
        state,
        took,
        operator: &event.operator,
        why,
    })
}

impl Line<'_> {
    fn cells(&self, node: &str) -> [String; 8] {
        let started = self.started.strftime("%Y-%m-%d %H:%M:%SZ");
        [
            node.to_owned(),
            started.to_string(),
            self.what.to_owned(),
            self.version.to_owned(),
            self.state.to_owned(),
            self.took.map(table::span).unwrap_or_default(),
            self.operator.to_owned(),
            self.why.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use togather_model::{Digest, Failure, FailureKind, JobKind, OperationState};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn event(operation: u64, second: i64, about: SnapshotEvent) -> Event {
        Event {
            id: Ulid::nil(),
            operation_id: Ulid::from_parts(operation, 0),
            sequence: 1,
            node: "node-1".into(),
            operator: "schedule".into(),
            version: String::new(),
            at: at(second),
            kind: EventKind::Snapshot(about),
        }
    }

    fn node() -> NodeHistory {
        let job = JobKind::Create;
        let took = Duration::from_secs(20);
        let failure = Failure::new(FailureKind::Other, "the store is away");
        let why = "the last verified snapshot is 3 days old".to_owned();
        let dump = || "togather_1.dump".to_owned();
        let mut oldest_first = vec![
            event(1, 0, SnapshotEvent::Started { job }),
            event(
                1,
                20,
                SnapshotEvent::Failed {
                    job,
                    took,
                    failure,
                    dumps: vec![],
                },
            ),
            event(2, 30, SnapshotEvent::Overdue { why: why.clone() }),
            event(3, 60, SnapshotEvent::Started { job }),
            event(3, 80, SnapshotEvent::Spooled { dump: dump() }),
            event(
                3,
                80,
                SnapshotEvent::Completed {
                    job,
                    took,
                    note: "it waits".into(),
                    dumps: vec![dump()],
                },
            ),
            event(4, 120, SnapshotEvent::Delivered { dump: dump() }),
            event(
                2,
                130,
                SnapshotEvent::OverdueEnded {
                    took: Duration::from_secs(100),
                },
            ),
            event(5, 200, SnapshotEvent::Overdue { why }),
            event(
                6,
                210,
                SnapshotEvent::Started {
                    job: JobKind::Verify,
                },
            ),
        ];
        oldest_first.reverse();
        NodeHistory {
            name: "node-1".into(),
            schemas: vec![],
            operations: vec![Operation {
                id: Ulid::nil(),
                kind: OperationKind::Deploy,
                operator: "alice".into(),
                rollout: None,
                release: Digest::of(b""),
                version: "1.2.0".into(),
                state: OperationState::Done,
                started_at: at(100),
                ended_at: Some(at(109)),
                failure: None,
            }],
            snapshots: oldest_first,
            error: None,
        }
    }

    #[test]
    fn deployments_and_snapshots_are_one_story_and_each_job_one_line() {
        insta::assert_snapshot!(History::of(vec![node()]).text());
    }

    #[test]
    fn json_has_every_event_by_its_name() {
        let json = serde_json::to_value(History::of(vec![node()])).unwrap();
        let events = json["nodes"][0]["snapshots"].as_array().unwrap();
        let names: Vec<&str> = events
            .iter()
            .map(|e| e["event"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), 10);
        assert_eq!(names[0], "snapshot.started");
        assert_eq!(names[2], "snapshot.overdue.ended");
        assert_eq!(events[2]["took_ms"], 100_000);
        assert_eq!(events[0]["job"], "verify");
    }
}
