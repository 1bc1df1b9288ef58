//! Whom the agent is to a registry: a login of `agent.yml`, or what docker's own `config.json` says,
//! a credential helper included.
//!
//! Everything is read anew for each pull, so that a password that was renewed is used at once.

mod docker_config;
mod helper;

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use togather_trust::secret_file::{self, SecretFileError};

use crate::config::RegistrySettings;
use docker_config::DockerConfig;
pub use helper::HelperError;

/// Docker Hub's host, as image names have it, whether or not they say so.
const DOCKER_HUB: &str = "docker.io";

/// Where credential helpers are looked for, and nowhere else: only root puts programs there.
const HELPERS: &str = "/usr/bin";

/// What a registry is shown. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A user and a password, or an access token in its place.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token that the registry itself gave out at a login.
    IdentityToken(SecretString),
}

/// Why the agent does not know whom to log in as. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The password's file.
    #[error("`registries` in agent.yml: cannot use the password for `{host}`")]
    Password {
        /// The registry.
        host: String,
        /// Why.
        source: SecretFileError,
    },
    /// Docker's `config.json` cannot be read, or others can.
    #[error("`registries.docker_config` in agent.yml cannot be used")]
    Unreadable(#[from] SecretFileError),
    /// Docker's `config.json` is not as docker writes it.
    #[error("{}:{line}:{column}: this is not docker's config.json; make it with `docker login`", path.display())]
    NotDockers {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// An entry of docker's `config.json`.
    #[error("{}: the entry of `auths` for `{host}` is not the base64 of `user:password`; run `docker login {host}` again", path.display())]
    NotBase64 {
        /// The file.
        path: PathBuf,
        /// The registry.
        host: String,
    },
    /// A credential helper that docker's `config.json` names.
    #[error("the credential for `{host}` cannot be had from the helper `{helper}`")]
    Helper {
        /// The registry.
        host: String,
        /// The helper's name as docker's `config.json` has it.
        helper: String,
        /// Why.
        source: HelperError,
    },
}

/// The registries' logins.
#[derive(Debug, Default)]
pub struct Registries {
    settings: RegistrySettings,
    /// Where credential helpers are; `None`: where they belong.
    helpers: Option<PathBuf>,
}

impl Registries {
    /// The logins that these settings tell of; none of them is read yet.
    #[must_use]
    pub const fn new(settings: RegistrySettings) -> Self {
        Self {
            settings,
            helpers: None,
        }
    }

    /// What to show the registry of this image; `None`: nothing is known for it.
    ///
    /// # Errors
    /// A file or a helper that is named cannot be used.
    pub async fn credential(&self, image: &str) -> Result<Option<Credential>, RegistryError> {
        let host = host(image);
        if let Some(login) = self.settings.logins.get(host) {
            let password = password(&login.password_file);
            return password
                .map(|password| {
                    let user = login.user.clone();
                    Some(Credential::Password { user, password })
                })
                .map_err(|source| RegistryError::Password {
                    host: host.to_owned(),
                    source,
                });
        }
        let Some(path) = &self.settings.docker_config else {
            return Ok(None);
        };
        let config = DockerConfig::read(path)?;
        let Some(helper) = config.helper(host) else {
            return config.auth(host);
        };
        let folder = self.helpers.as_deref().unwrap_or(Path::new(HELPERS));
        let answered = helper::ask(folder, helper, asked_for(host)).await;
        answered.map_err(|source| RegistryError::Helper {
            host: host.to_owned(),
            helper: helper.to_owned(),
            source,
        })
    }

    /// Reads every file that is named, so that what cannot be used is known before an image is needed.
    /// No helper is run.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check(&self) -> Result<(), RegistryError> {
        for (host, login) in &self.settings.logins {
            let host = host.clone();
            password(&login.password_file)
                .map_err(|source| RegistryError::Password { host, source })?;
        }
        match &self.settings.docker_config {
            Some(path) => DockerConfig::read(path).map(drop),
            None => Ok(()),
        }
    }
}

/// The file's text without the line end that editors put there.
fn password(file: &Path) -> Result<SecretString, SecretFileError> {
    let text = secret_file::read(file)?;
    let text = text.expose_secret();
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

/// The registry that an image's name begins with, as Docker finds it.
#[must_use]
pub fn host(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => plain(first),
        Some(_) | None => DOCKER_HUB,
    }
}

/// Docker Hub goes by several names.
fn plain(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        host => host,
    }
}

/// What docker calls a registry when it talks to helpers.
fn asked_for(host: &str) -> &str {
    match host {
        DOCKER_HUB => "https://index.docker.io/v1/",
        host => host,
    }
}

#[cfg(test)]
mod tests;
