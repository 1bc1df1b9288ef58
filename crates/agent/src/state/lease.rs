//! The node's lease.

use sqlx::Row;
use togather_model::{Failure, Lease};

use super::{State, StateError, from_json, to_json};

impl State {
    /// The most recent lease, live or not.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn lease(&self) -> Result<Option<Lease>, StateError> {
        let row = sqlx::query("SELECT json FROM lease")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| from_json("lease", row.get(0))).transpose()
    }

    /// Changes the lease by this decision, with nothing happening in between.
    ///
    /// # Errors
    /// The state cannot be read or written. The decision's own refusal is the inner result.
    pub async fn change_lease(
        &self,
        decide: impl FnOnce(Option<&Lease>) -> Result<Lease, Failure> + Send,
    ) -> Result<Result<Lease, Failure>, StateError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query("SELECT json FROM lease")
            .fetch_optional(&mut *transaction)
            .await?;
        let current: Option<Lease> = row.map(|row| from_json("lease", row.get(0))).transpose()?;
        let decision = decide(current.as_ref());
        if let Ok(lease) = &decision {
            sqlx::query(
                "INSERT INTO lease (one, json) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET json = ?1",
            )
            .bind(to_json("lease", lease)?)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(decision)
    }
}
