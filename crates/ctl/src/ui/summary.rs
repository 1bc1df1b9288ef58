//! What came of a rollout or rollback, for people.

use std::fmt::Write as _;

use togather_model::rollout::{Ending, Progress};

use super::table;
use crate::rollout::summary::{NodeSummary, Summary};

/// Which node is on what.
#[must_use]
pub fn text(summary: &Summary) -> String {
    let mut table = table::table(["NODE", "VERSION", "OUTCOME", "TOOK"]);
    for node in &summary.nodes {
        table.add_row([
            node.name.clone(),
            version(node),
            outcome(node, summary.rollback).to_owned(),
            node.took.map(table::span).unwrap_or_default(),
        ]);
    }
    let mut text = format!("\n{}", table::text(table));
    if summary.ending == Ending::Done {
        let what = if summary.rollback {
            "rollback"
        } else {
            "rollout"
        };
        let _ = write!(text, "\n{what} {} is done\n", summary.rollout);
    }
    text
}

fn version(node: &NodeSummary) -> String {
    match &node.version {
        Some(version) => version.clone(),
        None if node.asked => "nothing".to_owned(),
        None => "?".to_owned(),
    }
}

const fn outcome(node: &NodeSummary, rollback: bool) -> &'static str {
    match (node.progress, rollback) {
        (Progress::Done, true) => "went back",
        (Progress::Failed, true) => "did not go back",
        (Progress::Failed, false) => "failed, went back by itself",
        (Progress::Pending, _) => "not touched",
        (Progress::Running, _) => "still at it",
        (Progress::Done, false) => "done",
        (Progress::Unchanged, _) => "was there already",
        (Progress::Stuck, _) => "stuck: needs a human",
        (Progress::Behind, _) => "behind: could not be reached",
        (Progress::TakenBack, _) => "taken back",
        (Progress::NotTakenBack, _) => "could not be taken back",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use togather_model::Ulid;

    use super::*;
    use crate::{error::Error, rollout::summary::SCHEMA};

    fn node(name: &str, progress: Progress, version: Option<&str>) -> NodeSummary {
        NodeSummary {
            name: name.into(),
            progress,
            asked: version.is_some(),
            version: version.map(Into::into),
            took: version.map(|_| Duration::from_millis(12_345)),
            error: None,
        }
    }

    #[test]
    fn it_says_which_node_is_on_what_and_the_two_ways_on() {
        let summary = Summary {
            schema: SCHEMA,
            rollback: false,
            rollout: Ulid::nil(),
            version: "2.0.0".into(),
            ending: Ending::Halted,
            nodes: vec![
                node("node-1", Progress::Done, Some("2.0.0")),
                node("node-2", Progress::Failed, Some("1.0.0")),
                node("node-3", Progress::Behind, None),
            ],
            worst: Some(("node-2".into(), Error::other("node-2: not healthy"))),
        };
        let error = summary
            .error(|rest| format!("togather-ctl {rest}"))
            .unwrap();
        insta::assert_snapshot!(text(&summary) + &super::super::error::text(&error));
    }
}
