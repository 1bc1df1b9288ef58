//! `rollout --nodes … --release FILE`.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use togather_model::{
    Digest, Release, Timestamp, Ulid,
    rollout::{OnFailure, Rollout, Unreachable},
};

use super::super::{Context, span, walk};
use crate::{
    client::Wanted,
    error::{Error, Result},
    release,
    rollout::{Course, standing::Standings, stored, survey::survey},
    session::Session,
};

/// Flattens nothing: clap would then not see whether any of this was given.
#[derive(Args)]
pub(super) struct Begin {
    /// Which nodes: `all`, names, or label=value; comma separated
    #[arg(long, value_name = "NODES", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// The release file, as `release create` made it
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    /// The image archive, for a release made with --archive; sent to nodes that lack it
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// How many of the first nodes are canaries, watched for --canary-soak
    #[arg(long, value_name = "N", default_value_t = 1)]
    canary: usize,
    /// How long each canary is watched [default: as --soak]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    canary_soak: Option<Duration>,
    /// How long each node is watched before the next begins [default: as the node's strategy says]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    soak: Option<Duration>,
    /// When a node fails: leave the earlier ones on the new version, or take them back
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
    /// Fetch the image on each node only when it is its turn, not on all of them before the first
    #[arg(long)]
    no_prefetch: bool,
    /// For how long a node that gets out of reach on the way is tried again
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = span)]
    retry_for: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Failing {
    Halt,
    Undo,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Missing {
    Stop,
    Skip,
}

impl Begin {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (release, bytes) = release::read(&self.release)?;
        let archive = walk::archive(self.archive.as_deref(), &release).await?;
        let session = if self.dry_run {
            context.session()?
        } else {
            context.signing_session()?
        };
        let nodes = session.file.choose(&self.nodes)?;
        let clients = session.clients(&nodes)?;
        let bytes = Bytes::from(bytes);
        let names = nodes.iter().map(|node| node.name.to_string()).collect();
        let rollout = self.rollout(&session, &release, &bytes, names);
        let wanted = Wanted::Release(bytes.clone());

        let survey = survey(&clients, &rollout, &wanted).await?;
        walk::show(context, &survey)?;
        let archive = walk::to_send(archive, &survey)?;
        if self.dry_run {
            return Ok(());
        }
        if survey.to_change().next().is_none() {
            context
                .ui
                .say("nothing to do: every node that answers is there already");
            let lost = survey.behind.into_iter().map(|(_, error)| error);
            return Error::several(lost).map_or(Ok(()), Err);
        }
        let question = format!(
            "Roll {} across {} nodes?",
            release.version,
            rollout.nodes.len()
        );
        context.ui.confirm(&question, self.yes)?;

        let mut standings = Standings::default();
        walk::add_surveyed(&mut standings, &survey);
        let stored = stored::write(&rollout, bytes)
            .map_err(|why| Error::other("the rollout cannot be written down").cause(why))?;
        let reporter = context.ui.reporter();
        let course = Course {
            rollout,
            wanted,
            stored: Some(stored),
            taken_up: false,
            archive,
            prefetch: !self.no_prefetch,
            clients,
            patience: self.retry_for,
            news: reporter.as_ref(),
        };
        walk::walk(context, course, standings).await
    }

    fn rollout(
        &self,
        session: &Session,
        release: &Release,
        bytes: &Bytes,
        nodes: Vec<String>,
    ) -> Rollout {
        Rollout {
            id: Ulid::generate(),
            operator: session.operator().to_string(),
            release: Digest::of(bytes),
            version: release.version.clone(),
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
            redeploy: false,
        }
    }
}
