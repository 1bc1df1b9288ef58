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
}

impl Service {
    /// How long it may take to stop before it is killed.
    pub fn grace(&self) -> Duration {
        self.stop_grace_period.unwrap_or(STOP_GRACE_PERIOD)
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

/// How Docker finds out whether a service is well. What is not said is the image's, or Docker's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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

/// Where a service's output goes.
#[derive(Debug, Clone, Serialize)]
pub struct Logging {
    /// Docker's logging driver.
    pub driver: Option<String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// A network or a volume.
#[derive(Debug, Clone)]
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
}
