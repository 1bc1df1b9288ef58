//! Sessions with PostgreSQL: short questions through a small pool, long work on a session of its own.

use std::{fmt, io, time::Duration};

use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres as Engine,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::error::DatabaseError;

/// How long a session may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a session that nobody uses stays open: the agent should take no memory at rest.
const IDLE: Duration = Duration::from_secs(20);

/// How to come to sessions.
pub(super) struct Sessions {
    options: PgConnectOptions,
    database: String,
    pool: PgPool,
}

impl Sessions {
    /// Reads the address; nothing is asked of the server yet.
    pub(super) fn at(url: &str) -> Result<Self, DatabaseError> {
        let scheme = url.split(':').next().unwrap_or_default();
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err(DatabaseError::Address(
                "it does not begin with postgres://".into(),
            ));
        }
        let options: PgConnectOptions = url.parse().map_err(|e: sqlx::Error| {
            let source = std::error::Error::source(&e);
            DatabaseError::Address(source.map_or_else(|| e.to_string(), ToString::to_string))
        })?;
        let options = options
            .application_name("togather-agent")
            .disable_statement_logging();
        let Some(database) = options.get_database().map(str::to_owned) else {
            return Err(DatabaseError::Address("it names no database".into()));
        };
        // Questions are short; one that hangs must not hang whoever asks for the node's status.
        let asking = options.clone().options([("statement_timeout", "10s")]);
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(IDLE)
            .connect_lazy_with(asking);
        Ok(Self {
            options,
            database,
            pool,
        })
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn user(&self) -> &str {
        self.options.get_username()
    }

    /// The address, as it was understood.
    pub(super) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A session for short questions to the node's database.
    pub(super) async fn ask(&self) -> Result<PoolConnection<Engine>, DatabaseError> {
        match self.pool.acquire().await {
            Ok(connection) => Ok(connection),
            // The pool does not say why nothing came of it; a try of our own does.
            Err(sqlx::Error::PoolTimedOut) => {
                let probe = self.open(&self.database, "togather-agent").await?;
                // It came about after all: the server was only slow to begin.
                probe.close().await.map_err(|e| self.unreachable(e))?;
                self.pool.acquire().await.map_err(|e| self.unreachable(e))
            }
            Err(e) => Err(self.unreachable(e)),
        }
    }

    /// A session for long work in this database of the server: nothing cuts it short.
    pub(super) async fn open(
        &self,
        database: &str,
        application: &str,
    ) -> Result<PgConnection, DatabaseError> {
        let options = self
            .options
            .clone()
            .database(database)
            .application_name(application);
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
        let mut connection = connecting
            .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
            .map_err(|e| DatabaseError::unreachable(database, self.place(), e))?;
        // Not every server knows each of these. What is idle for a long time (a view kept open for a
        // dump) must not be forgotten by the networks between here and a server elsewhere.
        sqlx::query(
            "SELECT set_config(name, CASE name WHEN 'tcp_keepalives_idle' THEN '60' ELSE '0' END, false) \
             FROM pg_settings WHERE name IN \
             ('statement_timeout', 'lock_timeout', 'transaction_timeout', \
              'idle_in_transaction_session_timeout', 'idle_session_timeout', 'tcp_keepalives_idle')",
        )
        .execute(&mut connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the session's settings could not be made", e))?;
        Ok(connection)
    }

    fn unreachable(&self, error: sqlx::Error) -> DatabaseError {
        DatabaseError::unreachable(&self.database, self.place(), error)
    }

    fn place(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }
}

// By hand: sqlx would print the password.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("at", &self.place())
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
