//! The node's configuration: `agent.yml`, `deployment.yml`, the provider's overlay and
//! `.env.production` (or that of another environment), read and checked whole before anything starts.
//!
//! All files lie in one folder, `agent.yml`'s; paths in them are relative to it. Every key but
//! `node` and `fleet` has a default; `deploy/config/` states each of them. An unknown key, a value
//! of the wrong kind or a secret that others can read is an error with file, line and key.

mod agent;
mod deployment;
mod environment;
mod error;
mod overlay;
mod registries;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};

pub use agent::{AgentFile, Environment, Identity, MetricsSettings, SnapshotStore, TlsFiles};
pub use deployment::{
    AppSettings, DatabaseSection, DeploymentFile, DockerSettings, ProxySettings, SnapshotRetention,
};
pub use error::ConfigError;
pub use registries::{Login, RegistrySettings};

/// The provider whose overlay need not exist, because it changes nothing.
const PLAIN_PROVIDER: &str = "docker";

/// A node's configuration, checked. It holds secrets, so it has no `Debug`.
pub struct Config {
    /// `agent.yml`, its paths made absolute to its folder, with the provider's overlay applied.
    pub agent: AgentFile,
    /// `deployment.yml`, with the provider's overlay applied.
    pub deployment: DeploymentFile,
    /// The Compose file.
    pub compose: PathBuf,
    /// What `.env.production`, or the file of another environment, says.
    pub environment: BTreeMap<String, String>,
    /// Where the database is, every `${VALUE}` filled in.
    pub database_url: SecretString,
    /// What can be carried out, and is perhaps not meant: a sentence each.
    pub warnings: Vec<String>,
    /// The names of all files that it was read from, from `agent.yml`'s folder. One that need not be
    /// there is among them all the same: it may come.
    pub files: Vec<PathBuf>,
}

/// The names of the files in the folder; `agent.yml` itself may be called otherwise.
pub const AGENT: &str = "agent.yml";
const DEPLOYMENT: &str = "deployment.yml";
const COMPOSE: &str = "docker-compose.yml";

impl Config {
    /// Reads everything that belongs to this `agent.yml`.
    ///
    /// # Errors
    /// The first file that is missing, or not as it must be.
    pub fn load(agent_yml: &Path) -> Result<Self, ConfigError> {
        Self::load_copy(agent_yml, agent_yml)
    }

    /// Reads `agent.yml` alone, without what an overlay says of it.
    ///
    /// # Errors
    /// It is missing, or not as it must be.
    pub fn agent(agent_yml: &Path) -> Result<AgentFile, ConfigError> {
        Ok(AgentFile::load(agent_yml)?.within(folder_of(agent_yml)))
    }

    /// The same from a copy of the folder; what it says is meant of the folder of `original`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_copy(agent_yml: &Path, original: &Path) -> Result<Self, ConfigError> {
        let folder = folder_of(agent_yml);
        let agent = AgentFile::load(agent_yml)?.within(folder_of(original));
        let deployment_yml = folder.join(DEPLOYMENT);
        let deployment = read_yaml(&deployment_yml)?.unwrap_or_default();

        let overlay = PathBuf::from(format!("providers/{}.yml", agent.provider));
        let overlay_yml = folder.join(&overlay);
        let is_needed = agent.provider.as_str() != PLAIN_PROVIDER;
        let (agent, deployment) = if is_needed || overlay_yml.exists() {
            overlay::apply(&overlay_yml, agent, deployment)?
        } else {
            (agent, deployment)
        };

        let problem = agent.snapshots.problem();
        if let Some((key, problem)) = problem.or_else(|| agent.registries.problem()) {
            return Err(ConfigError::Value {
                path: agent_yml.to_owned(),
                key,
                problem,
            });
        }
        let environment = environment::load(&folder.join(agent.environment.file()))?;
        let database_url = environment::fill_in(
            &deployment.database.url,
            (&environment, &agent.environment.file()),
            &deployment_yml,
            "database.url",
        )?;
        let variables = agent.environment.file();
        Ok(Self {
            agent,
            deployment,
            compose: folder.join(COMPOSE),
            environment: environment.into_values(),
            database_url: database_url.text.into(),
            warnings: encoded_twice(&database_url.encoded_twice),
            files: [AGENT, DEPLOYMENT, COMPOSE, &variables]
                .map(PathBuf::from)
                .into_iter()
                .chain([overlay])
                .collect(),
        })
    }

    /// Every value in effect, as YAML. No secret is among them: of `.env.production` only the
    /// names are told.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn effective(&self) -> Result<String, serde_saphyr::SerializeError> {
        #[derive(Serialize)]
        struct Effective<'a> {
            #[serde(flatten)]
            agent: &'a AgentFile,
            #[serde(flatten)]
            deployment: DeploymentFile,
            variables: Vec<&'a str>,
        }
        serde_saphyr::to_string(&Effective {
            agent: &self.agent,
            deployment: self.deployment.without_password(),
            variables: self.environment.keys().map(String::as_str).collect(),
        })
    }
}

/// Warnings about values that are percent-encoded in the database's address although they look encoded.
fn encoded_twice(names: &[String]) -> Vec<String> {
    let warning = |name: &String| {
        format!(
            "the value of `{name}` looks percent-encoded, and is encoded again where `database.url` refers \
             to it: write it plainly, as the database knows it"
        )
    };
    names.iter().map(warning).collect()
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or_else(|| Path::new(""))
}

/// Reads a YAML file; `None`: it says nothing.
fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let text = read(path)?;
    serde_saphyr::from_str(&text).map_err(|error| ConfigError::yaml(path, &text, &error))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}
