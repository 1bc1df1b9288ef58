//! River's migrations, run and booked as River's own tool does, so that either can be used in turn.
//!
//! Each file runs in a transaction of its own, which also adds its row to `river_migration`: version
//! 4 adds a value to an enum that version 6 uses, and PostgreSQL wants the one committed before the
//! other. So a file that fails leaves nothing, and there is nothing to be dirty.

mod table;

use sqlx::PgConnection;
use togather_model::{Line, Migration};

pub(crate) use self::table::Table;
use super::{
    Aftermath, LONGEST_PAUSE, MigrationError, Statements, error::Stop, locked_session, send,
};
use crate::database::{Catalogue, DatabaseError, Migrated, Postgres};

/// Runs the pending ones of River's migrations in this database of the server.
pub(super) async fn run(
    server: &Postgres,
    database: &str,
    migrations: &[Migration],
    on_file: &(dyn Fn(&str) + Send + Sync),
) -> Result<Migrated, MigrationError> {
    let ends_itself = |m: &&Migration| Statements::of(&m.sql).may_commit_before_its_end();
    if let Some(migration) = migrations.iter().find(ends_itself) {
        let file = migration.file.clone();
        return Err(MigrationError::EndsTransactions { file });
    }
    let (mut connection, _) = locked_session(server, database).await?;
    let table = Table::find(&mut connection).await?;
    let mut run = Run {
        server,
        database,
        connection,
        table,
    };
    let ran = run.all(migrations, on_file).await;
    // The end of the session gives the lock back, also when closing it politely fails.
    let _ = sqlx::Connection::close(run.connection).await;
    ran
}

struct Run<'a> {
    server: &'a Postgres,
    database: &'a str,
    connection: PgConnection,
    table: Table,
}

impl Run<'_> {
    async fn all(
        &mut self,
        migrations: &[Migration],
        on_file: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Migrated, MigrationError> {
        let ran = self.table.versions(&mut self.connection).await?;
        let mut version = ran.unwrap_or_default().into_iter().max();
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

    /// Runs one file with its row, or tells how the database was left.
    async fn apply(
        &mut self,
        migration: &Migration,
        before: Option<u64>,
    ) -> Result<(), MigrationError> {
        let catalogue = Catalogue::read(&mut self.connection).await?;
        let mut tries = 0;
        loop {
            let Err(stop) = self.transact(migration).await else {
                return Ok(());
            };
            let again = stop.is_about_locks() && tries < self.server.lock_retries();
            let doubt = match self.what_remains(&catalogue, migration, &stop).await {
                Ok(Remains::All) => return Ok(()),
                Ok(Remains::Nothing) if again => {
                    tries += 1;
                    let pause = (self.server.lock_timeout() * tries).min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Ok(Remains::Nothing) => None,
                Ok(Remains::Changed(differences)) => Some(format!(
                    "the catalogue is not as it was, so somebody else must have changed it meanwhile ({differences})"
                )),
                Err(e) => Some(format!("that could not be looked at ({e})")),
            };
            let aftermath = Aftermath::RolledBack {
                line: Line::River,
                version: before,
                fingerprint: catalogue.exact_fingerprint(),
                doubt,
            };
            return Err(MigrationError::failed(migration, stop, tries, aftermath));
        }
    }

    /// The file and its row, both or neither.
    async fn transact(&mut self, migration: &Migration) -> Result<(), Stop> {
        let around = |doing| {
            move |e| Stop {
                statements_done: usize::MAX,
                error: DatabaseError::from_sqlx(doing, e),
            }
        };
        sqlx::raw_sql("BEGIN")
            .execute(&mut self.connection)
            .await
            .map_err(around("the transaction did not begin"))?;
        send(
            &mut self.connection,
            self.server.lock_timeout(),
            &migration.sql,
        )
        .await?;
        let added = self
            .table
            .add(&mut self.connection, migration.version)
            .await;
        added.map_err(|error| Stop {
            statements_done: usize::MAX,
            error,
        })?;
        sqlx::raw_sql("COMMIT")
            .execute(&mut self.connection)
            .await
            .map_err(around("the transaction was not committed"))?;
        Ok(())
    }

    /// After a lost session this takes a new one, whose lock is also the proof that the old one is
    /// over; then the row says whether the transaction was committed.
    async fn what_remains(
        &mut self,
        before: &Catalogue,
        migration: &Migration,
        stop: &Stop,
    ) -> Result<Remains, MigrationError> {
        if stop.error.lost_session() {
            (self.connection, _) = locked_session(self.server, self.database).await?;
            let ran = self.table.versions(&mut self.connection).await?;
            if ran.is_some_and(|ran| ran.contains(&migration.version)) {
                return Ok(Remains::All);
            }
        } else {
            sqlx::raw_sql("ROLLBACK")
                .execute(&mut self.connection)
                .await
                .map_err(|e| DatabaseError::from_sqlx("the transaction was not ended", e))?;
        }
        let after = Catalogue::read(&mut self.connection).await?;
        let differences = before.differences(&after);
        Ok(match differences.is_empty() {
            true => Remains::Nothing,
            false => Remains::Changed(differences.join("; ")),
        })
    }
}

/// What a transaction that did not end well, as far as was heard, has left.
enum Remains {
    /// It was committed; only nobody heard so.
    All,
    Nothing,
    /// Something is otherwise than before.
    Changed(String),
}
