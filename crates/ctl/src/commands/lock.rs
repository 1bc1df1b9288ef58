//! `lock`: who holds which node, and how to end that.

use clap::{Args, Subcommand};
use futures::future::join_all;
use togather_model::Lease;

use super::{Context, LookedAt, Nodes};
use crate::{
    client::Client,
    error::{Error, Result},
    rollout::leases::proof_of,
    ui::lock::{Locks, NodeLock},
};

/// Show and end the leases that keep two operators from changing a node at the same time
#[derive(Subcommand)]
pub(crate) enum Lock {
    Show(Show),
    Release(Release),
}

/// Show who holds which node, since when, until when
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    nodes: LookedAt,
}

/// End leases, so that somebody else can take the nodes
///
/// A lease dies by itself within a minute after its controller did; this is for when that is too
/// long. A deployment under way on a node goes on, and holds the node until it ends.
#[derive(Args)]
pub(crate) struct Release {
    #[command(flatten)]
    nodes: Nodes,
    /// Also leases of other operators; needs the role admin
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Lock {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Show(show) => show.run(context).await,
            Self::Release(release) => release.run(context).await,
        }
    }
}

impl Show {
    async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let (mut nodes, mut errors) = (Vec::new(), Vec::new());
        for (client, answer) in clients.iter().zip(leases(&clients).await) {
            nodes.push(NodeLock {
                name: client.name().to_owned(),
                error: answer.as_ref().err().map(ToString::to_string),
                lease: answer.unwrap_or_else(|error| {
                    errors.push(error);
                    None
                }),
            });
        }
        let locks = Locks::of(nodes);
        context.ui.data(|| locks.text(), &locks)?;
        Error::several(errors).map_or(Ok(()), Err)
    }
}

impl Release {
    async fn run(self, context: &Context) -> Result<()> {
        let session = context.session()?;
        let clients = session.clients(&session.file.choose(&self.nodes.nodes)?)?;
        let answers: Vec<Option<Lease>> =
            leases(&clients).await.into_iter().collect::<Result<_>>()?;
        let held: Vec<(&Client, Lease)> = clients
            .iter()
            .zip(answers)
            .filter_map(|(client, lease)| Some((client, lease?)))
            .collect();
        let others = held
            .iter()
            .filter(|(_, lease)| lease.operator != session.operator().as_str());
        let refused = others.map(|(client, lease)| {
            Error::held(format!("{} is held by {}", client.name(), lease.operator))
                .next("talk to them first; --force ends their lease all the same")
        });
        if !self.force
            && let Some(error) = Error::several(refused)
        {
            return Err(error);
        }
        if held.is_empty() {
            context.ui.say("nobody holds these nodes");
            return Ok(());
        }
        for (client, lease) in &held {
            let (name, operator, holder) = (client.name(), &lease.operator, lease.holder);
            context
                .ui
                .say(format!("{name}: held by {operator} for {holder}"));
        }
        context.ui.confirm("End these leases?", self.yes)?;
        session.unlock(Some(&crate::ui::ask::passphrase))?;
        let ended = held.iter().map(|(client, lease)| async {
            client.release_lease(proof_of(lease), self.force).await?;
            context
                .ui
                .say(format!("{}: its lease is ended", client.name()));
            Ok(())
        });
        let errors = join_all(ended).await.into_iter().filter_map(Result::err);
        Error::several(errors).map_or(Ok(()), Err)
    }
}

async fn leases(clients: &[Client]) -> Vec<Result<Option<Lease>>> {
    let asked = clients
        .iter()
        .map(|client| async { Ok(client.status().await?.lease) });
    join_all(asked).await
}
