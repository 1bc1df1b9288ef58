//! The app standing still while databases change places: no traffic, no process, no writes.

use togather_model::{Failure, FailureKind, Slot};

use super::Swap;
use crate::{
    health::{Place, Proof, how_it_ended},
    node::Node,
};

/// How the app stands.
pub(super) struct Standing {
    /// The slots where it runs, and the live one.
    pub(super) running: Vec<Slot>,
    /// The live slot with the commit that answers in it.
    pub(super) live: Option<(Slot, String)>,
    /// Whether the live version is healthy.
    pub(super) is_healthy: bool,
}

pub(super) async fn look(node: &Node) -> Result<Standing, Failure> {
    let live = node.live().await?.map(|live| (live.slot, live.git_commit));
    let mut running = Vec::new();
    for slot in Slot::ALL {
        let held = node.containers.slot(slot).await;
        let held = held.map_err(|e| docker("the slots could not be looked at", &e))?;
        let is_live = live.as_ref().is_some_and(|(live, _)| *live == slot);
        if is_live || held.is_some_and(|held| held.running) {
            running.push(slot);
        }
    }
    let is_healthy = match &live {
        Some((slot, git_commit)) => node.is_healthy(*slot, git_commit).await,
        None => false,
    };
    Ok(Standing {
        running,
        live,
        is_healthy,
    })
}

/// Lets requests under way finish, then stops everything of the app. The public path answers 503.
pub(super) async fn stop(node: &Node, swap: &Swap) -> Result<(), Failure> {
    if let Some((slot, _)) = &swap.live {
        let switched = node.traffic.switch(None).await;
        switched.map_err(|e| proxy("traffic could not be turned away", &e))?;
        let drained = node.traffic.drained(*slot, node.strategy.drain).await;
        drained.map_err(|e| proxy("the app's connections could not be counted", &e))?;
    }
    for slot in &swap.running {
        let stopped = node.containers.stop_slot(*slot).await;
        stopped.map_err(|e| docker("the app could not be stopped", &e))?;
    }
    Ok(())
}

/// Starts what ran, waits until the live version is healthy, and gives it the traffic again.
pub(super) async fn start(node: &Node, swap: &Swap) -> Result<(), Failure> {
    restart(node, swap).await?;
    if let Some((slot, git_commit)) = &swap.live {
        await_healthy(node, *slot, git_commit).await?;
    }
    give_traffic(node, swap).await
}

/// The same where the live version cannot be asked to be healthy: it gets the traffic again however
/// it is. Returns why it was not even started, if it was not.
pub(super) async fn start_as_it_is(node: &Node, swap: &Swap) -> Result<Option<Failure>, Failure> {
    let not_started = restart(node, swap).await.err();
    give_traffic(node, swap).await?;
    Ok(not_started)
}

async fn restart(node: &Node, swap: &Swap) -> Result<(), Failure> {
    for slot in &swap.running {
        let started = node.containers.restart_slot(*slot).await;
        started.map_err(|e| docker("the app could not be started again", &e))?;
    }
    Ok(())
}

async fn give_traffic(node: &Node, swap: &Swap) -> Result<(), Failure> {
    let Some((slot, _)) = &swap.live else {
        return Ok(());
    };
    let switched = node.traffic.switch(Some(*slot)).await;
    switched.map_err(|e| proxy("traffic could not be given back to the app", &e))
}

async fn await_healthy(node: &Node, slot: Slot, git_commit: &str) -> Result<(), Failure> {
    let proof = Proof {
        asker: &node.health,
        strategy: &node.strategy,
        place: Place::Slot(slot),
        containers: Some(&*node.containers),
        slot,
        git_commit,
        judge: &|answer| answer.is_fit(&node.acceptance, None),
    };
    match proof.carry_out().await {
        Ok(_) => Ok(()),
        Err(why) => Err(unhealthy(node, slot, why).await),
    }
}

async fn unhealthy(node: &Node, slot: Slot, why: String) -> Failure {
    let what = match how_it_ended(&*node.containers, slot).await {
        Some(_) => format!("the app in {slot} ended"),
        None => format!("the app in {slot} did not become healthy"),
    };
    let mut failure = Failure::new(FailureKind::Unhealthy, what);
    failure.causes.push(why);
    if let Ok(logs) = node.containers.logs(slot, 10).await
        && !logs.trim().is_empty()
    {
        let last = format!("its last lines were:\n{}", logs.trim_end());
        failure.causes.push(last);
    }
    failure
}

fn docker(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(FailureKind::Other, what, error)
        .next("look at `docker ps -a` and `systemctl status docker` on the node")
}

fn proxy(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::caused_by(FailureKind::Other, what, error)
        .next("look at `systemctl status caddy` and the Caddyfile on the node")
}
