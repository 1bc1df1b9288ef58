//! `.env.production`, or that of another environment: the app's environment and secrets. No error here repeats a value.

use std::path::Path;

use secrecy::ExposeSecret;
use togather_compose::{
    InterpolateError,
    address::{self, Filled},
    env::{self, Env},
};
use togather_trust::secret_file;

use super::ConfigError;

/// Reads the file; refused if anybody but its owner can read it.
pub(super) fn load(path: &Path) -> Result<Env, ConfigError> {
    let text = secret_file::read(path)?;
    env::parse(text.expose_secret()).map_err(|problems| ConfigError::Environment {
        path: path.to_owned(),
        problems,
    })
}

/// Fills in the environment's values (and the name of its file, for people) for the references of an
/// address.
pub(super) fn fill_in(
    template: &str,
    (environment, set_in): (&Env, &str),
    file: &Path,
    key: &'static str,
) -> Result<Filled, ConfigError> {
    let value = |name: &str| environment.get(name).map(str::to_owned);
    address::fill_in(template, &value).map_err(|error| match error {
        InterpolateError::Unset { name, .. } => ConfigError::Variable {
            path: file.to_owned(),
            key,
            name,
            set_in: set_in.to_owned(),
        },
        InterpolateError::Required { .. }
        | InterpolateError::Malformed
        | InterpolateError::TooDeep => ConfigError::Value {
            path: file.to_owned(),
            key,
            problem: error.to_string(),
        },
    })
}
