//! Why there is no snapshot, or none to rely on.

use togather_model::Ulid;

use crate::{containers::ContainersError, database::DatabaseError};

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store's address cannot be used.
    #[error("the snapshot store `{address}` cannot be used: {why}")]
    Address {
        /// The address, without any secret.
        address: String,
        /// Why not.
        why: String,
    },
    /// The store did not do what was asked.
    #[error("the snapshot store did not {doing}: {why}")]
    Store {
        /// What was asked.
        doing: String,
        /// What stood in the way.
        why: String,
    },
    /// The database did not answer, or refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A program could not be run where it is to run.
    #[error("{program} could not be run")]
    Container {
        /// The program.
        program: &'static str,
        /// What the container engine said.
        #[source]
        source: ContainersError,
    },
    /// The programs are not of the server's version.
    #[error(
        "the image `{image}` has {}, and the server is PostgreSQL {server}: a dump is only sure to be restorable when both are of one major version; set `database.client_image: postgres:{major}` in deployment.yml", which(.said)
    )]
    DoesNotFit {
        /// The image.
        image: String,
        /// What `pg_dump --version` printed.
        said: String,
        /// The server's version.
        server: String,
        /// Its major version.
        major: u32,
    },
    /// Containers of programs that were interrupted are still there.
    #[error("what interrupted programs left was not removed")]
    LeftOvers(#[source] ContainersError),
    /// A program ran and failed.
    #[error("{program} ended with exit code {exit_code}{}{}", killed(*.exit_code), printed(.said))]
    Program {
        /// The program.
        program: &'static str,
        /// Its exit code.
        exit_code: i64,
        /// The end of what it printed on standard error.
        said: String,
    },
    /// A program printed more than can be right.
    #[error("{program} printed more than {limit} bytes")]
    TooMuch {
        /// The program.
        program: &'static str,
        /// The limit.
        limit: usize,
    },
    /// No snapshot has this id.
    #[error(
        "there is no snapshot {0} in the store; `togather-ctl snapshot list` shows those there are"
    )]
    Unknown(Ulid),
    /// Another node took it.
    #[error(
        "the snapshot {0} is of {1}, not of this node; to use it here, name its place with --store"
    )]
    Foreign(Ulid, String),
    /// The disk is nearly full.
    #[error(
        "{} has {free} bytes free; a snapshot leaves {wanted} (`strategy.min_disk_free`): free some room, `docker system df` shows what takes it", folder.display()
    )]
    DiskFull {
        /// The folder on it.
        folder: std::path::PathBuf,
        /// What is free, in bytes.
        free: u64,
        /// What must stay free, in bytes.
        wanted: u64,
    },
    /// A manifest with this name is there already.
    #[error("the store holds another snapshot's manifest by the name {0}")]
    Taken(String),
    /// The dump is not what was stored.
    #[error("{dump} is damaged: {why}; do not rely on it, take another snapshot")]
    Damaged {
        /// The dump's name.
        dump: String,
        /// What does not match.
        why: String,
    },
    /// It was taken of a newer PostgreSQL than the node's.
    #[error(
        "{dump} was taken of PostgreSQL {taken_of}, and this server is {server}: it cannot read what a newer one \
         wrote. Nothing was touched; restore it where PostgreSQL is at least as new"
    )]
    TooNew {
        /// The dump's name.
        dump: String,
        /// The version of the server it was taken of.
        taken_of: String,
        /// The version of this node's server.
        server: String,
    },
    /// What was restored is not what was dumped.
    #[error("{dump} was restored, but differs from what was there when it was taken: {}", .differences.join("; "))]
    Differs {
        /// The dump's name.
        dump: String,
        /// How, a phrase each.
        differences: Vec<String>,
    },
    /// Some manifests cannot be read, or lack their dump.
    #[error("the store holds what is no whole snapshot: {}; look at it and remove it by hand", .0.join("; "))]
    Unreadable(Vec<String>),
    /// The store did not take a snapshot, and neither did the spool.
    #[error("the snapshot could not be spooled either, after {first}")]
    NotSpooled {
        /// Why it went to the spool.
        first: Box<SnapshotError>,
        /// Why it did not fit there.
        #[source]
        source: Box<SnapshotError>,
    },
    /// The spool has no room for it.
    #[error(
        "the spool had room for {room} bytes, and the dump is larger; see `snapshots.spool` in agent.yml"
    )]
    SpoolFull {
        /// What there was room for.
        room: u64,
    },
    /// For stand-ins in tests.
    #[error("{0}")]
    Other(String),
}

fn which(said: &str) -> &str {
    match said {
        "" => "a pg_dump that does not say its version",
        said => said,
    }
}

/// What a program cannot say itself.
const fn killed(exit_code: i64) -> &'static str {
    match exit_code {
        137 => " (it was killed)",
        _ => "",
    }
}

fn printed(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

impl SnapshotError {
    pub(super) fn store(doing: impl Into<String>, error: &object_store::Error) -> Self {
        Self::Store {
            doing: doing.into(),
            why: with_causes(error),
        }
    }
}

/// The error and what lies below it. The texts of object_store repeat those of their sources, but not
/// the last ones: that nothing answered in time, or that nobody listens.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
