//! Programs that each run in a container of their own, made for one run and removed after it: how
//! `pg_dump` and `pg_restore` reach a database that is no container of this node.

use async_trait::async_trait;
use secrecy::SecretSlice;
use togather_model::Ulid;

use super::{ContainersError, Process};

/// The folder in the container that [`OneShot::files`] lie in.
pub const FILES: &str = "/run/togather";

/// What can run a program in a container of its own.
#[async_trait]
pub trait OneShots: Send + Sync {
    /// Starts the program in a new container, in the network of this machine, so that an address
    /// means there what it means here. The image is pulled if it is not here. The container is
    /// removed once the exit code was awaited, or the process is dropped.
    async fn run_once(&self, program: &OneShot) -> Result<Process, ContainersError>;

    /// Whether an image of this name is on the node.
    async fn is_here(&self, image: &str) -> Result<bool, ContainersError>;

    /// Ends this job's programs and removes their containers. None is fine.
    async fn end_one_shots(&self, job: Ulid) -> Result<(), ContainersError>;

    /// Removes the containers that an earlier run of the agent left. Only the first call that
    /// succeeds does so: what is there later belongs to this run.
    async fn remove_left_overs(&self) -> Result<(), ContainersError>;
}

/// A program to be run in a container of its own.
pub struct OneShot {
    /// The image that has it.
    pub image: String,
    /// The program and its arguments; no shell. Anybody on the machine can see them.
    pub command: Vec<String>,
    /// The program's environment. `docker inspect` shows it: no secret belongs here.
    pub environment: Vec<(String, String)>,
    /// Files that only the program can read, in the folder [`FILES`]. Here secrets belong.
    pub files: Vec<OneShotFile>,
    /// The job it belongs to; becomes a label, so that it is found when the job is put in order.
    pub job: Option<Ulid>,
}

/// A file for a program, mode 0600.
pub struct OneShotFile {
    /// Its name in the folder [`FILES`].
    pub name: &'static str,
    /// What is in it.
    pub content: SecretSlice<u8>,
}
