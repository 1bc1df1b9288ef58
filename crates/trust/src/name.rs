//! The names of nodes and operators: one form that is safe as a word in a signers file, as a label
//! in a certificate, as a file name and on a command line.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name: a DNS label's limit, because names become labels in certificates.
pub const MAX_NAME_LENGTH: usize = 63;

/// A node's or an operator's name: 1 to 63 characters out of `a-z`, `0-9` and `-`, neither first
/// nor last a `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The name of somebody (or something, such as CI) who signs.
pub type OperatorName = Name;

/// The name of a node in the fleet file.
pub type NodeName = Name;

/// What is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a name: expected 1 to 63 characters out of a-z, 0-9 and -, neither first nor last a -"
)]
pub struct NameError {
    given: String,
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(given: &str) -> Result<Self, NameError> {
        let letters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let sound = (1..=MAX_NAME_LENGTH).contains(&given.len())
            && given.bytes().all(letters)
            && !given.starts_with('-')
            && !given.ends_with('-');
        if sound {
            Ok(Self(given.to_owned()))
        } else {
            let given = given.chars().take(MAX_NAME_LENGTH + 1).collect();
            Err(NameError { given })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(given: String) -> Result<Self, NameError> {
        given.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_safe_everywhere_are_accepted() {
        for good in ["alice", "a", "0", "node-12", "2fast", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "x".repeat(64);
        for bad in [
            "", "-a", "a-", "Alice", "a.b", "a_b", "a b", "../a", "a/b", "a\0", "ä", "а", "*",
            "a,b", &long,
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
        }
    }
}
