//! What is begun when, with the clock in hand.

use std::sync::Mutex as Lock;

use togather_model::EventKind;

use super::*;
use crate::{deploy::tests::fakes::World, host::Host};

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

pub(super) struct Bench {
    clock: Arc<Clock>,
    world: Arc<World>,
    runner: Runner,
    entry: Entry,
}

impl Bench {
    async fn at(now: &str) -> Self {
        Self::with("0 3 * * *", now).await
    }

    pub(super) async fn with(cron: &str, now: &str) -> Self {
        let clock = Arc::new(Clock(Lock::new(now.parse().unwrap())));
        let world = World::with_one_version_live("1.0.0").await;
        let node = Node {
            host: clock.clone(),
            ..world.node()
        };
        let runner = Runner {
            jobs: Jobs::new(node.clone()),
            node,
            jitter: Duration::ZERO,
            retry: Duration::from_millis(2),
            stopping: CancellationToken::new(),
        };
        Self {
            clock,
            world,
            runner,
            entry: Entry {
                kind: JobKind::Create,
                cron: cron.parse().unwrap(),
                running: Arc::default(),
            },
        }
    }

    pub(super) async fn at_once(&self, now: &str) -> Option<Job> {
        *self.clock.0.lock().unwrap() = now.parse().unwrap();
        let before = self.last().await;
        self.runner.run_if_due(&self.entry).await;
        if let Some(begun) = self.runner.jobs.running() {
            let watched = self.runner.jobs.watch(begun.id, CancellationToken::new());
            let states = watched.await.unwrap().unwrap();
            futures::StreamExt::collect::<Vec<_>>(states).await;
        }
        let after = self.last().await;
        after.filter(|job| before.is_none_or(|before| before.id != job.id))
    }

    async fn last(&self) -> Option<Job> {
        self.world
            .state
            .last_jobs()
            .await
            .unwrap()
            .into_iter()
            .next()
    }

    async fn seen_to(&self) -> String {
        let seen_to = self.world.state.seen_to(JobKind::Create).await.unwrap();
        seen_to.unwrap().to_string()
    }
}

#[tokio::test]
async fn a_new_node_owes_nothing_and_then_one_run_a_day() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    assert_eq!(bench.at_once("2026-02-27T12:00:00Z").await, None);
    assert_eq!(bench.at_once("2026-02-28T02:59:59Z").await, None);
    let job = bench.at_once("2026-02-28T03:00:00Z").await.unwrap();
    assert_eq!((job.operator.as_str(), job.failure), (SCHEDULE, None));
    assert_eq!(job.snapshot.unwrap().reason, Reason::Scheduled);
    assert_eq!(bench.at_once("2026-02-28T03:00:01Z").await, None, "once");
    assert!(bench.at_once("2026-03-01T03:00:02Z").await.is_some());
    assert_eq!(bench.seen_to().await, "2026-03-01T03:00:00Z");
}

#[tokio::test]
async fn what_was_missed_is_caught_up_once() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    assert_eq!(bench.at_once("2026-02-27T12:00:00Z").await, None);
    assert!(bench.at_once("2026-03-05T09:00:00Z").await.is_some());
    assert_eq!(bench.at_once("2026-03-05T09:00:10Z").await, None);
    assert_eq!(bench.seen_to().await, "2026-03-05T03:00:00Z");
}

#[tokio::test]
async fn a_proof_does_not_overtake_the_snapshot_that_is_due_before_it() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    let proof = Entry {
        kind: JobKind::Verify,
        running: Arc::default(),
        ..bench.entry.clone()
    };
    let entries: Arc<[Entry]> = [bench.entry.clone(), proof].into();
    let look = || bench.runner.clone().look(entries.clone());
    let seen_to = || bench.world.state.seen_to(JobKind::Verify);
    look().await;
    let at_first = seen_to().await.unwrap();
    assert!(at_first.is_some());

    *bench.clock.0.lock().unwrap() = "2026-02-28T03:01:00Z".parse().unwrap();
    let waiting = bench.entry.running.lock().await;
    look().await;
    assert_eq!(seen_to().await.unwrap(), at_first);
    drop(waiting);
    look().await;
    assert_ne!(seen_to().await.unwrap(), at_first);
}

#[tokio::test]
async fn a_run_that_never_got_its_turn_is_recorded_as_skipped() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    assert_eq!(bench.at_once("2026-02-27T12:00:00Z").await, None);
    let (operation, plan) = bench.world.deployment();
    let state = bench.world.state.clone();
    state.begin_operation(&operation, &plan).await.unwrap();
    *bench.clock.0.lock().unwrap() = "2026-02-28T03:00:00Z".parse().unwrap();
    let ends = async {
        // The deployment takes more than a day.
        *bench.clock.0.lock().unwrap() = "2026-03-01T03:00:00Z".parse().unwrap();
        let skipped = loop {
            match bench.last().await {
                Some(skipped) => break skipped,
                None => tokio::task::yield_now().await,
            }
        };
        let failure = skipped.failure.clone().unwrap();
        assert_eq!(
            failure.what,
            "the run that was due at 2026-02-28T03:00:00Z was skipped"
        );
        let told = state.snapshot_events(1).await.unwrap().remove(0);
        assert_eq!(told.operation_id, skipped.id);
        let is_skipped = matches!(
            told.kind,
            EventKind::Snapshot(SnapshotEvent::Skipped { .. })
        );
        assert!(is_skipped, "{told:?}");
        let done = togather_model::OperationState::Done;
        let ended = state.end_operation(&operation, done, None, Timestamp::UNIX_EPOCH);
        ended.await.unwrap();
    };
    tokio::join!(bench.runner.run_if_due(&bench.entry), ends);
    assert_eq!(bench.seen_to().await, "2026-03-01T03:00:00Z");
}

/// The machine booted with a clock far ahead, and then learned the time.
#[tokio::test]
async fn a_clock_that_was_ahead_puts_nothing_off() {
    let bench = Bench::at("2038-01-19T00:00:00Z").await;
    assert_eq!(bench.at_once("2038-01-19T00:00:00Z").await, None);
    assert_eq!(bench.at_once("2026-02-27T12:00:00Z").await, None);
    assert!(bench.at_once("2026-02-28T03:00:00Z").await.is_some());
}

#[tokio::test]
async fn each_snapshot_that_had_waited_is_told_when_it_is_brought() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    bench.world.spool("newer.dump");
    bench.world.spool("older.dump");
    bench.runner.clone().deliver().await;
    bench.runner.clone().deliver().await;
    let told = bench.world.state.snapshot_events(10).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|event| event.kind).collect();
    let delivered = |dump: &str| {
        EventKind::Snapshot(SnapshotEvent::Delivered {
            dump: dump.to_owned(),
        })
    };
    assert_eq!(told, [delivered("newer.dump"), delivered("older.dump")]);
}

/// Whatever `check` accepts, the agent starts with.
#[tokio::test]
async fn what_is_a_schedule_can_be_started_and_catches_up() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    assert_eq!(bench.at_once("2026-02-27T12:00:00Z").await, None);
    *bench.clock.0.lock().unwrap() = "2026-02-28T03:00:00Z".parse().unwrap();
    let settings = ScheduleSettings {
        create: Some("@daily".parse().unwrap()),
        verify: Some("0 3 1,15 * 0".parse().unwrap()),
        prune: None,
        jitter: Duration::ZERO,
    };
    let (node, jobs) = (bench.runner.node.clone(), bench.runner.jobs.clone());
    let schedule = Schedule::start(node, jobs, settings).await.unwrap();
    let begun = async {
        while bench.last().await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    let begun = tokio::time::timeout(Duration::from_secs(10), begun).await;
    begun.unwrap();
    schedule.stop().await;
}

#[tokio::test]
async fn a_skip_does_not_hide_how_the_run_ended_that_it_could_not_wait_for() {
    let bench = Bench::at("2026-02-27T12:00:00Z").await;
    let now = bench.runner.node.host.now();
    let long = Job {
        id: new_id(now),
        kind: JobKind::Create,
        operator: SCHEDULE.to_owned(),
        started_at: now,
        ended_at: None,
        message: String::new(),
        bytes_done: 0,
        bytes_total: None,
        failure: None,
        snapshot: None,
        forgotten: vec![],
    };
    let (state, work) = (&bench.world.state, Work::Prune);
    state.begin_job(&long, &work, "node-1").await.unwrap();
    let held = Failure::new(FailureKind::Held, "a job is under way");
    let skipped = bench.runner.record_skipped(JobKind::Create, now, held);
    skipped.await.unwrap();
    let ended = Job {
        ended_at: Some(now),
        ..long
    };
    state.end_job(&ended, "node-1").await.unwrap();
    assert_eq!(bench.last().await, Some(ended));
}
