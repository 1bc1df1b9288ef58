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
    /// Caddy's admin address cannot be reached.
    #[error(
        "Caddy's admin endpoint {address} cannot be reached; is Caddy running, and does {} say \
         `admin {address}`, or nothing of it?",
        caddyfile.display()
    )]
    UnreachableAddress {
        /// `HOST:PORT`.
        address: String,
        /// The Caddyfile.
        caddyfile: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Caddy made its admin socket for itself alone.
    #[error(
        "Caddy's admin socket {} has mode {mode:04o}, which lets only Caddy itself in: releases \
         from 2.7 on make it so unless they are told a mode. Say `admin \"unix/{}|0660\"` in {}, \
         then run `systemctl restart caddy`",
        socket.display(),
        socket.display(),
        caddyfile.display()
    )]
    SocketMode {
        /// The socket.
        socket: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The Caddyfile.
        caddyfile: PathBuf,
    },
    /// An older Caddy took the mode for a part of the socket's name.
    #[error(
        "Caddy made its admin socket at {} instead of {}: releases before 2.7 know no mode. Say \
         `admin unix/{}` in {}, then run `systemctl restart caddy`",
        found.display(),
        socket.display(),
        socket.display(),
        caddyfile.display()
    )]
    SocketName {
        /// Where the socket should be.
        socket: PathBuf,
        /// Where it is.
        found: PathBuf,
        /// The Caddyfile.
        caddyfile: PathBuf,
    },
    /// Loading the Caddyfile would close the admin socket to the agent.
    #[error(
        "{} gives Caddy's admin socket no mode that lets the group caddy in; loading it would lock \
         the agent out. Say `admin \"unix/{}|0660\"` in its first block",
        caddyfile.display(),
        socket.display()
    )]
    LosesMode {
        /// The Caddyfile.
        caddyfile: PathBuf,
        /// The socket.
        socket: PathBuf,
    },
    /// Loading the Caddyfile would put the admin socket where the agent does not look.
    #[error(
        "{} gives Caddy's admin socket a mode, which the Caddy that runs, older than 2.7, would \
         take for a part of its name; loading it would lock the agent out. Say `admin unix/{}` in \
         its first block, or after an upgrade of Caddy run `systemctl restart caddy`",
        caddyfile.display(),
        socket.display()
    )]
    KnowsNoMode {
        /// The Caddyfile.
        caddyfile: PathBuf,
        /// The socket.
        socket: PathBuf,
    },
    /// The connection to the admin endpoint broke before Caddy had answered.
    #[error("Caddy did not answer on its admin endpoint")]
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
    /// Loading the Caddyfile would take Caddy's admin endpoint away from where the agent looks.
    #[error(
        "{} puts Caddy's admin endpoint at `{found}`; loading it would lock the agent out; say \
         `admin {expected}` in its first block, or in deployment.yml `proxy.admin` as Caddy has it",
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
