//! What is wrong in a text, and where.

use std::fmt;

/// One thing that is wrong. It never repeats a value: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// What it is about: a key, perhaps of a service. Empty where the line says all.
    pub place: String,
    /// What is wrong, what was expected, and what to do.
    pub problem: String,
}

impl Problem {
    /// A problem with what this name stands for; an empty name is none.
    pub(crate) fn at(line: u64, name: &str, problem: impl Into<String>) -> Self {
        let place = if name.is_empty() {
            String::new()
        } else {
            format!("`{name}`")
        };
        Self {
            line,
            place,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            place,
            problem,
        } = self;
        if place.is_empty() {
            write!(f, "line {line}: {problem}")
        } else {
            write!(f, "line {line}: {place}: {problem}")
        }
    }
}
