//! The other commands that speak to nodes.

use std::time::Duration;

use togather_model::{
    Event, EventKind, Failure, FailureKind, JobKind, Schema, SnapshotEvent, Timestamp, Ulid,
};
use togather_proto::{time, v1};

use crate::support::{Fleet, node::Script};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_every_node_back_the_last_one_first() {
    let fleet = Fleet::of(3).await;
    fleet.roll_out(&[]).await.exits(0);
    fleet
        .ctl(&["rollback", "--nodes", "all"])
        .await
        .exits(2)
        .says("add --yes");
    let answer = fleet
        .ctl(&["rollback", "--nodes", "all", "--yes"])
        .await
        .exits(0);
    assert_eq!(fleet.versions(), ["1.0.0", "1.0.0", "1.0.0"]);
    let went_back: Vec<&str> = answer
        .stderr
        .lines()
        .filter_map(|line| line.strip_suffix(": going back"))
        .collect();
    assert_eq!(went_back, ["node-3", "node-2", "node-1"]);
    assert_eq!(
        answer.stdout.matches("1.2 s").count(),
        3,
        "{}",
        answer.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_fails_ends_where_it_failed() {
    let fleet = Fleet::of(2).await;
    fleet.roll_out(&[]).await.exits(0);
    fleet.nodes[1].script(Script::Fail);
    fleet
        .ctl(&["rollback", "--nodes", "all", "--yes"])
        .await
        .exits(4);
    assert_eq!(fleet.versions(), ["2.0.0", "2.0.0"]);
    assert_eq!(fleet.operations(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_every_node_also_those_that_are_gone() {
    let fleet = Fleet::of(2).await;
    let answer = fleet.ctl(&["status", "--check"]).await.exits(0);
    assert!(answer.stdout.contains("node-2  1.0.0"), "{}", answer.stdout);
    fleet.nodes[1].vanish();
    let answer = fleet.ctl(&["status", "--output", "json"]).await.exits(6);
    let status = &answer.json_lines()[0];
    assert_eq!(status["nodes"][0]["version"], "1.0.0");
    assert_eq!(status["nodes"][0]["slot"], "blue");
    assert_eq!(status["nodes"][1]["reachable"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_a_node_has_been_through() {
    let fleet = Fleet::of(1).await;
    fleet.nodes[0].script(Script::Fail);
    fleet.roll_out(&[]).await.exits(4);
    let answer = fleet.ctl(&["history", "--nodes", "node-1"]).await.exits(0);
    for words in [
        "deploy",
        "2.0.0",
        "undone",
        "alice",
        "2.0.0 never got healthy",
    ] {
        assert!(answer.stdout.contains(words), "{words}: {}", answer.stdout);
    }
    let json = fleet
        .ctl(&["history", "--nodes", "all", "--output", "json"])
        .await
        .exits(0);
    assert_eq!(
        json.json_lines()[0]["nodes"][0]["operations"][0]["state"],
        "undone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_happened_to_snapshots_too() {
    let fleet = Fleet::of(1).await;
    fleet.roll_out(&[]).await.exits(0);
    let now = Timestamp::now();
    let failed = Event {
        id: Ulid::generate(),
        operation_id: Ulid::generate(),
        sequence: 2,
        node: "node-1".into(),
        operator: "schedule".into(),
        version: String::new(),
        at: now,
        kind: EventKind::Snapshot(SnapshotEvent::Failed {
            job: JobKind::Verify,
            took: Duration::from_secs(3),
            failure: Failure::new(FailureKind::Other, "a byte is not what it was"),
            dumps: vec![],
        }),
    };
    fleet.nodes[0].state().snapshot_events = vec![failed.into()];
    let answer = fleet.ctl(&["history", "--nodes", "all"]).await.exits(0);
    for words in ["deploy", "verify", "a byte is not what it was", "schedule"] {
        assert!(answer.stdout.contains(words), "{words}: {}", answer.stdout);
    }
    let json = fleet
        .ctl(&["history", "--nodes", "all", "--output", "json"])
        .await
        .exits(0);
    let event = &json.json_lines()[0]["nodes"][0]["snapshots"][0];
    assert_eq!(event["event"], "snapshot.failed");
    assert_eq!(event["failure"]["what"], "a byte is not what it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_ends_as_stuck_while_a_restore_is() {
    let fleet = Fleet::of(1).await;
    let failure = Failure::new(FailureKind::Stuck, "the swap could not be taken back");
    fleet.nodes[0].state().stuck_job = Some(v1::Job {
        id: Ulid::generate().to_string(),
        kind: v1::JobKind::Restore.into(),
        started_at: Some(time::timestamp(Timestamp::now())),
        failure: Some(failure.next("start the app").into()),
        ..v1::Job::default()
    });
    let answer = fleet.ctl(&["status"]).await.exits(0);
    assert!(answer.stdout.contains("restore stuck"), "{}", answer.stdout);
    fleet
        .ctl(&["status", "--check"])
        .await
        .exits(8)
        .says("start the app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_shown_by_name_and_ended_only_by_force() {
    let fleet = Fleet::of(2).await;
    fleet.nodes[1].held_by("bob");
    let answer = fleet
        .ctl(&["lock", "show", "--nodes", "all"])
        .await
        .exits(0);
    assert!(
        answer.stdout.contains("bob") && answer.stdout.contains("nobody"),
        "{}",
        answer.stdout
    );
    let release = ["lock", "release", "--nodes", "all", "--yes"];
    fleet
        .ctl(&release)
        .await
        .exits(3)
        .says("node-2 is held by bob");
    fleet
        .ctl(&[&release[..], &["--force"]].concat())
        .await
        .exits(0);
    fleet.roll_out(&[]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_remembered_by_its_nodes() {
    let fleet = Fleet::of(2).await;
    fleet.nodes[1].script(Script::Fail);
    fleet.roll_out(&[]).await.exits(4);
    let answer = fleet.ctl(&["rollout", "status"]).await.exits(0);
    let (heading, nodes) = answer
        .stdout
        .split_once(
            "

",
        )
        .unwrap();
    assert!(
        heading.contains(&fleet.rollout_id()) && heading.ends_with(": halted"),
        "{heading}"
    );
    insta::assert_snapshot!(nodes);
    let json = fleet
        .ctl(&["rollout", "list", "--output", "json"])
        .await
        .exits(0);
    assert_eq!(json.json_lines()[0]["rollouts"][0]["ending"], "halted");
    let unknown = ["rollout", "resume", "01K00000000000000000000000"];
    fleet.ctl(&unknown).await.exits(2).says("no node knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_set_only_where_the_node_is_named_once_more() {
    let fleet = Fleet::of(2).await;
    let dirty = Schema::At {
        version: 5,
        dirty: true,
    };
    fleet.nodes[1].inner.state().schema = Some(dirty);
    let set = ["schema", "set", "4", "--nodes", "node-2"];
    fleet.ctl(&set).await.exits(2).says("--confirm");
    let other = [&set[..], &["--confirm", "node-1"]].concat();
    fleet.ctl(&other).await.exits(2);
    assert_eq!(fleet.nodes[1].inner.state().schema, Some(dirty));

    let named = [&set[..], &["--confirm", "node-2", "--output", "json"]].concat();
    let answer = fleet.ctl(&named).await.exits(0);
    let json = &answer.json_lines()[0];
    assert_eq!(json["nodes"][0]["version"], 4);
    let before = json["nodes"][0]["before"].as_str().unwrap();
    assert!(before.contains("dirty: true"), "{before}");
    let clean = Schema::At {
        version: 4,
        dirty: false,
    };
    assert_eq!(fleet.nodes[1].inner.state().schema, Some(clean));
}
