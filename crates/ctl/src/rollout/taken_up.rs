//! Rollouts as the nodes remember them: found again, and taken up from wherever their nodes are.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use serde::Serialize;
use togather_model::{
    Ulid,
    rollout::{Progress, Rollout},
};
use togather_proto::v1;

use super::standing::{Standing, Standings};
use crate::{
    client::{Client, RolloutRecord},
    error::{Error, Result},
};

/// The most operations of one rollout on one node that are asked for; each needs a human to go on.
pub(super) const MANY: u32 = 100;

/// The ending of a rollout that a human gave up.
pub const ABORTED: &str = "aborted";

/// A rollout as the nodes remember it.
#[derive(Debug, Clone, Serialize)]
pub struct Known {
    /// What it set out to do.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// How it ended; `None`: it has not, as far as the nodes that could be reached know.
    pub ending: Option<String>,
    /// As it is stored.
    #[serde(skip)]
    pub stored: v1::StoredRollout,
}

impl Known {
    /// The release file's bytes.
    #[must_use]
    pub fn release(&self) -> Bytes {
        self.stored.release.clone()
    }
}

/// Asks the nodes for the rollouts they remember, or for one; newest first. The nodes that could
/// not be asked come with it.
pub async fn known(clients: &[Client], id: Option<Ulid>) -> (Vec<Known>, Vec<Error>) {
    let (mut found, mut errors) = (BTreeMap::<Ulid, Known>::new(), Vec::new());
    for answer in join_all(clients.iter().map(|client| client.rollouts(id))).await {
        match answer {
            Ok(records) => {
                for record in records {
                    merge(&mut found, record);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    (found.into_values().rev().collect(), errors)
}

/// Nodes may differ: one that was out of reach at the end still thinks that the rollout goes on,
/// and going on with it does no harm. Only giving up is final wherever it is known.
fn merge(found: &mut BTreeMap<Ulid, Known>, record: RolloutRecord) {
    let known = found.entry(record.rollout.id).or_insert_with(|| Known {
        rollout: record.rollout,
        ending: record.ending.clone(),
        stored: record.stored,
    });
    let aborted = |ending: &Option<String>| ending.as_deref() == Some(ABORTED);
    if aborted(&record.ending) || (record.ending.is_none() && !aborted(&known.ending)) {
        known.ending = record.ending;
    }
}

/// The rollout with this id.
///
/// # Errors
/// No node knows it, or those that may know it cannot be reached.
pub async fn find(clients: &[Client], id: Ulid) -> Result<Known> {
    let (known, errors) = known(clients, Some(id)).await;
    match (known.into_iter().next(), Error::several(errors)) {
        (Some(known), _) => Ok(known),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::usage(format!("no node knows the rollout {id}"))
            .next("look at those they know: `togather-ctl rollout list`")),
    }
}

/// Where the nodes of a rollout stand, as they say themselves. A node that cannot be reached is
/// behind.
///
/// # Errors
/// A node refuses to say.
pub async fn standings(clients: &[Client], rollout: Ulid) -> Result<Standings> {
    let asked = clients.iter().map(|client| async move {
        let operations = client.history(MANY, Some(rollout)).await;
        (client.name(), operations)
    });
    let mut standings = Standings::default();
    for (node, operations) in join_all(asked).await {
        let standing = match operations {
            Ok(operations) => {
                let failure = operations.first().and_then(|latest| latest.failure.clone());
                Standing {
                    error: failure.map(|failure| Error::of_node(node, failure)),
                    ..Progress::of_operations(&operations).into()
                }
            }
            Err(error) if error.is_unreachable() => Standing::behind(error),
            Err(error) => return Err(error),
        };
        standings.set(node, standing);
    }
    Ok(standings)
}

/// Where the nodes stand when a human orders a rollout that has ended to go on.
///
/// # Errors
/// It cannot go on: it is done, was given up, or nodes were taken back.
pub fn tried_again(known: &Known, standings: &Standings) -> Result<Standings> {
    let refused = |why: &str| {
        Err(
            Error::usage(format!("rollout {} cannot go on: {why}", known.rollout.id))
                .next("begin a new one: `togather-ctl rollout --nodes … --release FILE`"),
        )
    };
    if known.ending.as_deref() == Some(ABORTED) {
        return refused("it was aborted");
    }
    let mut again = Standings::default();
    for node in &known.rollout.nodes {
        let standing = standings.of(node);
        match standing.progress {
            Progress::TakenBack | Progress::NotTakenBack => {
                return refused(&format!("{node} was taken back"));
            }
            Progress::Failed | Progress::Stuck => {
                again.set(node, standing.progress.tried_again().into());
            }
            Progress::Pending
            | Progress::Running
            | Progress::Done
            | Progress::Unchanged
            | Progress::Behind => again.set(node, standing),
        }
    }
    Ok(again)
}
