//! A release on its way through the fleet, and back.

use fleet_tests::{
    Fleet, Ran,
    fleet::{BASE, NODES, events},
};
use serde_json::Value;

use crate::load::Load;

/// The nodes on which a deployment was completed, in that order.
fn completed(ran: &Ran) -> Vec<String> {
    let lines = ran.json_lines();
    let completed = events(&lines, "deployment.completed");
    let name = |event: &&Value| event["node"].as_str().unwrap_or_default().to_owned();
    completed.iter().map(name).collect()
}

#[tokio::test]
async fn a_release_rolls_across_all_nodes_and_back_without_a_failed_request() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let load = Load::begin(&fleet);

    let forward = fleet
        .roll_out(&next, &["--nodes", "all"])
        .run()
        .await
        .ended_with(0);
    fleet.assert_all_on("1.1.0-test").await;
    let back = fleet
        .ctl(&[
            "--output", "json", "rollback", "--nodes", "all", "--soak", "0s", "--yes",
        ])
        .run()
        .await
        .ended_with(0);
    fleet.assert_all_on(BASE).await;

    load.assert_nothing_failed().await;
    assert_eq!(
        completed(&forward),
        NODES,
        "one node after another, in order"
    );
    let newest_first: Vec<_> = NODES.into_iter().rev().collect();
    assert_eq!(completed(&back), newest_first);
}

#[tokio::test]
async fn an_empty_node_is_provisioned_and_then_migrated_behind_a_proven_snapshot() {
    let fleet = Fleet::take().await;
    let old = fleet
        .release("0.9.0-test", &["--migrations-up-to", "2"])
        .await;
    fleet.empty("node-3").await;
    fleet
        .roll_out(&old, &["--nodes", "node-3"])
        .run()
        .await
        .ended_with(0);
    assert_eq!(fleet.status().await["node-3"]["schema_version"], 2);

    let base = fleet.release(BASE, &[]).await;
    let load = Load::begin(&fleet);
    let ran = fleet
        .roll_out(&base, &["--nodes", "all"])
        .run()
        .await
        .ended_with(0);
    load.assert_nothing_failed().await;
    let lines = ran.json_lines();
    let steps: Vec<_> = events(&lines, "deployment.step.done")
        .iter()
        .filter_map(|event| event["step"].as_str())
        .collect();
    let place = |step: &str| steps.iter().position(|found| *found == step);
    assert!(
        place("snapshot").is_some() && place("snapshot") < place("rehearse"),
        "{steps:?}"
    );
    assert!(place("rehearse") < place("migrate") && place("migrate") < place("start_slot"));
    let status = fleet.status().await;
    let node = &status["node-3"];
    assert_eq!(node["schema_version"], status["node-1"]["schema_version"]);
    assert!(node["last_snapshot"]["verified_at"].is_string(), "{node:#}");
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_release_that_is_live_already_changes_nothing() {
    let fleet = Fleet::take().await;
    let base = fleet.release(BASE, &[]).await;
    let ran = fleet
        .roll_out(&base, &["--nodes", "all"])
        .run()
        .await
        .ended_with(0);
    assert!(
        events(&ran.json_lines(), "deployment.step.done").is_empty(),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_touches_nothing() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let ran = fleet
        .roll_out(&next, &["--nodes", "all", "--dry-run"])
        .run()
        .await
        .ended_with(0);
    assert!(ran.stdout.contains("switch_traffic"), "{}", ran.stdout);
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn two_rollouts_at_once_end_as_one() {
    let fleet = Fleet::take().await;
    let [first, second] = [
        fleet.release("1.1.0-test", &[]).await,
        fleet.release("1.3.0-test", &[]).await,
    ];
    let (first, second) = tokio::join!(
        fleet.roll_out(&first, &["--nodes", "all"]).run(),
        fleet.roll_out(&second, &["--nodes", "all"]).run(),
    );
    let mut codes = [first.code, second.code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 3], "{first:?} {second:?}");
    let (won, refused) = if first.code == 0 {
        ("1.1.0-test", second)
    } else {
        ("1.3.0-test", first)
    };
    assert!(
        refused.stderr.contains("holds this node"),
        "{}",
        refused.stderr
    );
    fleet.assert_all_on(won).await;
}

#[tokio::test]
async fn what_happened_can_be_looked_up() {
    let fleet = Fleet::take().await;
    let ran = fleet
        .ctl(&["--output", "json", "history", "--nodes", "node-1"])
        .run()
        .await;
    let history = ran.ended_with(0).json();
    assert!(history.to_string().contains(BASE), "{history:#}");
    fleet
        .ctl(&["lock", "show", "--nodes", "all"])
        .run()
        .await
        .ended_with(0);
    fleet.ctl(&["rollout", "list"]).run().await.ended_with(0);
    fleet.ctl(&["status", "--check"]).run().await.ended_with(0);
}
