//! What the node remembers, in SQLite through sqlx: releases, operations and their journal, the
//! lease, nonces and the audit trail.
//!
//! A write that returned is on disk (`synchronous = FULL`): the journal is only worth something if
//! it survives the power cut that it is there for.

mod audit;
mod events;
mod images;
mod jobs;
mod lease;
mod operations;
mod rollouts;
mod tally;
#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use togather_model::{Digest, Release, Timestamp};
use tokio::sync::watch;

pub use audit::AuditEntry;
pub use events::Entry;
pub(crate) use jobs::entry;
pub use operations::Served;
pub use rollouts::RolloutRecord;
pub use tally::Tally;

/// The node's memory.
#[derive(Debug, Clone)]
pub struct State {
    pool: SqlitePool,
    created_at: Timestamp,
    /// Ticks with every new event, so that followers know when to look again.
    ticks: watch::Sender<u64>,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// SQLite refused.
    #[error("the agent's state could not be read or written")]
    Sqlite(#[from] sqlx::Error),
    /// The state file is not of a shape this agent knows.
    #[error("the agent's state could not be brought to this agent's schema")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A row holds something this agent cannot read.
    #[error("the agent's state holds a {what} that cannot be read: {why}")]
    Unreadable {
        /// What kind of row.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// Another operation, or a job that none may begin beside, is under way.
    #[error("another operation is under way on this node")]
    Busy,
}

impl StateError {
    fn unreadable(what: &'static str, why: impl ToString) -> Self {
        Self::Unreadable {
            what,
            why: why.to_string(),
        }
    }
}

impl State {
    /// Opens the state file, creating it if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened, or a newer agent wrote it.
    pub async fn open(path: &Path, now: Timestamp) -> Result<Self, StateError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            // The default page cache of 2 MB would be a seventh of the agent's memory at rest.
            .pragma("cache_size", "-256");
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        sqlx::query(
            "INSERT INTO identity (one, created_at, latest_seen) VALUES (1, ?1, ?1) ON CONFLICT DO NOTHING",
        )
        .bind(format!("{now:.9}"))
        .execute(&pool)
        .await?;
        let created_at: String = sqlx::query_scalar("SELECT created_at FROM identity")
            .fetch_one(&pool)
            .await?;
        Ok(Self {
            pool,
            created_at: parse("time", &created_at)?,
            ticks: watch::Sender::new(0),
        })
    }

    /// When this state came to be.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The latest time the node has seen, by its own clock or in an accepted command.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn latest_seen(&self) -> Result<Timestamp, StateError> {
        let text: String = sqlx::query_scalar("SELECT latest_seen FROM identity")
            .fetch_one(&self.pool)
            .await?;
        parse("time", &text)
    }

    /// Keeps a release file.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn keep_release(&self, bytes: &[u8]) -> Result<Digest, StateError> {
        let id = Digest::of(bytes);
        sqlx::query("INSERT INTO release (id, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(id.to_string())
            .bind(bytes)
            .execute(&self.pool)
            .await?;
        Ok(id)
    }

    /// A release this node has been given.
    ///
    /// # Errors
    /// The state cannot be read, or holds a release file that is damaged.
    pub async fn release(&self, id: Digest) -> Result<Option<Release>, StateError> {
        let row = sqlx::query("SELECT bytes FROM release WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            let bytes: Vec<u8> = row.get(0);
            if Digest::of(&bytes) != id {
                return Err(StateError::unreadable(
                    "release",
                    "its digest does not match",
                ));
            }
            Release::from_bytes(&bytes).map_err(|e| StateError::unreadable("release", e))
        })
        .transpose()
    }

    /// Nothing can be written while the disk is full.
    #[cfg(test)]
    pub(crate) async fn fill_the_disk(&self, is_full: bool) {
        let pragma = match is_full {
            true => "PRAGMA query_only = 1",
            false => "PRAGMA query_only = 0",
        };
        sqlx::query(pragma).execute(&self.pool).await.unwrap();
    }

    /// A value that changes whenever an event was written.
    #[must_use]
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, StateError> {
    text.parse().map_err(|e| StateError::unreadable(what, e))
}

fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StateError> {
    serde_json::from_str(text).map_err(|e| StateError::unreadable(what, e))
}

fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StateError> {
    serde_json::to_string(value).map_err(|e| StateError::unreadable(what, e))
}
