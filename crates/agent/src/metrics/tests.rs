//! What a scrape reads, from the text and over TCP.

use togather_model::{Failure, FailureKind, Ulid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{deploy::tests::fakes::World, lookout::Sight};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn job(kind: JobKind, failure: Option<Failure>) -> Job {
    Job {
        id: Ulid::nil(),
        kind,
        operator: "schedule".into(),
        started_at: at(0),
        ended_at: Some(at(0) + Duration::from_millis(2500)),
        message: String::new(),
        bytes_done: 0,
        bytes_total: None,
        failure,
        snapshot: None,
        forgotten: vec![],
    }
}

fn tally(what: &str, ending: &str, times: u64) -> Tally {
    Tally {
        what: what.into(),
        ending: ending.into(),
        times,
    }
}

fn facts() -> Facts {
    let sight = |second, bytes| {
        Some(Sight {
            taken_at: at(second),
            bytes,
        })
    };
    Facts {
        known: Known {
            seen_at: Some(at(60)),
            last: sight(50, 2000),
            last_verified: sight(-90, 1000),
            spooled: 3,
            database_since: None,
            is_overdue: true,
        },
        jobs: vec![
            job(JobKind::Create, None),
            job(
                JobKind::UndoRestore,
                Some(Failure::new(FailureKind::Other, "no")),
            ),
        ],
        tallies: vec![
            tally("create", "done", 7),
            tally("undo restore", "failed", 1),
            tally("deploy", "undone", 2),
        ],
        is_stuck: false,
    }
}

#[test]
fn every_series_has_its_name_its_unit_and_its_value() {
    let text = facts().text().unwrap();
    for line in [
        &format!(
            "togather_agent_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
        "togather_stuck 0",
        "togather_snapshot_last_timestamp_seconds 1800000050",
        "togather_snapshot_last_verified_timestamp_seconds 1799999910",
        "togather_snapshot_last_size_bytes 2000",
        "togather_snapshot_overdue 1",
        "togather_snapshots_spooled 3",
        "togather_snapshot_store_seen_timestamp_seconds 1800000060",
        "togather_snapshot_job_last_timestamp_seconds{job=\"create\"} 1800000002",
        "togather_snapshot_job_last_duration_seconds{job=\"undo_restore\"} 2.5",
        "togather_snapshot_job_last_success{job=\"create\"} 1",
        "togather_snapshot_job_last_success{job=\"undo_restore\"} 0",
        "togather_snapshot_jobs_total{job=\"create\",result=\"done\"} 7",
        "togather_snapshot_jobs_total{job=\"create\",result=\"failed\"} 0",
        "togather_snapshot_jobs_total{job=\"undo_restore\",result=\"failed\"} 1",
        "togather_deployments_total{kind=\"deploy\",ending=\"undone\"} 2",
        "togather_deployments_total{kind=\"rollback\",ending=\"stuck\"} 0",
        "# EOF",
    ] {
        let has = text.lines().any(|told| told == line);
        assert!(has, "`{line}` is not in\n{text}");
    }
}

#[test]
fn what_is_not_known_is_not_told() {
    let facts = Facts {
        known: Known::default(),
        jobs: vec![],
        ..facts()
    };
    let text = facts.text().unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let times: Vec<&str> = samples.filter(|line| line.contains("timestamp")).collect();
    assert_eq!(times, [""; 0], "a time of 0 would be 1970");
}

async fn metrics(world: &Arc<World>, address: &str) -> io::Result<Metrics> {
    let lookout = Lookout::open(world.node(), Duration::from_hours(48));
    let (address, lookout) = (address.parse().unwrap(), lookout.await.unwrap());
    Metrics::listen(address, world.state.clone(), lookout).await
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_scrape_over_tcp_asks_nothing_outside() {
    let world = World::with_one_version_live("1.0.0").await;
    let metrics = metrics(&world, "127.0.0.1:0").await.unwrap();
    let (address, stopping) = (metrics.address().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(metrics.serve(stopping.clone()));
    let before = world.calls();
    for _ in 0..2 * MAX_CONNECTIONS {
        let answer = ask(address, "GET /metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert!(answer.contains("togather_snapshot_overdue 0"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }
    assert_eq!(world.calls(), before, "whatever is outside was not asked");
    let elsewhere = ask(address, "GET /").await;
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    let posted = ask(address, "POST /metrics").await;
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    stopping.cancel();
    serving.await.unwrap();
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let world = World::empty().await;
    let holder = metrics(&world, "127.0.0.1:0").await.unwrap();
    let taken = holder.address().unwrap().to_string();
    let error = metrics(&world, &taken).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
