//! Why traffic could not be switched.

use std::{io, path::PathBuf};

/// Why traffic could not be switched.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// Caddy's admin socket cannot be reached.
    #[error(
        "Caddy's admin socket {} cannot be reached; is Caddy running, does the Caddyfile say \
         `admin unix/{}`, and is the agent in the group caddy?",
        socket.display(),
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection to the admin socket broke before Caddy had answered.
    #[error("Caddy did not answer on its admin socket")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Caddy refused the configuration; what it served before is untouched.
    #[error("Caddy refused the configuration with status {status}: {message}")]
    Refused {
        /// The HTTP status of its answer.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The Caddyfile does not import the snippet.
    #[error(
        "{} does not send requests through {}; add `import {}` to your site in it",
        caddyfile.display(),
        snippet.display(),
        snippet.display()
    )]
    NotImported {
        /// The Caddyfile.
        caddyfile: PathBuf,
        /// The file the agent owns.
        snippet: PathBuf,
    },
    /// An import is relative. Caddy takes it from the Caddyfile's folder when it starts, but from
    /// its own working folder when the text is loaded through the socket.
    #[error(
        "{}:{line}: `import {import}` is relative, and means another folder when Caddy starts than \
         when the agent reloads it; write `import {suggestion}`",
        caddyfile.display()
    )]
    RelativeImport {
        /// The Caddyfile.
        caddyfile: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The path as written.
        import: String,
        /// The absolute path that says the same.
        suggestion: String,
    },
    /// Loading the Caddyfile would take Caddy's admin endpoint away from the socket.
    #[error(
        "{} puts Caddy's admin endpoint at `{found}`; loading it would lock the agent out; say \
         `admin {expected}` in its first block",
        caddyfile.display()
    )]
    OtherAdmin {
        /// The Caddyfile.
        caddyfile: PathBuf,
        /// Where the endpoint would go.
        found: String,
        /// Where it has to be.
        expected: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The snippet, or something in its folder, cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel's list of connections cannot be read.
    #[error("the connections of this machine cannot be counted")]
    Connections(#[source] procfs::ProcError),
    /// For stand-ins in tests.
    #[error("{0}")]
    Other(String),
}

impl TrafficError {
    /// Whether Caddy may serve by the new configuration although it did not say so.
    pub(super) const fn may_have_gone_live(&self) -> bool {
        matches!(self, Self::NoAnswer(_))
    }
}
