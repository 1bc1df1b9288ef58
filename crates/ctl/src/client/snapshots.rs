//! What a node keeps in its snapshot store, and the jobs that work on it.

use serde::Serialize;
use togather_model::{Failure, JobKind, Timestamp};
use togather_proto::{
    MAX_MESSAGE_BYTES, WireError, time,
    v1::{self, command::Body, snapshot_service_client::SnapshotServiceClient},
};
use tonic::{Response, Status, Streaming, transport::Channel};
use ulid::Ulid;

use super::{ANSWER_TIMEOUT, Client, Over, request};
use crate::error::Result;

/// A snapshot in a store.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Its ULID.
    pub id: String,
    /// The dump's name in the store.
    pub name: String,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The dump's size.
    pub bytes: u64,
    /// The schema it holds.
    pub schema: Option<u64>,
    /// `scheduled`, `pre-migration` or `manual`.
    pub reason: String,
    /// When it was last restored and found whole; `None`: never.
    pub verified_at: Option<Timestamp>,
    /// The database it was taken of.
    pub database: String,
    /// The full git commit of the version that was live; empty: none was.
    pub git_commit: String,
    /// It waits on the node's own disk until the store can be reached again.
    pub spooled: bool,
    /// The PostgreSQL it was taken from.
    pub server_version: String,
    /// Why it is kept, a phrase each. Only a list says so: elsewhere nobody asked.
    #[serde(skip)]
    pub kept: Vec<String>,
}

/// What is in a store.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// Newest first; those that nothing asks to keep have nothing in `kept`.
    pub snapshots: Vec<Snapshot>,
    /// What was left behind by what was interrupted, and goes at the next prune; a sentence each.
    pub orphans: Vec<String>,
    /// What else is to be known of the place, a sentence each.
    pub notes: Vec<String>,
    /// The databases that restores replaced on the node, and why each is kept.
    pub replaced: Vec<Replaced>,
    /// Why the store could not be read; what waits on the node's own disk is there all the same.
    pub failure: Option<Failure>,
}

/// A database that a restore replaced.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// Its name.
    pub name: String,
    /// Why it is kept, a phrase each; nothing: the next prune drops it.
    pub kept: Vec<String>,
}

/// A job on a node, as far as it is.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// ULID.
    pub id: String,
    /// What it does.
    pub kind: JobKind,
    /// Who ordered it; `schedule` for the node itself.
    pub operator: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None`: it is under way.
    pub ended_at: Option<Timestamp>,
    /// What goes on, or what came of it.
    pub message: String,
    /// How much of the stage under way is done, in bytes.
    pub bytes_done: u64,
    /// How much there is to do; 0: not known.
    pub bytes_total: u64,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What it is about, once there is one.
    pub snapshot: Option<Snapshot>,
    /// The dumps that a prune forgot.
    pub forgotten: Vec<String>,
}

/// What is ordered.
#[derive(Debug, Clone)]
pub enum Order {
    /// A snapshot.
    Create,
    /// The proof of this snapshot; `None`: of the newest.
    Verify(Option<Ulid>),
    /// This snapshot in the live database's place.
    Restore {
        /// Which one.
        snapshot: Ulid,
        /// Where it is; `None`: in the node's own store.
        store: Option<String>,
        /// The live database's name, as the operator typed it.
        database: String,
    },
    /// A replaced database back in its place.
    UndoRestore {
        /// Which one, as the node's status names it.
        replaced: String,
        /// The live database's name, as the operator typed it.
        database: String,
    },
    /// Everything forgotten that nothing asks to keep.
    Prune,
}

type Snapshots = SnapshotServiceClient<Channel>;

impl Over for Snapshots {
    fn over(channel: Channel) -> Self {
        Self::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

impl From<v1::ReplacedDatabase> for Replaced {
    fn from(wire: v1::ReplacedDatabase) -> Self {
        Self {
            name: wire.name,
            kept: wire.kept,
        }
    }
}

impl Client {
    /// What is in the node's store, or in this one as the node sees it.
    ///
    /// # Errors
    /// The node could not be reached, or cannot read the store.
    pub async fn snapshots(&self, store: Option<&str>) -> Result<Shelf> {
        let wanted = v1::ListSnapshotsRequest {
            store: store.unwrap_or_default().to_owned(),
        };
        let wire = self
            .ask(|mut client: Snapshots| {
                let wanted = wanted.clone();
                async move { client.list(request(wanted)).await }
            })
            .await?;
        let snapshots = wire.snapshots.into_iter().map(Snapshot::try_from).collect();
        let failure = wire.failure.map(Failure::try_from).transpose();
        Ok(Shelf {
            snapshots: self.understand(snapshots)?,
            orphans: wire.orphans,
            notes: wire.notes,
            replaced: wire.replaced.into_iter().map(Into::into).collect(),
            failure: self.understand(failure)?,
        })
    }

    /// Orders a job. The same `id` may be sent again: it never runs twice.
    ///
    /// # Errors
    /// The node refuses, or it is not known whether the order arrived.
    pub async fn begin_job(&self, id: Ulid, order: &Order) -> Result<Job> {
        let body = body(order);
        let mut client = Snapshots::over(self.channel.clone());
        let command = request(self.sign(id, body).await?);
        let answer = match order {
            Order::Create => client.create(command).await,
            Order::Verify(_) => client.verify(command).await,
            Order::Restore { .. } => client.restore(command).await,
            Order::UndoRestore { .. } => client.undo_restore(command).await,
            Order::Prune => client.prune(command).await,
        };
        let job = self.answered(answer)?.job;
        let read = job.ok_or_else(|| WireError::missing("job"));
        self.understand(read.and_then(Job::try_from))
    }

    /// A job as it is now, and each time it changes; the stream may break off before its end.
    ///
    /// # Errors
    /// The node could not be reached, or does not know the job.
    pub async fn watch_job(&self, id: &str) -> Result<Jobs> {
        let wanted = v1::WatchJobRequest {
            job_id: id.to_owned(),
        };
        // A deadline on the request would be one on the whole stream.
        let mut client = Snapshots::over(self.channel.clone());
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, client.watch(wanted)).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        Ok(Jobs {
            client: self.clone(),
            stream: self.answered(answer)?,
        })
    }
}

/// One job, time and again.
pub struct Jobs {
    client: Client,
    stream: Streaming<v1::Job>,
}

impl Jobs {
    /// The job as it is now; `None` when the stream is over, which means nothing about the job.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<Job>> {
        let answer = self.stream.message().await.map(Response::new);
        let job = self.client.answered(answer)?;
        self.client.understand(job.map(Job::try_from).transpose())
    }
}

fn body(order: &Order) -> Body {
    let text = |id: &Option<Ulid>| id.map_or_else(String::new, |id| id.to_string());
    match order {
        Order::Create => Body::CreateSnapshot(v1::CreateSnapshot {}),
        Order::Verify(snapshot) => Body::VerifySnapshot(v1::VerifySnapshot {
            snapshot_id: text(snapshot),
        }),
        Order::Restore {
            snapshot,
            store,
            database,
        } => Body::RestoreSnapshot(v1::RestoreSnapshot {
            snapshot_id: snapshot.to_string(),
            store: store.clone().unwrap_or_default(),
            database: database.clone(),
        }),
        Order::UndoRestore { replaced, database } => Body::UndoRestore(v1::UndoRestore {
            database: database.clone(),
            replaced: replaced.clone(),
        }),
        Order::Prune => Body::PruneSnapshots(v1::PruneSnapshots {}),
    }
}

impl TryFrom<v1::Snapshot> for Snapshot {
    type Error = WireError;

    fn try_from(wire: v1::Snapshot) -> Result<Self, WireError> {
        Ok(Self {
            id: wire.id,
            name: wire.name,
            taken_at: time::read_timestamp("taken_at", wire.taken_at)?,
            bytes: wire.bytes,
            schema: wire.schema,
            reason: wire.reason,
            verified_at: time::read_optional_timestamp("verified_at", wire.verified_at)?,
            database: wire.database,
            git_commit: wire.git_commit,
            spooled: wire.spooled,
            server_version: wire.server_version,
            kept: wire.kept,
        })
    }
}

impl TryFrom<v1::Job> for Job {
    type Error = WireError;

    fn try_from(wire: v1::Job) -> Result<Self, WireError> {
        Ok(Self {
            id: wire.id,
            kind: kind(wire.kind)?,
            operator: wire.operator,
            started_at: time::read_timestamp("started_at", wire.started_at)?,
            ended_at: time::read_optional_timestamp("ended_at", wire.ended_at)?,
            message: wire.message,
            bytes_done: wire.bytes_done,
            bytes_total: wire.bytes_total,
            failure: wire
                .failure
                .map(Failure::try_from)
                .transpose()
                .map_err(|error| error.within("failure"))?,
            snapshot: wire
                .snapshot
                .map(Snapshot::try_from)
                .transpose()
                .map_err(|error| error.within("snapshot"))?,
            forgotten: wire.forgotten,
        })
    }
}

fn kind(number: i32) -> Result<JobKind, WireError> {
    let known = v1::JobKind::try_from(number)
        .map_err(|_| WireError::invalid("kind", "it is not known to this version"))?;
    JobKind::try_from(known).map_err(|_| WireError::missing("kind"))
}
