use togather_model::{Digest, Failure, JobKind, Live, Slot, Ulid};

use super::*;
use crate::client::{Check, Fetching};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn node(number: u64) -> Node {
    Node {
        name: format!("node-{number}").parse().unwrap(),
        id: Ulid::from_parts(number, 1),
        address: format!("127.0.10.{number}:7443"),
        labels: Default::default(),
    }
}

fn healthy() -> NodeStatus {
    NodeStatus {
        agent_version: "0.1.0".into(),
        environment: Some("production".into()),
        at: at(0),
        live: Some(Live {
            slot: Slot::Blue,
            release: Digest::of(b"release"),
            version: "1.2.0".into(),
            git_commit: "0123456789abcdef0123456789abcdef01234567".into(),
            schema: 4,
            other_lines: [].into(),
            made_of: None,
        }),
        health: Some(Health {
            status: "healthy".into(),
            version: "1.2.0".into(),
            git_commit: "0123456789abcdef0123456789abcdef01234567".into(),
            slot: "blue".into(),
            checks: Vec::new(),
            message: String::new(),
        }),
        schema: Some(Schema::At {
            version: 4,
            dirty: false,
        }),
        other_lines: [].into(),
        last_snapshot: Some(Snapshot {
            verified_at: None,
            taken_at: at(-60),
            ..snapshot()
        }),
        lease: None,
        running: None,
        last: None,
        drift: Vec::new(),
        last_verified: Some(snapshot()),
        jobs: Vec::new(),
        snapshot_overdue: None,
        replaced_databases: Vec::new(),
        stuck_job: None,
        snapshot_store: Some(SnapshotStore {
            address: "s3://bucket/node".into(),
            conditional_writes: "yes".into(),
            reason: String::new(),
        }),
        fetches: Vec::new(),
    }
}

/// Taken three hours ago, and verified.
fn snapshot() -> Snapshot {
    Snapshot {
        id: Ulid::nil().to_string(),
        name: "togather_20270115_080000_0123456.dump".into(),
        taken_at: at(-3 * 3600),
        bytes: 12_000_000,
        schema: Some(4),
        reason: "scheduled".into(),
        verified_at: Some(at(-3 * 3600 + 9)),
        database: "togather".into(),
        git_commit: "0123456789abcdef0123456789abcdef01234567".into(),
        spooled: false,
        server_version: "17.6".into(),
        kept: Vec::new(),
    }
}

/// A proof that failed.
fn failed_verify() -> Job {
    Job {
        id: Ulid::nil().to_string(),
        kind: JobKind::Verify,
        operator: "schedule".into(),
        started_at: at(-90),
        ended_at: Some(at(-80)),
        message: String::new(),
        bytes_done: 0,
        bytes_total: 0,
        failure: Some(
            Failure::new(FailureKind::Other, "a byte is not what it was")
                .next("take another snapshot"),
        ),
        snapshot: Some(snapshot()),
        forgotten: Vec::new(),
    }
}

fn fleet() -> FleetStatus {
    let unhealthy = NodeStatus {
        health: Some(Health {
            status: "unhealthy".into(),
            checks: vec![Check {
                name: "database".into(),
                status: "fail".into(),
                message: "connection refused".into(),
            }],
            ..healthy().health.unwrap()
        }),
        schema: Some(Schema::At {
            version: 4,
            dirty: true,
        }),
        lease: Some(Lease {
            holder: Ulid::nil(),
            operator: "bob".into(),
            fencing: 3,
            acquired_at: at(-5),
            expires_at: at(55),
        }),
        drift: vec!["the green slot runs and should not".into()],
        ..healthy()
    };
    let empty = NodeStatus {
        live: None,
        health: None,
        schema: Some(Schema::NoDatabase),
        last_snapshot: None,
        last_verified: None,
        ..healthy()
    };
    let gone = Error::unreachable("node-4 cannot be reached at 127.0.10.4:7443");
    FleetStatus::of(
        "harbour",
        vec![
            (node(1), Ok(healthy())),
            (node(2), Ok(unhealthy)),
            (node(3), Ok(empty)),
            (node(4), Err(gone)),
        ],
        at(0),
    )
}

#[test]
fn a_glance_tells_which_node_needs_one() {
    insta::assert_snapshot!(fleet().text());
}

#[test]
fn json_has_every_field_on_every_node() {
    insta::assert_json_snapshot!(fleet());
}

#[test]
fn a_check_complains_of_more_than_silence() {
    let fleet = fleet();
    let silent = fleet.error(false).unwrap();
    assert_eq!((silent.exit_code(), silent.others.len()), (6, 0));
    let checked = fleet.error(true).unwrap();
    assert_eq!((checked.exit_code(), checked.others.len()), (6, 1));
    assert_eq!(checked.others[0].exit_code(), 5);
}

#[test]
fn without_a_good_snapshot_a_check_fails_though_users_are_served() {
    let worried = NodeStatus {
        jobs: vec![failed_verify()],
        snapshot_overdue: Some("the last verified snapshot is 3 days old".into()),
        replaced_databases: vec!["togather_before_01K".into()],
        ..healthy()
    };
    let fleet = FleetStatus::of("harbour", vec![(node(1), Ok(worried))], at(0));
    assert_eq!(fleet.error(false), None);
    let error = fleet.error(true).unwrap();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(error.next, ["take another snapshot"]);
    insta::assert_snapshot!(fleet.text());
}

#[test]
fn a_job_under_way_is_what_the_node_is_at() {
    let busy = NodeStatus {
        jobs: vec![
            Job {
                ended_at: None,
                message: "restoring beside the live database".into(),
                failure: None,
                ..failed_verify()
            },
            failed_verify(),
        ],
        last_verified: None,
        ..healthy()
    };
    let text = FleetStatus::of("harbour", vec![(node(1), Ok(busy))], at(0)).text();
    assert!(
        text.contains("verify: restoring beside the live database"),
        "{text}"
    );
    assert!(text.contains("1 min ago (unproven)"), "{text}");
}

#[test]
fn a_stuck_restore_is_said_loudly_until_it_is_settled() {
    let failure = Failure::new(FailureKind::Stuck, "the swap could not be taken back")
        .next("start the app: `docker start togather-blue`");
    let stuck = NodeStatus {
        stuck_job: Some(Job {
            kind: JobKind::Restore,
            failure: Some(failure),
            ..failed_verify()
        }),
        ..healthy()
    };
    let fleet = FleetStatus::of("harbour", vec![(node(1), Ok(stuck))], at(0));
    let error = fleet.error(true).unwrap();
    assert_eq!(error.exit_code(), 8);
    assert_eq!(error.next, ["start the app: `docker start togather-blue`"]);
    let text = fleet.text();
    for words in [
        "restore stuck",
        "node-1: the restore of 2027-01-15T07:58:30Z is stuck: the swap could not be taken back",
        "node-1: start the app",
    ] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
}

#[test]
fn a_store_without_conditional_writes_is_told_and_is_no_complaint() {
    let plain = NodeStatus {
        snapshot_store: Some(SnapshotStore {
            address: "s3://bucket/node-1".into(),
            conditional_writes: "no".into(),
            reason: "it refuses writes that may only create".into(),
        }),
        ..healthy()
    };
    let fleet = FleetStatus::of("harbour", vec![(node(1), Ok(plain))], at(0));
    assert_eq!(fleet.error(true), None);
    let text = fleet.text();
    assert!(
        text.contains("node-1: s3://bucket/node-1: it refuses"),
        "{text}"
    );
}

#[test]
fn an_image_on_its_way_is_told_with_how_far_it_is() {
    let fetching = NodeStatus {
        fetches: vec![ImageFetch {
            image: "registry.example.org/server@sha256:00".into(),
            progress: Fetching {
                message: "downloading the image".into(),
                bytes_done: 40_000_000,
                bytes_total: 1_200_000_000,
                elapsed_ms: 4_000,
            },
        }],
        ..healthy()
    };
    let status = FleetStatus::of("demo", vec![(node(1), Ok(fetching))], at(0));
    let text = status.text();
    assert!(
        text.contains("node-1: registry.example.org/server@sha256:00: downloading the image: 40.00 MB of 1.20 GB, 10.00 MB/s, 1 min 56 s left"),
        "{text}"
    );
}
