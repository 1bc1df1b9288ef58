//! After the deployment: images and snapshots that nothing can need any more are removed.

use togather_model::{Failure, FailureKind, Image, Release, retention::RollbackTarget};

use super::Deployment;

/// Removes images and snapshots that nothing can need any more. What failed of it only warns.
pub(super) async fn tidy(deployment: &Deployment<'_>) -> Vec<Failure> {
    let kept = match releases_to_keep(deployment).await {
        Ok(kept) => kept,
        Err(failure) => return vec![failure],
    };
    let (images, snapshots) = (
        prune_images(deployment, &kept).await,
        prune_snapshots(deployment, &kept).await,
    );
    images.err().into_iter().chain(snapshots.err()).collect()
}

/// The release just deployed, and those before it that the node can be rolled back to.
async fn releases_to_keep(deployment: &Deployment<'_>) -> Result<Vec<Release>, Failure> {
    let node = deployment.node;
    let failed = |e: &dyn std::error::Error| {
        Failure::caused_by(FailureKind::Other, "the releases to keep are not known", e)
    };
    let served = node.state.served_releases().await.map_err(|e| failed(&e))?;
    let mut keep = vec![deployment.release.clone()];
    for id in served
        .into_iter()
        .take(node.strategy.keep_releases as usize)
    {
        keep.extend(node.state.release(id).await.map_err(|e| failed(&e))?);
    }
    Ok(keep)
}

async fn prune_images(deployment: &Deployment<'_>, kept: &[Release]) -> Result<(), Failure> {
    let images: Vec<Image> = kept.iter().map(|release| release.image.clone()).collect();
    let pruned = deployment.node.containers.prune_images(&images).await;
    pruned.map(|_| ()).map_err(|e| {
        Failure::caused_by(FailureKind::Other, "old images were not removed", &e)
            .next("look at `docker image ls` on the node")
    })
}

async fn prune_snapshots(deployment: &Deployment<'_>, kept: &[Release]) -> Result<(), Failure> {
    let target = |release: &Release| RollbackTarget {
        version: release.version.clone(),
        schema: release.schema_version(),
    };
    let targets: Vec<RollbackTarget> = kept.iter().map(target).collect();
    let node = deployment.node;
    let pruned = node.snapshots.prune(&targets, node.host.now()).await;
    pruned.failure.map_or(Ok(()), |e| {
        let what = "old snapshots were not all forgotten";
        Err(Failure::caused_by(FailureKind::Other, what, &e).next("look at the snapshot store"))
    })
}
