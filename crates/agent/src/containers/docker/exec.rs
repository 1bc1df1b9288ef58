//! Programs inside running containers: streamed, or run to their end.

use std::time::Duration;

use async_trait::async_trait;
use bollard::{
    container::LogOutput,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
    query_parameters::ContainerArchiveInfoOptionsBuilder,
};
use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{ContainersError, Exec, Finished, Output, Process},
    Docker,
    connection::has_status,
    refused,
    tail::Tail,
};

/// How much of a command's output is kept.
pub(super) const KEPT_OUTPUT: usize = 4 * 1024;

/// The largest piece of output that is passed on at once; Docker frames hold up to 32 KiB.
const PIECE: usize = 64 * 1024;

/// How long a program may go on after it closed its output, before its exit code is given up on.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// The longest pause between two looks at a program that is about to end.
const PAUSE: Duration = Duration::from_millis(20);

/// The live service comes first: what runs beside it gets the processor that nobody else wants. What
/// the server does for it has the server's own priority, and reads and writes the disk; `ionice` would
/// change nothing there.
const LATER: [&str; 3] = ["nice", "-n", "10"];

/// Into a pipe, C's library writes 4 KiB at a time, and Docker carries each piece through three more
/// processes: a dump of 92 MiB took 5.0 s, and in larger pieces 4.1 s, where 3.7 s was the least.
const IN_LARGE_PIECES: [&str; 3] = [STDBUF, "-o", "32K"];
/// Of the GNU core utilities; not in every image.
const STDBUF: &str = "/usr/bin/stdbuf";

#[async_trait]
impl Exec for Docker {
    async fn exec(
        &self,
        service: &str,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<Process, ContainersError> {
        let container = self.container_of(service).await?;
        let environment = environment.iter();
        let environment = environment.map(|(name, value)| format!("{name}={value}"));
        let program = command.first().map_or("", String::as_str);
        let pieces = match self.has_file(&container, STDBUF).await? {
            true => &IN_LARGE_PIECES[..],
            false => &[],
        };
        let before = LATER.iter().chain(pieces).map(ToString::to_string);
        let command: Vec<String> = before.chain(command.iter().cloned()).collect();
        self.attach(&container, program, &command, environment.collect(), true)
            .await
    }
}

impl Docker {
    /// Whether the container is known to have this file.
    async fn has_file(&self, container: &str, path: &str) -> Result<bool, ContainersError> {
        let client = self.client().await?;
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let found = client
            .get_container_archive_info(container, Some(options))
            .await;
        if let Err(error) = &found
            && !has_status(error, 404)
        {
            // It only saves time, so whatever this is must not keep the program from running.
            tracing::debug!(%error, path, "not looked for");
        }
        Ok(found.is_ok())
    }

    /// Starts a program in this container.
    async fn attach(
        &self,
        container: &str,
        program: &str,
        command: &[String],
        environment: Vec<String>,
        with_input: bool,
    ) -> Result<Process, ContainersError> {
        let client = self.client().await?;
        let program = program.to_owned();
        let config = ExecConfig {
            attach_stdin: Some(with_input),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            env: Some(environment),
            cmd: Some(command.to_vec()),
            ..ExecConfig::default()
        };
        let created = client.create_exec(container, config).await;
        let id = created
            .map_err(|e| refused(format!("run `{program}` in {container}"), e))?
            .id;
        let options = StartExecOptions {
            output_capacity: Some(PIECE),
            ..StartExecOptions::default()
        };
        let started = client.start_exec(&id, Some(options)).await;
        let started =
            started.map_err(|e| refused(format!("start `{program}` in {container}"), e))?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(ContainersError::Stream { program });
        };
        Ok(Process {
            stdin: input,
            output: pieces(output, program.clone()),
            exit_code: exit_code(client, id, program).boxed(),
        })
    }

    /// Runs a program to its end.
    pub(super) async fn run(
        &self,
        container: &str,
        command: &[String],
        limit: Duration,
    ) -> Result<Finished, ContainersError> {
        let program = command.first().map_or("", String::as_str);
        let mut process = self
            .attach(container, program, command, Vec::new(), false)
            .await?;
        let mut tail = Tail::of(KEPT_OUTPUT);
        let finished = timeout(limit, async {
            while let Some(piece) = process.output.next().await {
                match piece? {
                    Output::Stdout(bytes) | Output::Stderr(bytes) => tail.push(&bytes),
                }
            }
            process.exit_code.await
        });
        match finished.await {
            Ok(exit_code) => Ok(Finished {
                exit_code: exit_code?,
                output: tail.text(),
            }),
            Err(_) => Err(ContainersError::TookTooLong {
                command: command.join(" "),
                limit,
                output: tail.text(),
            }),
        }
    }
}

/// What a program prints, as it comes from the Engine.
pub(super) fn pieces(
    output: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
    program: String,
) -> BoxStream<'static, Result<Output, ContainersError>> {
    let pieces = output.map(move |piece| match piece {
        Ok(LogOutput::StdOut { message }) => Ok(Output::Stdout(message)),
        Ok(LogOutput::StdErr { message }) => Ok(Output::Stderr(message)),
        // Only a stream that broke off in the middle of a piece has anything else.
        Ok(LogOutput::Console { .. } | LogOutput::StdIn { .. }) => Err(ContainersError::Stream {
            program: program.clone(),
        }),
        Err(error) => Err(refused(format!("read what `{program}` prints"), error)),
    });
    pieces.boxed()
}

/// Waits until the program is gone. Docker closes the streams a moment before it knows the code.
async fn exit_code(
    client: bollard::Docker,
    id: String,
    program: String,
) -> Result<i64, ContainersError> {
    let deadline = Instant::now() + LINGER;
    // Mostly it is known within a millisecond or two.
    let mut pause = Duration::from_millis(1);
    loop {
        let state = client.inspect_exec(&id).await;
        let state = state.map_err(|e| refused(format!("say how `{program}` ended"), e))?;
        if let (Some(false), Some(code)) = (state.running, state.exit_code) {
            return Ok(code);
        }
        if Instant::now() > deadline {
            return Err(ContainersError::StillRunning {
                program,
                waited: LINGER,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE);
    }
}
