//! Databases that take each other's place: the names change in one transaction, so that a crash at
//! any instant leaves either all of it done or none of it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use togather_model::{Digest, Ulid};
use tokio::time::Instant;

use super::{Postgres, error::DatabaseError, quoted};

/// PostgreSQL cuts longer names off, which could make two the same.
const LONGEST_NAME: usize = 63;
/// What stands between the name of a replaced database and the id of the job that replaced it.
const REPLACED: &str = "_replaced_";
/// `object_in_use`: somebody has a session there.
const IN_USE: &str = "55006";
/// How long clients that connect again and again may hold a swap up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Databases that every server has, and that nobody swaps.
const ASIDE: [&str; 2] = ["postgres", "template1"];

/// The name a database gets when this job replaces it; of a very long name, its beginning and what
/// tells it from others with the same beginning.
#[must_use]
pub fn replaced_name(database: &str, job: Ulid) -> String {
    let id = job.to_string().to_lowercase();
    let room = LONGEST_NAME - REPLACED.len() - id.len();
    if database.len() <= room {
        return format!("{database}{REPLACED}{id}");
    }
    let digest = Digest::of(database.as_bytes()).hex();
    let tail = &digest[..8];
    let stem = &database[..database.floor_char_boundary(room - 1 - tail.len())];
    format!("{stem}_{tail}{REPLACED}{id}")
}

/// The job that replaced the database with this name, if it is one that was replaced.
#[must_use]
pub fn replaced_by(database: &str) -> Option<Ulid> {
    let (_, id) = database.rsplit_once(REPLACED)?;
    id.parse().ok()
}

impl Postgres {
    /// A session that no swap ends.
    pub(crate) async fn aside(&self) -> Result<PgConnection, DatabaseError> {
        // Nobody renames the database they are in, and either of these may be the live one.
        let mut aside = ASIDE.into_iter().filter(|name| *name != self.name());
        let first = aside.next().unwrap_or(ASIDE[0]);
        match (self.session_in(first, "togather-agent").await, aside.next()) {
            (Ok(session), _) => Ok(session),
            // Some drop the one; the other is always there.
            (Err(error), Some(second)) => {
                (self.session_in(second, "togather-agent").await).map_err(|_| error)
            }
            (Err(error), None) => Err(error),
        }
    }

    pub(super) async fn database_exists(&self, name: &str) -> Result<bool, DatabaseError> {
        exists(&mut self.aside().await?, name).await
    }

    /// How many bytes another database of the server takes.
    pub(crate) async fn size_of(&self, name: &str) -> Result<u64, DatabaseError> {
        let bytes: i64 = sqlx::query_scalar("SELECT pg_database_size($1)")
            .bind(name)
            .fetch_one(&mut self.aside().await?)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the size could not be asked for", e))?;
        Ok(bytes.unsigned_abs())
    }

    pub(super) async fn prepared_in(&self, name: &str) -> Result<Vec<String>, DatabaseError> {
        sqlx::query_scalar(
            "SELECT gid FROM pg_prepared_xacts WHERE database = $1 ORDER BY prepared",
        )
        .bind(name)
        .fetch_all(&mut self.aside().await?)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the prepared transactions could not be listed", e))
    }

    pub(super) async fn subscriptions_in(&self, name: &str) -> Result<Vec<String>, DatabaseError> {
        sqlx::query_scalar(
            "SELECT s.subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
             WHERE d.datname = $1 ORDER BY 1",
        )
        .bind(name)
        .fetch_all(&mut self.aside().await?)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the subscriptions could not be listed", e))
    }

    pub(super) async fn swap_databases(
        &self,
        incoming: &str,
        outgoing: &str,
    ) -> Result<(), DatabaseError> {
        let doing = "the databases could not change places";
        let mut session = self.aside().await?;
        if !exists(&mut session, incoming).await? {
            return match exists(&mut session, outgoing).await? {
                true => Ok(()),
                false => Err(DatabaseError::Broken {
                    doing,
                    source: format!("there is no database {incoming}").into(),
                }),
            };
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(error) = rename_both(&mut session, self.name(), incoming, outgoing).await
            else {
                return Ok(());
            };
            let error = DatabaseError::from_sqlx(doing, error);
            let in_use = error.refusal().is_some_and(|said| said.sqlstate == IN_USE);
            if !in_use || Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn replaced_databases(&self) -> Result<Vec<String>, DatabaseError> {
        let all: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database")
            .fetch_all(&mut self.aside().await?)
            .await
            .map_err(|e| DatabaseError::from_sqlx("the databases could not be listed", e))?;
        let is_ours = |name: &String| {
            replaced_by(name).is_some_and(|job| *name == replaced_name(self.name(), job))
        };
        let mut replaced: Vec<String> = all.into_iter().filter(is_ours).collect();
        replaced.sort_by_key(|name| std::cmp::Reverse(replaced_by(name)));
        Ok(replaced)
    }

    pub(super) async fn drop_replaced_database(&self, name: &str) -> Result<(), DatabaseError> {
        let doing = "the replaced database could not be dropped";
        if replaced_by(name).is_none_or(|job| name != replaced_name(self.name(), job)) {
            return Err(DatabaseError::Broken {
                doing,
                source: format!("{name} is not one that was replaced").into(),
            });
        }
        let subscriptions = self.subscriptions_in(name).await?;
        if !subscriptions.is_empty() {
            return Err(DatabaseError::Broken {
                doing,
                source: format!(
                    "{name} still has the subscription {}; in it, run `ALTER SUBSCRIPTION … DISABLE`, \
                     `ALTER SUBSCRIPTION … SET (slot_name = NONE)` and `DROP SUBSCRIPTION …`",
                    subscriptions.join(", ")
                )
                .into(),
            });
        }
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name));
        sqlx::raw_sql(AssertSqlSafe(drop))
            .execute(&mut self.aside().await?)
            .await
            .map_err(|e| DatabaseError::from_sqlx(doing, e))?;
        Ok(())
    }
}

async fn exists(session: &mut PgConnection, name: &str) -> Result<bool, DatabaseError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(session)
        .await
        .map_err(|e| DatabaseError::from_sqlx("the databases could not be listed", e))
}

async fn rename_both(
    session: &mut PgConnection,
    live: &str,
    incoming: &str,
    outgoing: &str,
) -> Result<(), sqlx::Error> {
    let mut both = session.begin().await?;
    // Not autovacuum: only a superuser may end it, and renaming does so by itself. Who may end a
    // session may not always see of what kind it is.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname IN ($1, $2) AND pid <> pg_backend_pid() \
           AND backend_type IS DISTINCT FROM 'autovacuum worker'",
    )
    .bind(live)
    .bind(incoming)
    .execute(&mut *both)
    .await?;
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(live)
            .fetch_one(&mut *both)
            .await?;
    let renamings = [(live, outgoing), (incoming, live)];
    for (from, to) in renamings.into_iter().skip(usize::from(!there)) {
        let rename = format!("ALTER DATABASE {} RENAME TO {}", quoted(from), quoted(to));
        sqlx::raw_sql(AssertSqlSafe(rename))
            .execute(&mut *both)
            .await?;
    }
    both.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_database_says_what_replaced_it() {
        let job: Ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let name = replaced_name("togather", job);
        assert_eq!(name, "togather_replaced_01arz3ndektsv4rrffq69g5fav");
        assert_eq!(replaced_by(&name), Some(job));
        let long = replaced_name(&"ü".repeat(40), job);
        assert!(long.len() <= LONGEST_NAME, "{long}");
        assert_eq!(replaced_by(&long), Some(job));
        let other = replaced_name(&"ü".repeat(41), job);
        assert_ne!(long, other, "each has its own");
        assert_eq!(replaced_by("togather"), None);
    }
}
