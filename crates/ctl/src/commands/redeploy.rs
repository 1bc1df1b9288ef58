//! `redeploy`: nodes make their live release anew, from their files as they are now.

use bytes::Bytes;
use clap::Args;
use togather_model::rollout::Rollout;

use super::{
    Context, Nodes,
    pace::{Consent, Pace},
    walk::{self, Intent},
};
use crate::{client::Wanted, error::Result};

/// Apply what was edited on the nodes (environment, Compose file) to the release that is live there
///
/// Each node starts its live release once more, from its files as they are now, and traffic moves to
/// it as in a rollout: blue-green, one node after the other, taken back by itself when it fails.
/// `rollback` brings the values back that it was made with before. Nodes whose files have not changed
/// are left alone. Base services are not touched.
#[derive(Args)]
pub(crate) struct Redeploy {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    consent: Consent,
}

impl Redeploy {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let session = walk::session(context, &self.consent)?;
        let nodes = session.file.choose(&self.nodes.nodes)?;
        let names = walk::names(&nodes);
        let intent = Intent {
            rollout: Rollout {
                redeploy: true,
                ..self.pace.rollout(session.operator().to_string(), names)
            },
            wanted: Wanted::Again,
            stored: Some(Bytes::new()),
            archive: None,
            prefetch: false,
            question: |version, nodes| format!("Redeploy {version} on {}?", walk::nodes(nodes)),
            unnamed: "what is live",
            nothing: "nothing to do: every node that answers runs with what its files say",
        };
        walk::survey_and_walk(context, session.clients(&nodes)?, intent, &self.consent).await
    }
}
