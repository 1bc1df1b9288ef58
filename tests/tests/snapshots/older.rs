//! An older PostgreSQL, 15 as Debian 12 has it: dumped with what it can, restored on a newer one, and
//! never given what a newer one wrote.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;
use togather_agent::{
    database::{Database, DatabaseSettings, Postgres, scratch_name},
    snapshots::{Dumps, SnapshotError, Snapshots},
};
use togather_model::Line;
use tokio::sync::OnceCell;
use url::Url;

use crate::{
    EVERYTHING, Shelf, new_id,
    postgres_server::{
        DockerExec, PASSWORD, Server, TestDatabase, USER, docker, migration, shared, told,
    },
    settings, wanted,
};

const IMAGE: &str = "togather-tests-postgres:15";
/// What `devfleet up` builds its images from; one of them is on every machine that has run it.
const BASES: [&str; 2] = ["debian:bookworm-slim", "togather-base:bookworm"];

/// A server whose database is made when the image is, so that it starts at once.
fn dockerfile(base: &str) -> String {
    format!(
        r#"
FROM {base}
RUN printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' \
      '/usr/lib/postgresql/*/lib/bitcode/*' '/usr/lib/postgresql/*/lib/llvmjit*' \
      '/usr/lib/*/libLLVM*' '/usr/lib/llvm-*' > /etc/dpkg/dpkg.cfg.d/small \
 && export DEBIAN_FRONTEND=noninteractive \
 && apt-get update \
 && apt-get install -y --no-install-recommends postgresql-common \
 && printf 'create_main_cluster = false\n' > /etc/postgresql-common/createcluster.conf \
 && apt-get install -y --no-install-recommends \
      postgresql-15 postgresql-15-postgis-3 postgresql-15-postgis-3-scripts \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && install -d -o postgres -g postgres -m 0700 /data
USER postgres
ENV PATH=/usr/lib/postgresql/15/bin:$PATH LANG=C.UTF-8 PGDATA=/data
RUN printf '%s\n' '{PASSWORD}' \
  | initdb --username {USER} --pwfile /dev/stdin --auth-local trust --auth-host scram-sha-256 \
      --encoding UTF8 --locale C.UTF-8 \
 && printf "listen_addresses = '*'\n" >> /data/postgresql.conf \
 && printf 'host all all all scram-sha-256\n' >> /data/pg_hba.conf \
 && printf 'CREATE DATABASE togather\n' | postgres --single postgres
"#
    )
}

/// Builds the image; what is built already costs nothing.
fn build() {
    let is_here = |base: &&str| docker(&["image", "inspect", base]).is_ok();
    let base = BASES.into_iter().find(is_here);
    let base = base.unwrap_or_else(|| panic!("one of {BASES:?} is needed; `devfleet up` makes it"));
    let mut build = Command::new("docker")
        .args(["build", "--quiet", "--tag", IMAGE, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = build.stdin.take().unwrap();
    stdin.write_all(dockerfile(base).as_bytes()).unwrap();
    drop(stdin);
    let built = build.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
}

async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            tokio::task::spawn_blocking(build).await.unwrap();
            Server::start(IMAGE, "-older", &[], &[]).await
        })
        .await
}

/// A database on the older server with all that it can hold, and its snapshots.
struct Older {
    postgres: Arc<Postgres>,
    dumps: Dumps,
    folder: PathBuf,
    database: TestDatabase,
    _keep: TempDir,
}

impl Older {
    async fn new() -> Self {
        let database = TestDatabase::on(server().await).await;
        let postgres = Postgres::new(DatabaseSettings {
            extensions: ["postgis", "pg_trgm"].map(String::from).to_vec(),
            ..database.settings()
        });
        let postgres = Arc::new(postgres.unwrap());
        postgres.create_extensions().await.unwrap();
        let everything = EVERYTHING
            .replace("meaning vector(3),", "")
            .replace(", ARRAY[i, 1, 2]::vector", "");
        // Newer servers hold that it is not null as a constraint as well.
        let domain = "CREATE DOMAIN word AS text NOT NULL CHECK (VALUE <> ''); \
                      ALTER TABLE places ADD COLUMN alias word DEFAULT 'none'";
        let migrations = [migration(4, &everything), migration(5, domain)];
        postgres
            .migrate(Line::App, &migrations, &|_| ())
            .await
            .unwrap();
        let keep = tempfile::tempdir().unwrap();
        let folder = keep.path().join("snapshots");
        let exec = shared(DockerExec(database.server.container.clone()));
        let dumps = Dumps::new(settings(&folder), exec, Arc::clone(&postgres)).unwrap();
        Self {
            postgres,
            dumps,
            folder,
            database,
            _keep: keep,
        }
    }
}

fn place(folder: &Path) -> Url {
    Url::from_directory_path(folder).unwrap()
}

#[tokio::test]
async fn what_an_older_server_holds_is_proven_there_and_restored_on_a_newer_one() {
    let older = Older::new().await;
    let taken = older.dumps.create(&wanted(), &|_| ()).await.unwrap();
    assert!(taken.server_version.starts_with("15"), "{taken:?}");
    let operation = new_id();
    let proven = older.dumps.prove(taken.id, operation, &|_| ()).await;
    assert!(proven.unwrap().verified_at.is_some());
    older.postgres.drop_scratch(operation).await.unwrap();

    let newer = Shelf::new().await;
    let job = new_id();
    let from = place(&older.folder);
    let restored = newer.dumps.restore(Some(&from), taken.id, job, &|_| ());
    assert_eq!(restored.await.unwrap().snapshot.rows["public.events"], 3000);
    let mut copy = newer.database.server.connect(&scratch_name(job)).await;
    let near: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM places WHERE alias = 'none' AND ST_DWithin(at, ST_MakePoint(1, 1)::geography, 10)",
    )
    .fetch_one(&mut copy)
    .await
    .unwrap();
    assert!(near > 0);
    drop(copy);
    newer.postgres.drop_scratch(job).await.unwrap();
}

#[tokio::test]
async fn what_a_newer_server_wrote_is_refused_by_an_older_one_before_anything_is_made() {
    let mut newer = Shelf::new().await;
    newer
        .database
        .run("CREATE ROLE newcomer; GRANT SELECT ON places TO newcomer")
        .await;
    let taken = newer.create().await;
    let mut older = Older::new().await;
    let job = new_id();
    let from = place(&newer.folder);
    let refused = older.dumps.restore(Some(&from), taken.id, job, &|_| ());
    let error = refused.await.unwrap_err();
    assert!(matches!(error, SnapshotError::TooNew { .. }), "{error:?}");
    let text = told(&error);
    for part in [
        &taken.dump,
        "PostgreSQL 17",
        "this server is 15",
        "at least as new",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let left = older.dumps.leftovers().await.unwrap();
    assert!(!left.contains(&job), "nothing was made");
    let newcomer = "SELECT count(*) FROM pg_roles WHERE rolname = 'newcomer'";
    let session = &mut older.database.session;
    let newcomers: i64 = sqlx::query_scalar(newcomer)
        .fetch_one(session)
        .await
        .unwrap();
    assert_eq!(newcomers, 0);
}
