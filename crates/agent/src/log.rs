//! Events as lines of the log, which systemd keeps in its journal. What stands in the field `event`
//! is the event's name in JSON, so that one search finds the same thing everywhere.

use serde_json::Value;
use togather_model::{Event, EventKind, SnapshotEvent};
use tracing::{error, info, warn};

/// Tells what was written down.
pub fn tell(event: &Event) {
    let operation = event.operation_id;
    let (name, step) = name(&event.kind);
    let operator = &event.operator;
    if let EventKind::SchemaSet { line, before, .. } = &event.kind {
        return warn!(event = name, %operation, operator, %line, before, "schema");
    }
    let EventKind::Snapshot(about) = &event.kind else {
        return info!(event = name, %operation, step, "journal");
    };
    let job = job(about);
    match about {
        SnapshotEvent::Started { .. } | SnapshotEvent::Resumed { .. } => {
            info!(event = name, job, %operation, operator, "snapshots");
        }
        SnapshotEvent::Completed { note, .. } => {
            info!(event = name, job, %operation, note, "snapshots");
        }
        SnapshotEvent::Failed { failure, .. } => {
            error!(event = name, job, %operation, %failure, "snapshots");
        }
        SnapshotEvent::Stuck { failure, .. } => {
            let next = failure.next.join("; ");
            error!(event = name, job, %operation, %failure, next, "snapshots");
        }
        SnapshotEvent::Skipped { failure, .. } => {
            warn!(event = name, job, %operation, %failure, "snapshots");
        }
        SnapshotEvent::Spooled { dump } => warn!(event = name, %operation, dump, "snapshots"),
        SnapshotEvent::Delivered { dump } => info!(event = name, dump, "snapshots"),
        SnapshotEvent::Overdue { why } => error!(event = name, why, "snapshots"),
        SnapshotEvent::OverdueEnded { .. } => info!(event = name, "snapshots"),
    }
}

fn job(about: &SnapshotEvent) -> &'static str {
    match about {
        SnapshotEvent::Started { job }
        | SnapshotEvent::Resumed { job }
        | SnapshotEvent::Completed { job, .. }
        | SnapshotEvent::Failed { job, .. }
        | SnapshotEvent::Stuck { job, .. }
        | SnapshotEvent::Skipped { job, .. } => job.as_str(),
        SnapshotEvent::Spooled { .. }
        | SnapshotEvent::Delivered { .. }
        | SnapshotEvent::Overdue { .. }
        | SnapshotEvent::OverdueEnded { .. } => "",
    }
}

/// The event's name, and the step it is about, as JSON has them.
fn name(kind: &EventKind) -> (String, String) {
    let json = serde_json::to_value(kind).unwrap_or_default();
    let of = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
    (of("event").to_owned(), of("step").to_owned())
}
