//! `agent.yml`: who this node is, where it listens, whom it believes, where it keeps things.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use togather_model::Ulid;
use togather_trust::Name;
use url::Url;

use super::{ConfigError, RegistrySettings, read};
use crate::schedule::Cron;

/// The port agents listen on.
const PORT: u16 = 7443;

/// `agent.yml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// Who this node is; commands for another are refused.
    pub node: Identity,
    /// The fleet's id; commands for another are refused.
    pub fleet: Ulid,
    /// Where the agent listens.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// What the agent shows, and whom it lets connect.
    #[serde(default)]
    pub tls: TlsFiles,
    /// Whose signatures count.
    #[serde(default = "default_signers")]
    pub signers: PathBuf,
    /// Who may do what.
    #[serde(default = "default_roles")]
    pub roles: PathBuf,
    /// Keys that sign nothing any more.
    #[serde(default)]
    pub revoked_keys: Option<PathBuf>,
    /// The folder of what the node remembers.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// Where snapshots go.
    #[serde(default)]
    pub snapshots: SnapshotStore,
    /// How registries are logged in to.
    #[serde(default)]
    pub registries: RegistrySettings,
    /// Where metrics are told.
    #[serde(default)]
    pub metrics: MetricsSettings,
    /// What the node is for; it chooses `.env.production`, `.env.staging` or `.env.development`.
    #[serde(default)]
    pub environment: Environment,
    /// Which overlay in `providers/` applies.
    #[serde(default = "default_provider")]
    pub provider: Provider,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// To develop on.
    Development,
    /// To try releases on.
    Staging,
    /// For the public.
    #[default]
    Production,
}

impl Environment {
    /// Its name, as `agent.yml` says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// The name of the file with the app's environment and secrets.
    #[must_use]
    pub fn file(self) -> String {
        format!(".env.{}", self.as_str())
    }
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its name in the fleet file.
    pub name: Name,
    /// Its id; a node that is enrolled again gets a new one.
    pub id: Ulid,
}

/// The files of mutual TLS, all PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// The fleet's certificate authority.
    pub authority: PathBuf,
    /// The node's certificate.
    pub certificate: PathBuf,
    /// Its key. Unset: the credential `node.key` that systemd hands over, or `tls/node.key`.
    pub key: Option<PathBuf>,
    /// The authority's list of withdrawn certificates.
    pub revocation_list: Option<PathBuf>,
}

/// Where snapshots go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotStore {
    /// `file:///…`, `s3://bucket/prefix`, `gs://…` or `az://…`.
    pub store: Url,
    /// When one is taken, as cron writes it, UTC; `null`: never by itself.
    pub schedule: Option<Cron>,
    /// When the newest one is proven, if it is not yet.
    pub verify: Option<Cron>,
    /// When those are forgotten that nothing asks to keep.
    pub prune: Option<Cron>,
    /// Each of these begins up to this much later, so that nodes do not all begin at once.
    #[serde(with = "togather_model::span")]
    pub jitter: Duration,
    /// The node's status says so when the last verified one is older than this.
    #[serde(with = "togather_model::span")]
    pub overdue_after: Duration,
    /// How many bytes may wait on the node's own disk while the store takes none.
    pub spool: u64,
}

/// Where metrics are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// The address at which `GET /metrics` is answered, to everybody who can reach it; unset: nowhere.
    pub listen: Option<SocketAddr>,
}

/// A provider's name; it becomes a file's name, so it is a [`Name`].
pub(super) type Provider = Name;

impl AgentFile {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        serde_saphyr::from_str(&text).map_err(|error| ConfigError::yaml(path, &text, &error))
    }

    /// The same, with every relative path taken from this folder.
    pub(super) fn within(self, folder: &Path) -> Self {
        let at = |path: PathBuf| folder.join(path);
        let key = self.tls.key.unwrap_or_else(default_key);
        Self {
            tls: TlsFiles {
                authority: at(self.tls.authority),
                certificate: at(self.tls.certificate),
                key: Some(at(key)),
                revocation_list: self.tls.revocation_list.map(at),
            },
            signers: at(self.signers),
            roles: at(self.roles),
            revoked_keys: self.revoked_keys.map(at),
            state: at(self.state),
            registries: self.registries.within(folder),
            ..self
        }
    }
}

impl SnapshotStore {
    /// The first key whose value would make the node do what nobody means, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if self.overdue_after.is_zero() {
            let problem = "expected a span of time such as `48h`: with `0s` snapshots would always be overdue";
            return Some(("snapshots.overdue_after", problem.to_owned()));
        }
        let crons = [&self.schedule, &self.verify, &self.prune];
        let too_often = crons
            .into_iter()
            .flatten()
            .find(|cron| cron.shortest_gap() <= self.jitter)?;
        let problem = format!(
            "expected less than passes from one run to the next; `{too_often}` comes again after {:?}, and the jitter is {:?}",
            too_often.shortest_gap(),
            self.jitter
        );
        Some(("snapshots.jitter", problem))
    }
}

impl TlsFiles {
    /// The key's file.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.key.clone().unwrap_or_else(default_key)
    }
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self {
            authority: "tls/ca.crt".into(),
            certificate: "tls/node.crt".into(),
            key: None,
            revocation_list: None,
        }
    }
}

impl Default for SnapshotStore {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant, parsed in every test")]
        let store = Url::parse("file:///var/lib/togather/snapshots").expect("an address");
        #[expect(clippy::expect_used, reason = "constants, parsed in every test")]
        let daily = |cron: &str| Some(cron.parse().expect("a schedule"));
        Self {
            store,
            schedule: daily("0 3 * * *"),
            verify: daily("0 4 * * *"),
            prune: daily("0 5 * * *"),
            jitter: Duration::from_mins(15),
            overdue_after: Duration::from_hours(48),
            spool: 10 << 30,
        }
    }
}

/// systemd hands the service a copy of the key that only it can read (`LoadCredential=`).
fn default_key() -> PathBuf {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(|folder| PathBuf::from(folder).join("node.key"))
        .filter(|credential| credential.exists())
        .unwrap_or_else(|| "tls/node.key".into())
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, PORT).into()
}

fn default_signers() -> PathBuf {
    "allowed_signers".into()
}

fn default_roles() -> PathBuf {
    "roles.yml".into()
}

fn default_state() -> PathBuf {
    "/var/lib/togather".into()
}

fn default_provider() -> Provider {
    #[expect(clippy::expect_used, reason = "a constant, parsed in every test")]
    super::PLAIN_PROVIDER.parse().expect("a name")
}
