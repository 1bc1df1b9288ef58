//! What is in the nodes' snapshot stores, and what the next prune would do there.

use serde::Serialize;
use togather_model::Timestamp;

use super::table;
use crate::client::{self, Shelf, Snapshot};

/// The `schema` field of a list of snapshots.
pub const LIST_SCHEMA: &str = "togather.fleet/snapshot-list/v1";

/// The `schema` field of what a prune would do.
pub const PRUNE_SCHEMA: &str = "togather.fleet/snapshot-prune-plan/v1";

/// What is said of a snapshot that nothing asks to keep.
const GOES: &str = "goes at the next prune";

/// The nodes' stores.
#[derive(Debug, Serialize)]
pub struct Shelves {
    schema: &'static str,
    at: Timestamp,
    /// The store that was asked for; `None`: each node's own.
    store: Option<String>,
    nodes: Vec<NodeShelf>,
}

/// One node's store.
#[derive(Debug, Serialize)]
pub struct NodeShelf {
    name: String,
    /// Newest first.
    snapshots: Vec<Row>,
    replaced_databases: Vec<Replaced>,
    orphans: Vec<String>,
    notes: Vec<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Replaced {
    name: String,
    keep: bool,
    /// Why it is kept, a phrase each.
    reasons: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    snapshot: Snapshot,
    keep: bool,
    /// Why it is kept, a phrase each.
    reasons: Vec<String>,
}

impl NodeShelf {
    /// What a node answered, or why it did not.
    #[must_use]
    pub fn of(name: &str, answer: Result<Shelf, String>) -> Self {
        let shelf = match answer {
            Ok(shelf) => shelf,
            Err(error) => {
                return Self {
                    name: name.to_owned(),
                    snapshots: vec![],
                    replaced_databases: vec![],
                    orphans: vec![],
                    notes: vec![],
                    error: Some(error),
                };
            }
        };
        let replaced = |database: client::Replaced| Replaced {
            name: database.name,
            keep: !database.kept.is_empty(),
            reasons: database.kept,
        };
        let row = |mut snapshot: Snapshot| {
            let reasons = std::mem::take(&mut snapshot.kept);
            Row {
                snapshot,
                keep: !reasons.is_empty(),
                reasons,
            }
        };
        Self {
            name: name.to_owned(),
            snapshots: shelf.snapshots.into_iter().map(row).collect(),
            replaced_databases: shelf.replaced.into_iter().map(replaced).collect(),
            orphans: shelf.orphans,
            notes: shelf.notes,
            error: shelf.failure.map(|failure| failure.to_string()),
        }
    }

    /// Whether a prune would find anything to do.
    #[must_use]
    pub fn has_something_to_forget(&self) -> bool {
        !self.orphans.is_empty()
            || self.snapshots.iter().any(|row| !row.keep)
            || self.replaced_databases.iter().any(|one| !one.keep)
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        let name = &self.name;
        let spooled = self.snapshots.iter().filter(|row| row.snapshot.spooled);
        let spooled = spooled.map(move |row| {
            let id = &row.snapshot.id;
            format!(
                "{name}: {id} waits on the node's own disk until the store can be reached again"
            )
        });
        let replaced = self.replaced_databases.iter().map(move |database| {
            let why = match database.keep {
                true => database.reasons.join("; "),
                false => "dropped at the next prune".to_owned(),
            };
            format!("{name}: {}, which a restore replaced: {why}", database.name)
        });
        let orphans = self.orphans.iter();
        let orphans = orphans.map(move |orphan| format!("{name}: {orphan}; {GOES}"));
        let notes = self.notes.iter().map(move |note| format!("{name}: {note}"));
        spooled.chain(replaced).chain(orphans).chain(notes)
    }
}

impl Shelves {
    /// The nodes' stores, to be looked at.
    #[must_use]
    pub const fn list(store: Option<String>, nodes: Vec<NodeShelf>, at: Timestamp) -> Self {
        Self {
            schema: LIST_SCHEMA,
            at,
            store,
            nodes,
        }
    }

    /// The nodes' stores, about to be pruned.
    #[must_use]
    pub const fn prune_plan(nodes: Vec<NodeShelf>, at: Timestamp) -> Self {
        Self {
            schema: PRUNE_SCHEMA,
            at,
            store: None,
            nodes,
        }
    }

    /// Every snapshot with all that is known of it, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = table::table([
            "NODE", "ID", "TAKEN", "SIZE", "SCHEMA", "COMMIT", "REASON", "VERIFIED", "KEPT",
        ]);
        for (node, row) in self.rows() {
            let snapshot = &row.snapshot;
            let verified = snapshot.verified_at;
            table.add_row([
                node.to_owned(),
                snapshot.id.clone(),
                minute(snapshot.taken_at),
                table::size(snapshot.bytes),
                snapshot
                    .schema
                    .map_or_else(dash, |schema| schema.to_string()),
                Some(table::commit(&snapshot.git_commit))
                    .filter(|commit| !commit.is_empty())
                    .map_or_else(dash, str::to_owned),
                snapshot.reason.clone(),
                verified.map_or_else(|| "never".to_owned(), |when| table::ago(when, self.at)),
                row.why(),
            ]);
        }
        self.with_notes(table::text(table))
    }

    /// What goes, what stays and why, for people.
    #[must_use]
    pub fn prune_text(&self) -> String {
        let mut table = table::table(["NODE", "ID", "TAKEN", "SIZE", "", "WHY"]);
        for (node, row) in self.rows() {
            let decision = if row.keep { "keep" } else { "forget" };
            let reasons = if row.keep {
                row.reasons.join("; ")
            } else {
                "nothing asks to keep it".to_owned()
            };
            table.add_row([
                node.to_owned(),
                row.snapshot.id.clone(),
                minute(row.snapshot.taken_at),
                table::size(row.snapshot.bytes),
                decision.to_owned(),
                reasons,
            ]);
        }
        self.with_notes(table::text(table))
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.nodes
            .iter()
            .flat_map(|node| node.snapshots.iter().map(|row| (node.name.as_str(), row)))
    }

    fn with_notes(&self, mut text: String) -> String {
        let notes: Vec<String> = self.nodes.iter().flat_map(NodeShelf::notes).collect();
        if !notes.is_empty() {
            text.push('\n');
        }
        for note in notes {
            text.push_str(&note);
            text.push('\n');
        }
        text
    }
}

impl Row {
    fn why(&self) -> String {
        if self.keep {
            self.reasons.join("; ")
        } else {
            GOES.to_owned()
        }
    }
}

/// A snapshot in a line, for whoever is asked about it.
#[must_use]
pub fn one(snapshot: &Snapshot, now: Timestamp) -> String {
    let schema = snapshot.schema.map_or_else(
        || "no schema".to_owned(),
        |schema| format!("schema {schema}"),
    );
    let verified = snapshot.verified_at.map_or_else(
        || "never verified".to_owned(),
        |when| format!("verified {}", table::ago(when, now)),
    );
    format!(
        "{} of the database {}: taken {} ({}), {}, {schema}, commit {}, {verified}",
        snapshot.id,
        snapshot.database,
        minute(snapshot.taken_at),
        table::ago(snapshot.taken_at, now),
        table::size(snapshot.bytes),
        Some(table::commit(&snapshot.git_commit))
            .filter(|commit| !commit.is_empty())
            .unwrap_or("unknown"),
    )
}

fn minute(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%MZ").to_string()
}

fn dash() -> String {
    "-".to_owned()
}
