//! Every call in turn fails, or is the last before the power goes.

use super::*;

#[tokio::test]
async fn failing_at_any_call_leaves_the_database_from_before_or_the_restored_one() {
    for (work, before) in [(restore(), false), (undo(), true)] {
        for call in 0..calls_of(restore()).await {
            let world = world().await;
            if before {
                run(&world, SNAPSHOT, restore()).await.unwrap().unwrap();
                world.end_of_fault();
            }
            let old = world.databases().0;
            world.inject(call, Fault::Fail);
            let ended = run(&world, JOB, work.clone()).await.unwrap();
            let context = format!("{work:?}: {} failed: {ended:?}", world.name_of(call));
            if let Err(failure) = &ended {
                assert_eq!(world.databases().0, old, "{context}");
                assert_ne!(failure.kind, FailureKind::Stuck, "{context}");
            }
            assert_serves(&world, &context);
        }
    }
}

#[tokio::test]
async fn losing_power_at_any_call_ends_on_one_database_with_the_app_on_it() {
    for (work, before) in [(restore(), false), (undo(), true)] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for call in 0..calls_of(restore()).await {
                let world = world().await;
                if before {
                    run(&world, SNAPSHOT, restore()).await.unwrap().unwrap();
                    world.end_of_fault();
                }
                let old = world.databases().0;
                world.inject(call, fault);
                if run(&world, JOB, work.clone()).await.is_some() {
                    continue;
                }
                let cut = world.name_of(call);
                let ended = restart(&world).await.unwrap();
                let context = format!("{work:?}: {fault:?} {cut}: {ended:?}");
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
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for call in 0..80 {
            let world = world().await;
            world.spoil_on(RESTORED);
            world.inject(call, fault);
            if run(&world, JOB, restore()).await.is_none() {
                restart(&world).await.unwrap().unwrap_err();
            }
            assert_eq!(world.databases(), (ORIGINAL, vec![]), "call {call}");
            assert_serves(&world, &format!("call {call}"));
        }
    }
}

#[tokio::test]
async fn an_interrupted_snapshot_or_proof_leaves_nothing_and_the_next_one_succeeds() {
    let fresh = || {
        Work::Create(Wanted {
            id: Ulid::from_parts(12, 0),
            ..wanted()
        })
    };
    for work in [fresh(), Work::Verify(Which::Newest), Work::Prune] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for call in 0..calls_of(work.clone()).await {
                let world = world().await;
                world.inject(call, fault);
                assert!(run(&world, JOB, work.clone()).await.is_none());
                let ended = restart(&world).await.unwrap();
                if let Err(failure) = ended {
                    assert!(failure.what.starts_with("interrupted"), "{failure}");
                }
                assert_serves(&world, &format!("{work:?} {fault:?} {call}"));
                let again = Ulid::from_parts(13, 0);
                run(&world, again, work.clone()).await.unwrap().unwrap();
            }
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
