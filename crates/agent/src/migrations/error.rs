//! Why a run of migrations ended early, and how it left the database.

use std::{fmt, time::Duration};

use togather_model::{Digest, Line, Migration};

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
        "the schema is dirty: migration {version} failed half-way, and nobody has put it right yet"
    )]
    Dirty {
        /// The migration that failed.
        version: u64,
    },
    /// A file of a line whose files run each in one transaction.
    #[error(
        "{file} ends transactions itself; a file of River's runs in one, together with its row in river_migration"
    )]
    EndsTransactions {
        /// The file's name.
        file: String,
    },
    /// A file failed.
    #[error("{file}{place} failed{}{}", tried(*.retries), left(aftermath.as_ref()))]
    Failed {
        /// The file's name.
        file: String,
        /// Where in it.
        place: Place,
        /// How often it was tried again because of locks.
        retries: u32,
        /// How the database was left; `None`: it was a copy, which is gone.
        aftermath: Option<Aftermath>,
        /// What PostgreSQL said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// For stand-ins in tests.
    #[error("{0}")]
    Other(String),
}

fn left(aftermath: Option<&Aftermath>) -> String {
    aftermath.map_or_else(String::new, |aftermath| format!("; {aftermath}"))
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
        /// The catalogue's fingerprint, before and after.
        fingerprint: Digest,
    },
    /// The file ran in one transaction, which PostgreSQL took back: the line is where it was.
    RolledBack {
        /// Whose file it was.
        line: Line,
        /// Where the line is; `None`: none of it ran before.
        version: Option<u64>,
        /// The catalogue's fingerprint before.
        fingerprint: Digest,
        /// Why it is not proven that nothing remains; `None`: it is.
        doubt: Option<String>,
    },
    /// Changed, or nobody can tell: the version is left dirty.
    Dirty {
        /// The version of the file that failed.
        version: u64,
        /// The version before it.
        before: Option<u64>,
        /// What is known.
        why: String,
        /// The catalogue's fingerprint before.
        fingerprint: Digest,
        /// And after; `None`: it could not be read any more.
        now: Option<Digest>,
    },
}

impl Aftermath {
    /// What somebody can do about it on this node, each by hand; nothing where nothing is left to do.
    #[must_use]
    pub fn ways_out(&self, node: &str) -> Vec<String> {
        let Self::Dirty {
            version, before, ..
        } = self
        else {
            return vec![];
        };
        let before = before.unwrap_or(0);
        vec![
            format!(
                "finish by hand what the file was to do, then say so: `togather-ctl schema set {version} --nodes {node}`"
            ),
            format!(
                "or take back what remains of it, then say so: `togather-ctl schema set {before} --nodes {node}`"
            ),
        ]
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean {
                version,
                fingerprint,
            } => {
                write!(
                    f,
                    "nothing of it remains (the catalogue is proven to be as it was: {fingerprint}), and "
                )?;
                match version {
                    Some(version) => write!(f, "the schema is at {version}, clean"),
                    None => f.write_str("the schema is without migrations, as before"),
                }
            }
            Self::RolledBack {
                line,
                version,
                fingerprint,
                doubt,
            } => {
                let at = match version {
                    Some(version) => format!("{} is at {version}", line.schema()),
                    None => format!("{} is not there, as before", line.schema()),
                };
                match doubt {
                    None => write!(
                        f,
                        "nothing of it remains (the catalogue is proven to be as it was: {fingerprint}), and {at}"
                    ),
                    Some(doubt) => {
                        write!(f, "its transaction was taken back, so {at}; but {doubt}")
                    }
                }
            }
            Self::Dirty {
                version,
                why,
                fingerprint,
                now,
                ..
            } => {
                write!(
                    f,
                    "{why}; the schema is left at {version}, dirty; the catalogue was {fingerprint} before, "
                )?;
                match now {
                    Some(now) => write!(f, "and is {now}"),
                    None => f.write_str("and could not be read since"),
                }
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
    /// The same, said of a copy that nobody will put right.
    pub(crate) fn on_a_copy(mut self) -> Self {
        if let Self::Failed { aftermath, .. } = &mut self {
            *aftermath = None;
        }
        self
    }

    /// Whether the migrations themselves are to blame, and not what they ran on.
    #[must_use]
    pub const fn is_the_migrations(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. }
                | Self::Dirty { .. }
                | Self::EndsTransactions { .. }
                | Self::Other(_)
        )
    }

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
            aftermath: Some(aftermath),
            source: match stop.error {
                DatabaseError::Refused { source, .. } => source,
                error @ (DatabaseError::Address(_)
                | DatabaseError::Unreachable { .. }
                | DatabaseError::Broken { .. }
                | DatabaseError::Bookkeeping(_)
                | DatabaseError::NoRiver
                | DatabaseError::Other(_)) => Box::new(error),
            },
        }
    }
}
