//! Made-up events in any number, for benchmarks and demonstrations. The nth one is always the same,
//! and PostgreSQL makes them itself, so a million take no more than a million inserts take.

use sqlx::PgPool;

/// Events in one transaction: enough to be fast, few enough to see it move.
const BATCH: i64 = 100_000;

/// Large primes without a common factor with what they are reduced by scatter neighbours.
const ADD: &str = "
    INSERT INTO events (name, description, starts_at, longitude, latitude, source)
    SELECT format('%s in %s, evening %s',
               (ARRAY['Choir rehearsal', 'Open mic', 'Repair café', 'Chess club', 'Story hour',
                      'Swing dance', 'Film night', 'Clothes swap', 'Seed exchange', 'Life drawing',
                      'Board games'])[1 + n % 11],
               (ARRAY['Parkdale', 'Leslieville', 'the Annex', 'Bloordale', 'Cabbagetown',
                      'the Junction', 'Riverdale'])[1 + n % 7],
               n),
           format('Made up for measurements. Doors open at %s:30; bring a friend.', 17 + n % 4),
           timestamptz '2026-01-01 18:00:00Z' + (n * 7919 % 525600) * interval '1 minute',
           -79.64 + (n * 104729 % 520000) / 1e6,
           43.58 + (n * 1299709 % 270000) / 1e6,
           'seed'
    FROM generate_series($1::bigint, $2::bigint) AS n";

/// Adds made-up events until there are `wanted`, and hands back how many were added. If there are
/// more already, none goes.
///
/// # Errors
/// The database does not answer, or was not migrated.
pub(crate) async fn seed(database: &PgPool, wanted: i64) -> Result<i64, sqlx::Error> {
    let present: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE source = 'seed'")
        .fetch_one(database)
        .await?;
    let mut next = present + 1;
    while next <= wanted {
        let last = wanted.min(next + BATCH - 1);
        sqlx::query(ADD)
            .bind(next)
            .bind(last)
            .execute(database)
            .await?;
        tracing::info!(made = last, wanted, "events");
        next = last + 1;
    }
    if next > present + 1 {
        // The planner must know at once that the table is large.
        sqlx::query("ANALYZE events").execute(database).await?;
    }
    Ok(next - 1 - present)
}
