//! The node's Compose file, read from disk. What it means is told by the crate `togather-compose`.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

pub use togather_compose::Compose;

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

/// Reads a Compose file; `${VALUES}` come from `environment` (the node's `.env.production`). `app`
/// is the service that runs in the slots; all others are base services.
///
/// # Errors
/// The file cannot be read, has a key outside the subset, or a value is missing; with the line.
pub fn load(
    path: &Path,
    environment: &BTreeMap<String, String>,
    app: &str,
) -> Result<Compose, ComposeError> {
    let text = std::fs::read_to_string(path).map_err(|source| ComposeError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(Compose::parse(path, &text, environment, app)?)
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
