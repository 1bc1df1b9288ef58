//! The only place that prints. Data goes to standard output, everything else to standard error.
//!
//! What is printed is made by functions that return text, so that tests can read it; this file
//! sends it out.

pub mod ask;
pub mod error;
pub mod fetched;
pub mod follow;
pub mod history;
pub mod inventory;
pub mod jobs;
mod live;
pub mod lock;
pub mod plans;
pub mod release;
pub mod rollouts;
pub mod shelves;
mod stages;
pub mod status;
pub mod summary;
mod table;

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    rollout::news::Reporter,
};

/// The form of what goes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON document, or JSON lines where it streams.
    Json,
}

/// The operator's terminal, or whatever stands in for it.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    output: Output,
}

impl Ui {
    /// A user interface that writes data in this form.
    #[must_use]
    pub const fn new(output: Output) -> Self {
        Self { output }
    }

    /// Whether data goes out as JSON.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// Writes data: text for people, or the value as one line of JSON.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub fn data(self, text: impl FnOnce() -> String, value: &impl Serialize) -> Result<()> {
        let mut out = match self.output {
            Output::Table => text(),
            Output::Json => serde_json::to_string(value)
                .map_err(|error| Error::other("cannot write JSON").because(&error))?,
        };
        if !out.ends_with('\n') {
            out.push('\n');
        }
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(out.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Error::other("cannot write to standard output").because(&error))
    }

    /// Tells people something that is not data. If even that cannot be written, nobody is there to
    /// be told so.
    pub fn say(self, text: impl AsRef<str>) {
        let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
    }

    /// Tells people that the command failed.
    pub fn error(self, error: &Error) {
        self.say(error::text(error).trim_end());
    }

    /// Clears the terminal before a redraw; does nothing where standard output is none.
    pub fn redraw(self) {
        let terminal = console::Term::stdout();
        if terminal.is_term() && self.output == Output::Table {
            // A terminal that cannot be cleared shows one answer below the other.
            let _ = terminal.clear_screen();
        }
    }

    /// Somebody who shows the news of a rollout: live on a terminal, as lines elsewhere.
    #[must_use]
    pub fn reporter(self) -> Box<dyn Reporter> {
        match self.output {
            Output::Json => Box::new(follow::JsonLines),
            Output::Table if std::io::stderr().is_terminal() => Box::new(live::Live::new()),
            Output::Table => Box::new(follow::PlainLines::default()),
        }
    }
}

/// Whether somebody is there to be asked.
pub(crate) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
