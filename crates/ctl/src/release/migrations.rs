//! A folder of migrations in golang-migrate's format, read whole or refused.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use togather_model::Migration;

use crate::error::{Error, Result};

const EXPECTED: &str = "expected NNNNNN_name.up.sql or NNNNNN_name.down.sql";

/// Reads the migrations of a folder, in the order of their numbers. Those that go down are left
/// out: nodes only migrate forward. What golang-migrate ignores is ignored (`embed.go`, `README.md`,
/// folders), unless its name looks as if it was meant to be a migration.
///
/// # Errors
/// Everything that is wrong with the folder at once: migrations with names of another form, numbers
/// used twice, files that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<Migration>> {
    let unreadable = |error: std::io::Error| {
        Error::usage(format!(
            "cannot read the migrations in {}",
            folder.display()
        ))
        .because(&error)
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(unreadable)?;
    files.retain(|path| !path.is_dir() && looks_like_a_migration(path));
    files.sort();

    let (mut found, mut wrong) = (BTreeMap::<u64, Migration>::new(), Vec::new());
    for path in &files {
        match migration(path) {
            Ok(None) => {}
            Ok(Some(migration)) => {
                if let Some(other) = found.get(&migration.version) {
                    wrong.push(format!(
                        "{} has the same number as {}: each number may be used once",
                        migration.file, other.file
                    ));
                } else {
                    found.insert(migration.version, migration);
                }
            }
            Err(why) => wrong.push(why),
        }
    }
    if found.is_empty() && wrong.is_empty() {
        wrong.push(format!("there is no migration in it: {EXPECTED}"));
    }
    if wrong.is_empty() {
        return Ok(found.into_values().collect());
    }
    let error = Error::usage(format!(
        "the folder {} cannot be used as migrations",
        folder.display()
    ));
    Err(wrong.into_iter().fold(error, Error::cause))
}

/// Digits first, or SQL: anything else was never meant to run.
fn looks_like_a_migration(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(|first: char| first.is_ascii_digit())
        || name.to_ascii_lowercase().ends_with(".sql")
}

/// The migration in a file; `None` for one that goes down.
fn migration(path: &Path) -> std::result::Result<Option<Migration>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let form = || format!("{name} is not a migration: {EXPECTED}");
    let (number, rest) = name.split_once('_').ok_or_else(form)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form());
    }
    let version = number
        .parse::<u64>()
        .ok()
        .filter(|&version| version > 0 && i64::try_from(version).is_ok())
        .ok_or_else(|| format!("{name}: its number must be positive and fit 63 bits"))?;
    if rest
        .strip_suffix(".down.sql")
        .is_some_and(|title| !title.is_empty())
    {
        return Ok(None);
    }
    if rest.strip_suffix(".up.sql").is_none_or(str::is_empty) {
        return Err(form());
    }
    let sql = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    Ok(Some(Migration {
        version,
        file: name.into_owned(),
        sql,
    }))
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

    #[test]
    fn they_come_in_the_order_of_their_numbers_and_only_those_that_go_up() {
        let folder = folder(&[
            ("10_later.up.sql", "SELECT 10;"),
            ("000002_first.up.sql", "SELECT 2;"),
            ("000002_first.down.sql", "SELECT -2;"),
        ]);
        let read = read(folder.path()).unwrap();
        let files: Vec<&str> = read
            .iter()
            .map(|migration| migration.file.as_str())
            .collect();
        assert_eq!(files, ["000002_first.up.sql", "10_later.up.sql"]);
        assert_eq!(read[1].sql, "SELECT 10;");
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let folder = folder(&[
            ("000001_a.up.sql", ""),
            ("1_b.up.sql", ""),
            ("schema.sql", ""),
            ("000003_c.sql", ""),
            ("000004_d.up.sql.orig", ""),
            ("0_zero.up.sql", ""),
        ]);
        let error = read(folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        for words in [
            "1_b.up.sql has the same number as 000001_a.up.sql",
            "schema.sql is not a migration",
            "000004_d.up.sql.orig is not a migration",
            "000003_c.sql is not a migration",
            "0_zero.up.sql: its number must be positive",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn what_golang_migrate_ignores_is_ignored() {
        let folder = folder(&[
            ("000001_a.up.sql", "SELECT 1;"),
            ("embed.go", "package migrations"),
            ("README.md", ""),
            (".gitkeep", ""),
            (".DS_Store", ""),
        ]);
        std::fs::create_dir(folder.path().join("2024_archive")).unwrap();
        let read = read(folder.path()).unwrap();
        assert_eq!(read.len(), 1);
    }

    #[test]
    fn an_empty_folder_is_a_mistake() {
        let error = read(folder(&[]).path()).unwrap_err();
        assert!(error.to_string().contains("no migration in it"), "{error}");
    }
}
