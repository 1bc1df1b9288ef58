//! A restore that could not be taken back: told until it is settled, and tried again when that loses
//! nothing.

use togather_model::Slot;

use super::*;
use crate::{host::Host, lookout::Lookout, operations::Operations, status::status};

/// What keeps a restore from being taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// The app's containers do not start any more.
    Containers,
    /// The database does not swap any more, and the app is not healthy on what is there.
    Database,
}

/// A node whose restore could not be taken back.
async fn stuck(obstacle: Obstacle) -> Arc<World> {
    let world = world().await;
    match obstacle {
        Obstacle::Containers => world.break_for_good("containers.restart_slot", 0),
        Obstacle::Database => {
            world.spoil_on(RESTORED);
            world.break_for_good("database.swap", 1);
        }
    }
    let failure = run(&world, JOB, restore()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Stuck, "{failure}");
    assert_eq!(world.facts().serving, None, "{obstacle:?}");
    world
}

async fn stuck_job(world: &World) -> Option<Ulid> {
    let stuck = world.state.stuck_job().await.unwrap();
    stuck.map(|stuck| stuck.job.id)
}

#[tokio::test]
async fn a_stuck_restore_stays_stuck_until_a_start_takes_it_back() {
    for obstacle in [Obstacle::Containers, Obstacle::Database] {
        let world = stuck(obstacle).await;
        assert_eq!(stuck_job(&world).await, Some(JOB), "{obstacle:?}");
        let still = settle(&world).await.unwrap_err();
        assert_eq!(still.kind, FailureKind::Stuck, "{still}");
        assert_eq!(stuck_job(&world).await, Some(JOB), "{obstacle:?}");

        world.repair();
        let failure = settle(&world).await.unwrap_err();
        assert!(failure.what.contains("as it was before"), "{failure}");
        assert_eq!(world.databases(), (ORIGINAL, vec![]), "{obstacle:?}");
        assert_serves(&world, &format!("{obstacle:?}"));
        assert_eq!(stuck_job(&world).await, None, "{obstacle:?}");
        let expected = [
            "snapshot.started",
            "snapshot.stuck",
            "snapshot.resumed",
            "snapshot.stuck",
            "snapshot.resumed",
            "snapshot.failed",
        ];
        assert_eq!(told(&world, JOB).await, expected);
        let tallies = world.state.tallies().await.unwrap();
        assert_eq!(tallies.len(), 1, "one run, counted once: {tallies:?}");
        assert_eq!((&*tallies[0].ending, tallies[0].times), ("stuck", 1));
    }
}

#[tokio::test]
async fn losing_power_while_a_stuck_restore_is_taken_back_takes_it_back_after_all() {
    for call in 0..40 {
        let world = stuck(Obstacle::Database).await;
        world.repair();
        world.end_of_fault();
        world.inject(call, Fault::CrashAfter);
        let jobs = Jobs::new(world.node());
        let job = jobs.resume().await.unwrap().unwrap();
        let mut watched = Box::pin(
            jobs.watch(job.id, CancellationToken::new())
                .await
                .unwrap()
                .unwrap(),
        );
        let ended = async { while watched.next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = world.power_cut() => {
                world.end_of_fault();
                settle(&world).await.unwrap_err();
            }
        }
        assert_eq!(world.databases(), (ORIGINAL, vec![]), "call {call}");
        assert_serves(&world, &format!("call {call}"));
        assert_eq!(stuck_job(&world).await, None, "call {call}");
    }
}

#[tokio::test]
async fn a_new_order_first_takes_back_what_is_stuck() {
    let next = Ulid::from_parts(10, 0);
    let world = stuck(Obstacle::Containers).await;
    let refused = run(&world, next, restore()).await.unwrap().unwrap_err();
    assert_eq!(refused.kind, FailureKind::Stuck, "{refused}");
    assert_eq!(stuck_job(&world).await, Some(JOB));
    world.repair();
    let again = Ulid::from_parts(11, 0);
    run(&world, again, restore()).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
    assert_serves(&world, "restored at last");
    assert_eq!(stuck_job(&world).await, None);

    let world = stuck(Obstacle::Database).await;
    world.repair();
    run(&world, next, Work::UndoRestore { replaced: None })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.databases(), (ORIGINAL, vec![]));
    assert_serves(&world, "undone at last");
    assert_eq!(stuck_job(&world).await, None);
    let undone = world.state.job(next).await.unwrap().unwrap();
    assert!(undone.message.contains("what it was before"), "{undone:?}");
}

/// Somebody ran `docker compose down` before the agent's next start.
#[tokio::test]
async fn a_swap_is_put_in_order_also_where_the_base_services_are_gone() {
    let world = stuck(Obstacle::Database).await;
    world.break_for_good("containers.base_up", 0);
    world.remove_the_base();
    let jobs = Jobs::new(world.node());
    let stuck = world.state.stuck_job().await.unwrap().unwrap();
    let later = jobs
        .task(&jobs.node, JOB)
        .put_in_order(&stuck)
        .await
        .unwrap_err();
    assert!(later.what.contains("did not come up"), "{later}");
    assert_eq!(stuck_job(&world).await, Some(JOB));
    world.repair();
    let failure = settle(&world).await.unwrap_err();
    assert!(failure.what.contains("as it was before"), "{failure}");
    assert_eq!(world.databases(), (ORIGINAL, vec![]));
    assert_serves(&world, "taken back");

    let world = self::world().await;
    world.inject_at("database.swap", Fault::CrashAfter);
    assert!(run(&world, JOB, restore()).await.is_none());
    world.remove_the_base();
    restart(&world).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
    assert_serves(&world, "carried to its end");
}

#[tokio::test]
async fn a_swap_does_not_wait_for_another_base_service() {
    let world = world().await;
    world.inject_at("database.swap", Fault::CrashAfter);
    assert!(run(&world, JOB, restore()).await.is_none());
    world.break_for_good("containers.base_up", 0);
    restart(&world).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
    assert_serves(&world, "the database was up all the time");
}

#[tokio::test]
async fn a_swap_that_cannot_be_put_in_order_is_told_in_the_status() {
    let world = world().await;
    world.inject_at("database.swap", Fault::CrashAfter);
    assert!(run(&world, JOB, restore()).await.is_none());
    world.end_of_fault();
    world.remove_the_base();
    world.break_for_good("containers.base_up", 0);
    let jobs = Jobs::new(world.node());
    jobs.resume().await.unwrap().unwrap();
    let early = jobs.not_in_order().unwrap();
    assert!(early.contains("Z was interrupted"), "{early}");
    let told = async {
        loop {
            match jobs.not_in_order() {
                Some(told) if told != early => break told,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(10), told).await;
    let told = told.unwrap();
    assert!(told.contains("base services did not come up"), "{told}");

    let node = world.node();
    let lookout = Lookout::open(node.clone(), Duration::MAX).await.unwrap();
    let operations = Operations::new(node.clone());
    let status = status(&node, &operations, &jobs, &lookout).await.unwrap();
    assert!(status.drift.contains(&told), "{:?}", status.drift);
    let message = &status.jobs[0].message;
    assert!(message.contains("not in order yet"), "{message}");
    assert!(
        !jobs.wait(Duration::from_secs(10)).await,
        "it stops at once"
    );
    let left = world.state.running_job().await.unwrap().unwrap();
    assert_eq!(left.job.id, JOB, "left to the next start");
}

/// Taking back would drop what the app has written since.
#[tokio::test]
async fn a_version_that_serves_on_a_stuck_restore_is_left_to_a_human() {
    let world = stuck(Obstacle::Database).await;
    world.repair();
    world.spoil_on("nothing");
    let node = world.node();
    node.containers.restart_slot(Slot::Blue).await.unwrap();
    node.traffic.switch(Some(Slot::Blue)).await.unwrap();
    let still = settle(&world).await.unwrap_err();
    assert_eq!(still.kind, FailureKind::Stuck, "{still}");
    assert_eq!(world.databases().0, RESTORED);
    assert_eq!(world.facts().serving.as_deref(), Some("1.0.0"));
    assert_eq!(stuck_job(&world).await, Some(JOB));

    let (operation, plan) = world.deployment();
    let begun = world.state.begin_operation(&operation, &plan).await;
    begun.unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let (undone, done) = (OperationState::Undone, OperationState::Done);
    assert!(Jobs::new(node).resume().await.unwrap().is_none(), "busy");
    let state = &world.state;
    state
        .end_operation(&operation, undone, None, now)
        .await
        .unwrap();
    assert_eq!(stuck_job(&world).await, Some(JOB));
    let second = togather_model::Operation {
        id: Ulid::from_parts(30, 0),
        ..operation
    };
    state.begin_operation(&second, &plan).await.unwrap();
    state.end_operation(&second, done, None, now).await.unwrap();
    assert_eq!(stuck_job(&world).await, None, "a rollout settles it");
}

/// A machine on which a month has passed.
struct AMonthLater;

impl Host for AMonthLater {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_hours(30 * 24)
    }

    fn disk_free(&self) -> std::io::Result<u64> {
        Ok(u64::MAX)
    }

    fn memory_available(&self) -> std::io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[tokio::test]
async fn pruning_keeps_the_database_that_is_still_to_be_put_back() {
    for is_stuck in [true, false] {
        let world = match is_stuck {
            true => stuck(Obstacle::Database).await,
            false => {
                let world = world().await;
                run(&world, JOB, restore()).await.unwrap().unwrap();
                world
            }
        };
        // Something newer to go back to.
        world.prove_newest(Some(Timestamp::UNIX_EPOCH + Duration::from_hours(1)));
        let node = Node {
            host: Arc::new(AMonthLater),
            ..world.node()
        };
        let jobs = Jobs::new(node);
        let pruned = jobs
            .task(&jobs.node, SNAPSHOT)
            .carry_out(&Work::Prune)
            .await
            .unwrap();
        let expected = if is_stuck { vec![ORIGINAL] } else { vec![] };
        assert_eq!(world.databases(), (RESTORED, expected), "{pruned:?}");
    }
}

#[tokio::test]
async fn a_prune_that_fails_tells_what_it_destroyed_all_the_same() {
    let world = world().await;
    run(&world, SNAPSHOT, restore()).await.unwrap().unwrap();
    let replaced = world.node().database.replaced().await.unwrap();
    world.prove_newest(Some(Timestamp::UNIX_EPOCH + Duration::from_hours(1)));
    world.break_for_good("snapshots.prune", 0);
    let jobs = Jobs::new(Node {
        host: Arc::new(AMonthLater),
        ..world.node()
    });
    jobs.begin(JOB, "alice", Work::Prune, None).await.unwrap();
    let watched = jobs.watch(JOB, CancellationToken::new()).await.unwrap();
    let states: Vec<Job> = watched.unwrap().collect().await;
    let ended = states.last().unwrap();
    assert!(ended.failure.is_some(), "{ended:?}");
    assert_eq!(ended.forgotten, replaced);
    let told = world.state.snapshot_events(1).await.unwrap().remove(0);
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["event"], "snapshot.failed");
    assert_eq!(json["dumps"], serde_json::json!(replaced));
}

#[tokio::test]
async fn whoever_wants_a_restore_instead_does_not_wait_for_an_agent_that_stops() {
    // Which of the two is seen first is chance.
    for _ in 0..20 {
        let world = world().await;
        let verify = Work::Verify(Which::Newest);
        let left = job(JOB, &verify);
        world.state.begin_job(&left, &verify, NODE).await.unwrap();
        world.break_for_good("snapshots.end_programs", 0);
        let jobs = Jobs::new(world.node());
        jobs.resume().await.unwrap().unwrap();
        jobs.stopping.cancel();
        let superseded = tokio::time::timeout(Duration::from_secs(10), jobs.supersede());
        superseded.await.unwrap();
    }
}
