//! Who holds which node.

use serde::Serialize;
use togather_model::Lease;

use super::table;

/// The `schema` field of the leases.
pub const SCHEMA: &str = "togather.fleet/lock/v1";

/// The nodes' leases.
#[derive(Debug, Serialize)]
pub struct Locks {
    schema: &'static str,
    nodes: Vec<NodeLock>,
}

/// One node's lease.
#[derive(Debug, Serialize)]
pub struct NodeLock {
    /// The node's name.
    pub name: String,
    /// The lease, while it lives.
    pub lease: Option<Lease>,
    /// Why it cannot be told.
    pub error: Option<String>,
}

impl Locks {
    /// Brings the nodes' answers together.
    #[must_use]
    pub const fn of(nodes: Vec<NodeLock>) -> Self {
        Self {
            schema: SCHEMA,
            nodes,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = table::table(["NODE", "HELD BY", "SINCE", "UNTIL", "FOR"]);
        for node in &self.nodes {
            let mut cells = vec![node.name.clone()];
            match (&node.lease, &node.error) {
                (Some(lease), _) => cells.extend([
                    lease.operator.clone(),
                    format!("{:.0}", lease.acquired_at),
                    format!("{:.0}", lease.expires_at),
                    lease.holder.to_string(),
                ]),
                (None, Some(_)) => cells.push("?".to_owned()),
                (None, None) => cells.push("nobody".to_owned()),
            }
            table.add_row(cells);
        }
        table::text(table)
    }
}
