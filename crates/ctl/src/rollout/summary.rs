//! What came of a rollout or rollback: which node is on what, and what can be done next.

use std::time::Duration;

use futures::future::join_all;
use serde::{Serialize, Serializer};
use togather_model::{
    FailureKind, Ulid,
    rollout::{Ending, Progress},
};

use super::{
    Course,
    standing::{Standing, Standings},
};
use crate::{
    client::Wanted,
    error::{Error, Kind},
};

/// The `schema` field of a summary.
pub const SCHEMA: &str = "togather.fleet/rollout-summary/v1";

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Whether it was a rollback.
    pub rollback: bool,
    /// Its id.
    pub rollout: Ulid,
    /// The version it was to bring.
    pub version: String,
    /// How it ended.
    pub ending: Ending,
    /// Each node, in the order they were walked through.
    pub nodes: Vec<NodeSummary>,
    /// The error that matters most, and its node.
    #[serde(skip)]
    pub worst: Option<(String, Error)>,
}

/// What came of it on one node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeSummary {
    /// The node's name.
    pub name: String,
    /// How far it came.
    pub progress: Progress,
    /// What it serves now; `None`: nothing, or it could not be asked.
    pub version: Option<String>,
    /// Whether it could be asked.
    pub asked: bool,
    /// How long its last operation took.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub took: Option<Duration>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Summary {
    /// Sums up, after asking each node once more what it serves.
    pub(super) async fn of(course: &Course<'_>, ending: Ending, standings: Standings) -> Self {
        let nodes = course.clients.iter().map(|client| async {
            let Standing {
                progress,
                error,
                took,
            } = standings.of(client.name());
            let status = client.status().await;
            NodeSummary {
                name: client.name().to_owned(),
                progress,
                asked: status.is_ok(),
                version: status.ok().and_then(|status| Some(status.live?.version)),
                took,
                error: error.map(|error| error.to_string()),
            }
        });
        Self {
            schema: SCHEMA,
            rollback: matches!(course.wanted, Wanted::Back(_)),
            rollout: course.rollout.id,
            version: course.rollout.version.clone(),
            ending,
            nodes: join_all(nodes).await,
            worst: standings
                .worst()
                .map(|(node, error)| (node.to_owned(), error.clone())),
        }
    }

    /// The error the command ends with, unless all is done. `command` writes a command line that
    /// can be pasted.
    #[must_use]
    pub fn error(&self, command: impl Fn(&str) -> String) -> Option<Error> {
        if self.ending == Ending::Done {
            return None;
        }
        let what = format!(
            "{} {} to {} {}",
            if self.rollback { "rollback" } else { "rollout" },
            self.rollout,
            self.version,
            match self.ending {
                Ending::Done => "is done",
                Ending::Behind => "is done where nodes could be reached; others are behind",
                Ending::Halted => "was halted",
                Ending::Undone => "was undone",
                Ending::Stuck => "is stuck: a node needs a human",
            }
        );
        let mut error = match &self.worst {
            Some((_, worst)) => Error {
                what,
                ..worst.clone()
            },
            None => Error::new(Kind::Failed(FailureKind::Other), what),
        };
        if let Some((_, worst)) = &self.worst {
            error.causes.insert(0, worst.what.clone());
        }
        error.next.extend(self.ways_on(command));
        Some(error)
    }

    fn ways_on(&self, command: impl Fn(&str) -> String) -> Vec<String> {
        let mut ways = Vec::new();
        if !self.rollback && self.ending != Ending::Undone {
            let resume = command(&format!("rollout resume {}", self.rollout));
            ways.push(format!("to go on: {resume}"));
        }
        let changed: Vec<&str> = self
            .nodes
            .iter()
            .filter(|node| matches!(node.progress, Progress::Done | Progress::NotTakenBack))
            .map(|node| node.name.as_str())
            .collect();
        if !self.rollback && !changed.is_empty() {
            let back = command(&format!("rollback --nodes {}", changed.join(",")));
            ways.push(format!("to go back: {back}"));
        }
        ways
    }
}

fn milliseconds<S: Serializer>(took: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
        .serialize(to)
}
