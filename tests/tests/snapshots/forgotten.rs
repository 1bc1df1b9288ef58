//! Forgetting that breaks off in the middle, and what interrupted snapshots left.
//!
//! Wherever it stops: nothing is listed that could not be restored, what is to be kept is whole, and
//! the next prune finishes.

use std::{fs, time::Duration};

use togather_agent::{
    database::Database,
    snapshots::{Manifest, Orphan, SnapshotError, Snapshots, Survey, Wanted},
};
use togather_model::Timestamp;

use crate::{
    Shelf,
    faulty::{ALWAYS, Bench, RETRIES},
    line::{REMOVE, Wrong},
    new_id,
    postgres_server::until,
    wanted,
};

/// How long what may be of a snapshot under way is left alone.
const DAY: Duration = Duration::from_hours(24);

/// One of long ago, proven as well: all of its parts are there to be removed.
async fn old(bench: &Bench) -> Manifest {
    let long_ago = Wanted {
        at: "2026-01-01T00:00:00Z".parse().unwrap(),
        ..wanted()
    };
    let taken = bench.dumps.create(&long_ago, &|_| ()).await.unwrap();
    bench.prove(taken.id).await.unwrap()
}

/// Nothing can be read that could not be restored, and nothing that is to be kept went.
async fn survey(bench: &Bench, kept: &Manifest, old: &Manifest, context: &str) -> Survey {
    let survey = bench.dumps.survey().await.unwrap();
    assert_eq!(survey.unreadable, [""; 0], "{context}");
    let [rest @ .., last] = &survey.snapshots[..] else {
        panic!("{context}: nothing is left");
    };
    let first = rest.first().unwrap_or(last);
    assert_eq!(first, kept, "{context}");
    assert!(last == kept || last == old, "{context}: {survey:?}");
    survey
}

#[tokio::test]
async fn a_prune_that_breaks_off_leaves_nothing_half_removed_and_the_next_one_finishes() {
    let bench = Bench::small().await;
    let kept = bench.create().await.unwrap();
    let kept = bench.prove(kept.id).await.unwrap();
    let now = Timestamp::now();
    // The manifest, the dump, the roles and the mark: each in turn is where it ends.
    for (removed, wrong, still_listed) in [
        (0, Wrong::Refused(500), true),
        (0, Wrong::AnswerLost, false),
        (1, Wrong::AnswerLost, false),
        (2, Wrong::Refused(500), false),
        (3, Wrong::Refused(403), false),
        (3, Wrong::AnswerLost, false),
    ] {
        let context = format!("{removed} removed, then {wrong:?}");
        let old = old(&bench).await;
        bench.line.goes_wrong_after(removed, REMOVE, wrong, ALWAYS);
        let pruned = bench.dumps.prune(&[], now).await;
        let tries = bench.line.is_well();
        assert!(tries > 0, "{context}");
        assert!(
            matches!(pruned.failure, Some(SnapshotError::Store { .. })),
            "{context}: {pruned:?}"
        );
        let there = survey(&bench, &kept, &old, &context).await;
        assert_eq!(there.snapshots.contains(&old), still_listed, "{context}");

        let left: Vec<String> = there
            .orphans
            .into_iter()
            .map(|orphan| orphan.name)
            .collect();
        let later = Timestamp::now() + DAY + Duration::from_mins(1);
        let pruned = bench.dumps.prune(&[], later).await;
        assert!(pruned.failure.is_none(), "{context}: {pruned:?}");
        match still_listed {
            true => assert_eq!(
                pruned.forgotten,
                std::slice::from_ref(&old.dump),
                "{context}"
            ),
            false => assert_eq!(pruned.forgotten, left, "{context}"),
        }
        bench.assert_only(&[&kept], &context).await;
    }
    bench.prove(kept.id).await.unwrap();
}

/// A future that is forgotten stands for the agent that was killed.
#[tokio::test]
async fn an_agent_killed_in_a_prune_leaves_nothing_half_removed_and_the_next_one_finishes() {
    let bench = Bench::small().await;
    let kept = bench.create().await.unwrap();
    let kept = bench.prove(kept.id).await.unwrap();
    for removed in 0..4 {
        let context = format!("{removed} removed");
        let old = old(&bench).await;
        let now = Timestamp::now();
        bench
            .line
            .goes_wrong_after(removed, REMOVE, Wrong::Silence, ALWAYS);
        let killed = bench.agent(Duration::from_secs(60), RETRIES);
        let mut prune = killed.prune(&[], now);
        tokio::select! {
            ended = &mut prune => panic!("{context}: {ended:?}"),
            () = until("it is in the middle", || async { bench.line.happened() > 0 }) => {}
        }
        std::mem::forget(prune);
        bench.line.is_well();
        let there = survey(&bench, &kept, &old, &context).await;
        assert_eq!(there.snapshots.contains(&old), removed == 0, "{context}");

        let later = Timestamp::now() + DAY + Duration::from_mins(1);
        let pruned = bench.dumps.prune(&[], later).await;
        assert!(pruned.failure.is_none(), "{context}: {pruned:?}");
        bench.assert_only(&[&kept], &context).await;
    }
    bench.prove(kept.id).await.unwrap();
}

#[tokio::test]
async fn what_an_interrupted_snapshot_left_is_removed_once_it_can_be_under_way_no_more() {
    let shelf = Shelf::new().await;
    let (kept, half) = (shelf.create().await, shelf.create().await);
    let operation = new_id();
    let kept = shelf.prove(&kept, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    let manifest = half.dump.replace(".dump", ".manifest.json");
    fs::remove_file(shelf.folder.join(manifest)).unwrap();
    let left = [half.dump.as_str(), &half.globals.name];

    let now = Timestamp::now();
    for (passed, goes) in [
        // A clock that is wrong makes nothing old.
        (now - DAY * 2, false),
        (now, false),
        (now + DAY - Duration::from_mins(1), false),
        (now + Duration::from_hours(25), true),
        (now + Duration::from_hours(25), false),
    ] {
        let orphans = shelf.dumps.survey().await.unwrap().orphans;
        let is_old = |orphan: &Orphan| orphan.is_left_over(passed);
        assert!(
            orphans.iter().all(|orphan| is_old(orphan) == goes),
            "{passed}"
        );
        let pruned = shelf.dumps.prune(&[], passed).await;
        assert!(pruned.failure.is_none(), "{passed}: {pruned:?}");
        let expected = if goes { &left[..] } else { &[] };
        assert_eq!(pruned.forgotten, expected, "{passed}");
        let files = shelf.files();
        let there = |name: &&str| files.iter().any(|file| file == name);
        let gone = passed > now + DAY;
        assert_eq!(
            left.iter().filter(|name| there(name)).count(),
            if gone { 0 } else { 2 }
        );
    }
    assert_eq!(
        shelf.dumps.list().await.unwrap(),
        std::slice::from_ref(&kept)
    );
    assert_eq!(shelf.files().len(), 4, "{:?}", shelf.files());
    shelf.prove(&kept, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
}
