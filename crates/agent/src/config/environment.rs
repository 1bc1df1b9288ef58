//! `.env.production`: the app's environment and secrets. No error here repeats a value.

use std::{collections::BTreeMap, path::Path};

use secrecy::ExposeSecret;
use togather_trust::secret_file;

use super::ConfigError;

/// Reads the file; refused if anybody but its owner can read it.
pub(super) fn load(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = secret_file::read(path)?;
    let text = text.expose_secret();
    let mut environment = BTreeMap::new();
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = entry.map_err(|error| ConfigError::Environment {
            path: path.to_owned(),
            line: line_of(text, &error),
        })?;
        environment.insert(name, value);
    }
    Ok(environment)
}

/// The line an error is about, counted from 1. The error itself quotes the line, secret and all.
fn line_of(text: &str, error: &dotenvy::Error) -> usize {
    let dotenvy::Error::LineParse(quoted, _) = error else {
        return 1;
    };
    let found = text
        .lines()
        .position(|line| quoted.starts_with(line) && !line.is_empty());
    found.unwrap_or(0) + 1
}

/// Puts the environment's values in place of each `${NAME}`.
pub(super) fn fill_in(
    template: &str,
    environment: &BTreeMap<String, String>,
    file: &Path,
    key: &'static str,
) -> Result<String, ConfigError> {
    let value = |name: &str| match environment.get(name) {
        Some(value) => Ok(Some(value.as_str())),
        None => Err(()),
    };
    shellexpand::env_with_context(template, value)
        .map(Into::into)
        .map_err(|missing| ConfigError::Variable {
            path: file.to_owned(),
            key,
            name: missing.var_name,
        })
}
