//! `rollout resume ID`: goes on from wherever the nodes are.

use std::path::PathBuf;

use clap::Args;
use togather_model::{
    Release, Ulid,
    rollout::{Ending, Next, Progress, next},
};

use super::super::{Context, pace::Patience, walk};
use crate::{
    client::{Archive, Client, Wanted},
    error::{Error, Result},
    rollout::{
        Course,
        standing::Standings,
        survey::{Survey, survey},
        taken_up::{self, Known},
    },
    session::Session,
};

/// Go on with a rollout, from any machine that has the operator's files
///
/// The nodes say how far they are. One that was cut off goes on as it was agreed to; one that has
/// ended (halted, stuck, or with nodes behind) tries what failed once more, after asking.
#[derive(Args)]
pub(super) struct Resume {
    /// The rollout's id, as `rollout list` shows it
    id: Ulid,
    /// The image archive, for a release made with --archive
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Fetch the image on each node only when it is its turn, not on all of them before the next
    #[arg(long)]
    no_prefetch: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    patience: Patience,
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let session = context.signing_session()?;
        let known = taken_up::find(&session.clients(&session.file.fleet.nodes)?, self.id).await?;
        if known.ending.as_deref() == Some(Ending::Done.as_str()) {
            context
                .ui
                .say(format!("nothing to do: rollout {} is done", self.id));
            return Ok(());
        }
        let clients = clients_of(&session, &known)?;
        let mut standings = taken_up::standings(&clients, self.id).await?;
        if known.ending.is_some() {
            standings = taken_up::tried_again(&known, &standings)?;
        }
        let (wanted, archive) = self.wanted(&known).await?;

        let survey = survey_the_rest(&clients, &known, &wanted, &standings).await?;
        if !survey.plans.is_empty() {
            walk::show(context, &survey)?;
        }
        walk::add_surveyed(&mut standings, &survey);
        let archive = walk::to_send(archive, &survey)?;
        if known.ending.is_some() {
            let version = &known.rollout.version;
            let question = match known.rollout.redeploy {
                true => format!("Go on with the redeployment of {version}?"),
                false => format!("Go on with the rollout to {version}?"),
            };
            context.ui.confirm(&question, self.yes)?;
        }
        let reporter = context.ui.reporter();
        let course = Course {
            rollout: known.rollout,
            wanted,
            stored: Some(known.stored),
            taken_up: true,
            archive,
            prefetch: !self.no_prefetch,
            clients,
            patience: self.patience.retry_for,
            news: reporter.as_ref(),
        };
        walk::walk(context, course, standings).await
    }
}

impl Resume {
    /// What is ordered of each node, and the archive that was given.
    async fn wanted(&self, known: &Known) -> Result<(Wanted, Option<Archive>)> {
        if known.rollout.redeploy {
            return Ok((Wanted::Again, None));
        }
        let release = Release::from_bytes(&known.stored.release)
            .map_err(|error| Error::other("the stored release cannot be read").because(&error))?;
        let archive = walk::archive(self.archive.as_deref(), &release).await?;
        Ok((Wanted::Release(known.release()), archive))
    }
}

/// The rollout's nodes, in its order.
fn clients_of(session: &Session, known: &Known) -> Result<Vec<Client>> {
    let nodes = &session.file.fleet.nodes;
    let client = |name: &String| {
        let node = nodes.iter().find(|node| node.name == *name.as_str());
        session.client(node.ok_or_else(|| {
            Error::configuration(format!("the fleet file has no node `{name}`"))
                .cause(format!("it is part of rollout {}", known.rollout.id))
        })?)
    };
    known.rollout.nodes.iter().map(client).collect()
}

/// Asks the nodes that have not begun what they would do, if the rollout is to go forward at all:
/// what stands in the way of a deployment does not stand in the way of taking others back.
async fn survey_the_rest(
    clients: &[Client],
    known: &Known,
    wanted: &Wanted,
    standings: &Standings,
) -> Result<Survey> {
    let forward = match next(&known.rollout, &standings.progress()) {
        Next::Deploy(_) | Next::Follow(_) => true,
        Next::TakeBack(_) | Next::Finish(_) => false,
    };
    let pending = clients
        .iter()
        .filter(|client| standings.of(client.name()).progress == Progress::Pending);
    let pending: Vec<Client> = pending.filter(|_| forward).cloned().collect();
    survey(&pending, &known.rollout, wanted).await
}
