//! The node's `docker-compose.yml`: a documented subset, read whole and checked before anything starts.

use std::{collections::BTreeMap, path::Path};

/// The base services and the app service, with every `${VALUE}` filled in.
#[derive(Debug, Clone)]
pub struct Compose {}

/// What is wrong with a Compose file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ComposeError(pub String);

impl Compose {
    /// Reads a Compose file; `${VALUES}` come from `environment` (the node's `.env.production`).
    /// `app` is the service that runs in the slots; all others are base services.
    ///
    /// # Errors
    /// The file cannot be read, has a key outside the subset, or a value is missing; with the line
    /// where there is one.
    pub fn load(
        path: &Path,
        environment: &BTreeMap<String, String>,
        app: &str,
    ) -> Result<Self, ComposeError> {
        let _ = (path, environment, app);
        Err(ComposeError("not written yet".into()))
    }
}
