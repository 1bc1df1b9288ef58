//! Snapshots, and the jobs on them.

use futures::{StreamExt, stream::BoxStream};
use togather_model::{Failure, FailureKind, Ulid, retention};
use togather_proto::{
    WireError, method, time, to_status,
    v1::{self, command::Body, snapshot_service_server::SnapshotService},
};
use tonic::{Request, Response, Status};
use url::Url;

use super::{Shared, misplaced, not_understood, read_id, unreadable};
use crate::{
    gate::Order,
    jobs::{Job, JobKind, Which, Work},
    snapshots::{Manifest, Reason, Survey, reasons},
};

#[tonic::async_trait]
impl SnapshotService for Shared {
    type WatchStream = BoxStream<'static, Result<v1::Job, Status>>;

    async fn list(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let node = &self.0.node;
        let place = read_place(&request.into_inner().store)?;
        let unreachable = |e: &dyn std::error::Error| {
            let what = "the snapshot store could not be read";
            let failure = Failure::caused_by(FailureKind::Other, what, e);
            to_status(&failure.next("look at `snapshots` in the node's agent.yml"))
        };
        let survey = node.snapshots.survey(place.as_ref()).await;
        let survey = survey.map_err(|e| unreachable(&e))?;
        let targets = node.rollback_targets().await.map_err(|e| unreadable(&e))?;
        let retention = node.snapshots.retention();
        let kept = reasons(&survey.snapshots, retention, &targets, node.host.now());
        let orphans = orphans(&survey);
        let snapshots = survey.snapshots.into_iter().zip(kept);
        let mut snapshots: Vec<v1::Snapshot> = snapshots
            .map(|(manifest, kept)| judged(manifest, &kept))
            .collect();
        if place.is_none() {
            let spooled = node.snapshots.spooled().await;
            let spooled = spooled.map_err(|e| unreachable(&e))?;
            let waiting = spooled.into_iter().map(|manifest| v1::Snapshot {
                kept: vec!["waits for the store".to_owned()],
                ..to_wire(manifest)
            });
            snapshots.splice(0..0, waiting);
        }
        Ok(Response::new(v1::ListSnapshotsResponse {
            snapshots,
            orphans,
        }))
    }

    async fn create(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let order = self.admit(request, method::CREATE_SNAPSHOT).await?;
        let Body::CreateSnapshot(_) = &order.body else {
            return Err(misplaced());
        };
        let work = Work::snapshot(&self.0.node, Reason::Manual).await;
        self.begin_job(&order, work, None).await
    }

    async fn verify(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let order = self.admit(request, method::VERIFY_SNAPSHOT).await?;
        let Body::VerifySnapshot(wanted) = &order.body else {
            return Err(misplaced());
        };
        let which = match wanted.snapshot_id.as_str() {
            "" => Which::Newest,
            id => Which::This(read_id("snapshot_id", id)?),
        };
        self.begin_job(&order, Work::Verify(which), None).await
    }

    async fn restore(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let order = self.admit(request, method::RESTORE_SNAPSHOT).await?;
        let Body::RestoreSnapshot(wanted) = &order.body else {
            return Err(misplaced());
        };
        let work = Work::Restore {
            snapshot: read_id("snapshot_id", &wanted.snapshot_id)?,
            place: read_place(&wanted.store)?,
        };
        self.begin_job(&order, work, Some(&wanted.database)).await
    }

    async fn undo_restore(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let order = self.admit(request, method::UNDO_RESTORE).await?;
        let Body::UndoRestore(wanted) = &order.body else {
            return Err(misplaced());
        };
        let replaced = Some(&wanted.replaced).filter(|name| !name.is_empty());
        let work = Work::UndoRestore {
            replaced: replaced.cloned(),
        };
        self.begin_job(&order, work, Some(&wanted.database)).await
    }

    async fn prune(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let order = self.admit(request, method::PRUNE_SNAPSHOTS).await?;
        let Body::PruneSnapshots(_) = &order.body else {
            return Err(misplaced());
        };
        self.begin_job(&order, Work::Prune, None).await
    }

    async fn watch(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let id: Ulid = read_id("job_id", &request.into_inner().job_id)?;
        let watched = self.0.jobs.watch(id, self.0.stopping.clone()).await;
        let Some(states) = watched.map_err(|e| unreadable(&e))? else {
            let failure = Failure::new(FailureKind::Other, format!("this node knows no job {id}"));
            return Err(to_status(
                &failure.next("see the last ones with `togather-ctl status`"),
            ));
        };
        Ok(Response::new(
            states.map(|job| Ok(job_to_wire(job))).boxed(),
        ))
    }
}

impl Shared {
    async fn begin_job(
        &self,
        order: &Order,
        work: Work,
        typed: Option<&str>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let operator = order.operator.as_str();
        let begun = self.0.jobs.begin(order.operation_id, operator, work, typed);
        let job = begun.await.map_err(|failure| to_status(&failure))?;
        Ok(Response::new(v1::JobResponse {
            job: Some(job_to_wire(job)),
        }))
    }
}

fn read_place(text: &str) -> Result<Option<Url>, Status> {
    let url = (!text.is_empty()).then(|| Url::parse(text)).transpose();
    url.map_err(|error| not_understood(&WireError::invalid("store", error)))
}

/// What interrupted snapshots and prunings left, a sentence each.
fn orphans(survey: &Survey) -> Vec<String> {
    let parts = survey.orphans.iter().map(|orphan| {
        format!(
            "{} has no manifest; it was stored at {:.0}",
            orphan.name, orphan.stored_at
        )
    });
    survey.unreadable.iter().cloned().chain(parts).collect()
}

/// A snapshot as the wire writes it, with why it is kept.
fn judged(manifest: Manifest, kept: &[retention::Reason]) -> v1::Snapshot {
    v1::Snapshot {
        kept: kept.iter().map(ToString::to_string).collect(),
        ..to_wire(manifest)
    }
}

/// A snapshot as the wire writes it.
pub(super) fn to_wire(manifest: Manifest) -> v1::Snapshot {
    let reason = match manifest.reason {
        Reason::Scheduled => "scheduled",
        Reason::PreMigration => "pre-migration",
        Reason::Manual => "manual",
    };
    v1::Snapshot {
        id: manifest.id.to_string(),
        name: manifest.dump,
        taken_at: Some(time::timestamp(manifest.taken_at)),
        bytes: manifest.bytes,
        schema: manifest.schema,
        reason: reason.to_owned(),
        verified_at: manifest.verified_at.map(time::timestamp),
        database: manifest.database,
        git_commit: manifest.git_commit,
        kept: vec![],
        spooled: manifest.spooled,
        server_version: manifest.server_version,
    }
}

/// A job as the wire writes it.
pub(super) fn job_to_wire(job: Job) -> v1::Job {
    let kind = match job.kind {
        JobKind::Create => v1::JobKind::Create,
        JobKind::Verify => v1::JobKind::Verify,
        JobKind::Restore => v1::JobKind::Restore,
        JobKind::UndoRestore => v1::JobKind::UndoRestore,
        JobKind::Prune => v1::JobKind::Prune,
    };
    v1::Job {
        id: job.id.to_string(),
        kind: kind.into(),
        operator: job.operator,
        started_at: Some(time::timestamp(job.started_at)),
        ended_at: job.ended_at.map(time::timestamp),
        message: job.message,
        bytes_done: job.bytes_done,
        bytes_total: job.bytes_total.unwrap_or(0),
        failure: job.failure.map(Into::into),
        snapshot: job.snapshot.map(to_wire),
        forgotten: job.forgotten,
    }
}
