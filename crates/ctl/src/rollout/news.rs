//! What happens during a rollout, as one stream: what the nodes report, and what the controller
//! does between them. The terminal, plain lines and JSON lines are all made of it.

use serde::Serialize;
use togather_model::{Event, OperationKind, Ulid, rollout::Progress};

use crate::client::{Fetched, Fetching};

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event")]
pub enum News<'a> {
    /// The leases are taken; the first node is next.
    #[serde(rename = "rollout.started")]
    Started {
        /// The rollout or rollback.
        rollout: Ulid,
        /// The version it brings.
        version: &'a str,
        /// The nodes, in the order they are walked through.
        nodes: &'a [String],
    },
    /// A node is next.
    #[serde(rename = "rollout.node.started")]
    NodeStarted {
        /// Its name.
        node: &'a str,
        /// What is ordered.
        order: OperationKind,
    },
    /// The image goes to a node that lacks it.
    #[serde(rename = "rollout.image.sending")]
    SendingImage {
        /// The node's name.
        node: &'a str,
        /// The archive's size.
        bytes: u64,
    },
    /// A node fetches the image, before any node is touched.
    #[serde(rename = "rollout.image.fetching")]
    Fetching {
        /// Its name.
        node: &'a str,
        /// How far it is.
        #[serde(flatten)]
        progress: &'a Fetching,
    },
    /// A node has the image.
    #[serde(rename = "rollout.image.fetched")]
    Fetched {
        /// Its name.
        node: &'a str,
        /// What it has.
        #[serde(flatten)]
        image: &'a Fetched,
    },
    /// A node does not get the image.
    #[serde(rename = "rollout.image.failed")]
    FetchFailed {
        /// Its name.
        node: &'a str,
        /// Why.
        why: String,
    },
    /// A node cannot be reached at the moment; it is tried again.
    #[serde(rename = "rollout.node.lost")]
    NodeLost {
        /// Its name.
        node: &'a str,
        /// Why.
        why: String,
    },
    /// A node that could not be reached is back.
    #[serde(rename = "rollout.node.found")]
    NodeFound {
        /// Its name.
        node: &'a str,
    },
    /// A node is finished with.
    #[serde(rename = "rollout.node.ended")]
    NodeEnded {
        /// Its name.
        node: &'a str,
        /// How far it came.
        progress: Progress,
    },
    /// A lease or the rollout's end could not be written down on a node.
    #[serde(rename = "rollout.warning")]
    Warning {
        /// The node's name.
        node: &'a str,
        /// What, and what follows from it.
        message: String,
    },
    /// What a node reports.
    #[serde(untagged)]
    Node(&'a Event),
}

/// Whoever wants to know.
pub trait Reporter: Send + Sync {
    /// Takes notice. It must not block for long: the rollout waits.
    fn tell(&self, news: &News<'_>);
}
