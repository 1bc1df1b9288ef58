//! The node's Compose file, read from disk. What it means is told by the crate `togather-compose`.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};
pub use togather_compose::Compose;
use togather_compose::Source;

/// What is wrong with the Compose file.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The system refused to read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it says cannot be carried out.
    #[error(transparent)]
    Invalid(#[from] togather_compose::ComposeError),
}

/// The names whose values the agent supplies when it makes the app's container.
pub const SUPPLIED: [&str; 1] = [PROXY_CIDRS];

/// The address from which the proxy's requests reach the app: the gateway of the app's network.
pub(super) const PROXY_CIDRS: &str = "TOGATHER_PROXY_CIDRS";

/// Reads a Compose file; `${VALUES}` come from `environment` (the node's environment file). `app`
/// is the service that runs in the slots; all others are base services.
///
/// # Errors
/// The file cannot be read, or every problem of it, each with its line.
pub fn load(
    path: &Path,
    environment: &BTreeMap<String, String>,
    app: &str,
) -> Result<Compose, ComposeError> {
    let compose = with(path, environment, app, Compose::parse)?;
    for warning in &compose.warnings {
        tracing::warn!(file = %path.display(), %warning, "in the Compose file");
    }
    Ok(compose)
}

/// The model of a Compose file as it will be run, as YAML, secrets masked.
///
/// # Errors
/// As [`load`].
pub fn resolved(
    path: &Path,
    environment: &BTreeMap<String, String>,
    app: &str,
) -> Result<String, ComposeError> {
    with(path, environment, app, Compose::resolved)
}

fn with<T>(
    path: &Path,
    environment: &BTreeMap<String, String>,
    app: &str,
    read: fn(&Source<'_>) -> Result<T, togather_compose::ComposeError>,
) -> Result<T, ComposeError> {
    let unreadable = |source| ComposeError::Read {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let home = home();
    Ok(read(&Source {
        path,
        folder: absolute.parent().unwrap_or(&absolute),
        text: &text,
        environment,
        app,
        home: home.as_deref(),
        later: &SUPPLIED,
        files: &|path| std::fs::read_to_string(path),
    })?)
}

/// The home folder of the user that this program runs as, from the system's list of users: the
/// environment of the process never gets into the file.
fn home() -> Option<PathBuf> {
    let user = User::from_uid(geteuid()).ok()??;
    // What Debian gives to users that have none.
    (user.dir != Path::new("/nonexistent")).then_some(user.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nowhere.yml"), &BTreeMap::new(), "app").unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere.yml");
    }
}
