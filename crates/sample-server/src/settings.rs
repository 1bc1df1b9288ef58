//! What the environment says, read and checked whole before anything starts.
//!
//! An error names the variable and what was expected. The database's address is never shown: it
//! holds a password.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::Level;

use crate::fault::Fault;

/// Both slots together must leave PostgreSQL's 100 connections to others.
const MOST_CONNECTIONS: u32 = 5;
/// How long a request waits for the database before it is told that there is none.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);

/// Everything this program can be told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) database: PgConnectOptions,
    pub(crate) listen: SocketAddr,
    /// `blue` or `green`; `None` outside a deployment.
    pub(crate) slot: Option<String>,
    pub(crate) log_level: Level,
    pub(crate) log_format: LogFormat,
    pub(crate) build: Build,
    pub(crate) fault: Option<Fault>,
    /// How long after its first public request a server that goes bad does so.
    pub(crate) fault_after: Duration,
    /// How long a server that starts slowly takes to be healthy.
    pub(crate) slow_start: Duration,
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

/// Why the environment cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{key} is not set: expected {expected}")]
    Missing { key: &'static str, expected: String },
    #[error("{key} is `{value}`: expected {expected}")]
    Invalid {
        key: &'static str,
        value: String,
        expected: String,
    },
    #[error(
        "DATABASE_URL is no address of a database: \
         expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    DatabaseUrl,
}

impl Settings {
    /// Reads all settings through `lookup`. An empty variable counts as one that is not set.
    ///
    /// # Errors
    /// A variable is missing or makes no sense.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let env = Environment(lookup);
        let text = |key, otherwise: &str| env.get(key).unwrap_or_else(|| otherwise.to_owned());
        let Some(database) = env.get("DATABASE_URL") else {
            return Err(SettingsError::Missing {
                key: "DATABASE_URL",
                expected: "postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned(),
            });
        };
        Ok(Self {
            database: database.parse().map_err(|_| SettingsError::DatabaseUrl)?,
            listen: env.listen()?,
            slot: env.slot()?,
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
        })
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

struct Environment<F>(F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    fn get(&self, key: &str) -> Option<String> {
        (self.0)(key).filter(|value| !value.is_empty())
    }

    fn parsed<T: FromStr>(
        &self,
        key: &'static str,
        otherwise: T,
        expected: &str,
    ) -> Result<T, SettingsError> {
        let Some(value) = self.get(key) else {
            return Ok(otherwise);
        };
        value.parse().map_err(|_| SettingsError::Invalid {
            key,
            value,
            expected: expected.to_owned(),
        })
    }

    fn seconds(&self, key: &'static str, otherwise: u64) -> Result<Duration, SettingsError> {
        let seconds = self.parsed(key, otherwise, "a whole number of seconds")?;
        Ok(Duration::from_secs(seconds))
    }

    fn listen(&self) -> Result<SocketAddr, SettingsError> {
        let host = self.parsed("SERVER_HOST", IpAddr::from([0, 0, 0, 0]), "an IP address")?;
        let port = self.parsed("SERVER_PORT", 8080_u16, "a port number")?;
        Ok(SocketAddr::new(host, port))
    }

    fn slot(&self) -> Result<Option<String>, SettingsError> {
        match self.get("DEPLOYMENT_SLOT") {
            Some(value) if value != "blue" && value != "green" => Err(SettingsError::Invalid {
                key: "DEPLOYMENT_SLOT",
                value,
                expected: "blue or green".to_owned(),
            }),
            slot => Ok(slot),
        }
    }

    fn fault(&self) -> Result<Option<Fault>, SettingsError> {
        let Some(value) = self.get("FAULT") else {
            return Ok(None);
        };
        match value.parse() {
            Ok(fault) => Ok(Some(fault)),
            Err(_) => Err(SettingsError::Invalid {
                key: "FAULT",
                value,
                expected: format!(
                    "nothing, or one of {}",
                    Fault::ALL.map(Fault::as_str).join(", ")
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://me:secret@db/togather");

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let lookup = |key: &str| {
            let found = variables.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_database_is_enough() {
        let settings = read(&[DATABASE, ("FAULT", ""), ("DEPLOYMENT_SLOT", "")]).unwrap();
        assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(settings.fault, None);
        assert_eq!(settings.slot, None);
    }

    #[test]
    fn an_unknown_fault_is_refused_and_the_known_ones_are_named() {
        let error = read(&[DATABASE, ("FAULT", "never-healty")]).unwrap_err();
        assert!(error.contains("`never-healty`"), "{error}");
        for fault in Fault::ALL {
            assert!(error.contains(fault.as_str()), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (key, value) in [
            ("SERVER_HOST", "localhost"),
            ("SERVER_PORT", "65536"),
            ("DEPLOYMENT_SLOT", "red"),
            ("LOG_LEVEL", "loud"),
            ("SLOW_START", "-1"),
        ] {
            let error = read(&[DATABASE, (key, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{key} is `{value}`")), "{error}");
        }
    }

    #[test]
    fn a_wrong_database_address_is_not_shown() {
        assert!(read(&[]).unwrap_err().contains("DATABASE_URL is not set"));
        let error = read(&[("DATABASE_URL", "postgres//me:secret@db")]).unwrap_err();
        assert!(
            error.contains("DATABASE_URL") && !error.contains("secret"),
            "{error}"
        );
    }
}
