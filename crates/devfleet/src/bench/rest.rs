//! What the agents use while nothing happens.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::figures::Figure;
use crate::{layout::Node, nodes};

/// Long enough that a wake-up a second is seen often.
const WATCHED: Duration = Duration::from_secs(20);

/// The worst of all nodes.
pub(super) struct Rest {
    resident_mib: f64,
    cpu_percent: f64,
}

pub(super) async fn of(nodes: &[Node]) -> Result<Rest> {
    let each = try_join_all(nodes.iter().map(|node| watch(*node))).await?;
    let worst = |of: fn(&Rest) -> f64| each.iter().map(of).fold(0.0, f64::max);
    Ok(Rest {
        resident_mib: worst(|rest| rest.resident_mib),
        cpu_percent: worst(|rest| rest.cpu_percent),
    })
}

impl Rest {
    pub(super) fn figures(&self) -> [Figure; 2] {
        [
            Figure::new("an agent at rest: memory", "MiB", self.resident_mib).at_most(15.0),
            Figure::new("an agent at rest: processor", "%", self.cpu_percent).at_most(0.1),
        ]
    }
}

async fn watch(node: Node) -> Result<Rest> {
    let pid = agent(node).await?;
    let (begun, before) = (Instant::now(), on_cpu(node, &pid).await?);
    sleep(WATCHED).await;
    let (after, passed) = (on_cpu(node, &pid).await?, begun.elapsed());
    let used: f64 = after
        .iter()
        .map(|(thread, used)| used - before.get(thread).copied().unwrap_or(0.0))
        .sum();
    Ok(Rest {
        resident_mib: memory(node, &pid, "VmRSS:").await?,
        cpu_percent: 100.0 * used / passed.as_secs_f64(),
    })
}

/// The time that each thread of the process has spent on a processor, in seconds. `stat` counts in
/// hundredths, too coarse for a thousandth of twenty seconds; `schedstat` counts in nanoseconds.
async fn on_cpu(node: Node, pid: &str) -> Result<BTreeMap<String, f64>> {
    let threads = nodes::exec(node)
        .args([
            "sh",
            "-c",
            "grep --with-filename . /proc/\"$1\"/task/*/schedstat",
            "sh",
            pid,
        ])
        .run()
        .await
        .with_context(|| format!("{node}: the agent's processor time cannot be read"))?;
    threads
        .lines()
        .map(|line| {
            let (thread, numbers) = line.split_once(':').unwrap_or(("", line));
            let nanoseconds = numbers.split_whitespace().next().unwrap_or_default();
            let nanoseconds: f64 = nanoseconds
                .parse()
                .with_context(|| format!("unexpected in schedstat: `{line}`"))?;
            Ok((thread.to_owned(), nanoseconds / 1e9))
        })
        .collect()
}

/// The agent's process id.
pub(super) async fn agent(node: Node) -> Result<String> {
    let show = ["systemctl", "show", "--property", "MainPID", "--value"];
    nodes::exec(node)
        .args(show)
        .arg("togather-agent")
        .run()
        .await
}

/// A figure out of what the kernel says of a process's memory, in MiB.
pub(super) async fn memory(node: Node, pid: &str, figure: &str) -> Result<f64> {
    let status = nodes::exec(node)
        .args(["cat", &format!("/proc/{pid}/status")])
        .run()
        .await?;
    let kib: f64 = status
        .lines()
        .find_map(|line| {
            line.strip_prefix(figure)?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("{node}: the agent's memory cannot be read"))?;
    Ok(kib / 1024.0)
}
