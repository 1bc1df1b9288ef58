//! The server's roles.

use sqlx::AssertSqlSafe;
use togather_model::Ulid;

use super::{Postgres, error::DatabaseError, literal, quoted, scratch_name};

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

    /// Makes roles that nobody can log in as, for as long as this operation's scratch database is
    /// there: what is restored into it may name them.
    pub(crate) async fn make_stand_ins(
        &self,
        names: &[String],
        operation: Ulid,
    ) -> Result<(), DatabaseError> {
        let note = literal(&stand_in(operation));
        let make = |name: &String| {
            let name = quoted(name);
            format!("CREATE ROLE {name} NOLOGIN; COMMENT ON ROLE {name} IS {note};")
        };
        let statements: Vec<String> = names.iter().map(make).collect();
        self.make_roles(&statements).await
    }

    /// Drops the roles that stood in for others in this operation's scratch database. One that
    /// somebody uses meanwhile stays.
    pub(super) async fn drop_stand_ins(&self, operation: Ulid) -> Result<(), DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("the roles could not be listed", e);
        let mut session = self.aside().await?;
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT rolname::text FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = $1",
        )
        .bind(stand_in(operation))
        .fetch_all(&mut session)
        .await
        .map_err(failed)?;
        for name in names {
            let drop = format!("DROP ROLE IF EXISTS {}", quoted(&name));
            let dropped = sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut session);
            if let Err(error) = dropped.await {
                tracing::warn!(%error, "the role {name}, made for a proof, is left behind");
            }
        }
        Ok(())
    }
}

/// What is noted of a role that stands in for one of a snapshot's.
fn stand_in(operation: Ulid) -> String {
    format!("stands in for a role in {}", scratch_name(operation))
}
