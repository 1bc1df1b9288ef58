//! What nodes have been through.

use serde::Serialize;
use togather_model::{Operation, OperationKind};

use super::table;

/// The `schema` field of a history.
pub const SCHEMA: &str = "togather.fleet/history/v1";

/// The nodes' operations.
#[derive(Debug, Serialize)]
pub struct History {
    schema: &'static str,
    nodes: Vec<NodeHistory>,
}

/// One node's operations, newest first.
#[derive(Debug, Serialize)]
pub struct NodeHistory {
    /// The node's name.
    pub name: String,
    /// The operations.
    pub operations: Vec<Operation>,
    /// Why there are none to be seen.
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
            for operation in &node.operations {
                table.add_row(cells(&node.name, operation));
            }
        }
        table::text(table)
    }
}

fn cells(node: &str, operation: &Operation) -> [String; 8] {
    let took = operation.ended_at.and_then(|ended| {
        let took = ended.duration_since(operation.started_at);
        took.try_into().ok().map(table::span)
    });
    let what = match operation.kind {
        OperationKind::Deploy => "deploy",
        OperationKind::Rollback => "rollback",
    };
    let why = operation
        .failure
        .as_ref()
        .map(|failure| failure.what.clone());
    [
        node.to_owned(),
        operation
            .started_at
            .strftime("%Y-%m-%d %H:%M:%SZ")
            .to_string(),
        what.to_owned(),
        operation.version.clone(),
        operation.state.to_string(),
        took.unwrap_or_default(),
        operation.operator.clone(),
        why.unwrap_or_default(),
    ]
}
