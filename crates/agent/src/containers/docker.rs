//! The Docker Engine, through bollard.

use std::path::Path;

use super::{ContainersError, compose::Compose};

/// The node's Docker Engine.
#[derive(Debug)]
pub struct Docker {}

impl Docker {
    /// The Engine behind this socket; nothing is asked of it yet. The app listens on `app_port`
    /// inside its container.
    ///
    /// # Errors
    /// The socket's path cannot be used.
    pub fn new(socket: &Path, compose: Compose, app_port: u16) -> Result<Self, ContainersError> {
        let _ = (socket, compose, app_port);
        Err(ContainersError::Other("not written yet".into()))
    }
}
