//! Scratch databases beside the node's own, and the sessions of programs that work on either.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use togather_model::Ulid;
use tokio::time::Instant;

use super::{Postgres, SCRATCH, error::DatabaseError, quoted, scratch_name};

/// How long the sessions of an abandoned program may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// The statement that makes an empty database that sorts and encodes text as the current one does.
/// Made from `template0`: what somebody added to `template1` must not meet what is restored.
/// Through JSON, because the columns for locales differ between versions of the server.
const CREATE_LIKE_CURRENT: &str = "
SELECT format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
              $1, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
    || CASE d.datlocprovider
       WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L',
                            coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'))
       WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', to_jsonb(d) ->> 'datlocale')
       ELSE ' LOCALE_PROVIDER libc' END
FROM pg_database d WHERE d.datname = current_database()";

impl Postgres {
    /// Makes this operation's scratch database, empty, in place of one there may be.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(crate) async fn create_scratch(&self, operation: Ulid) -> Result<(), DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("the scratch database could not be created", e);
        let mut connection = self.session("togather-agent").await?;
        drop_database(&mut connection, &scratch_name(operation)).await?;
        let create: String = sqlx::query_scalar(CREATE_LIKE_CURRENT)
            .bind(scratch_name(operation))
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        Ok(())
    }

    pub(super) async fn drop_scratch_database(&self, operation: Ulid) -> Result<(), DatabaseError> {
        drop_database(&mut self.aside().await?, &scratch_name(operation)).await
    }

    /// The operations that have a scratch database on this server, whoever's they are.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(crate) async fn scratch_operations(&self) -> Result<Vec<Ulid>, DatabaseError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)",
        )
        .bind(SCRATCH)
        .fetch_all(&mut self.aside().await?)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the scratch databases could not be listed", e))?;
        let id = |name: &String| name.strip_prefix(SCRATCH)?.parse().ok();
        Ok(names.iter().filter_map(id).collect())
    }

    /// Ends the sessions that carry this application name, and with them the programs that opened
    /// them: Docker cannot end a program it runs inside a container. Returns when they are gone.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or still has them after a few seconds.
    pub(crate) async fn end_sessions(&self, application: &str) -> Result<(), DatabaseError> {
        let doing = "an abandoned program's session could not be ended";
        let failed = |e| DatabaseError::from_sqlx(doing, e);
        let mut connection = self.session("togather-agent").await?;
        let deadline = Instant::now() + ENDING;
        loop {
            let ended = sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            )
            .bind(application)
            .fetch_all(&mut connection)
            .await
            .map_err(failed)?;
            if ended.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(DatabaseError::Broken {
                    doing,
                    source: format!("it is still there after {} s", ENDING.as_secs()).into(),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn drop_database(connection: &mut PgConnection, name: &str) -> Result<(), DatabaseError> {
    let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
    sqlx::raw_sql(AssertSqlSafe(drop))
        .execute(connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the scratch database could not be dropped", e))?;
    Ok(())
}
