//! Taking a snapshot: `pg_dump` streamed into the store, what it holds counted in the same view of
//! the data, the manifest last.

use sqlx::Connection;
use togather_model::Digest;

use super::{
    Dumps, Say,
    contents::Contents,
    error::SnapshotError,
    manifest::{FORMAT, Globals, Manifest, Names, Wanted},
    program::{Meter, Sink},
    store::{Store, json},
    upload::Upload,
};
use crate::database::{Database, DatabaseError, Properties, major_of, version};

/// How the dump is compressed. PostgreSQL learned zstd in version 16; `pg_dump` is never older than
/// the server it dumps.
const fn compression(server: u32) -> &'static str {
    match server {
        0..16 => "--compress=3",
        16.. => "--compress=zstd:3",
    }
}

/// How long `pg_dump` waits for its lock on a table: behind a running ALTER TABLE it would queue,
/// and everybody else behind it.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";
/// The stage, for people.
pub const DUMPING: &str = "dumping the database";
/// More than any server's roles take.
const MOST_GLOBALS: usize = 4 << 20;

impl Dumps {
    /// Takes a snapshot. After a failure nothing of it is left in the store.
    pub(super) async fn take(
        &self,
        wanted: &Wanted,
        say: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        self.take_into(&self.store, wanted, say).await
    }

    /// The same in another place.
    pub(super) async fn take_into(
        &self,
        store: &Store,
        wanted: &Wanted,
        say: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        self.must_fit(true).await?;
        store.prepare().await?;
        store.take_uploads_back().await;
        let names = Names::new(self.database.name(), wanted);
        let taken = self.dump_and_count(store, wanted, &names, say).await;
        if !matches!(taken, Ok(_) | Err(SnapshotError::Taken(_)))
            && let Err(error) = store.remove_parts(&names).await
        {
            // It is no snapshot all the same, and pruning finds it.
            tracing::warn!(%error, "parts of a failed snapshot are left in the store");
        }
        taken
    }

    async fn dump_and_count(
        &self,
        store: &Store,
        wanted: &Wanted,
        names: &Names,
        say: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        let failed = |e| DatabaseError::from_sqlx("the view to be dumped could not be opened", e);
        // A dump is never larger than the database.
        let at_most = self.database.bytes().await?;
        let mut session = self.database.session("togather-agent").await?;
        let server = major_of(&version(&mut session).await?);
        // Kept open until the dump is over: it is what keeps the exported snapshot alive.
        let mut view = session
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(failed)?;
        let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
            .fetch_one(&mut *view)
            .await
            .map_err(failed)?;
        let counted = async {
            // Beside the dump one process is enough; the rest is the live service's.
            sqlx::query("SELECT set_config('max_parallel_workers_per_gather', '0', true)")
                .execute(&mut *view)
                .await
                .map_err(failed)?;
            let properties = Properties::read(&mut view, self.database.name()).await?;
            Ok((Contents::count(&mut view).await?, properties))
        };
        let upload = store.upload(&names.dump(), at_most).await?;
        let snapshot = format!("--snapshot={snapshot}");
        let dumped = self.dump(upload, wanted, server, &snapshot, say);
        let roles = self.roles(wanted);
        let ((contents, properties), roles, (bytes, sha256)) =
            tokio::try_join!(counted, roles, dumped)?;
        view.rollback().await.map_err(failed)?;
        let globals = Globals {
            name: names.globals(),
            bytes: roles.len() as u64,
            sha256: Digest::of(&roles),
        };
        store.create(&globals.name, roles).await?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            id: wanted.id,
            origin: self.origin.clone(),
            database: self.database.name().to_owned(),
            dump: names.dump(),
            taken_at: wanted.at,
            reason: wanted.reason,
            git_commit: wanted.git_commit.clone(),
            database_bytes: at_most,
            schema: contents.schema,
            other_lines: contents.other_lines,
            bytes,
            sha256,
            server_version: contents.server_version,
            extensions: contents.extensions,
            rows: contents.rows,
            fingerprint: contents.fingerprint,
            globals,
            properties,
            verified_at: None,
            spooled: false,
        };
        let name = names.manifest();
        store.create(&name, json(&name, &manifest)?).await?;
        Ok(manifest)
    }

    /// Streams the dump into the store. Returns its size and SHA-256.
    async fn dump(
        &self,
        mut upload: Upload,
        wanted: &Wanted,
        server: u32,
        snapshot: &str,
        say: Say<'_>,
    ) -> Result<(u64, Digest), SnapshotError> {
        let database = format!("--dbname={}", conninfo(self.database.name()));
        let arguments = [
            "--format=custom",
            compression(server),
            LOCK_WAIT,
            snapshot,
            &database,
        ];
        let dumped = async {
            let (_stdin, program) = self.start("pg_dump", wanted.id, &arguments).await?;
            let progress = Meter::new(DUMPING, None, say);
            program.follow(Sink::Upload(&mut upload, progress)).await
        };
        match dumped.await {
            Ok(()) => upload.finish().await,
            Err(e) => {
                upload.abort().await;
                Err(e)
            }
        }
    }

    /// The server's roles as SQL, without their passwords.
    async fn roles(&self, wanted: &Wanted) -> Result<Vec<u8>, SnapshotError> {
        let database = format!("--dbname={}", conninfo(self.database.name()));
        let arguments = [
            "--globals-only",
            "--no-role-passwords",
            "--encoding=UTF8",
            &database,
        ];
        let (_stdin, program) = self.start("pg_dumpall", wanted.id, &arguments).await?;
        let mut sql = Vec::new();
        program.follow(Sink::Memory(&mut sql, MOST_GLOBALS)).await?;
        Ok(sql)
    }
}

/// A connection string that names this database, whatever its name: given alone, a name with `=` in
/// it would be taken for a whole connection string. The networks on the way to a database elsewhere
/// forget connections that are silent for minutes, as one is while an index is built.
pub(super) fn conninfo(database: &str) -> String {
    let database = quoted_value(database);
    format!("dbname={database} keepalives_idle=60 keepalives_interval=10 keepalives_count=6")
}

/// A value in a connection string, whatever is in it.
pub(super) fn quoted_value(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_server_is_not_asked_for_what_it_cannot() {
        assert_eq!(
            compression(major_of("15.8 (Debian 15.8-0+deb12u1)")),
            "--compress=3"
        );
        assert_eq!(compression(major_of("16.4")), "--compress=zstd:3");
        assert_eq!(compression(major_of("18beta1")), "--compress=zstd:3");
        // What no version can be read from can do little.
        assert_eq!(compression(major_of("unknown")), "--compress=3");
    }
}
