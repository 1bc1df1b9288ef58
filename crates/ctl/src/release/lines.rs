//! Lines of migrations, as the command line names them.

use std::path::Path;

use togather_model::{
    Line, Migration,
    release::{Migrations, OtherLine},
};

use super::migrations;
use crate::error::{Error, Result};

/// What River's own sources have where its tool writes the name of the database's schema.
const TEMPLATE: &str = "/* TEMPLATE: schema */";

/// Something that is said of a line: `DIR`, or `river=DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfLine {
    /// The line.
    pub line: Line,
    /// What is said.
    pub value: String,
}

/// The migrations of a release.
#[derive(Debug, Default)]
pub struct Lines {
    /// The app's own.
    pub app: Vec<Migration>,
    /// Which versions run on the app's schema.
    pub oldest_schema: Option<u64>,
    /// The others.
    pub others: Vec<OtherLine>,
}

/// Reads `VALUE` or `LINE=VALUE`; a value in which there is a `=` after a slash or dot is a path.
///
/// # Errors
/// There is no such line.
pub fn of_line(text: &str) -> std::result::Result<OfLine, String> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
    match text.split_once('=').filter(|(name, _)| is_name(name)) {
        Some((name, value)) => Ok(OfLine {
            line: name
                .parse()
                .map_err(|error| format!("{error}; a folder with a `=` in its name is ./{text}"))?,
            value: value.to_owned(),
        }),
        None => Ok(OfLine {
            line: Line::App,
            value: text.to_owned(),
        }),
    }
}

/// Reads the folders, in the order given, and what is said of the oldest schemas.
///
/// # Errors
/// A folder cannot be used, a line is named twice, or a number fits none.
pub fn read(folders: &[OfLine], oldest: &[OfLine]) -> Result<Lines> {
    let mut lines = Lines::default();
    let app_at = folders.iter().position(|folder| folder.line == Line::App);
    for (at, OfLine { line, value }) in folders.iter().enumerate() {
        if folders.iter().take(at).any(|earlier| earlier.line == *line) {
            return Err(Error::usage(format!(
                "--migrations names two folders for the line `{line}`"
            )));
        }
        let read = migrations::read(Path::new(value))?;
        match line {
            Line::App => lines.app = read,
            Line::River => {
                must_be_the_tools(value, &read)?;
                lines.others.push(OtherLine {
                    line: *line,
                    before_app: app_at.is_some_and(|app| at < app),
                    migrations: read,
                    oldest_schema: None,
                });
            }
        }
    }
    for OfLine { line, value } in oldest {
        lines.set_oldest(*line, value)?;
    }
    Ok(lines)
}

impl Lines {
    fn set_oldest(&mut self, line: Line, value: &str) -> Result<()> {
        let number: u64 = value.parse().map_err(|_| {
            Error::usage(format!(
                "--oldest-schema {value} is not a migration's number"
            ))
        })?;
        let (schema, place) = match line {
            Line::App => (
                self.app.last().map_or(0, |last| last.version),
                &mut self.oldest_schema,
            ),
            Line::River => match self.others.iter_mut().find(|other| other.line == line) {
                Some(other) => (
                    Migrations::from(&*other).schema_version(),
                    &mut other.oldest_schema,
                ),
                None => {
                    return Err(Error::usage(format!(
                        "--oldest-schema {line}={number} is about a line that the release does not have"
                    ))
                    .next(format!("give its folder as well: --migrations {line}=DIR")));
                }
            },
        };
        if number > schema {
            return Err(Error::usage(format!(
                "--oldest-schema {number} is above the release's {}, which is {schema}",
                line.schema()
            ))
            .cause("no version was built for it yet, so none could be replaced by this release")
            .next(format!("give {schema} or less, or leave it out")));
        }
        if place.replace(number).is_some() {
            return Err(Error::usage(format!(
                "--oldest-schema is given twice for the line `{line}`"
            )));
        }
        Ok(())
    }
}

/// River's tool fills in what its sources leave open.
fn must_be_the_tools(folder: &str, migrations: &[Migration]) -> Result<()> {
    let source = migrations.iter().find(|m| m.sql.contains(TEMPLATE));
    let Some(source) = source else {
        return Ok(());
    };
    Err(Error::usage(format!(
        "{} in {folder} is River's source, and not what its tool makes of it",
        source.file
    ))
    .cause(format!("it still has `{TEMPLATE}` in it"))
    .next("make the folder with `river migrate-get`: docs/migrations.md says how"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, sql) in files {
            std::fs::write(folder.path().join(name), sql).unwrap();
        }
        folder
    }

    fn at(line: Line, folder: &tempfile::TempDir) -> OfLine {
        OfLine {
            line,
            value: folder.path().to_str().unwrap().to_owned(),
        }
    }

    #[test]
    fn a_line_stands_before_an_equals_sign_and_a_path_may_have_one() {
        let app = |value: &str| OfLine {
            line: Line::App,
            value: value.to_owned(),
        };
        assert_eq!(of_line("db/migrations"), Ok(app("db/migrations")));
        assert_eq!(of_line("app=x"), Ok(app("x")));
        assert_eq!(of_line("./a=b"), Ok(app("./a=b")));
        assert_eq!(of_line("river=x").unwrap().line, Line::River);
        let error = of_line("queue=x").unwrap_err();
        assert!(error.contains("./queue=x"), "{error}");
    }

    #[test]
    fn the_order_given_is_the_order_they_run_in() {
        let app = folder(&[("3_a.up.sql", "SELECT 3")]);
        let river = folder(&[("001_r.up.sql", "SELECT 1"), ("002_r.up.sql", "SELECT 2")]);
        let (app, river) = (at(Line::App, &app), at(Line::River, &river));
        let oldest = [of_line("3").unwrap(), of_line("river=2").unwrap()];
        let lines = read(&[river.clone(), app.clone()], &oldest).unwrap();
        assert_eq!((lines.app.len(), lines.oldest_schema), (1, Some(3)));
        assert!(lines.others[0].before_app);
        assert_eq!(lines.others[0].oldest_schema, Some(2));
        let lines = read(&[app, river.clone()], &[]).unwrap();
        assert!(!lines.others[0].before_app);
        assert!(read(&[river.clone(), river], &[]).is_err(), "twice");
    }

    #[test]
    fn a_number_that_fits_no_line_is_refused() {
        let app = folder(&[("3_a.up.sql", "SELECT 3")]);
        let app = [at(Line::App, &app)];
        let refused = |text: &str| {
            let oldest = [of_line(text).unwrap()];
            read(&app, &oldest).unwrap_err().to_string()
        };
        assert!(refused("4").contains("above the release's schema, which is 3"));
        assert!(refused("river=1").contains("does not have"));
        assert!(refused("x").contains("not a migration's number"));
    }

    #[test]
    fn rivers_sources_are_not_what_its_tool_makes_of_them() {
        let sql = "CREATE TABLE /* TEMPLATE: schema */river_migration ();";
        let river = folder(&[("001_r.up.sql", sql)]);
        let error = read(&[at(Line::River, &river)], &[]).unwrap_err();
        assert!(error.next[0].contains("migrate-get"), "{error:?}");
    }
}
