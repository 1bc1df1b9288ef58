//! `history`: what nodes have been through.

use clap::Args;
use futures::future::join_all;

use super::{Context, LookedAt};
use crate::{
    client::History as Past,
    error::{Error, Result},
    ui::history::{History as Answer, NodeHistory},
};

/// Show the deployments and rollbacks of nodes, and what happened to their snapshots, newest first
#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    nodes: LookedAt,
    /// At most this many deployments, and this many events of snapshots, of each node
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl History {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let asked = clients.iter().map(|client| client.everything(self.limit));
        let mut errors = Vec::new();
        let mut nodes = Vec::new();
        for (client, answer) in clients.iter().zip(join_all(asked).await) {
            let error = answer.as_ref().err().map(ToString::to_string);
            let history = answer.unwrap_or_else(|error| {
                errors.push(error);
                Past::default()
            });
            nodes.push(NodeHistory {
                name: client.name().to_owned(),
                operations: history.operations,
                snapshots: history.snapshots,
                schemas: history.schemas,
                error,
            });
        }
        let history = Answer::of(nodes);
        context.ui.data(|| history.text(), &history)?;
        Error::several(errors).map_or(Ok(()), Err)
    }
}
