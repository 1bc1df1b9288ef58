//! River's line of migrations on a real PostgreSQL: each file with its row or not at all, in both
//! layouts of River's table. The files here are our own, as hard as River's where that matters.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a panic is the report"
)]

mod postgres_server;

use postgres_server::{TestDatabase, migration, told};
use sqlx::Row;
use togather_agent::{
    database::{Database, DatabaseError, Migrated, Postgres},
    migrations::{Aftermath, MigrationError},
};
use togather_model::{Line, Migration, Schema};

/// The layout that River begins with.
const FIRST: &str = "CREATE TABLE river_migration (id bigserial PRIMARY KEY, \
                     created_at timestamptz NOT NULL DEFAULT now(), version bigint NOT NULL); \
                     CREATE UNIQUE INDEX ON river_migration (version)";
/// The layout that it changes to, on the way.
const SECOND: &str = "ALTER TABLE river_migration RENAME TO old; \
                      CREATE TABLE river_migration (line text NOT NULL, version bigint NOT NULL, \
                      created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (line, version)); \
                      INSERT INTO river_migration (created_at, line, version) \
                      SELECT created_at, 'main', version FROM old; DROP TABLE old";

fn all() -> Vec<Migration> {
    vec![
        migration(1, FIRST),
        migration(
            2,
            "CREATE TYPE state AS ENUM ('a'); CREATE TABLE river_job (state state)",
        ),
        migration(3, "ALTER TYPE state ADD VALUE 'b'"),
        // Not in the transaction that added the value.
        migration(4, "INSERT INTO river_job VALUES ('b')"),
        migration(5, SECOND),
        migration(6, "ALTER TABLE river_job ADD more int"),
    ]
}

async fn river(postgres: &Postgres, migrations: &[Migration]) -> Result<Migrated, MigrationError> {
    postgres.migrate(Line::River, migrations, &|_| ()).await
}

async fn rows(database: &mut TestDatabase, layout: &str) -> Vec<i64> {
    let select = match layout {
        "second" => "SELECT version FROM river_migration WHERE line = 'main' ORDER BY version",
        _ => "SELECT version FROM river_migration ORDER BY version",
    };
    let rows = sqlx::query(select).fetch_all(&mut database.session).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn each_file_and_its_row_are_one_transaction_in_both_layouts() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let all = all();
    assert!(postgres.other_lines().await.unwrap().is_empty());

    let migrated = river(&postgres, &all[..4]).await.unwrap();
    assert_eq!((migrated.files.len(), migrated.version), (4, Some(4)));
    assert_eq!(rows(&mut database, "first").await, [1, 2, 3, 4]);
    assert_eq!(
        postgres.schema().await.unwrap(),
        Schema::Empty,
        "River's tables are not the app's"
    );
    let name = postgres.name().to_owned();
    assert!(
        !postgres.is_empty(&name).await.unwrap(),
        "but they may hold something"
    );

    let migrated = river(&postgres, &all).await.unwrap();
    assert_eq!(migrated.files.len(), 2);
    assert_eq!(rows(&mut database, "second").await, [1, 2, 3, 4, 5, 6]);
    let lines = postgres.other_lines().await.unwrap();
    assert_eq!(lines[&Line::River], [1, 2, 3, 4, 5, 6]);
    let again = river(&postgres, &all).await.unwrap();
    assert_eq!((again.files.len(), again.version), (0, Some(6)));
    assert!(!database.exists("schema_migrations").await);
}

#[tokio::test]
async fn what_river_makes_is_nobody_elses_whatever_it_is_called() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    river(&postgres, &all()).await.unwrap();
    database.run("CREATE TABLE river_job_sequence ()").await;
    assert_eq!(postgres.schema().await.unwrap(), Schema::Empty);
    database.run("CREATE TABLE rivers ()").await;
    assert_eq!(postgres.schema().await.unwrap(), Schema::Unversioned);
}

#[tokio::test]
async fn a_negative_version_is_told_with_the_way_out() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    database
        .run(
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); \
             INSERT INTO schema_migrations VALUES (-1, true)",
        )
        .await;
    let text = told(&postgres.schema().await.unwrap_err());
    assert!(text.contains("its version is -1"), "{text}");
    assert!(
        text.contains("`togather-ctl schema set N --nodes NODE`"),
        "{text}"
    );
    postgres.set_schema(Line::App, None).await.unwrap();
    assert_eq!(postgres.schema().await.unwrap(), Schema::Empty);
}

#[tokio::test]
async fn another_line_in_rivers_table_is_not_rivers_own() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    river(&postgres, &all()[..5]).await.unwrap();
    database
        .run("INSERT INTO river_migration (line, version) VALUES ('workflow', 9)")
        .await;
    let lines = postgres.other_lines().await.unwrap();
    assert_eq!(lines[&Line::River], [1, 2, 3, 4, 5]);
    let migrated = river(&postgres, &all()).await.unwrap();
    assert_eq!(migrated.version, Some(6));
}

#[tokio::test]
async fn a_file_that_fails_leaves_neither_itself_nor_its_row() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let mut files = all();
    files[5] = migration(6, "ALTER TABLE river_job ADD more int;\nSELECT 1/0");
    let error = river(&postgres, &files).await.unwrap_err();
    let text = told(&error);
    assert!(text.contains("line 2"), "{text}");
    assert!(text.contains("River's schema is at 5"), "{text}");
    let MigrationError::Failed {
        aftermath: Some(aftermath),
        ..
    } = error
    else {
        panic!("not a failed file");
    };
    assert!(
        matches!(
            aftermath,
            Aftermath::RolledBack {
                version: Some(5),
                doubt: None,
                ..
            }
        ),
        "{aftermath:?}"
    );
    assert_eq!(aftermath.ways_out("node-1"), [""; 0]);
    assert_eq!(rows(&mut database, "second").await, [1, 2, 3, 4, 5]);
    river(&postgres, &all()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_ends_its_transaction_is_refused_before_anything_runs() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let files = [
        migration(1, FIRST),
        migration(2, "CREATE TABLE river_job (); COMMIT; SELECT 1"),
    ];
    let error = river(&postgres, &files).await.unwrap_err();
    assert!(
        matches!(error, MigrationError::EndsTransactions { .. }),
        "{error:?}"
    );
    assert!(!database.exists("river_migration").await);
}

#[tokio::test]
async fn what_an_operator_says_of_a_schema_is_booked_and_touches_no_table() {
    let mut database = TestDatabase::new().await;
    let postgres = database.postgres();
    let missing = postgres.set_schema(Line::River, Some(3)).await;
    assert!(
        matches!(
            missing,
            Err(MigrationError::Database(DatabaseError::NoRiver))
        ),
        "{missing:?}"
    );
    river(&postgres, &all()[..4]).await.unwrap();
    for (version, expected) in [(2, vec![1, 2]), (4, vec![1, 2, 3, 4])] {
        let set = postgres.set_schema(Line::River, Some(version)).await;
        set.unwrap();
        assert_eq!(rows(&mut database, "first").await, expected);
    }

    database
        .run(
            "CREATE TABLE schema_migrations (version bigint not null primary key, dirty boolean not null);
             INSERT INTO schema_migrations VALUES (50, true)",
        )
        .await;
    postgres.set_schema(Line::App, Some(49)).await.unwrap();
    assert_eq!(database.bookkeeping().await, [(49, false)]);
    postgres.set_schema(Line::App, None).await.unwrap();
    assert!(database.bookkeeping().await.is_empty());
}
