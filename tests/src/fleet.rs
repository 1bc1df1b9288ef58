//! The fleet that tests share, one at a time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    time::{Instant, sleep},
};

use crate::program::{Program, checkout, programs};

/// The nodes of the fleet.
pub const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// What every node runs when a test begins.
pub const BASE: &str = "1.0.0-test";

static TURN: Mutex<()> = Mutex::const_new(());
static UP: OnceCell<()> = OnceCell::const_new();

/// The fleet, whole and on [`BASE`]; nobody else touches it until this is dropped. If the test
/// fails meanwhile, the nodes' logs are printed.
#[derive(Debug)]
pub struct Fleet {
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Waits for its turn, brings the fleet up if it is not, and puts every node on [`BASE`].
    ///
    /// # Panics
    /// The fleet cannot be made whole.
    pub async fn take() -> Self {
        let fleet = Self {
            _turn: TURN.lock().await,
        };
        UP.get_or_init(|| async {
            fleet
                .devfleet(&["up", "--nodes", "3"])
                .run()
                .await
                .ended_with(0);
        })
        .await;
        let base = fleet.release(BASE, &[]).await;
        if fleet
            .versions()
            .await
            .values()
            .any(|version| version != BASE)
        {
            fleet
                .roll_out(&base, &["--nodes", "all"])
                .run()
                .await
                .ended_with(0);
        }
        fleet
    }

    /// A call of `togather-ctl` on this fleet.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Program {
        self.ctl_with(&fleet_file(), arguments)
    }

    /// A call of `togather-ctl` with another fleet file.
    #[must_use]
    pub fn ctl_with(&self, fleet_file: &Path, arguments: &[&str]) -> Program {
        Program::named("togather-ctl")
            .args(["--fleet".into(), fleet_file.as_os_str().to_owned()])
            .args(arguments)
    }

    /// A rollout of this release without soak, said yes to, followed as JSON lines.
    #[must_use]
    pub fn roll_out(&self, release: &Path, arguments: &[&str]) -> Program {
        self.ctl(&[
            "--output",
            "json",
            "rollout",
            "--yes",
            "--soak",
            "0s",
            "--release",
        ])
        .args([release])
        .args(arguments)
    }

    /// A call of `devfleet`.
    #[must_use]
    pub fn devfleet(&self, arguments: &[&str]) -> Program {
        Program::named("devfleet")
            .folder(&checkout())
            .args(arguments)
    }

    /// A command inside a node.
    #[must_use]
    pub fn on_node(&self, node: &str, command: &[&str]) -> Program {
        self.devfleet(&["exec", node, "--"]).args(command)
    }

    /// Makes a release of the sample server; further arguments break it on purpose.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn release(&self, version: &str, arguments: &[&str]) -> PathBuf {
        let file = checkout().join(format!(".devfleet/releases/{version}.json"));
        if !file.exists() {
            let made = self
                .devfleet(&["release", version])
                .args(arguments)
                .run()
                .await;
            made.ended_with(0);
        }
        file
    }

    /// What `status --output json` says of each node.
    ///
    /// # Panics
    /// It says nothing readable.
    pub async fn status(&self) -> BTreeMap<String, Value> {
        let ran = self.ctl(&["--output", "json", "status"]).run().await;
        let nodes = ran.json()["nodes"].as_array().cloned();
        nodes
            .expect("a list of nodes")
            .into_iter()
            .map(|node| (node["name"].as_str().unwrap_or_default().to_owned(), node))
            .collect()
    }

    /// The version that each node serves; empty where none is.
    pub async fn versions(&self) -> BTreeMap<String, String> {
        let text = |node: &Value| node["version"].as_str().unwrap_or_default().to_owned();
        let status = self.status().await;
        status
            .iter()
            .map(|(name, node)| (name.clone(), text(node)))
            .collect()
    }

    /// Checks that every node serves this version, healthy, with nothing under way, held or adrift.
    ///
    /// # Panics
    /// One does not.
    pub async fn assert_all_on(&self, version: &str) {
        let status = self.status().await;
        assert_eq!(status.len(), NODES.len());
        for (name, node) in status {
            assert_eq!(node["version"], version, "{name}: {node:#}");
            assert_eq!(node["health"]["status"], "healthy", "{name}: {node:#}");
            assert_eq!(node["running"], Value::Null, "{name}: {node:#}");
            assert_eq!(node["lease"], Value::Null, "{name}: {node:#}");
            assert_eq!(node["drift"], Value::Array(vec![]), "{name}: {node:#}");
        }
    }

    /// Waits until this is true of the fleet's status.
    ///
    /// # Panics
    /// It does not become true in time.
    pub async fn until(&self, what: &str, is_so: impl Fn(&BTreeMap<String, Value>) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status().await;
            if is_so(&status) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{what} did not come true: {status:#?}"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in NODES {
            let logs = Command::new(programs().join("devfleet"))
                .args(["logs", node, "--lines", "80"])
                .current_dir(checkout())
                .output();
            match logs {
                Ok(logs) => eprintln!("{}", String::from_utf8_lossy(&logs.stdout)),
                Err(error) => eprintln!("{node}: no logs: {error}"),
            }
        }
    }
}

/// The fleet file that `devfleet up` writes.
#[must_use]
pub fn fleet_file() -> PathBuf {
    checkout().join(".devfleet/fleet.yml")
}

/// The events of this name among a rollout's lines.
#[must_use]
pub fn events<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == name).collect()
}
