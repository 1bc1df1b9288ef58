//! `status`: how the nodes are.

use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use togather_model::Timestamp;

use super::{Context, LookedAt};
use crate::{error::Result, session::Session, ui::status::FleetStatus};

/// How long the picture stands before it is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_secs(2);

/// Show how the nodes are: version, health, schema, last good snapshot, lease, what is under way
///
/// A node that does not answer is a row too; the exit code is then 6. With --check it is also
/// non-zero if a node is stuck (8), its schema dirty (5), its app not serving (4), or something
/// is not as the node means it to be, its last verified snapshot is too old, or taking or verifying
/// one failed the last time (1).
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    nodes: LookedAt,
    /// Look again every two seconds, until Ctrl-C; redraws on a terminal
    #[arg(long, conflicts_with = "check")]
    watch: bool,
    /// Fail if anything is not as it should be
    #[arg(long)]
    check: bool,
}

impl Status {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        loop {
            let status = self.ask(&session).await?;
            if self.watch {
                context.ui.redraw();
            }
            context.ui.data(|| status.text(), &status)?;
            if !self.watch {
                return status.error(self.check).map_or(Ok(()), Err);
            }
            tokio::time::sleep(REDRAW_EVERY).await;
        }
    }

    async fn ask(&self, session: &Session) -> Result<FleetStatus> {
        let nodes = session.file.choose(&self.nodes.nodes)?;
        let clients = session.clients(&nodes)?;
        let answers = join_all(clients.iter().map(|client| client.status())).await;
        Ok(FleetStatus::of(
            &session.file.fleet.name,
            nodes.into_iter().zip(answers).collect(),
            Timestamp::now(),
        ))
    }
}
