//! What is known of a snapshot, and the names of its parts in the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use togather_model::{Digest, Line, Timestamp, Ulid};

use crate::database::Properties;

/// The `format` field of a manifest.
pub const FORMAT: &str = "togather.fleet/snapshot/v1";

/// A snapshot to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its id, chosen by the caller.
    pub id: Ulid,
    /// When it is taken, UTC.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The full git commit of the version that is live; empty: none is.
    pub git_commit: String,
}

/// Why a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its time had come.
    Scheduled,
    /// Migrations are about to run.
    PreMigration,
    /// Somebody asked.
    Manual,
}

/// What is known of a snapshot; stored beside the dump as `.manifest.json`.
///
/// The counts and the fingerprint were taken inside the very view of the data that was dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// The snapshot's id.
    pub id: Ulid,
    /// Whose it is; `None`: it does not say.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// The database's name.
    pub database: String,
    /// The dump's name in the store.
    pub dump: String,
    /// When it was taken, UTC.
    pub taken_at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The full git commit of the version that was live.
    pub git_commit: String,
    /// The size of the database it was taken of, in bytes; 0: not known.
    #[serde(default)]
    pub database_bytes: u64,
    /// The schema it holds.
    pub schema: Option<u64>,
    /// The newest migration of every other line that it holds; empty, too, if it was taken before
    /// this was noted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_lines: BTreeMap<Line, u64>,
    /// The dump's size in bytes.
    pub bytes: u64,
    /// The dump's SHA-256.
    pub sha256: Digest,
    /// The server's version, for example `17.5 (Debian 17.5-1)`.
    pub server_version: String,
    /// The extensions and their versions.
    pub extensions: BTreeMap<String, String>,
    /// How many rows each table had, by `schema.table`.
    pub rows: BTreeMap<String, u64>,
    /// One digest of the shape of every object in the catalogue.
    pub fingerprint: Digest,
    /// The server's roles, without their passwords; a dump holds none.
    pub globals: Globals,
    /// What belongs to the database itself, which is not in a dump either; `None`: it was taken
    /// before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Properties>,
    /// When it was last restored and found whole. Not in the stored manifest, which never changes:
    /// it comes from the mark `.verified.json` beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// It waits in the node's spool for the store. Not in the stored manifest either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spooled: bool,
}

/// Whose a snapshot is: two nodes that share a place by mistake must not take each other's for
/// their own. By name, because a machine that replaces a lost one takes its name over, not its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The fleet's id.
    pub fleet: Ulid,
    /// The node's name in it.
    pub node: String,
}

/// The server's roles as SQL, beside the dump.
///
/// Passwords are left out: whoever may read snapshots must not be able to log in with what is found
/// there. After a restore onto another server they are set from the node's environment again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// Its name in the store.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// That a dump was restored and found whole; the newest of them replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verified {
    /// The snapshot's id.
    pub(super) id: Ulid,
    /// The dump that was found whole.
    pub(super) sha256: Digest,
    /// When.
    pub(super) verified_at: Timestamp,
}

pub(super) const DUMP: &str = ".dump";
pub(super) const GLOBALS: &str = ".globals.sql";
pub(super) const MANIFEST: &str = ".manifest.json";
pub(super) const VERIFIED: &str = ".verified.json";

/// The names of a snapshot's parts: `{database}_{YYYYMMDD_HHMMSS}_{commit}_{tail}` and an ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    stem: String,
}

impl Names {
    /// The names for a new snapshot. The tail of its id tells apart what one second brings forth.
    pub(super) fn new(database: &str, wanted: &Wanted) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let plain = |text: &str| -> String {
            let chars = text.chars();
            chars.map(|c| if is_plain(c) { c } else { '-' }).collect()
        };
        let commit: String = match plain(&wanted.git_commit) {
            none if none.is_empty() => "none".into(),
            commit => commit.chars().take(12).collect(),
        };
        Self {
            stem: format!(
                "{}_{}_{commit}{}",
                plain(database),
                wanted.at.strftime("%Y%m%d_%H%M%S"),
                Self::tail(wanted.id)
            ),
        }
    }

    /// With what the names of this snapshot's parts end, before the ending.
    pub(super) fn tail(id: Ulid) -> String {
        let id = id.to_string().to_lowercase();
        format!("_{}", &id[id.len() - 8..])
    }

    /// Whether these are the names of the snapshot with this id.
    pub(super) fn are_of(&self, id: Ulid) -> bool {
        self.stem.ends_with(&Self::tail(id))
    }

    /// The names of a snapshot one of whose parts has this name. What somebody else put beside the
    /// snapshots, a dump of their own perhaps, is none.
    pub(super) fn of_part(name: &str) -> Option<Self> {
        [DUMP, GLOBALS, MANIFEST, VERIFIED]
            .into_iter()
            .find_map(|ending| name.strip_suffix(ending))
            .filter(|stem| is_stem(stem))
            .map(|stem| Self { stem: stem.into() })
    }

    /// All of them, the manifest's first.
    pub(super) fn all(&self) -> [String; 4] {
        [
            self.manifest(),
            self.dump(),
            self.globals(),
            self.verified(),
        ]
    }

    pub(super) fn dump(&self) -> String {
        format!("{}{DUMP}", self.stem)
    }

    pub(super) fn globals(&self) -> String {
        format!("{}{GLOBALS}", self.stem)
    }

    pub(super) fn manifest(&self) -> String {
        format!("{}{MANIFEST}", self.stem)
    }

    pub(super) fn verified(&self) -> String {
        format!("{}{VERIFIED}", self.stem)
    }
}

/// Whether it is made as [`Names::new`] makes it. A database's name and a commit may have underscores.
fn is_stem(text: &str) -> bool {
    let digits = |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let Some((rest, tail)) = text.rsplit_once('_') else {
        return false;
    };
    let words: Vec<&str> = rest.split('_').collect();
    // What is before the date names the database, and what is after the time the commit.
    let is_dated = words[1..]
        .windows(3)
        .any(|found| digits(found[0], 8) && digits(found[1], 6));
    is_dated
        && tail.len() == 8
        && tail
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_put_there_is_no_part_of_a_snapshot() {
        for (name, is_part) in [
            ("togather_20260329_010203_0123456789ab_q69g5fav.dump", true),
            ("my_db_20260329_010203_no_ne_q69g5fav.verified.json", true),
            ("before-upgrade.dump", false),
            ("togather_20260329.dump", false),
            ("togather_20260329_010203.dump", false),
            ("togather_20260329_010203_by_hand.dump", false),
            ("20260329_010203_0123456789ab_q69g5fav.dump", false),
            (".dump", false),
        ] {
            assert_eq!(Names::of_part(name).is_some(), is_part, "{name}");
        }
    }

    #[test]
    fn names_sort_by_time_and_are_safe_in_any_store() {
        let wanted = Wanted {
            id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            at: "2026-03-29T01:02:03Z".parse().unwrap(),
            reason: Reason::Manual,
            git_commit: "0123456789abcdef0123456789abcdef01234567".into(),
        };
        let names = Names::new("to/gather", &wanted);
        assert_eq!(
            names.dump(),
            "to-gather_20260329_010203_0123456789ab_q69g5fav.dump"
        );
        assert!(names.are_of(wanted.id) && !names.are_of(Ulid::nil()));
        assert_eq!(Names::of_part(&names.manifest()), Some(names));
        assert_eq!(Names::of_part("readme.txt"), None);
    }
}
