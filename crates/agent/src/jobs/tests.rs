//! Jobs in a world of fakes that fails and loses power at every call in turn.

mod faults;
mod stuck;

use std::sync::Arc;

use futures::StreamExt;
use togather_model::{Event, OperationState, Timestamp};

use super::*;
use crate::{
    deploy::tests::fakes::{Fault, ORIGINAL, RESTORED, World},
    snapshots::{Reason, Wanted},
};

const NODE: &str = "node-1";
const JOB: Ulid = Ulid::from_parts(9, 9);
const SNAPSHOT: Ulid = Ulid::from_parts(8, 8);

/// A node with a version live, and one snapshot in its store.
async fn world() -> Arc<World> {
    let world = World::with_one_version_live("1.0.0").await;
    let taken = world.node().snapshots.create(&wanted(), &|_| ()).await;
    taken.unwrap();
    world.end_of_fault();
    world
}

fn wanted() -> Wanted {
    Wanted {
        id: SNAPSHOT,
        at: Timestamp::UNIX_EPOCH,
        reason: Reason::Manual,
        git_commit: "c0ffee".into(),
    }
}

fn restore() -> Work {
    Work::Restore {
        snapshot: SNAPSHOT,
        place: None,
    }
}

/// Does the work until its end or until the power goes.
async fn run(world: &Arc<World>, id: Ulid, work: Work) -> Option<Result<(), Failure>> {
    let (jobs, job) = (Jobs::new(world.node()), job(id, &work));
    world.state.begin_job(&job, &work, NODE).await.unwrap();
    jobs.current.send_replace(Some(job.clone()));
    let task = jobs.task(&jobs.node, id);
    let done = tokio::select! {
        done = task.carry_out(&work) => done,
        () = world.power_cut() => return None,
    };
    let told = done.as_ref().map(|_| ()).map_err(Clone::clone);
    jobs.end(job, done).await;
    Some(told)
}

/// What the agent does at its next start.
async fn restart(world: &Arc<World>) -> Option<Result<(), Failure>> {
    world.end_of_fault();
    let interrupted = world.state.running_job().await.unwrap()?;
    let jobs = Jobs::new(world.node());
    let ended = jobs
        .task(&jobs.node, interrupted.job.id)
        .put_in_order(&interrupted)
        .await;
    let ended = ended.unwrap();
    let told = ended.as_ref().map(|_| ()).map_err(Clone::clone);
    jobs.end(interrupted.job, ended).await;
    Some(told)
}

fn undo() -> Work {
    Work::UndoRestore { replaced: None }
}

fn job(id: Ulid, work: &Work) -> Job {
    Job {
        id,
        kind: work.kind(),
        operator: "alice".into(),
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: None,
        message: String::new(),
        bytes_done: 0,
        bytes_total: None,
        failure: None,
        snapshot: None,
        forgotten: vec![],
    }
}

/// The app serves, and nothing is left over but what a restore keeps on purpose.
#[track_caller]
fn assert_serves(world: &World, context: &str) {
    let facts = world.facts();
    assert_eq!(facts.serving.as_deref(), Some("1.0.0"), "{context}");
    assert_eq!(facts.scratch_databases, 0, "{context}");
}

async fn calls_of(work: Work) -> usize {
    let world = world().await;
    let before = world.calls();
    run(&world, JOB, work).await.unwrap().unwrap();
    world.calls() - before
}

#[tokio::test]
async fn a_restore_keeps_what_it_replaced_and_can_be_taken_back() {
    let world = world().await;
    run(&world, JOB, restore()).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
    assert_serves(&world, "restored");
    let told = world.state.job(JOB).await.unwrap().unwrap();
    let kept = "is kept as togather_replaced_";
    assert!(told.message.contains(kept), "{}", told.message);
    assert!(
        told.message.ends_with("; ada needs a password"),
        "{}",
        told.message
    );

    let (first, second) = (Ulid::from_parts(10, 0), Ulid::from_parts(11, 0));
    run(&world, first, undo()).await.unwrap().unwrap();
    assert_eq!(world.databases(), (ORIGINAL, vec![RESTORED]));
    assert_serves(&world, "taken back");
    run(&world, second, undo()).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
}

#[tokio::test]
async fn a_database_elsewhere_needs_no_service_of_the_nodes_own() {
    let fresh = Work::Create(Wanted {
        id: Ulid::from_parts(12, 0),
        ..wanted()
    });
    let world = world().await;
    world.put_the_database_elsewhere();
    let observed = world.node().observe().await;
    assert_eq!(observed.schema.version(), Some(1), "not an empty node");
    run(&world, JOB, fresh).await.unwrap().unwrap();
    let id = Ulid::from_parts(14, 0);
    run(&world, id, restore()).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
    assert!(!world.was_called("containers.base_up"));
    assert_serves(&world, "restored");
}

#[tokio::test]
async fn an_app_that_cannot_live_with_the_snapshot_gets_its_database_back() {
    let world = world().await;
    world.spoil_on(RESTORED);
    let failure = run(&world, JOB, restore()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unhealthy, "{failure}");
    assert!(failure.what.contains("as it was before"), "{failure}");
    assert_eq!(world.databases(), (ORIGINAL, vec![]));
    assert_serves(&world, "swapped back");
}

#[tokio::test]
async fn a_restore_brings_back_an_app_and_a_server_that_were_down() {
    let world = world().await;
    world.end_the_app();
    run(&world, JOB, restore()).await.unwrap().unwrap();
    assert_eq!(world.databases(), (RESTORED, vec![ORIGINAL]));
    assert_serves(&world, "it was started again");
    assert!(world.was_called("containers.stop_slot"), "before the swap");
    assert!(world.was_called("health.slot"), "it had to be healthy");
    assert!(world.was_called("containers.base_up"));
}

#[tokio::test]
async fn an_app_that_was_not_healthy_before_gets_its_traffic_back_when_a_restore_does_not_help() {
    let world = world().await;
    world.spoil_on(ORIGINAL);
    world.spoil_on(RESTORED);
    let failure = run(&world, JOB, restore()).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unhealthy, "not stuck: {failure}");
    assert!(
        failure.what.contains("not healthy then either"),
        "{failure}"
    );
    assert_eq!(world.databases(), (ORIGINAL, vec![]));
    assert_serves(&world, "as it was");
}

#[tokio::test]
async fn what_was_restored_where_nothing_was_stays_whatever_the_app_makes_of_it() {
    for lose in [World::lose_the_database, World::empty_the_database] {
        let world = world().await;
        lose(&world);
        run(&world, JOB, restore()).await.unwrap().unwrap();
        assert_eq!(world.databases(), (RESTORED, vec![]));
        let told = world.state.job(JOB).await.unwrap().unwrap().message;
        assert!(!told.contains("is kept as"), "{told}");
        assert_serves(&world, "restored");
    }
    let world = world().await;
    world.lose_the_database();
    world.spoil_on(RESTORED);
    let failure = run(&world, JOB, restore()).await.unwrap().unwrap_err();
    assert!(
        failure.what.contains("what was restored stays"),
        "{failure}"
    );
    assert_eq!(world.databases(), (RESTORED, vec![]));
    assert_serves(&world, "on the only database there is");
}

#[tokio::test]
async fn losing_power_beside_an_empty_or_lost_database_never_says_what_is_not_so() {
    for lose in [World::lose_the_database, World::empty_the_database] {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for call in 0..calls_of(restore()).await + 5 {
                let world = world().await;
                lose(&world);
                world.inject(call, fault);
                if run(&world, JOB, restore()).await.is_some() {
                    continue;
                }
                let ended = restart(&world).await.unwrap();
                let context = format!("{fault:?} {}: {ended:?}", world.name_of(call));
                let live = world.databases().0;
                assert_eq!(live == RESTORED, ended.is_ok(), "{context}");
                assert_serves(&world, &context);
            }
        }
    }
}

#[tokio::test]
async fn what_would_fail_is_refused_while_the_app_still_runs() {
    for work in [restore(), undo()] {
        let world = world().await;
        run(&world, SNAPSHOT, restore()).await.unwrap().unwrap();
        world.prepare_a_transaction();
        let before = world.databases();
        let failure = run(&world, JOB, work).await.unwrap().unwrap_err();
        assert!(failure.what.contains("prepared transactions"), "{failure}");
        assert!(failure.next[0].contains("'left open'"), "{failure:?}");
        assert_eq!(world.databases(), before);
        assert_serves(&world, "untouched");
    }
    for work in [restore(), Work::Verify(Which::Newest)] {
        let world = world().await;
        world.leave_memory(200 << 20);
        let failure = run(&world, JOB, work).await.unwrap().unwrap_err();
        assert!(
            failure
                .what
                .contains("200 MiB are available, 256 MiB are needed"),
            "{failure}"
        );
        assert!(!world.was_called("snapshots.prove"));
    }
}

#[tokio::test]
async fn the_database_to_go_back_to_is_the_one_that_was_meant() {
    let world = world().await;
    for id in [SNAPSHOT, JOB] {
        run(&world, id, restore()).await.unwrap().unwrap();
    }
    let kept = world.node().database.replaced().await.unwrap();
    let meant = |name: &str| Work::UndoRestore {
        replaced: Some(name.to_owned()),
    };
    let id = Ulid::from_parts(30, 0);
    let gone = run(&world, id, meant("togather_replaced_gone")).await;
    assert!(
        gone.unwrap()
            .unwrap_err()
            .what
            .contains("togather_replaced_gone")
    );
    let id = Ulid::from_parts(31, 0);
    run(&world, id, meant(&kept[1])).await.unwrap().unwrap();
    assert_eq!(world.databases().0, ORIGINAL, "the older one");
}

#[tokio::test]
async fn a_restore_does_not_wait_for_what_cannot_be_put_in_order_without_it() {
    let world = world().await;
    let verify = Work::Verify(Which::Newest);
    let interrupted = job(Ulid::from_parts(19, 0), &verify);
    world
        .state
        .begin_job(&interrupted, &verify, NODE)
        .await
        .unwrap();
    // No session with a server that is down; base_up does not change that here.
    world.break_for_good("snapshots.end_programs", 0);
    let jobs = Jobs::new(world.node());
    jobs.resume().await.unwrap().unwrap();
    let id = Ulid::from_parts(20, 0);
    let held = jobs.begin(id, "bob", Work::Prune, None).await.unwrap_err();
    assert_eq!(held.kind, FailureKind::Held, "only a restore may");
    let begun = jobs.begin(id, "bob", restore(), Some("togather")).await;
    assert_eq!(begun.unwrap().kind, JobKind::Restore);
    let watched = jobs.watch(id, CancellationToken::new()).await.unwrap();
    let states: Vec<Job> = watched.unwrap().collect().await;
    assert_eq!(states.last().unwrap().failure, None);
    let left = world.state.job(interrupted.id).await.unwrap().unwrap();
    let failure = left.failure.unwrap();
    assert!(failure.what.contains("a restore did not wait"), "{failure}");
    assert_eq!(world.databases().0, RESTORED);
}

#[tokio::test]
async fn a_restore_waits_for_one_that_is_being_taken_back() {
    let world = world().await;
    let interrupted = job(Ulid::from_parts(19, 0), &undo());
    world
        .state
        .begin_job(&interrupted, &undo(), NODE)
        .await
        .unwrap();
    world.break_for_good("snapshots.end_programs", 0);
    let jobs = Jobs::new(world.node());
    jobs.resume().await.unwrap().unwrap();
    let id = Ulid::from_parts(20, 0);
    let held = jobs.begin(id, "bob", restore(), None).await.unwrap_err();
    assert_eq!(held.kind, FailureKind::Held);
}

#[tokio::test]
async fn what_could_not_be_cleared_away_is_when_the_next_job_runs() {
    for next in [Work::Verify(Which::Newest), Work::Prune, restore()] {
        let world = world().await;
        world.break_for("database.drop_scratch", 1);
        let verify = Work::Verify(Which::Newest);
        run(&world, JOB, verify).await.unwrap().unwrap_err();
        assert_eq!(world.facts().scratch_databases, 1);
        run(&world, Ulid::from_parts(31, 0), next.clone())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(world.facts().scratch_databases, 0, "{next:?}");
    }
}

#[tokio::test]
async fn what_is_anothers_or_under_way_is_no_leftover() {
    let world = world().await;
    let (operation, plan) = world.deployment();
    let begun = world.state.begin_operation(&operation, &plan).await;
    begun.unwrap();
    world.leave_scratch(operation.id);
    world.leave_scratch(Ulid::from_parts(40, 0));
    let jobs = Jobs::new(world.node());
    jobs.task(&jobs.node, JOB).clear_leftovers().await;
    assert_eq!(world.facts().scratch_databases, 2);
    let ended = world.state.end_operation(
        &operation,
        OperationState::Done,
        None,
        Timestamp::UNIX_EPOCH,
    );
    ended.await.unwrap();
    jobs.task(&jobs.node, JOB).clear_leftovers().await;
    assert_eq!(world.facts().scratch_databases, 1, "the stranger's");
}

#[tokio::test]
async fn one_job_at_a_time_and_none_beside_a_deployment() {
    let world = world().await;
    let jobs = Jobs::new(world.node());
    let id = Ulid::from_parts(20, 0);
    let typed = Some("another");
    let refused = jobs.begin(id, "alice", restore(), typed).await.unwrap_err();
    assert!(
        refused.what.contains("`togather`, not `another`"),
        "{refused}"
    );
    assert_eq!(world.state.job(id).await.unwrap(), None);

    let theirs = job(Ulid::from_parts(19, 0), &restore());
    let begun = world.state.begin_job(&theirs, &restore(), NODE).await;
    begun.unwrap();
    let held = jobs.begin(id, "bob", Work::Prune, None).await.unwrap_err();
    assert_eq!(held.kind, FailureKind::Held);
    assert!(held.what.contains("alice"), "{held}");
    let (operation, plan) = world.deployment();
    let beside = world.state.begin_operation(&operation, &plan).await;
    assert!(matches!(beside, Err(StateError::Busy)), "beside a restore");
    world.state.end_job(&theirs, NODE).await.unwrap();

    world
        .state
        .begin_operation(&operation, &plan)
        .await
        .unwrap();
    let held = jobs.begin(id, "bob", Work::Prune, None).await.unwrap_err();
    assert_eq!(held.kind, FailureKind::Held);
    assert!(held.what.contains("is being brought"), "{held}");
    let done = world.state.end_operation(
        &operation,
        OperationState::Done,
        None,
        Timestamp::UNIX_EPOCH,
    );
    done.await.unwrap();
}

#[tokio::test]
async fn a_job_is_watched_to_its_end_and_remembered() {
    let world = world().await;
    let jobs = Jobs::new(world.node());
    let (id, other) = (Ulid::from_parts(20, 0), Ulid::from_parts(21, 0));
    jobs.begin(id, "alice", Work::Prune, None).await.unwrap();
    let watched = jobs.watch(id, CancellationToken::new()).await.unwrap();
    let states: Vec<Job> = watched.unwrap().collect().await;
    assert!(states.last().unwrap().ended_at.is_some());
    let same = jobs.begin(id, "alice", Work::Prune, None).await.unwrap();
    assert_eq!(Some(&same), states.last());
    let watched = jobs.watch(id, CancellationToken::new()).await.unwrap();
    let states: Vec<Job> = watched.unwrap().collect().await;
    assert_eq!(states, [same]);
    let unknown = jobs.watch(other, CancellationToken::new()).await.unwrap();
    assert!(unknown.is_none());
}

#[tokio::test]
async fn an_order_goes_on_when_whoever_gave_it_hangs_up() {
    let world = world().await;
    let jobs = Jobs::new(world.node());
    let id = Ulid::from_parts(20, 0);
    // Asked once, and then dropped as a server drops what its client has left.
    let begun = futures::FutureExt::now_or_never(jobs.begin(id, "alice", Work::Prune, None));
    assert!(begun.is_none());
    let ended = async {
        loop {
            match world.state.job(id).await.unwrap() {
                Some(job) if job.ended_at.is_some() => break job,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert_eq!(ended.unwrap().failure, None);
}

/// The names of what was written down of a job.
async fn told(world: &World, id: Ulid) -> Vec<String> {
    let events = world.state.events(id, 0).await.unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
    events.iter().map(name).collect()
}

fn name(event: &Event) -> String {
    let json = serde_json::to_value(event).unwrap();
    json["event"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_job_is_written_down_once_from_its_beginning_to_its_ending() {
    let world = world().await;
    let taken = Work::Create(Wanted {
        id: Ulid::from_parts(12, 0),
        ..wanted()
    });
    run(&world, JOB, taken).await.unwrap().unwrap();
    let job = world.state.job(JOB).await.unwrap().unwrap();
    let again = world.state.end_job(&job, NODE).await.unwrap();
    assert_eq!(again, [], "an ending is written once");
    assert_eq!(
        told(&world, JOB).await,
        ["snapshot.started", "snapshot.completed"]
    );

    let (failing, cut) = (Ulid::from_parts(13, 0), Ulid::from_parts(14, 0));
    world.end_of_fault();
    world.inject(0, Fault::Fail);
    let failed = run(&world, failing, Work::Verify(Which::Newest)).await;
    failed.unwrap().unwrap_err();
    assert_eq!(
        told(&world, failing).await,
        ["snapshot.started", "snapshot.failed"]
    );
    world.end_of_fault();
    world.inject(1, Fault::CrashAfter);
    assert!(run(&world, cut, Work::Prune).await.is_none());
    world.end_of_fault();
    settle(&world).await.unwrap_err();
    assert_eq!(
        told(&world, cut).await,
        ["snapshot.started", "snapshot.resumed", "snapshot.failed"]
    );
    let all = world.state.snapshot_events(3).await.unwrap();
    assert_eq!(
        all.iter().map(name).collect::<Vec<_>>(),
        ["snapshot.failed", "snapshot.resumed", "snapshot.started"],
        "newest first"
    );
    let tallies = world.state.tallies().await.unwrap();
    let tallies: Vec<_> = tallies
        .iter()
        .map(|t| (t.what.as_str(), t.ending.as_str(), t.times))
        .collect();
    assert_eq!(
        tallies,
        [
            ("create", "done", 1),
            ("prune", "failed", 1),
            ("verify", "failed", 1)
        ]
    );
}

/// Has the agent start, and waits for what it puts in order.
async fn settle(world: &Arc<World>) -> Result<(), Failure> {
    let jobs = Jobs::new(world.node());
    let job = jobs.resume().await.unwrap().unwrap();
    let watched = jobs.watch(job.id, CancellationToken::new()).await.unwrap();
    let states: Vec<Job> = watched.unwrap().collect().await;
    let ended = states.into_iter().last().unwrap();
    assert!(ended.ended_at.is_some());
    ended.failure.map_or(Ok(()), Err)
}
