//! Docker's `config.json`: the keys of it that tell whom to log in as.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use togather_trust::secret_file;

use super::{Credential, RegistryError, plain};

/// What is used of the file; it may say much else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    /// The helper for all registries.
    creds_store: Option<String>,
    /// The helper for one registry.
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

/// A registry's entry of `auths`; empty where a helper has the credential.
#[derive(Deserialize)]
struct Entry {
    /// The base64 of `user:password`.
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    identitytoken: Option<SecretString>,
}

/// Docker's `config.json`.
pub(super) struct DockerConfig {
    path: PathBuf,
    content: Content,
}

impl DockerConfig {
    /// Reads the file; refused if anybody but its owner can read it.
    pub(super) fn read(path: &Path) -> Result<Self, RegistryError> {
        let text = secret_file::read(path)?;
        // The parser's own words are not told: they quote what they stumble over.
        let content =
            serde_json::from_str(text.expose_secret()).map_err(|e| RegistryError::NotDockers {
                path: path.to_owned(),
                line: e.line(),
                column: e.column(),
            })?;
        let path = path.to_owned();
        Ok(Self { path, content })
    }

    /// The helper that has the registry's credential: its own before everybody's, as docker has it.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        let own = self.content.cred_helpers.iter();
        let mut own = own.filter(|(address, _)| host_of(address) == host);
        own.next()
            .map(|(_, helper)| helper.as_str())
            .or(self.content.creds_store.as_deref())
            .filter(|helper| !helper.is_empty())
    }

    /// The registry's entry of `auths`.
    pub(super) fn auth(&self, host: &str) -> Result<Option<Credential>, RegistryError> {
        let mut entries = self.content.auths.iter();
        let Some((_, entry)) = entries.find(|(address, _)| host_of(address) == host) else {
            return Ok(None);
        };
        let is_given = |secret: &&SecretString| !secret.expose_secret().is_empty();
        if let Some(token) = entry.identitytoken.as_ref().filter(is_given) {
            return Ok(Some(Credential::IdentityToken(token.clone())));
        }
        if let Some(auth) = entry.auth.as_ref().filter(is_given) {
            let decoded = decoded(auth).ok_or_else(|| RegistryError::NotBase64 {
                path: self.path.clone(),
                host: host.to_owned(),
            })?;
            return Ok(Some(decoded));
        }
        let (user, password) = (entry.username.clone(), entry.password.clone());
        Ok(user
            .zip(password)
            .map(|(user, password)| Credential::Password { user, password }))
    }
}

/// `user:password` in base64.
fn decoded(auth: &SecretString) -> Option<Credential> {
    let bytes = STANDARD.decode(auth.expose_secret()).ok()?;
    let text = SecretString::from(String::from_utf8(bytes).ok()?);
    let (user, password) = text.expose_secret().split_once(':')?;
    // Docker fills up with zeros.
    let password = password.trim_end_matches('\0');
    Some(Credential::Password {
        user: user.to_owned(),
        password: password.to_owned().into(),
    })
}

/// The host of a key such as `https://index.docker.io/v1/`.
fn host_of(address: &str) -> &str {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    plain(rest.split('/').next().unwrap_or(rest))
}
