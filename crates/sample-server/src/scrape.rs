//! `scrape sync`: the sources that this version knows are written to the database. As in the
//! Togather server, it belongs before the slot starts: what comes later is seen by the next start.

use serde::Serialize;

use crate::{fault::Fault, settings::Settings};

/// What this version takes events from.
const SOURCES: [&str; 3] = ["api", "sample", "seed"];

/// Why the sources are not in step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error("this release's sync is made to fail (FAULT=failing-prepare)")]
    MadeToFail,
    #[error("the sources could not be written; is the database up and migrated?")]
    Database(#[from] sqlx::Error),
}

/// What came of it, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    sources_found: usize,
    pub(crate) created: usize,
    pub(crate) updated: usize,
    pub(crate) total: usize,
    /// Told, and no reason to end with an error.
    warnings: usize,
    errors: usize,
}

/// Writes the sources. Running it again changes nothing but the time of the last sync.
///
/// # Errors
/// The database does not answer, or lacks the table.
pub(crate) async fn sync(settings: &Settings) -> Result<Summary, SyncError> {
    if settings.fault == Some(Fault::FailingPrepare) {
        return Err(SyncError::MadeToFail);
    }
    let database = settings.pool();
    // A row that was there before has another transaction's number.
    let fresh: Vec<bool> = sqlx::query_scalar(
        "INSERT INTO sources (name, synced_at) SELECT name, now() FROM unnest($1::text[]) name \
         ON CONFLICT (name) DO UPDATE SET synced_at = excluded.synced_at RETURNING xmax = 0",
    )
    .bind(SOURCES)
    .fetch_all(&database)
    .await?;
    database.close().await;
    let created = fresh.iter().filter(|fresh| **fresh).count();
    Ok(Summary {
        sources_found: SOURCES.len(),
        created,
        updated: SOURCES.len() - created,
        total: SOURCES.len(),
        warnings: usize::from(settings.fault == Some(Fault::WarningPrepare)),
        errors: 0,
    })
}
