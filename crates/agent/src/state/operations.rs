//! Operations and their journal.

use sqlx::Row;
use togather_model::{
    Digest, Event, EventKind, Failure, Operation, OperationState, Plan, Timestamp, Ulid,
};

use super::{State, StateError, from_json, parse, to_json};

/// The most events one call returns.
const PAGE: i64 = 500;

impl State {
    /// Writes an operation down, before anything of it is carried out.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another one, or a restore, is under way.
    pub async fn begin_operation(
        &self,
        operation: &Operation,
        plan: &Plan,
    ) -> Result<(), StateError> {
        let inserted = sqlx::query(
            "INSERT INTO operation (id, release, rollout, state, json, plan) \
             SELECT ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM job \
             WHERE state = 'running' AND kind IN ('restore', 'undo restore'))",
        )
        .bind(operation.id.to_string())
        .bind(operation.release.to_string())
        .bind(operation.rollout.map(|id| id.to_string()))
        .bind(operation.state.as_str())
        .bind(to_json("operation", operation)?)
        .bind(to_json("plan", plan)?)
        .execute(&self.pool)
        .await;
        match inserted {
            Ok(done) if done.rows_affected() == 0 => Err(StateError::Busy),
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Err(StateError::Busy),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes an operation's ending down.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn end_operation(
        &self,
        operation: &Operation,
        state: OperationState,
        failure: Option<Failure>,
        now: Timestamp,
    ) -> Result<Operation, StateError> {
        let ended = Operation {
            state,
            failure,
            ended_at: Some(now),
            ..operation.clone()
        };
        sqlx::query("UPDATE operation SET state = ?, json = ? WHERE id = ?")
            .bind(state.as_str())
            .bind(to_json("operation", &ended)?)
            .bind(ended.id.to_string())
            .execute(&self.pool)
            .await?;
        self.tick();
        Ok(ended)
    }

    /// The operation with this id.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn operation(&self, id: Ulid) -> Result<Option<Operation>, StateError> {
        let row = sqlx::query("SELECT json FROM operation WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| from_json("operation", row.get(0)))
            .transpose()
    }

    /// The operation under way, with its plan: after a crash, the one to be taken up again.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn running(&self) -> Result<Option<(Operation, Plan)>, StateError> {
        let row = sqlx::query("SELECT json, plan FROM operation WHERE state = 'running'")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok((
                from_json("operation", row.get(0))?,
                from_json("plan", row.get(1))?,
            ))
        })
        .transpose()
    }

    /// Operations, newest first; only those of this rollout, if one is named.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn operations(
        &self,
        rollout: Option<Ulid>,
        limit: u32,
    ) -> Result<Vec<Operation>, StateError> {
        let rows = sqlx::query(
            "SELECT json FROM operation WHERE ?1 IS NULL OR rollout = ?1 ORDER BY rowid DESC LIMIT ?2",
        )
        .bind(rollout.map(|id| id.to_string()))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| from_json("operation", row.get(0)))
            .collect()
    }

    /// The releases that served here, newest first, each once.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn served_releases(&self) -> Result<Vec<Digest>, StateError> {
        let rows = sqlx::query(
            "SELECT release FROM operation WHERE state = 'done' GROUP BY release ORDER BY max(rowid) DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| parse("digest", row.get(0))).collect()
    }

    /// Appends an event to its operation's journal. Its number is given here.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn append_event(
        &self,
        operation: &Operation,
        node: &str,
        id: Ulid,
        at: Timestamp,
        kind: EventKind,
    ) -> Result<Event, StateError> {
        let mut transaction = self.pool.begin().await?;
        let last: i64 =
            sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM event WHERE operation = ?")
                .bind(operation.id.to_string())
                .fetch_one(&mut *transaction)
                .await?;
        let event = Event {
            id,
            operation_id: operation.id,
            sequence: (last + 1).cast_unsigned(),
            node: node.to_owned(),
            operator: operation.operator.clone(),
            version: operation.version.clone(),
            at,
            kind,
        };
        sqlx::query("INSERT INTO event (operation, sequence, json) VALUES (?, ?, ?)")
            .bind(operation.id.to_string())
            .bind(last + 1)
            .bind(to_json("event", &event)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.tick();
        Ok(event)
    }

    /// Events of an operation after this number, in order; at most a page of them.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn events(&self, operation: Ulid, after: u64) -> Result<Vec<Event>, StateError> {
        let rows = sqlx::query(
            "SELECT json FROM event WHERE operation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(operation.to_string())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| from_json("event", row.get(0)))
            .collect()
    }

    fn tick(&self) {
        self.ticks.send_modify(|count| *count += 1);
    }
}
