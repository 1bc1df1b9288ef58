//! `devfleet load`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{FASTEST, LONGEST, Load, Plan, Summary, Target, Trace, table};
use crate::{
    nodes,
    report::{Report, print},
};

/// What load to send.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// For how long; Ctrl-C or SIGTERM ends it earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=LONGEST.as_secs()))]
    seconds: u64,
    /// Requests a second to each target
    #[arg(long, value_name = "R", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(FASTEST)))]
    rate: u32,
    /// A node, or http://ADDRESS:PORT on a loopback address; all nodes, unless said
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<Target>,
    /// How to tell the outcome
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Sends the load, tells what became of it, and ends with 1 if any request failed.
pub(crate) async fn command(report: &Report, wanted: &Wanted) -> Result<ExitCode> {
    let mut targets = wanted.targets.clone();
    if targets.is_empty() {
        let nodes = nodes::existing().await?;
        targets = nodes.into_iter().map(Target::node).collect();
    }
    if targets.is_empty() {
        bail!("there are no nodes; `devfleet up` makes some, or name a --target");
    }
    let load = Load::start(&Plan {
        targets,
        rate: wanted.rate,
        at_most: Duration::from_secs(wanted.seconds),
    })?;
    report.say("the load is on");
    let traces = until_asked_to_stop(load).await?;
    let rows = traces
        .iter()
        .map(|trace| Ok((trace.target.clone(), trace.summary()?)))
        .collect::<Result<Vec<(String, Summary)>>>()?;
    match wanted.output {
        Output::Table => print(table(rows.iter().map(|(name, row)| (name.clone(), row)))),
        Output::Json => print(json!({
            "schema": "togather.devfleet/load/v1",
            "rate": wanted.rate,
            "targets": rows.iter().map(|(name, row)| json!({"target": name, "requests": row}))
                .collect::<Vec<_>>(),
        })),
    }
    let mut code = ExitCode::SUCCESS;
    for (name, row) in rows.iter().filter(|(_, row)| row.failed > 0) {
        code = ExitCode::FAILURE;
        for reason in &row.reasons {
            report.say(format_args!("{name}: {reason}"));
        }
    }
    Ok(code)
}

async fn until_asked_to_stop(load: Load) -> Result<Vec<Trace>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let stopper = load.stopper();
    let end = load.end();
    tokio::pin!(end);
    let traces = tokio::select! {
        traces = &mut end => return Ok(traces),
        _ = interrupt.recv() => { stopper.stop(); end.await }
        _ = terminate.recv() => { stopper.stop(); end.await }
    };
    Ok(traces)
}
