//! The migrations of a release, line by line.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Migration, Release};
use crate::line::Line;

/// Migrations that are not the app's own, but of somebody whose tables the app uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherLine {
    /// Whose they are; never [`Line::App`].
    pub line: Line,
    /// Whether they run before the app's own, and not after them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before_app: bool,
    /// All of the line that the version wants, ascending; those the database has are not run again.
    pub migrations: Vec<Migration>,
    /// As [`Release::oldest_schema`], of this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_schema: Option<u64>,
}

/// One line of a release, whosever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrations<'a> {
    /// Whose they are.
    pub line: Line,
    /// All of them, ascending.
    pub all: &'a [Migration],
    /// Code built for this schema of the line or a later one also runs on this release's.
    pub oldest_schema: Option<u64>,
}

impl<'a> Migrations<'a> {
    /// Where the line is after this release: its newest migration, 0 if it has none.
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.all.last().map_or(0, |last| last.version)
    }

    /// The migrations that a database at this schema of the line still lacks.
    pub fn pending(&self, schema: Option<u64>) -> impl Iterator<Item = &'a Migration> {
        let have = schema.unwrap_or(0);
        self.all.iter().filter(move |m| m.version > have)
    }
}

impl Release {
    /// The app's own migrations.
    #[must_use]
    pub fn app_line(&self) -> Migrations<'_> {
        Migrations {
            line: Line::App,
            all: &self.migrations,
            oldest_schema: self.oldest_schema,
        }
    }

    /// All lines, in the order in which they run; the app's own is always among them.
    #[must_use]
    pub fn lines(&self) -> Vec<Migrations<'_>> {
        let when = |before_app: bool| {
            let of_then = move |other: &&OtherLine| other.before_app == before_app;
            self.other_lines
                .iter()
                .filter(of_then)
                .map(Migrations::from)
        };
        let app = std::iter::once(self.app_line());
        when(true).chain(app).chain(when(false)).collect()
    }

    /// What is wrong with its lines.
    pub(super) fn wrong_lines(&self) -> Option<(&'static str, String)> {
        if let Some(rule) = wrong_numbers(&self.migrations) {
            return Some(("migrations", rule));
        }
        let mut seen = BTreeSet::from([Line::App]);
        for other in &self.other_lines {
            if !seen.insert(other.line) {
                return Some(("lines", format!("`{}` is there twice", other.line)));
            }
            let gapless = other.migrations.iter().map(|m| m.version);
            if other.migrations.is_empty() || !gapless.eq(1..=other.migrations.len() as u64) {
                let rule = format!(
                    "{}'s migrations must be numbered from 1 on without a gap, because its own tool would run \
                     what is missing",
                    other.line
                );
                return Some(("lines", rule));
            }
        }
        None
    }
}

impl<'a> From<&'a OtherLine> for Migrations<'a> {
    fn from(other: &'a OtherLine) -> Self {
        Self {
            line: other.line,
            all: &other.migrations,
            oldest_schema: other.oldest_schema,
        }
    }
}

fn wrong_numbers(migrations: &[Migration]) -> Option<String> {
    let versions: BTreeSet<u64> = migrations.iter().map(|m| m.version).collect();
    let wrong = versions.len() != migrations.len()
        || !migrations.is_sorted_by_key(|m| m.version)
        || versions.first() == Some(&0)
        || versions.last().is_some_and(|&v| i64::try_from(v).is_err());
    wrong.then(|| "numbers must be positive, unique and ascending".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Image, SCHEMA};
    use crate::{digest::Digest, release::Prepare};

    fn numbered(numbers: &[u64]) -> Vec<Migration> {
        let migration = |version: &u64| Migration {
            version: *version,
            file: format!("{version}_x.up.sql"),
            sql: String::new(),
        };
        numbers.iter().map(migration).collect()
    }

    fn release(others: Vec<OtherLine>) -> Release {
        Release {
            schema: SCHEMA.into(),
            version: "1.0.0".into(),
            git_commit: "a".repeat(40),
            image: Image::Registry {
                repository: "registry:5000/app".into(),
                digest: Digest::of(b"image"),
            },
            migrations: numbered(&[3, 7]),
            oldest_schema: None,
            other_lines: others,
            prepare: None,
            hooks: vec![],
            built_at: jiff::Timestamp::UNIX_EPOCH,
            attestation: None,
        }
    }

    fn river(before_app: bool, numbers: &[u64]) -> OtherLine {
        OtherLine {
            line: Line::River,
            before_app,
            migrations: numbered(numbers),
            oldest_schema: None,
        }
    }

    #[test]
    fn lines_run_in_the_order_given() {
        let order = |before_app| -> Vec<Line> {
            let release = release(vec![river(before_app, &[1, 2])]);
            release.lines().iter().map(|of| of.line).collect()
        };
        assert_eq!(order(true), [Line::River, Line::App]);
        assert_eq!(order(false), [Line::App, Line::River]);
    }

    #[test]
    fn a_line_of_rivers_has_no_gap_and_is_there_once() {
        for wrong in [
            vec![river(false, &[])],
            vec![river(false, &[2])],
            vec![river(false, &[1, 3])],
            vec![river(false, &[1]), river(true, &[1])],
            vec![OtherLine {
                line: Line::App,
                ..river(false, &[1])
            }],
        ] {
            let error = release(wrong).to_bytes().unwrap_err().to_string();
            assert!(error.contains("release's lines"), "{error}");
        }
    }

    #[test]
    fn a_release_without_other_lines_has_the_bytes_it_always_had() {
        let plain = release(vec![]).to_bytes().unwrap();
        let text = String::from_utf8(plain.clone()).unwrap();
        assert!(
            !text.contains("lines") && !text.contains("prepare"),
            "{text}"
        );
        assert_eq!(Release::from_bytes(&plain).unwrap(), release(vec![]));
        let mut whole = release(vec![river(true, &[1, 2])]);
        whole.prepare = Some(Prepare {
            command: vec!["sync".into()],
            timeout: std::time::Duration::from_secs(300),
            expect: vec!["errors=0".parse().unwrap()],
        });
        let bytes = whole.to_bytes().unwrap();
        assert_eq!(Release::from_bytes(&bytes).unwrap(), whole);
    }
}
