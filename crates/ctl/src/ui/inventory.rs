//! The fleet file's nodes.

use serde::Serialize;

use super::table;
use crate::fleet::{Fleet, Node};

/// The `schema` field of the list of nodes.
pub const SCHEMA: &str = "togather.fleet/nodes/v1";

/// The nodes of a fleet.
#[derive(Serialize)]
pub struct Inventory<'a> {
    schema: &'static str,
    fleet: &'a str,
    nodes: &'a [Node],
}

impl<'a> Inventory<'a> {
    /// The nodes of this fleet.
    #[must_use]
    pub fn of(fleet: &'a Fleet) -> Self {
        Self {
            schema: SCHEMA,
            fleet: &fleet.name,
            nodes: &fleet.nodes,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = table::table(["NODE", "ADDRESS", "ID", "LABELS"]);
        for node in self.nodes {
            let labels: Vec<String> = node
                .labels
                .iter()
                .map(|(label, value)| format!("{label}={value}"))
                .collect();
            table.add_row([
                node.name.to_string(),
                node.address.clone(),
                node.id.to_string(),
                labels.join(","),
            ]);
        }
        table::text(table)
    }
}
