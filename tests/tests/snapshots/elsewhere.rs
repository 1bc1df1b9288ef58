//! Snapshots of a database that is no container of the node: reached over TCP with a password, by
//! programs in containers of their own.
//!
//! A table that is locked stands for a dump that takes long: `pg_dump` waits for it, and is there to
//! be looked at, killed or forgotten.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use bollard::{
    models::{ContainerConfig, ContainerInspectResponse},
    query_parameters::{
        CommitContainerOptionsBuilder, KillContainerOptions, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptions, UploadToContainerOptionsBuilder,
    },
};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use togather_agent::{
    containers::{Docker, OneShots, compose},
    database::{Database, DatabaseSettings, Postgres, replaced_name, scratch_name},
    snapshots::{Dumps, Manifest, Programs, SnapshotError, Snapshots},
};
use togather_model::{Line, Ulid};

use crate::{
    EVERYTHING, Shelf, new_id,
    postgres_server::{PASSWORD, migration, told, until},
    settings, wanted,
};

/// It has the server's own programs.
const IMAGE: &str = "togather-database:17";
const SOCKET: &str = "/var/run/docker.sock";

/// Docker, with and without the agent in between, in a project of the test's own.
struct Engine {
    project: &'static str,
    client: bollard::Docker,
}

impl Engine {
    async fn new(project: &'static str) -> Self {
        let client = bollard::Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION);
        let client = client.unwrap().negotiate_version().await.unwrap();
        let engine = Self { project, client };
        // What an earlier run of this test left when it failed.
        for left in engine.containers().await {
            engine.remove(&left).await;
        }
        engine
    }

    /// The agent's own.
    fn docker(&self) -> Arc<Docker> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker-compose.yml");
        let text = format!("name: {}\nservices:\n  app: {{}}\n", self.project);
        fs::write(&file, text).unwrap();
        let compose = compose::load(&file, &Default::default(), "app").unwrap();
        Arc::new(Docker::new(Path::new(SOCKET), compose, 8080).unwrap())
    }

    /// Snapshots of this shelf's database, as if it were elsewhere.
    fn dumps(&self, shelf: &Shelf, image: &str) -> Dumps {
        self.dumps_of(&shelf.postgres, shelf, image)
    }

    fn dumps_of(&self, postgres: &Arc<Postgres>, shelf: &Shelf, image: &str) -> Dumps {
        let programs = Programs::OneShot {
            containers: self.docker(),
            image: image.to_owned(),
        };
        Dumps::new(settings(&shelf.folder), programs, Arc::clone(postgres)).unwrap()
    }

    /// The ids of all containers of programs.
    async fn containers(&self) -> Vec<String> {
        self.containers_with("togather.program").await
    }

    async fn containers_with(&self, label: &str) -> Vec<String> {
        let project = format!("togather.project={}", self.project);
        let filters = HashMap::from([("label", vec![project, label.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        let listed = self.client.list_containers(Some(options)).await.unwrap();
        listed.into_iter().filter_map(|found| found.id).collect()
    }

    /// The container in which `pg_dump` of this job runs, once it does.
    async fn running(&self, job: Ulid) -> ContainerInspectResponse {
        until("pg_dump runs", || async {
            self.dumping(job).await.is_some()
        })
        .await;
        self.dumping(job).await.unwrap()
    }

    async fn dumping(&self, job: Ulid) -> Option<ContainerInspectResponse> {
        for id in self.containers_with(&format!("togather.job={job}")).await {
            // Another program's may go while it is looked at.
            let Ok(found) = self.client.inspect_container(&id, None).await else {
                continue;
            };
            let running = found.state.as_ref().and_then(|state| state.running);
            let labels = found
                .config
                .as_ref()
                .and_then(|config| config.labels.as_ref());
            let is_pg_dump = labels.is_some_and(|labels| labels["togather.program"] == "pg_dump");
            if running == Some(true) && is_pg_dump {
                return Some(found);
            }
        }
        None
    }

    async fn remove(&self, container: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self
            .client
            .remove_container(container, Some(options.build()));
        removed.await.unwrap();
    }

    async fn assert_nothing_left(&self) {
        until("the programs' containers are gone", || async {
            self.containers().await.is_empty()
        })
        .await;
    }
}

/// Holds dumps of this database up until it is dropped.
async fn lock(shelf: &Shelf) -> PgConnection {
    let mut session = shelf.database.server.connect(&shelf.database.name).await;
    let lock = "BEGIN; LOCK TABLE places IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut session).await.unwrap();
    session
}

#[tokio::test]
async fn a_database_elsewhere_is_dumped_proven_and_restored() {
    let mut shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-elsewhere").await;
    let dumps = engine.dumps(&shelf, IMAGE);
    let taken = dumps.create(&wanted(), &|_| ()).await.unwrap();
    assert_eq!(taken.rows["public.events"], 3000);
    let globals = fs::read_to_string(shelf.folder.join(&taken.globals.name)).unwrap();
    assert!(globals.contains("CREATE ROLE togather"), "{globals}");

    let operation = new_id();
    let proven = dumps.prove(taken.id, operation, &|_| ()).await.unwrap();
    assert!(proven.verified_at.is_some());
    shelf.postgres.drop_scratch(operation).await.unwrap();

    shelf.database.run("DELETE FROM events").await;
    let job = new_id();
    dumps.restore(None, taken.id, job, &|_| ()).await.unwrap();
    let aside = replaced_name(&shelf.database.name, job);
    let swapped = shelf.postgres.swap(&scratch_name(job), &aside).await;
    swapped.unwrap();
    assert_eq!(events(&shelf).await, 3000);
    engine.assert_nothing_left().await;
}

async fn events(shelf: &Shelf) -> i64 {
    let mut session = shelf.database.server.connect(&shelf.database.name).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM events");
    count.fetch_one(&mut session).await.unwrap()
}

#[tokio::test]
async fn nobody_sees_the_password_while_a_program_runs() {
    let shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-password").await;
    let dumps = engine.dumps(&shelf, IMAGE);
    let (wanted, locked) = (wanted(), lock(&shelf).await);
    let look = async {
        let found = engine.running(wanted.id).await;
        let id = found.id.clone().unwrap();
        let shown = serde_json::to_string(&found).unwrap();
        assert!(shown.contains("PGPASSFILE=/run/togather/pgpass"), "{shown}");
        assert!(!shown.contains(PASSWORD), "docker inspect: {shown}");
        let process = found.state.unwrap().pid.unwrap();
        let server = shelf.database.server;
        until("it waits for the table", || async {
            server.dumping(&shelf.database.name).await == 1
        })
        .await;
        for file in ["cmdline", "environ"] {
            let seen = fs::read(format!("/proc/{process}/{file}")).unwrap();
            let seen = String::from_utf8_lossy(&seen);
            assert!(seen.contains("pg_dump"), "{file}: {seen}");
            assert!(!seen.contains(PASSWORD), "{file}: {seen}");
        }
        let stat = [
            "exec",
            &id,
            "stat",
            "--format=%a %u",
            "/run/togather/pgpass",
        ];
        let stat = crate::postgres_server::docker(&stat).unwrap();
        assert_eq!(stat, "600 65534", "for the program alone");
        let touch = ["exec", &id, "touch", "/tmp/here"];
        let touched = crate::postgres_server::docker(&touch).unwrap_err();
        assert!(touched.contains("Read-only"), "{touched}");
        locked.close().await.unwrap();
        found.mounts.unwrap()
    };
    let (taken, mounts) = tokio::join!(dumps.create(&wanted, &|_| ()), look);
    assert_eq!(taken.unwrap().rows["public.places"], 200);
    engine.assert_nothing_left().await;
    assert!(!mounts.is_empty());
    for mount in mounts {
        let volume = engine.client.inspect_volume(&mount.name.unwrap()).await;
        assert!(volume.is_err(), "the file went with its volume: {volume:?}");
    }
}

/// An image whose `pg_dump` says that it is of another version.
async fn image_of_version(engine: &Engine, version: &str, name: &str) {
    let config = bollard::models::ContainerCreateBody {
        image: Some(IMAGE.into()),
        ..Default::default()
    };
    let created = engine.client.create_container(None, config).await.unwrap();
    let script = format!("#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    let added = archive.append_data(&mut header, "pg_dump", script.as_bytes());
    added.unwrap();
    let archive = archive.into_inner().unwrap();
    let options = UploadToContainerOptionsBuilder::new().path("/usr/lib/postgresql/17/bin");
    let body = bollard::body_full(archive.into());
    let uploaded = engine
        .client
        .upload_to_container(&created.id, Some(options.build()), body);
    uploaded.await.unwrap();
    let options = CommitContainerOptionsBuilder::new()
        .container(&created.id)
        .repo(name)
        .tag("latest");
    let committed = engine
        .client
        .commit_container(options.build(), ContainerConfig::default());
    committed.await.unwrap();
    engine.remove(&created.id).await;
}

#[tokio::test]
async fn programs_of_another_major_version_are_refused_before_anything() {
    let shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-version").await;
    for (version, fits) in [
        ("15.13 (Debian 15.13-1)", false),
        ("18beta1", false),
        ("17.0", true),
    ] {
        let image = "fleet-tests-other-version";
        image_of_version(&engine, version, image).await;
        let dumps = engine.dumps(&shelf, image);
        let checked = dumps.check_programs(false).await;
        let _ = engine
            .client
            .remove_image(image, None::<RemoveImageOptions>, None)
            .await;
        if fits {
            checked.unwrap();
            continue;
        }
        let error = checked.unwrap_err();
        let text = told(&error);
        assert!(matches!(error, SnapshotError::DoesNotFit { .. }), "{text}");
        for part in [
            version,
            "PostgreSQL 17",
            "`database.client_image: postgres:17`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    image_of_version(&engine, "16.1", "fleet-tests-older").await;
    let older = engine.dumps(&shelf, "fleet-tests-older");
    let error = older.create(&wanted(), &|_| ()).await.unwrap_err();
    assert!(
        matches!(error, SnapshotError::DoesNotFit { .. }),
        "{error:?}"
    );
    assert_eq!(shelf.files(), [""; 0]);
    let taken = shelf.create().await;
    let operation = new_id();
    let restored = older.restore(None, taken.id, operation, &|_| ()).await;
    for ended in [
        older.prove(taken.id, operation, &|_| ()).await,
        restored.map(|restored| restored.snapshot),
    ] {
        assert!(matches!(ended, Err(SnapshotError::DoesNotFit { .. })));
    }
    shelf.assert_no_scratch(operation).await;
    let _ = engine
        .client
        .remove_image("fleet-tests-older", None::<RemoveImageOptions>, None)
        .await;
    engine.assert_nothing_left().await;
}

#[tokio::test]
async fn an_image_that_is_not_here_is_only_fetched_when_it_is_needed() {
    let shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-no-client").await;
    let dumps = engine.dumps(&shelf, "127.0.0.1:9/nowhere");
    dumps.check_programs(false).await.unwrap();
    for error in [
        dumps.check_programs(true).await.unwrap_err(),
        dumps.create(&wanted(), &|_| ()).await.unwrap_err(),
    ] {
        let text = told(&error);
        for part in [
            "`127.0.0.1:9/nowhere`",
            "`docker load`",
            "`database.client_image`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    // One that is here, but has no such program.
    let dumps = engine.dumps(&shelf, "togather-base:bookworm");
    let error = dumps.create(&wanted(), &|_| ()).await.unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("start `pg_dump` of the image togather-base:bookworm"),
        "{text}"
    );
    assert_eq!(shelf.files(), [""; 0]);
    engine.assert_nothing_left().await;
}

#[tokio::test]
async fn a_killed_program_is_an_error_and_no_snapshot_and_the_next_run_succeeds() {
    let shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-killed").await;
    let dumps = engine.dumps(&shelf, IMAGE);
    let first = dumps.create(&wanted(), &|_| ()).await.unwrap();
    let operation = new_id();
    let first = dumps.prove(first.id, operation, &|_| ()).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    let locked = lock(&shelf).await;
    for removed in [false, true] {
        let wanted = wanted();
        let server = shelf.database.server;
        let kill = async {
            let id = engine.running(wanted.id).await.id.unwrap();
            until("it waits for the table", || async {
                server.waiting_for_a_lock(&shelf.database.name).await == 1
            })
            .await;
            match removed {
                true => engine.remove(&id).await,
                false => {
                    let killed = engine
                        .client
                        .kill_container(&id, None::<KillContainerOptions>);
                    killed.await.unwrap();
                }
            }
        };
        let (taken, ()) = tokio::join!(dumps.create(&wanted, &|_| ()), kill);
        let text = told(&taken.unwrap_err());
        let killed = text.starts_with("pg_dump ended with exit code 137 (it was killed)");
        // Docker may have forgotten it before it was asked.
        let unknown = text.starts_with("pg_dump could not be run: Docker did not say how");
        assert!(killed || removed && unknown, "{text}");
        let listed = dumps.list().await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&first), "verified as before");
        assert_eq!(shelf.files().len(), 4, "{:?}", shelf.files());
        engine.assert_nothing_left().await;
        // Nothing else would end it while the table is locked: it is out of the queue.
        assert_eq!(server.dumping(&shelf.database.name).await, 0);
    }
    drop(locked);
    let next = dumps.create(&wanted(), &|_| ()).await.unwrap();
    assert_eq!(dumps.list().await.unwrap(), [next, first]);
}

#[tokio::test]
async fn a_snapshot_given_up_takes_its_program_along() {
    let shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-given-up").await;
    let dumps = engine.dumps(&shelf, IMAGE);
    let (wanted, _locked) = (wanted(), lock(&shelf).await);
    tokio::select! {
        ended = dumps.create(&wanted, &|_| ()) => panic!("{ended:?}"),
        _ = engine.running(wanted.id) => {}
    }
    engine.assert_nothing_left().await;
    assert_eq!(dumps.list().await.unwrap(), [] as [Manifest; 0]);
}

#[tokio::test]
async fn what_a_killed_agent_left_is_found_by_the_next() {
    let shelf = Shelf::new().await;
    let (engine, other) = (
        Engine::new("fleet-tests-left").await,
        Engine::new("fleet-tests-neighbour").await,
    );
    let _locked = lock(&shelf).await;
    let (say, all) = (|_| (), wanted());
    for by_job in [true, false] {
        let (killed, wanted) = (engine.dumps(&shelf, IMAGE), wanted());
        let mut create = killed.create(&wanted, &say);
        let running = tokio::select! {
            ended = &mut create => panic!("{ended:?}"),
            running = engine.running(wanted.id) => running,
        };
        // Forgotten, it clears nothing up: as an agent that was killed.
        std::mem::forget(create);
        // Not those of programs that have ended: Docker may just be removing them.
        let theirs = running.id.unwrap();
        other.docker().remove_left_overs().await.unwrap();
        let next = engine.docker();
        next.end_one_shots(all.id).await.unwrap();
        let left = engine.containers().await;
        assert!(left.contains(&theirs), "{theirs} {left:?}");
        let again = engine.dumps(&shelf, IMAGE);
        match by_job {
            true => again.end_programs(wanted.id).await.unwrap(),
            false => Snapshots::remove_left_overs(&again).await.unwrap(),
        }
        assert_eq!(engine.containers().await, [""; 0]);
        assert_eq!(again.clear_away(wanted.id).await.unwrap(), None);
        assert_eq!(shelf.files(), [""; 0]);
    }
}

/// A database whose owner is no superuser, as nobody is one at RDS or Cloud SQL.
#[tokio::test]
async fn who_is_no_superuser_can_take_prove_and_restore() {
    let shelf = Shelf::new().await;
    let engine = Engine::new("fleet-tests-no-superuser").await;
    let server = shelf.database.server;
    let (owner, visitor, name) = ("elsewhere_owner", "elsewhere_visitor", "elsewhere");
    let mut admin = server.connect("togather").await;
    for statement in [
        format!("CREATE ROLE {owner} LOGIN CREATEDB CREATEROLE PASSWORD 'a:b\\c d'"),
        format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE template0"),
    ] {
        let run = sqlx::raw_sql(AssertSqlSafe(statement));
        run.execute(&mut admin).await.unwrap();
    }
    let url = format!(
        "postgres://{owner}:a%3Ab%5Cc%20d@127.0.0.1:{}/{name}",
        server.port
    );
    let postgres = Postgres::new(DatabaseSettings {
        url: SecretString::from(url.clone()),
        extensions: vec!["pg_trgm".to_owned()],
        elsewhere: true,
        ..shelf.database.settings()
    });
    let postgres = Arc::new(postgres.unwrap());
    postgres.create_extensions().await.unwrap();
    // What such a one may make by itself.
    let plain = EVERYTHING
        .replace("geography(Point, 4326)", "point")
        .replace(
            "ST_MakePoint(i % 90, i % 45)::geography",
            "point(i % 90, i % 45)",
        )
        .replace("vector(3)", "float8[]")
        .replace("::vector", "");
    let migrated = postgres
        .migrate(Line::App, &[migration(4, &plain)], &|_| ())
        .await;
    migrated.unwrap();
    let mut session = PgConnection::connect(&url).await.unwrap();
    let grant = format!("CREATE ROLE {visitor} LOGIN; GRANT SELECT ON days TO {visitor}");
    let grant = sqlx::raw_sql(AssertSqlSafe(grant));
    grant.execute(&mut session).await.unwrap();

    let dumps = engine.dumps_of(&postgres, &shelf, IMAGE);
    let taken = dumps.create(&wanted(), &|_| ()).await.unwrap();
    let operation = new_id();
    dumps.prove(taken.id, operation, &|_| ()).await.unwrap();
    postgres.drop_scratch(operation).await.unwrap();

    // As on a new server: no such role, and nothing but what the owner may do.
    let gone = format!("REVOKE ALL ON days FROM {visitor}; DROP ROLE {visitor}; DELETE FROM days");
    let gone = sqlx::raw_sql(AssertSqlSafe(gone));
    gone.execute(&mut session).await.unwrap();
    let job = new_id();
    dumps.restore(None, taken.id, job, &|_| ()).await.unwrap();
    let (beside, aside) = (scratch_name(job), replaced_name(name, job));
    postgres.swap(&beside, &aside).await.unwrap();
    let mut session = PgConnection::connect(&url).await.unwrap();
    let (rows, may): (i64, bool) = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT count(*), has_table_privilege('{visitor}', 'days', 'SELECT') FROM days"
    )))
    .fetch_one(&mut session)
    .await
    .unwrap();
    assert_eq!((rows, may), (10, true));

    // What a superuser made there, such a one cannot make again. The data comes back all the same.
    let mut admin = server.connect(name).await;
    let published = sqlx::raw_sql("CREATE PUBLICATION everything FOR ALL TABLES");
    published.execute(&mut admin).await.unwrap();
    let taken = dumps.create(&wanted(), &|_| ()).await.unwrap();
    let job = new_id();
    let restored = dumps.restore(None, taken.id, job, &|_| ()).await.unwrap();
    let told = restored.notes.join("; ");
    assert!(told.contains("publications were not restored"), "{told}");
    postgres.drop_scratch(job).await.unwrap();
    engine.assert_nothing_left().await;
}
