//! Jobs on snapshots, and up to when the schedule was seen to.

use sqlx::{Row, sqlite::SqliteRow};
use togather_model::{Event, Failure, FailureKind, SnapshotEvent, Timestamp, Ulid};

use super::{Entry, State, StateError, events, from_json, parse, tally, to_json};
use crate::jobs::{Interrupted, Job, JobKind, Swap, Work};

/// So many jobs are remembered, and the last of each kind.
const REMEMBERED: i64 = 200;

impl State {
    /// Writes a job down, and that it begins, before anything of it is done.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another one, or an operation, is under way.
    pub async fn begin_job(&self, job: &Job, work: &Work, node: &str) -> Result<Event, StateError> {
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO job (id, kind, state, json, work) SELECT ?, ?, 'running', ?, ? \
             WHERE NOT EXISTS (SELECT 1 FROM operation WHERE state = 'running')",
        )
        .bind(job.id.to_string())
        .bind(job.kind.as_str())
        .bind(to_json("job", job)?)
        .bind(to_json("job", work)?)
        .execute(&mut *transaction)
        .await;
        if !done_or_busy(inserted)? {
            return Err(StateError::Busy);
        }
        let started = SnapshotEvent::Started { job: job.kind };
        let started = entry(job, node, job.started_at, started);
        let event = events::append(&mut transaction, started).await?;
        transaction.commit().await?;
        self.tick();
        Ok(event)
    }

    /// Writes down a job that ended without having begun.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn record_job(
        &self,
        job: &Job,
        failure: &Failure,
        node: &str,
    ) -> Result<Event, StateError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO job (id, kind, state, json, work) VALUES (?, ?, 'ended', ?, 'null')",
        )
        .bind(job.id.to_string())
        .bind(job.kind.as_str())
        .bind(to_json("job", job)?)
        .execute(&mut *transaction)
        .await?;
        let skipped = SnapshotEvent::Skipped {
            job: job.kind,
            failure: failure.clone(),
        };
        let skipped = entry(job, node, job.ended_at.unwrap_or(job.started_at), skipped);
        let event = events::append(&mut transaction, skipped).await?;
        tally::count(&mut transaction, job.kind.as_str(), "skipped").await?;
        transaction.commit().await?;
        self.tick();
        Ok(event)
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

    /// Writes a job's ending down, with what there is to tell of it, and forgets the oldest of those
    /// that ended. One whose ending is written already, and that is not stuck, ends no second time.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn end_job(&self, job: &Job, node: &str) -> Result<Vec<Event>, StateError> {
        let mut transaction = self.pool.begin().await?;
        let before =
            sqlx::query("SELECT stuck FROM job WHERE id = ? AND (state = 'running' OR stuck = 1)")
                .bind(job.id.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
        let Some(before) = before else {
            return Ok(vec![]);
        };
        let was_stuck: bool = before.get(0);
        // The rowids go by when jobs ended, whatever the clock says: another may have been recorded
        // since this one began.
        sqlx::query(
            "UPDATE job SET state = 'ended', json = ?1, stuck = ?2 AND swap IS NOT NULL, \
             rowid = 1 + (SELECT coalesce(max(rowid), 0) FROM job WHERE id <> ?3) WHERE id = ?3",
        )
        .bind(to_json("job", job)?)
        .bind(job.is_stuck())
        .bind(job.id.to_string())
        .execute(&mut *transaction)
        .await?;
        let mut written = Vec::new();
        for event in job.endings() {
            let at = job.ended_at.unwrap_or(job.started_at);
            let event = entry(job, node, at, event);
            written.push(events::append(&mut transaction, event).await?);
        }
        // One that was stuck was counted then.
        if !was_stuck {
            tally::count(&mut transaction, job.kind.as_str(), ending(job)).await?;
        }
        if job.swaps() && job.failure.is_none() {
            // Whatever was stuck before, this is the live database now.
            sqlx::query("UPDATE job SET stuck = 0 WHERE stuck = 1")
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "DELETE FROM job WHERE state = 'ended' AND stuck = 0 \
             AND rowid <= (SELECT max(rowid) FROM job) - ? \
             AND rowid NOT IN (SELECT max(rowid) FROM job GROUP BY kind)",
        )
        .bind(REMEMBERED)
        .execute(&mut *transaction)
        .await?;
        events::forget(&mut transaction).await?;
        transaction.commit().await?;
        self.tick();
        Ok(written)
    }

    /// The restore, or undo of one, that ended stuck and that nothing has settled since.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn stuck_job(&self) -> Result<Option<Interrupted>, StateError> {
        let row = sqlx::query(
            "SELECT json, work, swap, stuck FROM job WHERE stuck = 1 ORDER BY rowid DESC LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(interrupted).transpose()
    }

    /// Has a stuck job under way again, so that nothing else begins beside it.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another one, or an operation, is under way.
    pub async fn reopen_job(
        &self,
        job: &Job,
        node: &str,
        now: Timestamp,
    ) -> Result<Event, StateError> {
        let mut transaction = self.pool.begin().await?;
        let reopened = sqlx::query(
            "UPDATE job SET state = 'running', json = ? WHERE id = ? AND stuck = 1 \
             AND NOT EXISTS (SELECT 1 FROM operation WHERE state = 'running')",
        )
        .bind(to_json("job", job)?)
        .bind(job.id.to_string())
        .execute(&mut *transaction)
        .await;
        if !done_or_busy(reopened)? {
            return Err(StateError::Busy);
        }
        let resumed = SnapshotEvent::Resumed { job: job.kind };
        let event = events::append(&mut transaction, entry(job, node, now, resumed)).await?;
        transaction.commit().await?;
        self.tick();
        Ok(event)
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
        let row = sqlx::query("SELECT json, work, swap, stuck FROM job WHERE state = 'running'")
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(interrupted).transpose()
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

/// Whether it was done; not, if it may not be done beside what is under way.
fn done_or_busy(
    outcome: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>,
) -> Result<bool, StateError> {
    match outcome {
        Ok(done) => Ok(done.rows_affected() > 0),
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn interrupted(row: &SqliteRow) -> Result<Interrupted, StateError> {
    let swap: Option<&str> = row.get(2);
    Ok(Interrupted {
        job: from_json("job", row.get(0))?,
        work: from_json("job", row.get(1))?,
        swap: swap.map(|text| from_json("swap", text)).transpose()?,
        stuck: row.get(3),
    })
}

/// How a job that began has ended, in a word.
fn ending(job: &Job) -> &'static str {
    match &job.failure {
        None => "done",
        Some(failure) if failure.kind == FailureKind::Stuck => "stuck",
        Some(_) => "failed",
    }
}

/// Something that happened in a job.
pub(crate) fn entry(job: &Job, node: &str, at: Timestamp, event: SnapshotEvent) -> Entry {
    Entry {
        operator: job.operator.clone(),
        ..Entry::of_node(node, job.id, at, event)
    }
}
