//! How fast, how carefully, and with how much patience nodes are gone through: what `rollout`,
//! `redeploy` and `rollback` have in common on the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use togather_model::{
    Digest, Timestamp, Ulid,
    rollout::{OnFailure, Rollout, Unreachable},
};

use super::span;

/// One node after the other, some of them canaries.
#[derive(Args)]
pub(super) struct Pace {
    /// How many of the first nodes are canaries, watched for --canary-soak
    #[arg(long, value_name = "N", default_value_t = 1)]
    canary: usize,
    /// How long each canary is watched [default: as --soak]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    canary_soak: Option<Duration>,
    /// How long each node is watched before the next begins [default: as the node's strategy says]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    soak: Option<Duration>,
    /// When a node fails: leave the earlier ones as they are now, or take them back
    #[arg(long, value_enum, default_value = "halt")]
    on_failure: Failing,
    /// When a node cannot be reached: stop there, or skip it and mark it behind
    #[arg(long, value_enum, default_value = "stop")]
    unreachable: Missing,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Failing {
    Halt,
    Undo,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Missing {
    Stop,
    Skip,
}

impl Pace {
    /// A rollout at this pace, of no release yet.
    pub(super) fn rollout(&self, operator: String, nodes: Vec<String>) -> Rollout {
        Rollout {
            canary: self.canary,
            canary_soak: self.canary_soak,
            on_failure: match self.on_failure {
                Failing::Halt => OnFailure::Halt,
                Failing::Undo => OnFailure::Undo,
            },
            unreachable: match self.unreachable {
                Missing::Stop => Unreachable::Stop,
                Missing::Skip => Unreachable::Skip,
            },
            ..one_by_one(operator, nodes, self.soak)
        }
    }
}

/// Without canaries, halted by the first node that fails or cannot be reached; of no release yet.
pub(super) fn one_by_one(operator: String, nodes: Vec<String>, soak: Option<Duration>) -> Rollout {
    Rollout {
        id: Ulid::generate(),
        operator,
        release: Digest::of(b""),
        version: String::new(),
        nodes,
        canary: 0,
        soak,
        canary_soak: None,
        on_failure: OnFailure::Halt,
        unreachable: Unreachable::Stop,
        created_at: Timestamp::now(),
        redeploy: false,
    }
}

/// Whether to show only, or to ask first, and how patient to be.
#[derive(Args)]
pub(super) struct Consent {
    /// Show what every node would do, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) patience: Patience,
}

/// How patient a command is that waits for nodes.
#[derive(Args)]
pub(super) struct Patience {
    /// How long to retry a node that cannot be reached any more
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = span)]
    pub(super) retry_for: Duration,
}
