//! The fifteen steps of a deployment, and what takes each of them back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a deployment, in the order in which they are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The release is whole, its image is named by digest, and the node's policy admits it.
    VerifyRelease,
    /// Docker, disk, environment, database, extensions, schema: everything the later steps rely on.
    Preflight,
    /// The image is on the node and is the one the release names.
    FetchImage,
    /// Network, database and proxy are up; on an empty node they are provisioned.
    BaseServices,
    /// The database is dumped, stored and proven by restoring it.
    Snapshot,
    /// The pending migrations run on a scratch restore of that snapshot.
    Rehearse,
    /// The pending migrations run on the live database.
    Migrate,
    /// What the release must have done once is done, in a container of its own that gets no traffic.
    Prepare,
    /// The new version's container starts in the idle slot.
    StartSlot,
    /// The new version answers healthy, with the expected commit, several times in a row.
    AwaitHealthy,
    /// The release's hooks run inside the new container.
    RunHooks,
    /// The proxy sends new requests to the new slot.
    SwitchTraffic,
    /// The public path answers with the new version, several times in a row.
    ProveTraffic,
    /// The old slot finishes its requests and is stopped; its container is kept.
    RetireOldSlot,
    /// Health, error rate and latency are watched for the time asked.
    Soak,
}

/// What takes a step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// The step changed nothing that matters; what it left is tidied away later.
    Nothing,
    /// Drop the scratch database that proof and rehearsal ran in; the snapshot itself stays.
    DropScratch,
    /// Cannot be taken back: migrations only move forward, and the old version must tolerate the
    /// new schema (the planner refuses a release that says it does not).
    Impossible,
    /// Stop and remove the new slot's container.
    RemoveNewSlot,
    /// Send traffic to the old slot again.
    SwitchBack,
    /// Start the old slot's container again and wait until it is healthy.
    RestartOldSlot,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 15] = [
        Self::VerifyRelease,
        Self::Preflight,
        Self::FetchImage,
        Self::BaseServices,
        Self::Snapshot,
        Self::Rehearse,
        Self::Migrate,
        Self::Prepare,
        Self::StartSlot,
        Self::AwaitHealthy,
        Self::RunHooks,
        Self::SwitchTraffic,
        Self::ProveTraffic,
        Self::RetireOldSlot,
        Self::Soak,
    ];

    /// What takes this step back. A new step does not compile until this is answered.
    #[must_use]
    pub const fn undo(self) -> Undo {
        match self {
            Self::VerifyRelease
            | Self::Preflight
            | Self::FetchImage
            | Self::BaseServices
            | Self::Prepare
            | Self::AwaitHealthy
            | Self::RunHooks
            | Self::ProveTraffic
            | Self::Soak => Undo::Nothing,
            Self::Snapshot | Self::Rehearse => Undo::DropScratch,
            Self::Migrate => Undo::Impossible,
            Self::StartSlot => Undo::RemoveNewSlot,
            Self::SwitchTraffic => Undo::SwitchBack,
            Self::RetireOldSlot => Undo::RestartOldSlot,
        }
    }

    /// The step's name, as journal, wire, JSON and documents write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyRelease => "verify_release",
            Self::Preflight => "preflight",
            Self::FetchImage => "fetch_image",
            Self::BaseServices => "base_services",
            Self::Snapshot => "snapshot",
            Self::Rehearse => "rehearse",
            Self::Migrate => "migrate",
            Self::Prepare => "prepare",
            Self::StartSlot => "start_slot",
            Self::AwaitHealthy => "await_healthy",
            Self::RunHooks => "run_hooks",
            Self::SwitchTraffic => "switch_traffic",
            Self::ProveTraffic => "prove_traffic",
            Self::RetireOldSlot => "retire_old_slot",
            Self::Soak => "soak",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_step_once_in_order() {
        assert!(Step::ALL.is_sorted());
        assert_eq!(Step::ALL.len(), Step::Soak as usize + 1);
    }

    #[test]
    fn names_are_those_of_the_json_form() {
        for step in Step::ALL {
            assert_eq!(serde_json::json!(step), step.as_str());
        }
    }
}
