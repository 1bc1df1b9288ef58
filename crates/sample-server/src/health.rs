//! The health answer, in the Togather server's shape.
//!
//! An answer comes within about a second, also when the database does not: whoever asks has a time
//! limit of their own. As in the Togather server, a dirty schema is not healthy, and it is dirty
//! while a migration runs; and what only warns makes it degraded, which is answered with 200.

mod checks;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::PgPool;

pub(crate) use self::checks::Check;
use self::checks::Verdict;

/// `GET /health`.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) status: Status,
    pub(crate) version: String,
    pub(crate) git_commit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<String>,
    pub(crate) docs_url: &'static str,
    pub(crate) checks: BTreeMap<&'static str, Check>,
    pub(crate) timestamp: Timestamp,
}

/// What the checks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Healthy,
    Degraded,
    Unhealthy,
}

impl Status {
    /// The worst of the checks.
    pub(crate) fn of<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Self {
        let each = checks.into_iter().map(|check| match check.verdict() {
            Verdict::Pass => Self::Healthy,
            Verdict::Warn => Self::Degraded,
            Verdict::Fail => Self::Unhealthy,
        });
        each.max().unwrap_or(Self::Healthy)
    }

    /// As a number in the metrics.
    pub(crate) const fn figure(self) -> u8 {
        match self {
            Self::Unhealthy => 0,
            Self::Degraded => 1,
            Self::Healthy => 2,
        }
    }
}

/// What to look at besides the database, and what is wrong on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// What the server itself has to say against its being well.
    pub(crate) complaint: Option<String>,
    /// Whether there is a job queue to look at.
    pub(crate) job_tables: bool,
    /// Checks that are to warn, whatever they find.
    pub(crate) warn: Option<&'static str>,
}

/// Looks at everything.
pub(crate) async fn look(database: &PgPool, look: &Look) -> BTreeMap<&'static str, Check> {
    let mut checks = match checks::database(database).await {
        (check, Some(mut connection)) => BTreeMap::from([
            ("database", check),
            ("migrations", checks::migrations(&mut connection).await),
            (
                "job_queue",
                if look.job_tables {
                    checks::job_queue(&mut connection).await
                } else {
                    Check::pass("no job queue is asked for")
                },
            ),
        ]),
        // Asking again would only wait again.
        (check, None) => {
            let unknown = || Check::fail("not known: the database does not answer");
            BTreeMap::from([
                ("database", check),
                ("migrations", unknown()),
                ("job_queue", unknown()),
            ])
        }
    };
    checks.insert("jsonld_contexts", Check::pass("contexts are served"));
    checks.insert(
        "http_endpoint",
        match &look.complaint {
            Some(complaint) => Check::fail(complaint.clone()),
            None => Check::pass("this answer came over HTTP"),
        },
    );
    if let Some(name) = look.warn {
        checks.insert(name, Check::warn("this release is made to be degraded"));
    }
    checks
}

/// Whether requests can be answered: the database is there and its schema is clean.
pub(crate) async fn is_ready(database: &PgPool) -> bool {
    let (check, connection) = checks::database(database).await;
    let Some(mut connection) = connection else {
        return false;
    };
    let schema = checks::migrations(&mut connection).await;
    Status::of([&check, &schema]) == Status::Healthy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let [pass, warn, fail] = [Check::pass, Check::warn, Check::fail].map(|check| check(""));
        assert_eq!(Status::of([&pass, &pass]), Status::Healthy);
        assert_eq!(Status::of([&warn, &pass]), Status::Degraded);
        assert_eq!(Status::of([&fail, &warn, &pass]), Status::Unhealthy);
    }
}
