//! Jobs: work on a node's snapshots that takes long.

use serde::{Deserialize, Serialize};

/// What kinds of jobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Takes a snapshot.
    Create,
    /// Proves one by restoring it beside the live database.
    Verify,
    /// Puts one in the live database's place.
    Restore,
    /// Puts the replaced database back.
    UndoRestore,
    /// Forgets what nothing asks to keep.
    Prune,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Create,
        Self::Verify,
        Self::Restore,
        Self::UndoRestore,
        Self::Prune,
    ];

    /// The kind in a word, or two.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::UndoRestore => "undo restore",
            Self::Prune => "prune",
        }
    }

    /// In words, as after "the last".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Create => "snapshot",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::UndoRestore => "undo of a restore",
            Self::Prune => "prune",
        }
    }

    /// Whether it exchanges the live database, so that no deployment may begin beside it.
    #[must_use]
    pub const fn swaps(self) -> bool {
        matches!(self, Self::Restore | Self::UndoRestore)
    }
}
