//! How often what ended how, and what was last seen: what metrics are made of, read without asking
//! anything outside.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, SqliteConnection};

use super::{State, StateError, from_json, to_json};

/// How often something ended in this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// `deploy`, `rollback`, or a job's kind.
    pub what: String,
    /// An operation's state; of a job `done`, `failed`, `stuck` or `skipped`.
    pub ending: String,
    /// Since this node began.
    pub times: u64,
}

impl State {
    /// What ended how often.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn tallies(&self) -> Result<Vec<Tally>, StateError> {
        let rows = sqlx::query("SELECT what, ending, times FROM tally ORDER BY what, ending")
            .fetch_all(&self.pool)
            .await?;
        let tally = |row: &sqlx::sqlite::SqliteRow| Tally {
            what: row.get(0),
            ending: row.get(1),
            times: row.get::<i64, _>(2).unsigned_abs(),
        };
        Ok(rows.iter().map(tally).collect())
    }

    /// What was last seen of this; `None`: it was never looked at.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn seen<T: DeserializeOwned>(&self, what: &str) -> Result<Option<T>, StateError> {
        let row = sqlx::query("SELECT json FROM seen WHERE what = ?")
            .bind(what)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| from_json("sight", row.get(0))).transpose()
    }

    /// Remembers what was seen of this, in place of what was seen before.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn remember(&self, what: &str, value: &impl Serialize) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO seen (what, json) VALUES (?1, ?2) ON CONFLICT (what) DO UPDATE SET json = ?2",
        )
        .bind(what)
        .bind(to_json("sight", value)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Counts one more, within a transaction of the caller's.
pub(super) async fn count(
    connection: &mut SqliteConnection,
    what: &str,
    ending: &str,
) -> Result<(), StateError> {
    sqlx::query(
        "INSERT INTO tally (what, ending, times) VALUES (?, ?, 1) \
         ON CONFLICT (what, ending) DO UPDATE SET times = times + 1",
    )
    .bind(what)
    .bind(ending)
    .execute(connection)
    .await?;
    Ok(())
}
