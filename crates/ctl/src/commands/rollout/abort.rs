//! `rollout abort ID`: gives a rollout up, wherever it is.

use clap::Args;
use futures::future::join_all;
use togather_model::Ulid;

use super::super::Context;
use crate::{
    client::Client,
    error::{Error, Result},
    rollout::{leases::proof_of, taken_up},
    ui::rollouts::RolloutStatus,
};

/// Give a rollout up: no node is begun any more, and the leases end
///
/// Nothing is taken back: each node stays on the version it is on, and one that is in the middle of
/// a deployment finishes it. `rollback` brings nodes back.
#[derive(Args)]
pub(super) struct Abort {
    /// The rollout's id, as `rollout list` shows it
    id: Ulid,
}

impl Abort {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let session = context.signing_session()?;
        let clients = session.clients(&session.file.fleet.nodes)?;
        let mut known = taken_up::find(&clients, self.id).await?;
        let nodes = &known.rollout.nodes;
        let chosen: Vec<Client> = clients
            .into_iter()
            .filter(|client| nodes.iter().any(|name| name == client.name()))
            .collect();
        let ended = join_all(chosen.iter().map(|client| end(client, self.id))).await;
        let standings = taken_up::standings(&chosen, self.id).await?;

        known.ending = Some(taken_up::ABORTED.to_owned());
        let status = RolloutStatus::of(known, &standings);
        context
            .ui
            .data(|| status.text(togather_model::Timestamp::now()), &status)?;
        Error::several(ended.into_iter().filter_map(Result::err)).map_or(Ok(()), Err)
    }
}

/// Writes the end down on a node, and ends the lease if it is this rollout's.
async fn end(client: &Client, rollout: Ulid) -> Result<()> {
    if client.rollouts(Some(rollout)).await?.is_empty() {
        return Ok(());
    }
    client.end_rollout(rollout, taken_up::ABORTED).await?;
    match client.status().await?.lease {
        Some(lease) if lease.holder == rollout => {
            client.release_lease(proof_of(&lease), false).await
        }
        Some(_) | None => Ok(()),
    }
}
