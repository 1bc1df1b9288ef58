//! Snapshots of the database: dumped and streamed to a store, proven by restoring.
//!
//! Nothing is a snapshot until its manifest is stored; the manifest is written last, create-only.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use togather_model::{Timestamp, Ulid};
use url::Url;

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
    /// this operation, where it stays until it is dropped; compares row counts; marks it verified.
    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        on_progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Manifest, SnapshotError>;

    /// The snapshots in the store, newest first.
    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError>;
}

/// A snapshot to be taken.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id, chosen by the caller.
    pub id: Ulid,
    /// When it is taken, UTC.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The full git commit of the version that is live.
    pub git_commit: String,
}

/// Why a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its time had come.
    Scheduled,
    /// Migrations are about to run.
    PreMigration,
    /// Somebody asked.
    Manual,
}

/// What is known of a snapshot; stored beside the dump as `.manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The snapshot's id.
    pub id: Ulid,
    /// The database's name.
    pub database: String,
    /// The dump's name in the store.
    pub dump: String,
    /// When it was taken, UTC.
    pub taken_at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The full git commit of the version that was live.
    pub git_commit: String,
    /// The schema it holds.
    pub schema: Option<u64>,
    /// The dump's size in bytes.
    pub bytes: u64,
    /// The dump's SHA-256.
    pub sha256: togather_model::Digest,
    /// When it was last restored and found whole.
    pub verified_at: Option<Timestamp>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// To be written by the owner of this file; keep this one for the fakes of tests.
    #[error("{0}")]
    Other(String),
}

/// Where snapshots go, and what makes them.
#[derive(Debug, Clone)]
pub struct SnapshotSettings {
    /// `file:///…`, `s3://bucket/prefix`, `gs://…` or `az://…`. Credentials and endpoint come from
    /// the environment, as object_store reads it.
    pub store: Url,
    /// The Compose service of the database, in whose container `pg_dump` and `pg_restore` run.
    pub service: String,
}

/// Snapshots made by `pg_dump` and kept through object_store.
pub struct Dumps {}

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
        let _ = (settings, exec, database);
        Err(SnapshotError::Other("not written yet".into()))
    }
}
