//! The signers file: whose keys are known, for what, from when until when.
//!
//! A strict subset of OpenSSH's `allowed_signers`, so that `ssh-keygen -Y verify` reads the same
//! file and comes to the same answer:
//!
//! ```text
//! alice namespaces="command@fleet.togather" ssh-ed25519 AAAA… alice@laptop
//! bob valid-after="20260101Z",valid-before="20270101Z" ssh-ed25519 AAAA…
//! ```
//!
//! Stricter than OpenSSH: one operator a line and one line a key (so that a signature names one
//! operator, and one only), no patterns, no certificate authorities, times in UTC (`Z`), Ed25519.

mod entry;
mod revoked;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, SshSig};

pub use self::{entry::Entry, revoked::RevokedKeys};
use crate::{
    name::OperatorName,
    refusal::{Refusal, quotable},
};

/// The longest armoured signature that is looked at, in bytes; an Ed25519 one has about 300.
pub const MAX_SIGNATURE: usize = 4096;

/// Who signed, and with which of the fleet's keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The operator's name, as the signers file has it.
    pub operator: OperatorName,
    /// The key, as `ssh-keygen -l` shows it (`SHA256:…`).
    pub key_fingerprint: String,
}

/// What is wrong with one line of a signers file or a list of revoked keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub problem: String,
}

/// Why a signers file or a list of revoked keys was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    /// The system refused to read it.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not understood; nothing of the file is used.
    #[error("{} is not valid", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: LineError,
    },
}

/// The known keys, and those withdrawn.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    entries: Vec<Entry>,
    revoked: RevokedKeys,
}

impl Signers {
    /// Reads a signers file, and the list of revoked keys if there is one.
    ///
    /// A missing or empty signers file admits nobody. A list of revoked keys that is asked for and
    /// missing is an error: without it, a revoked key would be let in again.
    ///
    /// # Errors
    /// If a file cannot be read, or a line is not understood.
    pub fn load(signers: &Path, revoked: Option<&Path>) -> Result<Self, SignersError> {
        let text = match std::fs::read_to_string(signers) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => {
                return Err(SignersError::Read {
                    path: signers.to_owned(),
                    source,
                });
            }
        };
        let known = Self::parse(&text).map_err(|source| SignersError::Line {
            path: signers.to_owned(),
            source,
        })?;
        Ok(match revoked {
            Some(path) => known.without(RevokedKeys::load(path)?),
            None => known,
        })
    }

    /// Reads the text of a signers file. Lines that are empty or start with `#` are skipped.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        for (line, words) in lines(text) {
            let problem = |problem| LineError { line, problem };
            let entry: Entry = words.parse().map_err(problem)?;
            let same_key =
                |(_, earlier): &&(usize, Entry)| earlier.key.key_data() == entry.key.key_data();
            if let Some((first, _)) = entries.iter().find(same_key) {
                return Err(problem(format!(
                    "this key is on line {first} already; expected each key once, for one operator"
                )));
            }
            entries.push((line, entry));
        }
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        Ok(Self {
            entries,
            revoked: RevokedKeys::default(),
        })
    }

    /// The same signers, with these keys withdrawn.
    #[must_use]
    pub fn without(self, revoked: RevokedKeys) -> Self {
        Self { revoked, ..self }
    }

    /// The lines of the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Who signed these bytes, for this namespace.
    ///
    /// Checked in this order: the signature can be read, its key is known, not revoked and valid
    /// at `now`, namespace and algorithm are the ones wanted, and the signature fits the bytes.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(
        &self,
        namespace: &str,
        payload: &[u8],
        armoured_signature: &str,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        let signature = read_signature(armoured_signature)?;
        let key = PublicKey::from(signature.public_key().clone());
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let Some(entry) = self
            .entries
            .iter()
            .find(|entry| entry.key.key_data() == key.key_data())
        else {
            return Err(Refusal::UnknownKey { fingerprint });
        };
        let operator = entry.operator.clone();
        if self.revoked.contains(&key) {
            return Err(Refusal::RevokedKey {
                operator,
                fingerprint,
            });
        }
        if let Some(from) = entry.valid_after.filter(|from| now < *from) {
            return Err(Refusal::KeyNotYetValid {
                operator,
                from,
                now,
            });
        }
        if let Some(until) = entry.valid_before.filter(|until| now > *until) {
            return Err(Refusal::KeyExpired {
                operator,
                until,
                now,
            });
        }
        if signature.namespace() != namespace {
            let (found, wanted) = (quotable(signature.namespace()), namespace.to_owned());
            return Err(Refusal::WrongNamespace { found, wanted });
        }
        if !entry.allows(namespace) {
            return Err(Refusal::NamespaceNotAllowed {
                operator,
                wanted: namespace.to_owned(),
            });
        }
        if (signature.algorithm(), signature.hash_alg()) != (Algorithm::Ed25519, HashAlg::Sha512) {
            let found = format!("{} with {}", signature.algorithm(), signature.hash_alg());
            return Err(Refusal::WrongAlgorithm {
                found: quotable(&found),
            });
        }
        match key.verify(namespace, payload, &signature) {
            Ok(()) => Ok(Principal {
                operator,
                key_fingerprint: fingerprint,
            }),
            Err(_) => Err(Refusal::BadSignature),
        }
    }
}

/// The text of a signers file that says the same.
impl fmt::Display for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries
            .iter()
            .try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

/// Reads an armoured signature in its one canonical form, so that a command that was accepted has
/// no second spelling.
fn read_signature(armoured: &str) -> Result<SshSig, Refusal> {
    const WHAT: &str = "signature";
    if armoured.len() > MAX_SIGNATURE {
        return Err(Refusal::TooLarge {
            what: WHAT,
            size: armoured.len(),
            limit: MAX_SIGNATURE,
        });
    }
    let signature = SshSig::from_pem(armoured).map_err(|error| Refusal::malformed(WHAT, error))?;
    // The library takes version 0 for 1; OpenSSH does not.
    if signature.version() != SshSig::VERSION {
        return Err(Refusal::malformed(WHAT, "it is not SSHSIG version 1"));
    }
    let canonical = signature
        .to_pem(LineEnding::LF)
        .map_err(|error| Refusal::malformed(WHAT, error))?;
    if armoured.strip_suffix('\n').unwrap_or(armoured) != canonical.trim_end_matches('\n') {
        return Err(Refusal::malformed(
            WHAT,
            "it is not written as ssh-keygen writes it",
        ));
    }
    Ok(signature)
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// One `ssh-ed25519 AAAA…`, or what is wrong with it.
fn parse_key(kind: &str, base64: &str) -> Result<PublicKey, String> {
    if kind != "ssh-ed25519" {
        return Err(format!(
            "expected a key of type ssh-ed25519, found {:?}",
            quotable(kind)
        ));
    }
    PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|error| {
        format!(
            "the key after ssh-ed25519 cannot be read ({error}); expected one line of a .pub file"
        )
    })
}
