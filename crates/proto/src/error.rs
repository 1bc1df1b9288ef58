//! What is wrong with a message from elsewhere, and where in it.

use std::fmt::Display;

/// A field that is missing, or is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message's field `{field}` {problem}")]
pub struct WireError {
    field: String,
    problem: String,
}

impl WireError {
    /// A field that must be there and is not.
    #[must_use]
    pub fn missing(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: "is missing".into(),
        }
    }

    /// A field whose value cannot be used, and why.
    #[must_use]
    pub fn invalid(field: impl Into<String>, why: impl Display) -> Self {
        Self {
            field: field.into(),
            problem: format!("is not valid: {why}"),
        }
    }

    /// The path of the field, for example `plan.steps[3].step`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The same error, seen from the message that holds this one in the given field.
    #[must_use]
    pub fn within(mut self, parent: impl Display) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// Reads a field that holds a message.
pub(crate) fn read<W, M>(field: &str, wire: Option<W>) -> Result<M, WireError>
where
    M: TryFrom<W, Error = WireError>,
{
    read_optional(field, wire)?.ok_or_else(|| WireError::missing(field))
}

/// Reads a field that may hold a message.
pub(crate) fn read_optional<W, M>(field: &str, wire: Option<W>) -> Result<Option<M>, WireError>
where
    M: TryFrom<W, Error = WireError>,
{
    wire.map(M::try_from)
        .transpose()
        .map_err(|error| error.within(field))
}

/// Reads a field that holds a list of messages.
pub(crate) fn read_all<W, M>(field: &str, wire: Vec<W>) -> Result<Vec<M>, WireError>
where
    M: TryFrom<W, Error = WireError>,
{
    wire.into_iter()
        .enumerate()
        .map(|(index, item)| {
            M::try_from(item).map_err(|error| error.within(format_args!("{field}[{index}]")))
        })
        .collect()
}

/// Reads a field whose text is a value in its usual written form: a ULID, a digest.
pub(crate) fn parse<T>(field: &str, text: &str) -> Result<T, WireError>
where
    T: std::str::FromStr<Err: Display>,
{
    if text.is_empty() {
        return Err(WireError::missing(field));
    }
    text.parse()
        .map_err(|error| WireError::invalid(field, error))
}
