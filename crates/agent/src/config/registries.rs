//! `registries` in `agent.yml`: how the agent logs in to the registries that images come from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// How the agent logs in to registries. No password is in here, only where it lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Docker's own `config.json`, as `docker login` writes it.
    pub docker_config: Option<PathBuf>,
    /// A login for each registry, by its host as image names begin with it, with the port if there is
    /// one; `docker.io` is Docker Hub. It comes before what `docker_config` says.
    pub logins: BTreeMap<String, Login>,
}

/// A user of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The file with the password, or with an access token, and nothing else.
    pub password_file: PathBuf,
}

impl RegistrySettings {
    /// The same, with every relative path made absolute: what systemd handed over under that name
    /// (`LoadCredential=`), else the file in this folder.
    pub(super) fn within(self, folder: &Path) -> Self {
        let handed_over = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let at = |path: PathBuf| located(path, folder, handed_over.as_deref());
        let login = |(host, login): (String, Login)| {
            let password_file = at(login.password_file);
            let user = login.user;
            (
                host,
                Login {
                    user,
                    password_file,
                },
            )
        };
        Self {
            docker_config: self.docker_config.map(at),
            logins: self.logins.into_iter().map(login).collect(),
        }
    }

    /// The first key whose value no image could ever be pulled with, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', ' ']);
        if let Some(host) = self.logins.keys().find(|host| !is_host(host)) {
            let problem = format!(
                "`{host}` is no registry's host; expected what image names begin with, such as `registry.example.org` or `registry.example.org:5000`"
            );
            return Some(("registries.logins", problem));
        }
        let nameless = self
            .logins
            .iter()
            .find(|(_, login)| login.user.is_empty())?;
        let problem = format!("the login for `{}` has no user name", nameless.0);
        Some(("registries.logins", problem))
    }
}

fn located(path: PathBuf, folder: &Path, handed_over: Option<&Path>) -> PathBuf {
    handed_over
        .filter(|_| path.is_relative())
        .map(|credentials| credentials.join(&path))
        .filter(|credential| credential.exists())
        .unwrap_or_else(|| folder.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_hands_over_comes_before_the_folder_and_an_absolute_path_is_itself() {
        let (credentials, folder) = (tempfile::tempdir().unwrap(), Path::new("/etc/togather"));
        std::fs::write(credentials.path().join("docker.json"), "{}").unwrap();
        let found = |path: &str| located(path.into(), folder, Some(credentials.path()));
        assert_eq!(found("docker.json"), credentials.path().join("docker.json"));
        assert_eq!(found("other"), folder.join("other"));
        assert_eq!(found("/root/x"), Path::new("/root/x"));
        assert_eq!(located("x".into(), folder, None), folder.join("x"));
    }

    #[test]
    fn an_address_in_place_of_a_host_is_refused() {
        let login = || Login {
            user: "u".into(),
            password_file: "p".into(),
        };
        let of = |host: &str, login: Login| RegistrySettings {
            logins: BTreeMap::from([(host.to_owned(), login)]),
            ..RegistrySettings::default()
        };
        assert_eq!(of("registry.example.org:5000", login()).problem(), None);
        let (key, problem) = of("https://registry.example.org/", login())
            .problem()
            .unwrap();
        assert_eq!(key, "registries.logins");
        assert!(problem.contains("is no registry's host"), "{problem}");
        let nobody = Login {
            user: String::new(),
            ..login()
        };
        let (_, problem) = of("docker.io", nobody).problem().unwrap();
        assert!(problem.contains("has no user name"), "{problem}");
    }
}
