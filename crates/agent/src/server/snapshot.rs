//! Snapshots, and the jobs on them.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use togather_model::{Failure, FailureKind, Timestamp, Ulid, retention};
use togather_proto::{
    WireError, method, time, to_status,
    v1::{self, command::Body, snapshot_service_server::SnapshotService},
};
use tonic::{Request, Response, Status};
use url::Url;

use super::{Shared, misplaced, not_understood, read_id, unreadable};
use crate::{
    gate::Order,
    jobs::{
        Job, JobKind, Which, Work,
        replaced::{self, Replaced},
    },
    snapshots::{Manifest, Reason, Survey, reasons},
};

/// How long a store may take to say what it holds: less than controllers wait for a node's answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[tonic::async_trait]
impl SnapshotService for Shared {
    type WatchStream = BoxStream<'static, Result<v1::Job, Status>>;

    async fn list(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let answer = match read_place(&request.into_inner().store)? {
            Some(place) => self.list_other(&place).await,
            None => self.list_own().await?,
        };
        Ok(Response::new(answer))
    }

    async fn create(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::JobResponse>, Status> {
        let order = self.admit(request, method::CREATE_SNAPSHOT).await?;
        let Body::CreateSnapshot(_) = &order.body else {
            return Err(misplaced());
        };
        let work = Work::snapshot(&self.0.node.in_force(), Reason::Manual).await;
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
    /// What is in the node's own store and waits in its spool, with what is kept of it and why.
    async fn list_own(&self) -> Result<v1::ListSnapshotsResponse, Status> {
        let node = &self.0.node.in_force();
        let (now, retention) = (node.host.now(), node.snapshots.retention());
        let targets = node.rollback_targets().await.map_err(|e| unreadable(&e))?;
        let mut answer = v1::ListSnapshotsResponse::default();
        match node.snapshots.spooled().await {
            Ok(spooled) => answer.snapshots.extend(spooled.into_iter().map(waiting)),
            Err(error) => answer
                .notes
                .push(format!("the spool is not known: {error}")),
        }
        let survey = match self.survey(None).await {
            Ok(survey) => survey,
            Err(failure) => {
                answer.failure = Some(failure.into());
                return Ok(answer);
            }
        };
        (answer.orphans, answer.notes) = remarks(&survey, now, answer.notes);
        if node.has_database().await.is_ok_and(|exists| exists) {
            self.list_databases(&survey, &mut answer).await?;
        }
        let kept = reasons(&survey.snapshots, retention, &targets, now);
        // One that is read while it is delivered is in both for a while.
        let waits: BTreeSet<String> = answer.snapshots.iter().map(|s| s.id.clone()).collect();
        let stored = survey.snapshots.into_iter().zip(kept);
        let stored = stored.filter(|(manifest, _)| !waits.contains(&manifest.id.to_string()));
        let stored = stored.map(|(manifest, kept)| judged(manifest, &kept));
        answer.snapshots.extend(stored);
        Ok(answer)
    }

    /// The databases beside the live one, with what is kept of them and why.
    async fn list_databases(
        &self,
        survey: &Survey,
        answer: &mut v1::ListSnapshotsResponse,
    ) -> Result<(), Status> {
        let node = &self.0.node.in_force();
        let (now, keep_for) = (node.host.now(), node.snapshots.retention().keep_for);
        let stuck = node.state.stuck_job().await.map_err(|e| unreadable(&e))?;
        let stuck = stuck.and_then(|stuck| stuck.swap);
        match node.database.replaced().await {
            Ok(names) => {
                let replaced =
                    replaced::judge(names, stuck.as_ref(), &survey.snapshots, keep_for, now);
                answer.replaced = replaced.into_iter().map(replaced_to_wire).collect();
            }
            Err(error) => answer
                .notes
                .push(format!("the replaced databases are not known: {error}")),
        }
        match self.0.jobs.leftovers().await {
            Ok(names) => {
                let left = |name| format!("the database {name} is left of interrupted work");
                answer.orphans.extend(names.into_iter().map(left));
            }
            Err(failure) => answer.notes.push(failure.to_string()),
        }
        Ok(())
    }

    /// What is in another place. What of it is kept is for the node to say whose it is.
    async fn list_other(&self, place: &Url) -> v1::ListSnapshotsResponse {
        let survey = match self.survey(Some(place)).await {
            Ok(survey) => survey,
            Err(failure) => {
                return v1::ListSnapshotsResponse {
                    failure: Some(failure.into()),
                    ..Default::default()
                };
            }
        };
        let (orphans, mut notes) = remarks(&survey, self.0.node.host.now(), vec![]);
        // Nor is it for us to say what of it is left over.
        notes.extend(orphans);
        let snapshots = survey.snapshots.into_iter().map(|manifest| {
            let whose = manifest.origin.as_ref().map(|origin| &origin.node);
            let whose = whose.map_or("whoever took it".to_owned(), Clone::clone);
            v1::Snapshot {
                kept: vec![format!("as long as {whose} keeps it")],
                ..to_wire(manifest)
            }
        });
        v1::ListSnapshotsResponse {
            snapshots: snapshots.collect(),
            notes,
            ..Default::default()
        }
    }

    /// Everything in this place, or the node's own; sooner than whoever asks gives up on the node.
    async fn survey(&self, place: Option<&Url>) -> Result<Survey, Failure> {
        let what = "the snapshot store could not be read";
        let next = "look at `snapshots` in the node's agent.yml";
        let node = self.0.node.in_force();
        let survey = node.snapshots.survey(place);
        match tokio::time::timeout(PATIENCE, survey).await {
            Ok(survey) => {
                survey.map_err(|e| Failure::caused_by(FailureKind::Other, what, &e).next(next))
            }
            Err(_) => {
                let mut failure = Failure::new(FailureKind::Other, what);
                let cause = format!("it did not answer within {} s", PATIENCE.as_secs());
                failure.causes.push(cause);
                Err(failure.next(next))
            }
        }
    }

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

/// A sentence for each thing that the next prune removes, and for each that nothing removes.
fn remarks(survey: &Survey, now: Timestamp, mut notes: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut orphans = Vec::new();
    for orphan in &survey.orphans {
        let (name, at) = (&orphan.name, orphan.stored_at);
        match orphan.is_left_over(now) {
            true => orphans.push(format!("{name} has no manifest; it was stored at {at:.0}")),
            false => notes.push(format!(
                "{name}, stored at {at:.0}, has no manifest: of a snapshot under way, or an interrupted one"
            )),
        }
    }
    notes.extend(survey.unreadable.iter().cloned());
    notes.extend(survey.foreign_remark());
    (orphans, notes)
}

fn replaced_to_wire(replaced: Replaced) -> v1::ReplacedDatabase {
    v1::ReplacedDatabase {
        name: replaced.name,
        kept: replaced.kept,
    }
}

fn waiting(manifest: Manifest) -> v1::Snapshot {
    v1::Snapshot {
        kept: vec!["waits for the store".to_owned()],
        ..to_wire(manifest)
    }
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
