//! `snapshot`: take, look at, prove, restore and forget snapshots of nodes' databases.

mod list;
mod prune;
mod restore;

use clap::{Args, Subcommand};
use ulid::Ulid;

use super::{Context, Nodes, pace::Patience, walk::interruption};
use crate::{
    client::{Client, Order},
    error::{Error, Kind, Result},
    jobs::{self, Outcome},
    ui::jobs::Jobs,
};

/// Take, look at, prove, restore and forget snapshots of the nodes' databases
///
/// What takes long goes on by itself on the node, whether or not this program stays connected.
#[derive(Subcommand)]
pub(crate) enum Snapshot {
    Create(Create),
    List(list::List),
    Verify(Verify),
    Restore(restore::Restore),
    Prune(prune::Prune),
}

/// Take a snapshot of each node's database, all at the same time
#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    patience: Patience,
}

/// Prove a snapshot: read it back, restore it beside the live database, compare, and drop it again
#[derive(Args)]
pub(crate) struct Verify {
    /// Its id, as `snapshot list` shows it [default: each node's newest]
    #[arg(value_name = "ID")]
    snapshot: Option<Ulid>,
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    patience: Patience,
}

impl Snapshot {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Create(create) => {
                let order = Order::Create;
                on_nodes(context, &create.nodes, &order, &create.patience).await
            }
            Self::List(list) => list.run(context).await,
            Self::Verify(verify) => {
                let order = Order::Verify(verify.snapshot);
                on_nodes(context, &verify.nodes, &order, &verify.patience).await
            }
            Self::Restore(restore) => restore.run(context).await,
            Self::Prune(prune) => prune.run(context).await,
        }
    }
}

async fn on_nodes(
    context: &Context,
    nodes: &Nodes,
    order: &Order,
    patience: &Patience,
) -> Result<()> {
    let session = context.signing_session()?;
    let clients = session.clients(&session.file.choose(&nodes.nodes)?)?;
    let outcomes = carry_out(context, &clients, order, patience).await?;
    let errors = outcomes.iter().filter_map(Outcome::error);
    Error::several(errors).map_or(Ok(()), Err)
}

/// Has the nodes carry it out, shows how far they are and tells what came of it. That a job failed
/// is in its outcome.
async fn carry_out(
    context: &Context,
    clients: &[Client],
    order: &Order,
    patience: &Patience,
) -> Result<Vec<Outcome>> {
    let reporter = context.ui.job_reporter();
    // Installed before anything is ordered, so that no order goes out without it.
    let interrupted = interruption()?;
    let outcomes = tokio::select! {
        outcomes = jobs::carry_out(clients, order, patience.retry_for, reporter.as_ref()) => outcomes,
        () = interrupted => return Err(left_alone(context)),
    };
    let told = Jobs::of(&outcomes);
    context.ui.data(|| told.text(), &told)?;
    Ok(outcomes)
}

fn left_alone(context: &Context) -> Error {
    Error::new(
        Kind::Interrupted,
        "interrupted; what the nodes have begun goes on by itself",
    )
    .next(format!(
        "to see what they are at: {}",
        context.command("status")
    ))
}
