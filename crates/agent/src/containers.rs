//! Docker, through bollard: images, the base services and the two slots of the app.

pub mod compose;
mod docker;
mod exec;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use togather_model::{Digest, Image, Slot};

pub use compose::Compose;
pub use docker::Docker;
pub use exec::{Exec, Output, Process};

/// What the node asks of its container engine. Every verb may be called twice.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Asks the engine who it is; the cheapest proof that it can be reached.
    async fn engine(&self) -> Result<Engine, ContainersError>;

    /// Whether the base services were ever created here (running or not).
    async fn base_exists(&self) -> Result<bool, ContainersError>;

    /// Brings network, volumes and base services up as the Compose file says and waits until they
    /// are healthy. Services that run as they should are left alone. Returns what it did, for
    /// people, a phrase each.
    async fn base_up(&self) -> Result<Vec<String>, ContainersError>;

    /// Whether this very image is on the node.
    async fn has_image(&self, image: &Image) -> Result<bool, ContainersError>;

    /// Pulls the image by digest and checks what came. An archive must have been loaded before.
    async fn fetch(&self, image: &Image) -> Result<(), ContainersError>;

    /// Loads an image archive whose SHA-256 was checked, and names it as [`Image::reference`] says.
    async fn load(&self, image: &Image, archive: &Path) -> Result<(), ContainersError>;

    /// Starts the app in this slot, in place of whatever container the slot held.
    async fn start_slot(&self, slot: Slot, app: &App) -> Result<(), ContainersError>;

    /// Starts the slot's stopped container again.
    async fn restart_slot(&self, slot: Slot) -> Result<(), ContainersError>;

    /// Asks the slot's app to stop, waits for the service's grace period, then ends it. The
    /// container is kept. A slot without a running container is fine.
    async fn stop_slot(&self, slot: Slot) -> Result<(), ContainersError>;

    /// Removes the slot's container, running or not. An empty slot is fine.
    async fn remove_slot(&self, slot: Slot) -> Result<(), ContainersError>;

    /// What the slot holds.
    async fn slot(&self, slot: Slot) -> Result<Option<SlotContainer>, ContainersError>;

    /// Runs a command inside the slot's container: no shell, arguments only.
    async fn run_in_slot(
        &self,
        slot: Slot,
        command: &[String],
        timeout: Duration,
    ) -> Result<Finished, ContainersError>;

    /// The last lines the slot's app printed.
    async fn logs(&self, slot: Slot, lines: usize) -> Result<String, ContainersError>;

    /// Removes release images other than these. Returns the references removed.
    async fn prune_images(&self, keep: &[Image]) -> Result<Vec<String>, ContainersError>;
}

/// The container engine.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Its version, for example `20.10.24`.
    pub version: String,
    /// The folder it keeps its data in.
    pub data_root: String,
}

/// What the app's container needs to know of the release.
#[derive(Debug, Clone)]
pub struct App {
    /// The release file's digest; becomes a label, so that a container can be recognised.
    pub release: Digest,
    /// The release's version; becomes a label.
    pub version: String,
    /// The image.
    pub image: Image,
}

/// A container found in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotContainer {
    /// The release file's digest, from the container's label.
    pub release: Option<Digest>,
    /// The version, from the container's label.
    pub version: String,
    /// Whether it runs.
    pub running: bool,
    /// How its process ended, when it does not run.
    pub exit_code: Option<i64>,
}

/// A command that ran inside a container.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code.
    pub exit_code: i64,
    /// The end of what it printed, both streams, 4 KiB at most.
    pub output: String,
}

/// Why the container engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// To be written by the owner of this file; keep this one for the fakes of tests.
    #[error("{0}")]
    Other(String),
}
