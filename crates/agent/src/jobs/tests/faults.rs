//! Every call in turn fails, or is the last before the power goes.

use super::*;
use crate::deploy::tests::fakes::NOT_REACHED;

/// The world in which this work is to be interrupted.
async fn world_for(work: &Work) -> Arc<World> {
    let world = world().await;
    if matches!(work, Work::UndoRestore { .. }) {
        run(&world, SNAPSHOT, restore()).await.unwrap().unwrap();
        world.end_of_fault();
    }
    world
}

/// How many calls it makes there when nothing happens.
async fn calls_of_undisturbed(work: &Work) -> usize {
    let world = world_for(work).await;
    run(&world, JOB, work.clone()).await.unwrap().unwrap();
    let calls = world.calls_since_restart();
    assert!(calls > 1, "the fakes are called");
    calls
}

#[tokio::test]
async fn failing_at_any_call_leaves_the_database_from_before_or_the_restored_one() {
    for work in [restore(), undo()] {
        let mut failed = 0;
        for call in 0..calls_of_undisturbed(&work).await {
            let world = world_for(&work).await;
            let old = world.databases().0;
            world.inject(call, Fault::Fail);
            let ended = run(&world, JOB, work.clone()).await.unwrap();
            let name = world.name_of(call);
            let context = format!("{work:?}: {name} failed: {ended:?}");
            assert_ne!(name, NOT_REACHED, "{context}");
            assert_eq!(world.databases().0 == old, ended.is_err(), "{context}");
            if let Err(failure) = &ended {
                failed += 1;
                assert_ne!(failure.kind, FailureKind::Stuck, "{context}");
            }
            assert_serves(&world, &context);
        }
        assert!(failed > 5, "{work:?}: most failures end it: {failed}");
    }
}

#[tokio::test]
async fn losing_power_at_any_call_ends_on_one_database_with_the_app_on_it() {
    for work in [restore(), undo()] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for call in 0..calls_of_undisturbed(&work).await {
                let world = world_for(&work).await;
                let old = world.databases().0;
                world.inject(call, fault);
                let cut = run(&world, JOB, work.clone()).await;
                let name = world.name_of(call);
                assert!(cut.is_none(), "{work:?}: {fault:?} {name} cuts: {cut:?}");
                let ended = restart(&world).await.unwrap();
                let context = format!("{work:?}: {fault:?} {name}: {ended:?}");
                let (live, mut kept) = world.databases();
                assert_eq!(live == old, ended.is_err(), "{context}");
                kept.push(live);
                assert!(kept.contains(&ORIGINAL), "nothing is lost: {context}");
                assert_serves(&world, &context);
                let job = world.state.job(JOB).await.unwrap().unwrap();
                assert!(job.ended_at.is_some(), "{context}");
            }
        }
    }
}

#[tokio::test]
async fn losing_power_while_a_swap_is_taken_back_takes_it_back() {
    const MORE_THAN_THERE_ARE: usize = 80;
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        let (mut cuts, mut last) = (0, 0);
        for call in 0..MORE_THAN_THERE_ARE {
            let world = world().await;
            world.spoil_on(RESTORED);
            world.inject(call, fault);
            if run(&world, JOB, restore()).await.is_none() {
                // How often the app is asked before it is given up differs.
                (cuts, last) = (cuts + 1, call);
                restart(&world).await.unwrap().unwrap_err();
            }
            assert_eq!(world.databases(), (ORIGINAL, vec![]), "call {call}");
            assert_serves(&world, &format!("call {call}"));
        }
        assert!(cuts > calls_of(restore()).await, "beyond the swap: {cuts}");
        let beyond = last + 1..MORE_THAN_THERE_ARE;
        assert!(!beyond.is_empty(), "the last one was reached");
    }
}

#[tokio::test]
async fn an_interrupted_snapshot_or_proof_leaves_nothing_and_the_next_one_succeeds() {
    let (first, next) = (Ulid::from_parts(12, 0), Ulid::from_parts(14, 0));
    let fresh = |id| Work::Create(Wanted { id, ..wanted() });
    for (work, again) in [
        (fresh(first), fresh(next)),
        (Work::Verify(Which::Newest), Work::Verify(Which::Newest)),
    ] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for call in 0..calls_of_undisturbed(&work).await {
                let world = world().await;
                world.inject(call, fault);
                let cut = run(&world, JOB, work.clone()).await;
                let context = format!("{work:?} {fault:?} {}", world.name_of(call));
                assert!(cut.is_none(), "{context}");
                let ended = restart(&world).await.unwrap();
                if let Err(failure) = &ended {
                    assert!(failure.what.starts_with("interrupted"), "{failure}");
                }
                assert_serves(&world, &context);
                assert_eq!(world.parts(), [], "{context}");
                let listed = world.snapshots();
                let is_there = listed.iter().any(|(id, _)| *id == first);
                assert_eq!(listed[0].0, SNAPSHOT, "{context}");
                assert_eq!(is_there, ended.is_ok(), "{context}");

                let (id, is_proof) = (Ulid::from_parts(13, 0), matches!(work, Work::Verify(_)));
                run(&world, id, again.clone()).await.unwrap().unwrap();
                assert_eq!(world.parts(), [], "{context}");
                let mut expected = vec![(SNAPSHOT, is_proof)];
                expected.extend(is_there.then_some((first, false)));
                expected.extend((!is_proof).then_some((next, false)));
                assert_eq!(world.snapshots(), expected, "{context}");
            }
        }
    }
}

/// A node with a verified snapshot, and one of long ago that nothing asks to keep.
async fn world_with_an_old_one() -> Arc<World> {
    const MONTH: i64 = 30 * 86_400;
    let world = World::with_one_version_live("1.0.0").await;
    let old = Wanted {
        id: OLD,
        at: Timestamp::from_second(-MONTH).unwrap(),
        ..wanted()
    };
    for wanted in [old, wanted()] {
        let taken = world.node().snapshots.create(&wanted, &|_| ()).await;
        taken.unwrap();
    }
    world.prove_newest(Some(Timestamp::UNIX_EPOCH));
    world.end_of_fault();
    world
}

const OLD: Ulid = Ulid::from_parts(3, 3);

#[tokio::test]
async fn a_prune_that_fails_or_is_interrupted_keeps_what_is_asked_for_and_the_next_one_finishes() {
    let kept = [(SNAPSHOT, true)];
    let undisturbed = world_with_an_old_one().await;
    run(&undisturbed, JOB, Work::Prune).await.unwrap().unwrap();
    assert_eq!(undisturbed.snapshots(), kept);
    for fault in [Fault::Fail, Fault::CrashBefore, Fault::CrashAfter] {
        for call in 0..undisturbed.calls_since_restart() {
            let world = world_with_an_old_one().await;
            world.inject(call, fault);
            let ended = run(&world, JOB, Work::Prune).await;
            let context = format!("{fault:?} {}", world.name_of(call));
            assert_ne!(world.name_of(call), NOT_REACHED);
            assert_eq!(ended.is_none(), fault != Fault::Fail, "{context}");
            if ended.is_none() {
                restart(&world).await.unwrap().unwrap_err();
            }
            let listed = world.snapshots();
            assert!(listed.contains(&kept[0]), "{context}: {listed:?}");
            for half in world.parts() {
                assert!(listed.iter().all(|(id, _)| *id != half), "{context}");
            }
            assert_serves(&world, &context);
            world.end_of_fault();
            let again = Ulid::from_parts(13, 0);
            run(&world, again, Work::Prune).await.unwrap().unwrap();
            assert_eq!(world.snapshots(), kept, "{context}");
            assert_eq!(world.parts(), [], "{context}");
        }
    }
}

#[tokio::test]
async fn a_database_that_comes_back_tells_what_became_of_the_swap() {
    let world = world().await;
    world.spoil_on(RESTORED);
    // Down when it is asked whether they were swapped, and again when they are to be swapped back.
    for call in ["database.exists", "database.swap"] {
        let world = world.clone();
        world.break_for(call, 3);
        let failure = run(&world, Ulid::from_parts(30, call.len() as u128), restore());
        let failure = failure.await.unwrap().unwrap_err();
        assert_ne!(failure.kind, FailureKind::Stuck, "{call}: {failure}");
        assert_eq!(world.databases(), (ORIGINAL, vec![]), "{call}");
        assert_serves(&world, call);
    }
}

#[tokio::test]
async fn a_database_that_stays_away_in_the_middle_of_a_swap_is_for_a_human() {
    let world = world().await;
    world.spoil_on(RESTORED);
    world.break_for_good("database.exists", 0);
    let failure = run(&world, JOB, restore()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Stuck, "{failure}");
    assert!(
        failure.to_string().contains("could not be listed"),
        "{failure}"
    );
}
