//! From what was observed and what is wanted to a plan, or to the reasons why there is none.

mod schema;
mod watch;

use std::time::Duration;

use ulid::Ulid;

use crate::{
    digest::Digest,
    failure::{Failure, FailureKind},
    line::Line,
    observed::{Live, Observed, Schema},
    operation::OperationKind,
    plan::{Plan, PlannedLine, PlannedStep},
    release::{Migrations, Release},
    settings::{Retire, Strategy},
    slot::Slot,
    step::Step,
};

/// What is wanted of a node.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation the plan will belong to.
    pub operation_id: Ulid,
    /// Forward to a new release, or back to one the node has run before.
    pub kind: OperationKind,
    /// The release file's digest.
    pub release_id: Digest,
    /// A fingerprint of the environment and the Compose service that its container would be made from;
    /// `None`: not known.
    pub made_of: Option<Digest>,
    /// A soak other than the node's own.
    pub soak: Option<Duration>,
    /// The pages that the new version must answer as expected, by their paths.
    pub pages: Vec<String>,
    /// Whether a version that is worse than the live one is refused.
    pub compares_with_live: bool,
}

impl Request {
    /// Whether this container is what is wanted already. A redeployment is there to apply the files as
    /// they are: a container of which nobody knows what it was made from is made anew.
    fn is_met_by(&self, live: &Live) -> bool {
        match self.kind {
            OperationKind::Redeploy => live.is_surely(self.release_id, self.made_of),
            OperationKind::Deploy | OperationKind::Rollback => {
                live.is(self.release_id, self.made_of)
            }
        }
    }
}

/// Plans a deployment. Pure: the same arguments give the same plan.
///
/// # Errors
/// Everything that stands in the way, all at once, so that the operator need not try again and
/// again to learn of one after the other.
pub fn plan(
    observed: &Observed,
    release: &Release,
    strategy: &Strategy,
    request: &Request,
) -> Result<Plan, Vec<Failure>> {
    let lines = release.lines();
    let migrates = lines
        .iter()
        .any(|of| of.pending(observed.version(of.line)).next().is_some());

    let mut refusals = observed.problems.clone();
    refusals.extend(attestation_refusal(release, strategy));
    refusals.extend(schema::refusals(observed, release, request.kind));
    refusals.extend(disk_refusal(observed, strategy, migrates));
    let is_bare = matches!(observed.schema, Schema::NoDatabase | Schema::Empty);
    let nothing_to_lose = is_bare && observed.other_lines.is_empty();
    let takes_snapshot = migrates && !nothing_to_lose;
    refusals.extend(observed.no_snapshot.clone().filter(|_| takes_snapshot));
    if !refusals.is_empty() {
        return Err(refusals);
    }

    let already_live = observed.live_healthy
        && !migrates
        && observed
            .live
            .as_ref()
            .is_some_and(|live| request.is_met_by(live));
    let soak = request.soak.unwrap_or(strategy.soak);

    let skip = |step: Step| -> Option<String> {
        if already_live {
            return Some("this release is live and healthy already".into());
        }
        let why = match step {
            Step::VerifyRelease
            | Step::Preflight
            | Step::FetchImage
            | Step::BaseServices
            | Step::Prepare
            | Step::StartSlot
            | Step::AwaitHealthy
            | Step::SwitchTraffic
            | Step::ProveTraffic => None,
            Step::Snapshot | Step::Rehearse | Step::Migrate if !migrates => {
                Some("no migration is pending")
            }
            Step::Snapshot | Step::Rehearse if nothing_to_lose => {
                Some("the database is empty: there is nothing to lose")
            }
            Step::Rehearse if !strategy.rehearse => Some("`rehearse: false` in deployment.yml"),
            Step::Snapshot | Step::Rehearse | Step::Migrate => None,
            Step::RunHooks => release
                .hooks
                .is_empty()
                .then_some("the release has no hooks"),
            Step::RetireOldSlot => match (&observed.live, strategy.retire) {
                (None, _) => Some("no version was live before"),
                (Some(_), Retire::Keep) => Some("`retire: keep` in deployment.yml"),
                (Some(_), Retire::Stop) => None,
            },
            Step::Soak => soak.is_zero().then_some("a soak of 0 s was asked for"),
        };
        why.map(str::to_owned)
    };

    // An agent or controller of before there was this step can read the plan of a release that has
    // nothing to prepare.
    let is_known = |step: &Step| *step != Step::Prepare || release.prepare.is_some();
    let steps = Step::ALL
        .into_iter()
        .filter(is_known)
        .map(|step| {
            let skip = skip(step);
            let note = watch::note(step, observed, request).filter(|_| skip.is_none());
            PlannedStep { step, skip, note }
        })
        .collect();

    let mut warnings = schema::warnings(observed, &lines);
    if !already_live {
        warnings.extend(watch::warnings(observed, request, !soak.is_zero()));
    }
    if skip(Step::Snapshot).is_none() {
        warnings.extend(too_short_for_the_snapshot(observed, strategy));
    }
    warnings.extend(observed.doubts.iter().cloned());
    // This deployment needs none, but the node's schedule does.
    warnings.extend(observed.no_snapshot.as_ref().map(ToString::to_string));
    if observed.live.is_some() && !observed.live_healthy {
        warnings.push("the version that is live now is not healthy".into());
    }

    Ok(Plan {
        operation_id: request.operation_id,
        kind: request.kind,
        node: observed.node.clone(),
        release: request.release_id,
        version: release.version.clone(),
        git_commit: release.git_commit.clone(),
        from: observed.live.clone(),
        live_verdict: observed.live_verdict.clone(),
        to: observed
            .live
            .as_ref()
            .map_or(Slot::Blue, |live| live.slot.other()),
        schema_before: observed.version(Line::App),
        migrations: pending(observed, &release.app_line()),
        other_lines: planned_lines(observed, &lines),
        steps,
        soak,
        warnings,
        made_of: request.made_of,
        configuration: None,
        app_configuration: None,
    })
}

/// Dumping, reading back, restoring and counting, in bytes of the database a second: what a small
/// machine with a slow disk does.
const PROVEN_A_SECOND: u64 = 10 << 20;

fn too_short_for_the_snapshot(observed: &Observed, strategy: &Strategy) -> Option<String> {
    let expected = Duration::from_secs(observed.database_bytes / PROVEN_A_SECOND);
    (expected > strategy.snapshot_timeout).then(|| {
        format!(
            "the database has {} MiB: taking and proving its snapshot may take {} minutes, and \
             `strategy.snapshot_timeout` allows {}; the deployment is taken back if that does not do",
            observed.database_bytes >> 20,
            expected.as_secs() / 60,
            strategy.snapshot_timeout.as_secs() / 60
        )
    })
}

fn attestation_refusal(release: &Release, strategy: &Strategy) -> Option<Failure> {
    (strategy.require_attestation && release.attestation.is_none()).then(|| {
        Failure::new(
            FailureKind::NotAllowed,
            format!(
                "release {} carries no attestation, and this node asks for one",
                release.version
            ),
        )
        .next("create the release with `togather-ctl release create --attestation FILE`")
    })
}

fn pending(observed: &Observed, of: &Migrations<'_>) -> Vec<u64> {
    let have = observed.version(of.line);
    of.pending(have).map(|m| m.version).collect()
}

fn planned_lines(observed: &Observed, lines: &[Migrations<'_>]) -> Vec<PlannedLine> {
    let others = lines.iter().filter(|of| of.line != Line::App);
    others
        .map(|of| PlannedLine {
            line: of.line,
            before: observed.version(of.line),
            migrations: pending(observed, of),
        })
        .collect()
}

fn disk_refusal(observed: &Observed, strategy: &Strategy, snapshot: bool) -> Option<Failure> {
    let for_snapshot = if snapshot { observed.snapshot_disk } else { 0 };
    let needed = strategy.min_disk_free.saturating_add(for_snapshot);
    (observed.disk_free < needed).then(|| {
        Failure::new(
            FailureKind::Other,
            format!(
                "the disk has {} MiB free; this deployment needs {} MiB",
                observed.disk_free >> 20,
                needed >> 20
            ),
        )
        .next("free some room: `docker image prune`, old logs, old snapshots")
    })
}

#[cfg(test)]
mod tests;
