//! `${NAME}` in a value, by the rules of Compose's own template language, with one difference: a
//! reference to what is nowhere is an error, never an empty text. (That is how a database ends up
//! without a password.)
//!
//! | written | `NAME` is nowhere | `NAME` is empty | `NAME` has a value |
//! | --- | --- | --- | --- |
//! | `${NAME}`, `$NAME` | error | empty | the value |
//! | `${NAME:-text}`; `${NAME-text}` | `text`; `text` | `text`; empty | the value |
//! | `${NAME:?why}`; `${NAME?why}` | error; error | error; empty | the value |
//! | `${NAME:+text}`; `${NAME+text}` | empty | empty; `text` | `text` |
//!
//! `$$` is a dollar sign, and so is a `$` that begins none of these (`secret$`, `$5`). The texts may
//! hold references of their own. A value is never read again for references.

/// How deep references may stand in each other: enough for people, too little to exhaust the stack.
const DEEPEST: usize = 32;

/// Looks a name up; `None`: it is nowhere.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a reference could not be filled in. No value is repeated, only what stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolateError {
    /// The name is nowhere, and no default is given.
    #[error(
        "`{name}` has no value; set it in the environment file, or give a default: `${{{name}:-default}}`"
    )]
    Unset {
        /// The name.
        name: String,
        /// Whether it was written `${NAME}`, which nobody writes by accident, as in `pa$word`.
        braced: bool,
    },
    /// The name must have a value, and has none.
    #[error("`{name}` has no value: {}", if message.is_empty() { "it is required" } else { message.as_str() })]
    Required {
        /// The name.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// `${` that begins no reference.
    #[error(
        "`${{` begins no reference here; expected `${{NAME}}`, `${{NAME:-default}}` or `${{NAME:?message}}` (a dollar sign itself is written `$$`)"
    )]
    Malformed,
    /// More references in each other than anybody means.
    #[error("references stand in each other more than {DEEPEST} deep")]
    TooDeep,
}

/// A piece of a text.
pub(crate) struct Piece<'a> {
    /// Where it begins, in bytes.
    pub(crate) at: usize,
    /// As it is written (`$$` as `$`), or what a reference came to.
    pub(crate) content: Content<'a>,
}

/// What a piece holds.
pub(crate) enum Content<'a> {
    /// Text that stands for itself.
    Plain(&'a str),
    /// A reference.
    Reference {
        /// The name it refers to; empty where it is malformed.
        name: &'a str,
        /// What it came to.
        value: Result<String, InterpolateError>,
    },
}

/// Fills in every reference of a text.
///
/// # Errors
/// The first reference that cannot be filled in.
pub(crate) fn interpolate(text: &str, lookup: Lookup<'_>) -> Result<String, InterpolateError> {
    fill(text, lookup, 0)
}

/// The pieces of a text in order, each reference filled in for itself.
pub(crate) fn pieces<'a>(text: &'a str, lookup: Lookup<'a>) -> impl Iterator<Item = Piece<'a>> {
    pieces_at(text, lookup, 0)
}

fn fill(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, InterpolateError> {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces_at(text, lookup, depth) {
        match piece.content {
            Content::Plain(plain) => filled.push_str(plain),
            Content::Reference { value, .. } => filled.push_str(&value?),
        }
    }
    Ok(filled)
}

fn pieces_at<'a>(
    text: &'a str,
    lookup: Lookup<'a>,
    depth: usize,
) -> impl Iterator<Item = Piece<'a>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = text.len() - rest.len();
        let (token, after) = first_token(rest)?;
        rest = after;
        let content = match token {
            Token::Plain(plain) => Content::Plain(plain),
            Token::Reference(reference) => Content::Reference {
                name: reference.name,
                value: reference.value(lookup, depth),
            },
            Token::Malformed => Content::Reference {
                name: "",
                value: Err(InterpolateError::Malformed),
            },
        };
        Some(Piece { at, content })
    })
}

enum Token<'a> {
    Plain(&'a str),
    Reference(Reference<'a>),
    Malformed,
}

struct Reference<'a> {
    name: &'a str,
    braced: bool,
    operation: Option<Operation<'a>>,
}

struct Operation<'a> {
    kind: char,
    /// With a colon, an empty value counts as none.
    empty_is_none: bool,
    text: &'a str,
}

/// The token that a text begins with, and what follows it.
fn first_token(text: &str) -> Option<(Token<'_>, &str)> {
    if text.is_empty() {
        return None;
    }
    let Some(after) = text.strip_prefix('$') else {
        let (plain, rest) = text.split_at(text.find('$').unwrap_or(text.len()));
        return Some((Token::Plain(plain), rest));
    };
    let token = if let Some(rest) = after.strip_prefix('$') {
        (Token::Plain("$"), rest)
    } else if let Some(body) = after.strip_prefix('{') {
        braced(body).map_or((Token::Malformed, body), |(reference, rest)| {
            (Token::Reference(reference), rest)
        })
    } else if let Some((name, rest)) = split_name(after) {
        let reference = Reference {
            name,
            braced: false,
            operation: None,
        };
        (Token::Reference(reference), rest)
    } else {
        (Token::Plain("$"), after)
    };
    Some(token)
}

/// What follows `${`: a name, perhaps an operation, and `}`.
fn braced(body: &str) -> Option<(Reference<'_>, &str)> {
    let (name, after) = split_name(body)?;
    let reference = |operation| Reference {
        name,
        braced: true,
        operation,
    };
    if let Some(rest) = after.strip_prefix('}') {
        return Some((reference(None), rest));
    }
    let (empty_is_none, after) = match after.strip_prefix(':') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let kind = after.chars().next().filter(|c| "-?+".contains(*c))?;
    let (text, rest) = split_at_closing_brace(&after[kind.len_utf8()..])?;
    let operation = Operation {
        kind,
        empty_is_none,
        text,
    };
    Some((reference(Some(operation)), rest))
}

impl Reference<'_> {
    fn value(&self, lookup: Lookup<'_>, depth: usize) -> Result<String, InterpolateError> {
        let value = lookup(self.name);
        let Some(operation) = &self.operation else {
            return value.ok_or_else(|| InterpolateError::Unset {
                name: self.name.to_owned(),
                braced: self.braced,
            });
        };
        if depth == DEEPEST {
            return Err(InterpolateError::TooDeep);
        }
        let value = value.filter(|value| !(operation.empty_is_none && value.is_empty()));
        match (operation.kind, value) {
            ('+', None) => Ok(String::new()),
            ('+', Some(_)) | ('-', None) => fill(operation.text, lookup, depth + 1),
            (_, Some(value)) => Ok(value),
            (_, None) => Err(InterpolateError::Required {
                name: self.name.to_owned(),
                message: operation.text.to_owned(),
            }),
        }
    }
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
///
/// As Compose finds it: on the same line; the character after an opening brace is not looked at; and
/// where the braces do not come out even, the last one on the line closes.
fn split_at_closing_brace(text: &str) -> Option<(&str, &str)> {
    let line = text.split('\n').next().unwrap_or(text);
    let last = line.rfind('}')?;
    let mut open = 1_usize;
    let mut bytes = line.bytes().enumerate();
    let mut closing = last;
    while let Some((at, byte)) = bytes.next() {
        if byte == b'{' {
            open += 1;
            bytes.next();
        } else if byte == b'}' {
            open -= 1;
            if open == 0 {
                closing = at;
                break;
            }
        }
    }
    Some((&text[..closing], &text[closing + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, InterpolateError> {
        let lookup = |name: &str| match name {
            "USER" => Some("togather".to_owned()),
            "EMPTY" => Some(String::new()),
            "PRICE" => Some("$5 ${USER}".to_owned()),
            _ => None,
        };
        interpolate(text, &lookup)
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
            ("${NOWHERE:-a}${USER:-b} ${ALSO-c}}", "atogather c}"),
            ("${USER:?must be set}", "togather"),
            ("${EMPTY?must be set}", ""),
            ("${USER:+replaced}", "replaced"),
            ("${EMPTY:+replaced}", ""),
            ("${EMPTY+replaced}", "replaced"),
            ("${NOWHERE+replaced}", ""),
            // What is not needed is not looked up.
            ("${USER:-${NOWHERE}}", "togather"),
            (r#"${NOWHERE:-{"a":1}}"#, r#"{"a":1}"#),
            // Braces that do not come out even, as Compose counts them.
            ("${NOWHERE:-{}}", "{}"),
            ("${NOWHERE:-{}} }", "{}} "),
            ("${NOWHERE:-{{}}}", "{{}}"),
            ("100$$ and $${USER}", "100$ and ${USER}"),
            // A dollar sign that begins nothing.
            ("secret$", "secret$"),
            ("$5 $- $é", "$5 $- $é"),
            // A value is never read again for references: secrets may hold any character.
            ("${PRICE}", "$5 ${USER}"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_nowhere_is_an_error_and_never_empty() {
        for text in ["${NOWHERE}", "$NOWHERE", "a${USER:+${NOWHERE}}b"] {
            let error = filled(text).unwrap_err();
            assert!(
                matches!(&error, InterpolateError::Unset { name, .. } if name == "NOWHERE"),
                "{text}: {error}"
            );
        }
        let told = filled("${EMPTY:?set it to a strong password}").unwrap_err();
        assert_eq!(
            told.to_string(),
            "`EMPTY` has no value: set it to a strong password"
        );
    }

    #[test]
    fn what_begins_like_a_reference_and_is_none_is_refused() {
        for text in [
            "${",
            "${USER",
            "${}",
            "${USER!x}",
            "${5}",
            "${USER:}",
            "${USER:-a\n}",
            "${NOWHERE:-a${USER}",
        ] {
            assert_eq!(filled(text), Err(InterpolateError::Malformed), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}x{}", "${A:-".repeat(depth), "}".repeat(depth));
        assert_eq!(filled(&nested(DEEPEST)).as_deref(), Ok("x"));
        for depth in [DEEPEST + 1, 100_000] {
            assert_eq!(filled(&nested(depth)), Err(InterpolateError::TooDeep));
        }
    }
}
