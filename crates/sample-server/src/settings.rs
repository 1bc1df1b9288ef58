//! What the environment says, read and checked whole before anything starts.
//!
//! An error names the variable and what was expected. The database's address and the secrets are
//! never shown. What only `serve` demands is in [`demands`].

mod demands;
mod environment;

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::Level;

use self::environment::Environment;
pub(crate) use self::environment::SettingsError;
use crate::fault::Fault;

/// Both slots together must leave PostgreSQL's 100 connections to others.
const MOST_CONNECTIONS: u32 = 5;
/// How long a request waits for the database before it is told that there is none.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);
/// How many requests a minute one client of the public may make, as in the Togather server.
const PUBLIC_PER_MINUTE: u32 = 60;

/// Everything this program can be told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) database: PgConnectOptions,
    pub(crate) listen: SocketAddr,
    /// `blue` or `green`, by `DEPLOYMENT_SLOT` or else `SLOT`; `None` outside a deployment.
    pub(crate) slot: Option<String>,
    /// What labels the metrics of jobs: `SLOT` alone, as in the Togather server.
    pub(crate) job_slot: Option<String>,
    pub(crate) limits: Limits,
    /// Whether it needs the tables of a job queue, which no migration of its own makes.
    pub(crate) job_tables: bool,
    pub(crate) log_level: Level,
    pub(crate) log_format: LogFormat,
    pub(crate) build: Build,
    pub(crate) fault: Option<Fault>,
    /// How long after its first public request a server that goes bad does so.
    pub(crate) fault_after: Duration,
    /// How long a server that starts slowly takes to be healthy.
    pub(crate) slow_start: Duration,
    /// How long the job of a server that stops slowly goes on after the stop.
    pub(crate) slow_stop: Duration,
}

/// How many requests a client may make.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// A minute; `None` is no limit.
    pub(crate) public_per_minute: Option<NonZeroU32>,
    /// Whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// What was built, as the image says.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) version: String,
    pub(crate) git_commit: String,
    pub(crate) date: String,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// JSON lines, in production.
    Json,
    /// For people, elsewhere.
    Text,
}

impl Settings {
    /// Reads all settings through `lookup`. An empty variable counts as one that is not set.
    ///
    /// # Errors
    /// A variable is missing or makes no sense.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let env = Environment(lookup);
        let text = |key, otherwise: &str| env.get(key).unwrap_or_else(|| otherwise.to_owned());
        Ok(Self {
            database: env.database()?,
            listen: env.listen()?,
            slot: env.slot("DEPLOYMENT_SLOT")?.or(env.slot("SLOT")?),
            job_slot: env.slot("SLOT")?,
            limits: Limits {
                public_per_minute: NonZeroU32::new(
                    env.number("RATE_LIMIT_PUBLIC", PUBLIC_PER_MINUTE),
                ),
                trusted_proxies: env.networks("TRUSTED_PROXY_CIDRS"),
            },
            job_tables: env.job_tables()?,
            log_level: env.parsed(
                "LOG_LEVEL",
                Level::INFO,
                "error, warn, info, debug or trace",
            )?,
            log_format: match text("ENVIRONMENT", "development").as_str() {
                "production" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            build: Build {
                version: text("APP_VERSION", "0.0.0-dev"),
                git_commit: text("APP_COMMIT", "unknown"),
                date: text("APP_BUILD_DATE", "unknown"),
            },
            fault: env.fault()?,
            fault_after: env.seconds("FAULT_AFTER", 3)?,
            slow_start: env.seconds("SLOW_START", 8)?,
            slow_stop: env.seconds("SLOW_STOP", 30)?,
        })
    }

    /// As [`read`](Self::read), for a server: with everything the Togather server demands before it
    /// starts.
    ///
    /// # Errors
    /// A variable is missing or makes no sense.
    pub(crate) fn of_a_server(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let settings = Self::read(&lookup)?;
        demands::check(&Environment(lookup))?;
        Ok(settings)
    }

    /// Where the server listens, for a program that asks it and needs no other setting.
    ///
    /// # Errors
    /// `SERVER_HOST` or `SERVER_PORT` makes no sense.
    pub(crate) fn address(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<SocketAddr, SettingsError> {
        Environment(lookup).listen()
    }

    /// How this server is broken on purpose.
    ///
    /// # Errors
    /// `FAULT` names no fault.
    pub(crate) fn fault(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Fault>, SettingsError> {
        Environment(lookup).fault()
    }

    /// Connections to the database, none of which is made before it is needed: the server answers,
    /// unhealthy, also without a database.
    pub(crate) fn pool(&self) -> PgPool {
        let database = self.database.clone().application_name("sample-server");
        PgPoolOptions::new()
            .max_connections(MOST_CONNECTIONS)
            .acquire_timeout(CONNECTION_WAIT)
            // A statement's text in the log helps nobody; a slow request shows in the metrics.
            .connect_lazy_with(database.disable_statement_logging())
    }
}

#[cfg(test)]
mod tests;
