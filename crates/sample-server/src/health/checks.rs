//! The checks one by one.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::time::timeout;

/// How long a check waits for the database.
const PATIENCE: Duration = Duration::from_secs(1);
/// The schema this server was written for: it asks for places, which the second migration brings.
const OLDEST_SCHEMA: i64 = 2;
/// PostgreSQL's code for a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// What one check found.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    status: Verdict,
    message: String,
    #[serde(skip_serializing_if = "is_nought")]
    latency_ms: u128,
    #[serde(skip_serializing_if = "Value::is_null")]
    details: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl Check {
    pub(super) fn pass(message: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, message.into())
    }

    pub(super) fn warn(message: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, message.into())
    }

    pub(super) fn fail(message: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, message.into())
    }

    pub(super) const fn verdict(&self) -> Verdict {
        self.status
    }

    /// As a number in the metrics.
    pub(crate) const fn figure(&self) -> u8 {
        match self.status {
            Verdict::Fail => 0,
            Verdict::Warn => 1,
            Verdict::Pass => 2,
        }
    }

    const fn new(status: Verdict, message: String) -> Self {
        Self {
            status,
            message,
            latency_ms: 0,
            details: Value::Null,
        }
    }

    fn since(mut self, begun: Instant) -> Self {
        self.latency_ms = begun.elapsed().as_millis();
        self
    }

    fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

const fn is_nought(latency_ms: &u128) -> bool {
    *latency_ms == 0
}

/// Hands back the connection that answered, if one did.
pub(super) async fn database(database: &PgPool) -> (Check, Option<PoolConnection<Postgres>>) {
    let begun = Instant::now();
    let asking = async {
        let mut connection = database.acquire().await?;
        sqlx::query("SELECT 1").execute(&mut *connection).await?;
        Ok(connection)
    };
    let (check, connection) = match in_time(Box::pin(asking)).await {
        Ok(connection) => (Check::pass("PostgreSQL answers"), Some(connection)),
        Err(why) => (Check::fail(why), None),
    };
    let idle = database.num_idle();
    let pool = json!({
        "max_connections": database.options().get_max_connections(),
        "total_connections": database.size(),
        "idle_connections": idle,
        "acquired_connections": (database.size() as usize).saturating_sub(idle),
    });
    (check.since(begun).with(pool), connection)
}

pub(super) async fn migrations(connection: &mut PgConnection) -> Check {
    let begun = Instant::now();
    let asking = async {
        let query = sqlx::query_as("SELECT version, dirty FROM schema_migrations LIMIT 1");
        match query.fetch_optional(connection).await {
            Err(error) if is_missing_table(&error) => Ok(None),
            answer => answer,
        }
    };
    let check = match in_time(asking).await {
        Ok(row) => judge(row),
        Err(why) => Check::fail(why),
    };
    check.since(begun)
}

/// A table that is missing warns, as in the Togather server; one that cannot be read fails.
pub(super) async fn job_queue(connection: &mut PgConnection) -> Check {
    let begun = Instant::now();
    let asking = async {
        let query = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM river_job WHERE state::text IN ('available', 'running')",
        );
        match query.fetch_one(connection).await {
            Err(error) if is_missing_table(&error) => Ok(None),
            answer => answer.map(Some),
        }
    };
    let check = match in_time(asking).await {
        Ok(Some(active)) => Check::pass("jobs are worked on").with(json!({"active_jobs": active})),
        Ok(None) => Check::warn("the table river_job is missing")
            .with(json!({"remediation": "apply the job queue's own line of migrations"})),
        Err(why) => Check::fail(why),
    };
    check.since(begun)
}

/// What the database answers, or in words why it does not.
async fn in_time<T>(asking: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    match timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|error| format!("PostgreSQL: {error}")),
        Err(_) => Err(format!(
            "PostgreSQL did not answer within {} ms",
            PATIENCE.as_millis()
        )),
    }
}

/// What a row of `schema_migrations` means to this server.
fn judge(row: Option<(i64, bool)>) -> Check {
    let Some((version, dirty)) = row else {
        return Check::fail("no migration was ever applied");
    };
    let check = if dirty {
        Check::fail(format!(
            "schema version {version} is dirty: a migration is running, or failed"
        ))
    } else if version < OLDEST_SCHEMA {
        Check::fail(format!(
            "schema version {version} is too old: {OLDEST_SCHEMA} is needed"
        ))
    } else {
        Check::pass(format!("schema version {version}"))
    };
    check.with(json!({"version": version, "dirty": dirty}))
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == UNDEFINED_TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_schema_that_is_new_enough_passes() {
        assert_eq!(judge(Some((4, false))).status, Verdict::Pass);
        for (row, why) in [
            (None, "no migration"),
            (Some((4, true)), "dirty"),
            (Some((1, false)), "too old"),
        ] {
            let check = judge(row);
            assert_eq!(check.status, Verdict::Fail);
            assert!(check.message.contains(why), "{}", check.message);
        }
    }

    #[test]
    fn a_check_has_the_shape_that_the_agent_reads() {
        let mut check = judge(Some((4, true)));
        check.latency_ms = 3;
        assert_eq!(
            serde_json::to_value(check).unwrap(),
            json!({
                "status": "fail",
                "message": "schema version 4 is dirty: a migration is running, or failed",
                "latency_ms": 3,
                "details": {"version": 4, "dirty": true},
            })
        );
        assert_eq!(
            serde_json::to_value(Check::pass("well")).unwrap(),
            json!({"status": "pass", "message": "well"})
        );
    }
}
