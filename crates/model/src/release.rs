//! A release: one image, by digest, with the migrations and hooks that belong to it.
//!
//! A release travels as one file whose bytes name it: its id is their SHA-256. Nodes keep the bytes
//! as they came, so the id can be checked anywhere, at any time.

mod lines;
mod prepare;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    lines::{Migrations, OtherLine},
    prepare::{Expected, Prepare},
};
use crate::{digest::Digest, image_reference::ImageReference};

/// The `schema` field of a release file.
pub const SCHEMA: &str = "togather.fleet/release/v1";

/// The largest release file in bytes. Migrations are text; the real server's 49 take about 100 kB.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The version people say, for example `1.4.0`. See [`is_version`] for what is allowed.
    pub version: String,
    /// The full git commit the image was built from (40 hexadecimal digits).
    pub git_commit: String,
    /// The image, by digest.
    pub image: Image,
    /// All migrations the version knows, ascending; those the database has are not run again.
    pub migrations: Vec<Migration>,
    /// Code built for this schema version or a later one also runs on this release's schema. It
    /// decides whether the old version may overlap with and be rolled back to after this release.
    /// `None`: the release makes no such statement, and any older version is assumed to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_schema: Option<u64>,
    /// Migrations that are not the app's own. Those that run before the app's come in this order, and
    /// so do those that run after them.
    #[serde(rename = "lines", default, skip_serializing_if = "Vec::is_empty")]
    pub other_lines: Vec<OtherLine>,
    /// What must be done once after the migrations, before the new container starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<Prepare>,
    /// Commands run inside the new container before it gets traffic.
    pub hooks: Vec<Hook>,
    /// When the image was built.
    pub built_at: Timestamp,
    /// Who says that this commit and digest passed the tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
}

/// Where the image comes from; either way its content is named by a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Image {
    /// Pulled from a registry by digest.
    Registry {
        /// Registry and repository, without tag or digest: `registry.example.org/togather/server`.
        repository: String,
        /// The manifest's digest.
        digest: Digest,
    },
    /// Streamed to the node by the controller, for hosts without a registry.
    Archive {
        /// The SHA-256 of the archive that `docker save` wrote.
        digest: Digest,
        /// The archive's size in bytes.
        bytes: u64,
    },
}

impl Image {
    /// What this image is called in Docker on the node: the pinned reference, or the local name
    /// that the agent gives to a loaded archive.
    #[must_use]
    pub fn reference(&self) -> String {
        match self {
            Self::Registry { repository, digest } => format!("{repository}@{digest}"),
            Self::Archive { digest, .. } => format!("togather.local/release:{}", digest.hex()),
        }
    }

    /// The digest that pins the content.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        match self {
            Self::Registry { digest, .. } | Self::Archive { digest, .. } => *digest,
        }
    }
}

/// One migration in golang-migrate's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The number the file name begins with.
    pub version: u64,
    /// The file's name, for example `000003_add_geography.up.sql`; errors point into it.
    pub file: String,
    /// The file's text.
    pub sql: String,
}

/// A command run inside the new container before it gets traffic, for example `/app/server scrape sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// How long it may take.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: std::time::Duration,
}

/// A statement by the CI's key that this commit and digest passed the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Armoured SSHSIG over [`Release::attested_bytes`], in the attestation namespace.
    pub signature: String,
}

/// Why a release file is not a release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The file is larger than [`MAX_BYTES`].
    #[error("the release file has {0} bytes; at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// Not JSON, or not of this shape; a tag in place of a digest ends here too.
    #[error("the release file is not valid")]
    Malformed(#[source] serde_json::Error),
    /// Well-formed, but a field breaks a rule.
    #[error("the release's {field} is not valid: {rule}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// The rule it breaks.
        rule: String,
    },
}

impl Release {
    /// Reads and checks a release file.
    ///
    /// # Errors
    /// The bytes are too many, not of the right shape, or break a rule.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReleaseError> {
        if bytes.len() > MAX_BYTES {
            return Err(ReleaseError::TooLarge(bytes.len()));
        }
        let release: Self = serde_json::from_slice(bytes).map_err(ReleaseError::Malformed)?;
        release.check()?;
        Ok(release)
    }

    /// The release file's bytes. The same release gives the same bytes, so the id is stable.
    ///
    /// # Errors
    /// A field breaks a rule.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReleaseError> {
        self.check()?;
        let mut bytes = serde_json::to_vec_pretty(self).map_err(ReleaseError::Malformed)?;
        bytes.push(b'\n');
        if bytes.len() > MAX_BYTES {
            return Err(ReleaseError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// The schema the database has after this release: its newest migration, 0 if it has none.
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.app_line().schema_version()
    }

    /// What an attestation signs: commit and digest, a line each.
    #[must_use]
    pub fn attested_bytes(&self) -> Vec<u8> {
        format!("{}\n{}\n", self.git_commit, self.image.digest()).into_bytes()
    }

    fn check(&self) -> Result<(), ReleaseError> {
        let invalid = |field, rule: &str| {
            Err(ReleaseError::Invalid {
                field,
                rule: rule.to_owned(),
            })
        };
        if self.schema != SCHEMA {
            return invalid("schema", &format!("expected `{SCHEMA}`"));
        }
        if !is_version(&self.version) {
            return invalid("version", VERSION_RULE);
        }
        if self.git_commit.len() != 40 || !self.git_commit.bytes().all(is_lower_hex) {
            return invalid("git_commit", "expected 40 lower-case hexadecimal digits");
        }
        if let Image::Registry { repository, .. } = &self.image {
            check_repository(repository)?;
        }
        if let Some((field, rule)) = self.wrong_lines() {
            return invalid(field, &rule);
        }
        if let Some(rule) = self.prepare.as_ref().and_then(Prepare::wrong) {
            return invalid("prepare", rule);
        }
        if self.hooks.iter().any(|hook| hook.command.is_empty()) {
            return invalid("hooks", "a hook needs a command");
        }
        Ok(())
    }
}

/// What [`is_version`] accepts, in words.
pub const VERSION_RULE: &str =
    "expected 1 to 64 letters, digits and `.`, `-`, `_`, `+`, beginning with a letter or digit";

/// Whether this text may be a version. It reaches file names, labels and tables, so it is strict.
#[must_use]
pub fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn check_repository(text: &str) -> Result<(), ReleaseError> {
    let rule = match text.parse::<ImageReference>() {
        Ok(named) if named.repository == text => return Ok(()),
        Ok(_) => "the repository must have no tag and no digest".to_owned(),
        Err(why) => why.to_string(),
    };
    Err(ReleaseError::Invalid {
        field: "image",
        rule,
    })
}
