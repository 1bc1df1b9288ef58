//! Releases that are broken in each way that matters: the node goes back by itself, no request
//! fails, and the exit code says which kind it was.

use fleet_tests::{
    Fleet,
    fleet::{BASE, events},
};
use serde_json::Value;

use crate::load::Load;

/// Rolls a broken release onto the first node under load; everything must be as before.
async fn goes_back(fault: &str, code: i32, says: &str) {
    let fleet = Fleet::take().await;
    let schema = fleet.status().await["node-1"]["schema_version"].clone();
    let broken = fleet
        .release(&format!("2.0.0-{fault}"), &["--fault", fault])
        .await;
    let load = Load::begin(&fleet);
    let rollout = fleet.ctl(&[
        "--output", "json", "rollout", "--yes", "--soak", "8s", "--nodes", "all",
    ]);
    let ran = rollout
        .args(["--release".into(), broken.into_os_string()])
        .run()
        .await;
    load.assert_nothing_failed().await;

    let ran = ran.ended_with(code);
    let lines = ran.json_lines();
    let undone = events(&lines, "deployment.undone");
    assert_eq!(
        undone.len(),
        1,
        "the first node failed and no other was touched: {}",
        ran.stdout
    );
    assert!(
        undone[0].to_string().contains(says),
        "`{says}` is said: {:#}",
        undone[0]
    );
    fleet.assert_all_on(BASE).await;
    assert_eq!(fleet.status().await["node-1"]["schema_version"], schema);
    let left = fleet.on_node(
        "node-1",
        &["docker", "ps", "--all", "--format", "{{.Names}}"],
    );
    let left = left.run().await.ended_with(0);
    let slots = left
        .stdout
        .lines()
        .filter(|name| name.ends_with("-blue") || name.ends_with("-green"));
    assert!(slots.count() <= 2, "nothing is left over: {}", left.stdout);
}

#[tokio::test]
async fn never_healthy() {
    goes_back("never-healthy", 4, "not healthy").await;
}

#[tokio::test]
async fn healthy_then_failing_in_the_soak() {
    goes_back("fails-in-soak", 4, "went bad").await;
}

#[tokio::test]
async fn crashing_at_start() {
    goes_back("crash-at-start", 4, "not healthy").await;
}

#[tokio::test]
async fn of_another_commit() {
    goes_back("wrong-commit", 4, "commit").await;
}

#[tokio::test]
async fn with_a_failing_migration() {
    goes_back("failing-migration", 5, "rehearsal").await;
}

#[tokio::test]
async fn with_a_failing_migration_outside_a_transaction() {
    goes_back("failing-migration-non-transactional", 5, "rehearsal").await;
}

#[tokio::test]
async fn with_a_prepare_that_fails() {
    goes_back("failing-prepare", 1, "scrape sync").await;
}

#[tokio::test]
async fn with_a_failing_hook() {
    goes_back("failing-hook", 1, "hook").await;
}

#[tokio::test]
async fn a_slow_start_is_not_a_fault() {
    let fleet = Fleet::take().await;
    let slow = fleet
        .release("2.0.0-slow-start", &["--fault", "slow-start"])
        .await;
    let load = Load::begin(&fleet);
    let ran = fleet
        .roll_out(&slow, &["--nodes", "node-1"])
        .run()
        .await
        .ended_with(0);
    load.assert_nothing_failed().await;
    assert_ne!(
        events(&ran.json_lines(), "deployment.completed"),
        Vec::<&Value>::new()
    );
}
