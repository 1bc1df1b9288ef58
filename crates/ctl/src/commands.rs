//! One file a subcommand: what it is asked, what it does, in which form it answers.

pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod lock;
pub(crate) mod node;
mod pace;
pub(crate) mod redeploy;
pub(crate) mod release;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod status;
mod walk;

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    error::Result,
    fleet::FleetFile,
    session::Session,
    ui::{Ui, ask},
};

/// What every subcommand is given.
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) fleet: Option<PathBuf>,
    pub(crate) identity: Option<PathBuf>,
}

impl Context {
    fn fleet_file(&self) -> Result<FleetFile> {
        FleetFile::load(&FleetFile::locate(self.fleet.as_deref()))
    }

    /// Ready to look at nodes.
    fn session(&self) -> Result<Session> {
        Session::open(
            &FleetFile::locate(self.fleet.as_deref()),
            self.identity.as_deref(),
        )
    }

    /// Ready to change nodes: the signing key is open.
    fn signing_session(&self) -> Result<Session> {
        let session = self.session()?;
        session.unlock(Some(&ask::passphrase))?;
        Ok(session)
    }

    /// A command line that can be pasted to go on with the same fleet.
    fn command(&self, rest: &str) -> String {
        match &self.fleet {
            Some(fleet) => {
                let fleet = fleet.to_string_lossy();
                format!("togather-ctl --fleet {} {rest}", shell_words::quote(&fleet))
            }
            None => format!("togather-ctl {rest}"),
        }
    }
}

/// Which nodes a command is about.
#[derive(Args)]
pub(crate) struct Nodes {
    /// Which nodes: `all`, names, or label=value; comma separated
    #[arg(long, value_name = "NODES", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
}

/// Which nodes a command looks at; looking at one more harms nobody.
#[derive(Args)]
pub(crate) struct LookedAt {
    /// Which nodes: `all`, names, or label=value; comma separated
    #[arg(
        long,
        value_name = "NODES",
        value_delimiter = ',',
        default_value = "all"
    )]
    nodes: Vec<String>,
}

/// Reads a span of time as people write it.
fn span(text: &str) -> std::result::Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| format!("`{text}` is not a span of time: expected for example 90s or 5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_has_a_unit_and_no_sign() {
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("200ms"), Ok(Duration::from_millis(200)));
        for wrong in ["90", "", "-5s", "5 apples"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
