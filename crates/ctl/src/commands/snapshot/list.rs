//! `snapshot list`: what is in the nodes' stores.

use clap::Args;
use futures::future::join_all;
use togather_model::Timestamp;

use super::super::{Context, LookedAt};
use crate::{
    client::Client,
    error::{Error, Result},
    ui::shelves::{NodeShelf, Shelves},
};

/// Show the nodes' snapshots, newest first, and why each is kept or that it is not
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    nodes: LookedAt,
    /// Look into this store instead of each node's own, for example that of a node that was lost:
    /// file:///…, s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let (nodes, errors) = survey(&clients, self.store.as_deref()).await;
        let shelves = Shelves::list(self.store, nodes, Timestamp::now());
        context.ui.data(|| shelves.text(), &shelves)?;
        Error::several(errors).map_or(Ok(()), Err)
    }
}

/// What is in each node's store, in their order, and what kept nodes from answering.
pub(super) async fn survey(
    clients: &[Client],
    store: Option<&str>,
) -> (Vec<NodeShelf>, Vec<Error>) {
    let asked = join_all(clients.iter().map(|client| client.snapshots(store))).await;
    let mut errors = Vec::new();
    let nodes = clients.iter().zip(asked).map(|(client, answer)| {
        if let Ok(shelf) = &answer
            && let Some(failure) = shelf.failure.clone()
        {
            errors.push(Error::of_node(client.name(), failure));
        }
        let answer = answer.map_err(|error| {
            let text = error.to_string();
            errors.push(error);
            text
        });
        NodeShelf::of(client.name(), answer)
    });
    (nodes.collect(), errors)
}
