//! The advisory locks by which migrators keep out of each other's way.

use std::time::Duration;

use sqlx::{PgConnection, Row};
use tokio::time::Instant;

use super::{
    bookkeeping::{Bookkeeping, TABLE},
    error::MigrationError,
};
use crate::database::DatabaseError;

const SALT: u32 = 1_486_364_155;
/// How often a lock that somebody holds is asked for.
const PAUSE: Duration = Duration::from_millis(100);

/// The numbers golang-migrate uses for a database's lock, in the order they are taken in.
///
/// They differ between its versions and ways in: the order of the names changed, and the `migrate`
/// command takes the database's name from its address with the slash before it. Who holds all of
/// them keeps all of those out.
fn lock_numbers(database: &str, schema: &str) -> [i64; 3] {
    let slashed = format!("/{database}");
    [
        [database, schema, TABLE],
        [schema, TABLE, database],
        [schema, TABLE, &slashed],
    ]
    .map(|names| lock_number(&names))
}

fn lock_number(names: &[&str; 3]) -> i64 {
    let sum = crc32fast::hash(names.join("\0").as_bytes());
    i64::from(sum.wrapping_mul(SALT))
}

/// Takes the locks for as long as the session lasts.
///
/// # Errors
/// Somebody holds one for longer than this, or the database did not answer.
pub(super) async fn take_lock(
    connection: &mut PgConnection,
    database: &str,
    bookkeeping: &Bookkeeping,
    patience: Duration,
) -> Result<(), MigrationError> {
    let deadline = Instant::now() + patience;
    for number in lock_numbers(database, &bookkeeping.schema) {
        // Asked for again and again instead of waited for in `pg_advisory_lock`: a session that
        // waits there holds a snapshot, which the other migrator's CREATE INDEX CONCURRENTLY waits
        // for in turn, and PostgreSQL ends such a deadlock by failing one of them.
        while !try_lock(connection, number).await? {
            if Instant::now() >= deadline {
                return Err(MigrationError::Held {
                    waited: patience,
                    holder: holder(connection, number).await?,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

async fn try_lock(connection: &mut PgConnection, number: i64) -> Result<bool, DatabaseError> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(number)
        .fetch_one(connection)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the migrators' lock could not be asked for", e))
}

/// Who holds it, for people.
async fn holder(connection: &mut PgConnection, number: i64) -> Result<String, DatabaseError> {
    let failed = |e| DatabaseError::from_sqlx("the lock's holder could not be asked for", e);
    // A lock's number is kept in two halves.
    let row = sqlx::query(
        "SELECT a.pid, a.application_name, a.usename::text, coalesce(host(a.client_addr), 'a local socket'), \
                to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
           AND (l.classid::bigint << 32) | l.objid::bigint = $1",
    )
    .bind(number)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else {
        return Ok("a session that has just ended".into());
    };
    let pid: i32 = row.try_get(0).map_err(failed)?;
    let [application, role, from, since] =
        [1, 2, 3, 4].map(|column| row.try_get::<Option<String>, _>(column));
    let text = |column: Result<Option<String>, _>| column.map(Option::unwrap_or_default);
    Ok(format!(
        "`{}` (process {pid}, role {}, from {}, since {})",
        text(application).map_err(failed)?,
        text(role).map_err(failed)?,
        text(from).map_err(failed)?,
        text(since).map_err(failed)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_golang_migrates() {
        let numbers = lock_numbers("togather", "public");
        assert_eq!(numbers, [3_788_608_510, 3_055_948_790, 1_071_133_159]);
    }
}
