//! The node that is measured: its database filled, its jobs ordered through `togather-ctl` and timed
//! as an operator would see them, its agent's memory watched.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::super::{floors, rest};
use crate::{
    bundles::ctl,
    layout::{Layout, Node},
    nodes,
    process::last_lines,
    report::Report,
};

/// More than any job here takes.
const LONGEST: Duration = Duration::from_secs(1800);
/// The last line that `togather-ctl snapshot` writes.
const SUMMARY: &str = "togather.fleet/snapshot-jobs/v1";

/// Where it is measured.
pub(super) struct Place<'a> {
    layout: &'a Layout,
    pub(super) node: Node,
    /// The database's container.
    pub(super) database: String,
}

/// A job that succeeded.
pub(super) struct Done {
    /// From the start of `togather-ctl` to its end.
    pub(super) took_ms: f64,
    /// The agent's highest resident memory meanwhile.
    pub(super) peak_mib: f64,
    /// The snapshot's id.
    pub(super) id: String,
    /// The name of the database it was taken of.
    pub(super) of_database: String,
    pub(super) size_mib: f64,
}

/// What is used here of the summary.
#[derive(Deserialize)]
struct Summary {
    schema: String,
    nodes: Vec<NodeSummary>,
}

#[derive(Deserialize)]
struct NodeSummary {
    state: String,
    job: Option<Job>,
}

#[derive(Deserialize)]
struct Job {
    snapshot: Option<Snapshot>,
}

#[derive(Default, Deserialize)]
struct Snapshot {
    id: String,
    database: String,
    bytes: f64,
}

impl<'a> Place<'a> {
    pub(super) async fn on(layout: &'a Layout, node: Node) -> Result<Self> {
        let found = nodes::exec(node)
            .args(["docker", "ps", "--quiet", "--filter"])
            .arg("label=com.docker.compose.service=db")
            .run()
            .await?;
        let database = found
            .lines()
            .next()
            .with_context(|| format!("{node} runs no database; roll a release out first"))?;
        Ok(Self {
            layout,
            node,
            database: database.to_owned(),
        })
    }

    /// Makes the database hold exactly this many made-up events.
    pub(super) async fn seed(&self, report: &Report, events: u32) -> Result<()> {
        let stage = report.stage(format_args!("{}: {events} events", self.node));
        // A restore or a deployment moves the app to another container.
        let app = floors::app_container(self.node).await?;
        let script = include_str!("../floors/seed.sh");
        floors::run(
            self.node,
            script,
            &[&self.database, &app, &events.to_string()],
        )
        .await?;
        stage.done();
        Ok(())
    }

    pub(super) async fn create(&self) -> Result<Done> {
        self.job(&["create"]).await
    }

    pub(super) async fn verify(&self, id: &str) -> Result<Done> {
        self.job(&["verify", id]).await
    }

    pub(super) async fn restore(&self, of: &Done) -> Result<Done> {
        self.job(&["restore", &of.id, "--yes-restore", &of.of_database])
            .await
    }

    pub(super) async fn undo_restore(&self, of: &Done) -> Result<Done> {
        self.job(&["restore", "--undo", "--yes-restore", &of.of_database])
            .await
    }

    async fn job(&self, arguments: &[&str]) -> Result<Done> {
        let agent = rest::agent(self.node).await?;
        self.forget_peak(&agent).await?;
        let begun = Instant::now();
        let ended = ctl(self.layout)?
            .arg("snapshot")
            .args(arguments)
            .args(["--nodes", &self.node.to_string(), "--output", "json"])
            .within(LONGEST)
            .ended()
            .await?;
        let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
        let what = arguments.join(" ");
        ensure!(
            ended.status.success(),
            "snapshot {what} failed:\n{}",
            last_lines(&ended.stderr, 30)
        );
        let peak_mib = rest::memory(self.node, &agent, "VmHWM:").await?;
        let snapshot = snapshot(&ended.stdout)
            .with_context(|| format!("unexpected from `togather-ctl snapshot {what}`"))?;
        Ok(Done {
            took_ms,
            peak_mib,
            id: snapshot.id,
            of_database: snapshot.database,
            size_mib: snapshot.bytes / f64::from(1 << 20),
        })
    }

    /// Has the kernel count the agent's highest memory anew; proc(5), `clear_refs`.
    async fn forget_peak(&self, agent: &str) -> Result<()> {
        nodes::exec(self.node)
            .args(["tee", &format!("/proc/{agent}/clear_refs")])
            .input(b"5\n".to_vec())
            .run()
            .await
            .with_context(|| format!("{}: the agent's peak cannot be reset", self.node))?;
        Ok(())
    }
}

/// The snapshot that the job was about; not every job is about one.
fn snapshot(printed: &str) -> Result<Snapshot> {
    let last = printed.lines().last().unwrap_or_default();
    let summary: Summary = serde_json::from_str(last).context("its last line is no summary")?;
    ensure!(
        summary.schema == SUMMARY,
        "its last line is of the form {}, not {SUMMARY}",
        summary.schema
    );
    let [node] = summary.nodes.as_slice() else {
        anyhow::bail!("its summary is about {} nodes", summary.nodes.len());
    };
    ensure!(node.state == "done", "the node's job is {}", node.state);
    let job = summary.nodes.into_iter().next().and_then(|node| node.job);
    Ok(job.and_then(|job| job.snapshot).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_last_line() {
        let line = r#"{"schema":"togather.fleet/job/v1","event":"job","node":"node-1","job":{}}"#;
        let summary = r#"{"schema":"togather.fleet/snapshot-jobs/v1","nodes":[{"name":"node-1",
            "state":"done","took_ms":1,"error":null,"job":{"id":"1","snapshot":{"id":"2",
            "database":"togather","bytes":1048576}}}]}"#
            .replace('\n', "");
        let found = snapshot(&format!("{line}\n{summary}\n")).unwrap();
        assert_eq!((found.id.as_str(), found.bytes), ("2", 1_048_576.0));
        let failed = summary.replace("\"done\"", "\"failed\"");
        assert!(snapshot(&failed).is_err());
        assert!(snapshot(line).is_err());
    }
}
