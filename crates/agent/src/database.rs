//! PostgreSQL, through sqlx: what the node's database is like, and its scratch copies.

mod catalogue;
mod error;
mod login;
mod properties;
mod roles;
mod scratch;
mod session;
mod swap;
mod version;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, PgConnection};
use togather_model::{Line, Migration, Schema, Ulid};

#[cfg(test)]
pub(crate) use self::login::LoginFile;
use self::session::Sessions;
pub(crate) use self::{
    catalogue::Catalogue,
    login::Login,
    version::{major_of, version},
};
pub use self::{
    error::{DatabaseError, Refusal},
    properties::{Privilege, Properties, Setting},
    swap::{replaced_by, replaced_name},
};
use crate::migrations::{self, Bookkeeping, MigrationError};

/// What the node asks of its database. Every verb may be called twice.
#[async_trait]
pub trait Database: Send + Sync {
    /// The schema's state; never [`Schema::NoDatabase`] (whether there is one is not its to know).
    async fn schema(&self) -> Result<Schema, DatabaseError>;

    /// The numbers of the migrations that ran of lines that are not the app's own; without a line
    /// whose table is not there.
    async fn other_lines(&self) -> Result<BTreeMap<Line, Vec<u64>>, DatabaseError>;

    /// Says what the line's schema is, clean; `None`: no migration ran. Nothing but the bookkeeping is
    /// touched.
    async fn set_schema(&self, line: Line, version: Option<u64>) -> Result<(), MigrationError>;

    /// The database's size in bytes.
    async fn bytes(&self) -> Result<u64, DatabaseError>;

    /// The extensions the node's configuration asks for that the server cannot provide.
    async fn missing_extensions(&self) -> Result<Vec<String>, DatabaseError>;

    /// Creates the extensions the node's configuration asks for, if they are not there.
    async fn create_extensions(&self) -> Result<(), DatabaseError>;

    /// Runs the pending ones of a line's migrations on the live database, each in the way the line's
    /// own tool does. Calls `on_file` with the file's name before each.
    async fn migrate(
        &self,
        line: Line,
        migrations: &[Migration],
        on_file: &(dyn for<'f> Fn(&'f str) + Send + Sync),
    ) -> Result<Migrated, MigrationError>;

    /// Runs them on the scratch restore that was made for this operation.
    async fn rehearse(
        &self,
        operation: Ulid,
        line: Line,
        migrations: &[Migration],
        on_file: &(dyn for<'f> Fn(&'f str) + Send + Sync),
    ) -> Result<Migrated, MigrationError>;

    /// Lets this role into this operation's scratch database.
    async fn admit_to_scratch(&self, operation: Ulid, role: &str) -> Result<(), DatabaseError>;

    /// Drops this operation's scratch database, if there is one.
    async fn drop_scratch(&self, operation: Ulid) -> Result<(), DatabaseError>;

    /// The live database's name.
    fn live_name(&self) -> &str;

    /// Whether it is somebody else's to run (RDS, Cloud SQL, another host): it is there before the
    /// node has any service, and its disk is not this machine's.
    fn is_elsewhere(&self) -> bool;

    /// Whether the server has a database with this name.
    async fn exists(&self, database: &str) -> Result<bool, DatabaseError>;

    /// Whether the server has a database with this name and nothing was ever written to it.
    async fn is_empty(&self, database: &str) -> Result<bool, DatabaseError>;

    /// What would keep the database with this name from being renamed, however long one waits: the
    /// names of the transactions that were prepared in it and never ended.
    async fn prepared_transactions(&self, database: &str) -> Result<Vec<String>, DatabaseError>;

    /// The names of the subscriptions that bring what others publish into the database with this
    /// name.
    async fn subscriptions(&self, database: &str) -> Result<Vec<String>, DatabaseError>;

    /// How many connections the server allows to those who are no superusers.
    async fn connections(&self) -> Result<u64, DatabaseError>;

    /// How much memory the server may take to build an index, in bytes.
    async fn maintenance_memory(&self) -> Result<u64, DatabaseError>;

    /// Puts the database `incoming` in the live one's place, whose name becomes `outgoing`, both at
    /// once. Where there is no live one, only `incoming` changes its name. Ends everybody's sessions
    /// with either of them.
    async fn swap(&self, incoming: &str, outgoing: &str) -> Result<(), DatabaseError>;

    /// The databases that restores replaced, newest first.
    async fn replaced(&self) -> Result<Vec<String>, DatabaseError>;

    /// Drops a database that a restore replaced, if it is there; no other.
    async fn drop_replaced(&self, database: &str) -> Result<(), DatabaseError>;
}

/// What a run of migrations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The files that ran, in order.
    pub files: Vec<String>,
    /// The schema's version now.
    pub version: Option<u64>,
}

/// How the name of a scratch database begins.
const SCRATCH: &str = "togather_scratch_";

/// The name of an operation's scratch database: `togather_scratch_` and its ULID in lower case.
#[must_use]
pub fn scratch_name(operation: Ulid) -> String {
    format!("{SCRATCH}{}", operation.to_string().to_lowercase())
}

/// Where the database is, and how it is to be treated.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// The extensions it must have, by PostgreSQL's names for them.
    pub extensions: Vec<String>,
    /// Whether it is somebody else's to run, and no service of the node's own.
    pub elsewhere: bool,
    /// How long one migration waits for a lock before it steps back.
    pub lock_timeout: Duration,
    /// How often a migration that could not get its lock tries again.
    pub lock_retries: u32,
}

/// The node's PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    sessions: Sessions,
    extensions: Vec<String>,
    elsewhere: bool,
    lock_timeout: Duration,
    lock_retries: u32,
}

impl Postgres {
    /// The database at this address; nothing is asked of it yet. To be called inside a Tokio
    /// runtime, which closes sessions that nobody uses.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn new(settings: DatabaseSettings) -> Result<Self, DatabaseError> {
        Ok(Self {
            sessions: Sessions::at(settings.url.expose_secret())?,
            extensions: settings.extensions,
            elsewhere: settings.elsewhere,
            lock_timeout: settings.lock_timeout,
            lock_retries: settings.lock_retries,
        })
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.sessions.database()
    }

    /// The role the agent logs in as.
    #[must_use]
    pub fn user(&self) -> &str {
        self.sessions.user()
    }

    /// The server's version as it tells it, for example `17.5 (Debian 17.5-1)`.
    pub(crate) async fn server_version(&self) -> Result<String, DatabaseError> {
        // The live database may be gone, and a restore is to bring it back.
        version(&mut self.aside().await?).await
    }

    /// How long one migration waits for a lock before it steps back.
    pub(crate) const fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// How often a migration that could not get its lock tries again.
    pub(crate) const fn lock_retries(&self) -> u32 {
        self.lock_retries
    }

    /// A session for long work in the node's database.
    pub(crate) async fn session(&self, application: &str) -> Result<PgConnection, DatabaseError> {
        self.sessions.open(self.name(), application).await
    }

    /// A session for long work in another database of the same server.
    pub(crate) async fn session_in(
        &self,
        database: &str,
        application: &str,
    ) -> Result<PgConnection, DatabaseError> {
        self.sessions.open(database, application).await
    }
}

#[async_trait]
impl Database for Postgres {
    async fn schema(&self) -> Result<Schema, DatabaseError> {
        schema_of(&mut *self.sessions.ask().await?).await
    }

    async fn bytes(&self) -> Result<u64, DatabaseError> {
        let mut connection = self.sessions.ask().await?;
        let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
            .fetch_one(&mut *connection)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the size could not be asked for", e))?;
        Ok(bytes.unsigned_abs())
    }

    async fn missing_extensions(&self) -> Result<Vec<String>, DatabaseError> {
        let mut connection = self.sessions.ask().await?;
        sqlx::query_scalar(
            "SELECT wanted FROM unnest($1::text[]) AS wanted \
             WHERE wanted NOT IN (SELECT name FROM pg_available_extensions)",
        )
        .bind(&self.extensions)
        .fetch_all(&mut *connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the server's extensions could not be listed", e))
    }

    async fn create_extensions(&self) -> Result<(), DatabaseError> {
        let failed = |e| DatabaseError::from_sqlx("an extension could not be created", e);
        let mut connection = self.session("togather-agent").await?;
        // Looked at first: creating what is there already takes rights that may be missing.
        let absent: Vec<String> = sqlx::query_scalar(
            "SELECT wanted FROM unnest($1::text[]) AS wanted \
             WHERE wanted NOT IN (SELECT extname FROM pg_extension)",
        )
        .bind(&self.extensions)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
        for extension in absent {
            let create = format!("CREATE EXTENSION IF NOT EXISTS {}", quoted(&extension));
            sqlx::raw_sql(AssertSqlSafe(create))
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    async fn other_lines(&self) -> Result<BTreeMap<Line, Vec<u64>>, DatabaseError> {
        other_lines_of(&mut *self.sessions.ask().await?).await
    }

    async fn set_schema(&self, line: Line, version: Option<u64>) -> Result<(), MigrationError> {
        migrations::set(self, line, version).await
    }

    async fn migrate(
        &self,
        line: Line,
        migrations: &[Migration],
        on_file: &(dyn for<'f> Fn(&'f str) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        migrations::run(self, self.name(), line, migrations, on_file).await
    }

    async fn rehearse(
        &self,
        operation: Ulid,
        line: Line,
        migrations: &[Migration],
        on_file: &(dyn for<'f> Fn(&'f str) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        let ran = migrations::run(self, &scratch_name(operation), line, migrations, on_file).await;
        ran.map_err(MigrationError::on_a_copy)
    }

    async fn admit_to_scratch(&self, operation: Ulid, role: &str) -> Result<(), DatabaseError> {
        self.let_into_scratch(operation, role).await
    }

    async fn drop_scratch(&self, operation: Ulid) -> Result<(), DatabaseError> {
        self.drop_scratch_database(operation).await
    }

    fn live_name(&self) -> &str {
        self.name()
    }

    fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    async fn exists(&self, database: &str) -> Result<bool, DatabaseError> {
        self.database_exists(database).await
    }

    async fn is_empty(&self, database: &str) -> Result<bool, DatabaseError> {
        if !self.database_exists(database).await? {
            return Ok(false);
        }
        let mut session = self.session_in(database, "togather-agent").await?;
        let is_bare = schema_of(&mut session).await? == Schema::Empty;
        Ok(is_bare && other_lines_of(&mut session).await?.is_empty())
    }

    async fn prepared_transactions(&self, database: &str) -> Result<Vec<String>, DatabaseError> {
        self.prepared_in(database).await
    }

    async fn subscriptions(&self, database: &str) -> Result<Vec<String>, DatabaseError> {
        self.subscriptions_in(database).await
    }

    async fn connections(&self) -> Result<u64, DatabaseError> {
        let mut connection = self.sessions.ask().await?;
        // What is reserved beside that for superusers has been there for a few versions only.
        let connections: i64 = sqlx::query_scalar(
            "SELECT sum(CASE name WHEN 'max_connections' THEN setting::bigint ELSE -setting::bigint END)::bigint \
             FROM pg_settings \
             WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the server's settings could not be read", e))?;
        Ok(connections.unsigned_abs())
    }

    async fn maintenance_memory(&self) -> Result<u64, DatabaseError> {
        let kilobytes: i64 = sqlx::query_scalar(
            "SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'",
        )
        .fetch_one(&mut self.aside().await?)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the server's settings could not be read", e))?;
        Ok(kilobytes.unsigned_abs() << 10)
    }

    async fn swap(&self, incoming: &str, outgoing: &str) -> Result<(), DatabaseError> {
        self.swap_databases(incoming, outgoing).await
    }

    async fn replaced(&self) -> Result<Vec<String>, DatabaseError> {
        self.replaced_databases().await
    }

    async fn drop_replaced(&self, database: &str) -> Result<(), DatabaseError> {
        self.drop_replaced_database(database).await
    }
}

/// What ran of the lines that are not the app's own.
pub(crate) async fn other_lines_of(
    connection: &mut PgConnection,
) -> Result<BTreeMap<Line, Vec<u64>>, DatabaseError> {
    let river = migrations::river::Table::find(connection).await?;
    let versions = river.versions(connection).await?;
    Ok(versions.map(|ran| (Line::River, ran)).into_iter().collect())
}

/// The state of the schema in the database this connection is in.
async fn schema_of(connection: &mut PgConnection) -> Result<Schema, DatabaseError> {
    let bookkeeping = Bookkeeping::find(connection).await?;
    if let Some((version, dirty)) = bookkeeping.version(connection).await? {
        return Ok(Schema::At { version, dirty });
    }
    // All that River makes, in any of its versions, begins like this.
    let has_river = other_lines_of(connection).await?.contains_key(&Line::River);
    let anyones: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
           AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
           AND c.relname <> 'schema_migrations' \
           AND NOT ($1 AND starts_with(c.relname::text, 'river_')) \
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
                           AND d.objid = c.oid AND d.deptype = 'e'))",
    )
    .bind(has_river)
    .fetch_one(connection)
    .await
    .map_err(|e| DatabaseError::from_sqlx("the tables could not be looked at", e))?;
    Ok(if anyones {
        Schema::Unversioned
    } else {
        Schema::Empty
    })
}

/// A text as SQL: quoted, so that any text is only a text, however the server reads backslashes.
pub(crate) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// An identifier as SQL text: quoted, so that any name is only a name.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
