//! `devfleet bench`: what the fleet costs, each figure beside a floor measured in the same run, so
//! that a slow machine or a noisy hour shows in both.
//!
//! It rolls two releases back and forth over a running fleet; nothing it measures is thrown away,
//! and the fleet ends on a good release.

mod figures;
mod floors;
mod machine;
mod rest;
mod snapshots;
mod tls;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use self::figures::{Figure, median, p99};
pub(crate) use self::snapshots::bench as bench_snapshots;
use crate::{
    bundles::ctl,
    course::{self, Course},
    layout::{Layout, Node},
    load::{self, Load, Target, Trace, summarise},
    nodes,
    process::last_lines,
    releases::{self, Wanted},
    report::Report,
    status, versions,
};

/// Switches under load to measure; 20 is the fewest of which a p99 says anything.
const SWITCHES: usize = 21;
/// How often each short thing is measured.
const TIMES: usize = 20;
const RATE: u32 = 50;
/// Far more than the rollouts take.
const AT_MOST: Duration = Duration::from_secs(600);
/// The steps that wait for the app, not for us.
const THE_APPS: [&str; 3] = ["start_slot", "await_healthy", "soak"];

/// A release that exists, by its file.
struct Releases([PathBuf; 2]);

pub(crate) async fn bench(report: &Report, layout: &Layout) -> Result<()> {
    let nodes = nodes::existing().await?;
    ensure!(
        !nodes.is_empty() && layout.fleet_file().exists(),
        "there is no fleet to measure; bring one up with `devfleet up`"
    );
    let releases = Releases::make(report, layout).await?;
    roll_out(report, layout, releases.of_round(0)).await?;

    let stage = report.stage("the agents at rest");
    let rest = rest::of(&nodes).await?;
    stage.done();

    let stage = report.stage("floors: a bare container, Caddy's own load, a TLS handshake");
    let container = floors::container(nodes[0]).await?;
    let caddy = floors::caddy(nodes[0], TIMES).await?;
    let handshakes = tls::handshakes(layout, TIMES).await?;
    stage.done();
    let asked = status_times(layout).await?;

    report.say("a rollout without load");
    let quiet = roll_out(report, layout, releases.of_round(1)).await?;
    let (courses, traces) = under_load(report, layout, &releases, &nodes).await?;

    let mut figures = deployments(&quiet, &container);
    figures.push(switches(&courses, &caddy));
    figures.push(latencies(&courses, &traces)?);
    figures.push(
        Figure::new("status of the fleet, median", "ms", median(&asked))
            .over("a TLS handshake", median(&handshakes)),
    );
    figures.extend(rest.figures());
    let machine = machine::describe().await?;
    figures::tell(layout, "bench.json", &machine, &figures)
}

impl Releases {
    async fn make(report: &Report, layout: &Layout) -> Result<Self> {
        let lines = ["2.0", "2.1"];
        let number = versions::first_unused(layout, &lines)?;
        let wanted = |line: &str| Wanted {
            version: format!("{line}.{number}"),
            fault: None,
            fault_after: None,
            migrations_up_to: None,
            out: None,
        };
        let [one, two] = lines.map(wanted);
        Ok(Self([
            releases::make(report, layout, &one).await?,
            releases::make(report, layout, &two).await?,
        ]))
    }

    /// Never the one that the round before left live.
    const fn of_round(&self, round: usize) -> &PathBuf {
        &self.0[round % 2]
    }
}

async fn roll_out(report: &Report, layout: &Layout, release: &Path) -> Result<Course> {
    let call = ctl(layout)?
        .args([
            "rollout",
            "--nodes",
            "all",
            "--soak",
            "0s",
            "--yes",
            "--release",
        ])
        .arg(release);
    let course = course::quietly(call).await?;
    if course.code != Some(0) {
        bail!(
            "the rollout of {} failed:\n{}",
            release.display(),
            last_lines(&course.said, 30)
        );
    }
    report.say(format_args!(
        "{}: rolled out in {:.1} s",
        release.display(),
        course.took.as_secs_f64()
    ));
    Ok(course)
}

/// Rolls back and forth while requests come in.
async fn under_load(
    report: &Report,
    layout: &Layout,
    releases: &Releases,
    nodes: &[Node],
) -> Result<(Vec<Course>, Vec<Trace>)> {
    let rounds = SWITCHES.div_ceil(nodes.len());
    report.say(format_args!(
        "{rounds} rollouts with {RATE} requests a second to each of {} nodes",
        nodes.len()
    ));
    let load = Load::start(&load::Plan {
        targets: nodes.iter().copied().map(Target::node).collect(),
        rate: RATE,
        at_most: AT_MOST,
    })?;
    let mut courses = Vec::new();
    for round in 0..rounds {
        courses.push(roll_out(report, layout, releases.of_round(round)).await?);
    }
    Ok((courses, load.stop().await))
}

/// How long `togather-ctl status` takes, from its start to its end, in milliseconds.
async fn status_times(layout: &Layout) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        status::of(layout).await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of minutes fit a double exactly"
)]
fn deployments(course: &Course, container: &[f64]) -> Vec<Figure> {
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for node in course.nodes() {
        let Some((_, took)) = course.ending(node) else {
            continue;
        };
        let steps = course.steps(node);
        let apps: u64 = THE_APPS.iter().filter_map(|step| steps.get(step)).sum();
        whole.push(took as f64);
        own.push(took.saturating_sub(apps) as f64);
    }
    vec![
        Figure::new("a deployment, median", "ms", median(&whole))
            .over("docker run to the first 200", median(container)),
        Figure::new(
            "its part beyond start and health wait, worst",
            "ms",
            worst(&own),
        )
        .at_most(1000.0),
    ]
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of minutes fit a double exactly"
)]
fn switches(courses: &[Course], caddy: &[f64]) -> Figure {
    let took: Vec<f64> = courses
        .iter()
        .flat_map(|course| {
            let steps = course.nodes().into_iter().map(|node| course.steps(node));
            steps.filter_map(|steps| steps.get("switch_traffic").map(|took| *took as f64))
        })
        .collect();
    let name = format!("a switch, decision to live, p99 of {}", took.len());
    Figure::new(name, "ms", p99(&took))
        .over("Caddy's own load, p99", p99(caddy))
        .at_most(25.0)
}

/// Latency while traffic moved on the node that answered, against the rest of the time.
fn latencies(courses: &[Course], traces: &[Trace]) -> Result<Figure> {
    let (mut during, mut between) = (Vec::new(), Vec::new());
    for trace in traces {
        let windows: Vec<_> = courses
            .iter()
            .flat_map(|course| course.switches(&trace.target))
            .collect();
        for sample in &trace.samples {
            if windows.iter().any(|window| window.touches(sample)) {
                during.push(sample);
            } else {
                between.push(sample);
            }
        }
    }
    let (during, between) = (
        summarise(during.into_iter())?,
        summarise(between.into_iter())?,
    );
    let failed = during.failed + between.failed;
    ensure!(
        failed == 0,
        "{failed} requests failed, the first of them:\n{}",
        during
            .reasons
            .iter()
            .chain(&between.reasons)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    let name = format!("latency during switches, p99 of {}", during.sent);
    Ok(Figure::new(name, "ms", during.p99_ms.unwrap_or(f64::NAN))
        .over(
            format!("between them, p99 of {}", between.sent),
            between.p99_ms.unwrap_or(f64::NAN),
        )
        .ratio_at_most(1.5))
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}
