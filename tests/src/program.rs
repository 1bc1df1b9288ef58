//! The project's programs, run as a user runs them.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long any one call may take; a rollout of three nodes takes a small part of it.
const LONGEST: Duration = Duration::from_secs(300);

/// A program to be run.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
}

impl Program {
    /// A program of this workspace: from `TOGATHER_PROGRAMS`, or from where cargo put it beside
    /// the tests.
    ///
    /// # Panics
    /// It has not been built.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let path = programs().join(name);
        assert!(
            path.is_file(),
            "{} is missing: build the programs first (`make test` does)",
            path.display()
        );
        Self::at(path)
    }

    /// The program at this path, or of this name on the search path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
        }
    }

    /// The same with these arguments too.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The same with this value in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same, run in this folder.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// It cannot be started, or takes longer than any call may.
    pub async fn run(self) -> Ran {
        let shown = format!("{self}");
        let running = self.start();
        let output = timeout(LONGEST, running.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("`{shown}` did not end within {LONGEST:?}"))
            .unwrap_or_else(|error| panic!("`{shown}` could not be followed: {error}"));
        Ran::new(shown, output)
    }

    /// Starts it and hands it over; it is killed when dropped.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(self) -> Child {
        self.start_reading(Stdio::null())
    }

    /// The same, of a program that waits to be told something on its standard input.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_listening(self) -> Child {
        self.start_reading(Stdio::piped())
    }

    fn start_reading(self, stdin: Stdio) -> Child {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
            .spawn()
            .unwrap_or_else(|error| panic!("`{self}` could not be started: {error}"))
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.path.file_name().unwrap_or_default();
        write!(f, "{}", name.display())?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {}", argument.display()))
    }
}

/// A program that ran to its end; the default is one that had nothing to do.
#[derive(Debug, Default)]
pub struct Ran {
    shown: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// What became of a child that was started.
    #[must_use]
    pub fn new(shown: String, output: Output) -> Self {
        Self {
            shown,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// It is another one; with everything the program said.
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "`{}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown, self.code, self.stdout, self.stderr
        );
        self
    }

    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// It is something else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "`{}` did not print one JSON document: {error}\n{}\n{}",
                self.shown, self.stdout, self.stderr
            )
        })
    }

    /// Standard output as JSON, a document a line.
    ///
    /// # Panics
    /// A line is something else.
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("`{}` printed `{line}`: {error}", self.shown))
        };
        self.stdout.lines().map(read).collect()
    }

    /// Checks that the complaint contains these words.
    ///
    /// # Panics
    /// It does not.
    pub fn saying(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "`{}` does not say `{words}`:\n{}",
            self.shown,
            self.stderr
        );
        self
    }
}

/// Where the workspace's programs are: beside the test programs' own folder.
#[must_use]
pub fn programs() -> PathBuf {
    if let Some(folder) = env::var_os("TOGATHER_PROGRAMS") {
        return folder.into();
    }
    let own = env::current_exe().unwrap_or_default();
    let deps = own.parent().unwrap_or(Path::new("."));
    deps.parent().unwrap_or(deps).to_owned()
}

/// The checkout these tests belong to.
#[must_use]
pub fn checkout() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
