//! Scratch databases beside the node's own, and the sessions of programs that work on either.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use togather_model::Ulid;
use tokio::time::Instant;

use super::{Postgres, Properties, SCRATCH, error::DatabaseError, quoted, scratch_name};

/// How long the sessions of an abandoned program may take to end.
const ENDING: Duration = Duration::from_secs(5);

impl Postgres {
    /// Makes this operation's scratch database, empty, in place of one there may be. It sorts and
    /// encodes text as the live database does; where there is none, as the one it is to be a copy of
    /// did. Nobody but the agent's role may connect to it. Returns what is otherwise than it should
    /// be, if anything.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(crate) async fn create_scratch(
        &self,
        operation: Ulid,
        original: Option<&Properties>,
    ) -> Result<Option<String>, DatabaseError> {
        let doing = "the scratch database could not be created";
        let scratch = scratch_name(operation);
        // The live database may be gone, or be broken so that nobody can open it.
        let mut connection = self.aside().await?;
        drop_database(&mut connection, &scratch).await?;
        let live = Properties::read(&mut connection, self.name()).await?;
        let bare = format!("CREATE DATABASE {} TEMPLATE template0", quoted(&scratch));
        let create = match (&live, original) {
            (Some(like), _) | (None, Some(like)) => like.create_statement(&scratch),
            (None, None) => bare.clone(),
        };
        let mut otherwise = None;
        match run(&mut connection, doing, create).await {
            // What another server's machine knew, this one's need not.
            Err(DatabaseError::Refused { source, .. }) if live.is_none() && original.is_some() => {
                otherwise = Some(format!(
                    "it sorts text as this server does by itself, because {}",
                    source.message
                ));
                run(&mut connection, doing, bare).await?;
            }
            created => created?,
        }
        let revoke = format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", quoted(&scratch));
        run(&mut connection, doing, revoke).await?;
        if original.is_some_and(|original| original.lacks_public_schema) {
            let mut inside = self.session_in(&scratch, "togather-agent").await?;
            run(&mut inside, doing, "DROP SCHEMA IF EXISTS public".into()).await?;
        }
        Ok(otherwise)
    }

    pub(super) async fn let_into_scratch(
        &self,
        operation: Ulid,
        role: &str,
    ) -> Result<(), DatabaseError> {
        let grant = format!(
            "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}",
            quoted(&scratch_name(operation)),
            quoted(role)
        );
        let doing = "the app's role could not be let into the scratch database";
        run(&mut self.aside().await?, doing, grant).await
    }

    pub(super) async fn drop_scratch_database(&self, operation: Ulid) -> Result<(), DatabaseError> {
        drop_database(&mut self.aside().await?, &scratch_name(operation)).await?;
        self.drop_stand_ins(operation).await
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
        let mut connection = self.aside().await?;
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
    let doing = "the scratch database could not be dropped";
    run(connection, doing, drop).await
}

async fn run(
    connection: &mut PgConnection,
    doing: &'static str,
    statement: String,
) -> Result<(), DatabaseError> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx(doing, e))?;
    Ok(())
}
