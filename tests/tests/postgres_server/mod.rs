//! One real PostgreSQL for a test program, in a container of the node's own database image, and
//! programs run beside it. It is gone when the test program is, however that ends.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::{
    io::{ErrorKind, Result as Written},
    net::TcpListener,
    os::unix::process::CommandExt,
    pin::Pin,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use togather_agent::{
    containers::{ContainersError, Exec, Output, Process},
    database::{DatabaseSettings, Postgres, scratch_name},
    snapshots::Programs,
};
use togather_model::{Migration, Ulid};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    process::ChildStdin,
    sync::OnceCell,
};

/// Built by `docker build -t togather-database:17 deploy/docker/database`.
const IMAGE: &str = "togather-database:17";
pub(crate) const USER: &str = "togather";
pub(crate) const PASSWORD: &str = "s3cret-of-the-tests";

/// A container.
pub(crate) struct Server {
    pub(crate) container: String,
    pub(crate) port: u16,
}

/// The server of this test program; the first to ask starts it.
pub(crate) async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| Server::start(IMAGE, "", &[], &[]))
        .await
}

fn must_have_image() {
    let image = docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    image.unwrap_or_else(|e| {
        panic!("these tests need Docker and the image {IMAGE} (docker build -t {IMAGE} deploy/docker/database): {e}")
    });
}

/// A shell waits for the end of this program, which closes its standard input, and removes the
/// container then. In a group of its own, so that Ctrl-C does not end it first.
#[expect(
    clippy::zombie_processes,
    reason = "it outlives this program on purpose"
)]
fn remove_at_the_end(container: &str) {
    let waiter = Command::new("sh")
        .args([
            "-c",
            "read -r _; exec docker rm --force --volumes \"$0\"",
            container,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    std::mem::forget(waiter.stdin);
}

pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new("docker").args(arguments).output();
    let ran = ran.map_err(|e| format!("docker could not be run: {e}"))?;
    match ran.status.success() {
        true => Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()),
    }
}

impl Server {
    /// One of a test's own, that nobody else notices when it is killed. `name` tells it from the
    /// others; `options` are for `docker run`, `settings` for PostgreSQL.
    pub(crate) async fn own(name: &str, options: &[&str], settings: &[&str]) -> &'static Self {
        Box::leak(Box::new(Self::start(IMAGE, name, options, settings).await))
    }

    pub(crate) async fn start(
        image: &str,
        name: &str,
        options: &[&str],
        settings: &[&str],
    ) -> Self {
        if image == IMAGE {
            must_have_image();
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let container = format!("fleet-tests-postgres-{}{name}", std::process::id());
        remove_at_the_end(&container);
        let user = format!("POSTGRES_USER={USER}");
        let password = format!("POSTGRES_PASSWORD={PASSWORD}");
        let publish = format!("127.0.0.1:{port}:5432");
        let mut run = vec!["run", "--detach", "--name", &container];
        run.extend(["--env", &user, "--env", &password]);
        run.extend(["--env", "POSTGRES_DB=togather"]);
        run.extend(["--publish", &publish, "--shm-size", "128m"]);
        run.extend(options);
        run.extend([image, "postgres"]);
        for setting in ["fsync=off", "max_connections=200"].iter().chain(settings) {
            run.extend(["-c", setting]);
        }
        docker(&run).unwrap();
        let server = Self { container, port };
        server.is_up().await;
        server
    }

    async fn is_up(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while let Err(e) = PgConnection::connect(&self.url("togather")).await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the database did not come up: {e}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What there is to know of one that does not answer.
    fn logs(&self) -> String {
        let ran = Command::new("sh")
            .args([
                "-c",
                "docker ps --all --filter name=$0; docker logs --tail 30 $0 2>&1",
                &self.container,
            ])
            .output();
        String::from_utf8_lossy(&ran.unwrap().stdout).into_owned()
    }

    /// Begins the power cut of this container: nothing in it gets to say goodbye. Docker may only
    /// answer once what its programs had printed was read, so whoever reads that must not wait for it.
    pub(crate) fn crash(&self) -> tokio::process::Child {
        tokio::process::Command::new("docker")
            .args(["kill", &self.container])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Starts it again after this crash.
    pub(crate) async fn come_back(&self, mut crash: tokio::process::Child) {
        assert!(crash.wait().await.unwrap().success());
        // Docker starts nothing that it takes to be running still.
        let ended = tokio::process::Command::new("docker")
            .args(["wait", &self.container])
            .output();
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end\n{}", self.logs()));
        assert!(ended.unwrap().status.success());
        docker(&["start", &self.container]).unwrap();
        self.is_up().await;
    }

    /// Whether the container has this file.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        docker(&["exec", &self.container, "test", "-e", path]).is_ok()
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url(database)).await.unwrap()
    }

    /// The names of databases that begin like this.
    pub(crate) async fn databases(&self, prefix: &str) -> Vec<String> {
        let mut admin = self.connect("togather").await;
        sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)")
            .bind(prefix)
            .fetch_all(&mut admin)
            .await
            .unwrap()
    }

    /// Whether `pg_restore` is filling the scratch database of this job.
    pub(crate) async fn restoring(&self, job: Ulid) -> bool {
        let mut admin = self.connect("togather").await;
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 \
             AND application_name LIKE 'togather-pg_restore-%' AND query LIKE 'COPY %')",
        )
        .bind(scratch_name(job))
        .fetch_one(&mut admin)
        .await
        .unwrap()
    }

    /// How many sessions `pg_dump` has in this database.
    pub(crate) async fn dumping(&self, database: &str) -> i64 {
        let mut admin = self.connect("togather").await;
        let count = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = $1 AND application_name LIKE 'togather-pg_dump-%'";
        let count = sqlx::query_scalar(count).bind(database);
        count.fetch_one(&mut admin).await.unwrap()
    }

    /// How many sessions of `pg_dump` wait for a lock in this database.
    pub(crate) async fn waiting_for_a_lock(&self, database: &str) -> i64 {
        let mut admin = self.connect("togather").await;
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 \
                     AND application_name LIKE 'togather-pg_dump-%' AND wait_event_type = 'Lock'";
        let count = sqlx::query_scalar(count).bind(database);
        count.fetch_one(&mut admin).await.unwrap()
    }

    /// Begins to kill the program with this PGAPPNAME, as hard as it goes; not what it began itself,
    /// which notices. Docker may only answer once what the program had printed was read, so whoever
    /// reads that must not wait for the answer.
    pub(crate) fn kill(&self, application: &str) -> tokio::process::Child {
        let kill = "for p in /proc/[0-9]*; do \
                    grep -qs \"PGAPPNAME=$0\" $p/environ && \
                    grep -qs '^PPid:[[:space:]]*0$' $p/status && kill -9 ${p#/proc/}; done; true";
        tokio::process::Command::new("docker")
            .args(["exec", &self.container, "sh", "-c", kill, application])
            .spawn()
            .unwrap()
    }
}

/// A database of one test's own, and a session in it to look and meddle with.
pub(crate) struct TestDatabase {
    pub(crate) server: &'static Server,
    pub(crate) name: String,
    pub(crate) session: PgConnection,
}

impl TestDatabase {
    pub(crate) async fn new() -> Self {
        Self::on(server().await).await
    }

    pub(crate) async fn on(server: &'static Server) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut admin = server.connect("togather").await;
        let create = format!("CREATE DATABASE \"{name}\" TEMPLATE template0");
        sqlx::raw_sql(AssertSqlSafe(create))
            .execute(&mut admin)
            .await
            .unwrap();
        let session = server.connect(&name).await;
        Self {
            server,
            name,
            session,
        }
    }

    pub(crate) fn settings(&self) -> DatabaseSettings {
        DatabaseSettings {
            url: SecretString::from(self.server.url(&self.name)),
            extensions: ["postgis", "vector", "pg_trgm"].map(String::from).to_vec(),
            elsewhere: false,
            lock_timeout: Duration::from_millis(300),
            lock_retries: 2,
        }
    }

    pub(crate) fn postgres(&self) -> Postgres {
        Postgres::new(self.settings()).unwrap()
    }

    pub(crate) async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.session).await.unwrap();
    }

    pub(crate) async fn exists(&mut self, relation: &str) -> bool {
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(relation)
            .fetch_one(&mut self.session)
            .await
            .unwrap()
    }

    /// The bookkeeping as golang-migrate reads it.
    pub(crate) async fn bookkeeping(&mut self) -> Vec<(i64, bool)> {
        sqlx::query_as("SELECT version, dirty FROM public.schema_migrations")
            .fetch_all(&mut self.session)
            .await
            .unwrap()
    }
}

pub(crate) fn migration(version: u64, sql: &str) -> Migration {
    Migration {
        version,
        file: format!("{version:06}_test.up.sql"),
        sql: sql.into(),
    }
}

/// Programs in the container, by the `docker` command.
pub(crate) struct DockerExec(pub(crate) String);

#[async_trait]
impl Exec for DockerExec {
    async fn exec(
        &self,
        _: &str,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<Process, ContainersError> {
        let mut docker = tokio::process::Command::new("docker");
        docker.args(["exec", "--interactive"]);
        for (name, value) in environment {
            docker.arg("--env").arg(format!("{name}={value}"));
        }
        docker.arg(&self.0).args(command);
        docker
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |e: std::io::Error| ContainersError::Other(e.to_string());
        let mut child = docker.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (
            child.stdin.take().unwrap(),
            child.stdout.take().unwrap(),
            child.stderr.take().unwrap(),
        );
        let stdout = pieces(stdout).map(|bytes| bytes.map(Output::Stdout));
        let stderr = pieces(stderr).map(|bytes| bytes.map(Output::Stderr));
        let stdin = HalfOfAConnection(Arc::new(Mutex::new(Some(stdin))));
        let other_half = Arc::clone(&stdin.0);
        let output = futures::stream::select(stdout, stderr).inspect(move |_| {
            let _ = &other_half;
        });
        Ok(Process {
            stdin: Box::pin(stdin),
            output: output.boxed(),
            exit_code: Box::pin(async move {
                let status = child.wait().await.map_err(failed)?;
                Ok(i64::from(status.code().unwrap_or(-1)))
            }),
        })
    }
}

/// As at the Docker Engine, input and output are one connection: dropped without being shut down, the
/// input stays open for as long as anybody listens to the output, and the program waits for more.
struct HalfOfAConnection(Arc<Mutex<Option<ChildStdin>>>);

impl AsyncWrite for HalfOfAConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Written<usize>> {
        match &mut *self.0.lock().unwrap() {
            Some(stdin) => Pin::new(stdin).poll_write(cx, bytes),
            None => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Written<()>> {
        match &mut *self.0.lock().unwrap() {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Written<()>> {
        // A pipe is closed by letting go of it.
        self.0.lock().unwrap().take();
        Poll::Ready(Ok(()))
    }
}

fn pieces(
    pipe: impl tokio::io::AsyncRead + Send + Unpin + 'static,
) -> impl futures::Stream<Item = Result<bytes::Bytes, ContainersError>> + Send {
    futures::stream::try_unfold(pipe, |mut pipe| async move {
        let mut piece = vec![0; 64 << 10];
        let read = pipe.read(&mut piece).await;
        let read = read.map_err(|e| ContainersError::Other(e.to_string()))?;
        piece.truncate(read);
        Ok((read > 0).then(|| (bytes::Bytes::from(piece), pipe)))
    })
}

/// The error and its causes, as people get to see them.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Waits until this is true; fails with the text when it does not become so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What comes of it; fails when that takes far longer than it can.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(90), work).await;
    ended.unwrap_or_else(|_| panic!("{what} never ends"))
}

/// Programs that run in the database's container, by this.
pub(crate) fn shared(exec: impl Exec + 'static) -> Programs {
    Programs::InService {
        exec: Arc::new(exec),
        service: "database".into(),
    }
}
