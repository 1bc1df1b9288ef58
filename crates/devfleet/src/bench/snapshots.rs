//! `devfleet bench-snapshot`: what snapshots of a large database cost on a node, each figure beside
//! what bare `pg_dump` and `pg_restore` take for the same database in the same run.
//!
//! It fills the first node's database with made-up events, restores one of its own snapshots there
//! and takes that back. The events and the snapshots stay.

mod place;

use anyhow::{Result, ensure};

use self::place::{Done, Place};
use super::{
    figures::{self, Figure, median},
    floors, machine,
};
use crate::{layout::Layout, nodes, report::Report};

/// The sizes of the database, in events.
const FEW: u32 = 100_000;
const MANY: u32 = 1_000_000;
const MOST: u32 = 4_000_000;
/// How often each thing is timed; the median counts.
const TIMES: usize = 3;
/// The agent's whole resident memory, in MiB, whatever the database's size.
const MEMORY: f64 = 64.0;
/// What "the same" memory may differ by from the smallest database to the largest.
const SAME: f64 = 1.2;
/// How much longer than the bare program a thing may take.
const OVERHEAD: f64 = 1.2;

/// The agent's highest memory while it took a snapshot, in MiB, by the number of events.
type Peaks = Vec<(u32, f64)>;

pub(crate) async fn bench(report: &Report, layout: &Layout) -> Result<()> {
    let nodes = nodes::existing().await?;
    ensure!(
        !nodes.is_empty() && layout.fleet_file().exists(),
        "there is no fleet to measure; bring one up with `devfleet up` and roll a release out"
    );
    let place = Place::on(layout, nodes[0]).await?;

    place.seed(report, FEW).await?;
    // The first brings in the code that all of them run, which the next ones find in memory.
    place.create().await?;
    let mut peaks = vec![(FEW, place.create().await?.peak_mib)];
    place.seed(report, MANY).await?;
    let (mut figures, snapshot) = creates(report, &place, &mut peaks).await?;
    figures.extend(proofs(report, &place, &snapshot).await?);
    place.seed(report, MOST).await?;
    let bare = floors::dump(place.node, &place.database).await?;
    let done = place.create().await?;
    figures.push(
        Figure::new(
            format!("snapshot create to S3, {MOST} events"),
            "ms",
            done.took_ms,
        )
        .over("bare pg_dump", bare)
        .ratio_at_most(OVERHEAD),
    );
    peaks.push((MOST, done.peak_mib));
    figures.extend(memory(&peaks));
    let machine = machine::describe().await?;
    figures::tell(layout, "bench-snapshot.json", &machine, &figures)
}

/// Snapshots to S3 against bare dumps to nowhere, in turns. Hands back the last snapshot too.
async fn creates(
    report: &Report,
    place: &Place<'_>,
    peaks: &mut Peaks,
) -> Result<(Vec<Figure>, Done)> {
    let stage = report.stage(format_args!("{TIMES} snapshots, {TIMES} bare dumps"));
    let (mut took, mut bare, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    let last = loop {
        bare.push(floors::dump(place.node, &place.database).await?);
        let done = place.create().await?;
        took.push(done.took_ms);
        peak = peak.max(done.peak_mib);
        if took.len() == TIMES {
            break done;
        }
    };
    stage.done();
    peaks.push((MANY, peak));
    let figures = vec![
        Figure::new(
            format!("snapshot create to S3, {MANY} events, median"),
            "ms",
            median(&took),
        )
        .over("bare pg_dump, median", median(&bare))
        .ratio_at_most(OVERHEAD),
        Figure::new("the snapshot's size", "MiB", last.size_mib),
    ];
    Ok((figures, last))
}

/// Proofs and a restore of this snapshot against bare restores.
async fn proofs(report: &Report, place: &Place<'_>, snapshot: &Done) -> Result<Vec<Figure>> {
    let stage = report.stage(format_args!("{TIMES} proofs, {TIMES} bare restores"));
    let (mut took, mut bare, mut peak) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..TIMES {
        bare.push(floors::restore(place.node, &place.database).await?);
        let done = place.verify(&snapshot.id).await?;
        took.push(done.took_ms);
        peak = peak.max(done.peak_mib);
    }
    stage.done();
    let stage = report.stage("a restore, and its undo");
    let restored = place.restore(snapshot).await?;
    let undone = place.undo_restore(snapshot).await?;
    stage.done();
    let floor = median(&bare);
    let against = |name: &str, measured| {
        Figure::new(format!("{name}, {MANY} events"), "ms", measured)
            .over("bare pg_restore -j2, median", floor)
            .ratio_at_most(OVERHEAD)
    };
    Ok(vec![
        against("snapshot verify, median", median(&took)),
        against(
            "snapshot restore, the app's stop and start included",
            restored.took_ms,
        ),
        Figure::new("snapshot restore --undo", "ms", undone.took_ms),
        peak_of("verify", MANY, peak),
        peak_of("restore", MANY, restored.peak_mib),
    ])
}

/// The agent's memory must fit, and must not grow with the database.
fn memory(peaks: &Peaks) -> Vec<Figure> {
    let mut figures: Vec<Figure> = peaks
        .iter()
        .map(|(events, peak)| peak_of("create", *events, *peak))
        .collect();
    if let (Some((few, least)), Some((most, peak))) = (peaks.first(), peaks.last()) {
        let name = format!("its memory at {most} events against {few}");
        figures.push(
            Figure::new(name, "MiB", *peak)
                .over(format!("at {few} events"), *least)
                .ratio_at_most(SAME),
        );
    }
    figures
}

fn peak_of(what: &str, events: u32, peak_mib: f64) -> Figure {
    let name = format!("the agent's highest memory in {what}, {events} events");
    Figure::new(name, "MiB", peak_mib).at_most(MEMORY)
}
