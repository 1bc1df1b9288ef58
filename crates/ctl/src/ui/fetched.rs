//! What came of images that were fetched ahead, a row a node.

use serde::Serialize;
use togather_model::Timestamp;

use super::table;
use crate::{
    client::Fetched,
    error::{Error, Result},
    rollout::fetch::Outcome,
};

/// The `schema` field of what came of it.
pub const SCHEMA: &str = "togather.fleet/fetched/v1";

/// What the nodes have.
#[derive(Debug, Serialize)]
pub struct Images<'a> {
    schema: &'static str,
    nodes: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    /// `fetched`, `present`, `later` (its agent fetches it only for a deployment) or `failed`.
    state: &'static str,
    #[serde(flatten)]
    image: Option<&'a Fetched>,
    error: Option<String>,
}

impl<'a> Images<'a> {
    /// Brings the nodes' outcomes together.
    #[must_use]
    pub fn of(outcomes: &'a [Outcome]) -> Self {
        Self {
            schema: SCHEMA,
            nodes: outcomes.iter().map(row).collect(),
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        let mut table = table::table(["NODE", "IMAGE", "SIZE", "KEPT"]);
        for row in &self.nodes {
            let dash = || "-".to_owned();
            let size = row.image.filter(|image| image.bytes > 0);
            table.add_row([
                row.name.to_owned(),
                row.state.to_owned(),
                size.map_or_else(dash, |image| table::size(image.bytes)),
                row.image.map_or_else(dash, |image| {
                    let days = image.kept_until.duration_since(now).as_hours().max(0) + 12;
                    format!("{} days, or until its rollout ended", days / 24)
                }),
            ]);
        }
        table::text(table)
    }
}

fn row(outcome: &Outcome) -> Row<'_> {
    let image = outcome.fetched.as_ref().ok().and_then(Option::as_ref);
    Row {
        name: &outcome.node,
        state: match &outcome.fetched {
            Ok(Some(image)) if image.was_here => "present",
            Ok(Some(_)) => "fetched",
            Ok(None) => "later",
            Err(_) => "failed",
        },
        image,
        error: outcome.fetched.as_ref().err().map(Error::to_string),
    }
}

/// The error of the nodes that do not have the image.
///
/// # Errors
/// There are some.
pub fn complete(outcomes: Vec<Outcome>) -> Result<()> {
    let errors = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.fetched.err());
    Error::several(errors).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_says_what_it_has_and_until_when() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let kept_until = Timestamp::from_second(1_800_000_000 + 7 * 86_400 - 20).unwrap();
        let outcome = |node: &str, fetched| Outcome {
            node: node.into(),
            fetched,
        };
        let image = |was_here, bytes| {
            Ok(Some(Fetched {
                was_here,
                bytes,
                kept_until,
            }))
        };
        let outcomes = [
            outcome("node-1", image(false, 1_200_000_000)),
            outcome("node-2", image(true, 0)),
            outcome("node-3", Ok(None)),
            outcome("node-4", Err(Error::other("node-4: no"))),
        ];
        let text = Images::of(&outcomes).text(now);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "node-1 fetched 1.20 GB 7 days, or until its rollout ended"
        );
        assert!(lines[2].contains("present  -"), "{text}");
        assert!(lines[3].contains("later"), "{text}");
        assert!(lines[4].contains("failed"), "{text}");
        let json = serde_json::to_value(Images::of(&outcomes)).unwrap();
        assert_eq!(json["nodes"][0]["bytes"], 1_200_000_000_u64);
        assert_eq!(json["nodes"][3]["error"], "node-4: no");
        assert!(complete(outcomes.into()).is_err());
    }
}
