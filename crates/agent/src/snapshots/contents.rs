//! What a database holds, counted: the same is asked of the original, in the very view that is
//! dumped, and of the copy.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row};
use togather_model::{Digest, Line};

use super::manifest::Manifest;
use crate::{
    database::{Catalogue, DatabaseError, other_lines_of, quoted, version},
    migrations::Bookkeeping,
};

/// How many tables a comparison names; the rest is counted.
const TOLD: usize = 8;

/// How long counting waits for a lock on a table, as `pg_dump` does: behind an ALTER TABLE it would
/// queue, and everybody else behind it.
const LOCK_WAIT: &str = "60s";

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) server_version: String,
    pub(super) schema: Option<u64>,
    pub(super) other_lines: BTreeMap<Line, u64>,
    pub(super) extensions: BTreeMap<String, String>,
    pub(super) rows: BTreeMap<String, u64>,
    pub(super) fingerprint: Digest,
}

impl Contents {
    /// Counts everything in this connection's view of the database.
    pub(super) async fn count(connection: &mut PgConnection) -> Result<Self, DatabaseError> {
        let failed =
            |e| DatabaseError::from_sqlx("the database's contents could not be counted", e);
        sqlx::query("SELECT set_config('lock_timeout', $1, true)")
            .bind(LOCK_WAIT)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        let server_version = version(connection).await?;
        let extensions: Vec<(String, String)> =
            sqlx::query_as("SELECT extname::text, extversion FROM pg_extension")
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
        let bookkeeping = Bookkeeping::find(connection).await?;
        let schema = bookkeeping.version(connection).await?;
        Ok(Self {
            server_version,
            schema: schema.map(|(version, _)| version),
            other_lines: newest(other_lines_of(connection).await?),
            extensions: extensions.into_iter().collect(),
            rows: count_rows(connection).await?,
            fingerprint: Catalogue::read(connection).await?.fingerprint(),
        })
    }

    /// How this copy differs from what the manifest says, a phrase each. Versions of extensions do
    /// not count: a copy gets those that the server has now.
    pub(super) fn differences(&self, manifest: &Manifest) -> Vec<String> {
        let mut differences = Vec::new();
        let version = |schema: Option<u64>| schema.map_or("none".into(), |v: u64| v.to_string());
        if self.schema != manifest.schema {
            differences.push(format!(
                "the schema is {}, not {}",
                version(self.schema),
                version(manifest.schema)
            ));
        }
        for (line, wanted) in &manifest.other_lines {
            let found = self.other_lines.get(line).copied();
            if found != Some(*wanted) {
                differences.push(format!(
                    "{} is {}, not {wanted}",
                    line.schema(),
                    version(found)
                ));
            }
        }
        if !self.extensions.keys().eq(manifest.extensions.keys()) {
            differences.push(format!(
                "the extensions are {:?}, not {:?}",
                self.extensions.keys(),
                manifest.extensions.keys()
            ));
        }
        differences.extend(row_differences(&manifest.rows, &self.rows));
        if self.fingerprint != manifest.fingerprint {
            differences.push("the catalogue's fingerprint is another".into());
        }
        differences
    }
}

/// The newest migration of each line.
fn newest(lines: BTreeMap<Line, Vec<u64>>) -> BTreeMap<Line, u64> {
    let lines = lines.into_iter();
    lines
        .filter_map(|(line, ran)| Some((line, ran.into_iter().max()?)))
        .collect()
}

fn row_differences(wanted: &BTreeMap<String, u64>, found: &BTreeMap<String, u64>) -> Vec<String> {
    let tables: std::collections::BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let count = |rows: Option<&u64>| rows.map_or("no table".into(), |n| format!("{n} rows"));
    let mut differences: Vec<String> = tables
        .into_iter()
        .filter(|table| wanted.get(*table) != found.get(*table))
        .map(|table| {
            let (found, wanted) = (count(found.get(table)), count(wanted.get(table)));
            format!("{table}: {found}, not {wanted}")
        })
        .collect();
    let left = differences.len().saturating_sub(TOLD);
    differences.truncate(TOLD);
    if left > 0 {
        differences.push(format!("and {left} more tables"));
    }
    differences
}

/// Counts the rows of every table but those of extensions, whose rows are mostly theirs.
async fn count_rows(connection: &mut PgConnection) -> Result<BTreeMap<String, u64>, DatabaseError> {
    let failed = |e| DatabaseError::from_sqlx("the rows could not be counted", e);
    let tables = sqlx::query(
        "SELECT n.nspname::text, c.relname::text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
                           AND d.objid = c.oid AND d.deptype = 'e')",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let schema: String = table.try_get(0).map_err(failed)?;
        let name: String = table.try_get(1).map_err(failed)?;
        let count = format!(
            "SELECT count(*) FROM ONLY {}.{}",
            quoted(&schema),
            quoted(&name)
        );
        let counted: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .persistent(false)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        rows.insert(format!("{schema}.{name}"), counted.unsigned_abs());
    }
    Ok(rows)
}
