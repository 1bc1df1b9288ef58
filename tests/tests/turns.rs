//! The agent in turn with golang-migrate's own command and River's own library on one database, which
//! then is what the tools alone make of it. For `make peers`, which builds them:
//! `MIGRATE` and `RIVER` are the programs, `RIVER_FILES` is a folder with River's migrations.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a panic is the report"
)]

mod postgres_server;

use std::{env, fs, path::Path, process::Command};

use postgres_server::{TestDatabase, USER, docker, migration};
use sqlx::Row;
use tempfile::TempDir;
use togather_agent::database::Database;
use togather_model::{Line, Migration};

/// Who makes the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Agent,
    Tool,
}

/// As hard as files are in real life: several statements, functions, an index that no transaction may
/// hold, a value of an enumeration that the next file uses, data.
fn of_the_app() -> Vec<(Migration, &'static str)> {
    let files = [
        (
            "CREATE TABLE event (id bigserial PRIMARY KEY, name text NOT NULL);\n-- a comment; with one more\nCREATE TABLE place (id int);",
            "DROP TABLE place; DROP TABLE event;",
        ),
        (
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'x;y'; RETURN NEW; END $$;\n\
             CREATE TRIGGER touched BEFORE INSERT ON place FOR EACH ROW WHEN (false) EXECUTE FUNCTION touch();",
            "DROP TRIGGER touched ON place; DROP FUNCTION touch();",
        ),
        (
            "CREATE INDEX CONCURRENTLY event_name ON event (name)",
            "DROP INDEX event_name",
        ),
        (
            "CREATE TYPE state AS ENUM ('draft', 'done');\nALTER TABLE event ADD state state DEFAULT 'draft';",
            "ALTER TABLE event DROP state; DROP TYPE state;",
        ),
        (
            "ALTER TYPE state ADD VALUE 'published' BEFORE 'done'",
            "SELECT 1",
        ),
        (
            "INSERT INTO event (name, state) VALUES ('first; of all', 'published');\nUPDATE event SET name = name || E'\\n' || 'é';",
            "DELETE FROM event",
        ),
        (
            "BEGIN;\nALTER TABLE event ADD CONSTRAINT named CHECK (name <> '');\nCOMMIT;",
            "ALTER TABLE event DROP CONSTRAINT named",
        ),
        (
            "CREATE VIEW drafts AS SELECT * FROM event WHERE state = 'draft';\nCOMMENT ON VIEW drafts IS 'it''s';",
            "DROP VIEW drafts",
        ),
    ];
    let numbered = files.into_iter().enumerate();
    numbered
        .map(|(at, (up, down))| (migration(u64::try_from(at).unwrap() + 1, up), down))
        .collect()
}

fn folder_of(files: &[(Migration, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (up, down) in files {
        fs::write(folder.path().join(&up.file), &up.sql).unwrap();
        let file = up.file.replace(".up.", ".down.");
        fs::write(folder.path().join(file), down).unwrap();
    }
    folder
}

/// River's files, ascending.
fn of_river() -> Vec<Migration> {
    let folder = env::var_os("RIVER_FILES").unwrap();
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let file = entry.file_name().into_string().unwrap();
            let version = file.split_once('_')?.0.parse().unwrap();
            file.ends_with(".up.sql").then(|| Migration {
                version,
                sql: fs::read_to_string(entry.path()).unwrap(),
                file,
            })
        })
        .collect();
    files.sort_by_key(|file| file.version);
    assert!(files.len() >= 6, "{}", files.len());
    files
}

/// All orders of who makes which of so many steps.
fn orders(steps: usize) -> impl Iterator<Item = Vec<Who>> {
    (0..1_u32 << steps).map(move |bits| {
        let of_the_agent = |step| bits >> step & 1 == 1;
        (0..steps)
            .map(|step| match of_the_agent(step) {
                true => Who::Agent,
                false => Who::Tool,
            })
            .collect()
    })
}

fn run(variable: &str, arguments: &[&str]) {
    let program = env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no program"));
    let ran = Command::new(program).args(arguments).output().unwrap();
    assert!(
        ran.status.success(),
        "{variable} {arguments:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

fn url(database: &TestDatabase) -> String {
    let url = database.server.url(&database.name).replace(' ', "%20");
    format!("{url}?sslmode=disable")
}

fn migrate(folder: &Path, database: &TestDatabase, verb: &[&str]) {
    let path = folder.to_str().unwrap();
    let url = url(database);
    let mut arguments = vec!["-path", path, "-database", &url];
    arguments.extend(verb);
    run("MIGRATE", &arguments);
}

/// The schema as `pg_dump` writes it, without what is different in each of its runs.
fn schema(database: &TestDatabase) -> String {
    let (container, name) = (&database.server.container, &database.name);
    let dump = [
        "exec",
        container,
        "pg_dump",
        "--schema-only",
        "-U",
        USER,
        name,
    ];
    let text = docker(&dump).unwrap();
    let lines = text.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The rows of a table, as text and in order.
async fn rows(database: &mut TestDatabase, of: &'static str) -> Vec<String> {
    let rows = sqlx::query(of).fetch_all(&mut database.session).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn app_rows(database: &mut TestDatabase) -> [Vec<String>; 2] {
    [
        rows(
            database,
            "SELECT m::text FROM schema_migrations m ORDER BY 1",
        )
        .await,
        rows(database, "SELECT e::text FROM event e ORDER BY 1").await,
    ]
}

#[tokio::test]
#[ignore = "make peers builds the tool"]
async fn golang_migrates_own_command_in_turn() {
    let files = of_the_app();
    let folder = folder_of(&files);
    let all: Vec<_> = files.iter().map(|(up, _)| up.clone()).collect();
    let mut alone = TestDatabase::new().await;
    migrate(folder.path(), &alone, &["up"]);
    let (schema_alone, rows_alone) = (schema(&alone), app_rows(&mut alone).await);
    assert_eq!(rows_alone[0], ["(8,f)"]);

    // Every fifth of the 256 orders, and both that never change hands.
    let some = orders(all.len()).enumerate();
    let some = some.filter(|(at, order)| at % 5 == 0 || order.iter().all(|who| *who == order[0]));
    for (_, order) in some {
        let mut database = TestDatabase::new().await;
        for (step, who) in order.iter().enumerate() {
            take(&database, folder.path(), &all, step, *who).await;
        }
        compare(&mut database, (&schema_alone, &rows_alone), &order).await;
        // Down by the tool, and up again by the agent.
        migrate(folder.path(), &database, &["down", "2"]);
        let postgres = database.postgres();
        let migrated = postgres.migrate(Line::App, &all, &|_| ()).await.unwrap();
        assert_eq!((migrated.files.len(), migrated.version), (2, Some(8)));
        compare(&mut database, (&schema_alone, &rows_alone), &order).await;
    }
}

async fn take(database: &TestDatabase, folder: &Path, all: &[Migration], step: usize, who: Who) {
    match who {
        Who::Tool => migrate(folder, database, &["up", "1"]),
        Who::Agent => {
            let files = &all[..=step];
            let postgres = database.postgres();
            let migrated = postgres.migrate(Line::App, files, &|_| ()).await.unwrap();
            assert_eq!(migrated.files.len(), 1, "{step}");
        }
    }
}

async fn compare(
    database: &mut TestDatabase,
    (schema_alone, rows_alone): (&str, &[Vec<String>; 2]),
    order: &[Who],
) {
    let [versions, events] = app_rows(database).await;
    // A sequence goes on where rows were deleted.
    let names = |rows: &[String]| -> Vec<String> {
        let named = rows.iter().map(|row| row.split_once(',').unwrap().1);
        named.map(str::to_owned).collect()
    };
    assert_eq!(versions, rows_alone[0], "{order:?}");
    assert_eq!(names(&events), names(&rows_alone[1]), "{order:?}");
    assert_eq!(schema(database), schema_alone, "{order:?}");
}

#[tokio::test]
#[ignore = "make peers builds the tool"]
async fn rivers_own_library_in_turn_in_both_layouts() {
    let files = of_river();
    // The layout of River's table changes with its fifth migration.
    for last in [4, 6] {
        let select = match last {
            4 => "SELECT version::text FROM river_migration ORDER BY id",
            _ => "SELECT line || ' ' || version FROM river_migration ORDER BY version",
        };
        let mut alone = TestDatabase::new().await;
        run("RIVER", &["up", &url(&alone), &last.to_string()]);
        let (schema_alone, rows_alone) = (schema(&alone), rows(&mut alone, select).await);
        assert_eq!(rows_alone.len(), last);
        for order in orders(last) {
            let mut database = TestDatabase::new().await;
            for (step, who) in order.iter().enumerate() {
                match who {
                    Who::Tool => run("RIVER", &["up", &url(&database), &(step + 1).to_string()]),
                    Who::Agent => {
                        let postgres = database.postgres();
                        let migrated = postgres.migrate(Line::River, &files[..=step], &|_| ());
                        assert_eq!(migrated.await.unwrap().files.len(), 1);
                    }
                }
            }
            assert_eq!(rows(&mut database, select).await, rows_alone, "{order:?}");
            assert_eq!(schema(&database), schema_alone, "{order:?}");
        }
    }
}
