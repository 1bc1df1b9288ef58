//! The course of a rollout, read from the JSON lines of `togather-ctl` as any script would read them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{load::Window, process::Call, report::Report};

/// A rollout of three nodes with a large migration stays well below this.
const LONGEST: Duration = Duration::from_secs(600);
/// The steps in which traffic moves: from the decision until the old slot is gone.
const SWITCHING: [&str; 3] = ["switch_traffic", "prove_traffic", "retire_old_slot"];

/// One line: what is used here of an event, and nothing of the rest.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Line {
    #[serde(default)]
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) node: Option<String>,
    #[serde(default)]
    pub(crate) at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) step: Option<String>,
    #[serde(default)]
    pub(crate) took_ms: Option<u64>,
    #[serde(default)]
    pub(crate) note: Option<String>,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Deserialize)]
struct Failure {
    what: String,
    #[serde(default)]
    causes: Vec<String>,
}

/// A rollout that ended.
#[derive(Debug)]
pub(crate) struct Course {
    /// `togather-ctl`'s exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// From its start to its end.
    pub(crate) took: Duration,
    /// What it said on standard error.
    pub(crate) said: String,
    lines: Vec<Line>,
}

/// Runs a `togather-ctl` command that streams events, and tells each as it comes.
///
/// # Errors
/// The command cannot be started, hangs, or says something that is not an event.
pub(crate) async fn follow(report: &Report, call: Call) -> Result<Course> {
    let tell = |line: &Line| {
        if let Some(told) = told(line) {
            report.say(format_args!("  {told}"));
        }
    };
    followed(call, tell).await
}

/// The same, without telling anything.
///
/// # Errors
/// As [`follow`].
pub(crate) async fn quietly(call: Call) -> Result<Course> {
    followed(call, |_| {}).await
}

async fn followed(call: Call, tell: impl Fn(&Line)) -> Result<Course> {
    let begun = Instant::now();
    let (mut lines, mut strange) = (Vec::new(), None);
    let ended = call
        .args(["--output", "json"])
        .within(LONGEST)
        .follow(|text| match serde_json::from_str::<Line>(text) {
            Ok(line) => {
                tell(&line);
                lines.push(line);
            }
            Err(error) => strange = Some((error, text.to_owned())),
        })
        .await?;
    if let Some((error, text)) = strange {
        return Err(error).context(format!(
            "togather-ctl wrote a line that is no event: {text}"
        ));
    }
    Ok(Course {
        code: ended.status.code(),
        took: begun.elapsed(),
        said: ended.stderr,
        lines,
    })
}

/// A line in words; `None` for those that would only be noise.
fn told(line: &Line) -> Option<String> {
    let what = line
        .event
        .strip_prefix("deployment.")
        .unwrap_or(&line.event);
    if matches!(what, "" | "step.progress" | "rollout.node.ended") || what.ends_with("started") {
        return None;
    }
    let mut text = format!("{:<7} {what}", line.node.as_deref().unwrap_or_default());
    for part in [&line.step, &line.note, &line.why, &line.message]
        .into_iter()
        .flatten()
    {
        if !part.is_empty() {
            text.push_str(": ");
            text.push_str(part);
        }
    }
    if let Some(failure) = &line.failure {
        text.push_str(": ");
        text.push_str(&failure.what);
        for cause in &failure.causes {
            text.push_str(": ");
            text.push_str(cause);
        }
    }
    if let Some(took) = line.took_ms {
        text.push_str(&format!(" ({took} ms)"));
    }
    Some(text)
}

impl Course {
    /// The nodes on which something happened, in that order.
    pub(crate) fn nodes(&self) -> Vec<&str> {
        let mut nodes = Vec::new();
        for line in self
            .lines
            .iter()
            .filter(|line| line.event.starts_with("deployment."))
        {
            if let Some(node) = line.node.as_deref()
                && !nodes.contains(&node)
            {
                nodes.push(node);
            }
        }
        nodes
    }

    /// How long each step took on this node, in milliseconds; a step that failed counts as well.
    pub(crate) fn steps(&self, node: &str) -> BTreeMap<&str, u64> {
        self.of(node)
            .filter(|line| {
                matches!(
                    line.event.as_str(),
                    "deployment.step.done" | "deployment.step.failed"
                )
            })
            .filter_map(|line| Some((line.step.as_deref()?, line.took_ms?)))
            .collect()
    }

    /// How the deployment on this node ended (`completed`, `undone` or `stuck`) and how long it
    /// took, in milliseconds.
    pub(crate) fn ending(&self, node: &str) -> Option<(&str, u64)> {
        self.of(node).find_map(|line| {
            let ending = line.event.strip_prefix("deployment.")?;
            matches!(ending, "completed" | "undone" | "stuck").then_some(())?;
            Some((ending, line.took_ms?))
        })
    }

    /// When traffic moved on this node, there or back.
    pub(crate) fn switches(&self, node: &str) -> Vec<Window> {
        let mut windows = Vec::new();
        let mut began = BTreeMap::new();
        for line in self.of(node) {
            let (Some(step), Some(at)) = (line.step.as_deref(), line.at) else {
                continue;
            };
            if !SWITCHING.contains(&step) {
                continue;
            }
            if line.event.ends_with(".started") {
                began.insert(step, at);
            } else if let Some(from) = began.remove(step) {
                let ends = SystemTime::try_from(from).and_then(|from| {
                    let until = SystemTime::try_from(at)?;
                    Ok(Window { from, until })
                });
                // A time that no clock of this century shows is nobody's window.
                windows.extend(ends);
            }
        }
        windows
    }

    fn of(&self, node: &str) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .filter(move |line| line.node.as_deref() == Some(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(lines: &[&str]) -> Course {
        Course {
            code: Some(0),
            took: Duration::ZERO,
            said: String::new(),
            lines: lines
                .iter()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        }
    }

    #[test]
    fn steps_switches_and_ending_are_found_for_each_node() {
        let course = course(&[
            r#"{"schema":"x","event":"rollout.started","nodes":["node-1","node-2"]}"#,
            r#"{"event":"deployment.started","node":"node-1","kind":"deploy"}"#,
            r#"{"event":"deployment.step.started","node":"node-1","step":"switch_traffic","at":"2030-01-01T00:00:01Z"}"#,
            r#"{"event":"deployment.step.done","node":"node-1","step":"switch_traffic","took_ms":12,"note":"","at":"2030-01-01T00:00:01.012Z"}"#,
            r#"{"event":"deployment.step.failed","node":"node-1","step":"soak","took_ms":900,"failure":{"kind":"unhealthy","what":"bad"},"at":"2030-01-01T00:00:03Z"}"#,
            r#"{"event":"deployment.undo.started","node":"node-1","step":"switch_traffic","at":"2030-01-01T00:00:04Z"}"#,
            r#"{"event":"deployment.undo.done","node":"node-1","step":"switch_traffic","took_ms":9,"note":"","at":"2030-01-01T00:00:05Z"}"#,
            r#"{"event":"deployment.undone","node":"node-1","took_ms":4000,"failure":{"kind":"unhealthy","what":"bad"}}"#,
        ]);
        assert_eq!(course.nodes(), ["node-1"]);
        assert_eq!(
            course.steps("node-1"),
            BTreeMap::from([("switch_traffic", 12), ("soak", 900)])
        );
        assert_eq!(course.ending("node-1"), Some(("undone", 4000)));
        assert_eq!(course.switches("node-1").len(), 2, "there and back");
        assert!(course.steps("node-2").is_empty());
    }

    #[test]
    fn a_failure_is_told_with_its_causes() {
        let line = r#"{"event":"deployment.undone","node":"node-1","took_ms":40,
            "failure":{"kind":"unhealthy","what":"it went bad","causes":["503"]}}"#;
        assert_eq!(
            told(&serde_json::from_str(line).unwrap()).unwrap(),
            "node-1  undone: it went bad: 503 (40 ms)"
        );
    }
}
