//! Why a run of migrations ended early, and how it left the database.

use std::{fmt, time::Duration};

use togather_model::Migration;

use super::statements::Statements;
use crate::database::DatabaseError;

/// Why a run of migrations ended early.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The database did not answer, or refused something around the migrations.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Another migrator is at work.
    #[error(
        "another migrator holds the database's migration lock, and still does after {} s: {holder}",
        waited.as_secs_f32()
    )]
    Held {
        /// How long it was waited for.
        waited: Duration,
        /// Who holds it.
        holder: String,
    },
    /// An earlier migration failed and nobody has put that right.
    #[error(
        "the schema is dirty: migration {version} failed half-way; repair what it left and run \
         `migrate force {version}`, or restore the snapshot from before it"
    )]
    Dirty {
        /// The migration that failed.
        version: u64,
    },
    /// A file failed.
    #[error("{file}{place} failed{}; {aftermath}", tried(*.retries))]
    Failed {
        /// The file's name.
        file: String,
        /// Where in it.
        place: Place,
        /// How often it was tried again because of locks.
        retries: u32,
        /// How the database was left.
        aftermath: Aftermath,
        /// What PostgreSQL said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// For stand-ins in tests.
    #[error("{0}")]
    Other(String),
}

fn tried(retries: u32) -> String {
    match retries {
        0 => String::new(),
        1 => " (also when it was tried again)".into(),
        n => format!(" (also the {n} times it was tried again)"),
    }
}

/// Where in a file something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The line's text, or the beginning of the statement, shortened.
    pub excerpt: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, ", `{excerpt}`")?;
        }
        Ok(())
    }
}

/// How a failed file left the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aftermath {
    /// As it was, which is proven; the version before it stands, clean.
    Clean {
        /// That version; `None`: no migration ran before.
        version: Option<u64>,
    },
    /// Changed, or nobody can tell: the version is left dirty.
    Dirty {
        /// The version of the file that failed.
        version: u64,
        /// The version before it.
        before: Option<u64>,
        /// What is known.
        why: String,
    },
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean { version } => {
                f.write_str(
                    "nothing of it remains (the catalogue is proven to be as it was), and ",
                )?;
                match version {
                    Some(version) => write!(f, "the schema is at {version}, clean"),
                    None => f.write_str("the schema is without migrations, as before"),
                }
            }
            Self::Dirty {
                version,
                before,
                why,
            } => {
                let before = before.map_or_else(|| "-- -1".to_owned(), |before| before.to_string());
                write!(
                    f,
                    "{why}; the schema is left at {version}, dirty. The ways out, each by hand: \
                     (1) finish what the file was to do, then `migrate -path DIR -database URL force {version}`; \
                     (2) take back what remains of it, then `migrate -path DIR -database URL force {before}`; \
                     (3) restore the snapshot that was taken before it (`togather-ctl snapshot list` names it)"
                )
            }
        }
    }
}

/// A file that was not run to its end.
#[derive(Debug)]
pub(super) struct Stop {
    /// How many of its statements had run.
    pub(super) statements_done: usize,
    pub(super) error: DatabaseError,
}

impl Stop {
    /// Whether the file only lost the race for a lock and may win it next time.
    pub(super) fn is_about_locks(&self) -> bool {
        let refusal = self.error.refusal();
        refusal.is_some_and(|refusal| matches!(refusal.sqlstate.as_str(), "55P03" | "40P01"))
    }

    /// PostgreSQL names a place only for some errors; for the others it is the statement after the
    /// last one that it said was done.
    fn place(&self, sql: &str) -> Place {
        let statements = Statements::of(sql);
        let position = self.error.refusal().and_then(|refusal| refusal.position);
        let found = match position {
            Some(position) => statements.at_character(position),
            None => statements.nth(self.statements_done),
        };
        let (line, excerpt) = found.unzip();
        Place { line, excerpt }
    }
}

impl MigrationError {
    pub(super) fn failed(
        migration: &Migration,
        stop: Stop,
        retries: u32,
        aftermath: Aftermath,
    ) -> Self {
        Self::Failed {
            file: migration.file.clone(),
            place: stop.place(&migration.sql),
            retries,
            aftermath,
            source: match stop.error {
                DatabaseError::Refused { source, .. } => source,
                error @ (DatabaseError::Address(_)
                | DatabaseError::Unreachable { .. }
                | DatabaseError::Broken { .. }
                | DatabaseError::Bookkeeping(_)
                | DatabaseError::Other(_)) => Box::new(error),
            },
        }
    }
}
