//! Snapshots over the wire: ordered, watched, listed, restored and taken back.

use togather_proto::v1::{JobKind, event::Kind};

use super::*;

impl Client {
    /// All states of a job, until the stream is over.
    async fn watch(&self, job: &str) -> Vec<v1::Job> {
        let mut snapshots = self.snapshots.clone();
        let wanted = v1::WatchJobRequest { job_id: job.into() };
        let states = snapshots.watch(wanted).await.unwrap().into_inner();
        states.map(|state| state.unwrap()).collect().await
    }

    async fn history(&self, wanted: v1::HistoryRequest) -> v1::HistoryResponse {
        let mut deployments = self.deployments.clone();
        deployments.history(wanted).await.unwrap().into_inner()
    }

    async fn status(&self) -> v1::NodeStatus {
        let mut nodes = self.nodes.clone();
        let status = nodes.status(v1::StatusRequest {}).await;
        status.unwrap().into_inner()
    }
}

fn restore(snapshot: &v1::Snapshot, database: &str) -> Body {
    Body::RestoreSnapshot(v1::RestoreSnapshot {
        snapshot_id: snapshot.id.clone(),
        store: String::new(),
        database: database.into(),
    })
}

#[tokio::test]
async fn a_snapshot_is_taken_watched_listed_restored_and_taken_back() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let client = bench.client(&alice);
    let mut snapshots = client.snapshots.clone();

    let signed = bench.signed(&alice, Body::CreateSnapshot(v1::CreateSnapshot {}));
    let job = snapshots.create(signed.clone()).await.unwrap();
    let job = job.into_inner().job.unwrap();
    assert_eq!(
        (job.kind(), job.operator.as_str()),
        (JobKind::Create, "alice")
    );
    let states = client.watch(&job.id).await;
    let ended = states.last().unwrap();
    assert!(
        ended.ended_at.is_some() && ended.failure.is_none(),
        "{ended:?}"
    );
    let taken = ended.snapshot.clone().unwrap();
    assert_eq!(
        (taken.reason.as_str(), taken.database.as_str()),
        ("manual", "togather")
    );
    // The same command again is the same job, which is over.
    let again = snapshots.create(signed).await.unwrap().into_inner().job;
    assert_eq!(again.as_ref(), Some(ended));
    assert_eq!(client.watch(&job.id).await, std::slice::from_ref(ended));

    let history = client.history(v1::HistoryRequest::default()).await;
    let told: Vec<(String, Kind)> = history
        .snapshots
        .into_iter()
        .map(|event| (event.operation_id, event.kind.unwrap()))
        .collect();
    assert!(
        matches!(&told[..], [(a, Kind::SnapshotCompleted(done)), (b, Kind::SnapshotStarted(_))]
            if *a == job.id && a == b && done.dumps == [taken.name.clone()]),
        "newest first: {told:?}"
    );
    let of_rollout = v1::HistoryRequest {
        rollout_id: Some(Ulid::nil().to_string()),
        ..v1::HistoryRequest::default()
    };
    assert_eq!(client.history(of_rollout).await.snapshots, []);

    let listed = snapshots.list(v1::ListSnapshotsRequest::default()).await;
    let listed = listed.unwrap().into_inner().snapshots;
    assert_eq!(listed[0].kept, ["young", "nothing newer is verified"]);

    let mistyped = bench.signed(&alice, restore(&taken, "togethr"));
    let refused = failure(snapshots.restore(mistyped).await.unwrap_err());
    assert!(refused.what.contains("nothing was touched"), "{refused}");
    let signed = bench.signed(&alice, restore(&taken, "togather"));
    let job = snapshots.restore(signed).await.unwrap().into_inner().job;
    let states = client.watch(&job.unwrap().id).await;
    assert_eq!(states.last().unwrap().failure, None);
    let status = client.status().await;
    assert_eq!(status.replaced_databases.len(), 1);
    let kinds: Vec<JobKind> = status.jobs.iter().map(v1::Job::kind).collect();
    assert_eq!(kinds, [JobKind::Restore, JobKind::Create]);

    let undo = |replaced: &str| {
        Body::UndoRestore(v1::UndoRestore {
            database: "togather".into(),
            replaced: replaced.into(),
        })
    };
    let signed = bench.signed(&alice, undo("togather_replaced_gone"));
    let job = snapshots
        .undo_restore(signed)
        .await
        .unwrap()
        .into_inner()
        .job;
    let states = client.watch(&job.unwrap().id).await;
    let failure = states.last().unwrap().failure.clone().unwrap();
    assert!(
        failure.what.contains("togather_replaced_gone"),
        "{failure:?}"
    );
    let signed = bench.signed(&alice, undo(&status.replaced_databases[0]));
    let job = snapshots
        .undo_restore(signed)
        .await
        .unwrap()
        .into_inner()
        .job;
    let states = client.watch(&job.unwrap().id).await;
    assert_eq!(states.last().unwrap().failure, None);
    let after = client.status().await.replaced_databases;
    assert_ne!(after, status.replaced_databases);
}

#[tokio::test]
async fn nobody_restores_in_the_middle_of_somebody_elses_rollout() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let bob = bench.admit("bob", Role::Admin);
    bench.lease(&bob, Ulid::generate()).await;
    let undo = Body::UndoRestore(v1::UndoRestore {
        database: "togather".into(),
        replaced: String::new(),
    });
    let mut snapshots = bench.client(&alice).snapshots;
    let refused = snapshots.undo_restore(bench.signed(&alice, undo)).await;
    let refused = failure(refused.unwrap_err());
    assert_eq!(refused.kind, FailureKind::Held);
    assert!(refused.what.contains("bob has the lease"), "{refused}");
}

#[tokio::test]
async fn a_last_verified_snapshot_that_is_too_old_is_told() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Viewer);
    let client = bench.client(&alice);
    let (operation, plan) = bench.world.deployment();
    let state = &bench.node.state;
    let release = bench.world.release.to_bytes().unwrap();
    let kept = state.keep_release(&release).await;
    assert_eq!(kept.unwrap(), operation.release);
    state.begin_operation(&operation, &plan).await.unwrap();
    let (done, now) = (togather_model::OperationState::Done, bench.clock.now());
    let ended = state.end_operation(&operation, done, None, now).await;
    ended.unwrap();
    assert_eq!(client.status().await.snapshot_overdue, "");
    bench.clock.move_by(49 * 3600);
    let overdue = client.status().await.snapshot_overdue;
    assert_eq!(
        overdue,
        "no snapshot was verified in 49 hours; it should be at most 48"
    );
}

#[tokio::test]
async fn a_stuck_restore_and_the_kind_of_store_are_told() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let client = bench.client(&alice);
    let mut snapshots = client.snapshots.clone();
    let signed = bench.signed(&alice, Body::CreateSnapshot(v1::CreateSnapshot {}));
    let job = snapshots.create(signed).await.unwrap().into_inner().job;
    let states = client.watch(&job.unwrap().id).await;
    let taken = states.last().unwrap().snapshot.clone().unwrap();
    let status = client.status().await;
    assert_eq!(status.stuck_job, None);
    let store = status.snapshot_store.unwrap();
    assert_eq!(store.address, "s3://bucket/node-1");
    assert_eq!(store.conditional_writes, "unknown", "nobody has looked");

    bench.world.break_for_good("containers.restart_slot", 0);
    let signed = bench.signed(&alice, restore(&taken, "togather"));
    let job = snapshots.restore(signed).await.unwrap().into_inner().job;
    let id = job.unwrap().id;
    client.watch(&id).await;
    let stuck = client.status().await.stuck_job.unwrap();
    assert_eq!((stuck.id, stuck.kind), (id, JobKind::Restore.into()));
    let failure = stuck.failure.unwrap();
    assert_eq!(failure.kind, v1::FailureKind::Stuck as i32);
}

#[tokio::test]
async fn a_database_that_interrupted_work_left_is_listed_as_something_to_clear_away() {
    let bench = Bench::start().await;
    let alice = bench.admit("alice", Role::Admin);
    let client = bench.client(&alice);
    let mut snapshots = client.snapshots.clone();
    let signed = bench.signed(&alice, Body::CreateSnapshot(v1::CreateSnapshot {}));
    let job = snapshots.create(signed).await.unwrap().into_inner().job;
    let id = job.unwrap().id;
    client.watch(&id).await;
    bench.world.leave_scratch(id.parse().unwrap());
    bench.world.leave_scratch(Ulid::generate());
    let listed = snapshots.list(v1::ListSnapshotsRequest::default()).await;
    let left = listed.unwrap().into_inner().orphans;
    let expected = crate::database::scratch_name(id.parse().unwrap());
    assert_eq!(left.len(), 1, "not the stranger's: {left:?}");
    assert!(left[0].contains(&expected), "{left:?}");
}
