//! Earlier states of the operator's files, each a folder with copies that only the agent can read.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use togather_model::Digest;
use togather_trust::secret_file;

use super::Unusable;
use crate::config::{AGENT, Config, ConfigError};

/// A link to the state that was in use last.
const LAST: &str = "last";

/// What the files of a configuration say, by name; `None`: it is not there. It has no `Debug`: among
/// them are secrets.
pub(super) struct Texts(BTreeMap<PathBuf, Option<SecretString>>);

impl Texts {
    /// The texts of these files in the folder of `agent_yml`.
    ///
    /// # Errors
    /// One is there and cannot be read.
    pub(super) fn read(agent_yml: &Path, names: &[PathBuf]) -> Result<Self, ConfigError> {
        let read = |name: &PathBuf| {
            let path = match name.as_path() == Path::new(AGENT) {
                true => agent_yml.to_owned(),
                false => agent_yml.with_file_name(name),
            };
            match fs::read_to_string(&path) {
                Ok(text) => Ok((name.clone(), Some(text.into()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((name.clone(), None)),
                Err(source) => Err(ConfigError::Read { path, source }),
            }
        };
        Ok(Self(names.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// The name of this state: the same files with the same texts have the same.
    pub(super) fn id(&self) -> Digest {
        let mut all = Vec::new();
        for (name, text) in &self.0 {
            let Some(text) = text else { continue };
            let (name, text) = (name.as_os_str().as_encoded_bytes(), text.expose_secret());
            for part in [name, text.as_bytes()] {
                all.extend_from_slice(&(part.len() as u64).to_le_bytes());
                all.extend_from_slice(part);
            }
        }
        Digest::of(&all)
    }
}

/// The folder of earlier states.
#[derive(Debug, Clone)]
pub(super) struct Kept(PathBuf);

impl Kept {
    /// In this folder, which need not be there yet.
    pub(super) const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Keeps a state, as the one that was in use last.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, texts: &Texts) -> Result<(), Unusable> {
        let kept = self.try_to_keep(texts);
        kept.map_err(|error| Unusable::NotKept(self.0.clone(), error))
    }

    fn try_to_keep(&self, texts: &Texts) -> io::Result<()> {
        let name = texts.id().hex();
        let folder = self.0.join(&name);
        if !folder.exists() {
            // Whole or not at all: a folder with such a name has all its files.
            let beginning = self.0.join("beginning");
            remove(&beginning)?;
            for (file, text) in &texts.0 {
                let Some(text) = text else { continue };
                let path = beginning.join(file);
                private_folder(path.parent().unwrap_or(&beginning))?;
                secret_file::write_new(&path, text.expose_secret()).map_err(io::Error::other)?;
            }
            fs::rename(&beginning, &folder)?;
        }
        let link = self.0.join("next");
        remove(&link)?;
        symlink(&name, &link)?;
        fs::rename(&link, self.0.join(LAST))
    }

    /// The configuration in this state, standing in for that of the folder of `agent_yml`.
    ///
    /// # Errors
    /// The state is not kept, or can no longer be used.
    pub(super) fn load(&self, id: Digest, agent_yml: &Path) -> Result<Config, ConfigError> {
        Config::load_copy(&self.0.join(id.hex()).join(AGENT), agent_yml)
    }

    /// The state that was in use last; `None`: there is none.
    pub(super) fn last(&self) -> Option<Digest> {
        let name = fs::read_link(self.0.join(LAST)).ok()?;
        format!("sha256:{}", name.to_str()?).parse().ok()
    }

    /// Removes the states that are not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(Digest) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().map(|name| format!("sha256:{name}").parse());
            if let Some(Ok(id)) = id
                && !keep(id)
            {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes what an interruption left.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() && !path.is_symlink() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
