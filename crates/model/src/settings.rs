//! How a node wants to be deployed to: the `strategy` of its `deployment.yml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How patient, how strict and how careful deployments on a node are. Every field has a default;
/// the documented `deployment.yml` states each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Strategy {
    /// How long a new version may take to become healthy before it is given up.
    #[serde(with = "crate::span")]
    pub health_timeout: Duration,
    /// Time between two health questions.
    #[serde(with = "crate::span")]
    pub health_interval: Duration,
    /// How often in a row the new version must answer healthy, in its slot and again through the
    /// proxy. One lucky answer is not health.
    pub health_successes: u32,
    /// How long requests under way in the old slot may take to finish after the switch.
    #[serde(with = "crate::span")]
    pub drain: Duration,
    /// What becomes of the old slot after the switch.
    pub retire: Retire,
    /// How long the new version is watched before the deployment counts as done.
    #[serde(with = "crate::span")]
    pub soak: Duration,
    /// The share of requests (0 to 1) that may fail with a 5xx status during the soak.
    #[serde(deserialize_with = "share")]
    pub soak_error_rate: f64,
    /// The longest a health answer may take during the soak.
    #[serde(with = "crate::span")]
    pub soak_latency: Duration,
    /// Whether pending migrations first run on a scratch restore of the snapshot.
    pub rehearse: bool,
    /// How long one migration waits for a lock before it steps back and tries again, so that it
    /// never queues live traffic up behind itself for longer than this.
    #[serde(with = "crate::span")]
    pub lock_timeout: Duration,
    /// How often a migration that could not get its lock tries again.
    pub lock_retries: u32,
    /// How long taking and proving a snapshot may hold up a deployment.
    #[serde(with = "crate::span")]
    pub snapshot_timeout: Duration,
    /// Free disk in bytes that a deployment must find, on top of what the snapshot needs.
    pub min_disk_free: u64,
    /// Whether a release must carry an attestation by a key this node trusts.
    pub require_attestation: bool,
    /// How many earlier releases stay on the node for a rollback.
    pub keep_releases: u32,
}

/// Reads a share from 0 to 1: with 5, meant as per cent, no soak would ever fail.
fn share<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(from)?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(serde::de::Error::custom(format_args!(
        "expected a share from 0 to 1 such as `0.05` (five in a hundred), found `{share}`"
    )))
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            health_timeout: Duration::from_secs(60),
            health_interval: Duration::from_millis(250),
            health_successes: 3,
            drain: Duration::from_secs(10),
            retire: Retire::Stop,
            soak: Duration::from_secs(30),
            soak_error_rate: 0.05,
            soak_latency: Duration::from_secs(2),
            rehearse: true,
            lock_timeout: Duration::from_secs(3),
            lock_retries: 20,
            snapshot_timeout: Duration::from_secs(3600),
            min_disk_free: 1 << 30,
            require_attestation: false,
            keep_releases: 3,
        }
    }
}

/// What becomes of the old slot after the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retire {
    /// Stopped as soon as it is drained: two versions never work the same job queue for long.
    Stop,
    /// Left running, for services without background workers.
    Keep,
}
