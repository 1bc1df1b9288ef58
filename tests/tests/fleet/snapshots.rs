//! Snapshots of real nodes in a real S3 store: taken, proven, put back, and a machine lost.

use std::time::{Duration, Instant};

use fleet_tests::{Fleet, fleet::BASE};
use serde_json::Value;

/// One value out of a node's database.
async fn query(fleet: &Fleet, node: &str, sql: &str) -> String {
    let psql = [
        "docker",
        "exec",
        "togather-db",
        "psql",
        "-U",
        "togather",
        "-d",
        "togather",
        "-Atc",
    ];
    let ran = fleet
        .on_node(node, &psql)
        .args([sql])
        .run()
        .await
        .ended_with(0);
    ran.stdout.trim().to_owned()
}

/// Everything that is in the events, as one number.
async fn rows(fleet: &Fleet, node: &str) -> String {
    query(
        fleet,
        node,
        "SELECT count(*) || ':' || coalesce(sum(hashtext(e::text)), 0) FROM events e",
    )
    .await
}

/// Takes a snapshot of one node and proves it; hands back its id.
async fn proven_snapshot(fleet: &Fleet, node: &str) -> String {
    let json = |arguments: &[&str]| {
        let mut all = vec!["--output", "json", "snapshot"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["--nodes", node]);
        fleet.ctl(&all)
    };
    for job in ["create", "verify"] {
        // The node's own schedule may be at it just now.
        let end = Instant::now() + Duration::from_secs(60);
        let mut ran = json(&[job]).run().await;
        while ran.code == 3 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ran = json(&[job]).run().await;
        }
        ran.ended_with(0);
    }
    let list = json(&["list"]).run().await.ended_with(0).json();
    let newest = &list["nodes"][0]["snapshots"][0];
    assert!(newest["verified_at"].is_string(), "{list:#}");
    assert!(
        newest["reasons"]
            .as_array()
            .is_some_and(|why| !why.is_empty()),
        "{list:#}"
    );
    newest["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_snapshot_is_put_back_and_the_restore_taken_back() {
    let fleet = Fleet::take().await;
    let id = proven_snapshot(&fleet, "node-1").await;
    let before = rows(&fleet, "node-1").await;
    query(&fleet, "node-1", "DELETE FROM events").await;
    let emptied = rows(&fleet, "node-1").await;
    assert_ne!(emptied, before, "there was something to lose");

    let typed = ["--nodes", "node-1", "--yes-restore", "togather"];
    let restore = fleet.ctl(&["snapshot", "restore", &id]).args(typed);
    restore.run().await.ended_with(0);
    assert_eq!(rows(&fleet, "node-1").await, before);
    fleet.assert_all_on(BASE).await;

    let undo = fleet.ctl(&["snapshot", "restore", "--undo"]).args(typed);
    undo.run().await.ended_with(0);
    assert_eq!(rows(&fleet, "node-1").await, emptied);
    fleet
        .ctl(&["snapshot", "restore", &id])
        .args(typed)
        .run()
        .await
        .ended_with(0);
    assert_eq!(rows(&fleet, "node-1").await, before);
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_restore_into_another_database_than_the_one_typed_is_refused() {
    let fleet = Fleet::take().await;
    let id = proven_snapshot(&fleet, "node-2").await;
    let before = rows(&fleet, "node-2").await;
    let other = ["--nodes", "node-2", "--yes-restore", "elsewhere"];
    let refused = fleet
        .ctl(&["snapshot", "restore", &id])
        .args(other)
        .run()
        .await;
    assert_ne!(refused.code, 0);
    refused.saying("togather");
    assert_eq!(rows(&fleet, "node-2").await, before);
}

#[tokio::test]
async fn a_lost_machine_comes_back_from_the_store_alone() {
    let fleet = Fleet::take().await;
    let id = proven_snapshot(&fleet, "node-3").await;
    let before = rows(&fleet, "node-3").await;
    fleet
        .devfleet(&["down", "node-3"])
        .run()
        .await
        .ended_with(0);
    fleet
        .devfleet(&["up", "--nodes", "3"])
        .run()
        .await
        .ended_with(0);
    assert_eq!(
        fleet.versions().await["node-3"],
        "",
        "the new machine is empty"
    );

    let restore = [
        "snapshot",
        "restore",
        &id,
        "--nodes",
        "node-3",
        "--yes-restore",
        "togather",
    ];
    fleet.ctl(&restore).run().await.ended_with(0);
    assert_eq!(rows(&fleet, "node-3").await, before, "row for row");
    let base = fleet.release(BASE, &[]).await;
    fleet
        .roll_out(&base, &["--nodes", "node-3"])
        .run()
        .await
        .ended_with(0);
    assert_eq!(rows(&fleet, "node-3").await, before);
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn what_would_be_forgotten_is_said_with_reasons() {
    let fleet = Fleet::take().await;
    proven_snapshot(&fleet, "node-1").await;
    let dry = fleet.ctl(&[
        "--output",
        "json",
        "snapshot",
        "prune",
        "--nodes",
        "all",
        "--dry-run",
    ]);
    let plan = dry.run().await.ended_with(0).json();
    assert_eq!(plan["schema"], "togather.fleet/snapshot-prune-plan/v1");
    assert!(plan.to_string().contains("reasons"), "{plan:#}");
    let status = fleet.status().await;
    let node = &status["node-1"];
    assert_eq!(node["snapshot_overdue"], Value::Null, "{node:#}");
    assert!(node["last_verified"]["verified_at"].is_string(), "{node:#}");
}
