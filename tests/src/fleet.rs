//! The fleet that tests share, one at a time.

mod changed;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    time::{Instant, sleep},
};

pub use self::changed::Changed;
use crate::program::{Program, Ran, checkout, programs};

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
    /// Waits for its turn, brings the fleet up if it is not, or anew if tests cannot use the one that
    /// is, and puts every node on [`BASE`].
    ///
    /// # Panics
    /// The fleet cannot be made whole.
    pub async fn take() -> Self {
        let fleet = Self {
            _turn: TURN.lock().await,
        };
        UP.get_or_init(|| fleet.bring_up()).await;
        fleet.put_on_base().await.ended_with(0);
        fleet
    }

    /// Brings the fleet up. One that is up already is used if these tests can use it; otherwise a
    /// fresh one takes its place.
    async fn bring_up(&self) {
        let up = || self.devfleet(&["up", "--nodes", "3"]);
        let ran = up().run().await;
        let why = match ran.code {
            0 => self.unfit().await,
            _ => Some(format!("it cannot be brought up ({})", last_line(&ran))),
        };
        let Some(why) = why else {
            return;
        };
        // Written past the test harness, which would keep it to itself.
        let told = writeln!(
            std::io::stderr(),
            "==> {why}: the fleet that is up is taken away with its data, and a fresh one brought up"
        );
        told.expect("standard error");
        self.devfleet(&["down"]).run().await.ended_with(0);
        up().run().await.ended_with(0);
    }

    /// Why these tests cannot use the fleet as it is.
    async fn unfit(&self) -> Option<String> {
        for node in NODES {
            self.put_back(node).await;
        }
        let status = self.status().await;
        let newest = newest_migration();
        let made_here = |version: &str| release_file(version).exists();
        if let Some(why) = unfit(&status, newest, made_here) {
            return Some(why);
        }
        let ran = self.put_on_base().await;
        let failed = ran.code != 0;
        failed.then(|| format!("release {BASE} cannot be rolled out ({})", last_line(&ran)))
    }

    /// Sees to it that every node serves [`BASE`], made from what its files say.
    async fn put_on_base(&self) -> Ran {
        let base = self.release(BASE, &[]).await;
        let is_base =
            |node: &Value| node["version"] == BASE && node["drift"] == Value::Array(vec![]);
        if self.status().await.values().all(is_base) {
            return Ran::default();
        }
        self.roll_out(&base, &["--nodes", "all"]).run().await
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
        let file = release_file(version);
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

    /// Takes a node away with its data, and brings it up again empty.
    ///
    /// # Panics
    /// It serves something afterwards.
    pub async fn empty(&self, node: &str) {
        let down = self.devfleet(&["down", node]);
        down.run().await.ended_with(0);
        let up = self.devfleet(&["up", "--nodes", "3"]);
        up.run().await.ended_with(0);
        assert_eq!(self.versions().await[node], "", "{node} is empty");
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

/// What a program complained of last.
fn last_line(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap_or_default()
}

/// Why a fleet with this status is not one that these tests can use. `newest`: the number of the
/// last migration there is; `made_here`: whether devfleet made the release of a version.
fn unfit(
    status: &BTreeMap<String, Value>,
    newest: u64,
    made_here: impl Fn(&str) -> bool,
) -> Option<String> {
    if !status.keys().eq(NODES) {
        let names: Vec<_> = status.keys().map(String::as_str).collect();
        return Some(format!("the nodes are {}", names.join(", ")));
    }
    status.iter().find_map(|(name, node)| {
        let version = node["version"].as_str().unwrap_or_default();
        if !version.is_empty() && !made_here(version) {
            return Some(format!(
                "{name} serves {version}, which devfleet did not make"
            ));
        }
        let schema = node["schema_version"].as_u64().unwrap_or_default();
        if schema > newest {
            return Some(format!(
                "{name} has schema {schema}; the last one here is {newest}"
            ));
        }
        let dirty = node["dirty"] == true;
        dirty.then(|| format!("the schema of {name} is dirty"))
    })
}

/// The number of the sample server's last migration.
fn newest_migration() -> u64 {
    let folder = checkout().join("crates/sample-server/migrations");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |file: std::fs::DirEntry| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.split('_').next()?.parse().ok()
    };
    files.filter_map(number).max().expect("migrations")
}

/// Where devfleet puts the release of this version.
fn release_file(version: &str) -> PathBuf {
    checkout().join(format!(".devfleet/releases/{version}.json"))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fleet(names: &[&str], node: &Value) -> BTreeMap<String, Value> {
        let nodes = names.iter().map(|name| ((*name).to_owned(), node.clone()));
        nodes.collect()
    }

    #[test]
    fn a_fleet_that_tests_cannot_use_is_told_from_one_they_can() {
        let why =
            |names: &[&str], node: Value| unfit(&fleet(names, &node), 4, |version| version == BASE);
        let empty = json!({"version": null, "schema_version": null, "dirty": false});
        assert_eq!(why(&NODES, empty.clone()), None);
        let ours = json!({"version": BASE, "schema_version": 4, "dirty": false});
        assert_eq!(why(&NODES, ours), None);
        let four = ["node-1", "node-2", "node-3", "node-4"];
        let told = why(&four, empty.clone()).unwrap();
        assert_eq!(told, "the nodes are node-1, node-2, node-3, node-4");
        assert!(why(&["node-1", "node-2"], empty).is_some());
        for other in [
            json!({"version": "7.0.0", "schema_version": 4, "dirty": false}),
            json!({"version": BASE, "schema_version": 5, "dirty": false}),
            json!({"version": BASE, "schema_version": 4, "dirty": true}),
        ] {
            assert!(why(&NODES, other.clone()).is_some(), "{other}");
        }
    }
}
