//! The agent's migrations on a real PostgreSQL: golang-migrate's bookkeeping to the letter, and every
//! way a file can fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a panic is the report"
)]

mod postgres_server;

use std::{sync::Mutex, time::Duration};

use postgres_server::{PASSWORD, TestDatabase, migration, told, until};
use secrecy::SecretString;
use sqlx::Row;
use togather_agent::{
    database::{Database, DatabaseError, DatabaseSettings, Migrated, Postgres},
    migrations::{Aftermath, MigrationError},
};
use togather_model::{Line, Migration, Schema, Ulid};

async fn migrate(
    postgres: &Postgres,
    migrations: &[Migration],
) -> Result<Migrated, MigrationError> {
    postgres.migrate(Line::App, migrations, &|_| ()).await
}

fn aftermath(error: MigrationError) -> Aftermath {
    let MigrationError::Failed { aftermath, .. } = error else {
        panic!("not a failed file: {error:?}");
    };
    aftermath.unwrap_or_else(|| panic!("it was a copy"))
}

#[tokio::test]
async fn the_schema_is_told_apart() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    assert_eq!(postgres.schema().await.unwrap(), Schema::Empty);
    assert!(postgres.bytes().await.unwrap() > 1 << 20);

    assert_eq!(postgres.missing_extensions().await.unwrap(), [""; 0]);
    postgres.create_extensions().await.unwrap();
    postgres.create_extensions().await.unwrap();
    assert!(database.exists("spatial_ref_sys").await);
    assert_eq!(
        postgres.schema().await.unwrap(),
        Schema::Empty,
        "PostGIS's own tables do not count"
    );

    database.run("CREATE TABLE somebodys ()").await;
    assert_eq!(postgres.schema().await.unwrap(), Schema::Unversioned);

    migrate(&postgres, &[migration(7, "CREATE TABLE ours ()")])
        .await
        .unwrap();
    assert_eq!(
        postgres.schema().await.unwrap(),
        Schema::At {
            version: 7,
            dirty: false
        }
    );
}

#[tokio::test]
async fn extensions_the_server_lacks_are_named() {
    let database = TestDatabase::new().await;
    let settings = DatabaseSettings {
        extensions: vec!["pg_trgm".into(), "pgvector".into()],
        ..database.settings()
    };
    let postgres = Postgres::new(settings).unwrap();
    assert_eq!(postgres.missing_extensions().await.unwrap(), ["pgvector"]);
}

#[tokio::test]
async fn pending_files_run_in_order_and_are_booked_as_golang_migrate_does() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let files = [
        migration(
            1,
            "CREATE TABLE events (id bigint PRIMARY KEY, name text);\nINSERT INTO events VALUES (1, 'a;b');",
        ),
        migration(2, "ALTER TABLE events ADD COLUMN place text;"),
        migration(3, "CREATE INDEX CONCURRENTLY events_name ON events (name);"),
    ];
    let heard = Mutex::new(Vec::new());
    let hear = |file: &str| heard.lock().unwrap().push(file.to_owned());
    let migrated = postgres.migrate(Line::App, &files, &hear).await.unwrap();
    assert_eq!(migrated.version, Some(3));
    assert_eq!(migrated.files, files.each_ref().map(|m| m.file.clone()));
    assert_eq!(*heard.lock().unwrap(), migrated.files);
    assert_eq!(database.bookkeeping().await, [(3, false)]);
    assert!(database.exists("events_name").await);

    let columns = sqlx::query(
        "SELECT column_name::text, data_type::text, is_nullable::text FROM information_schema.columns \
         WHERE table_name = 'schema_migrations' ORDER BY ordinal_position",
    );
    let columns = columns.fetch_all(&mut database.session).await.unwrap();
    let columns: Vec<[String; 3]> = columns
        .iter()
        .map(|c| [c.get(0), c.get(1), c.get(2)])
        .collect();
    assert_eq!(
        columns,
        [["version", "bigint", "NO"], ["dirty", "boolean", "NO"]]
    );

    let again = migrate(&postgres, &files).await.unwrap();
    assert_eq!((again.files, again.version), (vec![], Some(3)));
}

#[tokio::test]
async fn a_database_that_golang_migrate_left_is_taken_on() {
    let mut database = TestDatabase::new().await;
    database
        .run(
            "CREATE TABLE \"public\".\"schema_migrations\" (version bigint not null primary key, dirty boolean not null);
             INSERT INTO schema_migrations VALUES (20240102030405, false)",
        )
        .await;
    let postgres = database.postgres();
    let files = [
        migration(20_240_102_030_405, "THIS RAN LONG AGO"),
        migration(20_240_203_040_506, "CREATE TABLE later ()"),
    ];
    let migrated = migrate(&postgres, &files).await.unwrap();
    assert_eq!(migrated.files, ["20240203040506_test.up.sql"]);
    assert_eq!(database.bookkeeping().await, [(20_240_203_040_506, false)]);
}

#[tokio::test]
async fn a_file_of_several_statements_that_fails_leaves_nothing_and_is_clean_again() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let good = migration(1, "CREATE TABLE events (id int)");
    let bad = migration(
        2,
        "ALTER TABLE events ADD COLUMN name text;\nCREATE TABLE more ();\n\nALTER TABLE events\n  ADD CULUMN place text;\n",
    );
    let error = migrate(&postgres, &[good, bad]).await.unwrap_err();
    let text = told(&error);
    let aftermath = aftermath(error);
    let Aftermath::Clean {
        version: Some(1),
        fingerprint,
    } = aftermath
    else {
        panic!("{aftermath:?}");
    };
    assert_eq!(
        text,
        format!(
            "000002_test.up.sql, line 5, `ADD CULUMN place text;` failed; nothing of it remains (the catalogue is \
             proven to be as it was: {fingerprint}), and the schema is at 1, clean: PostgreSQL says: syntax error \
             at or near \"text\" (SQLSTATE 42601)"
        )
    );
    assert_eq!(aftermath.ways_out("togather"), [""; 0]);
    assert_eq!(database.bookkeeping().await, [(1, false)]);
    assert!(!database.exists("more").await);
}

#[tokio::test]
async fn an_error_without_a_position_is_found_by_its_statement() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let file = "CREATE TABLE events (id int PRIMARY KEY);\nINSERT INTO events VALUES (1);\n\n\
                -- the same again; it must not\nINSERT INTO events VALUES (1);\n";
    let error = migrate(&postgres, &[migration(1, file)]).await.unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("line 5, `INSERT INTO events VALUES (1);`"),
        "{text}"
    );
    assert!(
        text.contains("SQLSTATE 23505") && text.contains("Key (id)=(1) already exists"),
        "{text}"
    );
    assert!(text.contains("without migrations, as before"), "{text}");
    assert_eq!(database.bookkeeping().await, []);
    assert_eq!(postgres.schema().await.unwrap(), Schema::Empty);
}

#[tokio::test]
async fn a_failed_concurrent_index_stays_dirty_and_the_ways_out_are_told() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let files = [
        migration(
            1,
            "CREATE TABLE events (id int); INSERT INTO events VALUES (1), (1)",
        ),
        migration(
            2,
            "CREATE UNIQUE INDEX CONCURRENTLY events_id ON events (id)",
        ),
    ];
    let error = migrate(&postgres, &files).await.unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("new: invalid index public.events.events_id"),
        "{text}"
    );
    let aftermath = aftermath(error);
    let Aftermath::Dirty {
        version: 2,
        before: Some(1),
        fingerprint,
        now: Some(now),
        ..
    } = &aftermath
    else {
        panic!("{aftermath:?}");
    };
    assert_ne!(fingerprint, now);
    let ways_out = aftermath.ways_out("attic");
    let done = "`togather-ctl schema set 2 --nodes attic`";
    assert!(ways_out[0].contains(done), "{ways_out:?}");
    assert_eq!(database.bookkeeping().await, [(2, true)]);
    assert_eq!(
        postgres.schema().await.unwrap(),
        Schema::At {
            version: 2,
            dirty: true
        }
    );

    let refused = migrate(&postgres, &files).await.unwrap_err();
    assert!(
        matches!(refused, MigrationError::Dirty { version: 2 }),
        "{refused:?}"
    );

    // The second way out: take back what remains, and say so.
    let taken_back = "`togather-ctl schema set 1 --nodes attic`";
    assert!(ways_out[1].contains(taken_back), "{ways_out:?}");
    database
        .run("DROP INDEX events_id; DELETE FROM events")
        .await;
    postgres.set_schema(Line::App, Some(1)).await.unwrap();
    migrate(&postgres, &files).await.unwrap();
}

#[tokio::test]
async fn a_file_that_commits_halfway_is_not_called_unchanged() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let files = [
        migration(1, "CREATE TABLE events (id int)"),
        migration(
            2,
            "BEGIN; INSERT INTO events VALUES (1); COMMIT; SELECT 1/0",
        ),
    ];
    let error = migrate(&postgres, &files).await.unwrap_err();
    assert!(
        told(&error).contains("rows may have changed"),
        "{}",
        told(&error)
    );
    assert_eq!(database.bookkeeping().await, [(2, true)]);
}

#[tokio::test]
async fn a_file_that_fails_in_a_transaction_of_its_own_is_diagnosed_all_the_same() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let file = "BEGIN; CREATE TABLE events (id int); SELECT 1/0; COMMIT";
    let error = migrate(&postgres, &[migration(1, file)]).await.unwrap_err();
    assert!(matches!(
        aftermath(error),
        Aftermath::Dirty {
            version: 1,
            before: None,
            ..
        }
    ));
    assert!(!database.exists("events").await);
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_asked_for_again() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    database.run("CREATE TABLE events (id int)").await;
    database.run("BEGIN; SELECT * FROM events").await;
    let files = [migration(1, "ALTER TABLE events ADD COLUMN name text")];
    let migrating = tokio::spawn(async move { migrate(&postgres, &files).await });
    // The table is let go of only once the migration was seen to have stepped back.
    let (server, name) = (database.server, database.name.clone());
    let waiting = || async {
        let mut admin = server.connect("togather").await;
        let waits = sqlx::query_scalar::<_, bool>(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock')",
        );
        waits.bind(&name).fetch_one(&mut admin).await.unwrap()
    };
    until("the migration waits for the table", waiting).await;
    until("the migration steps back", || async { !waiting().await }).await;
    database.run("COMMIT").await;
    assert_eq!(migrating.await.unwrap().unwrap().version, Some(1));
    assert_eq!(database.bookkeeping().await, [(1, false)]);
}

#[tokio::test]
async fn a_lock_that_is_never_to_be_had_leaves_nothing() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    database.run("CREATE TABLE events (id int)").await;
    database.run("BEGIN; SELECT * FROM events").await;
    let error = migrate(&postgres, &[migration(1, "DROP TABLE events")])
        .await
        .unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("SQLSTATE 55P03") && text.contains("2 times it was tried again"),
        "{text}"
    );
    database.run("COMMIT").await;
    assert_eq!(database.bookkeeping().await, []);
    assert!(database.exists("events").await);
}

async fn kill_the_migrators_session(database: &TestDatabase) {
    let name = database.name.as_str();
    let kill = || async {
        let mut admin = database.server.connect("togather").await;
        let killed = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 \
             AND application_name = 'togather-migrate' AND query LIKE '%pg_sleep%'",
        );
        !killed
            .bind(name)
            .fetch_all(&mut admin)
            .await
            .unwrap()
            .is_empty()
    };
    until("the migration is under way", kill).await;
}

#[tokio::test]
async fn a_session_killed_in_the_middle_is_diagnosed_on_another() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let files = [migration(
        1,
        "CREATE TABLE events (); CREATE TABLE late AS SELECT 1 AS one FROM pg_sleep(30)",
    )];
    let migrating = tokio::spawn(async move { migrate(&postgres, &files).await });
    kill_the_migrators_session(&database).await;
    let error = migrating.await.unwrap().unwrap_err();
    assert!(told(&error).contains("SQLSTATE 57P01"), "{}", told(&error));
    assert!(matches!(
        aftermath(error),
        Aftermath::Clean { version: None, .. }
    ));
    assert_eq!(database.bookkeeping().await, []);
}

#[tokio::test]
async fn a_session_killed_while_rows_change_is_doubtful() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    database
        .run("CREATE TABLE events (id int); INSERT INTO events VALUES (1)")
        .await;
    let files = [migration(
        1,
        "UPDATE events SET id = 2; SELECT pg_sleep(30)",
    )];
    let migrating = tokio::spawn(async move { migrate(&postgres, &files).await });
    kill_the_migrators_session(&database).await;
    let error = migrating.await.unwrap().unwrap_err();
    assert!(told(&error).contains("nobody heard"), "{}", told(&error));
    assert_eq!(database.bookkeeping().await, [(1, true)]);
}

#[tokio::test]
async fn two_migrators_at_once_run_each_file_once() {
    let mut database = TestDatabase::new().await;
    let patient = || {
        Postgres::new(DatabaseSettings {
            lock_timeout: Duration::from_secs(10),
            ..database.settings()
        })
        .unwrap()
    };
    let files = [
        migration(
            1,
            "CREATE TABLE events (id int); INSERT INTO events VALUES (1); SELECT pg_sleep(0.3)",
        ),
        // Waits for every snapshot older than itself: a migrator that waits must hold none.
        migration(2, "CREATE INDEX CONCURRENTLY events_id ON events (id)"),
    ];
    let (one, other) = (patient(), patient());
    let (one, other) = tokio::join!(migrate(&one, &files), migrate(&other, &files));
    let mut ran = [one.unwrap().files.len(), other.unwrap().files.len()];
    ran.sort_unstable();
    assert_eq!(ran, [0, 2]);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(&mut database.session)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

/// The migrate command's lock, the library's, and that of its first versions.
#[tokio::test]
async fn a_migrator_of_any_kind_is_waited_for_and_named() {
    for lock in [
        ["", "public", "schema_migrations"],
        ["public", "schema_migrations", ""],
        ["public", "schema_migrations", "/"],
    ] {
        let mut database = TestDatabase::new().await;
        let names = lock.map(|part| match part {
            "" => database.name.clone(),
            "/" => format!("/{}", database.name),
            part => part.to_owned(),
        });
        let number = crc32fast::hash(names.join("\0").as_bytes()).wrapping_mul(1_486_364_155);
        sqlx::query(
            "SELECT pg_advisory_lock($1), set_config('application_name', 'migrate by hand', false)",
        )
        .bind(i64::from(number))
        .execute(&mut database.session)
        .await
        .unwrap();
        let postgres = database.postgres();
        let error = migrate(&postgres, &[migration(1, "CREATE TABLE t ()")])
            .await
            .unwrap_err();
        let text = told(&error);
        assert!(
            text.contains("`migrate by hand`") && text.contains("role togather"),
            "{text}"
        );
        database.run("SELECT pg_advisory_unlock_all()").await;
        migrate(&postgres, &[migration(1, "CREATE TABLE t ()")])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn timeouts_that_the_server_sets_do_not_cut_a_migration() {
    let mut database = TestDatabase::new().await;
    let set: String = sqlx::query_scalar(
        "SELECT string_agg(format('ALTER DATABASE %I SET %s = ''200ms''', current_database(), name), ';') \
         FROM pg_settings WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout')",
    )
    .fetch_one(&mut database.session)
    .await
    .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(set))
        .execute(&mut database.session)
        .await
        .unwrap();
    let migrated = migrate(
        &database.postgres(),
        &[migration(1, "SELECT pg_sleep(0.5)")],
    )
    .await;
    assert_eq!(migrated.unwrap().version, Some(1));
}

#[tokio::test]
async fn dropping_a_scratch_database_that_is_not_there_is_fine() {
    let postgres = TestDatabase::new().await.postgres();
    postgres.drop_scratch(Ulid::from_parts(1, 1)).await.unwrap();
}

#[tokio::test]
async fn no_error_holds_the_password() {
    let database = TestDatabase::new().await;
    let at = |url: String| DatabaseSettings {
        url: SecretString::from(url),
        ..database.settings()
    };
    let port = database.server.port;
    let mut texts = Vec::new();
    for broken in [
        format!("postgres://togather:{PASSWORD}@127.0.0.1:{port}"),
        format!("postgres://togather:{PASSWORD}@127.0.0.1:notaport/togather"),
        format!("postgres://togather:{PASSWORD}@ho st/togather"),
        format!("mysql://togather:{PASSWORD}@127.0.0.1:{port}/togather"),
        format!("togather:{PASSWORD}@127.0.0.1"),
    ] {
        let error = Postgres::new(at(broken)).unwrap_err();
        assert!(matches!(error, DatabaseError::Address(_)));
        texts.push(format!("{} {error:?}", told(&error)));
    }
    for unreachable in [
        format!("postgres://togather:{PASSWORD}x@127.0.0.1:{port}/togather"),
        format!("postgres://togather:{PASSWORD}@127.0.0.1:{port}/no_such_database"),
        format!("postgres://togather:{PASSWORD}@127.0.0.1:1/togather"),
    ] {
        let postgres = Postgres::new(at(unreachable)).unwrap();
        let error = postgres.schema().await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::Unreachable { .. }),
            "{error:?}"
        );
        texts.push(format!("{} {error:?} {postgres:?}", told(&error)));
    }
    for text in texts {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

/// A line that changes its table as River's does: made at 1, an enum's value at 4 that 6 uses, the
/// table made anew with lines at 5.
fn river() -> Vec<Migration> {
    vec![
        migration(
            1,
            "CREATE TABLE river_migration (id bigserial PRIMARY KEY, \
             created_at timestamptz NOT NULL DEFAULT now(), version bigint NOT NULL UNIQUE)",
        ),
        migration(2, "CREATE TYPE job_state AS ENUM ('available')"),
        migration(3, "CREATE TABLE jobs (state job_state NOT NULL)"),
        migration(4, "ALTER TYPE job_state ADD VALUE 'pending'"),
        migration(
            5,
            "ALTER TABLE river_migration RENAME TO old; \
             CREATE TABLE river_migration (line text NOT NULL, version bigint NOT NULL, \
                 created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (line, version)); \
             INSERT INTO river_migration (line, version) SELECT 'main', version FROM old; \
             DROP TABLE old",
        ),
        migration(6, "ALTER TABLE jobs ALTER state SET DEFAULT 'pending'"),
    ]
}

#[tokio::test]
async fn rivers_line_is_booked_in_both_layouts_of_its_table() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let line = river();
    let first = postgres.migrate(Line::River, &line[..3], &|_| ()).await;
    assert_eq!(first.unwrap().version, Some(3));
    database
        .run("DO $$ BEGIN ASSERT (SELECT array_agg(version ORDER BY version) FROM river_migration) = '{1,2,3}'; END $$")
        .await;

    let rest = postgres.migrate(Line::River, &line, &|_| ()).await.unwrap();
    assert_eq!(rest.files.len(), 3);
    assert_eq!(rest.version, Some(6));
    database
        .run("DO $$ BEGIN ASSERT (SELECT array_agg(version ORDER BY version) FROM river_migration WHERE line = 'main') = '{1,2,3,4,5,6}'; END $$")
        .await;
    // The app's own line has not begun: each is at a schema of its own.
    assert_eq!(postgres.schema().await.unwrap(), Schema::Unversioned);
    let again = postgres.migrate(Line::River, &line, &|_| ()).await.unwrap();
    assert!(again.files.is_empty());
}

#[tokio::test]
async fn a_file_of_rivers_that_fails_leaves_nothing() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let mut line = river();
    line.truncate(3);
    line.push(migration(4, "CREATE TABLE half (); SELECT 1 / 0"));
    let error = postgres.migrate(Line::River, &line, &|_| ()).await;
    let error = told(&error.unwrap_err());
    assert!(error.contains("division by zero"), "{error}");
    assert!(!database.exists("half").await);
    database
        .run("DO $$ BEGIN ASSERT (SELECT max(version) FROM river_migration) = 3; END $$")
        .await;
}
