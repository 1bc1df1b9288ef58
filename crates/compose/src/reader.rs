//! Reads the texts of one part of a Compose file: fills in values, and says where one is wrong.

use std::{collections::BTreeMap, path::Path};

use serde_saphyr::Spanned;

use crate::{
    ComposeError,
    document::{ListOrMap, OneOrMany, Text},
    interpolate::interpolate,
};

/// The file, the environment and the part of the file that is being read.
pub(crate) struct Reader<'a> {
    pub(crate) path: &'a Path,
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// For example ``service `db` ``.
    pub(crate) place: String,
}

impl Reader<'_> {
    /// The same for the service of this name.
    pub(crate) fn of(&self, service: &str) -> Self {
        Self {
            place: format!("service `{service}`"),
            ..*self
        }
    }

    pub(crate) fn wrong(&self, line: u64, key: &str, problem: impl Into<String>) -> ComposeError {
        ComposeError::Invalid {
            path: self.path.to_owned(),
            line,
            place: format!("{}, `{key}`", self.place),
            problem: problem.into(),
        }
    }

    pub(crate) fn text(&self, key: &str, text: &Text) -> Result<String, ComposeError> {
        self.fill(key, &text.value, text.referenced.line())
    }

    fn fill(&self, key: &str, text: &str, line: u64) -> Result<String, ComposeError> {
        let lookup = |name: &str| self.environment.get(name).cloned();
        interpolate(text, &lookup).map_err(|error| self.wrong(line, key, error.to_string()))
    }

    pub(crate) fn optional(
        &self,
        key: &str,
        text: Option<&Text>,
    ) -> Result<Option<String>, ComposeError> {
        text.map(|text| self.text(key, text)).transpose()
    }

    pub(crate) fn list(
        &self,
        key: &str,
        texts: Option<&Vec<Text>>,
    ) -> Result<Vec<String>, ComposeError> {
        let texts = texts.into_iter().flatten();
        texts.map(|text| self.text(key, text)).collect()
    }

    /// A text in one of the notations of [`values`](crate::values). The error shows the text as it
    /// is written, not what was filled in: that may be a secret.
    pub(crate) fn parsed<T>(
        &self,
        key: &str,
        text: &Text,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ComposeError> {
        let filled = self.text(key, text)?;
        parse(&filled).ok_or_else(|| {
            let problem = format!("`{}` is not valid; expected {expected}", text.value);
            self.wrong(text.referenced.line(), key, problem)
        })
    }

    pub(crate) fn parsed_optional<T>(
        &self,
        key: &str,
        text: Option<&Text>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ComposeError> {
        text.map(|text| self.parsed(key, text, expected, parse))
            .transpose()
    }

    pub(crate) fn one_or_many(
        &self,
        key: &str,
        texts: &Spanned<OneOrMany>,
    ) -> Result<Vec<String>, ComposeError> {
        match &texts.value {
            OneOrMany::One(text) => Ok(vec![self.fill(key, text, texts.referenced.line())?]),
            OneOrMany::Many(texts) => self.list(key, Some(texts)),
        }
    }

    /// A program and its arguments; a lone text is split at blanks as a shell would.
    pub(crate) fn command(
        &self,
        key: &str,
        command: Option<&Spanned<OneOrMany>>,
    ) -> Result<Option<Vec<String>>, ComposeError> {
        let Some(command) = command else {
            return Ok(None);
        };
        let line = command.referenced.line();
        match &command.value {
            OneOrMany::One(text) => shell_words::split(&self.fill(key, text, line)?)
                .map(Some)
                .map_err(|_| self.wrong(line, key, "a quote is not closed")),
            OneOrMany::Many(words) => self.list(key, Some(words)).map(Some),
        }
    }

    /// `NAME: value` or `NAME=value`. A name without a value takes it from the environment file.
    pub(crate) fn variables(
        &self,
        key: &str,
        variables: Option<&ListOrMap<Option<Text>>>,
    ) -> Result<BTreeMap<String, String>, ComposeError> {
        let inherited = |name: &str, line: u64| {
            let value = self.environment.get(name).cloned();
            value.ok_or_else(|| {
                let problem = format!(
                    "`{name}` has no value; give it one, or set it in the environment file"
                );
                self.wrong(line, key, problem)
            })
        };
        match variables {
            None => Ok(BTreeMap::new()),
            Some(ListOrMap::Map(entries)) => entries
                .iter()
                .map(|(name, value)| match value {
                    Some(value) => Ok((name.value.clone(), self.text(key, value)?)),
                    None => {
                        let value = inherited(&name.value, name.referenced.line())?;
                        Ok((name.value.clone(), value))
                    }
                })
                .collect(),
            Some(ListOrMap::List(entries)) => entries
                .iter()
                .map(|entry| {
                    let filled = self.text(key, entry)?;
                    match filled.split_once('=') {
                        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                        None => {
                            let value = inherited(&filled, entry.referenced.line())?;
                            Ok((filled, value))
                        }
                    }
                })
                .collect(),
        }
    }

    /// Labels are as variables, but one without a value is empty.
    pub(crate) fn labels(
        &self,
        key: &str,
        labels: Option<&ListOrMap<Option<Text>>>,
    ) -> Result<BTreeMap<String, String>, ComposeError> {
        match labels {
            None => Ok(BTreeMap::new()),
            Some(ListOrMap::Map(entries)) => entries
                .iter()
                .map(|(name, value)| {
                    let value = self.optional(key, value.as_ref())?;
                    Ok((name.value.clone(), value.unwrap_or_default()))
                })
                .collect(),
            Some(ListOrMap::List(entries)) => entries
                .iter()
                .map(|entry| {
                    let filled = self.text(key, entry)?;
                    let (name, value) = filled.split_once('=').unwrap_or((&filled, ""));
                    Ok((name.to_owned(), value.to_owned()))
                })
                .collect(),
        }
    }
}
