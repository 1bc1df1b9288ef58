//! The app standing still while databases change places: no traffic, no process, no writes.

use togather_model::{Failure, FailureKind, Slot};
use tokio::time::Instant;

use super::Swap;
use crate::{health::Answer, node::Node};

/// The slots whose app runs now, and the live one with the commit that answers in it.
pub(super) async fn look(node: &Node) -> Result<(Vec<Slot>, Option<(Slot, String)>), Failure> {
    let mut running = Vec::new();
    for slot in Slot::ALL {
        let held = node.containers.slot(slot).await;
        let held = held.map_err(|e| docker("the slots could not be looked at", &e))?;
        if held.is_some_and(|held| held.running) {
            running.push(slot);
        }
    }
    let live = node.live().await?;
    Ok((running, live.map(|live| (live.slot, live.git_commit))))
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
    for slot in &swap.running {
        let started = node.containers.restart_slot(*slot).await;
        started.map_err(|e| docker("the app could not be started again", &e))?;
    }
    let Some((slot, git_commit)) = &swap.live else {
        return Ok(());
    };
    // One that did not run before proves nothing by not running now.
    if swap.running.contains(slot) {
        await_healthy(node, *slot, git_commit).await?;
    }
    let switched = node.traffic.switch(Some(*slot)).await;
    switched.map_err(|e| proxy("traffic could not be given back to the app", &e))
}

async fn await_healthy(node: &Node, slot: Slot, git_commit: &str) -> Result<(), Failure> {
    let strategy = &node.strategy;
    let deadline = Instant::now() + strategy.health_timeout;
    let mut in_a_row = 0;
    loop {
        let answer = node.health.slot(slot).await;
        let good = |answer: &Answer| answer.is_healthy() && answer.is_commit(git_commit);
        in_a_row = if answer.as_ref().is_ok_and(good) {
            in_a_row + 1
        } else {
            0
        };
        if in_a_row >= strategy.health_successes {
            return Ok(());
        }
        let ended = match node.containers.slot(slot).await {
            Ok(held) => !held.is_some_and(|held| held.running),
            Err(_) => false,
        };
        if ended || Instant::now() >= deadline {
            return Err(unhealthy(node, slot, answer.map(|answer| answer.why()), ended).await);
        }
        tokio::time::sleep(strategy.health_interval).await;
    }
}

async fn unhealthy(
    node: &Node,
    slot: Slot,
    answer: Result<String, crate::health::HealthError>,
    ended: bool,
) -> Failure {
    let what = match ended {
        true => format!("the app in {slot} ended"),
        false => format!("the app in {slot} did not become healthy"),
    };
    let mut failure = match answer {
        Ok(why) => {
            let mut failure = Failure::new(FailureKind::Unhealthy, what);
            failure.causes.push(why);
            failure
        }
        Err(error) => Failure::caused_by(FailureKind::Unhealthy, what, &error),
    };
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
