//! `devfleet demo`: a fleet, a good release and a broken one rolled across it under load, and proof
//! that no request failed. Whatever is not as promised ends it with a word on what.
//!
//! It can be run again on the fleet it left: the releases of each run have versions of their own.

mod tables;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use crate::{
    bundles::ctl,
    course::{self, Course},
    layout::{Layout, Node},
    load::{self, Load, Target, Trace, Window},
    process::last_lines,
    releases::{self, Wanted},
    report::{Report, print},
    status, up, versions,
};

/// How many nodes.
const NODES: u8 = 3;
/// Requests a second to each of them.
const RATE: u32 = 50;
/// How long the load goes on before the first rollout, so that there is a "before".
const BEFORE: Duration = Duration::from_secs(6);
/// The beginning of it, in which every connection is new, is left out.
const WARMING: Duration = Duration::from_secs(1);
/// Far more than the two rollouts take.
const AT_MOST: Duration = Duration::from_secs(600);
/// What one rollout across three nodes should take at most, on two cores.
pub(crate) const TARGET: Duration = Duration::from_secs(60);
/// A rollout that went back because the new version was not healthy.
const WENT_BACK: i32 = 4;

/// The releases of one run of the demonstration.
struct Releases {
    /// Runs before anything is measured.
    first: Wanted,
    /// Good, with migrations.
    second: Wanted,
    /// Healthy at first, then not.
    broken: Wanted,
}

/// A rollout under load.
struct Phase {
    version: String,
    course: Course,
    whole: Window,
}

pub(crate) async fn demo(report: &Report, layout: &Layout) -> Result<()> {
    up::up(report, layout, NODES).await?;
    let releases = Releases::of_this_run(layout).await?;
    let first = releases::make(report, layout, &releases.first).await?;
    let second = releases::make(report, layout, &releases.second).await?;
    let broken = releases::make(report, layout, &releases.broken).await?;

    let version = &releases.first.version;
    report.say(format_args!("rolling out {version}, without load"));
    let course = roll_out(report, layout, &first, "0s").await?;
    expect(&course, 0, version)?;

    let load = Load::start(&load::Plan {
        targets: Node::first(NODES).into_iter().map(Target::node).collect(),
        rate: RATE,
        at_most: AT_MOST,
    })?;
    report.say(format_args!(
        "load: {RATE} requests a second to each of {NODES} nodes, from now to the end"
    ));
    let warm = SystemTime::now() + WARMING;
    await_requests(&load).await?;

    let good = phase(report, layout, &load, (&releases.second, &second), "2s").await?;
    expect(&good.course, 0, &good.version)?;
    // It goes bad three seconds after its first request; a soak ends as soon as it has seen enough.
    let bad = phase(report, layout, &load, (&releases.broken, &broken), "10s").await?;
    expect(&bad.course, WENT_BACK, &bad.version)?;
    let traces = load.stop().await;

    let before = Window {
        from: warm,
        until: good.whole.from,
    };
    ctl(layout)?.arg("status").on_terminal().await?;
    print(tables::steps(&good, &bad));
    print(tables::requests(&traces, before, &[&good, &bad])?);
    check(layout, &traces, &good, &bad).await?;
    conclude(layout, &traces, &good)
}

impl Releases {
    /// Versions that were not used on this fleet before. The first run's first release knows only
    /// the first two migrations, so that the second brings some; later the database has them all.
    async fn of_this_run(layout: &Layout) -> Result<Self> {
        let schemas = status::of(layout).await?.schemas();
        let fresh = schemas.iter().all(|schema| *schema <= 2);
        let run = versions::first_unused(layout, &["1.0", "1.1", "1.2"])?;
        let wanted = |line: &str| Wanted {
            version: format!("{line}.{run}"),
            fault: None,
            fault_after: None,
            migrations_up_to: None,
            out: None,
        };
        Ok(Self {
            first: Wanted {
                migrations_up_to: fresh.then_some(2),
                ..wanted("1.0")
            },
            second: wanted("1.1"),
            broken: Wanted {
                fault: Some("fails-in-soak".to_owned()),
                ..wanted("1.2")
            },
        })
    }
}

async fn roll_out(report: &Report, layout: &Layout, release: &Path, soak: &str) -> Result<Course> {
    let call = ctl(layout)?
        .args([
            "rollout",
            "--nodes",
            "all",
            "--soak",
            soak,
            "--yes",
            "--release",
        ])
        .arg(release);
    course::follow(report, call).await
}

/// A rollout while the load goes on.
async fn phase(
    report: &Report,
    layout: &Layout,
    load: &Load,
    release: (&Wanted, &Path),
    soak: &str,
) -> Result<Phase> {
    let (release, file) = release;
    let version = release.version.clone();
    let what = release.fault.as_deref().unwrap_or("a good release");
    report.say(format_args!("rolling out {version} ({what}), under load"));
    let from = SystemTime::now();
    let course = roll_out(report, layout, file, soak).await?;
    let (sent, failed) = load.so_far();
    report.say(format_args!(
        "{version}: ended after {:.1} s; {sent} requests so far, {failed} failed",
        course.took.as_secs_f64()
    ));
    Ok(Phase {
        version,
        course,
        whole: Window {
            from,
            until: SystemTime::now(),
        },
    })
}

/// Waits until the "before" is there: answers of several seconds.
async fn await_requests(load: &Load) -> Result<()> {
    let enough = BEFORE.as_secs() * u64::from(RATE) * u64::from(NODES);
    let until = Instant::now() + BEFORE * 6;
    while (load.so_far().0 as u64) < enough {
        ensure!(
            Instant::now() < until,
            "the nodes answer too slowly: {} of {enough} requests in {:?}",
            load.so_far().0,
            BEFORE * 6
        );
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The rollout ended with this code, or an error that tells how it ended.
fn expect(course: &Course, code: i32, version: &str) -> Result<()> {
    if course.code == Some(code) {
        return Ok(());
    }
    let ended = course.code.map_or_else(
        || "by a signal".to_owned(),
        |code| format!("with code {code}"),
    );
    bail!(
        "the rollout of {version} ended {ended} instead of {code}:\n{}",
        last_lines(&course.said, 30)
    )
}

/// Holds what happened against what was promised.
async fn check(layout: &Layout, traces: &[Trace], good: &Phase, bad: &Phase) -> Result<()> {
    for node in Node::first(NODES) {
        let name = node.to_string();
        let ending = good.course.ending(&name).map(|(ending, _)| ending);
        ensure!(
            ending == Some("completed"),
            "{name}: the deployment of {} should have completed, and was {}",
            good.version,
            ending.unwrap_or("not begun")
        );
    }
    let touched = bad.course.nodes();
    ensure!(
        touched == ["node-1"] && bad.course.ending("node-1").map(|(e, _)| e) == Some("undone"),
        "the broken {} should have been taken back on node-1 and reached no other; it reached {}",
        bad.version,
        touched.join(", ")
    );
    status::of(layout)
        .await?
        .all_serve(&good.version)
        .context("the fleet is not as it should be at the end")?;
    for trace in traces {
        let summary = trace.summary()?;
        ensure!(
            summary.failed == 0,
            "{}: {} of {} requests failed, the first of them:\n{}",
            trace.target,
            summary.failed,
            summary.sent,
            summary.reasons.join("\n")
        );
    }
    Ok(())
}

fn conclude(layout: &Layout, traces: &[Trace], good: &Phase) -> Result<()> {
    let sent: usize = traces.iter().map(|trace| trace.samples.len()).sum();
    let took = good.course.took;
    print(format_args!(
        "\n{} on {NODES} nodes in {:.1} s (target {} s: {}). {sent} requests, 0 failed; the broken \
         release went back by itself.\n\nThe fleet stays up. Try next:",
        good.version,
        took.as_secs_f64(),
        TARGET.as_secs(),
        if took <= TARGET { "met" } else { "missed" },
    ));
    let program = up::short(&layout.program("togather-ctl")?);
    let fleet = up::short(&layout.fleet_file());
    for words in [
        "status",
        "history --nodes all",
        "rollback --nodes all --yes",
    ] {
        print(format_args!("  {program} --fleet {fleet} {words}"));
    }
    Ok(())
}
