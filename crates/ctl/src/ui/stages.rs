//! How far something is that a node does: in stages, each with a pace of its own.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::table;

/// How long a stage may go on before it is told again how far it is.
const EVERY: Duration = Duration::from_secs(5);

/// How far a node is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    /// The stage, for people.
    pub(super) message: &'a str,
    /// How much of it is done, in bytes.
    pub(super) done: u64,
    /// How much it will be; 0: not known.
    pub(super) total: u64,
}

/// The stage each node is in.
#[derive(Default)]
pub(super) struct Stages(Mutex<BTreeMap<String, Stage>>);

struct Stage {
    message: String,
    /// What was done when the stage was first seen, and when that was.
    first: (u64, Instant),
    last_done: u64,
    last_told: Instant,
}

impl Stage {
    fn of(now: Now<'_>, at: Instant) -> Self {
        Self {
            message: now.message.to_owned(),
            first: (now.done, at),
            last_done: now.done,
            last_told: at,
        }
    }

    fn is_still(&self, now: Now<'_>) -> bool {
        self.message == now.message && self.last_done <= now.done
    }
}

impl Stages {
    /// What is to be told of it in lines that stay: each stage as it begins, and now and then how far
    /// it is.
    pub(super) fn line(&self, node: &str, now: Now<'_>, at: Instant) -> Option<String> {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stage) = stages.get_mut(node).filter(|stage| stage.is_still(now)) else {
            stages.insert(node.to_owned(), Stage::of(now, at));
            return Some(now.message.to_owned());
        };
        stage.last_done = now.done;
        if at.duration_since(stage.last_told) < EVERY {
            return None;
        }
        stage.last_told = at;
        Some(text(now, stage.first, at))
    }

    /// All that is known of it now, for a line that is drawn anew each time.
    pub(super) fn text(&self, node: &str, now: Now<'_>, at: Instant) -> String {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match stages.get_mut(node).filter(|stage| stage.is_still(now)) {
            Some(stage) => {
                stage.last_done = now.done;
                text(now, stage.first, at)
            }
            None => {
                stages.insert(node.to_owned(), Stage::of(now, at));
                text(now, (now.done, at), at)
            }
        }
    }
}

/// All that is known of a stage that began so long ago with nothing done.
pub(super) fn since_it_began(now: Now<'_>, elapsed: Duration) -> String {
    match now.done {
        0 => now.message.to_owned(),
        _ => format!("{}: {}", now.message, progress(now, 0, elapsed)),
    }
}

fn text(now: Now<'_>, (first_done, since): (u64, Instant), at: Instant) -> String {
    match now.done {
        0 => now.message.to_owned(),
        _ => {
            let progress = progress(now, first_done, at.duration_since(since));
            format!("{}: {progress}", now.message)
        }
    }
}

/// How far a stage is, how fast it goes, and how long it will still take: each as far as is known.
fn progress(now: Now<'_>, first_done: u64, passed: Duration) -> String {
    let done = table::size(now.done);
    let mut text = match now.total {
        0 => done,
        total => format!("{done} of {}", table::size(total)),
    };
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    let moved = now.done.saturating_sub(first_done);
    let Some(rate) = moved
        .saturating_mul(1000)
        .checked_div(millis)
        .filter(|rate| *rate > 0)
    else {
        return text;
    };
    text.push_str(&format!(", {}/s", table::size(rate)));
    let rest = now.total.saturating_sub(now.done);
    if rest > 0 {
        let left = Duration::from_secs(rest.div_ceil(rate));
        text.push_str(&format!(", {} left", table::span(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(message: &str, done: u64, total: u64) -> Now<'_> {
        Now {
            message,
            done,
            total,
        }
    }

    #[test]
    fn a_stage_is_told_when_it_begins_and_now_and_then() {
        let (stages, begun) = (Stages::default(), Instant::now());
        let told = |now, second| stages.line("n", now, begun + Duration::from_secs(second));
        assert_eq!(told(now("dumping", 0, 0), 0).unwrap(), "dumping");
        assert_eq!(told(now("dumping", 4_000_000, 0), 4), None);
        let line = told(now("dumping", 10_000_000, 0), 5).unwrap();
        assert_eq!(line, "dumping: 10.00 MB, 2.00 MB/s");
        let line = told(now("restoring", 0, 100), 6).unwrap();
        assert_eq!(line, "restoring");
    }

    #[test]
    fn a_line_that_is_drawn_anew_says_all_each_time() {
        let (stages, begun) = (Stages::default(), Instant::now());
        let text = |now, second| stages.text("n", now, begun + Duration::from_secs(second));
        assert_eq!(text(now("downloading", 0, 0), 0), "downloading");
        let all = text(now("downloading", 10_000_000, 30_000_000), 1);
        assert_eq!(
            all,
            "downloading: 10.00 MB of 30.00 MB, 10.00 MB/s, 2.0 s left"
        );
    }

    #[test]
    fn rate_and_remaining_time_are_told_as_far_as_they_are_known() {
        let after = |now, seconds| progress(now, 10_000_000, Duration::from_secs(seconds));
        let half = now("reading", 50_000_000, 90_000_000);
        assert_eq!(
            after(half, 4),
            "50.00 MB of 90.00 MB, 10.00 MB/s, 4.0 s left"
        );
        assert_eq!(after(half, 0), "50.00 MB of 90.00 MB");
        let stalled = now("reading", 10_000_000, 90_000_000);
        assert_eq!(after(stalled, 60), "10.00 MB of 90.00 MB");
    }
}
