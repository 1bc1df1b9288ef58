//! Lines of migrations: whose they are, and so where it is written down which of them ran.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A line of migrations. Each has numbers of its own and is at a schema of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The app's own, in golang-migrate's table `schema_migrations`.
    App,
    /// Those of River, the app's job queue, in River's table `river_migration`.
    River,
}

impl Line {
    /// All lines.
    pub const ALL: [Self; 2] = [Self::App, Self::River];

    /// The line's name, as the command line, JSON, the wire and documents write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::River => "river",
        }
    }

    /// The table that says which of them ran.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::App => "schema_migrations",
            Self::River => "river_migration",
        }
    }

    /// What it is at, in messages: `schema 3`, `River's schema 6`.
    #[must_use]
    pub const fn schema(self) -> &'static str {
        match self {
            Self::App => "schema",
            Self::River => "River's schema",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no line of migrations: expected `app` or `river`")]
pub struct NotALine(String);

impl FromStr for Line {
    type Err = NotALine;

    fn from_str(text: &str) -> Result<Self, NotALine> {
        let named = Self::ALL.into_iter().find(|line| line.as_str() == text);
        named.ok_or_else(|| NotALine(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json_form_and_are_read_back() {
        for line in Line::ALL {
            assert_eq!(serde_json::json!(line), line.as_str());
            assert_eq!(line.as_str().parse(), Ok(line));
        }
        assert!("rivers".parse::<Line>().is_err());
    }
}
