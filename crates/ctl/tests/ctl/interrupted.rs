//! A controller that is stopped or killed in mid-rollout, and the rollout taken up elsewhere.

use togather_model::{Failure, FailureKind};
use tokio::process::Child;

use crate::support::{Answer, Fleet, ctl, eventually, interrupt, node::Script};

/// A rollout whose first node is in the middle of its deployment.
async fn half_way() -> (Fleet, Child, String) {
    let fleet = Fleet::of(3).await;
    fleet.nodes[0].script(Script::Wait);
    let controller = fleet.roll_out_in_background();
    eventually("node-1 deploys", || fleet.operations() == [1, 0, 0]).await;
    let id = fleet.rollout_id();
    (fleet, controller, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controllers_rollout_is_finished_from_a_copy_of_the_files() {
    let (fleet, mut controller, id) = half_way().await;
    controller.kill().await.unwrap();
    let elsewhere = fleet.copy();
    let listed = ctl(&elsewhere.path().join("fleet.yml"), &["rollout", "list"])
        .await
        .exits(0);
    assert!(
        listed.stdout.contains(&id) && listed.stdout.contains("not ended"),
        "{}",
        listed.stdout
    );

    fleet.nodes[0].script(Script::Succeed);
    ctl(
        &elsewhere.path().join("fleet.yml"),
        &["rollout", "resume", &id],
    )
    .await
    .exits(0);
    assert_eq!(fleet.versions(), ["2.0.0", "2.0.0", "2.0.0"]);
    assert_eq!(fleet.operations(), [1, 1, 1], "nothing is deployed twice");

    fleet
        .ctl(&["rollout", "resume", &id])
        .await
        .exits(0)
        .says("nothing to do");
    fleet.ctl(&["rollout", "abort", &id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_the_node_to_itself_and_says_how_to_go_on() {
    let (fleet, controller, id) = half_way().await;
    interrupt(controller)
        .await
        .exits(130)
        .says("finishes on its own")
        .says(&format!("rollout resume {id}"));
    fleet.nodes[0].script(Script::Succeed);
    eventually("node-1 finishes", || fleet.versions()[0] == "2.0.0").await;
    fleet.ctl(&["rollout", "resume", &id]).await.exits(0);
    assert_eq!(fleet.operations(), [1, 1, 1]);
}

/// The first node was touched before: nobody is told otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_rollout_goes_no_further_while_a_node_cannot_fetch_the_image() {
    let (fleet, mut controller, id) = half_way().await;
    controller.kill().await.unwrap();
    let failure = Failure::new(FailureKind::Other, "the image could not be fetched");
    fleet.nodes[2].state().cannot_fetch = Some(failure);
    let resume = ["rollout", "resume", &id];
    let answer = fleet.ctl(&resume).await.exits(1);
    let answer = answer.says("node-3: the image could not be fetched");
    answer.says("no further node was touched");
    assert_eq!(fleet.operations(), [1, 0, 0]);

    fleet.nodes[2].state().cannot_fetch = None;
    fleet.nodes[0].script(Script::Succeed);
    fleet.ctl(&resume).await.exits(0);
    assert_eq!(fleet.operations(), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_takes_nodes_back_whether_or_not_the_others_get_the_image() {
    let fleet = Fleet::of(3).await;
    fleet.nodes[1].script(Script::Wait);
    let release = fleet.path("2.0.0.json");
    let release = release.to_str().unwrap();
    let undo = [
        "rollout",
        "--nodes",
        "all",
        "--yes",
        "--on-failure",
        "undo",
        "--release",
    ];
    let mut controller = fleet.ctl_in_background(&[&undo[..], &[release]].concat());
    eventually("node-2 deploys", || fleet.operations() == [1, 1, 0]).await;
    let id = fleet.rollout_id();
    controller.kill().await.unwrap();
    fleet.nodes[1].script(Script::Fail);
    let has_failed = || fleet.nodes[1].state().operations[0].ended_at.is_some();
    eventually("node-2 fails", has_failed).await;
    let why = "the image could not be fetched";
    fleet.nodes[2].state().cannot_fetch = Some(Failure::new(FailureKind::Other, why));
    let fetches = fleet.nodes[2].state().fetches;

    let answer = fleet.ctl(&["rollout", "resume", &id]).await.exits(4);
    assert!(
        answer.stderr.contains("node-1: going back"),
        "{}",
        answer.stderr
    );
    assert_eq!(fleet.versions(), ["1.0.0", "1.0.0", "1.0.0"]);
    assert_eq!(fleet.nodes[0].state().rollouts[0].ending, "undone");
    assert_eq!(
        fleet.nodes[2].state().fetches,
        fetches,
        "nobody needs it there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_is_interrupted_before_it_touches_a_node_has_ended() {
    let fleet = Fleet::of(2).await;
    fleet.nodes[1].state().fetches_for_ever = true;
    let controller = fleet.roll_out_in_background();
    eventually("node-2 fetches", || fleet.nodes[1].state().fetches == 1).await;
    interrupt(controller)
        .await
        .exits(130)
        .says("no node was touched");
    assert_eq!(fleet.operations(), [0, 0]);
    for node in &fleet.nodes {
        assert_eq!(node.state().rollouts[0].ending, "aborted");
        let lease = node.state().lease.clone().unwrap();
        assert!(lease.expires_at <= togather_model::Timestamp::now());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_fences_the_controller_it_takes_over_from() {
    let (fleet, controller, id) = half_way().await;
    let resumed = tokio::spawn({
        let (path, id) = (fleet.path("fleet.yml"), id.clone());
        async move { ctl(&path, &["rollout", "resume", &id]).await }
    });
    let fencing = || fleet.nodes[2].state().lease.as_ref().unwrap().fencing;
    eventually("the leases pass on", || fencing() == 2).await;
    fleet.nodes[0].script(Script::Succeed);
    resumed.await.unwrap().exits(0);
    // The first controller finds node-1 done, and may touch no other.
    Answer::from(controller.wait_with_output().await.unwrap()).exits(3);
    assert_eq!(fleet.versions(), ["2.0.0", "2.0.0", "2.0.0"]);
    assert_eq!(fleet.operations(), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_rollout_ends_its_leases_and_cannot_go_on() {
    let (fleet, mut controller, id) = half_way().await;
    controller.kill().await.unwrap();
    let answer = fleet.ctl(&["rollout", "abort", &id]).await.exits(0);
    assert!(
        answer.stdout.contains("aborted") && answer.stdout.contains("running"),
        "{}",
        answer.stdout
    );
    for node in &fleet.nodes {
        let lease = node.state().lease.clone().unwrap();
        assert!(lease.expires_at <= togather_model::Timestamp::now());
    }
    fleet.nodes[0].script(Script::Succeed);
    fleet
        .ctl(&["rollout", "resume", &id, "--yes"])
        .await
        .exits(2)
        .says("it was aborted");
    assert_eq!(fleet.operations(), [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_renewed_for_as_long_as_a_deployment_takes() {
    let (fleet, mut controller, _) = half_way().await;
    let expires_at = || fleet.nodes[2].state().lease.clone().unwrap().expires_at;
    let first = expires_at();
    eventually("the lease is renewed", || expires_at() > first).await;
    controller.kill().await.unwrap();
}
