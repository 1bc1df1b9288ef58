//! `snapshot` from the outside: what the operator sees, and what the nodes were ordered.

use togather_model::{Failure, FailureKind, Schema, Timestamp};
use togather_proto::{
    time,
    v1::{self, command::Body},
};

use crate::support::{
    Fleet, eventually, interrupt,
    jobs::{DATABASE, id, snapshot},
    node::{Cut, FakeNode, Script},
};

/// A fleet whose nodes have three snapshots each, one of which nothing asks to keep.
async fn fleet_with_snapshots(count: usize) -> Fleet {
    let fleet = Fleet::of(count).await;
    for node in &fleet.nodes {
        node.state().snapshots = vec![
            snapshot(30, 2, &["it is young", "it is among the newest 3 verified"]),
            snapshot(20, 26, &["a rollback to 0.9.0 needs it"]),
            snapshot(10, 300, &[]),
        ];
    }
    fleet
}

/// The text with the same date for every snapshot.
fn undated(fleet: &Fleet, text: String) -> String {
    let state = fleet.nodes[0].state();
    state.snapshots.iter().fold(text, |text, snapshot| {
        let taken_at = time::read_timestamp("taken_at", snapshot.taken_at).unwrap();
        let date = taken_at.strftime("%Y-%m-%d %H:%MZ").to_string();
        text.replace(&date, "2027-01-15 08:00Z")
    })
}

fn orders(node: &FakeNode) -> Vec<Body> {
    node.state().orders.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_a_snapshot_and_the_table_says_what_came_of_it() {
    let fleet = fleet_with_snapshots(2).await;
    let create = ["snapshot", "create", "--nodes", "all"];
    let answer = fleet.ctl(&create).await.exits(0);
    insta::assert_snapshot!(answer.stdout);
    let answer = answer.says("node-1:   streaming");
    answer.says("node-2: done in 2.3 s: all is well");
    for node in &fleet.nodes {
        assert!(matches!(orders(node)[..], [Body::CreateSnapshot(_)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_the_jobs_states_and_then_the_summary() {
    let fleet = fleet_with_snapshots(1).await;
    let create = ["snapshot", "create", "--nodes", "all", "--output", "json"];
    let lines = fleet.ctl(&create).await.exits(0).json_lines();
    let (summary, states) = lines.split_last().unwrap();
    assert!(states.len() >= 2, "{states:?}");
    for state in states {
        assert_eq!(state["schema"], "togather.fleet/job/v1");
        assert_eq!(state["event"], "job");
        assert_eq!(state["node"], "node-1");
        assert_eq!(state["job"]["kind"], "create");
    }
    let last = &states.last().unwrap()["job"];
    assert_eq!(
        (&last["bytes_done"], &last["bytes_total"]),
        (&40_000_000.into(), &80_000_000.into())
    );
    assert_eq!(summary["schema"], "togather.fleet/snapshot-jobs/v1");
    let node = &summary["nodes"][0];
    assert_eq!(node["name"], "node-1");
    assert_eq!(node["state"], "done");
    assert_eq!(node["took_ms"], 2345);
    assert_eq!(node["job"]["snapshot"]["id"], *id(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_watched_again_until_it_has_ended_however_often_the_stream_breaks() {
    let fleet = fleet_with_snapshots(1).await;
    fleet.nodes[0].state().cuts = [Cut::Broken, Cut::Silent, Cut::Broken].into();
    // Not even the answer to the order arrives at first; the job is not begun twice for that.
    fleet.nodes[0].state().lost_answers = [Cut::Broken].into();
    let create = ["snapshot", "create", "--nodes", "all"];
    fleet.ctl(&create).await.exits(0).says("node-1: lost");
    assert!(fleet.nodes[0].state().cuts.is_empty());
    assert_eq!(fleet.nodes[0].state().jobs.len(), 1);
    assert_eq!(orders(&fleet.nodes[0]).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_end_nobody_heard_of_is_no_success() {
    let fleet = fleet_with_snapshots(2).await;
    fleet.nodes[0].script(Script::Vanish);
    let create = ["snapshot", "create", "--nodes", "all", "--retry-for", "1s"];
    let answer = fleet.ctl(&create).await.exits(6);
    assert!(
        answer.stdout.contains("node-1  failed"),
        "{}",
        answer.stdout
    );
    assert!(answer.stdout.contains("node-2  done"), "{}", answer.stdout);
    answer.says("what came of the job is not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_told_and_the_first_decides_the_exit_code() {
    let fleet = fleet_with_snapshots(3).await;
    fleet.nodes[1].script(Script::Fail);
    let held = Failure::new(FailureKind::Held, "bob deploys 2.0.0 here");
    fleet.nodes[2].state().refuses = Some(held);
    let verify = ["snapshot", "verify", "--nodes", "all"];
    let answer = fleet.ctl(&verify).await.exits(5);
    answer
        .says("error: node-2: the rehearsal failed")
        .says("next: fix it")
        .says("error: node-3: bob deploys 2.0.0 here");
    fleet
        .ctl(&["snapshot", "verify", "--nodes", "node-3,node-2"])
        .await
        .exits(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_from_the_start_is_told_at_once() {
    let fleet = fleet_with_snapshots(1).await;
    fleet.nodes[0].vanish();
    let create = ["snapshot", "create", "--nodes", "all", "--retry-for", "1h"];
    fleet.ctl(&create).await.exits(6).says("cannot be reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_means_the_newest_unless_another_is_named() {
    let fleet = fleet_with_snapshots(1).await;
    let verify = ["snapshot", "verify", "--nodes", "all"];
    fleet.ctl(&verify).await.exits(0);
    let one = ["snapshot", "verify", &id(20), "--nodes", "node-1"];
    fleet.ctl(&one).await.exits(0);
    let orders = orders(&fleet.nodes[0]);
    let [Body::VerifySnapshot(first), Body::VerifySnapshot(second)] = &orders[..] else {
        panic!("{orders:?}");
    };
    assert_eq!(
        (first.snapshot_id.as_str(), &second.snapshot_id),
        ("", &id(20))
    );
    let wrong = ["snapshot", "verify", "latest", "--nodes", "node-1"];
    fleet.ctl(&wrong).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_why_each_is_kept_and_which_goes() {
    let fleet = fleet_with_snapshots(1).await;
    {
        let mut state = fleet.nodes[0].state();
        state.orphans = vec!["togather_7.dump has no manifest".into()];
        state.snapshots[0].spooled = true;
    }
    let list = ["snapshot", "list", "--nodes", "all"];
    let answer = fleet.ctl(&list).await.exits(0);
    insta::assert_snapshot!(undated(&fleet, answer.stdout));
    let json = fleet
        .ctl(&[&list[..], &["--output", "json"]].concat())
        .await
        .exits(0);
    let list = &json.json_lines()[0];
    assert_eq!(list["schema"], "togather.fleet/snapshot-list/v1");
    let snapshots = &list["nodes"][0]["snapshots"];
    assert_eq!(snapshots[1]["reasons"][0], "a rollback to 0.9.0 needs it");
    assert_eq!(snapshots[1]["database"], DATABASE);
    assert_eq!(
        (&snapshots[2]["keep"], &snapshots[2]["verified_at"]),
        (&false.into(), &serde_json::Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_is_looked_into_through_a_node() {
    let fleet = fleet_with_snapshots(1).await;
    let list = ["snapshot", "list", "--nodes", "node-1", "--store"];
    let answer = fleet
        .ctl(&[&list[..], &["file:///lost"]].concat())
        .await
        .exits(0);
    assert!(answer.stdout.contains(&id(99)), "{}", answer.stdout);
    fleet
        .ctl(&[&list[..], &["s3://nowhere"]].concat())
        .await
        .exits(10)
        .says("no such store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_for_one_node_and_for_somebody_who_names_the_database() {
    let fleet = fleet_with_snapshots(2).await;
    let (newest, unknown) = (id(30), id(5));
    let restore = |more: &'static [&'static str], id: &str| {
        let arguments: Vec<String> = ["snapshot", "restore", id]
            .iter()
            .chain(more)
            .map(|&argument| argument.to_owned())
            .collect();
        let fleet = &fleet;
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            fleet.ctl(&arguments).await
        }
    };
    let answer = restore(&["--nodes", "all", "--yes-restore", DATABASE], &newest).await;
    answer.exits(2).says("exactly one node");
    let answer = restore(&["--nodes", "node-1"], &newest).await;
    answer.exits(2).says("--yes-restore NAME");
    let answer = restore(&["--nodes", "node-1", "--yes-restore", "x"], &unknown).await;
    answer.exits(2).says("snapshot list --nodes node-1");
    let answer = restore(&["--nodes", "node-1", "--yes-restore", "x"], &newest).await;
    answer.exits(1).says("the live database is called togather");
    assert_eq!(fleet.nodes[0].state().jobs.len(), 0);

    let answer = restore(&["--nodes", "node-1", "--yes-restore", DATABASE], &newest).await;
    answer.exits(0).says("verified 2 h ago");
    let [Body::RestoreSnapshot(ordered)] = &orders(&fleet.nodes[0])[..] else {
        panic!("{:?}", orders(&fleet.nodes[0]));
    };
    assert_eq!(
        (&ordered.snapshot_id, ordered.store.as_str()),
        (&newest, "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_node_left_in_a_store_is_restored_on_another() {
    let fleet = Fleet::of(1).await;
    let lost = id(99);
    let restore = ["snapshot", "restore", &lost, "--nodes", "node-1"];
    let from = ["--store", "file:///lost", "--yes-restore", DATABASE];
    fleet.ctl(&[&restore[..], &from].concat()).await.exits(0);
    let [Body::RestoreSnapshot(ordered)] = &orders(&fleet.nodes[0])[..] else {
        panic!("{:?}", orders(&fleet.nodes[0]));
    };
    assert_eq!(ordered.store, "file:///lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_taken_back_while_the_replaced_database_is_kept() {
    let fleet = Fleet::of(1).await;
    let undo = ["snapshot", "restore", "--undo", "--nodes", "node-1"];
    let name = ["--yes-restore", DATABASE];
    let undo_by_name = [&undo[..], &name].concat();
    fleet
        .ctl(&undo_by_name)
        .await
        .exits(1)
        .says("its database does not answer");
    fleet.nodes[0].state().schema = Some(Schema::Empty);
    fleet
        .ctl(&undo_by_name)
        .await
        .exits(1)
        .says("nothing to take back");
    // Its swap went back, but the app did not start: there is nothing replaced, and yet something to do.
    fleet.nodes[0].state().stuck_job = Some(v1::Job {
        id: id(1),
        kind: v1::JobKind::Restore.into(),
        started_at: Some(time::timestamp(Timestamp::UNIX_EPOCH)),
        ..v1::Job::default()
    });
    fleet
        .ctl(&undo_by_name)
        .await
        .exits(0)
        .says("the restore of 1970-01-01T00:00:00Z is stuck");
    assert_eq!(
        orders(&fleet.nodes[0]),
        [Body::UndoRestore(v1::UndoRestore {
            database: DATABASE.into(),
            replaced: String::new(),
        })]
    );
    fleet.nodes[0].state().orders.clear();
    fleet.nodes[0].state().stuck_job = None;
    fleet.nodes[0].state().replaced_databases =
        vec!["togather_replaced_2".into(), "togather_replaced_1".into()];
    fleet.ctl(&undo).await.exits(2).says("--yes-restore NAME");
    fleet
        .ctl(&undo_by_name)
        .await
        .exits(0)
        .says("place again: togather_replaced_2")
        .says("kept as well: togather_replaced_1");
    let [Body::UndoRestore(ordered)] = &orders(&fleet.nodes[0])[..] else {
        panic!("{:?}", orders(&fleet.nodes[0]));
    };
    assert_eq!(
        ordered.replaced, "togather_replaced_2",
        "the one that was shown"
    );
    let both = [&undo_by_name[..], &["--store", "file:///lost"]].concat();
    fleet.ctl(&both).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_says_what_goes_before_it_goes() {
    let fleet = fleet_with_snapshots(2).await;
    fleet.nodes[1].state().snapshots.truncate(2);
    let prune = ["snapshot", "prune", "--nodes", "all"];
    let dry = [&prune[..], &["--dry-run"]].concat();
    let answer = fleet.ctl(&dry).await.exits(0);
    insta::assert_snapshot!(undated(&fleet, answer.stdout));
    fleet.ctl(&prune).await.exits(2).says("add --yes");
    assert!(fleet.nodes.iter().all(|node| orders(node).is_empty()));

    let answer = fleet.ctl(&[&prune[..], &["--yes"]].concat()).await.exits(0);
    assert!(
        answer.stdout.contains("node-1: forgot togather_1.dump"),
        "{}",
        answer.stdout
    );
    assert!(matches!(
        orders(&fleet.nodes[0])[..],
        [Body::PruneSnapshots(_)]
    ));
    assert!(orders(&fleet.nodes[1]).is_empty(), "nothing goes there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_fails_while_the_last_verified_snapshot_is_too_old_or_taking_one_failed() {
    let fleet = fleet_with_snapshots(1).await;
    let check = ["status", "--check"];
    let answer = fleet.ctl(&check).await.exits(0);
    assert!(answer.stdout.contains("2 h ago"), "{}", answer.stdout);
    fleet.nodes[0].state().snapshot_overdue = "the last verified snapshot is 3 d old".into();
    fleet.ctl(&check).await.exits(1).says("3 d old");
    fleet.nodes[0].state().snapshot_overdue.clear();
    fleet.nodes[0].script(Script::Fail);
    let create = ["snapshot", "create", "--nodes", "all"];
    fleet.ctl(&create).await.exits(5);
    fleet
        .ctl(&check)
        .await
        .exits(1)
        .says("the last snapshot failed: the rehearsal failed");
    let json = fleet.ctl(&["status", "--output", "json"]).await.exits(0);
    let node = &json.json_lines()[0]["nodes"][0];
    assert_eq!(node["last_verified"]["id"], *id(30));
    assert_eq!(node["jobs"][0]["failure"]["kind"], "migration");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_the_job_to_the_node() {
    let fleet = fleet_with_snapshots(1).await;
    fleet.nodes[0].script(Script::Wait);
    let controller = fleet.ctl_in_background(&["snapshot", "create", "--nodes", "all"]);
    // The scripted job ends only once somebody has seen it.
    let seen = || !fleet.nodes[0].state().seen.is_empty();
    eventually("the job begins and is seen", seen).await;
    interrupt(controller)
        .await
        .exits(130)
        .says("goes on by itself");
    let status = fleet.ctl(&["status"]).await.exits(0);
    assert!(
        status.stdout.contains("snapshot: streaming"),
        "{}",
        status.stdout
    );
    fleet.nodes[0].script(Script::Succeed);
    let ended = || fleet.nodes[0].state().jobs[0].ended_at.is_some();
    eventually("the job ends", ended).await;
}
