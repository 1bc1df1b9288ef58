//! `rollout`: a release, rolled across nodes one after the other.

mod abort;
mod begin;
mod look;
mod resume;

use clap::{Args, Subcommand};

use super::Context;
use crate::error::Result;

/// Roll a release across nodes, one after the other; or look at, go on with, give up a rollout
///
/// Every node is asked for its plan first, and nothing is changed anywhere unless all can go. A
/// node whose deployment fails goes back by itself. Ctrl-C stops the rollout and not the node that
/// is being deployed to; `rollout resume` goes on from any machine that has the operator's files.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Rollout {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    begin: Option<begin::Begin>,
}

#[derive(Subcommand)]
enum Command {
    /// List the rollouts that the nodes remember, newest first
    List,
    Status(look::Status),
    Resume(resume::Resume),
    Abort(abort::Abort),
}

impl Rollout {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match (self.command, self.begin) {
            (Some(Command::List), _) => look::list(context).await,
            (Some(Command::Status(status)), _) => status.run(context).await,
            (Some(Command::Resume(resume)), _) => resume.run(context).await,
            (Some(Command::Abort(abort)), _) => abort.run(context).await,
            (None, Some(begin)) => begin.run(context).await,
            (None, None) => Err(crate::error::Error::usage(
                "a rollout needs --nodes and --release",
            )),
        }
    }
}
