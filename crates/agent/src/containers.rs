//! Docker, through bollard: images, the base services and the two slots of the app.

pub mod compose;
mod docker;
mod errand;
mod exec;
mod one_shot;
pub mod pull;
pub mod registry;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use togather_model::{Digest, Image, Slot};

pub use compose::{Compose, ComposeError};
pub use docker::Docker;
pub use errand::{Errand, ErrandEnd};
pub use exec::{Exec, Output, Process};
pub use one_shot::{FILES, OneShot, OneShotFile, OneShots};
pub use pull::{PullError, PullFailure, Puller, UNPACKING};
pub use registry::{Registries, RegistryError};

use crate::progress::Say;

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

    /// Whether the image is made for this machine's processor, as far as the node knows the image, or
    /// its registry tells without a pull. Who cannot be asked does not refuse it.
    async fn fits(&self, image: &Image) -> Result<(), ContainersError>;

    /// Pulls the image by digest and checks what came, telling how far it is. An archive must have
    /// been loaded before. What may pass by itself is tried again a few times. Returns what the image
    /// takes on disk, in bytes.
    async fn fetch(&self, image: &Image, say: Say<'_>) -> Result<u64, ContainersError>;

    /// Loads an image archive whose SHA-256 was checked, and names it as [`Image::reference`] says.
    async fn load(&self, image: &Image, archive: &Path) -> Result<(), ContainersError>;

    /// Starts the app in this slot, in place of whatever container the slot held.
    async fn start_slot(&self, slot: Slot, app: &App) -> Result<(), ContainersError>;

    /// A fingerprint of what a container that was started now in a slot would be made from, besides its
    /// release: the app's service with its environment, and its port. `None`: it cannot be told.
    fn made_of(&self) -> Option<Digest>;

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

    /// The ones of these programs that the image lacks. A name without a slash is looked for as the
    /// app's container would: on its PATH.
    async fn missing_programs(
        &self,
        image: &Image,
        programs: &[String],
    ) -> Result<Vec<String>, ContainersError>;

    /// Runs a command to its end, in a container of its own that is then removed.
    async fn run_errand(&self, errand: &Errand) -> Result<ErrandEnd, ContainersError>;

    /// The role that the app's DATABASE_URL names, if it does.
    fn app_role(&self) -> Option<String>;

    /// The most connections to the database that one version of the app opens, if it is told how many
    /// (`DATABASE_MAX_CONNECTIONS` in its environment).
    fn app_connections(&self) -> Option<u64>;

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
    /// What it was made from, as [`Containers::made_of`] told then; `None`: its label does not say.
    pub made_of: Option<Digest>,
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

/// What a library or the engine said.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the container engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// The socket cannot be used as one.
    #[error("`{}` cannot be Docker's socket; expected an absolute path such as `/run/docker.sock`", .0.display())]
    Socket(PathBuf),
    /// Nobody answers on the socket, or nobody this agent can talk to.
    #[error("Docker does not answer on {}; look at `systemctl status docker`, and whether the agent may use the socket", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        source: Cause,
    },
    /// The engine answered, and did not do it.
    #[error("Docker did not {what}")]
    Engine {
        /// What was asked of it.
        what: String,
        /// What it says.
        source: Cause,
    },
    /// A base service did not become healthy.
    #[error("the service `{service}` did not come up: {why}; its last lines were:\n{logs}")]
    NotUp {
        /// The service.
        service: String,
        /// How its container looks.
        why: String,
        /// The end of its log.
        logs: String,
    },
    /// A base service's image is neither here nor to be had.
    #[error(
        "the image `{image}` of the service `{service}` is not on the node; bring it with `docker pull`, `docker load` or `docker build`, or name another in the Compose file"
    )]
    NoImage {
        /// The service.
        service: String,
        /// Its image.
        image: String,
        /// Why it was not pulled.
        source: Box<ContainersError>,
    },
    /// The image of PostgreSQL's programs is neither here nor to be had.
    #[error(
        "the image `{image}`, which has PostgreSQL's programs, is not on the node; bring it with `docker pull` or `docker load`, or name another as `database.client_image` in deployment.yml"
    )]
    NoClientImage {
        /// The image.
        image: String,
        /// Why it was not pulled.
        source: Box<ContainersError>,
    },
    /// Something that must have been made before.
    #[error("there is no {kind} `{name}`")]
    NotThere {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An image that is never to be pulled is not on the node.
    #[error(
        "the image `{0}` is not on this node, and `pull_policy: never` keeps it from being pulled"
    )]
    NeverPulled(String),
    /// The app's environment asks for the address of its network's gateway, and there is none.
    #[error("the app's environment uses `TOGATHER_PROXY_CIDRS`, but {}", match .0 {
        Some(network) => format!("the network `{network}` has no gateway"),
        None => "the app is on no network".to_owned(),
    })]
    NoGateway(Option<String>),
    /// A pull failed.
    #[error(transparent)]
    Pull(Box<PullError>),
    /// Whom to log in to a registry as is not known.
    #[error("cannot log in to the registry of `{image}`")]
    Login {
        /// The image.
        image: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// An image for other machines.
    #[error("`{image}` is made for {made_for}, and this node is {here}")]
    OtherPlatform {
        /// The image.
        image: String,
        /// What it is made for, such as `linux/arm64`.
        made_for: String,
        /// What the node is.
        here: String,
    },
    /// A pull that does not get on.
    #[error("the pull of `{image}` made no progress for {} s", silent.as_secs())]
    PullStalled {
        /// The image.
        image: String,
        /// The time without a word.
        silent: Duration,
    },
    /// The registry gave something else.
    #[error("the registry was asked for {wanted} and gave {came}")]
    OtherDigest {
        /// The pinned reference.
        wanted: String,
        /// The digests of what came.
        came: String,
    },
    /// An image that only an archive can bring.
    #[error("the image {0} has no registry; its archive must be loaded first")]
    NotLoaded(String),
    /// The archive could not be read.
    #[error("cannot read the image archive {}", archive.display())]
    Archive {
        /// The file.
        archive: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive does not hold exactly one image.
    #[error("the image archive {} must hold one image; it holds: {names}", archive.display())]
    NotOneImage {
        /// The file.
        archive: PathBuf,
        /// What was found in it.
        names: String,
    },
    /// A slot that should hold a container.
    #[error("the slot {0} holds no container")]
    EmptySlot(Slot),
    /// A container that Docker keeps removing.
    #[error("the container {0} is being removed and does not go away")]
    NotRemoved(String),
    /// The stream between the agent and a program broke.
    #[error("the connection to `{program}` broke off in the middle of its output")]
    Stream {
        /// The program.
        program: String,
    },
    /// A program that closed its output and goes on.
    #[error("`{program}` still runs {} s after it closed its output", waited.as_secs())]
    StillRunning {
        /// The program.
        program: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A program that took all the memory it may have.
    #[error("`{program}` was ended because it took more than {} MiB of memory", limit >> 20)]
    OutOfMemory {
        /// The program.
        program: String,
        /// What it may have, in bytes.
        limit: u64,
    },
    /// A command had its time. Docker cannot end it; it may still run inside the container.
    #[error("`{command}` had not ended after {} s and may still be running; it printed last:\n{output}", limit.as_secs())]
    TookTooLong {
        /// The command.
        command: String,
        /// Its time.
        limit: Duration,
        /// The end of what it printed.
        output: String,
    },
    /// An errand had its time, and was ended.
    #[error("`{command}` had not ended after {} s, and was ended; it printed last:\n{output}", limit.as_secs())]
    WasEnded {
        /// The command.
        command: String,
        /// Its time.
        limit: Duration,
        /// The end of what it printed.
        output: String,
    },
    /// The app is not told where its database is in a way that another database's name can be put
    /// into.
    #[error(
        "the app's DATABASE_URL in docker-compose.yml is no address like `postgres://user:password@host/database`, so \
         no other database can be named in it"
    )]
    NoDatabaseUrl,
    /// For the fakes of tests.
    #[error("{0}")]
    Other(String),
}
