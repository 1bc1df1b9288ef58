//! The news of a rollout as lines: for people, and for programs.

use std::time::Instant;

use console::style;
use serde::Serialize;
use togather_model::{Event, EventKind, OperationKind, rollout::Progress};

use super::{
    Output, Ui,
    stages::{Now, Stages},
    table,
};
use crate::{
    client::Fetching,
    rollout::news::{News, Reporter},
};

/// The `schema` field of a line of news.
pub const SCHEMA: &str = "togather.fleet/event/v1";

/// A JSON line on standard output for each piece of news.
pub(super) struct JsonLines;

#[derive(Serialize)]
struct JsonLine<'a> {
    schema: &'static str,
    #[serde(flatten)]
    news: &'a News<'a>,
}

impl Reporter for JsonLines {
    fn tell(&self, news: &News<'_>) {
        let ui = Ui::new(Output::Json);
        let line = JsonLine {
            schema: SCHEMA,
            news,
        };
        // Whoever read the lines may be gone; the rollout goes on, and the last line will say so.
        let _ = ui.data(String::new, &line);
    }
}

/// A line on standard error for each piece of news that people want to know.
#[derive(Default)]
pub(super) struct PlainLines {
    stages: Stages,
}

impl Reporter for PlainLines {
    fn tell(&self, news: &News<'_>) {
        let line = if let News::Fetching { node, progress } = news {
            let line = self.stages.line(node, now(progress), Instant::now());
            line.map(|line| format!("{node}:   {line}"))
        } else {
            line(news)
        };
        if let Some(line) = line {
            Ui::new(Output::Table).say(line);
        }
    }
}

/// How far a fetch is.
pub(super) fn now(progress: &Fetching) -> Now<'_> {
    Now {
        message: &progress.message,
        done: progress.bytes_done,
        total: progress.bytes_total,
    }
}

/// What people want to know of it, in one line.
pub(super) fn line(news: &News<'_>) -> Option<String> {
    Some(match news {
        News::Started {
            rollout,
            version,
            nodes,
        } => format!("{rollout}: {version} on {}", nodes.join(", ")),
        News::NodeStarted { node, order } => match order {
            OperationKind::Deploy => format!("{node}: deploying"),
            OperationKind::Rollback => format!("{node}: going back"),
            OperationKind::Redeploy => format!("{node}: redeploying"),
        },
        News::SendingImage { node, bytes } => {
            format!("{node}: sending the image ({})", table::size(*bytes))
        }
        // It is told with its pace, by whoever has seen it begin.
        News::Fetching { .. } => return None,
        News::Fetched { node, image } => match image.was_here {
            true => format!("{node}: has the image already"),
            false => format!("{node}: has the image ({})", table::size(image.bytes)),
        },
        News::FetchFailed { node, why } => {
            format!("{node}: {} to get the image: {why}", red("failed"))
        }
        News::NodeLost { node, why } => {
            format!("{node}: {} ({why}); trying again", yellow("lost"))
        }
        News::NodeFound { node } => format!("{node}: back"),
        News::NodeEnded { node, progress } => format!("{node}: {}", outcome(*progress)),
        News::Warning { node, message } => format!("{node}: {} {message}", yellow("warning:")),
        News::Node(event) => return of_event(event),
    })
}

fn of_event(event: &Event) -> Option<String> {
    let node = &event.node;
    let failed = red("failed");
    Some(match &event.kind {
        // The controller has said it already.
        EventKind::Started { .. }
        | EventKind::StepStarted { .. }
        | EventKind::StepSkipped { .. } => {
            return None;
        }
        // Of a deployment only; history tells of snapshots.
        EventKind::UndoStarted { .. } | EventKind::SchemaSet { .. } | EventKind::Snapshot(_) => {
            return None;
        }
        EventKind::StepProgress { step, message } => format!("{node}:   {step}: {message}"),
        EventKind::StepDone { step, took, note } => {
            let took = table::span(*took);
            let line = format!("{node}:   {step:<16} {} {took:>9}  {note}", green("ok"));
            line.trim_end().to_owned()
        }
        EventKind::StepFailed { step, failure, .. } => {
            format!("{node}:   {step:<16} {failed}: {failure}")
        }
        EventKind::UndoDone { step, took, note } => {
            let took = table::span(*took);
            let line = format!("{node}:   {step:<16} taken back {took:>9}  {note}");
            line.trim_end().to_owned()
        }
        EventKind::UndoFailed { step, failure } => {
            format!("{node}:   {step:<16} could not be taken back: {failure}")
        }
        EventKind::Resumed { forward: true, .. } => {
            format!("{node}:   the agent was interrupted and goes on")
        }
        EventKind::Resumed { forward: false, .. } => {
            format!("{node}:   the agent was interrupted and takes everything back")
        }
        EventKind::Warning { message } => format!("{node}:   {} {message}", yellow("warning:")),
        EventKind::Completed { took } => format!("{node}: completed in {}", table::span(*took)),
        EventKind::Undone { took, failure } => {
            format!(
                "{node}: {failed} and went back in {}: {failure}",
                table::span(*took)
            )
        }
        EventKind::Stuck { failure, .. } => format!("{node}: {}: {failure}", red("stuck")),
    })
}

fn outcome(progress: Progress) -> String {
    let words = progress.as_str();
    match progress {
        Progress::Done | Progress::Unchanged | Progress::TakenBack => green(words),
        Progress::Pending | Progress::Running | Progress::Behind => yellow(words),
        Progress::Failed | Progress::Stuck | Progress::NotTakenBack => red(words),
    }
}

fn green(text: &str) -> String {
    style(text).green().for_stderr().to_string()
}

fn yellow(text: &str) -> String {
    style(text).yellow().for_stderr().to_string()
}

fn red(text: &str) -> String {
    style(text).red().for_stderr().to_string()
}
