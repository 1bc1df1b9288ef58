//! The plan of a deployment: an immutable value that is shown, stored and carried out as it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{
    digest::Digest, fitness::Verdict, line::Line, observed::Live, operation::OperationKind,
    slot::Slot, step::Step,
};

/// Everything a deployment will do on one node. Carrying it out involves no further choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The operation this plan belongs to.
    pub operation_id: Ulid,
    /// A new release, or back to an earlier one.
    pub kind: OperationKind,
    /// The node's name.
    pub node: String,
    /// The release file's digest.
    pub release: Digest,
    /// The version that will serve.
    pub version: String,
    /// The commit that must answer.
    pub git_commit: String,
    /// What serves now.
    pub from: Option<Live>,
    /// What the version that serves now said of itself, which the new one is compared with; `None`:
    /// there is none, or it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_verdict: Option<Verdict>,
    /// The slot the new version starts in.
    pub to: Slot,
    /// The schema before, `None` without one.
    pub schema_before: Option<u64>,
    /// The app's own migrations that will run, by number.
    pub migrations: Vec<u64>,
    /// What will become of the other lines that the release carries.
    #[serde(rename = "lines", default, skip_serializing_if = "Vec::is_empty")]
    pub other_lines: Vec<PlannedLine>,
    /// All steps, each to be run or skipped for a stated reason; without `prepare` where the release
    /// has nothing to prepare, as in plans made before there was such a step.
    pub steps: Vec<PlannedStep>,
    /// How long the new version is watched.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub soak: Duration,
    /// What the operator should know before saying yes.
    pub warnings: Vec<String>,
    /// The state of the node's files that it is made from, and is taken up with after a crash; `None`:
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Digest>,
    /// The earlier state of the files that the app alone is made from, when it goes back; `None`: the
    /// same as everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_configuration: Option<Digest>,
    /// A fingerprint of the environment and the Compose service that the container is made from;
    /// `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<Digest>,
}

/// What will become of a line that is not the app's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLine {
    /// Whose it is.
    pub line: Line,
    /// Where it is before, `None`: none of it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// The migrations that will run, by number.
    pub migrations: Vec<u64>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// Why it will not be run; `None`: it will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// What it will do in particular, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Plan {
    /// The steps to be run, in order.
    pub fn to_run(&self) -> impl DoubleEndedIterator<Item = Step> + '_ {
        self.steps
            .iter()
            .filter(|planned| planned.skip.is_none())
            .map(|planned| planned.step)
    }

    /// Whether a migration of any line will run.
    #[must_use]
    pub fn migrates(&self) -> bool {
        let others = self.other_lines.iter();
        !self.migrations.is_empty() || others.into_iter().any(|line| !line.migrations.is_empty())
    }

    /// The release is live and healthy already: every step is skipped.
    #[must_use]
    pub fn is_already_done(&self) -> bool {
        self.to_run().next().is_none()
    }
}
