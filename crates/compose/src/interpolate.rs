//! `${NAME}` in a Compose file, written as Compose writes it, with one difference: a value that is
//! nowhere is an error, never an empty text. (The YAML library's own interpolation fills in nothing
//! for a missing value, which is how a database ends up without a password.)

use std::collections::BTreeMap;

/// Why a text could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InterpolateError {
    #[error(
        "`{0}` has no value; set it in the environment file, or give a default: `${{{0}:-default}}`"
    )]
    Unset(String),
    #[error("`{name}` has no value: {message}")]
    Required { name: String, message: String },
    #[error(
        "`{0}` is not a reference; expected `${{NAME}}`, `${{NAME:-default}}` or `${{NAME:?message}}` (a dollar sign itself is written `$$`)"
    )]
    Malformed(String),
}

/// Fills in every reference of a text. Values are taken as they are: a `$` in one is just a `$`.
pub(crate) fn interpolate(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<String, InterpolateError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        let malformed = || InterpolateError::Malformed(format!("${after}"));
        if let Some(after) = after.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some(body) = after.strip_prefix('{') {
            let (body, after) = split_at_closing_brace(body).ok_or_else(malformed)?;
            filled.push_str(&braced(body, environment)?);
            rest = after;
        } else {
            let (name, after) = split_name(after).ok_or_else(malformed)?;
            filled.push_str(required(name, environment)?);
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// What stands between the braces: a name, perhaps an operator and a text that may hold more
/// references.
fn braced(body: &str, environment: &BTreeMap<String, String>) -> Result<String, InterpolateError> {
    let malformed = || InterpolateError::Malformed(format!("${{{body}}}"));
    let (name, operation) = split_name(body).ok_or_else(malformed)?;
    if operation.is_empty() {
        return required(name, environment).map(str::to_owned);
    }
    // With a colon, an empty value counts as none.
    let (value, operation) = match operation.strip_prefix(':') {
        Some(operation) => (
            environment.get(name).filter(|value| !value.is_empty()),
            operation,
        ),
        None => (environment.get(name), operation),
    };
    match (operation.split_at_checked(1), value) {
        (Some(("-" | "?", _)), Some(value)) => Ok(value.clone()),
        (Some(("-", default)), None) => interpolate(default, environment),
        (Some(("?", message)), None) => Err(InterpolateError::Required {
            name: name.to_owned(),
            message: message.to_owned(),
        }),
        (Some(("+", replacement)), Some(_)) => interpolate(replacement, environment),
        (Some(("+", _)), None) => Ok(String::new()),
        _ => Err(malformed()),
    }
}

fn required<'a>(
    name: &str,
    environment: &'a BTreeMap<String, String>,
) -> Result<&'a str, InterpolateError> {
    environment
        .get(name)
        .map(String::as_str)
        .ok_or_else(|| InterpolateError::Unset(name.to_owned()))
}

/// A name at the start of the text, and what follows it.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let first = name.chars().next()?;
    (!first.is_ascii_digit()).then_some((name, rest))
}

/// The text up to the brace that closes what was opened before it, and what follows that brace.
fn split_at_closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some((&text[..at], &text[at + 1..])),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, InterpolateError> {
        let environment = [("USER", "togather"), ("EMPTY", ""), ("PRICE", "$5 ${USER}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        interpolate(text, &environment.into())
    }

    #[test]
    fn references_are_filled_in_as_compose_does() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${USER}@db", "togather@db"),
            ("$USER@db", "togather@db"),
            ("${EMPTY}", ""),
            ("${EMPTY:-default}", "default"),
            ("${EMPTY-default}", ""),
            ("${NOWHERE:-default}", "default"),
            ("${NOWHERE-default}", "default"),
            ("${NOWHERE:-}", ""),
            ("${NOWHERE:-${USER}-${ALSO:-x}}!", "togather-x!"),
            ("${USER:?must be set}", "togather"),
            ("${EMPTY?must be set}", ""),
            ("${USER:+replaced}", "replaced"),
            ("${NOWHERE+replaced}", ""),
            (r#"${NOWHERE:-{"a":1}}"#, r#"{"a":1}"#),
            ("100$$ and $${USER}", "100$ and ${USER}"),
            // A value is never read again for references: secrets may hold any character.
            ("${PRICE}", "$5 ${USER}"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_nowhere_is_an_error_and_never_empty() {
        for text in ["${NOWHERE}", "$NOWHERE", "a${USER:+${NOWHERE}}b"] {
            let error = InterpolateError::Unset("NOWHERE".into());
            assert_eq!(filled(text), Err(error), "{text}");
        }
        let told = filled("${EMPTY:?set it to a strong password}").unwrap_err();
        assert_eq!(
            told.to_string(),
            "`EMPTY` has no value: set it to a strong password"
        );
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for text in [
            "$5",
            "${",
            "${USER",
            "${}",
            "${USER!x}",
            "${5}",
            "a$",
            "${USER:}",
        ] {
            let error = filled(text).unwrap_err();
            assert!(
                matches!(error, InterpolateError::Malformed(_)),
                "{text}: {error}"
            );
        }
    }
}
