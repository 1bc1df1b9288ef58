//! The job queue: tables that no migration of this server's own makes.
//!
//! The Togather server's job library brings them in a line of migrations of its own. Without the
//! table of queues a server ends at its start; without the table of jobs one that runs is degraded.

use sqlx::PgPool;

/// What a server reads when it begins to work on jobs.
const QUEUES: &str = "SELECT count(*) FROM river_queue";

/// Why no job can be worked on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobsError {
    #[error("the job workers did not start: is the job queue's own line of migrations applied?")]
    NoQueues(#[from] sqlx::Error),
}

/// Begins to work on jobs.
///
/// # Errors
/// The database does not answer, or lacks the table of queues.
pub(crate) async fn begin(database: &PgPool) -> Result<(), JobsError> {
    sqlx::query(QUEUES).execute(database).await?;
    Ok(())
}
