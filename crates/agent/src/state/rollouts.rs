//! Rollouts as the node remembers them, so that any machine can take them up.

use sqlx::Row;
use togather_model::{Timestamp, Ulid};

use super::{State, StateError, parse};

/// A rollout this node was chosen for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Its id.
    pub id: Ulid,
    /// Who began it.
    pub operator: String,
    /// The rollout as the controller wrote it.
    pub rollout: Vec<u8>,
    /// The release file.
    pub release: Vec<u8>,
    /// When the node learnt of it.
    pub created_at: Timestamp,
    /// How it ended; empty while it has not.
    pub ending: String,
}

impl State {
    /// Remembers a rollout; one that is taken up again is open again.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn keep_rollout(&self, record: &RolloutRecord) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO rollout (id, operator, rollout, release, created_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET ending = ''",
        )
        .bind(record.id.to_string())
        .bind(&record.operator)
        .bind(&record.rollout)
        .bind(&record.release)
        .bind(record.created_at.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes down how a rollout ended.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn end_rollout(&self, id: Ulid, ending: &str) -> Result<(), StateError> {
        sqlx::query("UPDATE rollout SET ending = ? WHERE id = ?")
            .bind(ending)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The rollouts this node remembers, newest first; only this one, if one is named.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn rollouts(&self, id: Option<Ulid>) -> Result<Vec<RolloutRecord>, StateError> {
        let rows = sqlx::query(
            "SELECT id, operator, rollout, release, created_at, ending FROM rollout
             WHERE ?1 IS NULL OR id = ?1 ORDER BY id DESC LIMIT 20",
        )
        .bind(id.map(|id| id.to_string()))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(RolloutRecord {
                    id: parse("id", row.get(0))?,
                    operator: row.get(1),
                    rollout: row.get(2),
                    release: row.get(3),
                    created_at: parse("time", row.get(4))?,
                    ending: row.get(5),
                })
            })
            .collect()
    }
}
