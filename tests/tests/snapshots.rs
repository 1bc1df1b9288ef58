//! Snapshots of a real PostgreSQL: taken, proven, listed, forgotten; and everything that must not
//! count as one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a panic is the report"
)]

#[path = "snapshots/bucket.rs"]
mod bucket;
#[path = "snapshots/crashed.rs"]
mod crashed;
#[path = "snapshots/damaged.rs"]
mod damaged;
#[path = "snapshots/doubtful.rs"]
mod doubtful;
#[path = "snapshots/elsewhere.rs"]
mod elsewhere;
#[path = "snapshots/faulty.rs"]
mod faulty;
#[path = "snapshots/forgotten.rs"]
mod forgotten;
#[path = "snapshots/full.rs"]
mod full;
#[path = "snapshots/held.rs"]
mod held;
#[path = "snapshots/interrupted.rs"]
mod interrupted;
#[path = "snapshots/killed.rs"]
mod killed;
#[path = "snapshots/line.rs"]
mod line;
#[path = "snapshots/older.rs"]
mod older;
mod postgres_server;
#[path = "snapshots/restored.rs"]
mod restored;
#[path = "snapshots/spooled.rs"]
mod spooled;
#[path = "snapshots/whole.rs"]
mod whole;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use postgres_server::{
    DockerExec, PASSWORD, Server, TestDatabase, in_time, migration, shared, told,
};
use tempfile::TempDir;
use togather_agent::{
    containers::Exec,
    database::{Database, Postgres, scratch_name},
    snapshots::{Dumps, Manifest, Reason, SnapshotError, SnapshotSettings, Snapshots, Wanted},
};
use togather_model::{
    Line, Ulid,
    retention::{Policy, RollbackTarget},
};
use url::Url;

/// A database with a bit of everything, its snapshots, and the folder they are in.
struct Shelf {
    database: TestDatabase,
    postgres: Arc<Postgres>,
    dumps: Dumps,
    folder: PathBuf,
    _keep: TempDir,
}

pub(crate) const EVERYTHING: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'loud');
    CREATE TABLE places (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name varchar(80) NOT NULL,
        kind varchar(10) CHECK (kind IN ('club', 'park', 'hall')),
        at geography(Point, 4326)
    );
    CREATE TABLE events (
        id bigint PRIMARY KEY,
        place bigint REFERENCES places ON DELETE CASCADE,
        mood mood DEFAULT 'calm',
        about text,
        meaning vector(3),
        starts timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX events_about ON events USING gin (about gin_trgm_ops) WHERE mood IN ('calm', 'loud');
    CREATE INDEX places_at ON places USING gist (at);
    CREATE INDEX events_lower ON events (lower(about));
    CREATE TABLE days (day date, n int) PARTITION BY RANGE (day);
    CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE VIEW club_events AS SELECT e.* FROM events e JOIN places p ON p.id = e.place WHERE p.kind IN ('club', 'hall');
    CREATE MATERIALIZED VIEW moods AS SELECT mood, count(*) FROM events GROUP BY mood;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.about := trim(NEW.about); RETURN NEW; END $$;
    CREATE FUNCTION twice(n int) RETURNS int BEGIN ATOMIC SELECT n * 2; END;
    CREATE TRIGGER note BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION note();
    ALTER TABLE events ENABLE ROW LEVEL SECURITY;
    CREATE POLICY everybody ON events USING (mood IN ('calm'));
    INSERT INTO places (name, kind, at)
        SELECT 'place ' || i, 'club', ST_MakePoint(i % 90, i % 45)::geography FROM generate_series(1, 200) i;
    INSERT INTO events SELECT i, i % 200 + 1, 'loud', repeat(md5(i::text), 3), ARRAY[i, 1, 2]::vector
        FROM generate_series(1, 3000) i;
    INSERT INTO days SELECT '2026-05-01', i FROM generate_series(1, 10) i;";

/// Compresses to half at best, so that a dump is far longer than what pipes hold.
pub(crate) const NOISE: &str = "
    CREATE TABLE noise AS
        SELECT i, (SELECT string_agg(sha512((i || '/' || j)::bytea), '') FROM generate_series(1, 85) j) AS t
        FROM generate_series(1, 2500) i";

impl Shelf {
    async fn new() -> Self {
        Self::with_exec(|exec| exec).await
    }

    async fn with_exec<E: Exec + 'static>(wrap: impl FnOnce(DockerExec) -> E) -> Self {
        Self::on(postgres_server::server().await, wrap).await
    }

    async fn on<E: Exec + 'static>(
        server: &'static Server,
        wrap: impl FnOnce(DockerExec) -> E,
    ) -> Self {
        let database = TestDatabase::on(server).await;
        let postgres = Arc::new(database.postgres());
        postgres.create_extensions().await.unwrap();
        postgres
            .migrate(Line::App, &[migration(4, EVERYTHING)], &|_| ())
            .await
            .unwrap();
        let keep = tempfile::tempdir().unwrap();
        let folder = keep.path().join("deeper/snapshots");
        let exec = shared(wrap(DockerExec(database.server.container.clone())));
        let dumps = Dumps::new(settings(&folder), exec, Arc::clone(&postgres)).unwrap();
        Self {
            database,
            postgres,
            dumps,
            folder,
            _keep: keep,
        }
    }

    async fn create(&self) -> Manifest {
        self.dumps.create(&wanted(), &|_| ()).await.unwrap()
    }

    async fn prove(&self, manifest: &Manifest, operation: Ulid) -> Result<Manifest, SnapshotError> {
        let proven = self.dumps.prove(manifest.id, operation, &|_| ());
        in_time("the proof", proven).await
    }

    fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return vec![];
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn assert_no_scratch(&self, operation: Ulid) {
        let left = self
            .database
            .server
            .databases(&scratch_name(operation))
            .await;
        assert_eq!(left, [""; 0], "the scratch database is gone");
    }
}

fn settings(folder: &Path) -> SnapshotSettings {
    SnapshotSettings {
        store: Url::from_directory_path(folder).unwrap(),
        retention: Policy {
            keep_for: Duration::from_secs(7 * 86_400),
            min_verified: 1,
            ..Policy::default()
        },
        origin: None,
        uploads: None,
        spool: None,
        min_disk_free: 0,
    }
}

fn wanted() -> Wanted {
    Wanted {
        id: new_id(),
        at: "2026-05-01T12:00:00Z".parse().unwrap(),
        reason: Reason::PreMigration,
        git_commit: "0123456789abcdef0123456789abcdef01234567".into(),
    }
}

fn new_id() -> Ulid {
    static LAST: Mutex<u128> = Mutex::new(0);
    let mut last = LAST.lock().unwrap();
    *last += 1;
    Ulid::from_parts(1_777_636_800_000, *last)
}

#[tokio::test]
async fn what_was_dumped_is_what_is_restored() {
    let mut shelf = Shelf::new().await;
    let taken = shelf.create().await;
    assert_eq!(taken.schema, Some(4));
    assert_eq!(taken.rows["public.events"], 3000);
    assert_eq!(taken.rows["public.days_2026"], 10);
    assert!(!taken.rows.contains_key("public.spatial_ref_sys"));
    assert!(taken.extensions.contains_key("postgis") && taken.extensions.contains_key("vector"));
    assert!(taken.server_version.starts_with("17"));
    assert_eq!(
        taken.bytes,
        fs::metadata(shelf.folder.join(&taken.dump)).unwrap().len()
    );
    assert_eq!(
        shelf.dumps.list().await.unwrap(),
        std::slice::from_ref(&taken),
        "not verified yet"
    );

    // What happens afterwards is not in it.
    shelf.database.run("DELETE FROM events").await;
    let operation = new_id();
    let proven = shelf.prove(&taken, operation).await.unwrap();
    assert!(proven.verified_at.is_some());
    assert_eq!(shelf.dumps.list().await.unwrap(), [proven]);

    // The copy is there for the rehearsal.
    let mut copy = shelf
        .database
        .server
        .connect(&scratch_name(operation))
        .await;
    let near: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM events WHERE meaning <-> '[1,1,2]' < 2 AND about LIKE '%' || md5('1') || '%'",
    )
    .fetch_one(&mut copy)
    .await
    .unwrap();
    assert_eq!(near, 1);
    drop(copy);
    let next = [
        migration(4, "RAN BEFORE"),
        migration(5, "ALTER TABLE events DROP COLUMN mood CASCADE"),
    ];
    let rehearsed = shelf
        .postgres
        .rehearse(operation, Line::App, &next, &|_| ())
        .await
        .unwrap();
    assert_eq!(rehearsed.files, ["000005_test.up.sql"]);
    shelf.postgres.drop_scratch(operation).await.unwrap();
    shelf.assert_no_scratch(operation).await;
    assert_eq!(
        shelf.database.bookkeeping().await,
        [(4, false)],
        "production was not touched"
    );
}

#[tokio::test]
async fn no_password_is_stored_and_nobody_else_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let mut shelf = Shelf::new().await;
    shelf.database.run("DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'another-s3cret'; EXCEPTION WHEN duplicate_object THEN NULL; END $$").await;
    let taken = shelf.create().await;
    let globals = fs::read_to_string(shelf.folder.join(&taken.globals.name)).unwrap();
    assert!(globals.contains("CREATE ROLE reader"), "{globals}");
    for name in shelf.files() {
        let bytes = fs::read(shelf.folder.join(&name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(PASSWORD) && !text.contains("another-s3cret"),
            "{name}"
        );
        assert!(!text.contains("SCRAM-SHA-256"), "{name}");
    }
    let mode = fs::metadata(&shelf.folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn snapshots_of_one_second_have_names_of_their_own() {
    let shelf = Shelf::new().await;
    let (one, other) = (shelf.create().await, shelf.create().await);
    assert_ne!(one.dump, other.dump);
    assert!(
        one.dump.contains("_20260501_120000_0123456789ab_"),
        "{}",
        one.dump
    );
    let listed: Vec<Ulid> = shelf
        .dumps
        .list()
        .await
        .unwrap()
        .iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(listed, [other.id, one.id], "newest first");
}

#[tokio::test]
async fn a_flipped_byte_is_found() {
    let shelf = Shelf::new().await;
    let taken = shelf.create().await;
    let dump = shelf.folder.join(&taken.dump);
    let mut bytes = fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&dump, bytes).unwrap();
    let operation = new_id();
    let error = shelf.prove(&taken, operation).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
    shelf.assert_no_scratch(operation).await;
    assert_eq!(shelf.dumps.list().await.unwrap()[0].verified_at, None);
}

#[tokio::test]
async fn what_is_no_whole_snapshot_is_reported_and_hides_no_other() {
    let shelf = Shelf::new().await;
    let [whole, short, bare] = [
        shelf.create().await,
        shelf.create().await,
        shelf.create().await,
    ];
    let dump = fs::OpenOptions::new()
        .write(true)
        .open(shelf.folder.join(&short.dump))
        .unwrap();
    dump.set_len(short.bytes - 1).unwrap();
    fs::remove_file(shelf.folder.join(&bare.dump)).unwrap();
    fs::write(shelf.folder.join("odd.manifest.json"), "{}").unwrap();
    const HALF: &str = "togather_20260329_010203_0123456789ab_q69g5fav.dump";
    fs::write(shelf.folder.join(HALF), "PGDMP").unwrap();
    fs::write(shelf.folder.join("before-upgrade.dump"), "by hand").unwrap();

    let text = told(&shelf.dumps.list().await.unwrap_err());
    for part in [
        &short.dump,
        "lacks its dump",
        "odd.manifest.json is no manifest",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let survey = shelf.dumps.survey().await.unwrap();
    assert_eq!(survey.snapshots, std::slice::from_ref(&whole));
    assert_eq!(survey.orphans.len(), 1);
    assert_eq!(survey.orphans[0].name, HALF);

    let operation = new_id();
    shelf.prove(&whole, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    let error = shelf.prove(&short, new_id()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Unreadable(_)), "{error:?}");
}

#[tokio::test]
async fn a_copy_that_differs_is_not_called_proven() {
    let shelf = Shelf::new().await;
    let taken = shelf.create().await;
    // The dump is whole, but the manifest says otherwise: as if rows had been left out.
    let manifest = shelf
        .folder
        .join(taken.dump.replace(".dump", ".manifest.json"));
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("\"public.events\": 3000", "\"public.events\": 3001"),
    )
    .unwrap();
    let operation = new_id();
    let error = shelf.prove(&taken, operation).await.unwrap_err();
    assert!(
        told(&error).ends_with("public.events: 3000 rows, not 3001 rows"),
        "{}",
        told(&error)
    );
    shelf.assert_no_scratch(operation).await;
}

#[tokio::test]
async fn an_unknown_snapshot_is_refused() {
    let shelf = Shelf::new().await;
    let id = new_id();
    let error = shelf.dumps.prove(id, new_id(), &|_| ()).await.unwrap_err();
    assert!(
        matches!(error, SnapshotError::Unknown(unknown) if unknown == id),
        "{error:?}"
    );
    assert_eq!(shelf.dumps.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_an_error_and_leaves_no_program() {
    let shelf = Shelf::new().await;
    let file = shelf._keep.path().join("a file");
    fs::write(&file, "").unwrap();
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    let dumps = Dumps::new(
        settings(&file.join("below it")),
        exec,
        Arc::clone(&shelf.postgres),
    )
    .unwrap();
    let error = dumps.create(&wanted(), &|_| ()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Store { .. }), "{error:?}");
    assert!(told(&error).contains("a file"), "{}", told(&error));
    assert!(dumps.list().await.is_err(), "not an empty list");
}

#[tokio::test]
async fn addresses_of_stores_are_checked() {
    let shelf = Shelf::new().await;
    for (address, why) in [
        ("ftp://host/path", "ftp"),
        ("s3://key:hush@bucket/path", "environment"),
    ] {
        let settings = SnapshotSettings {
            store: address.parse().unwrap(),
            ..settings(&shelf.folder)
        };
        let exec = shared(DockerExec(String::new()));
        let error = Dumps::new(settings, exec, Arc::clone(&shelf.postgres))
            .err()
            .unwrap();
        let text = told(&error);
        assert!(text.contains(why) && !text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn pruning_keeps_what_is_asked_for_and_removes_all_parts_of_the_rest() {
    let mut shelf = Shelf::new().await;
    let mut taken = Vec::new();
    for (day, schema) in [(1, 4), (2, 5), (3, 5)] {
        let set = format!(
            "TRUNCATE schema_migrations; INSERT INTO schema_migrations VALUES ({schema}, false)"
        );
        let set = sqlx::raw_sql(sqlx::AssertSqlSafe(set));
        set.execute(&mut shelf.database.session).await.unwrap();
        let wanted = Wanted {
            at: format!("2026-05-0{day}T00:00:00Z").parse().unwrap(),
            ..wanted()
        };
        let manifest = shelf.dumps.create(&wanted, &|_| ()).await.unwrap();
        let operation = new_id();
        shelf.prove(&manifest, operation).await.unwrap();
        shelf.postgres.drop_scratch(operation).await.unwrap();
        taken.push(manifest);
    }
    let after = |days: u64| taken[0].taken_at + Duration::from_secs(days * 86_400);
    let target = RollbackTarget {
        version: "1.0.0".into(),
        schema: 4,
    };

    assert_eq!(
        shelf.dumps.prune(&[], after(6)).await.forgotten,
        [""; 0],
        "all are young"
    );
    let needed = shelf.dumps.prune(&[target], after(30)).await.forgotten;
    assert_eq!(
        needed,
        [taken[1].dump.as_str()],
        "a rollback needs the first"
    );
    let pruned = shelf.dumps.prune(&[], after(30)).await.forgotten;
    assert_eq!(pruned, [taken[0].dump.as_str()]);
    assert_eq!(
        shelf.dumps.prune(&[], after(9000)).await.forgotten,
        [""; 0],
        "never the last verified one"
    );
    assert_eq!(
        shelf.files().len(),
        4,
        "dump, roles, manifest and mark: {:?}",
        shelf.files()
    );
    shelf.dumps.forget(taken[2].id).await.unwrap();
    assert_eq!(shelf.files(), [""; 0]);
}
