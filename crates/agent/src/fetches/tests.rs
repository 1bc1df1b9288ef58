//! A fetch is shared, bounded, and never fills the disk.

use togather_model::{EventKind, Lease, OperationState, Step, Timestamp, Ulid};

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
    let (free, reserve) = ((least + 100 * MIB) >> 20, least >> 20);
    assert_eq!(
        failure.what,
        format!(
            "the image does not fit: the disk has {free} MiB free; the rest of the image takes 120 MiB, and \
             {reserve} MiB must stay free (`strategy.min_disk_free`)"
        )
    );
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
async fn what_is_downloaded_whole_needs_its_room_once_more_and_not_twice() {
    let world = World::empty().await;
    let node = world.node();
    world.leave_disk(node.strategy.min_disk_free + 100 * MIB);
    let unpacking = Progress {
        message: UNPACKING.into(),
        ..half_of(120 * MIB)
    };
    let go_on = world.hold_pulls(unpacking.clone());
    let stages = node.fetches.fetch(&node, &release("1.0.0", 0).image);
    until(&stages, &unpacking).await;
    // The disk is looked at once more before it goes on.
    tokio::time::sleep(2 * LOOK).await;
    go_on.notify_one();
    ended(stages, |_| ()).await.unwrap();
}

#[test]
fn the_room_that_is_needed_never_grows_while_an_image_comes() {
    proptest::proptest!(|(total in 1..u64::MAX, a: u64, b: u64)| {
        let (less, more) = ((a % total).min(b % total), (a % total).max(b % total));
        for message in ["downloading the image", UNPACKING] {
            let at = |bytes_done| to_come(&Stage::UnderWay(Progress {
                bytes_done,
                bytes_total: Some(total),
                ..Progress::stage(message)
            }));
            proptest::prop_assert!(at(more) <= at(less));
            proptest::prop_assert!(at(less) >= total - less);
        }
    });
}

/// Whether images are removed, when the rollout with the nil id has ended.
async fn removes(world: &World, node: &Node) -> bool {
    let before = world.times_called("containers.prune_images");
    let pruned = prune::prune_between_deployments(node, Some(Ulid::nil())).await;
    pruned.unwrap();
    world.times_called("containers.prune_images") > before
}

#[tokio::test]
async fn images_are_removed_only_while_nothing_can_be_about_to_need_them() {
    let world = World::with_one_version_live("1.0.0").await;
    let node = world.node();
    assert!(removes(&world, &node).await);

    let go_on = world.hold_pulls(half_of(MIB));
    let stages = node.fetches.fetch(&node, &release("2.0.0", 0).image);
    until(&stages, &half_of(MIB)).await;
    assert!(!removes(&world, &node).await, "an image is on its way");
    go_on.notify_one();
    ended(stages, |_| ()).await.unwrap();

    for (holder, expected) in [(Ulid::nil(), true), (Ulid::generate(), false)] {
        let now = node.host.now();
        let lease = Lease {
            holder,
            fencing: 1,
            operator: "alice".into(),
            acquired_at: now,
            expires_at: Timestamp::MAX,
        };
        let taken = world.state.change_lease(|_| Ok(lease)).await;
        taken.unwrap().unwrap();
        assert_eq!(removes(&world, &node).await, expected, "held for {holder}");
    }
}

#[tokio::test]
async fn no_image_is_removed_beside_a_deployment() {
    let world = World::with_one_version_live("1.0.0").await;
    let node = world.node();
    let (operation, plan) = world.deployment();
    let begun = world.state.begin_operation(&operation, &plan).await;
    begun.unwrap();
    assert!(!removes(&world, &node).await);
}

#[tokio::test]
async fn no_fetch_begins_while_images_are_removed() {
    let world = World::empty().await;
    let node = world.node();
    let held = node.fetches.hold_back().unwrap();
    let stages = node.fetches.fetch(&node, &release("1.0.0", 0).image);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(
        !world.was_called("containers.has_image"),
        "it looked for the image"
    );
    drop(held);
    ended(stages, |_| ()).await.unwrap();
    assert!(node.fetches.hold_back().is_some());
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
