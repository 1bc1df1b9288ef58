//! Which PostgreSQL it is.

use sqlx::PgConnection;

use super::error::DatabaseError;

/// The server's version as it tells it, for example `17.5 (Debian 17.5-1)`.
///
/// # Errors
/// The server does not answer.
pub(crate) async fn version(connection: &mut PgConnection) -> Result<String, DatabaseError> {
    sqlx::query_scalar("SHOW server_version")
        .fetch_one(connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the server's version could not be asked for", e))
}

/// The number that a version begins with: the one in which dumps and catalogues differ. 0 for what
/// is no version.
pub(crate) fn major_of(version: &str) -> u32 {
    let end = version.find(|c: char| !c.is_ascii_digit());
    let digits = &version[..end.unwrap_or(version.len())];
    digits.parse().unwrap_or(0)
}
