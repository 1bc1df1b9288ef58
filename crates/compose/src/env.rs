//! Environment files (`.env`), read as Docker Compose reads them, and from the text alone: no variable
//! of this process is ever looked up.
//!
//! A line is `NAME=value` or `NAME: value`, perhaps after `export`, with blanks around as one likes. A
//! value without quotes ends with its line, or with ` #`, which begins a comment. One in quotes may span
//! lines; in double quotes `\n`, `\t`, `\"`, `\\` and `\$` mean what they do in a shell. References
//! ([`interpolate`](crate::interpolate)) are filled in everywhere but in single quotes, from the lines
//! above.
//!
//! What Compose would take and we refuse, because it is hardly ever meant (`docs/compose.md` has the
//! reasons): a name alone, a reference to what is nowhere, no name, blanks in a name, a `#` after blanks
//! that yet begins no comment, `CHANGE_ME`, a NUL character.

mod quoted;
mod statement;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use crate::Problem;

/// What a template says where a value is still to be filled in.
pub(crate) const UNFILLED: &str = "CHANGE_ME";

/// What an environment file says: names and their values. Its `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    value: String,
    line: u64,
}

/// Reads an environment file that must say everything itself.
///
/// # Errors
/// Every problem of the file, in the order of its lines. None repeats a value.
pub fn parse(text: &str) -> Result<Env, Vec<Problem>> {
    parse_with(text, &|_| None)
}

/// Reads an environment file whose references, and names without a value, are first looked up outside
/// (as Compose does for a service's `env_file`).
///
/// # Errors
/// As [`parse`].
pub fn parse_with(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
) -> Result<Env, Vec<Problem>> {
    let mut env = Env::default();
    let mut problems = statement::read(text, outside, &mut env);
    problems.extend(env.entries.iter().filter_map(|(name, entry)| {
        let problem = if entry.value.contains(UNFILLED) {
            format!("still says `{UNFILLED}`, as the template does; give it a value")
        } else if entry.value.contains('\0') {
            "a value cannot hold a NUL character".to_owned()
        } else {
            return None;
        };
        Some(Problem::at(entry.line, name, problem))
    }));
    if problems.is_empty() {
        return Ok(env);
    }
    problems.sort_by_key(|problem| problem.line);
    // `$a$b` is one mistake.
    problems.dedup();
    Err(problems)
}

impl Env {
    /// A name's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| entry.value.as_str())
    }

    /// The line (from 1) that a name's value is from.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<u64> {
        self.entries.get(name).map(|entry| entry.line)
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter();
        entries.map(|(name, entry)| (name.as_str(), entry.value.as_str()))
    }

    /// The same without the lines.
    #[must_use]
    pub fn into_values(self) -> BTreeMap<String, String> {
        let entries = self.entries.into_iter();
        entries.map(|(name, entry)| (name, entry.value)).collect()
    }

    /// A later line of the same name counts, as in Compose.
    fn set(&mut self, name: &str, value: String, line: u64) {
        self.entries.insert(name.to_owned(), Entry { value, line });
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}
