//! Snapshots of the database: dumped and streamed to a store, proven by restoring.
//!
//! Nothing is a snapshot until its manifest is stored; the manifest is written last, create-only.
//! Nothing counts as verified until it was read back, its SHA-256 matched, and what it restored to
//! was compared with what was counted when it was taken.

mod contents;
mod dump;
mod error;
mod forget;
mod load;
mod manifest;
mod program;
mod prove;
mod roles;
mod shelf;
mod spool;
mod store;
mod uploads;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use object_store::{ObjectStore, multipart::MultipartStore};
use togather_model::{
    Timestamp, Ulid,
    retention::{Policy, RollbackTarget},
};
use tokio::sync::Mutex;
use url::Url;

pub use self::{
    error::SnapshotError,
    forget::reasons,
    manifest::{FORMAT, Globals, Manifest, Reason, Wanted},
    program::{Progress, Say},
    shelf::{Orphan, Survey},
};
use self::{prove::Purpose, store::Store};
use crate::{containers::Exec, database::Postgres};

/// What the node asks of its snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Dumps the database into the store. `on_progress` is told what is going on. A scheduled one
    /// goes into the spool if the store does not take it.
    async fn create(
        &self,
        wanted: &Wanted,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError>;

    /// Reads the snapshot back, checks its SHA-256 and restores it into the scratch database of
    /// this operation, where it stays until it is dropped; compares extensions, schema version,
    /// catalogue fingerprint and row counts; marks it verified. After a failure no scratch database
    /// is left.
    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError>;

    /// The snapshots in the store, newest first. One whose manifest cannot be read is an error that
    /// names it, never left out in silence.
    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError>;

    /// Forgets what neither the policy nor a release that can be rolled back to asks to keep, and
    /// clears away what interrupted snapshots left. Returns the dumps' names.
    async fn prune(
        &self,
        rollback_targets: &[RollbackTarget],
        now: Timestamp,
    ) -> Result<Vec<String>, SnapshotError>;

    /// Everything in this place; without one, in the node's own.
    async fn survey(&self, place: Option<&Url>) -> Result<Survey, SnapshotError>;

    /// How long, and how many, are kept.
    fn retention(&self) -> &Policy;

    /// Restores a snapshot from this place, or the node's own, into the scratch database of this
    /// operation, fit to become the live one, with the roles it needs; compares it as proving does.
    /// After a failure no scratch database is left.
    async fn restore(
        &self,
        place: Option<&Url>,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Restored, SnapshotError>;

    /// Ends what an interruption left running of this job: programs in the database's container.
    async fn end_programs(&self, job: Ulid) -> Result<(), SnapshotError>;

    /// Clears away what an interruption left of this snapshot. Returns it if it is whole after all.
    async fn clear_away(&self, wanted: &Wanted) -> Result<Option<Manifest>, SnapshotError>;

    /// The snapshots that wait on the node's own disk for the store, newest first.
    async fn spooled(&self) -> Result<Vec<Manifest>, SnapshotError>;

    /// Brings what is spooled to the store, oldest first. Returns the dumps' names.
    async fn deliver(&self) -> Result<Vec<String>, SnapshotError>;
}

/// A snapshot that was restored beside the live database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: Manifest,
    /// What is otherwise than it was when the snapshot was taken, a phrase each.
    pub notes: Vec<String>,
}

/// Where snapshots go, what makes them, and which are kept.
#[derive(Debug, Clone)]
pub struct SnapshotSettings {
    /// `file:///…`, `s3://bucket/prefix`, `gs://…` or `az://…`. Credentials and endpoint come from
    /// the environment, as object_store reads it. One place belongs to one node.
    pub store: Url,
    /// The Compose service of the database, in whose container `pg_dump` and `pg_restore` run.
    pub service: String,
    /// How long, and how many, are kept.
    pub retention: Policy,
    /// A folder of the node's own in which uploads under way are noted, so that what an
    /// interruption left of them in the store can be taken back; `None`: the store's own rules do.
    pub uploads: Option<PathBuf>,
    /// Where scheduled ones wait when the store does not take them; `None`: they fail.
    pub spool: Option<Spool>,
}

/// A folder of the node's own for snapshots that wait for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// What it may hold, in bytes.
    pub at_most: u64,
}

/// Snapshots made by `pg_dump` and kept through object_store.
pub struct Dumps {
    store: Store,
    spool: Option<Store>,
    /// One delivery at a time.
    delivering: Mutex<()>,
    service: String,
    retention: Policy,
    exec: Arc<dyn Exec>,
    database: Arc<Postgres>,
}

impl Dumps {
    /// Snapshots of this database in this store; nothing is asked of either yet.
    ///
    /// # Errors
    /// The store's address cannot be used.
    pub fn new(
        settings: SnapshotSettings,
        exec: Arc<dyn Exec>,
        database: Arc<Postgres>,
    ) -> Result<Self, SnapshotError> {
        let store = Store::at(&settings.store, settings.uploads.as_deref())?;
        Self::with_store(settings, store, exec, database)
    }

    /// The same in an object store that was made elsewhere; the address in the settings is only its
    /// name for people.
    ///
    /// # Errors
    /// The spool's folder cannot be one.
    pub fn over<T: ObjectStore + MultipartStore>(
        settings: SnapshotSettings,
        objects: Arc<T>,
        exec: Arc<dyn Exec>,
        database: Arc<Postgres>,
    ) -> Result<Self, SnapshotError> {
        let store = Store::over(objects, &settings.store, settings.uploads.as_deref());
        Self::with_store(settings, store, exec, database)
    }

    fn with_store(
        settings: SnapshotSettings,
        store: Store,
        exec: Arc<dyn Exec>,
        database: Arc<Postgres>,
    ) -> Result<Self, SnapshotError> {
        let spool = settings.spool.as_ref().map(Store::spool).transpose()?;
        Ok(Self {
            store,
            spool,
            delivering: Mutex::default(),
            service: settings.service,
            retention: settings.retention,
            exec,
            database,
        })
    }

    fn place(&self, place: Option<&Url>) -> Result<Store, SnapshotError> {
        match place {
            Some(place) => Store::at(place, None),
            None => Ok(self.store.clone()),
        }
    }
}

#[async_trait]
impl Snapshots for Dumps {
    async fn create(
        &self,
        wanted: &Wanted,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        let taken = self.take(wanted, on_progress).await;
        match (taken, &self.spool, wanted.reason) {
            (Err(error @ SnapshotError::Store { .. }), Some(spool), Reason::Scheduled) => {
                self.take_aside(spool, wanted, on_progress, error).await
            }
            (taken, ..) => taken,
        }
    }

    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        let (store, proof) = (&self.store, Purpose::Proof);
        let proven = self.restore_and_compare(store, snapshot, operation, proof, on_progress);
        let mut proven = proven.await?.snapshot;
        if let Err(e) = self.mark_verified(&mut proven).await {
            self.drop_copy(operation).await;
            return Err(e);
        }
        Ok(proven)
    }

    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let survey = self.survey().await?;
        match survey.unreadable.is_empty() {
            true => Ok(survey.snapshots),
            false => Err(SnapshotError::Unreadable(survey.unreadable)),
        }
    }

    async fn prune(
        &self,
        rollback_targets: &[RollbackTarget],
        now: Timestamp,
    ) -> Result<Vec<String>, SnapshotError> {
        self.forget_by_policy(rollback_targets, now).await
    }

    async fn survey(&self, place: Option<&Url>) -> Result<Survey, SnapshotError> {
        self.place(place)?.survey().await
    }

    fn retention(&self) -> &Policy {
        &self.retention
    }

    async fn restore(
        &self,
        place: Option<&Url>,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: Say<'_>,
    ) -> Result<Restored, SnapshotError> {
        let store = self.place(place)?;
        let (own, its_use) = (place.is_none(), Purpose::Use);
        let restored = self.restore_and_compare(&store, snapshot, operation, its_use, on_progress);
        let mut restored = restored.await?;
        // It has just been proven; another node's marks are not ours to make.
        if own && let Err(error) = self.mark_verified(&mut restored.snapshot).await {
            tracing::warn!(%error, "a restored snapshot could not be marked as verified");
        }
        Ok(restored)
    }

    async fn end_programs(&self, job: Ulid) -> Result<(), SnapshotError> {
        self.end_programs_of(job).await
    }

    async fn clear_away(&self, wanted: &Wanted) -> Result<Option<Manifest>, SnapshotError> {
        self.clear_away_interrupted(wanted).await
    }

    async fn spooled(&self) -> Result<Vec<Manifest>, SnapshotError> {
        match &self.spool {
            Some(spool) => Ok(spool.survey().await?.snapshots),
            None => Ok(vec![]),
        }
    }

    async fn deliver(&self) -> Result<Vec<String>, SnapshotError> {
        self.deliver_spooled().await
    }
}
