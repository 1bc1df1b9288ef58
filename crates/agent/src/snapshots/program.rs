//! PostgreSQL's own programs, judged by their exit status.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use togather_model::Ulid;
use tokio::time::Instant;

use super::{Dumps, error::SnapshotError, upload::Upload};
use crate::{
    containers::{ContainersError, Output, Process},
    database::Postgres,
    progress::{Progress, Say},
};

/// How much of what a program complained of is kept: the end of it.
const COMPLAINTS: usize = 4096;
/// How often progress is told.
const PACE: Duration = Duration::from_secs(1);

/// A program under way. Unless it succeeds, its database session is ended, and with it what is left
/// of the program.
pub(super) struct Program {
    name: &'static str,
    output: BoxStream<'static, Result<Output, ContainersError>>,
    exit_code: BoxFuture<'static, Result<i64, ContainersError>>,
    abandoned: Abandoned,
}

pub(super) type Stdin = std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

impl Dumps {
    /// Starts one of PostgreSQL's programs as the agent's role. No password is ever in an argument
    /// or environment: over the local socket of the database's container none is needed, and
    /// elsewhere it is in a file.
    pub(super) async fn start(
        &self,
        name: &'static str,
        id: Ulid,
        arguments: &[&str],
    ) -> Result<(Stdin, Program), SnapshotError> {
        let mut command = vec![name.to_owned(), "--no-password".to_owned()];
        command.push(format!("--username={}", self.database.user()));
        command.extend(arguments.iter().map(ToString::to_string));
        self.launch(name, &command, id).await
    }

    /// Starts any program where PostgreSQL's run.
    pub(super) async fn launch(
        &self,
        name: &'static str,
        command: &[String],
        id: Ulid,
    ) -> Result<(Stdin, Program), SnapshotError> {
        let application = application(name, id);
        let abandoned = Abandoned {
            database: Arc::clone(&self.database),
            application: Some(application.clone()),
        };
        let started = self
            .programs
            .start(&self.database, name, command, application, id);
        let Process {
            stdin,
            output,
            exit_code,
        } = started.await?;
        let program = Program {
            name,
            output,
            exit_code,
            abandoned,
        };
        Ok((stdin, program))
    }
}

/// The programs that jobs run.
const PROGRAMS: [&str; 3] = ["pg_dump", "pg_dumpall", "pg_restore"];

/// The name under which a program's session is known to the server.
fn application(program: &str, id: Ulid) -> String {
    format!("togather-{program}-{}", id.to_string().to_lowercase())
}

impl Dumps {
    /// Ends the programs that an interruption of this job, or of this snapshot, left running.
    pub(super) async fn end_programs_of(&self, id: Ulid) -> Result<(), SnapshotError> {
        self.programs.end(id).await?;
        for program in PROGRAMS {
            let application = application(program, id);
            self.database.end_sessions(&application).await?;
        }
        self.remove_beside(id).await;
        Ok(())
    }
}

/// Where a program's standard output goes.
pub(super) enum Sink<'a> {
    /// Into the store, telling of it.
    Upload(&'a mut Upload, Meter<'a>),
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
            Ok(()) => self.abandoned.is_over(),
            // The program may still be at it. And the server only notices that a killed one is gone
            // once it has something to send: until then the session waits for its lock, with others
            // queueing behind it, and holds those it has.
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
pub(super) struct Meter<'a> {
    stage: &'static str,
    total: Option<u64>,
    say: Say<'a>,
    begun: Instant,
    told: Instant,
}

impl<'a> Meter<'a> {
    /// Tells that the stage begins. `total`: how many bytes it will be, where that is known.
    pub(super) fn new(stage: &'static str, total: Option<u64>, say: Say<'a>) -> Self {
        let now = Instant::now();
        say(Progress::stage(stage));
        Self {
            stage,
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
        (self.say)(Progress {
            message: self.stage.to_owned(),
            bytes_done: bytes,
            bytes_total: self.total,
            elapsed: self.begun.elapsed(),
        });
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
