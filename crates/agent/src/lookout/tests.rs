//! What the lookout says when, with the clock in hand.

use std::sync::Mutex as Lock;

use tokio::time::timeout;

use super::*;
use crate::{
    deploy::tests::fakes::World,
    host::Host,
    jobs::Work,
    operations::Operations,
    snapshots::{Reason, Wanted},
};

const LIMIT: Duration = Duration::from_hours(48);

struct Clock(Lock<Timestamp>);

impl Host for Clock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn disk_free(&self) -> std::io::Result<u64> {
        Ok(u64::MAX)
    }

    fn memory_available(&self) -> std::io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct Bench {
    clock: Arc<Clock>,
    world: Arc<World>,
    lookout: Lookout,
}

impl Bench {
    async fn of(world: Arc<World>) -> Self {
        let clock = Arc::new(Clock(Lock::new(Timestamp::UNIX_EPOCH)));
        let lookout = open(&world, &clock).await;
        Self {
            clock,
            world,
            lookout,
        }
    }

    async fn start() -> Self {
        Self::of(World::with_one_version_live("1.0.0").await).await
    }

    async fn restart(&mut self) {
        self.lookout = open(&self.world, &self.clock).await;
    }

    async fn look_at_hour(&self, hour: u64) {
        *self.clock.0.lock().unwrap() = at_hour(hour);
        self.lookout.look().await;
    }

    /// What was said of snapshots, oldest first.
    async fn said(&self) -> Vec<SnapshotEvent> {
        let mut events = self.world.state.snapshot_events(100).await.unwrap();
        events.reverse();
        let about = |event: togather_model::Event| {
            let togather_model::EventKind::Snapshot(about) = event.kind else {
                panic!("{event:?}");
            };
            about
        };
        events.into_iter().map(about).collect()
    }
}

async fn open(world: &Arc<World>, clock: &Arc<Clock>) -> Lookout {
    let node = Node {
        host: clock.clone(),
        ..world.node()
    };
    Lookout::open(node, LIMIT).await.unwrap()
}

fn at_hour(hour: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_hours(hour)
}

async fn take_snapshot(world: &Arc<World>) {
    let wanted = Wanted {
        id: Ulid::from_parts(8, 8),
        at: Timestamp::UNIX_EPOCH,
        reason: Reason::Scheduled,
        git_commit: String::new(),
    };
    let taken = world.node().snapshots.create(&wanted, &|_| ()).await;
    taken.unwrap();
}

#[tokio::test]
async fn overdue_snapshots_are_told_once_and_that_it_is_over_once() {
    let mut bench = Bench::start().await;
    bench.look_at_hour(0).await;
    bench.look_at_hour(48).await;
    assert_eq!(bench.said().await, []);
    assert!(!bench.lookout.known().is_overdue);

    bench.look_at_hour(49).await;
    bench.look_at_hour(50).await;
    bench.restart().await;
    assert!(bench.lookout.known().is_overdue, "remembered");
    bench.look_at_hour(51).await;
    // One that was not proven does not count.
    take_snapshot(&bench.world).await;
    bench.look_at_hour(51).await;
    let why = "no snapshot was verified in 49 hours; it should be at most 48".to_owned();
    assert_eq!(bench.said().await, [SnapshotEvent::Overdue { why }]);

    bench.world.prove_newest(Some(at_hour(51)));
    bench.look_at_hour(52).await;
    bench.look_at_hour(53).await;
    let took = Duration::from_hours(3);
    assert_eq!(
        bench.said().await[1..],
        [SnapshotEvent::OverdueEnded { took }]
    );
    assert!(!bench.lookout.known().is_overdue);
    let episode = bench.world.state.snapshot_events(2).await.unwrap();
    assert_eq!(episode[0].operation_id, episode[1].operation_id);

    bench.look_at_hour(52 + 48).await;
    assert_eq!(bench.said().await.len(), 3, "the next time it is another");
}

#[tokio::test]
async fn snapshots_grow_old_also_while_the_store_is_away() {
    let mut bench = Bench::start().await;
    take_snapshot(&bench.world).await;
    bench.world.prove_newest(Some(at_hour(1)));
    bench.look_at_hour(2).await;
    bench.world.break_for_good("snapshots.list", 0);
    bench.restart().await;
    bench.look_at_hour(50).await;
    let known = bench.lookout.known();
    assert!(known.is_overdue);
    assert_eq!(known.last_verified.unwrap().taken_at, at_hour(1));
    assert_eq!(known.seen_at, Some(at_hour(2)), "not seen since");
    assert_eq!(bench.said().await.len(), 1);
}

#[tokio::test]
async fn where_there_is_no_database_nothing_is_overdue() {
    let bench = Bench::of(World::empty().await).await;
    bench.look_at_hour(1000).await;
    assert_eq!(bench.said().await, []);
}

/// Set up long before its first deployment.
#[tokio::test]
async fn a_node_owes_snapshots_from_when_there_is_something_to_take_one_of() {
    let mut bench = Bench::of(World::with_one_version_live("1.0.0").await).await;
    bench.look_at_hour(1000).await;
    bench.restart().await;
    bench.look_at_hour(1048).await;
    assert_eq!(bench.said().await, []);
    bench.look_at_hour(1049).await;
    assert_eq!(bench.said().await.len(), 1);

    let bench = Bench::start().await;
    let (operation, plan) = bench.world.deployment();
    let state = &bench.world.state;
    state.begin_operation(&operation, &plan).await.unwrap();
    let done = togather_model::OperationState::Done;
    let ended = state.end_operation(&operation, done, None, at_hour(100));
    ended.await.unwrap();
    bench.look_at_hour(148).await;
    assert_eq!(bench.said().await, []);
    bench.look_at_hour(149).await;
    assert_eq!(bench.said().await.len(), 1, "also where nobody looked then");
}

#[tokio::test]
async fn that_snapshots_are_overdue_is_known_also_while_the_disk_is_full() {
    let bench = Bench::start().await;
    bench.look_at_hour(0).await;
    bench.world.state.fill_the_disk(true).await;
    bench.look_at_hour(49).await;
    assert!(bench.lookout.known().is_overdue);
    bench.world.state.fill_the_disk(false).await;
    bench.look_at_hour(50).await;
    assert_eq!(bench.said().await.len(), 1);

    // The status and the metrics say the same also while the database does not answer.
    bench.world.break_for_good("database.schema", 0);
    let node = Node {
        host: bench.clock.clone(),
        ..bench.world.node()
    };
    let (operations, jobs) = (Operations::new(node.clone()), Jobs::new(node.clone()));
    let status = status::status(&node, &operations, &jobs, &bench.lookout).await;
    let overdue = status.unwrap().snapshot_overdue;
    assert!(overdue.contains("in 50 hours"), "{overdue}");
}

#[tokio::test]
async fn while_the_database_does_not_answer_nothing_changes() {
    let bench = Bench::start().await;
    bench.look_at_hour(0).await;
    bench.world.break_for_good("database.schema", 0);
    bench.look_at_hour(1000).await;
    assert_eq!(bench.said().await, []);
    bench.world.repair();
    bench.look_at_hour(1000).await;
    bench.world.break_for_good("database.schema", 0);
    bench.look_at_hour(1001).await;
    assert_eq!(bench.said().await.len(), 1);
    assert!(bench.lookout.known().is_overdue);
}

#[tokio::test]
async fn a_store_is_tried_out_once_and_remembered() {
    let mut bench = Bench::start().await;
    assert_eq!(bench.lookout.store().answer, Answer::Unknown);
    bench
        .world
        .break_for_good("snapshots.conditional_writes", 0);
    bench.look_at_hour(1).await;
    let store = bench.lookout.store();
    assert_eq!(store.answer, Answer::Unknown);
    assert!(store.reason.contains("made to fail"), "{store:?}");
    bench.world.repair();
    bench.look_at_hour(2).await;
    bench.look_at_hour(3).await;
    assert_eq!(bench.lookout.store(), ConditionalWrites::yes());
    let asked = bench.world.times_called("snapshots.conditional_writes");
    assert_eq!(asked, 2, "until there was an answer");

    bench.restart().await;
    bench.look_at_hour(4).await;
    assert_eq!(bench.lookout.store(), ConditionalWrites::yes());
    let asked = bench.world.times_called("snapshots.conditional_writes");
    assert_eq!(asked, 2);
    assert_eq!(bench.world.recalled(), Some(ConditionalWrites::yes()));
}

#[tokio::test]
async fn a_job_that_ended_is_seen_at_once() {
    let bench = Bench::start().await;
    let node = bench.world.node();
    let (jobs, stopping) = (Jobs::new(node.clone()), CancellationToken::new());
    bench.lookout.keep(&jobs, stopping.clone());
    bench.world.spool("waits.dump");
    let work = Work::snapshot(&node, Reason::Manual).await;
    let begun = jobs.begin(Ulid::from_parts(1, 1), "alice", work, None);
    begun.await.unwrap();
    let seen = async {
        while bench.lookout.known().last.is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), seen).await.unwrap();
    assert_eq!(bench.lookout.known().spooled, 1);
    stopping.cancel();
}
