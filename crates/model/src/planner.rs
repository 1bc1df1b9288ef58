//! From what was observed and what is wanted to a plan, or to the reasons why there is none.

use std::time::Duration;

use ulid::Ulid;

use crate::{
    digest::Digest,
    failure::{Failure, FailureKind},
    observed::{Observed, Schema},
    operation::OperationKind,
    plan::{Plan, PlannedStep},
    release::Release,
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
    /// A soak other than the node's own.
    pub soak: Option<Duration>,
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
    let have = observed.schema.version();
    let target = release.schema_version();
    let migrations: Vec<u64> = release.pending(have).map(|m| m.version).collect();

    let mut refusals = observed.problems.clone();
    refusals.extend(attestation_refusal(release, strategy));
    refusals.extend(schema_refusals(observed, release, request.kind));
    refusals.extend(disk_refusal(observed, strategy, !migrations.is_empty()));
    let nothing_to_lose = matches!(observed.schema, Schema::NoDatabase | Schema::Empty);
    let takes_snapshot = !migrations.is_empty() && !nothing_to_lose;
    refusals.extend(observed.no_snapshot.clone().filter(|_| takes_snapshot));
    if !refusals.is_empty() {
        return Err(refusals);
    }

    let already_live = observed.live_healthy
        && migrations.is_empty()
        && observed
            .live
            .as_ref()
            .is_some_and(|live| live.release == request.release_id);
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
            | Step::StartSlot
            | Step::AwaitHealthy
            | Step::SwitchTraffic
            | Step::ProveTraffic => None,
            Step::Snapshot | Step::Rehearse | Step::Migrate if migrations.is_empty() => {
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

    let steps = Step::ALL
        .into_iter()
        .map(|step| PlannedStep {
            step,
            skip: skip(step),
        })
        .collect();

    let mut warnings = Vec::new();
    if release.oldest_schema.is_none() && !migrations.is_empty() && observed.live.is_some() {
        warnings.push(format!(
            "the release does not say which older versions run on its schema {target}; \
             the one that is live is assumed to"
        ));
    }
    if let Some(have) = have.filter(|&have| have > target) {
        warnings.push(format!(
            "the database stays at schema {have}; this release was built for {target}"
        ));
    }
    if skip(Step::Snapshot).is_none() {
        warnings.extend(too_short_for_the_snapshot(observed, strategy));
    }
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
        to: observed
            .live
            .as_ref()
            .map_or(Slot::Blue, |live| live.slot.other()),
        schema_before: have,
        migrations,
        steps,
        soak,
        warnings,
        configuration: None,
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

fn schema_refusals(observed: &Observed, release: &Release, kind: OperationKind) -> Vec<Failure> {
    let target = release.schema_version();
    let mut refusals = Vec::new();
    match observed.schema {
        Schema::NoDatabase | Schema::Empty | Schema::At { dirty: false, .. } => {}
        Schema::Unversioned => refusals.push(
            Failure::new(
                FailureKind::Migration,
                "the database has tables but no `schema_migrations` row, so it is not known which migrations it has",
            )
            .next("if the schema is that of migration N, say so with golang-migrate: `migrate -path DIR -database URL force N`"),
        ),
        Schema::At { version, dirty: true } => refusals.push(
            Failure::new(
                FailureKind::Migration,
                format!("the schema is dirty: migration {version} failed half-way and nobody has put it right yet"),
            )
            .next(format!(
                "finish by hand what migration {version} was to do, then say so in the database: `{}`",
                Schema::said_whole_at(Some(version))
            ))
            .next("or restore the snapshot from before it: `togather-ctl snapshot list --nodes all` names it, `togather-ctl snapshot restore ID --nodes NODE` goes back to it"),
        ),
    }
    refusals.extend(late_refusal(observed, release));
    // The old version overlaps with the new schema, and would have to run on it after an undo.
    let moves = release.pending(observed.schema.version()).next().is_some();
    if let (true, Some(live), Some(oldest)) = (moves, &observed.live, release.oldest_schema)
        && live.schema < oldest
    {
        refusals.push(
            Failure::new(
                FailureKind::Other,
                format!(
                    "version {} (schema {}) is live and does not run on schema {target}, says the release: \
                     it would break between the migration and the switch",
                    live.version, live.schema
                ),
            )
            .next(format!("first roll out a version built for schema {oldest} or later")),
        );
    }
    if let Some(have) = observed.schema.version()
        && have > target
        && kind == OperationKind::Deploy
    {
        refusals.push(
            Failure::new(
                FailureKind::Other,
                format!(
                    "the database is at schema {have}, but release {} knows migrations only up to {target}: \
                     it is older than what the node runs",
                    release.version
                ),
            )
            .next(format!(
                "to go back to it on purpose: `togather-ctl rollback --nodes {} --to {}`",
                observed.node, release.version
            )),
        );
    }
    refusals
}

/// golang-migrate remembers one number alone: what is below it never runs, and nobody would say so.
fn late_refusal(observed: &Observed, release: &Release) -> Option<Failure> {
    let have = observed.schema.version()?;
    // A release may have been made with its newest migrations only; what is older is not missing.
    let first = observed.ran.iter().min()?;
    let late: Vec<String> = (release.migrations.iter())
        .filter(|m| m.version > *first && m.version <= have && !observed.ran.contains(&m.version))
        .map(|m| m.file.clone())
        .collect();
    (!late.is_empty()).then(|| {
        Failure::new(
            FailureKind::Migration,
            format!(
                "the database is at schema {have}, and the release that brought it there does not have {}: \
                 what is below the schema would never run",
                late.join(", ")
            ),
        )
        .next(format!(
            "give it a number above {have}, and create the release anew"
        ))
    })
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
