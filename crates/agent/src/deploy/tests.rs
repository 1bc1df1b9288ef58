//! Fail at every step, crash at every step, undo twice: on fakes, with a real journal.
//!
//! Every call that a deployment makes to the outside is numbered. For each of them, in turn, the
//! world makes it fail, or cuts the power before or after it took effect. Whatever happens, the
//! node must end on exactly one known version with nothing left over.

pub(crate) mod fakes;
mod stored;

use std::{sync::Arc, time::Duration};

use fakes::{Fault, Lacking, World};
use togather_model::{
    Event, EventKind, Operation, OperationState, Release, SnapshotEvent, Step, Timestamp, Ulid,
    Undo,
};
use tokio_util::sync::CancellationToken;

use super::{Deployment, tidy};

const OLD: &str = "1.0.0";
const NEW: &str = "2.0.0";

/// What a power cut and the restart after it leave behind.
async fn carry_out_with(world: &Arc<World>) -> OperationState {
    match world.deploy().await {
        Some(ending) => ending,
        None => {
            world.end_of_fault();
            world.restart().await.expect("an interrupted operation")
        }
    }
}

fn assert_on_one_known_version(world: &World, ending: OperationState, what: &str) {
    let facts = world.facts();
    let expected = match ending {
        OperationState::Done => NEW,
        OperationState::Undone => OLD,
        OperationState::Stuck | OperationState::Running => panic!("{what}: ended {ending}"),
    };
    assert_eq!(
        facts.serving.as_deref(),
        Some(expected),
        "{what}: {facts:#?}"
    );
    assert_eq!(
        facts.running,
        [expected],
        "{what}: only what serves runs: {facts:#?}"
    );
    assert_eq!(facts.scratch_databases, 0, "{what}: {facts:#?}");
    if ending == OperationState::Undone {
        assert_eq!(
            facts.containers, 1,
            "{what}: the new container is gone: {facts:#?}"
        );
    }
}

#[tokio::test]
async fn a_deployment_that_nothing_disturbs_is_done() {
    let world = World::with_one_version_live(OLD).await;
    assert_eq!(world.deploy().await, Some(OperationState::Done));
    assert_on_one_known_version(&world, OperationState::Done, "undisturbed");

    let done = world.events().await.into_iter().filter_map(|event| {
        let EventKind::StepDone { step, .. } = event.kind else {
            return None;
        };
        Some(step)
    });
    assert!(done.eq(Step::ALL), "all steps, in order");
}

#[tokio::test]
async fn a_program_that_the_image_lacks_is_found_out_before_anything_is_changed() {
    let world = World::with_one_version_live(OLD).await;
    world.lose_the_program("sync");
    assert_eq!(world.deploy().await, Some(OperationState::Undone));
    let events = world.events().await;
    let began = |step: Step| {
        let begins = |event: &togather_model::Event| matches!(event.kind, EventKind::StepStarted { step: s } if s == step);
        events.iter().any(begins)
    };
    assert!(began(Step::FetchImage));
    assert!(!began(Step::BaseServices) && !began(Step::Snapshot));
    assert_on_one_known_version(&world, OperationState::Undone, "no such program");
}

#[tokio::test]
async fn failing_at_every_call_ends_on_one_known_version() {
    let calls = World::count_calls(OLD).await;
    assert!(calls > 25, "the fakes are called: {calls}");
    let (mut done, mut undone) = (0, 0);
    for call in 0..calls {
        let world = World::with_one_version_live(OLD).await;
        world.inject(call, Fault::Fail);
        let ending = world.deploy().await.expect("an ending");
        let what = format!("call {call} ({}) fails", world.name_of(call));
        assert_on_one_known_version(&world, ending, &what);
        if ending == OperationState::Done {
            done += 1;
        } else {
            undone += 1;
        }
    }
    assert!(
        undone > 10,
        "most failures take the deployment back: {undone}"
    );
    assert!(
        done > 0,
        "one lost health answer, or a failure to tidy, does not: {done}"
    );
}

#[tokio::test]
async fn a_power_cut_at_every_call_ends_on_one_known_version() {
    let calls = World::count_calls(OLD).await;
    for call in 0..calls {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let world = World::with_one_version_live(OLD).await;
            world.inject(call, fault);
            let ending = carry_out_with(&world).await;
            let what = format!("call {call} ({}): {fault:?}", world.name_of(call));
            assert_on_one_known_version(&world, ending, &what);

            let events = world.events().await;
            let switched = events.iter().any(|e| {
                matches!(
                    e.kind,
                    EventKind::StepDone {
                        step: Step::SwitchTraffic,
                        ..
                    }
                )
            });
            let expected = if switched {
                OperationState::Done
            } else {
                OperationState::Undone
            };
            assert_eq!(
                ending, expected,
                "{what}: before the switch back, after it forward"
            );
            assert!(
                events
                    .iter()
                    .map(|e| e.sequence)
                    .eq(1..=events.len() as u64)
            );
            assert!(events.last().is_some_and(|e| e.kind.is_ending()), "{what}");
        }
    }
}

#[tokio::test]
async fn a_second_power_cut_while_taking_back_changes_nothing_about_the_ending() {
    let undo_calls = {
        let world = World::with_one_version_live(OLD).await;
        world.inject_at("traffic.switch", Fault::CrashAfter);
        world.deploy().await;
        world.end_of_fault();
        world.restart().await;
        world.calls_since_restart()
    };
    assert!(undo_calls > 3);
    for call in 0..undo_calls {
        let world = World::with_one_version_live(OLD).await;
        world.inject_at("traffic.switch", Fault::CrashAfter);
        world.deploy().await;
        world.end_of_fault();
        world.inject(call, Fault::CrashAfter);
        if world.restart().await.is_none() {
            world.end_of_fault();
            let ending = world.restart().await.expect("an ending");
            assert_on_one_known_version(&world, ending, &format!("second cut at {call}"));
        }
    }
}

#[tokio::test]
async fn every_undo_may_run_twice() {
    for stop_after in Step::ALL {
        let world = World::with_one_version_live(OLD).await;
        world.inject_after_step(stop_after);
        world.deploy().await;
        world.end_of_fault();
        for step in Step::ALL.into_iter().rev().filter(|s| *s <= stop_after) {
            for time in ["once", "twice"] {
                let undone = world.take_back(step.undo()).await;
                assert!(
                    undone.is_ok(),
                    "undo of {step} {time} after {stop_after}: {undone:?}"
                );
            }
        }
        assert_on_one_known_version(&world, OperationState::Undone, &format!("{stop_after}"));
    }
}

#[tokio::test]
async fn an_undo_that_fails_for_good_is_stuck_and_tells_what_is_true() {
    let world = World::with_one_version_live(OLD).await;
    world.spoil_new_version_on_the_public_path();
    world.break_for_good("traffic.switch", 1);
    assert_eq!(world.deploy().await, Some(OperationState::Stuck));
    let events = world.events().await;
    let Some(EventKind::Stuck { failure, .. }) = events.last().map(|e| &e.kind) else {
        panic!("the last event is the ending");
    };
    assert_eq!(failure.step, Some(Step::SwitchTraffic));
    assert!(
        failure.next.iter().any(|n| n.contains("traffic goes to")),
        "{failure:?}"
    );
    assert!(
        failure.next.iter().any(|n| n.contains("runs 2.0.0")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_first_deployment_that_fails_leaves_an_empty_node() {
    let world = World::empty().await;
    world.spoil_new_version();
    assert_eq!(world.deploy().await, Some(OperationState::Undone));
    let facts = world.facts();
    assert_eq!((facts.serving, facts.containers), (None, 0));
}

#[tokio::test]
async fn a_failed_rehearsal_never_touches_the_live_database() {
    let world = World::with_one_version_live(OLD).await;
    world.break_for_good("database.rehearse", 0);
    assert_eq!(world.deploy().await, Some(OperationState::Undone));
    assert!(!world.was_called("database.migrate"));
    assert_eq!(world.facts().scratch_databases, 0);
}

#[tokio::test]
async fn a_version_that_goes_bad_in_the_soak_goes_back() {
    let world = World::with_one_version_live(OLD).await;
    world.spoil_new_version_in_the_soak();
    assert_eq!(world.deploy().await, Some(OperationState::Undone));
    assert_on_one_known_version(&world, OperationState::Undone, "bad in the soak");
}

#[tokio::test]
async fn a_page_that_the_new_version_lacks_is_found_before_the_switch() {
    let world = World::with_one_version_live(OLD).await;
    world.take_the_page_away(Lacking::InItsSlot);
    assert_eq!(world.deploy().await, Some(OperationState::Undone));
    assert_eq!(world.times_called("traffic.switch"), 0, "no visitor saw it");
    assert_on_one_known_version(&world, OperationState::Undone, "a page lacks");
    let Some(EventKind::Undone { failure, .. }) = world.events().await.pop().map(|e| e.kind) else {
        panic!("the last event is the ending");
    };
    assert_eq!(failure.step, Some(Step::AwaitHealthy));
    assert_eq!(
        failure.to_string(),
        "2.0.0 in green does not answer as `app.expect` says: `/page`: expected HTTP 200 with \
         `it is there` in it, found HTTP 404"
    );
}

#[tokio::test]
async fn a_page_that_lacks_behind_the_proxy_takes_the_switch_back() {
    let world = World::with_one_version_live(OLD).await;
    world.take_the_page_away(Lacking::ThroughTheProxy);
    assert_eq!(world.deploy().await, Some(OperationState::Undone));
    assert_eq!(world.times_called("traffic.switch"), 2, "there and back");
    assert_on_one_known_version(&world, OperationState::Undone, "a page lacks");
}

/// Whenever the power goes, a release that lacks a page behind the proxy does not stay.
#[tokio::test]
async fn a_power_cut_does_not_spare_a_release_the_question_for_its_pages() {
    for (name, fault) in [
        ("health.page_in_public", Fault::CrashBefore),
        ("health.page_in_public", Fault::CrashAfter),
        ("traffic.switch", Fault::CrashAfter),
    ] {
        let world = World::with_one_version_live(OLD).await;
        world.take_the_page_away(Lacking::ThroughTheProxy);
        world.inject_at(name, fault);
        let ending = carry_out_with(&world).await;
        assert_eq!(ending, OperationState::Undone, "{name}: {fault:?}");
        assert_on_one_known_version(&world, ending, name);
    }
    let world = World::with_one_version_live(OLD).await;
    world.inject_at("health.page_in_public", Fault::CrashAfter);
    assert_eq!(carry_out_with(&world).await, OperationState::Done);
    assert!(
        world.times_called("health.page_in_public") >= 2,
        "asked once more"
    );
}

#[test]
fn steps_that_change_what_serves_can_be_taken_back() {
    for step in [Step::StartSlot, Step::SwitchTraffic, Step::RetireOldSlot] {
        assert!(!matches!(step.undo(), Undo::Nothing | Undo::Impossible));
    }
}

/// Nothing else may begin while an operation is open, so it must not stay open until a restart.
#[tokio::test]
async fn an_ending_is_written_when_the_disk_has_room_again() {
    let world = World::with_one_version_live(OLD).await;
    let (node, state) = (world.node(), &world.state);
    let (operation, plan) = world.deployment();
    state.begin_operation(&operation, &plan).await.unwrap();
    let release = state.release(operation.release).await.unwrap().unwrap();
    let deployment = || {
        let mut deployment = Deployment::new(&node, &operation, &plan, &release);
        deployment.retry = Duration::from_millis(1);
        deployment
    };
    state.fill_the_disk(true).await;
    let stopping = CancellationToken::new();
    stopping.cancel();
    deployment().until(stopping).carry_out().await;
    let open = state.running().await.unwrap();
    assert!(open.is_some(), "left to the next start");

    let room = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(state.running().await.unwrap().is_some());
        state.fill_the_disk(false).await;
    };
    let deployment = deployment();
    let (ending, ()) = tokio::join!(deployment.carry_out(), room);
    assert_eq!(ending, OperationState::Undone);
    assert_eq!(state.running().await.unwrap(), None);
    let told = world.events().await;
    assert!(matches!(
        told.last().unwrap().kind,
        EventKind::Undone { .. }
    ));
}

#[tokio::test]
async fn going_back_forgets_nothing_that_can_be_gone_back_to() {
    let world = World::with_one_version_live(OLD).await;
    let (template, plan) = world.deployment();
    let mut served = Vec::new();
    for (nth, version) in (1..).zip(["1.0.0", "1.1.0", "1.2.0", "1.3.0"]) {
        let file = fakes::release(version, 1).to_bytes().unwrap();
        let release = world.state.keep_release(&file).await.unwrap();
        let operation = Operation {
            id: Ulid::from_parts(nth, 0),
            release,
            ..template.clone()
        };
        let begun = world.state.begin_operation(&operation, &plan).await;
        begun.unwrap();
        let (done, now) = (OperationState::Done, Timestamp::UNIX_EPOCH);
        let ended = world.state.end_operation(&operation, done, None, now);
        ended.await.unwrap();
        served.push(release);
    }
    let mut node = world.node();
    node.strategy.keep_releases = 3;
    let kept = async |next| {
        let kept: Vec<Release> = node.kept_releases(next).await.unwrap();
        let versions = kept.into_iter().map(|release| release.version);
        versions.collect::<Vec<String>>()
    };
    let (live, back, new) = (None, Some(served[2]), Some(template.release));
    assert_eq!(kept(live).await, ["1.3.0", "1.2.0", "1.1.0", "1.0.0"]);
    assert_eq!(kept(back).await, ["1.2.0", "1.3.0", "1.1.0", "1.0.0"]);
    assert_eq!(kept(new).await, [NEW, "1.3.0", "1.2.0", "1.1.0"]);
}

#[tokio::test]
async fn what_tidying_forgot_is_told_in_the_history() {
    let world = World::with_one_version_live(OLD).await;
    let (node, (operation, plan)) = (world.node(), world.deployment());
    let release = world.state.release(operation.release).await;
    let release = release.unwrap().unwrap();
    let deployment = Deployment::new(&node, &operation, &plan, &release);
    let dumps = vec!["togather_1.dump".to_owned()];
    tidy::tell_forgotten(&deployment, dumps.clone(), Duration::ZERO).await;
    let told = world.state.snapshot_events(1).await.unwrap().remove(0);
    assert_eq!(told.operator, operation.operator);
    let EventKind::Snapshot(SnapshotEvent::Completed { dumps: gone, .. }) = told.kind else {
        panic!("{told:?}");
    };
    assert_eq!(gone, dumps);
}
