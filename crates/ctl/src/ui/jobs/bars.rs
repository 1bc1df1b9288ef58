//! Jobs on a terminal: a bar a node, with its rate and the time that remains.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{super::Output, Ui};
use crate::{
    client::Job,
    jobs::news::{News, Reporter},
};

const OF_KNOWN_SIZE: &str = "{spinner} {prefix}: {msg} [{bar:20}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
const OF_UNKNOWN_SIZE: &str =
    "{spinner} {prefix}: {msg} {decimal_bytes} {decimal_bytes_per_sec} {elapsed}";
const WITHOUT_SIZE: &str = "{spinner} {prefix}: {msg} {elapsed}";

/// A bar for each node that is at work, below what is finished.
#[derive(Default)]
pub(super) struct Bars {
    screen: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Bars {
    fn show(&self, node: &str, job: &Job) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(node.to_owned()).or_insert_with(|| {
            let bar = self.screen.add(ProgressBar::no_length());
            // Said before the first tick draws it.
            bar.set_style(style(WITHOUT_SIZE));
            bar.set_prefix(node.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let is_new_stage = bar.message() != job.message || bar.position() > job.bytes_done;
        if is_new_stage {
            bar.set_message(job.message.clone());
            // The rate of one stage says nothing about the next.
            bar.reset();
        }
        let template = match (job.bytes_done, job.bytes_total) {
            // Before the first byte nothing is known of the rate.
            (0, _) => WITHOUT_SIZE,
            (_, 0) => OF_UNKNOWN_SIZE,
            (_, _) => OF_KNOWN_SIZE,
        };
        bar.set_style(style(template));
        match job.bytes_total {
            0 => bar.unset_length(),
            total => bar.set_length(total),
        }
        bar.set_position(job.bytes_done);
    }

    fn no_longer(&self, node: &str) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.remove(node) {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Reporter for Bars {
    fn tell(&self, news: &News<'_>) {
        let line = match news {
            News::Job { job, .. } if job.ended_at.is_some() => return,
            News::Job { node, job } => return self.show(node, job),
            News::Lost { node, why } => format!("{node}: lost ({why}); trying again"),
            News::Found { node } => format!("{node}: back"),
            News::Ended(outcome) => {
                self.no_longer(&outcome.node);
                super::ending(outcome)
            }
        };
        self.screen.suspend(|| Ui::new(Output::Table).say(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [OF_KNOWN_SIZE, OF_UNKNOWN_SIZE, WITHOUT_SIZE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
