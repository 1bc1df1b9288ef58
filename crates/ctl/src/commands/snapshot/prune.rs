//! `snapshot prune`: forget what nothing asks to keep.

use clap::Args;
use togather_model::Timestamp;

use super::{
    super::{Context, Nodes, pace::Patience},
    carry_out, list,
};
use crate::{
    client::{Client, Order},
    error::{Error, Result},
    jobs::Outcome,
    ui::shelves::Shelves,
};

/// Forget the snapshots that nothing asks to keep, the databases that restores replaced long ago, and
/// what interrupted work left
///
/// Which ones are kept, and why, each node decides by its own policy; the last verified one is kept
/// whatever the policy says. A database that a restore replaced is dropped for good once it is older
/// than that policy keeps snapshots for and one taken since is verified: then that restore cannot be
/// taken back any more.
#[derive(Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    nodes: Nodes,
    /// Show what would go, what would stay and why, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    patience: Patience,
}

impl Prune {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let session = if self.dry_run {
            context.session()?
        } else {
            context.signing_session()?
        };
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let (nodes, mut errors) = list::survey(&clients, None).await;
        let concerned: Vec<Client> = clients
            .iter()
            .zip(&nodes)
            .filter(|(_, node)| node.has_something_to_forget())
            .map(|(client, _)| client.clone())
            .collect();
        let plan = Shelves::prune_plan(nodes, Timestamp::now());
        context.ui.data(|| plan.prune_text(), &plan)?;
        if !self.dry_run && concerned.is_empty() && errors.is_empty() {
            context.ui.say("nothing to forget");
        } else if !self.dry_run && !concerned.is_empty() {
            context.ui.confirm(
                "Forget for good what goes, and drop the databases that go?",
                self.yes,
            )?;
            let outcomes = carry_out(context, &concerned, &Order::Prune, &self.patience).await?;
            errors.extend(outcomes.iter().filter_map(Outcome::error));
        }
        Error::several(errors).map_or(Ok(()), Err)
    }
}
