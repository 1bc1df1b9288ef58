//! Jobs as they go on, and what came of them.

mod bars;
mod lines;

use std::{io::IsTerminal as _, time::Duration};

use serde::Serialize;

use super::{Output, Ui, table};
use crate::{
    client::Job,
    jobs::{Outcome, news::Reporter},
};

/// The `schema` field of what came of jobs.
pub const SCHEMA: &str = "togather.fleet/snapshot-jobs/v1";

impl Ui {
    /// Somebody who shows how far jobs are: bars on a terminal, lines elsewhere.
    #[must_use]
    pub fn job_reporter(self) -> Box<dyn Reporter> {
        match self.output {
            Output::Json => Box::new(lines::JsonLines),
            Output::Table if std::io::stderr().is_terminal() => Box::new(bars::Bars::default()),
            Output::Table => Box::new(lines::PlainLines::default()),
        }
    }
}

/// What came of jobs, a row a node.
#[derive(Debug, Serialize)]
pub struct Jobs<'a> {
    schema: &'static str,
    nodes: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    /// `done` only where the node said so.
    state: &'static str,
    took_ms: Option<u64>,
    job: Option<&'a Job>,
    error: Option<String>,
}

impl<'a> Jobs<'a> {
    /// Brings the nodes' outcomes together.
    #[must_use]
    pub fn of(outcomes: &'a [Outcome]) -> Self {
        let row = |outcome: &'a Outcome| {
            let (job, error) = (outcome.job.as_ref().ok(), outcome.error());
            Row {
                name: &outcome.node,
                state: if error.is_none() { "done" } else { "failed" },
                took_ms: job
                    .and_then(took)
                    .and_then(|took| took.as_millis().try_into().ok()),
                job,
                error: error.map(|error| error.to_string()),
            }
        };
        Self {
            schema: SCHEMA,
            nodes: outcomes.iter().map(row).collect(),
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = table::table(["NODE", "RESULT", "TOOK", "SNAPSHOT", "SIZE", ""]);
        for row in &self.nodes {
            table.add_row(row.cells());
        }
        let mut text = table::text(table);
        for row in &self.nodes {
            for dump in row.job.iter().flat_map(|job| &job.forgotten) {
                text.push_str(&format!("{}: forgot {dump}\n", row.name));
            }
        }
        text
    }
}

impl Row<'_> {
    fn cells(&self) -> [String; 6] {
        let dash = || "-".to_owned();
        let snapshot = self.job.and_then(|job| job.snapshot.as_ref());
        // Why something failed is said in full on standard error.
        let message = self.job.filter(|job| job.failure.is_none());
        [
            self.name.to_owned(),
            self.state.to_owned(),
            self.job.and_then(took).map_or_else(dash, table::span),
            snapshot.map_or_else(dash, |snapshot| snapshot.id.clone()),
            snapshot.map_or_else(dash, |snapshot| table::size(snapshot.bytes)),
            message.map_or_else(String::new, |job| job.message.clone()),
        ]
    }
}

/// How long a job took; `None` while it is under way.
fn took(job: &Job) -> Option<Duration> {
    job.ended_at?.duration_since(job.started_at).try_into().ok()
}

/// How a node was finished with, in one line.
fn ending(outcome: &Outcome) -> String {
    let node = &outcome.node;
    match (&outcome.job, outcome.error()) {
        (Ok(job), None) => {
            let took = took(job).map(table::span).unwrap_or_default();
            format!("{node}: done in {took}: {}", job.message)
        }
        (_, Some(error)) => format!("{node}: failed: {}", without_name(&error.what, node)),
        (Err(error), None) => format!("{node}: failed: {}", error.what),
    }
}

/// What the node said itself begins with its name already.
fn without_name<'a>(what: &'a str, node: &str) -> &'a str {
    what.strip_prefix(node)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(what)
}
