//! Other programs, run to their end within a bound of time; a failure carries what they said.

use std::{
    ffi::{OsStr, OsString},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time,
};

/// How long an ordinary call may take.
const ORDINARY: Duration = Duration::from_secs(120);

/// One call of a program, not started yet.
#[derive(Debug)]
pub(crate) struct Call {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    within: Duration,
}

/// What a program that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call of `docker`.
pub(crate) fn docker<I: IntoIterator<Item: Into<OsString>>>(arguments: I) -> Call {
    Call::new("docker").args(arguments)
}

impl Call {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
            within: ORDINARY,
        }
    }

    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// What the program reads on its standard input; nothing, unless said.
    pub(crate) fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    pub(crate) fn within(mut self, bound: Duration) -> Self {
        self.within = bound;
        self
    }

    /// The program and its first arguments, for messages; the whole line can be a page long.
    pub(crate) fn shown(&self) -> String {
        let mut words: Vec<_> = std::iter::once(&self.program)
            .chain(&self.arguments)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        if words.len() > 12 {
            words.truncate(12);
            words.push("…".to_owned());
        }
        words.join(" ")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        command
    }

    /// Runs it and hands back how it ended, well or not.
    pub(crate) async fn ended(self) -> Result<Ended> {
        let shown = self.shown();
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let stdin = child.stdin.take();
        let input = self.input;
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A program that ends without reading everything tells why by its exit status.
                let _ = stdin.write_all(&input).await;
            }
        };
        let both = async { tokio::join!(child.wait_with_output(), feed).0 };
        let output = time::timeout(self.within, both)
            .await
            .with_context(|| format!("`{shown}` did not end within {:?}", self.within))?
            .with_context(|| format!("cannot follow `{shown}`"))?;
        Ok(Ended {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned(),
            stderr: String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        })
    }

    /// Runs it and hands back its standard output, without the last line end.
    ///
    /// # Errors
    /// It did not end well; the error ends with the last lines it wrote.
    pub(crate) async fn run(self) -> Result<String> {
        let shown = self.shown();
        let ended = self.ended().await?;
        if !ended.status.success() {
            let said = if ended.stderr.is_empty() {
                &ended.stdout
            } else {
                &ended.stderr
            };
            bail!(
                "`{shown}` failed ({}):\n{}",
                ended.status,
                last_lines(said, 30)
            );
        }
        Ok(ended.stdout)
    }

    /// Whether it ends well; what it says is left aside.
    pub(crate) async fn succeeds(self) -> Result<bool> {
        Ok(self.ended().await?.status.success())
    }

    /// Runs it and hands over each line of its standard output as it comes. What it says on
    /// standard error is kept for the end.
    pub(crate) async fn follow(self, mut line: impl FnMut(&str)) -> Result<Ended> {
        let shown = self.shown();
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("`{shown}` was started without its standard output and error");
        };
        let mut lines = BufReader::new(stdout).lines();
        let mut said = Vec::new();
        let reading = async {
            while let Some(text) = lines.next_line().await? {
                line(&text);
            }
            anyhow::Ok(())
        };
        let whole =
            async { tokio::try_join!(reading, async { Ok(stderr.read_to_end(&mut said).await?) }) };
        time::timeout(self.within, whole)
            .await
            .with_context(|| format!("`{shown}` did not end within {:?}", self.within))?
            .with_context(|| format!("cannot follow `{shown}`"))?;
        Ok(Ended {
            status: child.wait().await?,
            stdout: String::new(),
            stderr: String::from_utf8_lossy(&said).trim_end().to_owned(),
        })
    }

    /// Runs it on this terminal, with its input and output.
    pub(crate) async fn on_terminal(self) -> Result<ExitStatus> {
        let shown = self.shown();
        self.command()
            .status()
            .await
            .with_context(|| format!("cannot start `{shown}`"))
    }

    /// Runs it with its standard output as the other's standard input. Both must end well.
    pub(crate) async fn pipe_into(self, reader: Self) -> Result<()> {
        let shown = format!("{} | {}", self.shown(), reader.shown());
        let bound = self.within.max(reader.within);
        let mut from = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let Some(stream) = from.stdout.take() else {
            bail!("`{shown}`: the first program has no standard output");
        };
        let into = reader
            .command()
            .stdin(Stdio::from(stream.into_owned_fd()?))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let both = async { tokio::join!(from.wait_with_output(), into.wait_with_output()) };
        let (from, into) = time::timeout(bound, both)
            .await
            .with_context(|| format!("`{shown}` did not end within {bound:?}"))?;
        for output in [from?, into?] {
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!(
                    "`{shown}` failed ({}):\n{}",
                    output.status,
                    last_lines(&said, 30)
                );
            }
        }
        Ok(())
    }
}

/// The last lines of a text, which is where programs say what went wrong.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_carries_what_the_program_said() {
        let error = Call::new("sh")
            .args(["-c", "echo first >&2; echo the reason >&2; exit 3"])
            .run()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the reason") && error.contains('3'),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up() {
        let error = Call::new("tail")
            .args(["-f", "/dev/null"])
            .within(Duration::from_millis(50))
            .run()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
    }

    #[tokio::test]
    async fn input_reaches_the_program_and_output_comes_back() {
        let text = Call::new("cat")
            .input(vec![b'x'; 300_000])
            .run()
            .await
            .unwrap();
        assert_eq!(text.len(), 300_000);
    }

    #[tokio::test]
    async fn lines_are_handed_over_as_they_come_and_errors_are_kept() {
        let mut lines = Vec::new();
        let ended = Call::new("sh")
            .args(["-c", "echo one; echo why >&2; echo two; exit 4"])
            .follow(|line| lines.push(line.to_owned()))
            .await
            .unwrap();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(ended.status.code(), Some(4));
        assert_eq!(ended.stderr, "why");
    }

    #[tokio::test]
    async fn either_end_of_a_pipe_may_spoil_it() {
        let good = || Call::new("echo").arg("text");
        let bad = || Call::new("false");
        assert!(good().pipe_into(Call::new("cat")).await.is_ok());
        assert!(good().pipe_into(bad()).await.is_err());
        assert!(bad().pipe_into(Call::new("cat")).await.is_err());
    }
}
