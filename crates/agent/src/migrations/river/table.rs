//! River's bookkeeping: a row for each migration that ran.
//!
//! Up to version 4 the table has the columns `id`, `created_at` and `version`; version 5 makes it
//! anew with `line`, `version` and `created_at`, because River's extensions have lines of their own.
//! The one that everybody has is called `main`. (Seen in riverqueue/river 0.30.2.)

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use togather_model::Line;

use super::super::Bookkeeping;
use crate::database::{DatabaseError, quoted};

/// Where River keeps its bookkeeping in this database.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    name: String,
}

impl Table {
    /// Finds out where it would be; it need not be there.
    ///
    /// # Errors
    /// The database did not answer, or its search path leads nowhere.
    pub(crate) async fn find(connection: &mut PgConnection) -> Result<Self, DatabaseError> {
        let schema = Bookkeeping::find(connection).await?.schema;
        Ok(Self {
            name: format!("{}.{}", quoted(&schema), Line::River.table()),
        })
    }

    /// The versions that ran, ascending; `None`: the table is not there.
    ///
    /// # Errors
    /// The database did not answer, or the table is not of River's making.
    pub(crate) async fn versions(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<Vec<u64>>, DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("river_migration could not be read", e);
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(&self.name)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if !exists {
            return Ok(None);
        }
        let main = match self.has_lines(connection).await? {
            true => "WHERE line = 'main'",
            false => "",
        };
        let select = format!("SELECT version FROM {} {main} ORDER BY version", self.name);
        let versions: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(select))
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        Ok(Some(versions.into_iter().map(i64::unsigned_abs).collect()))
    }

    /// Adds the row of a version, in whichever layout the table has now.
    ///
    /// # Errors
    /// The database did not answer, or refused.
    pub(super) async fn add(
        &self,
        connection: &mut PgConnection,
        version: u64,
    ) -> Result<(), DatabaseError> {
        let insert = match self.has_lines(connection).await? {
            true => format!(
                "INSERT INTO {} (line, version) VALUES ('main', $1)",
                self.name
            ),
            false => format!("INSERT INTO {} (version) VALUES ($1)", self.name),
        };
        sqlx::query(AssertSqlSafe(insert))
            .persistent(false)
            .bind(version.cast_signed())
            .execute(connection)
            .await
            .map_err(|e| DatabaseError::from_sqlx("river_migration could not be written", e))?;
        Ok(())
    }

    /// Makes the rows those of the versions up to this one.
    ///
    /// # Errors
    /// The database did not answer, refused, or has no such table; then the rows are as they were.
    pub(crate) async fn set(
        &self,
        connection: &mut PgConnection,
        version: u64,
    ) -> Result<(), DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("river_migration could not be written", e);
        let mut transaction = connection.begin().await.map_err(failed)?;
        let Some(ran) = self.versions(&mut transaction).await? else {
            return Err(DatabaseError::NoRiver);
        };
        let main = match self.has_lines(&mut transaction).await? {
            true => "line = 'main' AND",
            false => "",
        };
        let delete = format!("DELETE FROM {} WHERE {main} version > $1", self.name);
        sqlx::query(AssertSqlSafe(delete))
            .persistent(false)
            .bind(version.cast_signed())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        for missing in (1..=version).filter(|version| !ran.contains(version)) {
            self.add(&mut transaction, missing).await?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn has_lines(&self, connection: &mut PgConnection) -> Result<bool, DatabaseError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_attribute \
             WHERE attrelid = to_regclass($1) AND attname = 'line' AND NOT attisdropped)",
        )
        .bind(&self.name)
        .fetch_one(connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("river_migration could not be looked at", e))
    }
}
