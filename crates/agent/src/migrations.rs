//! golang-migrate's format and bookkeeping, so that the `migrate` command and the agent can be used
//! in turn on one database.

/// Why a run of migrations ended early.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// To be written by the owner of this file; keep this one for the fakes of tests.
    #[error("{0}")]
    Other(String),
}
