//! The hook of a release, which stands for the Togather server's `server scrape sync`: the sources
//! that this version knows are written to the database before it gets traffic.

use crate::{fault::Fault, settings::Settings};

/// What this version takes events from.
const SOURCES: [&str; 3] = ["api", "sample", "seed"];

/// Why the sources are not in step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error("this release's hook is made to fail (FAULT=failing-hook)")]
    MadeToFail,
    #[error("the sources could not be written; is the database up and migrated?")]
    Database(#[from] sqlx::Error),
}

/// Writes the sources and hands back how many there are. Running it again changes nothing but the
/// time of the last sync.
///
/// # Errors
/// The database does not answer, or lacks the table.
pub(crate) async fn sync(settings: &Settings) -> Result<usize, SyncError> {
    if settings.fault == Some(Fault::FailingHook) {
        return Err(SyncError::MadeToFail);
    }
    let database = settings.pool();
    sqlx::query(
        "INSERT INTO sources (name, synced_at) SELECT name, now() FROM unnest($1::text[]) name \
         ON CONFLICT (name) DO UPDATE SET synced_at = excluded.synced_at",
    )
    .bind(SOURCES)
    .execute(&database)
    .await?;
    database.close().await;
    Ok(SOURCES.len())
}
