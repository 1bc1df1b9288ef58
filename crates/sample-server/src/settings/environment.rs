//! Variables one by one: what is not set, what makes no sense, and what is passed over in silence.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use sqlx::postgres::PgConnectOptions;

use crate::fault::Fault;

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
    #[error("{key} has {have} characters: expected at least {least}")]
    TooShort {
        key: &'static str,
        have: usize,
        least: usize,
    },
    #[error(
        "DATABASE_URL is no address of a database: \
         expected postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    DatabaseUrl,
}

/// Somewhere variables are looked up.
pub(super) struct Environment<F>(pub(super) F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    /// A variable; an empty one counts as one that is not set.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        (self.0)(key).filter(|value| !value.is_empty())
    }

    pub(super) fn parsed<T: FromStr>(
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

    /// A number of the Togather server's own. What is none becomes the default without a word, as
    /// there.
    pub(super) fn number<T: FromStr>(&self, key: &str, otherwise: T) -> T {
        let given = self.get(key).and_then(|value| value.trim().parse().ok());
        given.unwrap_or(otherwise)
    }

    /// Networks, separated by commas. What is none is passed over, as in the Togather server.
    pub(super) fn networks(&self, key: &str) -> Vec<IpNet> {
        let given = self.get(key).unwrap_or_default();
        given
            .split(',')
            .filter_map(|network| network.trim().parse().ok())
            .collect()
    }

    pub(super) fn seconds(
        &self,
        key: &'static str,
        otherwise: u64,
    ) -> Result<Duration, SettingsError> {
        let seconds = self.parsed(key, otherwise, "a whole number of seconds")?;
        Ok(Duration::from_secs(seconds))
    }

    pub(super) fn database(&self) -> Result<PgConnectOptions, SettingsError> {
        let Some(url) = self.get("DATABASE_URL") else {
            return Err(SettingsError::Missing {
                key: "DATABASE_URL",
                expected: "postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned(),
            });
        };
        url.parse().map_err(|_| SettingsError::DatabaseUrl)
    }

    pub(super) fn listen(&self) -> Result<SocketAddr, SettingsError> {
        let host = self.parsed("SERVER_HOST", IpAddr::from([0, 0, 0, 0]), "an IP address")?;
        let port = self.parsed("SERVER_PORT", 8080_u16, "a port number")?;
        Ok(SocketAddr::new(host, port))
    }

    pub(super) fn slot(&self, key: &'static str) -> Result<Option<String>, SettingsError> {
        match self.get(key) {
            Some(value) if value != "blue" && value != "green" => Err(SettingsError::Invalid {
                key,
                value,
                expected: "blue or green".to_owned(),
            }),
            slot => Ok(slot),
        }
    }

    pub(super) fn job_tables(&self) -> Result<bool, SettingsError> {
        match self.get("JOB_TABLES").as_deref() {
            None | Some("required") => Ok(true),
            Some("none") => Ok(false),
            Some(other) => Err(SettingsError::Invalid {
                key: "JOB_TABLES",
                value: other.to_owned(),
                expected: "required or none".to_owned(),
            }),
        }
    }

    pub(super) fn fault(&self) -> Result<Option<Fault>, SettingsError> {
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
