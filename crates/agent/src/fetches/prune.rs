//! Images that nothing on the node can need any more are removed: after a deployment, when a rollout has
//! ended, and with the scheduled pruning.

use togather_model::{Failure, FailureKind, Image, Release, Ulid};

use crate::{node::Node, state::StateError};

/// Removes the images of releases that are neither kept to go back to nor fetched ahead. Returns the
/// names that went.
///
/// # Errors
/// Docker or the state could not be asked; what was removed before is gone.
pub async fn prune(node: &Node, kept: &[Release]) -> Result<Vec<String>, Failure> {
    let mut images: Vec<Image> = kept.iter().map(|release| release.image.clone()).collect();
    let fetched_ahead = node.state.kept_images(node.host.now()).await;
    images.extend(fetched_ahead.map_err(|e| unknown(&e))?);
    let pruned = node.containers.prune_images(&images).await;
    pruned.map_err(|e| {
        Failure::caused_by(FailureKind::Other, "old images were not removed", &e)
            .next("look at `docker image ls` on the node")
    })
}

/// The same between deployments: nothing is removed while an image is on its way, a deployment is under
/// way, or somebody holds the node for another rollout than the one that has just ended. No fetch begins
/// meanwhile, so none can take an image for present that is being removed.
///
/// # Errors
/// Docker or the state could not be asked.
pub async fn prune_between_deployments(
    node: &Node,
    ended: Option<Ulid>,
) -> Result<Vec<String>, Failure> {
    let Some(_no_fetch_begins) = node.fetches.hold_back() else {
        return Ok(vec![]);
    };
    let may_be_needed = may_be_needed(node, ended).await;
    if may_be_needed.map_err(|e| unknown(&e))? {
        return Ok(vec![]);
    }
    let kept = node.kept_releases(None).await;
    prune(node, &kept.map_err(|e| unknown(&e))?).await
}

/// Whether what looks superfluous may be about to be used: an image that was sent as an archive is on the
/// node before its deployment is known.
async fn may_be_needed(node: &Node, ended: Option<Ulid>) -> Result<bool, StateError> {
    if node.state.running().await?.is_some() {
        return Ok(true);
    }
    let lease = node.state.lease().await?;
    Ok(lease.is_some_and(|lease| lease.is_live(node.host.now()) && Some(lease.holder) != ended))
}

fn unknown(error: &StateError) -> Failure {
    let what = "old images were not removed: those to keep are not known";
    Failure::caused_by(FailureKind::Other, what, error)
        .next("look at the agent's journal on the node")
}
