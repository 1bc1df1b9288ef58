//! Taking a snapshot: `pg_dump` streamed into the store, what it holds counted in the same view of
//! the data, the manifest last.

use sqlx::Connection;
use togather_model::Digest;

use super::{
    Dumps,
    contents::Contents,
    error::SnapshotError,
    manifest::{FORMAT, Globals, Manifest, Names, Wanted},
    program::{Meter, Say, Sink},
    store::{Store, Upload, json},
};
use crate::database::{Database, DatabaseError, Properties};

/// How long `pg_dump` waits for its lock on a table: behind a running ALTER TABLE it would queue,
/// and everybody else behind it.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";
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
        store.prepare().await?;
        store.take_uploads_back().await?;
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
            let properties = Properties::read(&mut view, self.database.name()).await?;
            Ok((Contents::count(&mut view).await?, properties))
        };
        let upload = store.upload(&names.dump(), at_most).await?;
        let dumped = self.dump(upload, wanted, &snapshot, say);
        let globals = self.globals(store, wanted, names);
        let ((contents, properties), globals, (bytes, sha256)) =
            tokio::try_join!(counted, globals, dumped)?;
        view.rollback().await.map_err(failed)?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            id: wanted.id,
            database: self.database.name().to_owned(),
            dump: names.dump(),
            taken_at: wanted.at,
            reason: wanted.reason,
            git_commit: wanted.git_commit.clone(),
            database_bytes: at_most,
            schema: contents.schema,
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
        snapshot: &str,
        say: Say<'_>,
    ) -> Result<(u64, Digest), SnapshotError> {
        let snapshot = format!("--snapshot={snapshot}");
        let database = format!("--dbname={}", conninfo(self.database.name()));
        let arguments = [
            "--format=custom",
            "--compress=zstd:3",
            LOCK_WAIT,
            &snapshot,
            &database,
        ];
        let dumped = async {
            let (_stdin, program) = self.start("pg_dump", wanted.id, &arguments).await?;
            let progress = Meter::new("dumped", None, say);
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

    /// Stores the server's roles beside the dump, without their passwords.
    async fn globals(
        &self,
        store: &Store,
        wanted: &Wanted,
        names: &Names,
    ) -> Result<Globals, SnapshotError> {
        let database = format!("--dbname={}", conninfo(self.database.name()));
        let arguments = ["--globals-only", "--no-role-passwords", &database];
        let (_stdin, program) = self.start("pg_dumpall", wanted.id, &arguments).await?;
        let mut sql = Vec::new();
        program.follow(Sink::Memory(&mut sql, MOST_GLOBALS)).await?;
        let globals = Globals {
            name: names.globals(),
            bytes: sql.len() as u64,
            sha256: Digest::of(&sql),
        };
        store.create(&globals.name, sql).await?;
        Ok(globals)
    }
}

/// A connection string that names this database and nothing else, whatever its name: given alone, a
/// name with `=` in it would be taken for a whole connection string.
pub(super) fn conninfo(database: &str) -> String {
    let escaped = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{escaped}'")
}
