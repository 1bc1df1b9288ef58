//! `rollout list` and `rollout status`: rollouts as the nodes remember them.

use clap::Args;
use togather_model::{Timestamp, Ulid};

use super::super::Context;
use crate::{
    client::Client,
    error::{Error, Result},
    rollout::taken_up,
    ui::rollouts::{RolloutStatus, Rollouts},
};

/// Show where the nodes of a rollout stand
#[derive(Args)]
pub(super) struct Status {
    /// The rollout's id [default: the newest]
    id: Option<Ulid>,
}

/// Lists the rollouts that the nodes remember. Nodes that could not be asked are named afterwards.
pub(super) async fn list(context: &Context) -> Result<()> {
    let session = context.session()?;
    let clients = session.clients(&session.file.fleet.nodes)?;
    let (known, errors) = taken_up::known(&clients, None).await;
    let rollouts = Rollouts::of(known);
    context
        .ui
        .data(|| rollouts.text(Timestamp::now()), &rollouts)?;
    Error::several(errors).map_or(Ok(()), Err)
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        let clients = session.clients(&session.file.fleet.nodes)?;
        let (known, errors) = taken_up::known(&clients, self.id).await;
        let Some(known) = known.into_iter().next() else {
            return Err(Error::several(errors).unwrap_or_else(|| match self.id {
                Some(id) => Error::usage(format!("no node knows the rollout {id}")),
                None => Error::other("no node remembers a rollout"),
            }));
        };
        let chosen: Vec<Client> = clients
            .into_iter()
            .filter(|client| known.rollout.nodes.iter().any(|name| name == client.name()))
            .collect();
        let standings = taken_up::standings(&chosen, known.rollout.id).await?;
        let status = RolloutStatus::of(known, &standings);
        context.ui.data(|| status.text(Timestamp::now()), &status)?;
        Error::several(errors).map_or(Ok(()), Err)
    }
}
