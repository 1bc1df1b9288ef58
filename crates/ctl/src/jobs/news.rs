//! What happens while jobs run on nodes, as one stream: bars, plain lines and JSON lines are all
//! made of it.

use serde::Serialize;

use super::Outcome;
use crate::client::Job;

/// Something that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event")]
pub enum News<'a> {
    /// How far a node's job is.
    #[serde(rename = "job")]
    Job {
        /// The node's name.
        node: &'a str,
        /// The job as it is now.
        job: &'a Job,
    },
    /// A node cannot be reached at the moment; it is tried again.
    #[serde(rename = "job.node.lost")]
    Lost {
        /// Its name.
        node: &'a str,
        /// Why.
        why: String,
    },
    /// A node that could not be reached is back.
    #[serde(rename = "job.node.found")]
    Found {
        /// Its name.
        node: &'a str,
    },
    /// A node is finished with. The summary says it all again.
    #[serde(skip)]
    Ended(&'a Outcome),
}

/// Whoever wants to know.
pub trait Reporter: Send + Sync {
    /// Takes notice. It must not block for long: the watching waits.
    fn tell(&self, news: &News<'_>);
}
