//! A fetch is shared, bounded, and never fills the disk.

use togather_model::{EventKind, OperationState, Step};

use super::*;
use crate::deploy::{
    Deployment,
    tests::fakes::{World, release},
};

const MIB: u64 = 1 << 20;

fn half_of(total: u64) -> Progress {
    Progress {
        bytes_done: total / 2,
        bytes_total: Some(total),
        ..Progress::stage("downloading the image")
    }
}

/// Waits until the fetch has said this.
async fn until(stages: &watch::Receiver<Stage>, expected: &Progress) {
    let mut stages = stages.clone();
    let is_said = |stage: &Stage| matches!(stage, Stage::UnderWay(said) if said == expected);
    let said = timeout(Duration::from_secs(10), stages.wait_for(is_said)).await;
    said.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_asks_for_the_same_image_shares_one_fetch() {
    let world = World::empty().await;
    let (node, image) = (world.node(), release("1.0.0", 0).image);
    let progress = half_of(8 * MIB);
    let go_on = world.hold_pulls(progress.clone());
    let first = node.fetches.fetch(&node, &image);
    until(&first, &progress).await;
    let second = node.fetches.fetch(&node, &image);
    until(&second, &progress).await;
    assert_eq!(node.fetches.progress(), [(image.reference(), progress)]);
    let other = node.fetches.fetch(&node, &release("2.0.0", 0).image);
    go_on.notify_one();
    go_on.notify_one();
    for stages in [first, second, other] {
        let fetched = ended(stages, |_| ()).await.unwrap();
        assert!(!fetched.was_here);
    }
    assert_eq!(world.times_called("containers.fetch"), 2, "one an image");
    assert_eq!(node.fetches.progress(), []);
}

#[tokio::test]
async fn a_deployment_waits_for_the_fetch_that_was_begun_ahead_of_it() {
    let world = World::with_one_version_live("1.0.0").await;
    let node = world.node();
    let (operation, plan) = world.deployment();
    let begun = world.state.begin_operation(&operation, &plan).await;
    begun.unwrap();
    let release = world.state.release(operation.release).await;
    let release = release.unwrap().unwrap();
    let progress = half_of(8 * MIB);
    let go_on = world.hold_pulls(progress.clone());
    let ahead = node.fetches.fetch(&node, &release.image);
    until(&ahead, &progress).await;
    let deployment = Deployment::new(&node, &operation, &plan, &release);
    // What it is told of the fetch shows that the deployment has joined it.
    let has_joined = async || {
        let step = Step::FetchImage;
        let told = world.events().await.into_iter();
        told.map(|event| event.kind)
            .any(|kind| matches!(kind, EventKind::StepProgress { step: of, .. } if of == step))
    };
    let let_go = async {
        while !has_joined().await {
            tokio::task::yield_now().await;
        }
        go_on.notify_one();
    };
    let (ending, ()) = tokio::join!(deployment.carry_out(), let_go);
    assert_eq!(ending, OperationState::Done);
    assert_eq!(world.times_called("containers.fetch"), 1);
}

#[tokio::test]
async fn an_image_that_would_fill_the_disk_is_given_up() {
    let world = World::empty().await;
    let node = world.node();
    let least = node.strategy.min_disk_free;
    world.leave_disk(least + 100 * MIB);
    // 60 MiB are still to come, and take as much again unpacked.
    world.hold_pulls(half_of(120 * MIB));
    let stages = node.fetches.fetch(&node, &release("1.0.0", 0).image);
    let failure = timeout(Duration::from_secs(10), ended(stages, |_| ())).await;
    let failure = failure.unwrap().unwrap_err();
    let needed = (least + 120 * MIB) >> 20;
    let expected = format!("this image needs {needed} MiB");
    assert!(failure.what.contains(&expected), "{failure}");
    assert!(!world.was_called("containers.fetch"), "it went on");

    world.leave_disk(least - 1);
    let stages = node.fetches.fetch(&node, &release("2.0.0", 0).image);
    let failure = ended(stages, |_| ()).await.unwrap_err();
    assert!(
        failure.what.starts_with("the image does not fit"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_fetch_ends_with_the_agent() {
    let world = World::empty().await;
    let node = world.node();
    world.hold_pulls(half_of(MIB));
    let stages = node.fetches.fetch(&node, &release("1.0.0", 0).image);
    until(&stages, &half_of(MIB)).await;
    node.fetches.stop();
    let failure = ended(stages, |_| ()).await.unwrap_err();
    assert!(failure.what.contains("the agent stopped"), "{failure}");
}

#[tokio::test]
async fn what_fails_is_told_and_may_be_tried_again() {
    let world = World::empty().await;
    let node = world.node();
    world.break_for("containers.fetch", 1);
    let image = release("1.0.0", 0).image;
    let failure = ended(node.fetches.fetch(&node, &image), |_| ()).await;
    let failure = failure.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the image could not be fetched: containers.fetch was made to fail"
    );
    let again = ended(node.fetches.fetch(&node, &image), |_| ()).await;
    again.unwrap();
}
