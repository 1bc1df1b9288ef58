//! Snapshots of real nodes in a real S3 store: taken, proven, put back, and a machine lost.

use std::time::{Duration, Instant};

use fleet_tests::{Fleet, fleet::BASE};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

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

/// Reads the lines about a job until one says that this stage has come.
async fn until_stage(child: &mut Child, stage: &str) {
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut lines = BufReader::new(stdout).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let told: Value = serde_json::from_str(&line).unwrap();
            let message = told["job"]["message"].as_str().unwrap_or_default();
            if message.starts_with(stage) {
                return;
            }
        }
        panic!("it never came to `{stage}`");
    };
    tokio::time::timeout(Duration::from_secs(120), reading)
        .await
        .expect("in time");
    // Whoever writes into a pipe that nobody reads is stopped by it; keep it open, and read on.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

/// Orders a job on the first node, kills the agent as the job comes to this stage, and waits until
/// the controller says how the job ended. Returns whether it succeeded.
async fn agent_killed_in(fleet: &Fleet, job: &[&str], stage: &str) -> bool {
    let order = ["--output", "json", "snapshot"];
    let order = fleet.ctl(&order).args(job).args(["--nodes", "node-1"]);
    let mut controller = order.start();
    until_stage(&mut controller, stage).await;
    let kill = ["systemctl", "kill", "--signal=KILL", "togather-agent"];
    fleet.on_node("node-1", &kill).run().await.ended_with(0);
    let ended = tokio::time::timeout(Duration::from_secs(180), controller.wait()).await;
    let ended = ended.expect("the controller sees the ending").unwrap();
    let scratch = "SELECT count(*) FROM pg_database WHERE datname LIKE 'togather_scratch_%'";
    assert_eq!(
        query(fleet, "node-1", scratch).await,
        "0",
        "{job:?} {stage}"
    );
    fleet.assert_all_on(BASE).await;
    ended.success()
}

#[tokio::test]
async fn an_agent_killed_in_a_job_leaves_nothing_half_made() {
    let fleet = Fleet::take().await;
    let id = proven_snapshot(&fleet, "node-1").await;
    for (job, stage) in [
        (["create"], "dumping the database"),
        (["verify"], "looking for the snapshot"),
    ] {
        agent_killed_in(&fleet, &job, stage).await;
        let list = ["--output", "json", "snapshot", "list", "--nodes", "node-1"];
        let list = fleet.ctl(&list).run().await.ended_with(0).json();
        let there = list["nodes"][0]["snapshots"].as_array().unwrap();
        let proven = there.iter().find(|one| one["id"] == id.as_str()).unwrap();
        assert!(proven["verified_at"].is_string(), "{list:#}");
        let again = fleet.ctl(&["snapshot"]).args(job);
        again.args(["--nodes", "node-1"]).run().await.ended_with(0);
    }
}

#[tokio::test]
async fn an_agent_killed_in_a_restore_ends_on_one_database_and_says_which() {
    let fleet = Fleet::take().await;
    let id = proven_snapshot(&fleet, "node-1").await;
    let before = rows(&fleet, "node-1").await;
    query(&fleet, "node-1", "DELETE FROM events").await;
    let emptied = rows(&fleet, "node-1").await;
    let restore = ["restore", &id, "--yes-restore", "togather"];
    for stage in [
        "looking for the snapshot",
        "stopping the app",
        "starting the app",
    ] {
        let restored = agent_killed_in(&fleet, &restore, stage).await;
        let expected = if restored { &before } else { &emptied };
        assert_eq!(&rows(&fleet, "node-1").await, expected, "{stage}");
        query(&fleet, "node-1", "DELETE FROM events").await;
    }
    let restore = fleet.ctl(&["snapshot"]).args(restore);
    restore
        .args(["--nodes", "node-1"])
        .run()
        .await
        .ended_with(0);
    assert_eq!(rows(&fleet, "node-1").await, before);
    fleet.assert_all_on(BASE).await;
}
