//! What every chosen node would do, asked before anything is changed anywhere.

use std::time::Duration;

use futures::future::join_all;
use togather_model::{
    Plan,
    rollout::{Rollout, Unreachable},
};

use crate::{
    client::{Client, Wanted},
    error::{Error, Result},
};

/// The nodes' answers.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What each node that answered would do, in the order they are walked through.
    pub plans: Vec<NodePlan>,
    /// The nodes that could not be reached, and why.
    pub behind: Vec<(String, Error)>,
}

/// What one node would do.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// The plan, made by the node.
    pub plan: Plan,
    /// The node lacks the release's image archive.
    pub image_missing: bool,
    /// It is watched for longer, as one of the first.
    pub canary: bool,
}

impl Survey {
    /// The nodes on which there is something to do.
    pub fn to_change(&self) -> impl Iterator<Item = &NodePlan> {
        self.plans
            .iter()
            .filter(|answer| !answer.plan.is_already_done())
    }

    /// The nodes to which an image archive has to be sent.
    #[must_use]
    pub fn lack_image(&self) -> Vec<String> {
        self.to_change()
            .filter(|answer| answer.image_missing)
            .map(|answer| answer.plan.node.clone())
            .collect()
    }
}

/// Asks these nodes, all at the same time.
///
/// # Errors
/// Everything that stands in the way on any node, all at once; also nodes that cannot be reached,
/// unless they may be skipped and others remain.
pub async fn survey(clients: &[Client], rollout: &Rollout, wanted: &Wanted) -> Result<Survey> {
    let asked = clients.iter().map(|client| async move {
        let soak: Option<Duration> = rollout.soak_of(client.name());
        (client.name(), client.plan(wanted, soak).await)
    });
    let (mut survey, mut refusals, mut lost) = (Survey::default(), Vec::new(), Vec::new());
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(planned) => match planned.plan {
                Ok(plan) => survey.plans.push(NodePlan {
                    plan,
                    image_missing: planned.image_missing,
                    canary: is_canary(rollout, node),
                }),
                Err(failures) => {
                    refusals.extend(failures.into_iter().map(|f| Error::of_node(node, f)));
                }
            },
            Err(error) if error.is_unreachable() => lost.push((node.to_owned(), error)),
            Err(error) => refusals.push(error),
        }
    }
    let may_be_skipped = rollout.unreachable == Unreachable::Skip && !survey.plans.is_empty();
    if may_be_skipped {
        survey.behind = lost;
    } else {
        refusals.extend(lost.into_iter().map(|(_, error)| error));
    }
    match Error::several(refusals) {
        Some(error) => Err(error),
        None => Ok(survey),
    }
}

fn is_canary(rollout: &Rollout, node: &str) -> bool {
    let canaries = rollout.nodes.iter().take(rollout.canary);
    rollout.canary_soak.is_some() && canaries.into_iter().any(|name| name == node)
}
