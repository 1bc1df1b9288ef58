//! What a release file holds.

use std::fmt::Write as _;

use serde::Serialize;
use togather_model::{Digest, Image, Release};

use super::table;

/// The `schema` field of what is said about a release.
pub const SCHEMA: &str = "togather.fleet/release-info/v1";

/// A release and the id that its bytes give it.
#[derive(Serialize)]
pub struct ReleaseInfo<'a> {
    schema: &'static str,
    id: Digest,
    schema_version: u64,
    release: &'a Release,
}

impl<'a> ReleaseInfo<'a> {
    /// What there is to say about this release, whose file has these bytes.
    #[must_use]
    pub fn of(release: &'a Release, bytes: &[u8]) -> Self {
        Self {
            schema: SCHEMA,
            id: Digest::of(bytes),
            schema_version: release.schema_version(),
            release,
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let release = self.release;
        let image = match &release.image {
            Image::Registry { .. } => release.image.reference(),
            Image::Archive { digest, bytes } => {
                format!("archive {digest} ({})", table::size(*bytes))
            }
        };
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<16}{value}");
        };
        line("release", &self.id.to_string());
        line("version", &release.version);
        line("commit", &release.git_commit);
        line("image", &image);
        line("built at", &release.built_at.to_string());
        line("schema", &self.schema_version.to_string());
        if let Some(oldest) = release.oldest_schema {
            line("oldest schema", &oldest.to_string());
        }
        for migration in &release.migrations {
            line("migration", &migration.file);
        }
        for other in &release.other_lines {
            let name = format!("{} migration", other.line);
            for migration in &other.migrations {
                line(&name, &migration.file);
            }
            if let Some(oldest) = other.oldest_schema {
                line(&format!("oldest {}", other.line), &oldest.to_string());
            }
        }
        if let Some(prepare) = &release.prepare {
            let timeout = table::span(prepare.timeout);
            let command = shell_words::join(&prepare.command);
            line("prepare", &format!("{command} (at most {timeout})"));
            for expected in &prepare.expect {
                line("", &format!("must print {expected}"));
            }
        }
        for hook in &release.hooks {
            let timeout = table::span(hook.timeout);
            line(
                "hook",
                &format!("{} (at most {timeout})", shell_words::join(&hook.command)),
            );
        }
        let attested = if release.attestation.is_some() {
            "yes"
        } else {
            "no"
        };
        line("attestation", attested);
        text
    }
}
