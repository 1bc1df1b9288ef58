//! `rollback`: nodes go back to a version they have run before.

use std::time::Duration;

use clap::Args;
use togather_model::{
    Digest, Timestamp, Ulid,
    rollout::{OnFailure, Rollout, Unreachable},
};

use super::{Context, Nodes, span, walk};
use crate::{
    client::Wanted,
    error::Result,
    rollout::{Course, standing::Standings, survey::survey},
};

/// Bring nodes back to the version before, or to one they have run earlier
///
/// Nodes go back one after the other, in the reverse of the order in which a rollout walks through
/// them: the one that changed last goes first. The database stays as it is: migrations only move
/// forward.
#[derive(Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    nodes: Nodes,
    /// The version to go back to [default: the one before the live one]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// How long each node is watched before the next begins [default: as the node's strategy says]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    soak: Option<Duration>,
    /// Show what every node would do, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    patience: walk::Patience,
}

impl Rollback {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let session = if self.dry_run {
            context.session()?
        } else {
            context.signing_session()?
        };
        let mut nodes = session.file.choose(&self.nodes.nodes)?;
        nodes.reverse();
        let clients = session.clients(&nodes)?;
        let names = nodes.iter().map(|node| node.name.to_string()).collect();
        let mut rollout = self.rollout(session.operator().to_string(), names);
        let wanted = Wanted::Back(self.to);

        let survey = survey(&clients, &rollout, &wanted).await?;
        rollout.version = walk::version(&survey).unwrap_or_else(|| "the version before".into());
        walk::show(context, &survey)?;
        if self.dry_run {
            return Ok(());
        }
        if survey.to_change().next().is_none() {
            context.ui.say("nothing to do: every node is there already");
            return Ok(());
        }
        let question = format!("Bring {} nodes back to {}?", nodes.len(), rollout.version);
        context.ui.confirm(&question, self.yes)?;

        let mut standings = Standings::default();
        walk::add_surveyed(&mut standings, &survey);
        let reporter = context.ui.reporter();
        let course = Course {
            rollout,
            wanted,
            stored: None,
            taken_up: false,
            archive: None,
            prefetch: false,
            clients,
            patience: self.patience.retry_for,
            news: reporter.as_ref(),
        };
        walk::walk(context, course, standings).await
    }

    /// A rollback walks like a rollout that halts at the first node that fails.
    fn rollout(&self, operator: String, nodes: Vec<String>) -> Rollout {
        Rollout {
            id: Ulid::generate(),
            operator,
            release: Digest::of(b""),
            version: String::new(),
            nodes,
            canary: 0,
            soak: self.soak,
            canary_soak: None,
            on_failure: OnFailure::Halt,
            unreachable: Unreachable::Stop,
            created_at: Timestamp::now(),
            redeploy: false,
        }
    }
}
