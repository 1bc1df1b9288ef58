//! The server's roles.

use sqlx::AssertSqlSafe;

use super::{Postgres, error::DatabaseError};

impl Postgres {
    /// Whether the agent's role may give things to others.
    pub(crate) async fn is_superuser(&self) -> Result<bool, DatabaseError> {
        sqlx::query_scalar("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut self.aside().await?)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the agent's own role could not be looked at", e))
    }

    /// The names of all roles.
    pub(crate) async fn roles(&self) -> Result<Vec<String>, DatabaseError> {
        sqlx::query_scalar("SELECT rolname::text FROM pg_roles")
            .fetch_all(&mut self.aside().await?)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the roles could not be listed", e))
    }

    /// Runs the statements that make roles, all of them or none.
    pub(crate) async fn make_roles(&self, statements: &[String]) -> Result<(), DatabaseError> {
        if statements.is_empty() {
            return Ok(());
        }
        // One simple query is one transaction.
        sqlx::raw_sql(AssertSqlSafe(statements.join("\n")))
            .execute(&mut self.aside().await?)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the snapshot's roles could not be made", e))?;
        Ok(())
    }
}
