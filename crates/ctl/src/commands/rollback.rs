//! `rollback`: nodes go back to a version they have run before.

use std::time::Duration;

use clap::Args;

use super::{
    Context, Nodes,
    pace::{Consent, one_by_one},
    span,
    walk::{self, Intent},
};
use crate::{client::Wanted, error::Result};

/// Bring nodes back to the version before, or to one they have run earlier
///
/// Nodes go back one after the other, in the reverse of the order in which a rollout walks through
/// them: the one that changed last goes first. The database stays as it is: migrations only move
/// forward.
#[derive(Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    nodes: Nodes,
    /// The version to go back to [default: the one before the live one]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// How long each node is watched before the next begins [default: as the node's strategy says]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    soak: Option<Duration>,
    #[command(flatten)]
    consent: Consent,
}

impl Rollback {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let session = walk::session(context, &self.consent)?;
        let mut nodes = session.file.choose(&self.nodes.nodes)?;
        nodes.reverse();
        let names = walk::names(&nodes);
        let intent = Intent {
            rollout: one_by_one(session.operator().to_string(), names, self.soak),
            wanted: Wanted::Back(self.to),
            stored: None,
            archive: None,
            prefetch: false,
            question: |version, nodes| format!("Bring {} back to {version}?", walk::nodes(nodes)),
            unnamed: "the version before",
            nothing: "nothing to do: every node is there already",
        };
        walk::survey_and_walk(context, session.clients(&nodes)?, intent, &self.consent).await
    }
}
