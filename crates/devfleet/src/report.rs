//! What devfleet tells the person in front of it: one line a fact, with the time since it began.
//! Only this file prints; progress goes to standard error, data to standard output.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a development tool that talks to a person"
)]

use std::{fmt::Display, time::Instant};

/// Counts the time from its making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    begun: Instant,
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
        }
    }

    /// Tells one fact.
    pub(crate) fn say(&self, fact: impl Display) {
        eprintln!("[{:6.1} s] {fact}", self.begun.elapsed().as_secs_f64());
    }

    /// Tells why it went no further: the error, then its causes, each once.
    pub(crate) fn fail(&self, error: &anyhow::Error) {
        eprintln!("devfleet: {error}");
        for cause in error.chain().skip(1) {
            eprintln!("  because: {cause}");
        }
    }

    /// Tells that something longer begins; [`Stage::done`] tells its end and how long it took.
    pub(crate) fn stage(&self, name: impl Display) -> Stage {
        self.say(format_args!("{name} ..."));
        Stage {
            report: *self,
            name: name.to_string(),
            begun: Instant::now(),
        }
    }
}

/// Something under way.
#[derive(Debug)]
pub(crate) struct Stage {
    report: Report,
    name: String,
    begun: Instant,
}

impl Stage {
    pub(crate) fn done(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.report
            .say(format_args!("{}: done in {seconds:.1} s", self.name));
    }
}

/// Writes data, or words that are the answer, to standard output.
pub(crate) fn print(text: impl Display) {
    println!("{text}");
}
