//! Snapshots of real nodes in a real S3 store: taken, proven, put back, and a machine lost.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use fleet_tests::{Fleet, fleet::BASE};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
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
    refused.ended_with(1).saying(
        "the live database of this node is `togather`, not `elsewhere`; nothing was touched",
    );
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
    let nodes = plan["nodes"].as_array().unwrap();
    let of_node_1 = nodes.iter().find(|node| node["name"] == "node-1").unwrap();
    let rows = of_node_1["snapshots"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["keep"] == true), "{plan:#}");
    for row in rows {
        let reasons = row["reasons"].as_array().unwrap();
        assert_eq!(row["keep"] == true, !reasons.is_empty(), "{row:#}");
    }
    let status = fleet.status().await;
    let node = &status["node-1"];
    assert_eq!(node.get("snapshot_overdue"), Some(&Value::Null), "{node:#}");
    assert!(node["last_verified"]["verified_at"].is_string(), "{node:#}");
}

/// Reads the lines about a job until one says that this stage has come; returns the job's id. `None`:
/// the job ended before anybody heard of the stage, as a short one is not always told.
async fn until_stage(child: &mut Child, stage: &str) -> Option<String> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut lines = BufReader::new(stdout).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let told: Value = serde_json::from_str(&line).unwrap();
            let message = told["job"]["message"].as_str().unwrap_or_default();
            if message.starts_with(stage) {
                return told["job"]["id"].as_str().map(str::to_owned);
            }
        }
        None
    };
    let reached = tokio::time::timeout(Duration::from_secs(120), reading);
    let reached = reached.await.expect("in time");
    // Whoever writes into a pipe that nobody reads is stopped by it; keep it open, and read on.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    reached
}

/// A shell on the first node that kills the agent as soon as it is told to: looking for the agent only
/// then would take longer than some stages do.
async fn killer(fleet: &Fleet) -> Child {
    const KILL: &str = "pid=$(systemctl show --property=MainPID --value togather-agent)
        echo ready; read -r now; [ \"$now\" = now ] && kill -KILL \"$pid\"";
    let mut killer = fleet
        .on_node("node-1", &["sh", "-c", KILL])
        .start_listening();
    let mut ready = [0; 6];
    let stdout = killer.stdout.as_mut().expect("standard output is piped");
    stdout.read_exact(&mut ready).await.unwrap();
    killer
}

/// Orders a job on the first node, kills the agent as the job comes to this stage, and waits until
/// the controller says how the job ended. Returns whether it succeeded; `None`: it had ended before
/// it was hit.
async fn agent_killed_in(fleet: &Fleet, job: &[&str], stage: &str) -> Option<bool> {
    let mut killer = killer(fleet).await;
    let order = ["--output", "json", "snapshot"];
    let order = fleet.ctl(&order).args(job).args(["--nodes", "node-1"]);
    let mut controller = order.start();
    let id = until_stage(&mut controller, stage).await;
    let word: &[u8] = if id.is_some() { b"now\n" } else { b"never\n" };
    let mut stdin = killer.stdin.take().expect("standard input is piped");
    stdin.write_all(word).await.unwrap();
    let killed = killer.wait().await.unwrap();
    assert_eq!(killed.success(), id.is_some(), "{job:?} {stage}");
    let ended = tokio::time::timeout(Duration::from_secs(180), controller.wait()).await;
    let ended = ended.expect("the controller sees the ending").unwrap();
    let scratch = "SELECT count(*) FROM pg_database WHERE datname LIKE 'togather_scratch_%'";
    assert_eq!(
        query(fleet, "node-1", scratch).await,
        "0",
        "{job:?} {stage}"
    );
    fleet.assert_all_on(BASE).await;
    let id = id?;
    let history = ["history", "--nodes", "node-1", "--limit", "50"];
    let history = fleet.ctl(&["--output", "json"]).args(history);
    let history = history.run().await.ended_with(0).json();
    let mut events = history["nodes"][0]["snapshots"].as_array().unwrap().iter();
    let was_hit = events
        .any(|event| event["operation_id"] == id.as_str() && event["event"] == "snapshot.resumed");
    was_hit.then(|| ended.success())
}

/// How often it is tried to hit a job in a stage.
const TRIES: usize = 8;

/// Has the first node's database be so large that its jobs take seconds.
const LARGE: &str = "DROP TABLE IF EXISTS large; CREATE TABLE large AS \
    SELECT i, repeat(md5(i::text), 10) AS t FROM generate_series(1, 600000) i";

/// All snapshots of the first node.
async fn listed(fleet: &Fleet) -> Vec<Value> {
    let list = ["--output", "json", "snapshot", "list", "--nodes", "node-1"];
    let list = fleet.ctl(&list).run().await.ended_with(0).json();
    let node = &list["nodes"][0];
    assert_eq!(node["error"], Value::Null, "all can be read: {node:#}");
    node["snapshots"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_agent_killed_in_a_job_leaves_nothing_half_made() {
    let fleet = Fleet::take().await;
    query(&fleet, "node-1", LARGE).await;
    let id = proven_snapshot(&fleet, "node-1").await;
    for (job, stage) in [
        ("create", "dump"),
        ("verify", "looking"),
        ("verify", "restor"),
        ("verify", "compar"),
    ] {
        let mut hit = None;
        for _ in 0..TRIES {
            hit = hit.or(agent_killed_in(&fleet, &[job], stage).await);
            let there = listed(&fleet).await;
            let proven = there.iter().find(|one| one["id"] == id.as_str()).unwrap();
            assert!(proven["verified_at"].is_string(), "{stage}: {there:#?}");
            if hit.is_some() {
                break;
            }
        }
        assert!(hit.is_some(), "no {job} was hit in `{stage}`");
        let again = fleet.ctl(&["snapshot", job, "--nodes", "node-1"]);
        again.run().await.ended_with(0);
    }
    query(&fleet, "node-1", "DROP TABLE large").await;
}

/// Has the agent of the first node read its settings again, after this change to them.
async fn with_settings_changed(fleet: &Fleet, change: &str) {
    let change = format!("{change} && systemctl restart togather-agent");
    let change = fleet.on_node("node-1", &["sh", "-c", &change]);
    change.run().await.ended_with(0);
    let is_back = |status: &BTreeMap<String, Value>| {
        status
            .get("node-1")
            .is_some_and(|node| node["version"] == BASE)
    };
    fleet.until("the agent is back", is_back).await;
}

/// Has nothing stay for being young.
const KEEP_FOR_A_SECOND: &str = "cp -p /etc/togather/deployment.yml /tmp/deployment.yml \
    && printf 'database:\\n  snapshots:\\n    keep_for: 1s\\n' >> /etc/togather/deployment.yml";
const KEEP_AS_BEFORE: &str = "cat /tmp/deployment.yml > /etc/togather/deployment.yml";

#[tokio::test]
async fn an_agent_killed_in_a_prune_leaves_nothing_half_removed() {
    let fleet = Fleet::take().await;
    let prune = ["prune", "--yes"];
    let mut hit = None;
    for _ in 0..TRIES {
        for _ in 0..4 {
            proven_snapshot(&fleet, "node-1").await;
        }
        with_settings_changed(&fleet, KEEP_FOR_A_SECOND).await;
        let kept = listed(&fleet).await;
        let kept: Vec<&Value> = kept.iter().filter(|one| one["keep"] == true).collect();
        hit = hit.or(agent_killed_in(&fleet, &prune, "forgetting").await);
        let there = listed(&fleet).await;
        let again = fleet.ctl(&["snapshot"]).args(prune);
        let again = again.args(["--nodes", "node-1"]).run().await;
        let left = listed(&fleet).await;
        with_settings_changed(&fleet, KEEP_AS_BEFORE).await;
        for one in kept {
            let same = |other: &&Value| {
                other["id"] == one["id"] && other["verified_at"] == one["verified_at"]
            };
            assert!(there.iter().any(|other| same(&other)), "{there:#?}");
            assert!(left.iter().any(|other| same(&other)), "{left:#?}");
        }
        again.ended_with(0);
        assert!(left.iter().all(|one| one["keep"] == true), "{left:#?}");
        if hit.is_some() {
            break;
        }
    }
    assert!(hit.is_some(), "no prune was hit");
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
        let mut hit = None;
        for _ in 0..TRIES {
            hit = agent_killed_in(&fleet, &restore, stage).await;
            let Some(restored) = hit else {
                query(&fleet, "node-1", "DELETE FROM events").await;
                continue;
            };
            let expected = if restored { &before } else { &emptied };
            assert_eq!(&rows(&fleet, "node-1").await, expected, "{stage}");
            query(&fleet, "node-1", "DELETE FROM events").await;
            break;
        }
        assert!(hit.is_some(), "no restore was hit in `{stage}`");
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
