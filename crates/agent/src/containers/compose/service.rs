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
pub(in crate::containers) struct Service {
    pub(in crate::containers) name: String,
    /// Always there for a base service; the app's comes with the release.
    pub(in crate::containers) image: Option<String>,
    pub(in crate::containers) command: Option<Vec<String>>,
    pub(in crate::containers) entrypoint: Option<Vec<String>>,
    pub(in crate::containers) environment: BTreeMap<String, String>,
    /// In Docker's own words, `source:/target[:ro]`, with the names volumes have in Docker.
    pub(in crate::containers) mounts: Vec<String>,
    pub(in crate::containers) ports: Vec<Port>,
    /// The names networks have in Docker.
    pub(in crate::containers) networks: Vec<String>,
    pub(in crate::containers) depends_on: BTreeSet<String>,
    pub(in crate::containers) healthcheck: Option<Healthcheck>,
    pub(in crate::containers) restart: Restart,
    /// Bytes.
    pub(in crate::containers) shm_size: Option<i64>,
    /// Bytes.
    pub(in crate::containers) mem_limit: Option<i64>,
    /// Billionths of one CPU.
    pub(in crate::containers) nano_cpus: Option<i64>,
    pub(in crate::containers) stop_grace_period: Option<Duration>,
    pub(in crate::containers) stop_signal: Option<String>,
    pub(in crate::containers) user: Option<String>,
    pub(in crate::containers) working_dir: Option<String>,
    pub(in crate::containers) logging: Option<Logging>,
    pub(in crate::containers) labels: BTreeMap<String, String>,
    pub(in crate::containers) read_only: bool,
    /// Path to options, for example `/tmp` to `size=64m`.
    pub(in crate::containers) tmpfs: BTreeMap<String, String>,
    pub(in crate::containers) cap_add: Vec<String>,
    pub(in crate::containers) cap_drop: Vec<String>,
    pub(in crate::containers) security_opt: Vec<String>,
    /// `name:address`.
    pub(in crate::containers) extra_hosts: Vec<String>,
    pub(in crate::containers) init: Option<bool>,
}

impl Service {
    /// How long it may take to stop before it is killed.
    pub(in crate::containers) fn grace(&self) -> Duration {
        self.stop_grace_period.unwrap_or(STOP_GRACE_PERIOD)
    }

    /// A fingerprint of all of it: two equal ones mean equal configurations. Secrets are in it only
    /// as part of the hash.
    ///
    /// # Errors
    /// Never in practice: every field is a text, a number or a map with texts as keys.
    pub(in crate::containers) fn fingerprint(&self) -> Result<Digest, serde_json::Error> {
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
pub(in crate::containers) struct Port {
    /// The host's address it is published on; all of them without one.
    pub(in crate::containers) ip: Option<IpAddr>,
    pub(in crate::containers) host: u16,
    /// Port and protocol, for example `5432/tcp`.
    pub(in crate::containers) container: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::containers) struct Healthcheck {
    /// In Docker's own words: `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub(in crate::containers) test: Option<Vec<String>>,
    pub(in crate::containers) interval: Option<Duration>,
    pub(in crate::containers) timeout: Option<Duration>,
    pub(in crate::containers) retries: Option<u32>,
    pub(in crate::containers) start_period: Option<Duration>,
}

/// When Docker starts a container again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(in crate::containers) enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    OnFailure {
        /// How often; 0 is without limit.
        retries: u32,
    },
}

#[derive(Debug, Clone, Serialize)]
pub(in crate::containers) struct Logging {
    pub(in crate::containers) driver: Option<String>,
    pub(in crate::containers) options: BTreeMap<String, String>,
}

/// A network or a volume.
#[derive(Debug, Clone)]
pub(in crate::containers) struct Resource {
    /// Its name in the file.
    pub(in crate::containers) key: String,
    /// Its name in Docker.
    pub(in crate::containers) name: String,
    pub(in crate::containers) driver: Option<String>,
    pub(in crate::containers) driver_opts: BTreeMap<String, String>,
    /// Made by somebody else; it must be there.
    pub(in crate::containers) external: bool,
}
