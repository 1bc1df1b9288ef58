//! golang-migrate's format and bookkeeping, so that the `migrate` command and the agent can be used
//! in turn on one database; the same for River's.
//!
//! A file is sent as one simple query: an ordinary file of several statements runs in one
//! transaction, and one that cannot (`CREATE INDEX CONCURRENTLY`) runs alone. No timeout cuts a
//! statement short; waiting for a lock is cut short and tried again, because everybody else queues
//! behind a migration that waits. A file that fails is diagnosed: the flag `dirty` is only taken
//! back when nothing of the file can have remained.

mod aftermath;
mod bookkeeping;
mod error;
mod lock;
pub(crate) mod river;
mod statements;

use std::time::Duration;

use futures::StreamExt;
use sqlx::{AssertSqlSafe, Connection, Either, PgConnection};
use togather_model::{Digest, Line, Migration};

pub use self::error::{Aftermath, MigrationError, Place};
use self::{aftermath::Remains, error::Stop, lock::take_lock};
pub(crate) use self::{bookkeeping::Bookkeeping, statements::Statements};
use crate::database::{Catalogue, DatabaseError, Migrated, Postgres};

/// The longest pause between two tries to get a lock.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const APPLICATION: &str = "togather-migrate";

/// Runs the pending ones of a line's migrations in this database of the server.
pub(crate) async fn run(
    server: &Postgres,
    database: &str,
    line: Line,
    migrations: &[Migration],
    on_file: &(dyn Fn(&str) + Send + Sync),
) -> Result<Migrated, MigrationError> {
    match line {
        Line::App => run_app(server, database, migrations, on_file).await,
        Line::River => river::run(server, database, migrations, on_file).await,
    }
}

/// Says what the line's schema is in the node's database, whatever its bookkeeping says now; `None`:
/// no migration ran.
pub(crate) async fn set(
    server: &Postgres,
    line: Line,
    version: Option<u64>,
) -> Result<(), MigrationError> {
    let (mut connection, bookkeeping) = locked_session(server, server.name()).await?;
    match line {
        Line::App => {
            bookkeeping.create(&mut connection).await?;
            let clean = version.map(|version| (version, false));
            bookkeeping.set(&mut connection, clean).await?;
        }
        Line::River => {
            let table = river::Table::find(&mut connection).await?;
            table.set(&mut connection, version.unwrap_or(0)).await?;
        }
    }
    let _ = connection.close().await;
    Ok(())
}

async fn run_app(
    server: &Postgres,
    database: &str,
    migrations: &[Migration],
    on_file: &(dyn Fn(&str) + Send + Sync),
) -> Result<Migrated, MigrationError> {
    let (connection, bookkeeping) = locked_session(server, database).await?;
    let mut run = Run {
        server,
        database,
        connection,
        bookkeeping,
    };
    let ran = run.all(migrations, on_file).await;
    // The end of the session gives the lock back, also when closing it politely fails.
    let _ = run.connection.close().await;
    ran
}

async fn locked_session(
    server: &Postgres,
    database: &str,
) -> Result<(PgConnection, Bookkeeping), MigrationError> {
    let mut connection = server.session_in(database, APPLICATION).await?;
    let bookkeeping = Bookkeeping::find(&mut connection).await?;
    let patience = server.lock_timeout() * (server.lock_retries() + 1);
    take_lock(&mut connection, database, &bookkeeping, patience).await?;
    Ok((connection, bookkeeping))
}

struct Run<'a> {
    server: &'a Postgres,
    database: &'a str,
    connection: PgConnection,
    bookkeeping: Bookkeeping,
}

impl Run<'_> {
    async fn all(
        &mut self,
        migrations: &[Migration],
        on_file: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        self.bookkeeping.create(&mut self.connection).await?;
        // Read under the lock: another migrator may have been at work until now.
        let mut version = match self.bookkeeping.version(&mut self.connection).await? {
            Some((version, true)) => return Err(MigrationError::Dirty { version }),
            Some((version, false)) => Some(version),
            None => None,
        };
        let mut files = Vec::new();
        for migration in migrations {
            if version.is_some_and(|have| have >= migration.version) {
                continue;
            }
            on_file(&migration.file);
            self.apply(migration, version).await?;
            version = Some(migration.version);
            files.push(migration.file.clone());
        }
        Ok(Migrated { files, version })
    }

    /// Runs one file, and leaves its version clean, or tells exactly how the database was left.
    async fn apply(
        &mut self,
        migration: &Migration,
        before: Option<u64>,
    ) -> Result<(), MigrationError> {
        let catalogue = Catalogue::read(&mut self.connection).await?;
        let dirty = Some((migration.version, true));
        self.bookkeeping.set(&mut self.connection, dirty).await?;
        let mut tries = 0;
        while let Err(stop) = send(
            &mut self.connection,
            self.server.lock_timeout(),
            &migration.sql,
        )
        .await
        {
            let mut now = None;
            let remains = self
                .what_remains(&catalogue, migration, &stop, &mut now)
                .await;
            let again = stop.is_about_locks() && tries < self.server.lock_retries();
            if again && matches!(remains, Ok(Remains::Nothing)) {
                tries += 1;
                let pause = (self.server.lock_timeout() * tries).min(LONGEST_PAUSE);
                tokio::time::sleep(pause).await;
                continue;
            }
            let why = self.settle(remains, before).await;
            let fingerprint = catalogue.exact_fingerprint();
            let aftermath = match why {
                None => Aftermath::Clean {
                    version: before,
                    fingerprint,
                },
                Some(why) => Aftermath::Dirty {
                    version: migration.version,
                    before,
                    why,
                    fingerprint,
                    now,
                },
            };
            return Err(MigrationError::failed(migration, stop, tries, aftermath));
        }
        self.mark_clean(migration.version).await
    }

    /// Compares the catalogue with what it was before. After a lost session this takes a new one,
    /// whose lock is also the proof that the old one is over.
    async fn what_remains(
        &mut self,
        before: &Catalogue,
        migration: &Migration,
        stop: &Stop,
        now: &mut Option<Digest>,
    ) -> Result<Remains, MigrationError> {
        let lost = stop.error.lost_session();
        if lost {
            (self.connection, self.bookkeeping) =
                locked_session(self.server, self.database).await?;
        } else {
            // The file may have opened a transaction of its own.
            sqlx::raw_sql("ROLLBACK")
                .execute(&mut self.connection)
                .await
                .map_err(|e| DatabaseError::from_sqlx("the transaction was not ended", e))?;
        }
        let after = Catalogue::read(&mut self.connection).await?;
        *now = Some(after.exact_fingerprint());
        let statements = Statements::of(&migration.sql);
        Ok(Remains::judge(
            before.differences(&after),
            &statements,
            lost,
        ))
    }

    /// Sets the clean version back if nothing remains; otherwise says why it stays dirty.
    async fn settle(
        &mut self,
        remains: Result<Remains, MigrationError>,
        before: Option<u64>,
    ) -> Option<String> {
        match remains {
            Ok(Remains::Nothing) => {
                let clean = before.map(|before| (before, false));
                let set = self.bookkeeping.set(&mut self.connection, clean).await;
                set.err().map(|e| {
                    format!("nothing of the file remains, but that could not be written down ({e})")
                })
            }
            Ok(Remains::Something(why)) => Some(why),
            Err(e) => Some(format!("what remains could not be looked at ({e})")),
        }
    }

    /// The file ran; a session lost only now is no reason to leave its version dirty.
    async fn mark_clean(&mut self, version: u64) -> Result<(), MigrationError> {
        let clean = Some((version, false));
        match self.bookkeeping.set(&mut self.connection, clean).await {
            Err(e) if e.lost_session() => {
                (self.connection, self.bookkeeping) =
                    locked_session(self.server, self.database).await?;
                Ok(self.bookkeeping.set(&mut self.connection, clean).await?)
            }
            set => Ok(set?),
        }
    }
}

/// Sends a file as one simple query.
async fn send(
    connection: &mut PgConnection,
    lock_timeout: Duration,
    sql: &str,
) -> Result<(), Stop> {
    let stop = |done, e| Stop {
        statements_done: done,
        error: DatabaseError::from_sqlx("the file was not run to its end", e),
    };
    sqlx::query("SELECT set_config('lock_timeout', $1, false)")
        .bind(lock_timeout.as_millis().to_string())
        .execute(&mut *connection)
        .await
        .map_err(|e| stop(0, e))?;
    let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    let mut answers = query.fetch_many(connection);
    let mut done = 0;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Either::Left(_)) => done += 1,
            Ok(Either::Right(_)) => {}
            Err(e) => return Err(stop(done, e)),
        }
    }
    Ok(())
}
