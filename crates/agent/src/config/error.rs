//! What is wrong with the configuration, and where: file, line, key, and what was expected.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_saphyr::UserMessageFormatter;
use togather_compose::Problem;
use togather_trust::secret_file::SecretFileError;

/// What is wrong with a configuration file. The program ends with exit code 10.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML, has a key nobody knows, or a value that does not fit its key.
    #[error("{}:{line}: {}{problem}", path.display(), key.as_ref().map(|key| format!("`{key}`: ")).unwrap_or_default())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// The key's path, for example `strategy.soak`.
        key: Option<String>,
        /// What was found and what was expected.
        problem: String,
    },
    /// A value is of the right kind, and yet makes no sense.
    #[error("{}: `{key}`: {problem}", path.display())]
    Value {
        /// The file the value is in, or whose default it is.
        path: PathBuf,
        /// The value's key.
        key: &'static str,
        /// What is wrong with it and what was expected.
        problem: String,
    },
    /// The environment file is not as it must be: every problem of it, a line each.
    #[error("{}", in_file(path, problems))]
    Environment {
        /// The file.
        path: PathBuf,
        /// What is wrong, in the order of its lines.
        problems: Vec<Problem>,
    },
    /// A value refers to a variable that the environment file does not have.
    #[error("{}: `{key}` refers to ${{{name}}}, which {set_in} does not set; add a line `{name}=…` to it", path.display())]
    Variable {
        /// The file the value is in, or whose default it is.
        path: PathBuf,
        /// The value's key.
        key: &'static str,
        /// The variable.
        name: String,
        /// The environment file.
        set_in: String,
    },
    /// A secret is not kept secret.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
}

impl ConfigError {
    pub(super) fn yaml(path: &Path, text: &str, error: &serde_saphyr::Error) -> Self {
        let line = error.location().map_or(1, |location| location.line());
        let whole = error
            .without_snippet()
            .render_with_formatter(&UserMessageFormatter);
        // The place is told in front, in the form that editors and terminals jump to.
        let problem = whole
            .split_once(" at line ")
            .map_or(whole.as_str(), |(problem, _)| problem);
        Self::Yaml {
            path: path.to_owned(),
            line,
            key: key_at(text, line),
            problem: problem.trim_end().to_owned(),
        }
    }
}

/// Each problem with its place in front, in the form that editors and terminals jump to.
fn in_file(path: &Path, problems: &[Problem]) -> String {
    let told = problems.iter().map(|problem| {
        let place = match &*problem.place {
            "" => String::new(),
            place => format!("{place}: "),
        };
        let (path, line) = (path.display(), problem.line);
        format!("{path}:{line}: {place}{}", problem.problem)
    });
    told.collect::<Vec<_>>().join("\n")
}

/// The path of the key on this line: its own name, and those of the lines it is indented under.
fn key_at(text: &str, line: u64) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let last = usize::try_from(line).ok()?.checked_sub(1)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut names = Vec::new();
    let mut depth = usize::MAX;
    for line in lines.get(..=last)?.iter().rev() {
        let name = line.trim_start().split_once(':').map(|(name, _)| name);
        // An item of a list has no name of its own.
        let is_key = |name: &&str| !name.is_empty() && !name.starts_with(['#', '-']);
        let Some(name) = name.filter(is_key) else {
            continue;
        };
        if indent(line) < depth {
            depth = indent(line);
            names.push(name.trim_matches(['"', '\'']));
        }
        if depth == 0 {
            break;
        }
    }
    names.reverse();
    (!names.is_empty()).then(|| names.join("."))
}
