//! PostgreSQL, through sqlx: what the node's database is like, and its scratch copies.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use togather_model::{Migration, Schema, Ulid};

use crate::migrations::MigrationError;

/// What the node asks of its database. Every verb may be called twice.
#[async_trait]
pub trait Database: Send + Sync {
    /// The schema's state; never [`Schema::NoDatabase`] (whether there is one is not its to know).
    async fn schema(&self) -> Result<Schema, DatabaseError>;

    /// The database's size in bytes.
    async fn bytes(&self) -> Result<u64, DatabaseError>;

    /// The extensions the node's configuration asks for that the server cannot provide.
    async fn missing_extensions(&self) -> Result<Vec<String>, DatabaseError>;

    /// Creates the extensions the node's configuration asks for, if they are not there.
    async fn create_extensions(&self) -> Result<(), DatabaseError>;

    /// Runs the pending ones of these migrations, each in the way golang-migrate does, on the live
    /// database. Calls `on_file` before each file.
    async fn migrate(
        &self,
        migrations: &[Migration],
        on_file: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Migrated, MigrationError>;

    /// Runs them on the scratch restore that was made for this operation.
    async fn rehearse(
        &self,
        operation: Ulid,
        migrations: &[Migration],
        on_file: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Migrated, MigrationError>;

    /// Drops this operation's scratch database, if there is one.
    async fn drop_scratch(&self, operation: Ulid) -> Result<(), DatabaseError>;
}

/// What a run of migrations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The files that ran, in order.
    pub files: Vec<String>,
    /// The schema's version now.
    pub version: Option<u64>,
}

/// The name of an operation's scratch database: `togather_scratch_` and its ULID in lower case.
#[must_use]
pub fn scratch_name(operation: Ulid) -> String {
    format!("togather_scratch_{}", operation.to_string().to_lowercase())
}

/// Why the database did not answer as expected.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// To be written by the owner of this file; keep this one for the fakes of tests.
    #[error("{0}")]
    Other(String),
}

/// Where the database is, and how it is to be treated.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// The extensions it must have, by PostgreSQL's names for them.
    pub extensions: Vec<String>,
    /// How long one migration waits for a lock before it steps back.
    pub lock_timeout: Duration,
    /// How often a migration that could not get its lock tries again.
    pub lock_retries: u32,
}

/// The node's PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {}

impl Postgres {
    /// The database at this address; nothing is asked of it yet.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn new(settings: DatabaseSettings) -> Result<Self, DatabaseError> {
        let _ = settings;
        Err(DatabaseError::Other("not written yet".into()))
    }
}
