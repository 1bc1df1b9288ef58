//! What a Compose file means once every value is filled in: the shapes that the engine is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    time::Duration,
};

use serde::Serialize;
use togather_model::Digest;

/// The time a service has to stop, when the file does not say: Docker's own default.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// One service. Its `Debug` shows neither environment nor commands, which may hold secrets.
#[derive(Clone, Serialize)]
pub struct Service {
    /// Its name in the file.
    pub name: String,
    /// Always there for a base service; the app's comes with the release.
    pub image: Option<String>,
    /// The arguments, or the program and its arguments.
    pub command: Option<Vec<String>>,
    /// What is run before `command`.
    pub entrypoint: Option<Vec<String>>,
    /// Names to values.
    pub environment: BTreeMap<String, String>,
    /// In Docker's own words, `source:/target[:ro]`, with the names volumes have in Docker.
    pub mounts: Vec<String>,
    /// What is published.
    pub ports: Vec<Port>,
    /// The names networks have in Docker.
    pub networks: Vec<String>,
    /// The services that start before it.
    pub depends_on: BTreeSet<String>,
    /// How Docker finds out whether it is well.
    pub healthcheck: Option<Healthcheck>,
    /// When Docker starts it again.
    pub restart: Restart,
    /// Bytes.
    pub shm_size: Option<i64>,
    /// Bytes.
    pub mem_limit: Option<i64>,
    /// Billionths of one CPU.
    pub nano_cpus: Option<i64>,
    /// How long it may take to stop.
    pub stop_grace_period: Option<Duration>,
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// As whom it runs.
    pub user: Option<String>,
    /// Where it runs.
    pub working_dir: Option<String>,
    /// Where its output goes.
    pub logging: Option<Logging>,
    /// Labels of its container.
    pub labels: BTreeMap<String, String>,
    /// Whether its file system is read-only.
    pub read_only: bool,
    /// Path to options, for example `/tmp` to `size=64m`.
    pub tmpfs: BTreeMap<String, String>,
    /// Capabilities it has besides Docker's.
    pub cap_add: Vec<String>,
    /// Capabilities it has not.
    pub cap_drop: Vec<String>,
    /// Options such as `no-new-privileges:true`.
    pub security_opt: Vec<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// Whether a small init is its first process.
    pub init: Option<bool>,
    // What follows is left out of the fingerprint while it says nothing: containers that were made
    // before the agent knew these keys do not differ from their file.
    /// Its container's name, if it is not the project's and the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The name it has for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Besides its own name, what it is called in a network; by the networks' names in Docker.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Vec<String>>,
    /// By the kernel's names for them, such as `nofile`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// How many processes it may have; -1 is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// For which machine its image must be, for example `linux/arm64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When its image is pulled.
    #[serde(skip_serializing_if = "PullPolicy::is_default")]
    pub pull_policy: PullPolicy,
}

/// In a text, what stands for the value of this name until it is known. No file can hold it.
pub(crate) fn awaiting(name: &str) -> String {
    format!("\0{name}\0")
}

impl Service {
    /// The name of its container, if it is a base service.
    #[must_use]
    pub fn container(&self, project: &str) -> String {
        let own = self.container_name.clone();
        own.unwrap_or_else(|| format!("{project}-{}", self.name))
    }

    /// How long it may take to stop before it is killed.
    pub fn grace(&self) -> Duration {
        self.stop_grace_period.unwrap_or(STOP_GRACE_PERIOD)
    }

    /// The names whose values are known only when the container is made.
    #[must_use]
    pub fn awaits(&self) -> BTreeSet<&str> {
        let values = self.environment.values();
        values
            // Every second part stands between two marks.
            .flat_map(|value| value.split('\0').skip(1).step_by(2))
            .collect()
    }

    /// Fills in a value that was not known before.
    pub fn fill_in(&mut self, name: &str, value: &str) {
        let mark = awaiting(name);
        for text in self.environment.values_mut() {
            *text = text.replace(&mark, value);
        }
    }

    /// A fingerprint of all of it: two equal ones mean equal configurations. Secrets are in it only
    /// as part of the hash.
    ///
    /// # Errors
    /// Never in practice: every field is a text, a number or a map with texts as keys.
    pub fn fingerprint(&self) -> Result<Digest, serde_json::Error> {
        serde_json::to_vec(self).map(|bytes| Digest::of(&bytes))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The host's address it is published on; all of them without one.
    pub ip: Option<IpAddr>,
    /// The host's port.
    pub host: u16,
    /// Port and protocol, for example `5432/tcp`.
    pub container: String,
}

/// How Docker finds out whether a service is well. What is not said is the image's, or Docker's own. Its
/// `Debug` shows no command, which may hold secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// In Docker's own words: `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub test: Option<Vec<String>>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// So many failures in a row are bad.
    pub retries: Option<u32>,
    /// Failures count only after this.
    pub start_period: Option<Duration>,
}

/// When Docker starts a container again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Whenever it ended.
    Always,
    /// Whenever it ended, unless somebody stopped it.
    UnlessStopped,
    /// When it failed.
    OnFailure {
        /// How often; 0 is without limit.
        retries: u32,
    },
}

/// When a base service's image is pulled, if its container is to be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When it is not on the node.
    #[default]
    Missing,
    /// Always: a tag may have moved.
    Always,
    /// Never: it must be there.
    Never,
}

impl PullPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of the kernel. -1 is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// What holds at first.
    pub soft: i64,
    /// Up to which the service itself may raise it.
    pub hard: i64,
}

/// Where a service's output goes. Its `Debug` shows no options, which may hold secrets.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Logging {
    /// Docker's logging driver.
    pub driver: Option<String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// A network or a volume. Its `Debug` shows no options, which may hold secrets (`o: password=…`).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Its name in the file.
    pub key: String,
    /// Its name in Docker.
    pub name: String,
    /// Docker's driver for it.
    pub driver: Option<String>,
    /// The driver's options.
    pub driver_opts: BTreeMap<String, String>,
    /// Made by somebody else; it must be there.
    pub external: bool,
    /// A network without a way out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
}

impl fmt::Debug for Healthcheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Healthcheck")
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("start_period", &self.start_period)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("key", &self.key)
            .field("name", &self.name)
            .field("driver", &self.driver)
            .field("external", &self.external)
            .field("internal", &self.internal)
            .finish_non_exhaustive()
    }
}
