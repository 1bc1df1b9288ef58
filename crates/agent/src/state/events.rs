//! The journal: what happened, in the order it was written, each once.

use sqlx::{Row, SqliteConnection};
use togather_model::{Event, EventKind, Operation, SnapshotEvent, Timestamp, Ulid};

use super::{State, StateError, from_json, to_json};
use crate::{deploy::journal::new_id, jobs::SCHEDULE};

/// The most events one call returns.
const PAGE: i64 = 500;
/// What happened to snapshots is remembered over this many events, of whatever kind. That they were
/// overdue is remembered for good.
const REMEMBERED: i64 = 5000;

/// Something to be written down. Its number is given by the journal.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Unique.
    pub id: Ulid,
    /// The operation it belongs to.
    pub operation: Ulid,
    /// The node's name.
    pub node: String,
    /// Who ordered the operation.
    pub operator: String,
    /// The version the operation is about.
    pub version: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

impl Entry {
    /// Something about snapshots that nobody ordered.
    pub(crate) fn of_node(
        node: &str,
        operation: Ulid,
        at: Timestamp,
        event: SnapshotEvent,
    ) -> Self {
        Self {
            id: new_id(at),
            operation,
            node: node.to_owned(),
            operator: SCHEDULE.to_owned(),
            version: String::new(),
            at,
            kind: EventKind::Snapshot(event),
        }
    }
}

impl State {
    /// Appends an event to its operation's journal. Its number is given here.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn append_event(
        &self,
        operation: &Operation,
        node: &str,
        id: Ulid,
        at: Timestamp,
        kind: EventKind,
    ) -> Result<Event, StateError> {
        self.append(Entry {
            id,
            operation: operation.id,
            node: node.to_owned(),
            operator: operation.operator.clone(),
            version: operation.version.clone(),
            at,
            kind,
        })
        .await
    }

    /// Appends an event to the journal of what it belongs to.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn append(&self, entry: Entry) -> Result<Event, StateError> {
        let mut transaction = self.pool.begin().await?;
        let event = append(&mut transaction, entry).await?;
        transaction.commit().await?;
        self.tick();
        Ok(event)
    }

    /// Events of an operation after this number, in order; at most a page of them.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn events(&self, operation: Ulid, after: u64) -> Result<Vec<Event>, StateError> {
        let rows = sqlx::query(
            "SELECT json FROM event WHERE operation = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(operation.to_string())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| from_json("event", row.get(0)))
            .collect()
    }

    /// What happened to snapshots, newest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn snapshot_events(&self, limit: u32) -> Result<Vec<Event>, StateError> {
        let rows = sqlx::query(
            "SELECT json FROM event WHERE name GLOB 'snapshot.*' ORDER BY number DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| from_json("event", row.get(0)))
            .collect()
    }

    /// What operators said of the schema, newest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn schema_events(&self, limit: u32) -> Result<Vec<Event>, StateError> {
        let rows = sqlx::query(
            "SELECT json FROM event WHERE name GLOB 'schema.*' ORDER BY number DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| from_json("event", row.get(0)))
            .collect()
    }

    /// The event that says that snapshots are overdue, unless that is over.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn overdue(&self) -> Result<Option<Event>, StateError> {
        let row = sqlx::query(
            "SELECT json FROM event WHERE name GLOB 'snapshot.*' AND name GLOB 'snapshot.overdue*' \
             ORDER BY number DESC LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        let last: Option<Event> = row.map(|row| from_json("event", row.get(0))).transpose()?;
        let is_open = |event: &Event| {
            matches!(
                event.kind,
                EventKind::Snapshot(SnapshotEvent::Overdue { .. })
            )
        };
        Ok(last.filter(is_open))
    }

    pub(super) fn tick(&self) {
        self.ticks.send_modify(|count| *count += 1);
    }
}

/// Appends within a transaction of the caller's, who calls [`State::tick`] once it is on disk.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    entry: Entry,
) -> Result<Event, StateError> {
    let last: i64 =
        sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM event WHERE operation = ?")
            .bind(entry.operation.to_string())
            .fetch_one(&mut *connection)
            .await?;
    let event = Event {
        id: entry.id,
        operation_id: entry.operation,
        sequence: (last + 1).cast_unsigned(),
        node: entry.node,
        operator: entry.operator,
        version: entry.version,
        at: entry.at,
        kind: entry.kind,
    };
    let json = to_json("event", &event)?;
    sqlx::query(
        "INSERT INTO event (operation, sequence, name, json) VALUES (?1, ?2, ?3 ->> '$.event', ?3)",
    )
    .bind(event.operation_id.to_string())
    .bind(last + 1)
    .bind(json)
    .execute(connection)
    .await?;
    Ok(event)
}

/// Forgets what happened to snapshots long ago.
pub(super) async fn forget(connection: &mut SqliteConnection) -> Result<(), StateError> {
    sqlx::query(
        "DELETE FROM event WHERE name GLOB 'snapshot.*' AND name NOT GLOB 'snapshot.overdue*' \
         AND number <= (SELECT max(number) FROM event) - ?",
    )
    .bind(REMEMBERED)
    .execute(connection)
    .await?;
    Ok(())
}
