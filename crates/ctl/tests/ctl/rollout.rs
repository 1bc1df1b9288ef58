//! Rollouts from the outside: what the operator sees, and what became of the nodes.

use togather_model::{Digest, Failure, FailureKind};

use crate::support::{
    Fleet,
    node::{Cut, Script},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_release_rolls_across_three_nodes() {
    let fleet = Fleet::of(3).await;
    let answer = fleet.roll_out(&[]).await.exits(0);
    assert_eq!(fleet.versions(), ["2.0.0", "2.0.0", "2.0.0"]);
    let node_order: Vec<&str> = answer
        .stderr
        .lines()
        .filter_map(|line| line.strip_suffix(": deploying"))
        .collect();
    assert_eq!(node_order, ["node-1", "node-2", "node-3"]);
    for node in &fleet.nodes {
        assert_eq!(node.state().rollouts[0].ending, "done");
        let lease = node.state().lease.clone().unwrap();
        assert!(
            lease.expires_at <= togather_model::Timestamp::now(),
            "its lease is given back"
        );
    }
    insta::assert_snapshot!(answer.stdout.replace(&fleet.rollout_id(), "ID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_lines_of_news_between_the_plan_and_the_summary() {
    let fleet = Fleet::of(2).await;
    let answer = fleet.roll_out(&["--output", "json"]).await.exits(0);
    let lines = answer.json_lines();
    assert_eq!(lines.first().unwrap()["schema"], "togather.fleet/plan/v1");
    let summary = lines.last().unwrap();
    assert_eq!(summary["schema"], "togather.fleet/rollout-summary/v1");
    assert_eq!(summary["ending"], "done");
    assert_eq!(summary["nodes"][1]["version"], "2.0.0");
    assert_eq!(summary["nodes"][1]["took_ms"], 1234);
    let news = &lines[1..lines.len() - 1];
    assert!(
        news.iter()
            .all(|line| line["schema"] == "togather.fleet/event/v1")
    );
    let events: Vec<&str> = news
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    let of_one_node = [
        "rollout.node.started",
        "deployment.started",
        "deployment.step.started",
        "deployment.step.done",
        "deployment.completed",
        "rollout.node.ended",
    ];
    let (begun, walked) = events.split_at(5);
    let mut begun = begun.to_vec();
    begun.sort_unstable();
    let image = ["rollout.image.fetched", "rollout.image.fetching"];
    let all = [image[0], image[0], image[1], image[1], "rollout.started"];
    assert_eq!((events[0], begun.as_slice()), ("rollout.started", &all[..]));
    assert_eq!(walked, [&of_one_node[..], &of_one_node].concat());
    let fetching = news.iter().find(|line| line["event"] == image[1]).unwrap();
    assert_eq!(fetching["bytes_total"], 40_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_without_a_yes_nothing_begins() {
    let fleet = Fleet::of(1).await;
    fleet.roll_out(&["--dry-run"]).await.exits(0);
    let release = fleet.path("2.0.0.json");
    let arguments = [
        "rollout",
        "--nodes",
        "all",
        "--release",
        release.to_str().unwrap(),
    ];
    fleet.ctl(&arguments).await.exits(2).says("add --yes");
    assert_eq!(fleet.operations(), [0]);
    assert!(fleet.nodes[0].state().lease.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_stands_in_the_way_is_said_before_anything_is_changed() {
    let fleet = Fleet::of(3).await;
    let refuses = |node: usize, what: &str| {
        fleet.nodes[node].state().refuses = Some(Failure::new(FailureKind::Other, what));
    };
    refuses(1, "its disk is full");
    refuses(2, "its database is down");
    fleet
        .roll_out(&[])
        .await
        .exits(1)
        .says("node-2: its disk is full")
        .says("node-3: its database is down");
    assert_eq!(fleet.operations(), [0, 0, 0]);
    assert!(fleet.nodes[0].state().lease.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_half_way_halts_and_names_the_two_ways_on() {
    let fleet = Fleet::of(3).await;
    fleet.nodes[1].script(Script::Fail);
    let answer = fleet
        .roll_out(&[])
        .await
        .exits(4)
        .says("2.0.0 never got healthy")
        .says("look at its log")
        .says("rollback --nodes node-1");
    assert_eq!(fleet.versions(), ["2.0.0", "1.0.0", "1.0.0"]);
    assert_eq!(fleet.operations(), [1, 1, 0]);
    insta::assert_snapshot!(answer.stdout.split("15 soak").last().unwrap());

    // What failed is mended, and the rollout goes on where it was halted.
    fleet.nodes[1].script(Script::Succeed);
    let id = fleet.rollout_id();
    fleet
        .ctl(&["rollout", "resume", &id])
        .await
        .exits(2)
        .says("add --yes");
    fleet
        .ctl(&["rollout", "resume", &id, "--yes"])
        .await
        .exits(0);
    assert_eq!(fleet.versions(), ["2.0.0", "2.0.0", "2.0.0"]);
    assert_eq!(fleet.operations(), [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_half_way_can_take_all_back() {
    let fleet = Fleet::of(3).await;
    fleet.nodes[2].script(Script::Fail);
    let answer = fleet.roll_out(&["--on-failure", "undo"]).await.exits(4);
    assert_eq!(fleet.versions(), ["1.0.0", "1.0.0", "1.0.0"]);
    let went_back: Vec<&str> = answer
        .stderr
        .lines()
        .filter_map(|line| line.strip_suffix(": going back"))
        .collect();
    assert_eq!(went_back, ["node-2", "node-1"], "newest first");
    assert_eq!(fleet.nodes[0].state().rollouts[0].ending, "undone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stuck_ends_it_with_eight() {
    let fleet = Fleet::of(2).await;
    fleet.nodes[0].script(Script::GetStuck);
    fleet
        .roll_out(&["--on-failure", "undo"])
        .await
        .exits(8)
        .says("the old slot does not start");
    assert_eq!(fleet.operations(), [1, 0]);
    fleet
        .ctl(&["status", "--check"])
        .await
        .exits(8)
        .says("node-1: 2.0.0 is stuck");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_no_ending_and_nothing_is_missed() {
    let fleet = Fleet::of(1).await;
    fleet.nodes[0].state().cuts = [Cut::Broken, Cut::Silent, Cut::Broken].into();
    let answer = fleet.roll_out(&["--output", "json"]).await.exits(0);
    assert!(fleet.nodes[0].state().cuts.is_empty());
    let sequences: Vec<u64> = answer
        .json_lines()
        .iter()
        .filter_map(|line| line["sequence"].as_u64())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert_eq!(fleet.operations(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_whose_last_word_was_lost_is_a_failure() {
    let fleet = Fleet::of(1).await;
    fleet.nodes[0].script(Script::Fail);
    fleet.nodes[0].state().cuts = [Cut::Silent, Cut::Silent].into();
    fleet
        .roll_out(&[])
        .await
        .exits(4)
        .says("2.0.0 never got healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_node_stops_it_or_is_skipped_and_caught_up_with() {
    let fleet = Fleet::of(3).await;
    fleet.nodes[1].vanish();
    fleet
        .roll_out(&[])
        .await
        .exits(6)
        .says("node-2 cannot be reached");
    assert_eq!(fleet.operations(), [0, 0, 0]);

    let answer = fleet.roll_out(&["--unreachable", "skip"]).await.exits(6);
    assert!(
        answer.stdout.contains("behind: could not be reached"),
        "{}",
        answer.stdout
    );
    assert_eq!(fleet.versions(), ["2.0.0", "1.0.0", "2.0.0"]);
    assert_eq!(fleet.nodes[0].state().rollouts[0].ending, "behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_vanishes_half_way_is_tried_again_for_a_while_only() {
    let fleet = Fleet::of(3).await;
    fleet.nodes[1].script(Script::Vanish);
    let answer = fleet
        .roll_out(&["--unreachable", "skip", "--retry-for", "1s"])
        .await
        .exits(6)
        .says("trying again");
    assert!(answer.stdout.contains("behind"), "{}", answer.stdout);
    assert_eq!(fleet.operations(), [1, 1, 1]);

    let stops = Fleet::of(3).await;
    stops.nodes[1].script(Script::Vanish);
    stops.roll_out(&["--retry-for", "1s"]).await.exits(6);
    assert_eq!(stops.operations(), [1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_lease_is_refused_by_name_and_nothing_is_kept() {
    let fleet = Fleet::of(2).await;
    fleet.nodes[1].held_by("bob");
    fleet
        .roll_out(&[])
        .await
        .exits(3)
        .says("bob holds this node since");
    assert_eq!(fleet.operations(), [0, 0]);
    let state = fleet.nodes[0].state();
    assert!(
        state
            .lease
            .as_ref()
            .is_none_or(|l| l.expires_at <= togather_model::Timestamp::now())
    );
    assert!(
        state
            .rollouts
            .iter()
            .all(|record| record.ending == "aborted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_release_again_is_nothing_to_do() {
    let fleet = Fleet::of(2).await;
    fleet.roll_out(&[]).await.exits(0);
    fleet.roll_out(&[]).await.exits(0).says("nothing to do");
    assert_eq!(fleet.operations(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_has_the_image_before_the_first_is_touched() {
    let fleet = Fleet::of(3).await;
    let unreachable = || {
        Failure::new(
            FailureKind::Other,
            "the image could not be fetched: no route",
        )
    };
    fleet.nodes[2].state().cannot_fetch = Some(unreachable());
    let answer = fleet.roll_out(&[]).await.exits(1);
    let answer = answer.says("node-3: the image could not be fetched: no route");
    answer.says("no node was touched");
    assert_eq!(fleet.operations(), [0, 0, 0]);
    for node in &fleet.nodes {
        assert_eq!(node.state().rollouts[0].ending, "aborted");
    }

    fleet.nodes[2].state().cannot_fetch = None;
    let answer = fleet.roll_out(&[]).await.exits(0);
    let answer = answer.says("node-2: has the image (120.00 MB)");
    let said = answer.stderr.find("node-3: has the image").unwrap();
    assert!(said < answer.stderr.find("node-1: deploying").unwrap());
    assert_eq!(fleet.nodes[2].state().fetches, 1);

    let late = Fleet::of(2).await;
    late.nodes[1].state().cannot_fetch = Some(unreachable());
    late.roll_out(&["--no-prefetch"]).await.exits(0);
    assert_eq!(late.nodes[0].state().fetches, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_get_the_image_is_told_without_waiting_for_the_others() {
    let fleet = Fleet::of(2).await;
    fleet.nodes[0].state().fetches_for_ever = true;
    fleet.nodes[1].state().cannot_fetch = Some(Failure::new(FailureKind::Other, "no route"));
    let answer = fleet.roll_out(&["--output", "json"]).await.exits(1);
    let lines = answer.json_lines();
    let failed = lines
        .iter()
        .find(|line| line["event"] == "rollout.image.failed");
    assert_eq!(failed.unwrap()["node"], "node-2");
    assert_eq!(fleet.operations(), [0, 0]);
    assert_eq!(fleet.nodes[0].state().rollouts[0].ending, "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_fetched_the_evening_before() {
    let fleet = Fleet::of(2).await;
    let release = fleet.path("2.0.0.json");
    let release = release.to_str().unwrap();
    let fetch = ["release", "fetch", "--nodes", "all", "--release", release];
    let answer = fleet.ctl(&fetch).await.exits(0);
    assert!(
        answer.stdout.contains("node-2  fetched  120.00 MB"),
        "{}",
        answer.stdout
    );
    assert_eq!(fleet.operations(), [0, 0]);

    let why = "no room".to_owned();
    fleet.nodes[0].state().cannot_fetch = Some(Failure::new(FailureKind::Other, why));
    let json = [&["--output", "json"][..], &fetch].concat();
    let answer = fleet.ctl(&json).await.exits(1).says("node-1: no room");
    let table = answer.json_lines().pop().unwrap();
    assert_eq!(table["schema"], "togather.fleet/fetched/v1");
    assert_eq!(table["nodes"][0]["state"], "failed");
    assert_eq!(table["nodes"][1]["state"], "fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_registry_is_sent_to_the_nodes_that_lack_it() {
    let fleet = Fleet::of(2).await;
    let (archive, release) = (fleet.path("image.tar"), fleet.path("archived.json"));
    std::fs::write(&archive, vec![7; 700_000]).unwrap();
    let (archive, release) = (archive.to_str().unwrap(), release.to_str().unwrap());
    let commit = "c".repeat(40);
    let create = [
        "release",
        "create",
        "--version",
        "3.0.0",
        "--commit",
        &commit,
    ];
    fleet
        .ctl(&[&create[..], &["--archive", archive, "--out", release]].concat())
        .await
        .exits(0);
    fleet.nodes[1].state().lacks_image = true;
    let rollout = ["rollout", "--nodes", "all", "--yes", "--release", release];
    fleet
        .ctl(&rollout)
        .await
        .exits(2)
        .says("these nodes lack it: node-2");
    fleet
        .ctl(&[&rollout[..], &["--archive", archive]].concat())
        .await
        .exits(0);
    assert_eq!(fleet.versions(), ["3.0.0", "3.0.0"]);
    assert!(fleet.nodes[0].state().image.is_empty());
    assert_eq!(fleet.nodes[1].state().image.len(), 700_000);
    assert_eq!(fleet.nodes[1].state().fetches, 1, "kept until its turn");
    let fetch = ["release", "fetch", "--nodes", "all", "--release", release];
    let answer = fleet.ctl(&fetch).await.exits(2);
    answer.says("no node can fetch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_goes_to_the_nodes_whose_files_were_edited_and_to_no_other() {
    let fleet = Fleet::of(3).await;
    let redeploy = ["redeploy", "--nodes", "all", "--yes"];
    fleet.ctl(&redeploy).await.exits(0).says("nothing to do");
    for node in [0, 2] {
        fleet.nodes[node].state().files = Some(Digest::of(b"edited"));
    }
    fleet.ctl(&redeploy).await.exits(0).says("redeploying");
    assert_eq!(fleet.operations(), [1, 0, 1]);
    fleet.ctl(&redeploy).await.exits(0).says("nothing to do");
}
