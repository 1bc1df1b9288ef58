//! After the deployment: images and snapshots that nothing can need any more are removed.

use std::time::Duration;

use togather_model::{
    Failure, FailureKind, JobKind, Release, SnapshotEvent, retention::RollbackTarget,
};
use tokio::time::Instant;

use super::{Deployment, journal::new_id};
use crate::{fetches::prune::prune, log, node::target, state::Entry};

/// Removes images and snapshots that nothing can need any more. What failed of it only warns.
pub(super) async fn tidy(deployment: &Deployment<'_>) -> Vec<Failure> {
    let this = deployment.operation.release;
    let kept = match deployment.node.kept_releases(Some(this)).await {
        Ok(kept) => kept,
        Err(e) => {
            let what = "the releases to keep are not known";
            return vec![Failure::caused_by(FailureKind::Other, what, &e)];
        }
    };
    let forgotten = forget_configurations(deployment).await;
    let (images, snapshots) = (
        prune(deployment.node, &kept).await.map(drop),
        prune_snapshots(deployment, &kept).await,
    );
    let failures = [images, snapshots, forgotten].map(Result::err);
    failures.into_iter().flatten().collect()
}

/// How many of the newest containers that served can be made again as they were, whatever their release.
const NEWEST: usize = 5;

/// The states of the files that made what a rollback may bring back are kept: those of the newest
/// containers, and the newest of each release that is kept.
async fn forget_configurations(deployment: &Deployment<'_>) -> Result<(), Failure> {
    let (node, plan) = (deployment.node, deployment.plan);
    let served = node.state.served().await.map_err(|e| {
        let what = "the configurations to keep are not known";
        Failure::caused_by(FailureKind::Other, what, &e)
    })?;
    let most = 1 + node.strategy.keep_releases as usize;
    let (mut needed, mut releases) = (Vec::new(), Vec::new());
    for (n, served) in served.iter().enumerate() {
        let is_newest = !releases.contains(&served.release) && releases.len() < most;
        if is_newest {
            releases.push(served.release);
        }
        if is_newest || n < NEWEST {
            needed.extend(served.configuration);
        }
    }
    needed.extend(plan.configuration);
    needed.extend(plan.app_configuration);
    node.configuration.forget_all_but(&needed);
    Ok(())
}

async fn prune_snapshots(deployment: &Deployment<'_>, kept: &[Release]) -> Result<(), Failure> {
    let targets: Vec<RollbackTarget> = kept.iter().map(target).collect();
    let node = deployment.node;
    let begun = Instant::now();
    let pruned = node.snapshots.prune(&targets, node.host.now()).await;
    if !pruned.forgotten.is_empty() {
        tell_forgotten(deployment, pruned.forgotten, begun.elapsed()).await;
    }
    pruned.failure.map_or(Ok(()), |e| {
        let what = "old snapshots were not all forgotten";
        Err(Failure::caused_by(FailureKind::Other, what, &e).next("look at the snapshot store"))
    })
}

/// Whoever looks for a snapshot that is gone finds out when it went, and why.
pub(super) async fn tell_forgotten(
    deployment: &Deployment<'_>,
    dumps: Vec<String>,
    took: Duration,
) {
    let (node, operation) = (deployment.node, deployment.operation);
    let forgotten = SnapshotEvent::Completed {
        job: JobKind::Prune,
        took,
        note: format!(
            "{} forgotten after the deployment of {}",
            dumps.len(),
            operation.version
        ),
        dumps,
    };
    let at = node.host.now();
    let entry = Entry {
        operator: operation.operator.clone(),
        ..Entry::of_node(&node.name, new_id(at), at, forgotten)
    };
    match node.state.append(entry).await {
        Ok(event) => log::tell(&event),
        Err(error) => tracing::warn!(%error, "an event was not journalled"),
    }
}
