//! The health answer, in the Togather server's shape.
//!
//! An answer comes within about a second, also when the database does not: whoever asks has a time
//! limit of their own. As in the Togather server, a dirty schema is not healthy, and it is dirty
//! while a migration runs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
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

/// `GET /health`.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) status: Status,
    pub(crate) version: String,
    pub(crate) git_commit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<String>,
    pub(crate) checks: BTreeMap<&'static str, Check>,
    pub(crate) timestamp: Timestamp,
}

/// What the checks come to. The Togather server also knows `degraded`; nothing here is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Healthy,
    Unhealthy,
}

/// What one check found.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    status: Verdict,
    message: String,
    latency_ms: u128,
    details: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Fail,
}

/// Looks at everything. `complaint` is what the server itself has to say against its being well.
pub(crate) async fn look(
    database: &PgPool,
    complaint: Option<String>,
) -> BTreeMap<&'static str, Check> {
    let (connection, migrations) = match check_database(database).await {
        (check, Some(mut connection)) => (check, check_migrations(&mut connection).await),
        // Asking again would only wait again.
        (check, None) => {
            let unknown = Check::new(Verdict::Fail, "not known: the database does not answer");
            (check, unknown)
        }
    };
    let http = match complaint {
        Some(complaint) => Check::new(Verdict::Fail, complaint),
        None => Check::new(Verdict::Pass, "this answer came over HTTP"),
    };
    BTreeMap::from([
        ("database", connection),
        ("migrations", migrations),
        ("http_endpoint", http),
    ])
}

impl Status {
    /// The worst of the checks.
    pub(crate) fn of<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Self {
        let each = checks.into_iter().map(|check| match check.status {
            Verdict::Pass => Self::Healthy,
            Verdict::Fail => Self::Unhealthy,
        });
        each.max().unwrap_or(Self::Healthy)
    }
}

impl Check {
    fn new(status: Verdict, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            latency_ms: 0,
            details: json!({}),
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

/// Hands back the connection that answered, if one did.
async fn check_database(database: &PgPool) -> (Check, Option<PoolConnection<Postgres>>) {
    let begun = Instant::now();
    let asking = async {
        let mut connection = database.acquire().await?;
        sqlx::query("SELECT 1").execute(&mut *connection).await?;
        Ok(connection)
    };
    let (check, connection) = match in_time(Box::pin(asking)).await {
        Ok(connection) => {
            let check = Check::new(Verdict::Pass, "PostgreSQL answers");
            (check, Some(connection))
        }
        Err(why) => (Check::new(Verdict::Fail, why), None),
    };
    let pool = json!({
        "connections": database.size(),
        "idle": database.num_idle(),
        "most": database.options().get_max_connections(),
    });
    (check.since(begun).with(pool), connection)
}

async fn check_migrations(connection: &mut PgConnection) -> Check {
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
        Err(why) => Check::new(Verdict::Fail, why),
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
        return Check::new(Verdict::Fail, "no migration was ever applied");
    };
    let check = if dirty {
        Check::new(
            Verdict::Fail,
            format!("schema version {version} is dirty: a migration is running, or failed"),
        )
    } else if version < OLDEST_SCHEMA {
        Check::new(
            Verdict::Fail,
            format!("schema version {version} is too old: {OLDEST_SCHEMA} is needed"),
        )
    } else {
        Check::new(Verdict::Pass, format!("schema version {version}"))
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
    fn the_worst_check_decides() {
        let check = |verdict| Check::new(verdict, "");
        let status = |verdicts: &[Verdict]| {
            let checks: Vec<_> = verdicts.iter().copied().map(check).collect();
            Status::of(&checks)
        };
        assert_eq!(status(&[Verdict::Pass, Verdict::Pass]), Status::Healthy);
        assert_eq!(status(&[Verdict::Fail, Verdict::Pass]), Status::Unhealthy);
    }

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
        let check = serde_json::to_value(judge(Some((4, true)))).unwrap();
        assert_eq!(
            check,
            json!({
                "status": "fail",
                "message": "schema version 4 is dirty: a migration is running, or failed",
                "latency_ms": 0,
                "details": {"version": 4, "dirty": true},
            })
        );
    }
}
