//! Snapshots of the database: dumped and streamed to a store, proven by restoring.
//!
//! Nothing is a snapshot until its manifest is stored; the manifest is written last, create-only.
//! Nothing counts as verified until it was read back, its SHA-256 matched, and what it restored to
//! was compared with what was counted when it was taken.

mod contents;
mod dump;
mod error;
mod forget;
mod manifest;
mod program;
mod prove;
mod shelf;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use object_store::ObjectStore;
use togather_model::{
    Timestamp, Ulid,
    retention::{Policy, RollbackTarget},
};
use url::Url;

use self::store::Store;
pub use self::{
    error::SnapshotError,
    manifest::{FORMAT, Globals, Manifest, Reason, Wanted},
    shelf::{Orphan, Survey},
};
use crate::{containers::Exec, database::Postgres};

/// What the node asks of its snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Dumps the database into the store. `on_progress` is told what is going on.
    async fn create(
        &self,
        wanted: &Wanted,
        on_progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Manifest, SnapshotError>;

    /// Reads the snapshot back, checks its SHA-256 and restores it into the scratch database of
    /// this operation, where it stays until it is dropped; compares extensions, schema version,
    /// catalogue fingerprint and row counts; marks it verified. After a failure no scratch database
    /// is left.
    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: &(dyn Fn(String) + Send + Sync),
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
}

/// Snapshots made by `pg_dump` and kept through object_store.
pub struct Dumps {
    store: Store,
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
        let store = Store::at(&settings.store)?;
        Ok(Self::with_store(settings, store, exec, database))
    }

    /// The same in an object store that was made elsewhere; the address in the settings is only its
    /// name for people.
    #[must_use]
    pub fn over(
        settings: SnapshotSettings,
        objects: Arc<dyn ObjectStore>,
        exec: Arc<dyn Exec>,
        database: Arc<Postgres>,
    ) -> Self {
        let store = Store::over(objects, &settings.store);
        Self::with_store(settings, store, exec, database)
    }

    fn with_store(
        settings: SnapshotSettings,
        store: Store,
        exec: Arc<dyn Exec>,
        database: Arc<Postgres>,
    ) -> Self {
        Self {
            store,
            service: settings.service,
            retention: settings.retention,
            exec,
            database,
        }
    }
}

#[async_trait]
impl Snapshots for Dumps {
    async fn create(
        &self,
        wanted: &Wanted,
        on_progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Manifest, SnapshotError> {
        self.take(wanted, on_progress).await
    }

    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Manifest, SnapshotError> {
        self.restore_and_compare(snapshot, operation, on_progress)
            .await
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
}
