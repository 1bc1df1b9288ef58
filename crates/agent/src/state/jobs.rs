//! Jobs on snapshots, and up to when the schedule was seen to.

use sqlx::Row;
use togather_model::{Timestamp, Ulid};

use super::{State, StateError, from_json, parse, to_json};
use crate::jobs::{Interrupted, Job, JobKind, Swap, Work};

/// So many jobs are remembered, and the last of each kind.
const REMEMBERED: i64 = 200;

impl State {
    /// Writes a job down, before anything of it is done.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another one, or an operation, is under way.
    pub async fn begin_job(&self, job: &Job, work: &Work) -> Result<(), StateError> {
        let inserted = sqlx::query(
            "INSERT INTO job (id, kind, state, json, work) SELECT ?, ?, 'running', ?, ? \
             WHERE NOT EXISTS (SELECT 1 FROM operation WHERE state = 'running')",
        )
        .bind(job.id.to_string())
        .bind(job.kind.as_str())
        .bind(to_json("job", job)?)
        .bind(to_json("job", work)?)
        .execute(&self.pool)
        .await;
        match inserted {
            Ok(done) if done.rows_affected() == 0 => Err(StateError::Busy),
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Err(StateError::Busy),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes down a job that ended without having begun.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn record_job(&self, job: &Job) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO job (id, kind, state, json, work) VALUES (?, ?, 'ended', ?, 'null')",
        )
        .bind(job.id.to_string())
        .bind(job.kind.as_str())
        .bind(to_json("job", job)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes down what a job is about to swap.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn keep_swap(&self, job: Ulid, swap: &Swap) -> Result<(), StateError> {
        sqlx::query("UPDATE job SET swap = ? WHERE id = ?")
            .bind(to_json("swap", swap)?)
            .bind(job.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Writes a job's ending down, and forgets the oldest of those that ended.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn end_job(&self, job: &Job) -> Result<(), StateError> {
        sqlx::query("UPDATE job SET state = 'ended', json = ? WHERE id = ?")
            .bind(to_json("job", job)?)
            .bind(job.id.to_string())
            .execute(&self.pool)
            .await?;
        sqlx::query(
            "DELETE FROM job WHERE state = 'ended' \
             AND rowid <= (SELECT max(rowid) FROM job) - ? \
             AND rowid NOT IN (SELECT max(rowid) FROM job GROUP BY kind)",
        )
        .bind(REMEMBERED)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The job with this id.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn job(&self, id: Ulid) -> Result<Option<Job>, StateError> {
        let row = sqlx::query("SELECT json FROM job WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| from_json("job", row.get(0))).transpose()
    }

    /// The job under way; after a crash, the one that was interrupted.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn running_job(&self) -> Result<Option<Interrupted>, StateError> {
        let row = sqlx::query("SELECT json, work, swap FROM job WHERE state = 'running'")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            let swap: Option<&str> = row.get(2);
            Ok(Interrupted {
                job: from_json("job", row.get(0))?,
                work: from_json("job", row.get(1))?,
                swap: swap.map(|text| from_json("swap", text)).transpose()?,
            })
        })
        .transpose()
    }

    /// The last job of each kind that ended, newest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn last_jobs(&self) -> Result<Vec<Job>, StateError> {
        let rows = sqlx::query(
            "SELECT json FROM job WHERE rowid IN \
             (SELECT max(rowid) FROM job WHERE state = 'ended' GROUP BY kind) ORDER BY rowid DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| from_json("job", row.get(0)))
            .collect()
    }

    /// Up to when the schedule's jobs of this kind were seen to.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn seen_to(&self, kind: JobKind) -> Result<Option<Timestamp>, StateError> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT seen_to FROM schedule WHERE kind = ?")
                .bind(kind.as_str())
                .fetch_optional(&self.pool)
                .await?;
        text.map(|text| parse("time", &text)).transpose()
    }

    /// Writes down that the schedule's jobs of this kind were seen to up to then.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn see_to(&self, kind: JobKind, at: Timestamp) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO schedule (kind, seen_to) VALUES (?1, ?2) \
             ON CONFLICT (kind) DO UPDATE SET seen_to = ?2",
        )
        .bind(kind.as_str())
        .bind(at.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
