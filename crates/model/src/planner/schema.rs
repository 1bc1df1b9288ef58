//! Whether a release fits the schemas that the database is at, line by line.

use crate::{
    failure::{Failure, FailureKind},
    line::Line,
    observed::{Observed, Schema},
    operation::OperationKind,
    release::{Migration, Migrations, Release},
};

/// Everything about the schemas that stands in the way.
pub(super) fn refusals(
    observed: &Observed,
    release: &Release,
    kind: OperationKind,
) -> Vec<Failure> {
    match observed.schema {
        Schema::NoDatabase | Schema::Empty | Schema::At { dirty: false, .. } => {}
        Schema::Unversioned => return vec![unversioned(&observed.node)],
        // Whatever else its number means is not known before somebody has said how it ended.
        Schema::At {
            version,
            dirty: true,
        } => return vec![dirty(observed, release, version)],
    }
    let lines = release.lines();
    let mut refusals: Vec<Failure> = lines
        .iter()
        .flat_map(|of| [late(observed, of), overlap(observed, of)])
        .flatten()
        .collect();
    if kind == OperationKind::Deploy {
        refusals.extend(lines.iter().filter_map(|of| older(observed, release, of)));
    }
    refusals
}

/// What should be known about the schemas before the operator says yes.
pub(super) fn warnings(observed: &Observed, lines: &[Migrations<'_>]) -> Vec<String> {
    lines.iter().flat_map(|of| of_line(observed, of)).collect()
}

fn of_line(observed: &Observed, of: &Migrations<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let (have, target) = (observed.version(of.line), of.schema_version());
    let moves = of.pending(have).next().is_some();
    if let (true, Some(live)) = (moves, &observed.live) {
        if of.oldest_schema.is_none() {
            warnings.push(format!(
                "the release does not say which older versions run on its {} {target}; \
                 the one that is live is assumed to",
                of.line.schema()
            ));
        } else if live.schema_of(of.line).is_none() {
            warnings.push(format!(
                "version {}, which is live, does not say what {} it was built for; it is assumed to run on {target}",
                live.version,
                of.line.schema()
            ));
        }
    }
    if let Some(have) = have.filter(|&have| have > target) {
        warnings.push(format!(
            "the database stays at {} {have}; this release was built for {target}",
            of.line.schema()
        ));
    }
    warnings
}

fn unversioned(node: &str) -> Failure {
    Failure::new(
        FailureKind::Migration,
        "the database has tables but no `schema_migrations` row, so it is not known which migrations it has",
    )
    .next(format!(
        "if the schema is that of migration N, say so: `togather-ctl schema set N --nodes {node}`"
    ))
}

/// Somebody else's migration failed, or is running: only who looks at the tables knows which.
fn dirty(observed: &Observed, release: &Release, version: u64) -> Failure {
    let node = &observed.node;
    let released: Vec<u64> = release.migrations.iter().map(|m| m.version).collect();
    let before = [&released[..], &observed.ran]
        .into_iter()
        .find_map(|numbers| number_before(numbers, version));
    let nothing_done = match before {
        Some(before) => format!("`togather-ctl schema set {before} --nodes {node}`"),
        None => format!(
            "`togather-ctl schema set N --nodes {node}`, with the number before {version} in the release that \
             has it (not known here), or 0 if there is none"
        ),
    };
    Failure::new(
        FailureKind::Migration,
        format!("the schema is dirty: migration {version} began, and nobody has said how it ended"),
    )
    .next(format!(
        "see that nobody is still at it, then look for what migration {version} was to make: a file is sent as one \
         query, so PostgreSQL took all of it back, unless it ends transactions itself or runs outside of one \
         (CREATE INDEX CONCURRENTLY)"
    ))
    .next(format!("nothing of it is there: {nothing_done}"))
    .next(format!(
        "all of it is there, or you have finished it by hand: `togather-ctl schema set {version} --nodes {node}`"
    ))
    .next(format!(
        "or go back to a snapshot from before it: `togather-ctl snapshot list --nodes {node}` names it"
    ))
}

/// The number before this one among those of a release that has it; 0: it is the first. `None`: it
/// does not have it.
fn number_before(numbers: &[u64], version: u64) -> Option<u64> {
    let at = numbers.iter().position(|number| *number == version)?;
    Some(match at {
        0 => 0,
        at => numbers.get(at - 1).copied().unwrap_or(0),
    })
}

/// The bookkeeping of both kinds looks at what is above the newest: what is below it never runs, and
/// nobody would say so.
fn late(observed: &Observed, of: &Migrations<'_>) -> Option<Failure> {
    let have = observed.version(of.line)?;
    let ran = observed.ran(of.line);
    // A release may have been made with its newest migrations only; what is older is not missing.
    // River's table has a row for each.
    let first = match of.line {
        Line::App => *ran.iter().min()?,
        Line::River => 0,
    };
    let is_late =
        |m: &&Migration| m.version > first && m.version <= have && !ran.contains(&m.version);
    let late: Vec<&str> = of
        .all
        .iter()
        .filter(is_late)
        .map(|m| m.file.as_str())
        .collect();
    if late.is_empty() {
        return None;
    }
    let late = late.join(", ");
    Some(match of.line {
        Line::App => Failure::new(
            FailureKind::Migration,
            format!(
                "the database is at schema {have}, and the release that brought it there does not have {late}: \
                 what is below the schema would never run"
            ),
        )
        .next(format!(
            "give it a number above {have}, and create the release anew"
        )),
        Line::River => Failure::new(
            FailureKind::Migration,
            format!("`river_migration` has {have}, but not {late}, which comes before it"),
        )
        .next("run `river migrate-up`, River's own tool, which runs what is missing"),
    })
}

/// The old version overlaps with the new schema, and would have to run on it after an undo.
fn overlap(observed: &Observed, of: &Migrations<'_>) -> Option<Failure> {
    let live = observed.live.as_ref()?;
    let (oldest, built_for) = (of.oldest_schema?, live.schema_of(of.line)?);
    of.pending(observed.version(of.line)).next()?;
    (built_for < oldest).then(|| {
        let (name, target) = (of.line.schema(), of.schema_version());
        Failure::new(
            FailureKind::Other,
            format!(
                "version {} ({name} {built_for}) is live and does not run on {name} {target}, says the release: \
                 it would break between the migration and the switch",
                live.version
            ),
        )
        .next(format!(
            "first roll out a version built for {name} {oldest} or later"
        ))
    })
}

fn older(observed: &Observed, release: &Release, of: &Migrations<'_>) -> Option<Failure> {
    let (have, target) = (observed.version(of.line)?, of.schema_version());
    (have > target).then(|| {
        Failure::new(
            FailureKind::Other,
            format!(
                "the database is at {} {have}, but release {} knows migrations only up to {target}: \
                 it is older than what the node runs",
                of.line.schema(),
                release.version
            ),
        )
        .next(format!(
            "to go back to it on purpose: `togather-ctl rollback --nodes {} --to {}`",
            observed.node, release.version
        ))
    })
}
