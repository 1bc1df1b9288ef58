//! The one row that says which migration ran last, and whether it ended well.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::database::{DatabaseError, quoted};

/// The table's name; part of the lock's number as well.
pub(super) const TABLE: &str = "schema_migrations";

/// Where golang-migrate keeps its bookkeeping in this database.
#[derive(Debug, Clone)]
pub(crate) struct Bookkeeping {
    /// The schema that new tables go to.
    pub(super) schema: String,
}

impl Bookkeeping {
    /// Finds out which schema it is in; the table need not be there.
    ///
    /// # Errors
    /// The database did not answer, or its search path leads nowhere.
    pub(crate) async fn find(connection: &mut PgConnection) -> Result<Self, DatabaseError> {
        let schema: Option<String> = sqlx::query_scalar("SELECT current_schema()::text")
            .fetch_one(connection)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the schema could not be asked for", e))?;
        let schema = schema.ok_or_else(|| {
            DatabaseError::Bookkeeping("no schema of the role's search_path exists".into())
        })?;
        Ok(Self { schema })
    }

    fn table(&self) -> String {
        format!("{}.{TABLE}", quoted(&self.schema))
    }

    /// Creates the table if it is not there.
    ///
    /// # Errors
    /// The database did not answer, or refused.
    pub(super) async fn create(&self, connection: &mut PgConnection) -> Result<(), DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("schema_migrations could not be created", e);
        // Looked for first: a role without the right to create may still find everything done.
        if self.exists(connection).await? {
            return Ok(());
        }
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (version bigint not null primary key, dirty boolean not null)",
            self.table()
        );
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(connection)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn exists(&self, connection: &mut PgConnection) -> Result<bool, DatabaseError> {
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(self.table())
            .fetch_one(connection)
            .await
            .map_err(|e| DatabaseError::from_sqlx("schema_migrations could not be looked for", e))
    }

    /// The newest migration that ran, and whether it is dirty; `None`: none, or no table.
    ///
    /// # Errors
    /// The database did not answer, or the table is not of golang-migrate's making.
    pub(crate) async fn version(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<(u64, bool)>, DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("schema_migrations could not be read", e);
        if !self.exists(connection).await? {
            return Ok(None);
        }
        let select = format!("SELECT version, dirty FROM {} LIMIT 2", self.table());
        let rows = sqlx::query(AssertSqlSafe(select))
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        let row = match rows.as_slice() {
            [] => return Ok(None),
            [row] => row,
            _ => {
                let what = "it has more than one row".to_owned();
                return Err(DatabaseError::Bookkeeping(what));
            }
        };
        let version: i64 = row.try_get(0).map_err(failed)?;
        let dirty = row.try_get(1).map_err(failed)?;
        match u64::try_from(version) {
            Ok(version) => Ok(Some((version, dirty))),
            Err(_) => Err(DatabaseError::Bookkeeping(format!(
                "its version is {version}, which golang-migrate writes when the last of its down migrations failed half-way; \
                 see what is left, then say what the schema is: `togather-ctl schema set N --nodes NODE` (0: no migration ran)"
            ))),
        }
    }

    /// Replaces the row in one transaction.
    ///
    /// # Errors
    /// The database did not answer, or refused; then the row is as it was.
    pub(super) async fn set(
        &self,
        connection: &mut PgConnection,
        row: Option<(u64, bool)>,
    ) -> Result<(), DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("schema_migrations could not be written", e);
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::raw_sql(AssertSqlSafe(format!("TRUNCATE {}", self.table())))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if let Some((version, dirty)) = row {
            let version = i64::try_from(version)
                .map_err(|_| DatabaseError::Bookkeeping(format!("{version} is no version")))?;
            let insert = format!(
                "INSERT INTO {} (version, dirty) VALUES ($1, $2)",
                self.table()
            );
            sqlx::query(AssertSqlSafe(insert))
                .persistent(false)
                .bind(version)
                .bind(dirty)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}
