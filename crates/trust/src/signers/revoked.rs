//! Keys that were withdrawn: a plain list of public keys, as `ssh-keygen -Y verify -r` takes it.

use std::path::Path;

use ssh_key::{PublicKey, public::KeyData};

use super::{LineError, SignersError, lines, parse_key};

/// Withdrawn keys; they sign nothing any more, whatever the signers file says.
#[derive(Debug, Clone, Default)]
pub struct RevokedKeys(Vec<KeyData>);

impl RevokedKeys {
    /// Reads a file with one `ssh-ed25519 AAAA… comment` a line; it may be empty, but must exist.
    ///
    /// # Errors
    /// If it cannot be read, or a line is not understood.
    pub fn load(path: &Path) -> Result<Self, SignersError> {
        let text = std::fs::read_to_string(path).map_err(|source| SignersError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|source| SignersError::Line {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let key = |(line, words): (usize, &str)| {
            let mut words = words.split_ascii_whitespace();
            let (kind, base64) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            match parse_key(kind, base64) {
                Ok(key) => Ok(key.key_data().clone()),
                Err(problem) => Err(LineError { line, problem }),
            }
        };
        lines(text).map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this key was withdrawn.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.0.contains(key.key_data())
    }
}
