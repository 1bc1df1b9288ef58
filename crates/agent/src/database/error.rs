//! How talking to PostgreSQL fails. No text here ever holds the address with its password.

use std::{error::Error, fmt};

use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

/// Why the database did not answer as expected.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address is no address of a database.
    #[error(
        "the database's address cannot be used: {0}; expected `postgres://user:password@host:port/database`, \
         with special characters of the password percent-encoded"
    )]
    Address(String),
    /// Nobody answers there, or the login was refused.
    #[error("no session with the database {database} at {at}")]
    Unreachable {
        /// The database's name.
        database: String,
        /// Host and port, or the socket.
        at: String,
        /// What stood in the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// PostgreSQL refused.
    #[error("{doing}")]
    Refused {
        /// What was not done, as a sentence.
        doing: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: Box<Refusal>,
    },
    /// The session ended, or the answer could not be understood.
    #[error("{doing}")]
    Broken {
        /// What was not done, as a sentence.
        doing: &'static str,
        /// What stood in the way.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bookkeeping of migrations is not as golang-migrate leaves it.
    #[error("the table schema_migrations cannot be made sense of: {0}")]
    Bookkeeping(String),
    /// River's bookkeeping is asked for, and is not there.
    #[error("there is no table river_migration: River's migrations never ran in this database")]
    NoRiver,
    /// For stand-ins in tests.
    #[error("{0}")]
    Other(String),
}

/// What PostgreSQL said when it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The five characters of its error code.
    pub sqlstate: String,
    /// What happened.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What PostgreSQL thinks might help.
    pub hint: Option<String>,
    /// Where in the text that was sent, in characters from 1.
    pub position: Option<usize>,
}

impl Refusal {
    fn new(said: &PgDatabaseError) -> Self {
        Self {
            sqlstate: said.code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
            position: match said.position() {
                Some(PgErrorPosition::Original(position)) => Some(position),
                // A place inside a query that a function made: not one in the text that was sent.
                Some(PgErrorPosition::Internal { .. }) | None => None,
            },
        }
    }

    /// Whether the session ends with this: shutdown, termination, a broken connection.
    #[must_use]
    pub fn ends_session(&self) -> bool {
        self.sqlstate.starts_with("57P0") || self.sqlstate.starts_with("08")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PostgreSQL says: {} (SQLSTATE {})",
            self.message, self.sqlstate
        )?;
        for (title, text) in [("detail", &self.detail), ("hint", &self.hint)] {
            if let Some(text) = text {
                write!(f, "; {title}: {text}")?;
            }
        }
        Ok(())
    }
}

impl Error for Refusal {}

impl DatabaseError {
    /// Tells what was not done, and why.
    pub(crate) fn from_sqlx(doing: &'static str, error: sqlx::Error) -> Self {
        match why(error) {
            Why::Refused(source) => Self::Refused { doing, source },
            Why::Broken(source) => Self::Broken { doing, source },
        }
    }

    pub(super) fn unreachable(database: &str, at: String, error: sqlx::Error) -> Self {
        Self::Unreachable {
            database: database.to_owned(),
            at,
            source: match why(error) {
                Why::Refused(refusal) => refusal,
                Why::Broken(source) => source,
            },
        }
    }

    /// What PostgreSQL said, if it was PostgreSQL that refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { source, .. } => Some(source),
            Self::Address(_)
            | Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Bookkeeping(_)
            | Self::NoRiver
            | Self::Other(_) => None,
        }
    }

    /// Whether the server went down, or is not there: what may be over in a moment.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.lost_session()
    }

    /// Whether the session is over, so that nobody heard how what was asked for ended.
    #[must_use]
    pub fn lost_session(&self) -> bool {
        match self {
            Self::Refused { source, .. } => source.ends_session(),
            Self::Broken { .. } => true,
            Self::Address(_)
            | Self::Unreachable { .. }
            | Self::Bookkeeping(_)
            | Self::NoRiver
            | Self::Other(_) => false,
        }
    }
}

enum Why {
    Refused(Box<Refusal>),
    Broken(Box<dyn Error + Send + Sync>),
}

/// sqlx's own texts repeat their sources'; what is inside is taken out, so that all is said once.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's enum is open, and the rest of it tells its cause itself"
)]
fn why(error: sqlx::Error) -> Why {
    match error {
        sqlx::Error::Database(said) => match said.try_downcast_ref::<PgDatabaseError>() {
            Some(said) => Why::Refused(Box::new(Refusal::new(said))),
            None => Why::Broken(said.into()),
        },
        sqlx::Error::Io(source) => Why::Broken(Box::new(source)),
        sqlx::Error::Tls(source) => Why::Broken(source),
        other => Why::Broken(Box::new(other)),
    }
}
