//! What a release must have done once before it starts, and what that must say of itself.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command run after the migrations and before the new container starts, in a container of its own
/// of the release's image that gets no traffic. It must end with exit code 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// How long it may take.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: Duration,
    /// What the JSON object that it prints must say; empty: its exit code alone decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expected>,
}

/// A field of a JSON object, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The field's name; that of one inside another with a dot: `summary.errors`.
    pub field: String,
    /// What it must be. A list is also as many as it has items, so `errors=0` fits `"errors": []`.
    pub value: Value,
}

/// The text does not say what a field must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not say what a field must be: expected FIELD=VALUE, for example errors=0")]
pub struct NotAnExpectation(String);

impl Prepare {
    /// Which rule it breaks.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        if self.command.is_empty() {
            return Some("it needs a command");
        }
        self.timeout.is_zero().then_some("it needs some time")
    }

    /// Judges what the command printed to its standard output; only the last JSON object in it counts,
    /// so log lines may stand around it.
    ///
    /// # Errors
    /// What is otherwise than expected, in words.
    pub fn judge(&self, printed: &str) -> Result<(), String> {
        if self.expect.is_empty() {
            return Ok(());
        }
        let object = last_object(printed)
            .ok_or_else(|| "it printed no JSON object to its standard output".to_owned())?;
        let wrong: Vec<String> = self
            .expect
            .iter()
            .filter_map(|expected| expected.differs(&object))
            .collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("; ")),
        }
    }
}

impl Expected {
    fn differs(&self, object: &Value) -> Option<String> {
        let Self { field, value } = self;
        let found = field
            .split('.')
            .try_fold(object, |inside, name| inside.get(name));
        let Some(found) = found else {
            return Some(format!("there is no field `{field}` in what it printed"));
        };
        let length = found.as_array().map(|list| Value::from(list.len()));
        if found == value || length.as_ref() == Some(value) {
            return None;
        }
        Some(format!("`{field}` is {found}, and must be {value}"))
    }
}

impl FromStr for Expected {
    type Err = NotAnExpectation;

    fn from_str(text: &str) -> Result<Self, NotAnExpectation> {
        let (field, value) = text
            .split_once('=')
            .filter(|(field, _)| field.split('.').all(|name| !name.is_empty()))
            .ok_or_else(|| NotAnExpectation(text.to_owned()))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok(Self {
            field: field.to_owned(),
            value,
        })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.field, self.value)
    }
}

/// The last JSON object that begins a line.
fn last_object(printed: &str) -> Option<Value> {
    let begins: Vec<usize> = std::iter::once(0)
        .chain(printed.match_indices('\n').map(|(at, _)| at + 1))
        .filter(|at| printed[*at..].starts_with('{'))
        .collect();
    begins.into_iter().rev().find_map(|at| {
        let mut values = serde_json::Deserializer::from_str(&printed[at..]).into_iter::<Value>();
        values.next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(expect: &[&str], printed: &str) -> Result<(), String> {
        let expect = expect.iter().map(|text| text.parse().unwrap()).collect();
        let prepare = Prepare {
            command: vec!["sync".into()],
            timeout: Duration::from_secs(1),
            expect,
        };
        prepare.judge(printed)
    }

    #[test]
    fn a_field_decides_if_one_is_named() {
        let printed = "starting\n{\n  \"errors\": [],\n  \"sources\": {\"new\": 3, \"kind\": \"html\"}\n}\nbye\n";
        assert_eq!(judge(&[], "no JSON at all"), Ok(()));
        let good = ["errors=0", "sources.new=3", "sources.kind=html"];
        assert_eq!(judge(&good, printed), Ok(()));
        let wrong = judge(&["errors=0", "sources.new=4"], printed).unwrap_err();
        assert_eq!(wrong, "`sources.new` is 3, and must be 4");
        let failed = judge(&["errors=0"], "{\"errors\":[\"no route\"]}").unwrap_err();
        assert!(failed.contains("[\"no route\"]"), "{failed}");
    }

    #[test]
    fn the_last_object_counts_and_none_is_no_success() {
        assert_eq!(judge(&["n=2"], "{\"n\":1}\n{\"n\":2}"), Ok(()));
        assert!(judge(&["n=2"], "n=2").unwrap_err().contains("no JSON"));
        assert!(
            judge(&["m=2"], "{\"n\":2}")
                .unwrap_err()
                .contains("no field `m`")
        );
    }

    #[test]
    fn an_expectation_names_a_field() {
        for wrong in ["errors", "=0", "a..b=0"] {
            assert!(wrong.parse::<Expected>().is_err(), "{wrong}");
        }
        let read: Expected = "note=a=b".parse().unwrap();
        assert_eq!(read.value, Value::from("a=b"));
    }
}
