//! Operations.

use sqlx::Row;
use togather_model::{
    Digest, Failure, Operation, OperationKind, OperationState, Plan, Timestamp, Ulid,
};

use super::{State, StateError, from_json, parse, tally, to_json};

/// A release that served, and what its container was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The release.
    pub release: Digest,
    /// The fingerprint of what its container was made from; `None`: not known.
    pub made_of: Option<Digest>,
    /// The state of the node's files that made it; `None`: not known.
    pub configuration: Option<Digest>,
}

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

    /// Writes a running operation down in the words of an earlier version.
    #[cfg(test)]
    pub(crate) async fn store_operation(&self, operation: &str, plan: &str) {
        let inserted = sqlx::query(
            "INSERT INTO operation (id, release, state, json, plan) SELECT json_extract(?1, '$.id'), \
             json_extract(?1, '$.release'), json_extract(?1, '$.state'), ?1, ?2",
        );
        let inserted = inserted.bind(operation).bind(plan).execute(&self.pool);
        inserted.await.unwrap();
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
        let mut transaction = self.pool.begin().await?;
        let first = sqlx::query(
            "UPDATE operation SET state = ?, json = ? WHERE id = ? AND state = 'running'",
        )
        .bind(state.as_str())
        .bind(to_json("operation", &ended)?)
        .bind(ended.id.to_string())
        .execute(&mut *transaction)
        .await?;
        if first.rows_affected() > 0 {
            let what = match ended.kind {
                OperationKind::Deploy => "deploy",
                OperationKind::Rollback => "rollback",
                OperationKind::Redeploy => "redeploy",
            };
            tally::count(&mut transaction, what, state.as_str()).await?;
        }
        if state == OperationState::Done {
            // The version is up on the database that is there: a human has decided.
            sqlx::query("UPDATE job SET stuck = 0 WHERE stuck = 1")
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
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

    /// When a version had first come to serve here.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn serving_since(&self) -> Result<Option<Timestamp>, StateError> {
        let row =
            sqlx::query("SELECT json FROM operation WHERE state = 'done' ORDER BY rowid LIMIT 1")
                .fetch_optional(&self.pool)
                .await?;
        let first: Option<Operation> = row
            .map(|row| from_json("operation", row.get(0)))
            .transpose()?;
        Ok(first.and_then(|first| first.ended_at))
    }

    /// What served here, newest first: each release once for everything its container was made from.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn served(&self) -> Result<Vec<Served>, StateError> {
        // Of a group, SQLite gives the other columns of the row that has the maximum.
        let rows = sqlx::query(
            "SELECT release, json_extract(plan, '$.made_of') AS made_of, \
             coalesce(json_extract(plan, '$.app_configuration'), json_extract(plan, '$.configuration')), \
             max(rowid) FROM operation WHERE state = 'done' \
             GROUP BY release, made_of ORDER BY max(rowid) DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        let digest = |text: Option<&str>| text.map(|text| parse("digest", text)).transpose();
        rows.iter()
            .map(|row| {
                Ok(Served {
                    release: parse("digest", row.get(0))?,
                    made_of: digest(row.get(1))?,
                    configuration: digest(row.get(2))?,
                })
            })
            .collect()
    }

    /// Whether a deployment set out to bring the app's schema to this version, however it ended.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn has_migrated_to(&self, version: u64) -> Result<bool, StateError> {
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM operation, json_each(operation.plan, '$.migrations') AS ran \
             WHERE ran.value = ?)",
        )
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .fetch_one(&self.pool)
        .await?;
        Ok(found)
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
}
