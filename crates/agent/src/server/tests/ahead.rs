//! Images fetched ahead of their deployment.

use std::time::Duration;

use super::*;
use crate::progress::Progress;

async fn fetch(
    bench: &Bench,
    by: &Operator,
    file: &[u8],
) -> Result<Vec<v1::FetchProgress>, Status> {
    let body = Body::FetchImage(v1::FetchImage {
        release: file.to_vec().into(),
    });
    let mut client = bench.client(by).deployments;
    let stream = client.fetch_image(bench.signed(by, body)).await?;
    let messages: Vec<_> = stream.into_inner().collect().await;
    messages.into_iter().collect()
}

#[tokio::test]
async fn an_image_is_fetched_without_a_lease_and_kept_until_its_rollout_ended() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let release = release("2.0.0", 2);
    let file = release.to_bytes().unwrap();
    let progress = Progress {
        bytes_done: 1,
        bytes_total: Some(4),
        ..Progress::stage("downloading the image")
    };
    let go_on = bench.world.hold_pulls(progress);
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        go_on.notify_one();
    };
    let (told, ()) = tokio::join!(fetch(&bench, &alice, &file), let_go);
    let told = told.unwrap();
    let (last, before) = told.split_last().unwrap();
    assert!(before.iter().all(|message| message.fetched.is_none()));
    let fetched = last.fetched.unwrap();
    assert!(!fetched.was_here);
    let until = bench.clock.now().as_second() + 7 * 24 * 3600;
    assert_eq!(fetched.kept_until.unwrap().seconds, until);
    let kept = bench.node.state.kept_images(bench.clock.now()).await;
    assert_eq!(kept.unwrap(), [release.image]);

    let rollout = Ulid::generate();
    let record = crate::state::RolloutRecord {
        id: rollout,
        operator: "alice".into(),
        rollout: b"{}".to_vec(),
        release: file,
        created_at: bench.clock.now(),
        ending: String::new(),
    };
    bench.node.state.keep_rollout(&record).await.unwrap();
    let body = Body::EndRollout(v1::EndRollout {
        rollout_id: rollout.to_string(),
        ending: "done".into(),
    });
    let mut nodes = bench.client(&alice).nodes;
    nodes.end_rollout(bench.signed(&alice, body)).await.unwrap();
    let kept = bench.node.state.kept_images(bench.clock.now()).await;
    assert_eq!(kept.unwrap(), []);
    let removed = async {
        while !bench.world.was_called("containers.prune_images") {
            tokio::task::yield_now().await;
        }
    };
    let removed = tokio::time::timeout(Duration::from_secs(10), removed).await;
    removed.unwrap();
}

#[tokio::test]
async fn what_fails_says_why_and_what_is_no_release_is_not_fetched() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let file = release("2.0.0", 2).to_bytes().unwrap();
    bench.world.break_for("containers.fetch", 1);
    let told = failure(fetch(&bench, &alice, &file).await.unwrap_err());
    assert!(told.to_string().contains("was made to fail"), "{told}");
    let told = failure(fetch(&bench, &alice, b"{}").await.unwrap_err());
    assert_eq!(told.what, "this is not a release");
}
