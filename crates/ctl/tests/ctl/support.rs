//! A fleet to try the program on: made by the program itself, with nodes that follow a script.

pub(crate) mod jobs;
pub(crate) mod node;
mod services;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{net::TcpListener, process::Child};

use self::node::FakeNode;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_togather-ctl");

/// How long anything that is awaited may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A fleet of scripted nodes named node-1, node-2, …, all serving 1.0.0.
pub(crate) struct Fleet {
    folder: tempfile::TempDir,
    pub(crate) nodes: Vec<FakeNode>,
}

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// Fails the test, showing everything that was said, unless the exit code is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless standard error says this.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "no `{words}` in:\n{}",
            self.stderr
        );
        self
    }

    /// Standard output, a JSON document a line.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let line = |line| serde_json::from_str(line).expect("a line of JSON");
        self.stdout.lines().map(line).collect()
    }
}

impl Fleet {
    /// A fleet of this many nodes, all listening.
    pub(crate) async fn of(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = Self {
            folder,
            nodes: Vec::new(),
        };
        fleet.ctl(&["init", "--operator", "alice"]).await.exits(0);
        for number in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let name = format!("node-{number}");
            let address = listener.local_addr().unwrap().to_string();
            fleet
                .ctl(&["node", "add", &name, "--address", &address])
                .await
                .exits(0);
            let bundle = fleet.path(&format!("nodes/{name}"));
            fleet.nodes.push(FakeNode::start(&bundle, listener));
        }
        fleet.release("2.0.0").await;
        fleet
    }

    /// A file beside the fleet file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a release file VERSION.json beside the fleet file.
    pub(crate) async fn release(&self, version: &str) -> PathBuf {
        let out = self.path(&format!("{version}.json"));
        let image = format!("registry.example/app@sha256:{}", "a".repeat(64));
        let commit = "c".repeat(40);
        let arguments = [
            "release",
            "create",
            "--version",
            version,
            "--commit",
            &commit,
        ];
        let more = ["--image", &image, "--out", out.to_str().unwrap()];
        self.ctl(&[&arguments[..], &more[..]].concat())
            .await
            .exits(0);
        out
    }

    /// Runs the program on this fleet, with nobody at the terminal.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> Answer {
        ctl(&self.path("fleet.yml"), arguments).await
    }

    /// `rollout --nodes all` of 2.0.0, answered with yes.
    pub(crate) async fn roll_out(&self, more: &[&str]) -> Answer {
        let (release, base) = (
            self.path("2.0.0.json"),
            ["rollout", "--nodes", "all", "--yes"],
        );
        let release = ["--release", release.to_str().unwrap()];
        self.ctl(&[&base[..], &release[..], more].concat()).await
    }

    /// The same in the background.
    pub(crate) fn roll_out_in_background(&self) -> Child {
        let release = self.path("2.0.0.json");
        let base = ["rollout", "--nodes", "all", "--yes", "--release"];
        self.ctl_in_background(&[&base[..], &[release.to_str().unwrap()]].concat())
    }

    /// Runs the program on this fleet in the background.
    pub(crate) fn ctl_in_background(&self, arguments: &[&str]) -> Child {
        tokio::process::Command::new(PROGRAM)
            .arg("--fleet")
            .arg(self.path("fleet.yml"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// The first rollout's id.
    pub(crate) fn rollout_id(&self) -> String {
        self.nodes[0].state().rollouts[0].rollout_id.clone()
    }

    /// The versions that the nodes serve, in order.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.nodes.iter().map(FakeNode::version).collect()
    }

    /// How many operations each node has been through, in order.
    pub(crate) fn operations(&self) -> Vec<usize> {
        self.nodes.iter().map(FakeNode::operations).collect()
    }

    /// Copies the operator's files to another place, as to another laptop.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let elsewhere = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let to = elsewhere.path().join(path.file_name().unwrap());
                std::fs::copy(&path, to).unwrap();
            }
        }
        elsewhere
    }
}

/// Runs the program with this fleet file.
pub(crate) async fn ctl(fleet: &Path, arguments: &[&str]) -> Answer {
    let running = tokio::process::Command::new(PROGRAM)
        .arg("--fleet")
        .arg(fleet)
        .args(arguments)
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, running).await;
    output.expect("the program takes too long").unwrap().into()
}

/// Presses Ctrl-C, and waits for what a program in the background then answers.
pub(crate) async fn interrupt(program: Child) -> Answer {
    let pid = program.id().unwrap().to_string();
    let mut kill = tokio::process::Command::new("kill");
    let killed = kill.args(["-INT", &pid]).status().await.unwrap();
    assert!(killed.success());
    program.wait_with_output().await.unwrap().into()
}

/// Waits until this is true.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
