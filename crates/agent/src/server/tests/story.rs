//! A node as its operators use it: lease, plan, deploy, follow, look, go back.

use togather_model::{EventKind, Plan, Step};
use togather_proto::v1::{OperationState, plan_request, plan_response};

use super::*;
use crate::{
    operations::{Operations, Wanted},
    progress::Progress,
};

const SOAK: Duration = Duration::from_millis(2);

/// Orders a deployment and returns its id; it may still be under way.
async fn order(bench: &Bench, by: &Operator, body: Body) -> String {
    let signed = bench.signed(by, body);
    let mut client = bench.client(by).deployments;
    let answer = client.deploy(signed).await.unwrap().into_inner();
    answer.operation.unwrap().id
}

#[tokio::test]
async fn a_release_is_planned_deployed_followed_and_remembered() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let mut client = bench.client(&alice);
    let file = release("2.0.0", 2).to_bytes().unwrap();
    let question = v1::PlanRequest {
        wanted: Some(plan_request::Wanted::Release(file.into())),
        soak: None,
    };
    let answer = client
        .deployments
        .plan(question)
        .await
        .unwrap()
        .into_inner();
    let Some(plan_response::Answer::Plan(plan)) = answer.answer else {
        panic!("{answer:?}");
    };
    assert_eq!((plan.version.as_str(), plan.migrations), ("2.0.0", vec![2]));
    assert!(!answer.image_missing);

    let rollout = Ulid::generate();
    let lease = bench.lease(&alice, rollout).await;
    let id = order(&bench, &alice, deploy("2.0.0", SOAK, &lease)).await;
    let events = client.follow(&id, 0).await;
    assert!(matches!(events[0].kind, EventKind::Started { .. }));
    assert!(matches!(
        events.last().unwrap().kind,
        EventKind::Completed { .. }
    ));

    let question = v1::HistoryRequest {
        rollout_id: Some(rollout.to_string()),
        ..v1::HistoryRequest::default()
    };
    let history = client
        .deployments
        .history(question)
        .await
        .unwrap()
        .into_inner()
        .operations;
    assert_eq!(history.len(), 1);
    assert_eq!(
        (history[0].id.as_str(), history[0].state()),
        (id.as_str(), OperationState::Done)
    );

    let status = client
        .nodes
        .status(v1::StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.live.unwrap().version, "2.0.0");
    assert_eq!(status.health.unwrap().status, "healthy");
    assert_eq!(status.schema.unwrap().version, Some(2));
    assert_eq!(status.last.unwrap().id, id);
    assert_eq!(status.lease.unwrap().operator, "alice");
    assert_eq!(status.drift, Vec::<String>::new());
    assert_eq!(status.last_snapshot.unwrap().reason, "pre-migration");
}

#[tokio::test]
async fn whoever_attaches_again_misses_nothing_and_gets_nothing_twice() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    let id = order(&bench, &alice, deploy("2.0.0", SOAK, &lease)).await;
    let client = bench.client(&alice);
    let all = client.follow(&id, 0).await;
    assert!(
        all.iter()
            .map(|event| event.sequence)
            .eq(1..=all.len() as u64)
    );
    for after in 1..=all.len() {
        assert_eq!(
            client.follow(&id, after as u64).await,
            all[after..],
            "after {after}"
        );
    }
}

#[tokio::test]
async fn one_thing_at_a_time_touches_the_node() {
    let bench = Bench::start().await;
    let (alice, bob) = (
        bench.admit("alice", Role::Deployer),
        bench.admit("bob", Role::Admin),
    );
    let lease = bench.lease(&alice, Ulid::generate()).await;
    let stolen = bench.signed(&bob, deploy("3.0.0", SOAK, &lease));
    let told = failure(
        bench
            .client(&bob)
            .send(method::DEPLOY, stolen)
            .await
            .unwrap_err(),
    );
    assert_eq!(told.kind, FailureKind::Held);
    assert!(told.what.contains("taken by alice"), "{told}");

    bench.world.hold_pulls(Progress::stage("fetching"));
    order(&bench, &alice, deploy("2.0.0", SOAK, &lease)).await;
    let second = bench.signed(&alice, deploy("3.0.0", SOAK, &lease));
    let told = failure(
        bench
            .client(&alice)
            .send(method::DEPLOY, second)
            .await
            .unwrap_err(),
    );
    assert_eq!(told.kind, FailureKind::Held);
    assert!(
        told.what
            .contains("2.0.0 is being brought to this node by alice"),
        "{told}"
    );
    // Her lease has run out meanwhile, but not what she began under it.
    bench.clock.move_by(120);
    let rival = bench.signed(&bob, acquire(Ulid::generate()));
    let told = failure(
        bench
            .client(&bob)
            .send(method::ACQUIRE_LEASE, rival)
            .await
            .unwrap_err(),
    );
    assert_eq!(told.kind, FailureKind::Held);
}

/// A cut stream says nothing about the operation: no ending is made up.
#[tokio::test]
async fn a_stream_that_ends_with_the_agent_has_no_ending() {
    let mut bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    bench.world.hold_pulls(Progress::stage("fetching"));
    let id = order(&bench, &alice, deploy("2.0.0", SOAK, &lease)).await;
    let wanted = v1::FollowRequest {
        operation_id: id,
        after_sequence: 0,
    };
    let mut client = bench.client(&alice).deployments;
    let mut events = client.follow(wanted).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap();
    bench.stop().await;
    let mut heard = vec![first];
    while let Ok(Some(event)) = events.message().await {
        heard.push(event);
    }
    let endings = heard.into_iter().filter(|event| {
        togather_model::Event::try_from(event.clone())
            .unwrap()
            .kind
            .is_ending()
    });
    assert_eq!(endings.count(), 0);
}

#[tokio::test]
async fn what_an_interruption_left_is_taken_up_at_the_start_where_all_can_see_it() {
    let mut bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    bench.stop().await;
    let file = release("2.0.0", 2).to_bytes().unwrap();
    let wanted = Wanted::Release(file.clone().into());
    let plan = Operations::new(bench.node.clone())
        .preview(&wanted, None)
        .await
        .plan
        .unwrap();
    let operation = togather_model::Operation {
        id: plan.operation_id,
        kind: plan.kind,
        operator: "alice".into(),
        rollout: None,
        release: plan.release,
        version: plan.version.clone(),
        state: togather_model::OperationState::Running,
        started_at: bench.clock.now(),
        ended_at: None,
        failure: None,
    };
    let (state, now) = (&bench.node.state, bench.clock.now());
    state.keep_release(&file).await.unwrap();
    state.begin_operation(&operation, &plan).await.unwrap();
    let begun = EventKind::StepStarted {
        step: Step::StartSlot,
    };
    state
        .append_event(&operation, "node-1", Ulid::generate(), now, begun)
        .await
        .unwrap();

    bench.serve().await;
    let events = bench
        .client(&alice)
        .follow(&operation.id.to_string(), 0)
        .await;
    let resumed = EventKind::Resumed {
        forward: false,
        interrupted: Some(Step::StartSlot),
    };
    assert_eq!(events[1].kind, resumed);
    assert!(matches!(
        events.last().unwrap().kind,
        EventKind::Undone { .. }
    ));
    assert_eq!(bench.world.facts().serving.as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_lost_lease_is_told_before_anything_is_touched() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let holder = Ulid::generate();
    let old = bench.lease(&alice, holder).await;
    bench.lease(&alice, holder).await;
    let signed = bench.signed(&alice, deploy("2.0.0", SOAK, &old));
    let told = failure(
        bench
            .client(&alice)
            .send(method::DEPLOY, signed)
            .await
            .unwrap_err(),
    );
    assert_eq!(told.kind, FailureKind::Held);
    assert_eq!(bench.world.calls_since_restart(), 0);
}

#[tokio::test]
async fn rollback_brings_the_version_before_back() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let mut client = bench.client(&alice);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    let back = |version: Option<&str>| {
        Body::Rollback(v1::Rollback {
            version: version.map(Into::into),
            soak: Some(time::duration(SOAK)),
            lease: Some(lease.clone()),
        })
    };
    let nowhere = bench.signed(&alice, back(None));
    let told = failure(client.deployments.rollback(nowhere).await.unwrap_err());
    assert!(told.what.contains("no version ran"), "{told}");

    for version in ["2.0.0", "3.0.0"] {
        let id = order(&bench, &alice, deploy(version, SOAK, &lease)).await;
        client.follow(&id, 0).await;
    }
    for (to, expected) in [(None, "2.0.0"), (Some("3.0.0"), "3.0.0")] {
        let signed = bench.signed(&alice, back(to));
        let answer = client
            .deployments
            .rollback(signed)
            .await
            .unwrap()
            .into_inner();
        let operation = answer.operation.unwrap();
        assert_eq!(operation.kind(), v1::OperationKind::Rollback);
        client.follow(&operation.id, 0).await;
        assert_eq!(bench.world.facts().serving.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_redeploy_applies_what_was_edited_and_a_rollback_after_it_brings_back_what_was() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let mut client = bench.client(&alice);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    bench.world.edit("as it was");
    let id = order(&bench, &alice, deploy("2.0.0", SOAK, &lease)).await;
    client.follow(&id, 0).await;
    let before = bench.node.live().await.unwrap().unwrap();

    bench.world.edit("edited");
    let status = client.nodes.status(v1::StatusRequest {}).await;
    let drift = status.unwrap().into_inner().drift;
    assert!(drift[0].contains("togather-ctl redeploy"), "{drift:?}");
    let again = Body::Redeploy(v1::Redeploy {
        soak: Some(time::duration(SOAK)),
        lease: Some(lease.clone()),
    });
    let signed = bench.signed(&alice, again);
    let answer = client.deployments.redeploy(signed).await.unwrap();
    let operation = answer.into_inner().operation.unwrap();
    assert_eq!(operation.kind(), v1::OperationKind::Redeploy);
    client.follow(&operation.id, 0).await;
    let after = bench.node.live().await.unwrap().unwrap();
    assert_eq!(
        (before.slot.other(), &before.version),
        (after.slot, &after.version)
    );
    assert_ne!(before.made_of, after.made_of);
    let status = client.nodes.status(v1::StatusRequest {}).await;
    assert_eq!(status.unwrap().into_inner().drift, Vec::<String>::new());

    let back = Body::Rollback(v1::Rollback {
        version: None,
        soak: Some(time::duration(SOAK)),
        lease: Some(lease.clone()),
    });
    let signed = bench.signed(&alice, back);
    let answer = client.deployments.rollback(signed).await.unwrap();
    client
        .follow(&answer.into_inner().operation.unwrap().id, 0)
        .await;
    let back = bench.node.live().await.unwrap().unwrap();
    assert_eq!(
        (&back.version, back.made_of),
        (&before.version, before.made_of)
    );
    assert!(back.made_of.is_some());
    let status = client.nodes.status(v1::StatusRequest {}).await;
    let drift = status.unwrap().into_inner().drift;
    assert!(
        drift[0].contains("togather-ctl redeploy"),
        "the files are as edited: {drift:?}"
    );
}

async fn preview_of_going_back(bench: &Bench) -> Plan {
    let operations = Operations::new(bench.node.clone());
    let preview = operations.preview(&Wanted::Back(None), None).await;
    preview.plan.unwrap()
}

#[tokio::test]
async fn what_is_not_known_to_be_made_from_the_files_is_redeployed_and_gone_back_to_with_a_warning()
{
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let mut client = bench.client(&alice);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    // As an agent did that wrote no fingerprints down.
    for version in ["2.0.0", "3.0.0"] {
        let id = order(&bench, &alice, deploy(version, SOAK, &lease)).await;
        client.follow(&id, 0).await;
    }
    assert_eq!(bench.node.live().await.unwrap().unwrap().made_of, None);
    bench.world.edit("as the files are");
    let again = Body::Redeploy(v1::Redeploy {
        soak: Some(time::duration(SOAK)),
        lease: Some(lease.clone()),
    });
    let signed = bench.signed(&alice, again);
    let answer = client.deployments.redeploy(signed).await.unwrap();
    let id = answer.into_inner().operation.unwrap().id;
    client.follow(&id, 0).await;
    let live = bench.node.live().await.unwrap().unwrap();
    assert_eq!(live.version, "3.0.0");
    assert!(live.made_of.is_some(), "it was made anew");

    let back = preview_of_going_back(&bench).await;
    assert_eq!(back.version, "3.0.0", "not the version before it");
    let is_told =
        |warning: &String| warning.starts_with("it is not known what 3.0.0 was made from");
    assert!(back.warnings.iter().any(is_told), "{:?}", back.warnings);
}

/// The new files move the health path, and the version before knows only the old one.
#[tokio::test]
async fn the_version_before_is_asked_and_judged_as_the_files_say_that_made_it() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let client = bench.client(&alice);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    bench.world.edit("with the old path");
    bench.world.move_health_with_the_files();
    let id = order(&bench, &alice, deploy("1.5.0", SOAK, &lease)).await;
    client.follow(&id, 0).await;
    bench.world.edit("with the new path");
    let preview = Operations::new(bench.node.clone());
    let preview = preview.preview(&Wanted::Again, None).await;
    let unwell = "the version that is live now is not healthy";
    let warnings = preview.plan.unwrap().warnings;
    assert!(!warnings.iter().any(|told| told == unwell), "{warnings:?}");

    bench.world.spoil_new_version_in_the_soak();
    let id = order(
        &bench,
        &alice,
        deploy("2.0.0", Duration::from_secs(60), &lease),
    )
    .await;
    client.follow(&id, 0).await;
    let ended = bench.node.state.operation(id.parse().unwrap()).await;
    let ended = ended.unwrap().unwrap();
    assert_eq!(
        ended.state,
        togather_model::OperationState::Undone,
        "{:?}",
        ended.failure
    );
    assert_eq!(bench.world.facts().serving.as_deref(), Some("1.5.0"));
}

#[tokio::test]
async fn a_rollback_says_when_what_it_makes_is_not_what_served() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let client = bench.client(&alice);
    let lease = bench.lease(&alice, Ulid::generate()).await;
    bench.world.edit("as it was");
    for version in ["2.0.0", "3.0.0"] {
        let id = order(&bench, &alice, deploy(version, SOAK, &lease)).await;
        client.follow(&id, 0).await;
    }
    bench.world.edit("edited");
    // Its files were not kept: no state of them is recorded here.
    let state = sqlx::SqlitePool::connect_with(
        sqlx::sqlite::SqliteConnectOptions::new().filename(bench.path("state.db")),
    );
    let forget =
        "UPDATE operation SET plan = json_remove(plan, '$.configuration', '$.app_configuration')";
    let forgotten = sqlx::query(forget).execute(&state.await.unwrap()).await;
    forgotten.unwrap();
    let back = preview_of_going_back(&bench).await;
    assert_eq!(back.version, "2.0.0");
    let is_told = |warning: &String| warning.starts_with("2.0.0 cannot be made as it served");
    assert!(back.warnings.iter().any(is_told), "{:?}", back.warnings);
}

#[tokio::test]
async fn a_rollout_is_remembered_with_its_lease_until_it_is_over() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Deployer);
    let mut client = bench.client(&alice);
    let holder = Ulid::generate();
    let rollout = v1::StoredRollout {
        rollout: b"as the controller wrote it".to_vec().into(),
        release: b"the release file".to_vec().into(),
    };
    let acquire = Body::AcquireLease(v1::AcquireLease {
        holder: holder.to_string(),
        lifetime: None,
        rollout: Some(rollout.clone()),
    });
    client
        .send(method::ACQUIRE_LEASE, bench.signed(&alice, acquire))
        .await
        .unwrap();
    let end = |ending: &str| {
        Body::EndRollout(v1::EndRollout {
            rollout_id: holder.to_string(),
            ending: ending.into(),
        })
    };
    let unknown = client
        .send(method::END_ROLLOUT, bench.signed(&alice, end("won")))
        .await;
    assert!(
        failure(unknown.unwrap_err())
            .to_string()
            .contains("expected one of done")
    );
    client
        .send(method::END_ROLLOUT, bench.signed(&alice, end("done")))
        .await
        .unwrap();
    let known = client
        .nodes
        .rollouts(v1::RolloutsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(known.rollouts.len(), 1);
    assert_eq!(known.rollouts[0].rollout, Some(rollout));
    assert_eq!(known.rollouts[0].ending, "done");
}
