//! `redeploy`: nodes make their live release anew, from their files as they are now.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use togather_model::{
    Digest, Timestamp, Ulid,
    rollout::{OnFailure, Rollout, Unreachable},
};

use super::{
    Context, Nodes,
    rollout::begin::{Failing, Missing},
    span, walk,
};
use crate::{
    client::Wanted,
    error::{Error, Result},
    rollout::{Course, standing::Standings, stored, survey::survey},
};

/// Apply what was edited on the nodes (environment, Compose file) to the release that is live there
///
/// Each node starts its live release once more, from its files as they are now, and traffic moves to
/// it as in a rollout: blue-green, one node after the other, taken back by itself when it fails.
/// `rollback` brings the values back that it was made with before. Nodes whose files have not changed
/// are left alone. Base services are not touched.
#[derive(Args)]
pub(crate) struct Redeploy {
    #[command(flatten)]
    nodes: Nodes,
    /// How many of the first nodes are canaries, watched for --canary-soak
    #[arg(long, value_name = "N", default_value_t = 1)]
    canary: usize,
    /// How long each canary is watched [default: as --soak]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    canary_soak: Option<Duration>,
    /// How long each node is watched before the next begins [default: as the node's strategy says]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    soak: Option<Duration>,
    /// When a node fails: leave the earlier ones on the new values, or take them back
    #[arg(long, value_enum, default_value = "halt")]
    on_failure: Failing,
    /// When a node cannot be reached: stop there, or skip it and mark it behind
    #[arg(long, value_enum, default_value = "stop")]
    unreachable: Missing,
    /// Show what every node would do, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    patience: walk::Patience,
}

impl Redeploy {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let session = if self.dry_run {
            context.session()?
        } else {
            context.signing_session()?
        };
        let nodes = session.file.choose(&self.nodes.nodes)?;
        let clients = session.clients(&nodes)?;
        let names = nodes.iter().map(|node| node.name.to_string()).collect();
        let mut rollout = self.rollout(session.operator().to_string(), names);

        let survey = survey(&clients, &rollout, &Wanted::Again).await?;
        rollout.version = walk::version(&survey).unwrap_or_else(|| "what is live".into());
        walk::show(context, &survey)?;
        if self.dry_run {
            return Ok(());
        }
        if survey.to_change().next().is_none() {
            context
                .ui
                .say("nothing to do: every node that answers runs with what its files say");
            let lost = survey.behind.into_iter().map(|(_, error)| error);
            return Error::several(lost).map_or(Ok(()), Err);
        }
        let question = format!("Redeploy {} on {} nodes?", rollout.version, nodes.len());
        context.ui.confirm(&question, self.yes)?;

        let mut standings = Standings::default();
        walk::add_surveyed(&mut standings, &survey);
        let stored = stored::write(&rollout, Bytes::new())
            .map_err(|why| Error::other("the rollout cannot be written down").cause(why))?;
        let reporter = context.ui.reporter();
        let course = Course {
            rollout,
            wanted: Wanted::Again,
            stored: Some(stored),
            taken_up: false,
            archive: None,
            prefetch: false,
            clients,
            patience: self.patience.retry_for,
            news: reporter.as_ref(),
        };
        walk::walk(context, course, standings).await
    }

    fn rollout(&self, operator: String, nodes: Vec<String>) -> Rollout {
        Rollout {
            id: Ulid::generate(),
            operator,
            release: Digest::of(b""),
            version: String::new(),
            nodes,
            canary: self.canary,
            soak: self.soak,
            canary_soak: self.canary_soak,
            on_failure: match self.on_failure {
                Failing::Halt => OnFailure::Halt,
                Failing::Undo => OnFailure::Undo,
            },
            unreachable: match self.unreachable {
                Missing::Stop => Unreachable::Stop,
                Missing::Skip => Unreachable::Skip,
            },
            created_at: Timestamp::now(),
            redeploy: true,
        }
    }
}
