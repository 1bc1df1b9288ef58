//! Jobs as lines: for people without a terminal, and for programs.

use std::time::Instant;

use serde::Serialize;

use super::{
    super::stages::{Now, Stages},
    Output, Ui,
};
use crate::{
    client::Job,
    jobs::news::{News, Reporter},
};

/// The `schema` field of a line about a job.
const SCHEMA: &str = "togather.fleet/job/v1";

/// A JSON line on standard output each time a job changes.
pub(super) struct JsonLines;

#[derive(Serialize)]
struct JsonLine<'a> {
    schema: &'static str,
    #[serde(flatten)]
    news: &'a News<'a>,
}

impl Reporter for JsonLines {
    fn tell(&self, news: &News<'_>) {
        if matches!(news, News::Ended(_)) {
            return;
        }
        let line = JsonLine {
            schema: SCHEMA,
            news,
        };
        // Whoever read the lines may be gone; the job goes on, and the last line will say so.
        let _ = Ui::new(Output::Json).data(String::new, &line);
    }
}

/// A line on standard error for each stage of a job, and now and then while it lasts.
#[derive(Default)]
pub(super) struct PlainLines {
    stages: Stages,
}

impl PlainLines {
    fn line(&self, node: &str, job: &Job) -> Option<String> {
        let now = Now {
            message: &job.message,
            done: job.bytes_done,
            total: job.bytes_total,
        };
        let line = self.stages.line(node, now, Instant::now())?;
        Some(format!("{node}:   {line}"))
    }
}

impl Reporter for PlainLines {
    fn tell(&self, news: &News<'_>) {
        let line = match news {
            News::Job { job, .. } if job.ended_at.is_some() => None,
            News::Job { node, job } => self.line(node, job),
            News::Lost { node, why } => Some(format!("{node}: lost ({why}); trying again")),
            News::Found { node } => Some(format!("{node}: back")),
            News::Ended(outcome) => Some(super::ending(outcome)),
        };
        if let Some(line) = line {
            Ui::new(Output::Table).say(line);
        }
    }
}
