//! A command runs once, and only while it is fresh.

use super::*;

#[tokio::test]
async fn the_same_envelope_again_is_refused_at_once_and_after_a_restart() {
    let mut bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    let client = bench.client(&alice);
    client
        .send(method::ACQUIRE_LEASE, signed.clone())
        .await
        .unwrap();
    let answer = client.send(method::ACQUIRE_LEASE, signed.clone()).await;
    bench.assert_refused(answer, "replayed").await;
    bench.restart().await;
    let answer = bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed)
        .await;
    bench.assert_refused(answer, "replayed").await;
    assert_eq!(bench.audited().await, ["accepted", "replayed", "replayed"]);
}

#[tokio::test]
async fn a_lost_state_file_does_not_let_old_commands_in_again() {
    let mut bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed.clone())
        .await
        .unwrap();
    bench.stop().await;
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(bench.path(file));
    }
    bench.clock.move_by(10);
    bench.serve().await;
    let answer = bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed)
        .await;
    bench.assert_refused(answer, "issued_before_state").await;
}

#[tokio::test]
async fn of_two_at_the_same_moment_one_is_refused() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    let (one, other) = (bench.client(&alice), bench.client(&alice));
    let answers = tokio::join!(
        one.send(method::ACQUIRE_LEASE, signed.clone()),
        other.send(method::ACQUIRE_LEASE, signed),
    );
    assert!(answers.0.is_ok() != answers.1.is_ok(), "{answers:?}");
    let mut audited = bench.audited().await;
    audited.sort();
    assert_eq!(audited, ["accepted", "replayed"]);
}

#[tokio::test]
async fn a_deployment_ordered_twice_is_one_deployment() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let mut client = bench.client(&alice);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    let mut command = bench.command(&alice, deploy("2.0.0", Duration::from_millis(2), &lease));
    let signed = sign(&alice, NAMESPACE, &command.encode_to_vec());
    let first = client
        .deployments
        .deploy(signed.clone())
        .await
        .unwrap()
        .into_inner();
    let id = first.operation.unwrap().id;
    client.follow(&id, 0).await;

    // The same bytes, and then a new envelope for the same operation, as after a lost answer.
    let again = client
        .deployments
        .deploy(signed)
        .await
        .unwrap()
        .into_inner();
    command.nonce = vec![7; 32].into();
    let resent = sign(&alice, NAMESPACE, &command.encode_to_vec());
    let resent = client
        .deployments
        .deploy(resent)
        .await
        .unwrap()
        .into_inner();
    for answer in [again, resent] {
        let operation = answer.operation.unwrap();
        assert_eq!(
            (operation.id, operation.state),
            (id.clone(), v1::OperationState::Done.into())
        );
    }
    assert_eq!(bench.node.state.operations(None, 9).await.unwrap().len(), 1);
    assert_eq!(
        bench.audited().await,
        ["accepted", "accepted", "repeated", "accepted"]
    );

    // The id says which operation is meant; it does not stand for another one.
    command.nonce = vec![8; 32].into();
    command.body = Some(deploy("3.0.0", Duration::from_millis(2), &lease));
    let other = sign(&alice, NAMESPACE, &command.encode_to_vec());
    let told = failure(client.deployments.deploy(other).await.unwrap_err());
    assert!(told.what.contains("was something else"), "{told}");
}

#[tokio::test]
async fn a_command_is_good_for_its_time_and_not_longer() {
    for (seconds, code) in [(151, "expired"), (-31, "not_yet_valid")] {
        let bench = Bench::start().await;
        let alice = bench.admit("alice", Role::Admin);
        let signed = bench.signed(&alice, acquire(Ulid::generate()));
        bench.clock.move_by(seconds);
        let answer = bench
            .client(&alice)
            .send(method::ACQUIRE_LEASE, signed)
            .await;
        bench.assert_refused(answer, code).await;
    }
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let mut command = bench.command(&alice, acquire(Ulid::generate()));
    command.expires_at.as_mut().unwrap().seconds += 600;
    let signed = sign(&alice, NAMESPACE, &command.encode_to_vec());
    let answer = bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed)
        .await;
    bench.assert_refused(answer, "lifetime_too_long").await;
}

#[tokio::test]
async fn a_clock_set_back_does_not_make_an_old_command_fresh() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    bench.clock.move_by(500);
    bench.lease(&alice, Ulid::generate()).await;
    bench.clock.move_by(-400);
    let signed = bench.signed(&alice, acquire(Ulid::generate()));
    let answer = bench
        .client(&alice)
        .send(method::ACQUIRE_LEASE, signed)
        .await;
    bench.assert_refused(answer, "clock_moved_back").await;
}
