//! What an older agent wrote is there for a newer one, and what is counted is counted once.

use sqlx::migrate::{Migration, Migrator};
use togather_model::{EventKind, FailureKind, Operation, OperationKind, OperationState, Ulid};

use super::*;
use crate::jobs::{Job, JobKind};

fn operation() -> Operation {
    Operation {
        id: Ulid::from_parts(1, 1),
        kind: OperationKind::Deploy,
        operator: "alice".into(),
        rollout: None,
        release: Digest::of(b"release"),
        version: "1.0.0".into(),
        state: OperationState::Undone,
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: Some(Timestamp::UNIX_EPOCH),
        failure: None,
    }
}

fn job(number: u64, failed: bool) -> Job {
    Job {
        id: Ulid::from_parts(number, 2),
        kind: JobKind::Verify,
        operator: "schedule".into(),
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: Some(Timestamp::UNIX_EPOCH),
        message: String::new(),
        bytes_done: 0,
        bytes_total: None,
        failure: failed.then(|| togather_model::Failure::new(FailureKind::Other, "broken")),
        snapshot: None,
        forgotten: vec![],
    }
}

/// A state file as the agent before this one left it: a deployment with its journal, and two jobs.
async fn write_as_before(path: &Path) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let of_then: Vec<Migration> = sqlx::migrate!("./migrations")
        .iter()
        .take(2)
        .cloned()
        .collect();
    Migrator::with_migrations(of_then).run(&pool).await.unwrap();
    let operation = operation();
    sqlx::query("INSERT INTO release (id, bytes) VALUES (?, x'00')")
        .bind(operation.release.to_string())
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO operation (id, release, state, json, plan) VALUES (?, ?, 'undone', ?, '')",
    )
    .bind(operation.id.to_string())
    .bind(operation.release.to_string())
    .bind(serde_json::to_string(&operation).unwrap())
    .execute(&pool)
    .await
    .unwrap();
    for sequence in 1..=3 {
        let event = togather_model::Event {
            id: Ulid::nil(),
            operation_id: operation.id,
            sequence,
            node: "node-1".into(),
            operator: "alice".into(),
            version: "1.0.0".into(),
            at: Timestamp::UNIX_EPOCH,
            kind: warning(sequence),
        };
        sqlx::query("INSERT INTO event (operation, sequence, json) VALUES (?, ?, ?)")
            .bind(operation.id.to_string())
            .bind(sequence.cast_signed())
            .bind(serde_json::to_string(&event).unwrap())
            .execute(&pool)
            .await
            .unwrap();
    }
    for job in [job(1, false), job(2, true)] {
        sqlx::query("INSERT INTO job (id, kind, state, json, work) VALUES (?, ?, 'ended', ?, '')")
            .bind(job.id.to_string())
            .bind(job.kind.as_str())
            .bind(serde_json::to_string(&job).unwrap())
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
}

fn warning(number: u64) -> EventKind {
    EventKind::Warning {
        message: format!("number {number}"),
    }
}

#[tokio::test]
async fn what_an_older_agent_wrote_is_kept_counted_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    write_as_before(&path).await;
    let state = State::open(&path, Timestamp::UNIX_EPOCH).await.unwrap();

    let operation = operation();
    let written = state
        .append_event(
            &operation,
            "node-1",
            Ulid::nil(),
            Timestamp::UNIX_EPOCH,
            warning(4),
        )
        .await
        .unwrap();
    assert_eq!(written.sequence, 4);
    let events = state.events(operation.id, 0).await.unwrap();
    let kinds: Vec<EventKind> = events.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [1, 2, 3, 4].map(warning));
    assert_eq!(state.snapshot_events(10).await.unwrap(), []);
    assert_eq!(state.stuck_job().await.unwrap(), None);

    let tallies = state.tallies().await.unwrap();
    let counted = |what: &str, ending: &str| {
        let mut tallies = tallies.iter();
        tallies
            .find(|t| (&*t.what, &*t.ending) == (what, ending))
            .map(|t| t.times)
    };
    assert_eq!(counted("deploy", "undone"), Some(1));
    assert_eq!(counted("verify", "done"), Some(1));
    assert_eq!(counted("verify", "failed"), Some(1));

    // Its ending is written a second time when an agent is interrupted between two writes.
    let (undone, now) = (OperationState::Undone, Timestamp::UNIX_EPOCH);
    let again = state.end_operation(&operation, undone, None, now);
    again.await.unwrap();
    assert_eq!(state.tallies().await.unwrap(), tallies);
}
