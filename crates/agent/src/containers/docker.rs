//! The Docker Engine, through bollard. Nothing is remembered here: every answer is asked of the
//! Engine, so what a crash left behind is seen and every verb may be called again.

mod base;
mod connection;
mod container;
mod create;
mod errand;
mod exec;
mod images;
mod labels;
mod one_shot;
mod platform;
mod programs;
mod pull;
mod slots;
mod tail;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use togather_model::{Digest, Image, Slot};
use tokio::sync::OnceCell;

use self::connection::Connection;
use super::{
    App, Compose, Containers, ContainersError, Engine, Errand, ErrandEnd, Finished, Registries,
    SlotContainer,
};
use crate::progress::Say;

/// The pause between two looks at a container that is coming or going.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the Togather server reads how many connections to the database it may open.
const DATABASE_MAX_CONNECTIONS: &str = "DATABASE_MAX_CONNECTIONS";

/// The node's Docker Engine.
#[derive(Debug)]
pub struct Docker {
    connection: Arc<Connection>,
    compose: Compose,
    app_port: u16,
    registries: Arc<Registries>,
    left_overs_removed: Arc<OnceCell<()>>,
}

impl Docker {
    /// The Engine behind this socket; nothing is asked of it yet. The app listens on `app_port`
    /// inside its container.
    ///
    /// # Errors
    /// The socket's path is relative, or not text.
    pub fn new(socket: &Path, compose: Compose, app_port: u16) -> Result<Self, ContainersError> {
        Ok(Self {
            connection: Arc::new(Connection::new(socket)?),
            compose,
            app_port,
            registries: Arc::default(),
            left_overs_removed: Arc::default(),
        })
    }

    /// The same Engine for another Compose file. What is known of the Engine, and done once, is shared.
    #[must_use]
    pub fn with(&self, compose: Compose, app_port: u16) -> Self {
        Self {
            connection: Arc::clone(&self.connection),
            compose,
            app_port,
            registries: Arc::clone(&self.registries),
            left_overs_removed: Arc::clone(&self.left_overs_removed),
        }
    }

    /// The same, logging in to registries as these say.
    #[must_use]
    pub fn with_registries(mut self, registries: Registries) -> Self {
        self.registries = Arc::new(registries);
        self
    }

    /// The logins for registries.
    #[must_use]
    pub fn registries(&self) -> &Registries {
        &self.registries
    }

    async fn client(&self) -> Result<bollard::Docker, ContainersError> {
        self.connection.client().await
    }
}

/// Docker did not do `what`, for the reason it gives.
fn refused(what: impl Into<String>, source: bollard::errors::Error) -> ContainersError {
    ContainersError::Engine {
        what: what.into(),
        source: source.into(),
    }
}

#[async_trait]
impl Containers for Docker {
    async fn engine(&self) -> Result<Engine, ContainersError> {
        let client = self.connection.renewed().await?;
        let version = client.version().await;
        let version = version.map_err(|e| refused("say its version", e))?;
        let info = client.info().await;
        let info = info.map_err(|e| refused("say where it keeps its data", e))?;
        Ok(Engine {
            version: version.version.unwrap_or_default(),
            data_root: info.docker_root_dir.unwrap_or_default(),
        })
    }

    async fn base_exists(&self) -> Result<bool, ContainersError> {
        self.any_base_container().await
    }

    async fn base_up(&self) -> Result<Vec<String>, ContainersError> {
        self.all_up().await
    }

    async fn has_image(&self, image: &Image) -> Result<bool, ContainersError> {
        self.has(&image.reference()).await
    }

    async fn fits(&self, image: &Image) -> Result<(), ContainersError> {
        self.is_made_for_here(&image.reference()).await
    }

    async fn fetch(&self, image: &Image, say: Say<'_>) -> Result<u64, ContainersError> {
        self.pull_release(image, say).await
    }

    async fn load(&self, image: &Image, archive: &Path) -> Result<(), ContainersError> {
        self.load_archive(image, archive).await
    }

    async fn start_slot(&self, slot: Slot, app: &App) -> Result<(), ContainersError> {
        self.start_app(slot, app).await
    }

    fn made_of(&self) -> Option<Digest> {
        labels::made_of(&self.compose, self.app_port).ok()
    }

    async fn restart_slot(&self, slot: Slot) -> Result<(), ContainersError> {
        self.restart(slot).await
    }

    async fn stop_slot(&self, slot: Slot) -> Result<(), ContainersError> {
        self.stop(slot).await
    }

    async fn remove_slot(&self, slot: Slot) -> Result<(), ContainersError> {
        self.remove(slot).await
    }

    async fn slot(&self, slot: Slot) -> Result<Option<SlotContainer>, ContainersError> {
        self.held(slot).await
    }

    async fn run_in_slot(
        &self,
        slot: Slot,
        command: &[String],
        timeout: Duration,
    ) -> Result<Finished, ContainersError> {
        self.run(&slots::name(slot), command, timeout).await
    }

    async fn missing_programs(
        &self,
        image: &Image,
        programs: &[String],
    ) -> Result<Vec<String>, ContainersError> {
        self.missing_from(&image.reference(), programs).await
    }

    async fn run_errand(&self, errand: &Errand) -> Result<ErrandEnd, ContainersError> {
        self.carry_out(errand).await
    }

    fn app_role(&self) -> Option<String> {
        self.role_of_app()
    }

    fn app_connections(&self) -> Option<u64> {
        let environment = &self.compose.app.environment;
        environment.get(DATABASE_MAX_CONNECTIONS)?.parse().ok()
    }

    async fn logs(&self, slot: Slot, lines: usize) -> Result<String, ContainersError> {
        self.tail(&slots::name(slot), lines).await
    }

    async fn prune_images(&self, keep: &[Image]) -> Result<Vec<String>, ContainersError> {
        self.prune(keep).await
    }
}
