//! Rollouts as the nodes remember them.

use serde::Serialize;
use togather_model::{Timestamp, rollout::Progress};

use super::table;
use crate::rollout::{standing::Standings, taken_up::Known};

/// The `schema` field of a list of rollouts.
pub const LIST_SCHEMA: &str = "togather.fleet/rollout-list/v1";

/// The `schema` field of one rollout's state.
pub const STATUS_SCHEMA: &str = "togather.fleet/rollout-status/v1";

/// The rollouts that the nodes remember, newest first.
#[derive(Serialize)]
pub struct Rollouts {
    schema: &'static str,
    rollouts: Vec<Known>,
}

impl Rollouts {
    /// A list of these.
    #[must_use]
    pub const fn of(rollouts: Vec<Known>) -> Self {
        Self {
            schema: LIST_SCHEMA,
            rollouts,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        let mut table =
            table::table(["ROLLOUT", "VERSION", "OPERATOR", "BEGUN", "NODES", "ENDING"]);
        for known in &self.rollouts {
            let rollout = &known.rollout;
            table.add_row([
                rollout.id.to_string(),
                rollout.version.clone(),
                rollout.operator.clone(),
                table::ago(rollout.created_at, now),
                rollout.nodes.join(","),
                known
                    .ending
                    .clone()
                    .unwrap_or_else(|| "not ended".to_owned()),
            ]);
        }
        table::text(table)
    }
}

/// One rollout, and where its nodes stand.
#[derive(Serialize)]
pub struct RolloutStatus {
    schema: &'static str,
    #[serde(flatten)]
    known: Known,
    progress: Vec<NodeProgress>,
}

#[derive(Serialize)]
struct NodeProgress {
    node: String,
    progress: Progress,
    error: Option<String>,
}

impl RolloutStatus {
    /// Brings a rollout and its nodes' answers together.
    #[must_use]
    pub fn of(known: Known, standings: &Standings) -> Self {
        let of_node = |node: &String| {
            let standing = standings.of(node);
            NodeProgress {
                node: node.clone(),
                progress: standing.progress,
                error: standing.error.map(|error| {
                    let text = error.to_string();
                    let of_node = text.strip_prefix(&format!("{node}: ")).map(str::to_owned);
                    of_node.unwrap_or(text)
                }),
            }
        };
        Self {
            schema: STATUS_SCHEMA,
            progress: known.rollout.nodes.iter().map(of_node).collect(),
            known,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        let rollout = &self.known.rollout;
        let ending = self.known.ending.as_deref().unwrap_or("not ended");
        let mut table = table::table(["NODE", "PROGRESS", "WHY"]);
        for node in &self.progress {
            table.add_row([
                node.node.as_str(),
                node.progress.as_str(),
                node.error.as_deref().unwrap_or_default(),
            ]);
        }
        format!(
            "rollout {} to {} by {}, begun {}: {ending}\n\n{}",
            rollout.id,
            rollout.version,
            rollout.operator,
            table::ago(rollout.created_at, now),
            table::text(table)
        )
    }
}
