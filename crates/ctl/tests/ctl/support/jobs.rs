//! The snapshots of a scripted node.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use togather_model::{Failure, FailureKind, Timestamp, Ulid};
use togather_proto::{
    method, time, to_status,
    v1::{
        self,
        command::Body,
        snapshot_service_server::{SnapshotService, SnapshotServiceServer},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::node::{Cut, Inner, Script};

type Answer<T> = Result<Response<T>, Status>;

/// The live database's name on every scripted node.
pub(crate) const DATABASE: &str = "togather";

pub(super) fn service(node: &Arc<Inner>) -> SnapshotServiceServer<Service> {
    SnapshotServiceServer::new(Service(Arc::clone(node)))
}

pub(super) struct Service(Arc<Inner>);

/// A snapshot with the id that this number makes, taken this many hours ago.
pub(crate) fn snapshot(number: u64, hours: u64, kept: &[&str]) -> v1::Snapshot {
    let taken_at = Timestamp::now() - Duration::from_secs(hours * 3600 + 60);
    let verified_at = (!kept.is_empty()).then(|| time::timestamp(taken_at));
    v1::Snapshot {
        id: id(number),
        name: format!("togather_{number}.dump"),
        taken_at: Some(time::timestamp(taken_at)),
        bytes: number * 1_000_000,
        schema: Some(4),
        reason: "scheduled".into(),
        verified_at,
        database: DATABASE.into(),
        git_commit: "c".repeat(40),
        kept: kept.iter().map(|&reason| reason.into()).collect(),
        spooled: false,
        server_version: "17.6".into(),
    }
}

/// The id that this number makes.
pub(crate) fn id(number: u64) -> String {
    Ulid::from_parts(number, 1).to_string()
}

impl Service {
    /// Begins a job, unless it is known, and lets the script decide what becomes of it.
    fn begin(
        &self,
        request: Request<v1::SignedCommand>,
        method: &str,
        kind: v1::JobKind,
    ) -> Answer<v1::JobResponse> {
        let command = self.0.read(&request.into_inner(), method);
        self.check_name(&command)?;
        let mut state = self.0.state();
        if let Some(failure) = state.refuses.clone() {
            return Err(to_status(&failure));
        }
        let known = state.jobs.iter().find(|job| job.id == command.operation_id);
        let job = known.cloned().unwrap_or_else(|| v1::Job {
            id: command.operation_id.clone(),
            kind: kind.into(),
            operator: command.operator.clone(),
            started_at: Some(time::timestamp(Timestamp::now())),
            message: "beginning".into(),
            ..v1::Job::default()
        });
        if !state.jobs.iter().any(|known| known.id == job.id) {
            state.jobs.push(job.clone());
            tokio::spawn(carry_out(Arc::clone(&self.0), job.clone()));
        }
        state.orders.extend(command.body);
        // The order has arrived; its answer does not.
        if let Some(Cut::Broken) = state.lost_answers.pop_front() {
            return Err(Status::unavailable("cut off"));
        }
        Ok(Response::new(v1::JobResponse { job: Some(job) }))
    }

    fn check_name(&self, command: &v1::Command) -> Result<(), Status> {
        let typed = match &command.body {
            Some(Body::RestoreSnapshot(restore)) => &restore.database,
            Some(Body::UndoRestore(undo)) => &undo.database,
            _ => return Ok(()),
        };
        if typed == DATABASE {
            return Ok(());
        }
        let what = format!("the live database is called {DATABASE}, not {typed}");
        Err(to_status(&Failure::new(FailureKind::Other, what)))
    }
}

/// What is done of a job when it nears its end.
const NEAR_THE_END: u64 = 40_000_000;

/// Two steps and, once somebody has seen the second, an end.
async fn carry_out(node: Arc<Inner>, job: v1::Job) {
    let mut ticks = node.ticks.subscribe();
    for done in [0, NEAR_THE_END] {
        node.change_job(&job.id, |job| {
            job.message = "streaming".into();
            (job.bytes_done, job.bytes_total) = (done, 80_000_000);
        });
    }
    let script = loop {
        let (script, seen) = {
            let state = node.state();
            (state.script, state.seen.contains(&job.id))
        };
        if seen && script != Some(Script::Wait) {
            break script.unwrap_or(Script::Succeed);
        }
        ticks.changed().await.unwrap();
    };
    if script == Script::Vanish {
        node.vanish();
        return;
    }
    let newest = node.state().snapshots.first().cloned();
    let ended_at = time::read_timestamp("", job.started_at).unwrap() + Duration::from_millis(2345);
    node.change_job(&job.id, |job| {
        job.ended_at = Some(time::timestamp(ended_at));
        job.snapshot = newest;
        if script == Script::Fail {
            let failure =
                Failure::new(FailureKind::Migration, "the rehearsal failed").next("fix it");
            job.failure = Some(failure.into());
        } else {
            job.message = "all is well".into();
            if job.kind() == v1::JobKind::Prune {
                job.forgotten = vec!["togather_1.dump".into()];
            }
        }
    });
}

#[tonic::async_trait]
impl SnapshotService for Service {
    async fn list(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Answer<v1::ListSnapshotsResponse> {
        let store = request.into_inner().store;
        let state = self.0.state();
        let (snapshots, orphans) = match store.as_str() {
            "" => (state.snapshots.clone(), state.orphans.clone()),
            "file:///lost" => (vec![snapshot(99, 30, &["it is young"])], Vec::new()),
            other => {
                let what = format!("no such store: {other}");
                return Err(to_status(&Failure::new(FailureKind::Configuration, what)));
            }
        };
        Ok(Response::new(v1::ListSnapshotsResponse {
            snapshots,
            orphans,
            ..Default::default()
        }))
    }

    async fn create(&self, request: Request<v1::SignedCommand>) -> Answer<v1::JobResponse> {
        self.begin(request, method::CREATE_SNAPSHOT, v1::JobKind::Create)
    }

    async fn verify(&self, request: Request<v1::SignedCommand>) -> Answer<v1::JobResponse> {
        self.begin(request, method::VERIFY_SNAPSHOT, v1::JobKind::Verify)
    }

    async fn restore(&self, request: Request<v1::SignedCommand>) -> Answer<v1::JobResponse> {
        self.begin(request, method::RESTORE_SNAPSHOT, v1::JobKind::Restore)
    }

    async fn undo_restore(&self, request: Request<v1::SignedCommand>) -> Answer<v1::JobResponse> {
        self.begin(request, method::UNDO_RESTORE, v1::JobKind::UndoRestore)
    }

    async fn prune(&self, request: Request<v1::SignedCommand>) -> Answer<v1::JobResponse> {
        self.begin(request, method::PRUNE_SNAPSHOTS, v1::JobKind::Prune)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Job, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchJobRequest>) -> Answer<Self::WatchStream> {
        let id = request.into_inner().job_id;
        let (to_client, jobs) = mpsc::channel(16);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut ticks = node.ticks.subscribe();
            let mut told = None;
            loop {
                let job = node.state().jobs.iter().find(|job| job.id == id).cloned();
                let job = job.expect("a job that was ordered");
                let ends = job.ended_at.is_some();
                let cut = if ends {
                    node.state().cuts.pop_front()
                } else {
                    None
                };
                if let Some(cut) = cut {
                    if cut == Cut::Broken {
                        let _ = to_client.send(Err(Status::unavailable("cut off"))).await;
                    }
                    return;
                }
                if told.as_ref() != Some(&job) {
                    told = Some(job.clone());
                    let (id, near_the_end) = (job.id.clone(), job.bytes_done == NEAR_THE_END);
                    if to_client.send(Ok(job)).await.is_err() {
                        return;
                    }
                    if near_the_end {
                        node.saw_job(id);
                    }
                }
                if ends || to_client.is_closed() || ticks.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(jobs))))
    }
}
