//! The news of a rollout on a terminal: finished steps scroll by, the one under way has a clock.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use togather_model::EventKind;

use super::{Output, Ui, follow, stages::Stages};
use crate::{
    client::Fetching,
    rollout::news::{News, Reporter},
};

/// Shows what is going on now, below what has happened.
pub(super) struct Live {
    screen: MultiProgress,
    clocks: Mutex<BTreeMap<String, ProgressBar>>,
    stages: Stages,
}

impl Live {
    pub(super) fn new() -> Self {
        Self {
            screen: MultiProgress::new(),
            clocks: Mutex::default(),
            stages: Stages::default(),
        }
    }

    fn under_way(&self, node: &str, what: &str) {
        let clock = self.screen.add(ProgressBar::new_spinner());
        let style = ProgressStyle::with_template("{spinner} {prefix}:   {wide_msg} {elapsed}");
        clock.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        clock.set_prefix(node.to_owned());
        clock.set_message(what.to_owned());
        clock.enable_steady_tick(Duration::from_millis(100));
        if let Some(before) = self.clocks().insert(node.to_owned(), clock) {
            before.finish_and_clear();
        }
    }

    fn fetching(&self, node: &str, progress: &Fetching) {
        let text = self
            .stages
            .text(node, follow::now(progress), Instant::now());
        let clock = self.clocks().get(node).cloned();
        match clock {
            Some(clock) => clock.set_message(text),
            None => self.under_way(node, &text),
        }
    }

    fn no_longer(&self, node: &str) {
        if let Some(clock) = self.clocks().remove(node) {
            clock.finish_and_clear();
        }
    }

    fn clocks(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, kind: &EventKind, node: &str) {
        match kind {
            EventKind::StepStarted { step } => self.under_way(node, step.as_str()),
            EventKind::UndoStarted { step } => {
                self.under_way(node, &format!("taking back {step}"));
            }
            EventKind::StepProgress { step, message } => {
                if let Some(clock) = self.clocks().get(node) {
                    clock.set_message(format!("{step}: {message}"));
                }
            }
            EventKind::Warning { .. }
            | EventKind::Started { .. }
            | EventKind::StepSkipped { .. }
            | EventKind::Resumed { .. }
            | EventKind::SchemaSet { .. }
            | EventKind::Snapshot(_) => {}
            EventKind::StepDone { .. }
            | EventKind::StepFailed { .. }
            | EventKind::UndoDone { .. }
            | EventKind::UndoFailed { .. }
            | EventKind::Completed { .. }
            | EventKind::Undone { .. }
            | EventKind::Stuck { .. } => self.no_longer(node),
        }
    }
}

impl Reporter for Live {
    fn tell(&self, news: &News<'_>) {
        let mut show = true;
        match news {
            News::Node(event) => {
                self.update(&event.kind, &event.node);
                // On a terminal it is shown in place.
                show = !matches!(event.kind, EventKind::StepProgress { .. });
            }
            News::SendingImage { node, .. } => self.under_way(node, "sending the image"),
            News::Fetching { node, progress } => self.fetching(node, progress),
            News::Fetched { node, .. }
            | News::FetchFailed { node, .. }
            | News::NodeEnded { node, .. } => self.no_longer(node),
            News::Started { .. }
            | News::NodeStarted { .. }
            | News::NodeLost { .. }
            | News::NodeFound { .. }
            | News::Warning { .. } => {}
        }
        if let Some(line) = follow::line(news).filter(|_| show) {
            self.screen.suspend(|| Ui::new(Output::Table).say(line));
        }
    }
}
