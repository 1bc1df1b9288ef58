//! What a node looked like when it was asked: the planner's only source about it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, failure::Failure, fitness::Verdict, line::Line, slot::Slot};

/// A node as it was found, before anything was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The node's name.
    pub node: String,
    /// The release that gets the traffic; `None` on an empty node.
    pub live: Option<Live>,
    /// Whether the live release answers healthy now.
    pub live_healthy: bool,
    /// What it says of itself, if it could be asked.
    pub live_verdict: Option<Verdict>,
    /// The database's schema.
    pub schema: Schema,
    /// The numbers of the migrations that brought the schema to where it is, as far as a release
    /// says; empty: not known.
    #[serde(default)]
    pub ran: Vec<u64>,
    /// The numbers that the tables of other lines say ran; without a line whose table is not there.
    #[serde(default)]
    pub other_lines: BTreeMap<Line, Vec<u64>>,
    /// The database's size in bytes, when it could be asked.
    pub database_bytes: u64,
    /// What taking and proving a snapshot takes of this machine's disk at most, in bytes.
    pub snapshot_disk: u64,
    /// Why no snapshot can be taken, as far as is known.
    pub no_snapshot: Option<Failure>,
    /// Free bytes on the file system that holds Docker's data and the local snapshots.
    pub disk_free: u64,
    /// The series of the live version that a soak would watch.
    #[serde(default)]
    pub series: Series,
    /// What the app and the database say of connections; `None`: one of them says nothing.
    #[serde(default)]
    pub connections: Option<Connections>,
    /// What is doubtful about the node, and stands in no plan's way, a sentence each.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// What is wrong with the node already, as preflight found it. Any of these refuses a plan.
    pub problems: Vec<Failure>,
}

/// The series in the live version's metrics that counts requests by status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Series {
    /// Nothing is live, or it could not be asked.
    #[default]
    Unknown,
    /// It is called this.
    Named(String),
    /// There is none: what there is instead.
    Missing(String),
    /// Nobody wants one watched.
    Unwanted,
}

/// Connections to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// The most that one version of the app opens.
    pub app: u64,
    /// The most that the server allows to those who are no superusers.
    pub server: u64,
}

/// The release that gets a node's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The slot it runs in.
    pub slot: Slot,
    /// The release file's digest.
    pub release: Digest,
    /// Its version.
    pub version: String,
    /// Its full git commit.
    pub git_commit: String,
    /// The schema its code was built for.
    pub schema: u64,
    /// And that of each other line that its release carried.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_lines: BTreeMap<Line, u64>,
    /// A fingerprint of the environment and the Compose service that its container was made from;
    /// `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<Digest>,
}

impl Observed {
    /// The newest migration of the line that ran, if any did.
    #[must_use]
    pub fn version(&self, line: Line) -> Option<u64> {
        match line {
            Line::App => self.schema.version(),
            Line::River => self.ran(line).iter().max().copied(),
        }
    }

    /// The migrations of the line that ran, as far as is known.
    #[must_use]
    pub fn ran(&self, line: Line) -> &[u64] {
        match line {
            Line::App => &self.ran,
            Line::River => self.other_lines.get(&line).map_or(&[], Vec::as_slice),
        }
    }
}

impl Live {
    /// What of the line its code was built for; `None`: its release says nothing about it.
    #[must_use]
    pub fn schema_of(&self, line: Line) -> Option<u64> {
        match line {
            Line::App => Some(self.schema),
            Line::River => self.other_lines.get(&line).copied(),
        }
    }

    /// Whether its container is of this release and was made from the same; where that is not known of
    /// one of them, it is taken to be so.
    #[must_use]
    pub fn is(&self, release: Digest, made_of: Option<Digest>) -> bool {
        let differs = match (self.made_of, made_of) {
            (Some(has), Some(wanted)) => has != wanted,
            (None, _) | (_, None) => false,
        };
        self.release == release && !differs
    }

    /// Whether its container is of this release and is known to have been made from the same.
    #[must_use]
    pub fn is_surely(&self, release: Digest, made_of: Option<Digest>) -> bool {
        self.made_of.is_some() && self.made_of == made_of && self.release == release
    }
}

/// The state of the database's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// There is no database yet: the first deployment provisions it.
    NoDatabase,
    /// The database holds no tables of anyone's but perhaps those of other lines.
    Empty,
    /// Tables, but no migration bookkeeping, or an empty one: somebody else's database.
    Unversioned,
    /// As golang-migrate's bookkeeping says.
    At {
        /// The newest migration that ran.
        version: u64,
        /// A migration failed half-way and nobody has said yet that the schema is whole.
        dirty: bool,
    },
}

impl Schema {
    /// The newest migration that ran, if any did.
    #[must_use]
    pub const fn version(self) -> Option<u64> {
        match self {
            Self::At { version, .. } => Some(version),
            Self::NoDatabase | Self::Empty | Self::Unversioned => None,
        }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDatabase => f.pad("no database"),
            Self::Empty => f.pad("empty"),
            Self::Unversioned => f.pad("unversioned"),
            Self::At {
                version,
                dirty: false,
            } => f.pad(&version.to_string()),
            Self::At {
                version,
                dirty: true,
            } => f.pad(&format!("{version} (dirty)")),
        }
    }
}
