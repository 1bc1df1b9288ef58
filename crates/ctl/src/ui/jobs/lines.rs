//! Jobs as lines: for people without a terminal, and for programs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{super::table, Output, Ui};
use crate::{
    client::Job,
    jobs::news::{News, Reporter},
};

/// The `schema` field of a line about a job.
const SCHEMA: &str = "togather.fleet/job/v1";

/// How long a stage may go on before a line tells how far it is.
const EVERY: Duration = Duration::from_secs(5);

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
    stages: Mutex<BTreeMap<String, Stage>>,
}

/// The stage a node's job is in.
struct Stage {
    message: String,
    /// What was done when the stage was first seen, and when that was.
    first: (u64, Instant),
    last_done: u64,
    last_line: Instant,
}

impl Stage {
    fn of(job: &Job, now: Instant) -> Self {
        Self {
            message: job.message.clone(),
            first: (job.bytes_done, now),
            last_done: job.bytes_done,
            last_line: now,
        }
    }

    fn is_still(&self, job: &Job) -> bool {
        self.message == job.message && self.last_done <= job.bytes_done
    }
}

impl PlainLines {
    /// The line to be told now, if there is one.
    fn line(&self, node: &str, job: &Job, now: Instant) -> Option<String> {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stage) = stages.get_mut(node).filter(|stage| stage.is_still(job)) else {
            stages.insert(node.to_owned(), Stage::of(job, now));
            return Some(format!("{node}:   {}", job.message));
        };
        stage.last_done = job.bytes_done;
        if now.duration_since(stage.last_line) < EVERY {
            return None;
        }
        stage.last_line = now;
        let (first_done, since) = stage.first;
        let progress = progress(job, first_done, now.duration_since(since));
        Some(format!("{node}:   {}: {progress}", job.message))
    }
}

impl Reporter for PlainLines {
    fn tell(&self, news: &News<'_>) {
        let line = match news {
            News::Job { job, .. } if job.ended_at.is_some() => None,
            News::Job { node, job } => self.line(node, job, Instant::now()),
            News::Lost { node, why } => Some(format!("{node}: lost ({why}); trying again")),
            News::Found { node } => Some(format!("{node}: back")),
            News::Ended(outcome) => Some(super::ending(outcome)),
        };
        if let Some(line) = line {
            Ui::new(Output::Table).say(line);
        }
    }
}

/// How far a stage is, how fast it goes, and how long it will still take: each as far as is known.
fn progress(job: &Job, first_done: u64, passed: Duration) -> String {
    let done = table::size(job.bytes_done);
    let mut text = match job.bytes_total {
        0 => done,
        total => format!("{done} of {}", table::size(total)),
    };
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    let moved = job.bytes_done.saturating_sub(first_done);
    let Some(rate) = moved
        .saturating_mul(1000)
        .checked_div(millis)
        .filter(|rate| *rate > 0)
    else {
        return text;
    };
    text.push_str(&format!(", {}/s", table::size(rate)));
    let rest = job.bytes_total.saturating_sub(job.bytes_done);
    if rest > 0 {
        let left = Duration::from_secs(rest.div_ceil(rate));
        text.push_str(&format!(", {} left", table::span(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use togather_model::{JobKind, Timestamp};

    use super::*;

    fn job(message: &str, done: u64, total: u64) -> Job {
        Job {
            id: String::new(),
            kind: JobKind::Create,
            operator: "alice".into(),
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            message: message.into(),
            bytes_done: done,
            bytes_total: total,
            failure: None,
            snapshot: None,
            forgotten: Vec::new(),
        }
    }

    #[test]
    fn a_stage_is_told_when_it_begins_and_now_and_then() {
        let (lines, begun) = (PlainLines::default(), Instant::now());
        let told = |job: Job, second| lines.line("n", &job, begun + Duration::from_secs(second));
        assert_eq!(told(job("dumping", 0, 0), 0).unwrap(), "n:   dumping");
        assert_eq!(told(job("dumping", 4_000_000, 0), 4), None);
        let line = told(job("dumping", 10_000_000, 0), 5).unwrap();
        assert_eq!(line, "n:   dumping: 10.00 MB, 2.00 MB/s");
        let line = told(job("restoring", 0, 100), 6).unwrap();
        assert_eq!(line, "n:   restoring");
    }

    #[test]
    fn rate_and_remaining_time_are_told_as_far_as_they_are_known() {
        let after = |job: Job, seconds| progress(&job, 10_000_000, Duration::from_secs(seconds));
        let half = job("reading", 50_000_000, 90_000_000);
        assert_eq!(
            after(half.clone(), 4),
            "50.00 MB of 90.00 MB, 10.00 MB/s, 4.0 s left"
        );
        assert_eq!(after(half, 0), "50.00 MB of 90.00 MB");
        let stalled = job("reading", 10_000_000, 90_000_000);
        assert_eq!(after(stalled, 60), "10.00 MB of 90.00 MB");
    }
}
