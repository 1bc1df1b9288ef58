//! PostgreSQL's own programs, run inside the database's container and judged by their exit status.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use togather_model::Ulid;
use tokio::time::Instant;

use super::{Dumps, error::SnapshotError, store::Upload};
use crate::{
    containers::{ContainersError, Output, Process},
    database::Postgres,
};

/// How much of what a program complained of is kept: the end of it.
const COMPLAINTS: usize = 4096;
/// How often progress is told.
const PACE: Duration = Duration::from_secs(1);

/// A program under way. Given up, its database session is ended, and with it the program.
pub(super) struct Program {
    name: &'static str,
    output: BoxStream<'static, Result<Output, ContainersError>>,
    exit_code: BoxFuture<'static, Result<i64, ContainersError>>,
    abandoned: Abandoned,
}

pub(super) type Stdin = std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

impl Dumps {
    /// Starts one of PostgreSQL's programs as the agent's role, over the container's local socket:
    /// no password is needed there, so none is ever in an argument or environment.
    pub(super) async fn start(
        &self,
        name: &'static str,
        id: Ulid,
        arguments: &[&str],
    ) -> Result<(Stdin, Program), SnapshotError> {
        let application = format!("togather-{name}-{}", id.to_string().to_lowercase());
        let mut command = vec![name.to_owned(), "--no-password".to_owned()];
        command.push(format!("--username={}", self.database.user()));
        command.extend(arguments.iter().map(ToString::to_string));
        let environment = [("PGAPPNAME".to_owned(), application.clone())];
        let abandoned = Abandoned {
            database: Arc::clone(&self.database),
            application: Some(application),
        };
        let started = self.exec.exec(&self.service, &command, &environment).await;
        let Process {
            stdin,
            output,
            exit_code,
        } = started.map_err(|source| SnapshotError::Container {
            program: name,
            source,
        })?;
        let program = Program {
            name,
            output,
            exit_code,
            abandoned,
        };
        Ok((stdin, program))
    }
}

/// Where a program's standard output goes.
pub(super) enum Sink<'a> {
    /// Into the store, telling of it.
    Upload(&'a mut Upload, Progress<'a>),
    /// Into memory, up to a limit.
    Memory(&'a mut Vec<u8>, usize),
    /// Nowhere: it has nothing to say.
    Nowhere,
}

impl Program {
    /// Follows the program to its end. Only an exit code of 0 is a success: a program that was
    /// killed has closed its output as well.
    pub(super) async fn follow(mut self, mut sink: Sink<'_>) -> Result<(), SnapshotError> {
        let ran = self.run(&mut sink).await;
        match ran {
            Ok(()) | Err(SnapshotError::Program { .. }) => self.abandoned.is_over(),
            // Somebody else's fault: the program may still be at it.
            Err(_) => self.abandoned.end().await,
        }
        ran
    }

    async fn run(&mut self, sink: &mut Sink<'_>) -> Result<(), SnapshotError> {
        let program = self.name;
        let broken = |source| SnapshotError::Container { program, source };
        let mut complaints = Vec::new();
        while let Some(piece) = self.output.next().await {
            match piece.map_err(broken)? {
                Output::Stdout(bytes) => sink.take(program, &bytes).await?,
                Output::Stderr(bytes) => {
                    complaints.extend_from_slice(&bytes);
                    let surplus = complaints.len().saturating_sub(COMPLAINTS);
                    complaints.drain(..surplus);
                }
            }
        }
        let exit_code = (&mut self.exit_code).await.map_err(broken)?;
        if exit_code == 0 {
            return Ok(());
        }
        Err(SnapshotError::Program {
            program,
            exit_code,
            said: String::from_utf8_lossy(&complaints).trim().to_owned(),
        })
    }
}

impl Sink<'_> {
    async fn take(&mut self, program: &'static str, bytes: &[u8]) -> Result<(), SnapshotError> {
        match self {
            Self::Upload(upload, progress) => {
                upload.write(bytes).await?;
                progress.tell(upload.bytes());
                Ok(())
            }
            Self::Memory(memory, limit) => {
                if memory.len() + bytes.len() > *limit {
                    let limit = *limit;
                    return Err(SnapshotError::TooMuch { program, limit });
                }
                memory.extend_from_slice(bytes);
                Ok(())
            }
            Self::Nowhere => Ok(()),
        }
    }
}

/// Tells how much is done and how fast, from time to time.
pub(super) struct Progress<'a> {
    what: &'static str,
    total: Option<u64>,
    say: &'a (dyn Fn(String) + Send + Sync),
    begun: Instant,
    told: Instant,
}

impl<'a> Progress<'a> {
    /// `total`: how many bytes it will be, where that is known.
    pub(super) fn new(
        what: &'static str,
        total: Option<u64>,
        say: &'a (dyn Fn(String) + Send + Sync),
    ) -> Self {
        let now = Instant::now();
        Self {
            what,
            total,
            say,
            begun: now,
            told: now,
        }
    }

    pub(super) fn tell(&mut self, bytes: u64) {
        if self.told.elapsed() < PACE {
            return;
        }
        self.told = Instant::now();
        let mebibytes = bytes as f64 / f64::from(1 << 20);
        let rate = mebibytes / self.begun.elapsed().as_secs_f64();
        let of = self.total.map_or_else(String::new, |total| {
            format!(" of {:.1}", total as f64 / f64::from(1 << 20))
        });
        (self.say)(format!(
            "{} {mebibytes:.1}{of} MiB, {rate:.1} MiB/s",
            self.what
        ));
    }
}

/// Ends a program's database session when nobody waits for the program any more.
struct Abandoned {
    database: Arc<Postgres>,
    application: Option<String>,
}

impl Abandoned {
    fn is_over(&mut self) {
        self.application = None;
    }

    async fn end(&mut self) {
        if let Some(application) = self.application.take() {
            end_session(&self.database, &application).await;
        }
    }
}

async fn end_session(database: &Postgres, application: &str) {
    if let Err(error) = database.end_sessions(application).await {
        tracing::warn!(%error, "the session of {application} may still be open");
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let (Some(application), Ok(runtime)) = (
            self.application.take(),
            tokio::runtime::Handle::try_current(),
        ) {
            let database = Arc::clone(&self.database);
            runtime.spawn(async move { end_session(&database, &application).await });
        }
    }
}
