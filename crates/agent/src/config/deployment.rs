//! `deployment.yml`: the app, its database, its proxy, and how patient deployments are.

use std::{collections::BTreeMap, num::NonZeroU16, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use togather_model::{Acceptable, Acceptance, Demand, Pages, Strategy};
use url::Url;

use crate::traffic::AdminEndpoint;

/// `deployment.yml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentFile {
    /// The app.
    pub app: AppSettings,
    /// Its database.
    pub database: DatabaseSection,
    /// The proxy in front of it.
    pub proxy: ProxySettings,
    /// The container engine.
    pub docker: DockerSettings,
    /// How patient, strict and careful deployments are.
    pub strategy: Strategy,
}

/// The app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppSettings {
    /// The Compose service that runs in the slots.
    pub service: String,
    /// The port the app listens on inside its container.
    pub port: NonZeroU16,
    /// The path of its health answer.
    pub health_path: String,
    /// The path that it answers however often it is asked; `null`: it has none, and `health_path` is
    /// asked instead, seldom.
    pub ready_path: Option<String>,
    /// The statuses of the health answer that are fit to serve.
    pub accept: Vec<Acceptable>,
    /// What is asked of single checks of the health answer.
    pub checks: BTreeMap<String, Demand>,
    /// Whether a release that is worse than the one it replaces is refused.
    pub no_worse_than_live: bool,
    /// The path of its Prometheus metrics; `null`: it has none.
    pub metrics_path: Option<String>,
    /// The series in them that counts requests by status; `null`: the one whose name ends with
    /// `http_requests_total`.
    pub requests_metric: Option<String>,
    /// Pages that it must answer as expected before it gets traffic, and again through the proxy.
    pub expect: Pages,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSection {
    /// The Compose service in whose container `pg_dump` and `pg_restore` run; `None`: the database
    /// is elsewhere.
    pub service: Option<String>,
    /// The image with `pg_dump` and `pg_restore` for a database elsewhere.
    pub client_image: Option<String>,
    /// Where the agent reaches it; `${VALUES}` come from `.env.production`.
    pub url: String,
    /// The extensions it must have, by PostgreSQL's names for them.
    pub extensions: Vec<String>,
    /// How long its snapshots are kept.
    pub snapshots: SnapshotRetention,
}

/// How long snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotRetention {
    /// Snapshots older than this may go.
    #[serde(with = "togather_model::span")]
    pub keep_for: Duration,
    /// So many verified ones stay, however old they are.
    pub min_verified: usize,
    /// Of so many days, weeks and months (UTC) the newest verified one stays.
    pub daily: usize,
    /// See `daily`.
    pub weekly: usize,
    /// See `daily`.
    pub monthly: usize,
}

/// Caddy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxySettings {
    /// The address the public uses.
    pub public_url: Url,
    /// Caddy's admin endpoint. `admin_socket` is what it was called when it had to be a socket's path.
    #[serde(alias = "admin_socket")]
    pub admin: AdminEndpoint,
    /// The operator's Caddyfile.
    pub caddyfile: PathBuf,
    /// The file in it that the agent owns.
    pub snippet: PathBuf,
}

/// The container engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DockerSettings {
    /// Its socket.
    pub socket: PathBuf,
}

impl DeploymentFile {
    /// The same, fit to be shown: a password written into the database's address is left out.
    pub(super) fn without_password(&self) -> Self {
        let mut shown = self.clone();
        let url = &mut shown.database.url;
        if let Some((scheme, rest)) = url.split_once("://")
            && let Some((who, place)) = rest.rsplit_once('@')
            && let Some((user, password)) = who.split_once(':')
            // The name of a variable is no secret, and helps to see what is in effect.
            && !is_variable(password)
        {
            *url = format!("{scheme}://{user}:***@{place}");
        }
        shown
    }
}

impl AppSettings {
    /// What the app must say of itself to serve.
    #[must_use]
    pub fn acceptance(&self) -> Acceptance {
        Acceptance {
            accept: self.accept.clone(),
            checks: self.checks.clone(),
            no_worse_than_live: self.no_worse_than_live,
        }
    }
}

fn is_variable(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

impl Default for AppSettings {
    fn default() -> Self {
        let acceptance = Acceptance::default();
        Self {
            service: "app".into(),
            port: NonZeroU16::new(8080).unwrap_or(NonZeroU16::MIN),
            health_path: "/health".into(),
            ready_path: None,
            accept: acceptance.accept,
            checks: acceptance.checks,
            no_worse_than_live: acceptance.no_worse_than_live,
            metrics_path: Some("/metrics".into()),
            requests_metric: None,
            expect: Pages::default(),
        }
    }
}

impl Default for DatabaseSection {
    fn default() -> Self {
        Self {
            service: Some("db".into()),
            client_image: Some("postgres:17".into()),
            url: "postgres://${POSTGRES_USER}:${POSTGRES_PASSWORD}@127.0.0.1:5432/${POSTGRES_DB}"
                .into(),
            extensions: ["postgis", "vector", "pg_trgm", "pgcrypto"]
                .map(Into::into)
                .into(),
            snapshots: SnapshotRetention::default(),
        }
    }
}

impl Default for SnapshotRetention {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_hours(7 * 24),
            min_verified: 3,
            daily: 0,
            weekly: 0,
            monthly: 0,
        }
    }
}

impl Default for ProxySettings {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant, parsed in every test")]
        let public_url = Url::parse("http://127.0.0.1").expect("an address");
        Self {
            public_url,
            admin: AdminEndpoint::Socket("/run/caddy/admin.sock".into()),
            caddyfile: "/etc/caddy/Caddyfile".into(),
            snippet: "/etc/caddy/togather/app.caddy".into(),
        }
    }
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            socket: "/var/run/docker.sock".into(),
        }
    }
}
