//! A store that fails in the middle: errors, cut connections, answers that are lost or never come, a
//! server that dies. Real requests to a real S3 server, over a line on which things go wrong.
//!
//! Whatever happens: nothing half-made is listed, what was verified stays verified, no upload and no
//! program is left, and the next run succeeds.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use togather_agent::{
    database::{Database, scratch_name},
    snapshots::{
        Dumps, Manifest, Reason, SnapshotError, SnapshotSettings, Snapshots, Spool, Wanted,
    },
};
use togather_model::Ulid;
use tokio::time::Instant;

use crate::{
    NOISE, Shelf,
    bucket::{S3, objects},
    line::{
        BEGIN, COMPLETE, LIST, Line, MANIFEST, MARK, READ, REMOVE, ROLES, SECOND_PART, TAKE_BACK,
        THIRD_PART, Wrong,
    },
    new_id,
    postgres_server::{DockerExec, in_time, shared, told, until},
    settings, wanted,
};

/// How often a request is repeated here.
pub(crate) const RETRIES: usize = 4;
pub(crate) const ALWAYS: usize = usize::MAX;

/// A database whose dump has several parts, and its snapshots in a bucket at the end of the line.
pub(crate) struct Bench {
    shelf: Shelf,
    pub(crate) line: Line,
    s3: S3,
    pub(crate) dumps: Dumps,
    spool: PathBuf,
    notes: PathBuf,
}

impl Bench {
    async fn new() -> Self {
        Self::with_timeout(Duration::from_secs(10)).await
    }

    async fn with_timeout(timeout: Duration) -> Self {
        Self::patient(timeout, RETRIES).await
    }

    async fn patient(timeout: Duration, retries: usize) -> Self {
        let mut shelf = Shelf::new().await;
        shelf.database.run(NOISE).await;
        Self::of(shelf, timeout, retries).await
    }

    /// One whose dump has one part.
    pub(crate) async fn small() -> Self {
        Self::of(Shelf::new().await, Duration::from_secs(10), RETRIES).await
    }

    async fn of(shelf: Shelf, timeout: Duration, retries: usize) -> Self {
        let s3 = S3::start(&shelf._keep.path().join("s3")).await;
        let line = Line::to(s3.port).await;
        let (spool, notes) = (
            shelf._keep.path().join("spool"),
            shelf._keep.path().join("uploads"),
        );
        let dumps = agent(&shelf, &line, &spool, &notes, timeout, retries);
        Self {
            shelf,
            line,
            s3,
            dumps,
            spool,
            notes,
        }
    }

    /// Another run of the agent.
    pub(crate) fn agent(&self, timeout: Duration, retries: usize) -> Dumps {
        let (spool, notes) = (&self.spool, &self.notes);
        agent(&self.shelf, &self.line, spool, notes, timeout, retries)
    }

    pub(crate) async fn create(&self) -> Result<Manifest, SnapshotError> {
        self.dumps.create(&wanted(), &|_| ()).await
    }

    async fn scheduled(&self) -> Result<Manifest, SnapshotError> {
        let wanted = Wanted {
            reason: Reason::Scheduled,
            ..wanted()
        };
        self.dumps.create(&wanted, &|_| ()).await
    }

    pub(crate) async fn prove(&self, snapshot: Ulid) -> Result<Manifest, SnapshotError> {
        let operation = new_id();
        let proven = self.dumps.prove(snapshot, operation, &|_| ());
        let proven = in_time("the proof", proven).await;
        if proven.is_ok() {
            self.shelf.postgres.drop_scratch(operation).await.unwrap();
        }
        self.shelf.assert_no_scratch(operation).await;
        let file = format!("/var/tmp/{}", scratch_name(operation));
        let file = file.replace("togather_scratch", "togather_restore");
        let server = self.shelf.database.server;
        until("no file is left beside the database", || async {
            !server.has_file(&file)
        })
        .await;
        proven
    }

    /// The store holds these snapshots and nothing else, and nothing is under way.
    pub(crate) async fn assert_only(&self, snapshots: &[&Manifest], context: &str) {
        // Taking back goes on for a moment where something else was what failed.
        until("no upload is left or noted", || async {
            let noted = fs::read_dir(&self.notes).map_or(0, Iterator::count);
            self.s3.unfinished() + noted == 0
        })
        .await;
        let survey = self.dumps.survey().await.unwrap();
        let listed: Vec<&Manifest> = survey.snapshots.iter().collect();
        assert_eq!(listed, snapshots, "{context}");
        assert!(survey.unreadable.is_empty(), "{context}: {survey:?}");
        assert!(survey.orphans.is_empty(), "{context}: {survey:?}");
        let (server, name) = (self.shelf.database.server, &self.shelf.database.name);
        until("pg_dump has ended", || async {
            server.dumping(name).await == 0
        })
        .await;
    }

    fn spooled_files(&self) -> usize {
        fs::read_dir(&self.spool).map_or(0, Iterator::count)
    }
}

fn agent(
    shelf: &Shelf,
    line: &Line,
    spool: &Path,
    notes: &Path,
    timeout: Duration,
    retries: usize,
) -> Dumps {
    let settings = SnapshotSettings {
        store: "s3://bucket/node-1".parse().unwrap(),
        uploads: Some(notes.to_owned()),
        spool: Some(Spool {
            folder: spool.to_owned(),
            at_most: 1 << 30,
        }),
        ..settings(&shelf.folder)
    };
    let objects = objects(line.port, "hush", retries, timeout);
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    let database = Arc::clone(&shelf.postgres);
    Dumps::over(settings, Arc::new(objects), exec, database).unwrap()
}

#[tokio::test]
async fn a_few_errors_are_borne() {
    let bench = Bench::new().await;
    let all = [
        (ROLES, Wrong::Refused(500)),
        (BEGIN, Wrong::Refused(503)),
        (SECOND_PART, Wrong::Refused(500)),
        (SECOND_PART, Wrong::CutThere),
        (THIRD_PART, Wrong::Refused(503)),
        (COMPLETE, Wrong::Refused(500)),
        (MANIFEST, Wrong::CutThere),
        (LIST, Wrong::Refused(503)),
        (READ, Wrong::Refused(500)),
        (READ, Wrong::CutBack),
        (MARK, Wrong::Refused(500)),
    ];
    for (asked, wrong) in all.clone() {
        bench.line.goes_wrong(asked, wrong, 2);
    }
    let taken = bench.create().await.unwrap();
    assert!(taken.bytes > 10 << 20, "several parts: {}", taken.bytes);
    let proven = bench.prove(taken.id).await.unwrap();
    assert_eq!(bench.line.is_well(), all.len() * 2, "all of it happened");
    bench.assert_only(&[&proven], "after a few errors").await;
}

#[tokio::test]
async fn an_answer_that_is_lost_loses_no_snapshot() {
    let bench = Bench::new().await;
    let all = [ROLES, SECOND_PART, COMPLETE, MANIFEST, MARK];
    for asked in all.clone() {
        bench.line.goes_wrong(asked, Wrong::AnswerLost, 1);
    }
    let taken = bench.create().await.unwrap();
    let proven = bench.prove(taken.id).await.unwrap();
    assert_eq!(bench.line.is_well(), all.len(), "all of it happened");
    bench.assert_only(&[&proven], "after lost answers").await;

    // The store never tells that the upload was completed; but there the object is.
    bench.line.goes_wrong(COMPLETE, Wrong::AnswerLost, ALWAYS);
    let again = bench.create().await.unwrap();
    assert!(bench.line.is_well() > 1);
    bench
        .assert_only(&[&again, &proven], "completed unheard")
        .await;
    bench.prove(again.id).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_slow_to_answer_is_waited_for() {
    let bench = Bench::with_timeout(Duration::from_secs(5)).await;
    let late = Wrong::Late(Duration::from_secs(1));
    let all = [
        ROLES,
        BEGIN,
        SECOND_PART,
        COMPLETE,
        MANIFEST,
        LIST,
        READ,
        MARK,
    ];
    for asked in all.clone() {
        bench.line.goes_wrong(asked, late, 1);
    }
    let began = Instant::now();
    let taken = bench.create().await.unwrap();
    let proven = bench.prove(taken.id).await.unwrap();
    assert_eq!(bench.line.is_well(), all.len(), "all of it happened");
    assert!(began.elapsed() > Duration::from_secs(5), "it was slow");
    bench.assert_only(&[&proven], "after slow answers").await;
}

#[tokio::test]
async fn what_stays_broken_is_told_and_leaves_nothing() {
    let bench = Bench::new().await;
    let first = bench.create().await.unwrap();
    let first = bench.prove(first.id).await.unwrap();
    let dump = |error: &str| assert!(error.contains(".dump"), "{error}");
    for (asked, wrong, why) in [
        (ROLES, Wrong::Refused(503), "503"),
        (BEGIN, Wrong::Refused(500), "500"),
        (SECOND_PART, Wrong::Refused(500), "500"),
        (SECOND_PART, Wrong::CutThere, "HTTP error"),
        (COMPLETE, Wrong::Refused(500), "500"),
        (MANIFEST, Wrong::Refused(503), "503"),
        (MANIFEST, Wrong::AnswerLost, "HTTP error"),
    ] {
        let context = format!("{asked:?}: {wrong:?}");
        let of_the_dump = asked != ROLES && asked != MANIFEST;
        bench.line.goes_wrong(asked, wrong, ALWAYS);
        let error = bench.create().await.unwrap_err();
        let tries = bench.line.is_well();
        assert!(tries > RETRIES, "{context}: {tries} tries");
        assert!(
            matches!(error, SnapshotError::Store { .. }),
            "{context}: {error:?}"
        );
        let text = told(&error);
        assert!(text.contains(why), "{context}: {text}");
        if of_the_dump {
            dump(&text);
        }
        bench.assert_only(&[&first], &context).await;
    }
    let next = bench.create().await.unwrap();
    bench.assert_only(&[&next, &first], "the next run").await;
}

#[tokio::test]
async fn a_store_that_denies_writing_is_not_asked_again_and_again() {
    let bench = Bench::new().await;
    for asked in [ROLES, BEGIN, SECOND_PART, MANIFEST] {
        let context = format!("{asked:?}");
        bench.line.goes_wrong(asked, Wrong::Refused(403), ALWAYS);
        let error = told(&bench.create().await.unwrap_err());
        assert_eq!(bench.line.is_well(), 1, "{context}");
        assert!(error.contains("403"), "{context}: {error}");
        bench.assert_only(&[], &context).await;
    }
    // It denies taking back as well: no reason to take no snapshots any more.
    bench
        .line
        .goes_wrong(SECOND_PART, Wrong::Refused(403), ALWAYS);
    bench
        .line
        .goes_wrong(TAKE_BACK, Wrong::Refused(403), ALWAYS);
    let error = told(&bench.create().await.unwrap_err());
    assert!(error.contains("partNumber=2"), "the first reason: {error}");
    assert!(bench.s3.unfinished() > 0, "nobody could take them back");
    bench.line.is_well();
    bench
        .line
        .goes_wrong(TAKE_BACK, Wrong::Refused(403), ALWAYS);
    let taken = bench.create().await.unwrap();
    assert_eq!(bench.dumps.list().await.unwrap(), [taken]);
    bench.line.is_well();
    bench.create().await.unwrap();
    assert_eq!(bench.s3.unfinished(), 0, "taken back once it may be");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_given_up_on() {
    let bench = Bench::with_timeout(Duration::from_millis(700)).await;
    bench.line.goes_wrong(SECOND_PART, Wrong::Silence, 1);
    let taken = bench.create().await.unwrap();
    assert_eq!(bench.line.is_well(), 1, "once is borne");
    bench.line.goes_wrong(SECOND_PART, Wrong::Silence, ALWAYS);
    let began = Instant::now();
    let error = told(&bench.create().await.unwrap_err());
    assert!(bench.line.is_well() > RETRIES);
    assert!(error.contains("timed out"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    bench.assert_only(&[&taken], "after silence").await;
}

#[tokio::test]
async fn a_scheduled_snapshot_that_breaks_off_midway_is_spooled_and_brought_later() {
    let bench = Bench::new().await;
    bench
        .line
        .goes_wrong(SECOND_PART, Wrong::Refused(500), ALWAYS);
    let taken = bench.scheduled().await.unwrap();
    assert!(taken.spooled);
    bench.assert_only(&[], "in the spool").await;
    let error = bench.dumps.deliver().await.unwrap_err();
    assert!(matches!(error, SnapshotError::Store { .. }), "{error:?}");
    let waiting = bench.dumps.spooled().await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&taken), "nothing is lost");

    // On the way, the server has all of it but the manifest, and the agent hears of none.
    bench.line.is_well();
    bench.line.goes_wrong(MANIFEST, Wrong::CutThere, ALWAYS);
    assert!(bench.dumps.deliver().await.is_err());
    assert_eq!(bench.dumps.list().await.unwrap(), []);
    assert_eq!(bench.dumps.spooled().await.unwrap().len(), 1);
    bench.line.is_well();
    let delivered = bench.dumps.deliver().await.unwrap();
    assert_eq!(delivered, std::slice::from_ref(&taken.dump));
    assert_eq!(bench.spooled_files(), 0);
    let proven = bench.prove(taken.id).await.unwrap();
    assert_eq!(proven.sha256, taken.sha256);
    bench.assert_only(&[&proven], "delivered").await;
}

/// The manifest was stored, nobody heard of it, and then nothing could be taken back: the snapshot is
/// in the store, and again in the spool.
#[tokio::test]
async fn a_snapshot_that_the_store_took_after_all_is_there_once() {
    let bench = Bench::new().await;
    bench.line.goes_wrong(MANIFEST, Wrong::AnswerLost, ALWAYS);
    bench.line.goes_wrong(REMOVE, Wrong::Refused(503), ALWAYS);
    let taken = bench.scheduled().await.unwrap();
    assert!(taken.spooled);
    bench.line.is_well();
    let there = bench.dumps.list().await.unwrap();
    assert_eq!(there.len(), 1);
    bench.dumps.deliver().await.unwrap();
    assert_eq!(bench.spooled_files(), 0);
    let proven = bench.prove(taken.id).await.unwrap();
    bench.assert_only(&[&proven], "once").await;
}

#[tokio::test]
async fn a_proof_that_breaks_off_proves_nothing_takes_no_mark_away_and_the_next_one_succeeds() {
    let bench = Bench::new().await;
    let proven = bench.create().await.unwrap();
    let proven = bench.prove(proven.id).await.unwrap();
    let taken = bench.create().await.unwrap();
    for (asked, wrong) in [
        (READ, Wrong::Refused(500)),
        (READ, Wrong::Refused(403)),
        (READ, Wrong::CutBack),
        (MARK, Wrong::Refused(500)),
    ] {
        for snapshot in [&taken, &proven] {
            let context = format!("{asked:?}: {wrong:?}");
            bench.line.goes_wrong(asked.clone(), wrong, ALWAYS);
            let error = bench.prove(snapshot.id).await.unwrap_err();
            assert!(bench.line.is_well() > 0, "{context}");
            assert!(
                matches!(error, SnapshotError::Store { .. }),
                "{context}: {error:?}"
            );
            bench.assert_only(&[&taken, &proven], &context).await;
        }
    }
    for snapshot in [&taken, &proven] {
        let again = bench.prove(snapshot.id).await.unwrap();
        assert!(again.verified_at > snapshot.verified_at);
    }
}

#[tokio::test]
async fn a_store_that_falls_silent_while_it_is_read_ends_the_proof_and_the_next_one_succeeds() {
    let bench = Bench::with_timeout(Duration::from_millis(700)).await;
    let taken = bench.create().await.unwrap();
    let taken = bench.prove(taken.id).await.unwrap();
    for wrong in [Wrong::Silence, Wrong::Stalled] {
        let context = format!("{wrong:?}");
        // Not the first piece: the program that takes them is at work already.
        bench.line.goes_wrong_after(1, READ, wrong, ALWAYS);
        let error = bench.prove(taken.id).await.unwrap_err();
        assert!(bench.line.is_well() > RETRIES, "{context}");
        assert!(
            matches!(error, SnapshotError::Store { .. }),
            "{context}: {error:?}"
        );
        bench.assert_only(&[&taken], &context).await;
    }
    let again = bench.prove(taken.id).await.unwrap();
    assert!(again.verified_at > taken.verified_at);
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_and_comes_back_is_waited_for() {
    let mut bench = Bench::patient(Duration::from_secs(2), 15).await;
    // Held up in the middle, so that it is the middle when the server dies.
    bench.line.goes_wrong(THIRD_PART, Wrong::Silence, 1);
    let wanted = wanted();
    let dies = async {
        until("the third part is on its way", || async {
            bench.line.happened() > 0
        })
        .await;
        bench.s3.kill().await;
        until("it was asked in vain", || async {
            bench.line.in_vain() > 0
        })
        .await;
        bench.s3.restart().await;
    };
    let (taken, ()) = tokio::join!(bench.dumps.create(&wanted, &|_| ()), dies);
    let taken = taken.unwrap();
    bench.line.is_well();
    bench.assert_only(&[&taken], "it came back").await;

    bench.s3.kill().await;
    for error in [
        bench.create().await.unwrap_err(),
        bench.prove(taken.id).await.unwrap_err(),
    ] {
        assert!(matches!(error, SnapshotError::Store { .. }), "{error:?}");
    }
    bench.s3.restart().await;
    bench.assert_only(&[&taken], "it was away").await;
    bench.prove(taken.id).await.unwrap();
}
