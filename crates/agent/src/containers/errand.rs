//! Commands of a release's own image that run once, beside the slots.

use std::{fmt, time::Duration};

use togather_model::Ulid;

use super::App;

/// A command in a container of its own that is made like a slot's, with the app's environment,
/// networks, mounts, user and limits, but that nobody reaches.
#[derive(Clone)]
pub struct Errand {
    /// The release it belongs to.
    pub app: App,
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// How long it may take; then it is ended.
    pub timeout: Duration,
    /// The database that its DATABASE_URL names, in place of the app's.
    pub database: Option<String>,
    /// The operation it belongs to; becomes a label, so that what a crash left is found.
    pub job: Ulid,
}

/// How an errand ended by itself.
#[derive(Debug, Clone, Default)]
pub struct ErrandEnd {
    /// Its exit code.
    pub exit_code: i64,
    /// The end of what it printed, both streams, 4 KiB at most.
    pub output: String,
    /// The end of its standard output, 256 KiB at most.
    pub stdout: String,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand")
            .field("command", &self.command)
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}
