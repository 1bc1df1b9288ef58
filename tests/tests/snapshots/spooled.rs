//! Scheduled snapshots that wait on the node's own disk while the store takes none.

use std::{fs, path::PathBuf, sync::Arc};

use togather_agent::database::Database;
use togather_agent::snapshots::{
    Dumps, Reason, SnapshotError, SnapshotSettings, Snapshots, Spool, Wanted,
};

use crate::{
    Shelf, new_id,
    postgres_server::{DockerExec, shared, told},
    settings, wanted,
};

/// Snapshots whose store is away: where its folder should be, there is a file.
struct Away {
    dumps: Dumps,
    file: PathBuf,
    spool: PathBuf,
}

fn away(shelf: &Shelf, at_most: u64) -> Away {
    let file = shelf._keep.path().join("mount");
    fs::write(&file, "").unwrap();
    let spool = shelf._keep.path().join("spool");
    let settings = SnapshotSettings {
        spool: Some(Spool {
            folder: spool.clone(),
            at_most,
        }),
        ..settings(&file.join("snapshots"))
    };
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    let dumps = Dumps::new(settings, exec, Arc::clone(&shelf.postgres)).unwrap();
    Away { dumps, file, spool }
}

fn scheduled() -> Wanted {
    Wanted {
        reason: Reason::Scheduled,
        ..wanted()
    }
}

#[tokio::test]
async fn what_the_store_did_not_take_is_brought_there_later() {
    let shelf = Shelf::new().await;
    let away = away(&shelf, 1 << 30);
    let manual = away.dumps.create(&wanted(), &|_| ()).await.unwrap_err();
    assert!(matches!(manual, SnapshotError::Store { .. }), "{manual:?}");
    let taken = away.dumps.create(&scheduled(), &|_| ()).await.unwrap();
    assert!(taken.spooled);
    assert_eq!(
        away.dumps.spooled().await.unwrap(),
        std::slice::from_ref(&taken)
    );
    assert!(away.dumps.deliver().await.is_err(), "still away");
    assert_eq!(
        away.dumps.spooled().await.unwrap().len(),
        1,
        "nothing is lost"
    );

    fs::remove_file(&away.file).unwrap();
    let delivered = away.dumps.deliver().await.unwrap();
    assert_eq!(delivered, std::slice::from_ref(&taken.dump));
    assert_eq!(away.dumps.spooled().await.unwrap(), []);
    assert_eq!(fs::read_dir(&away.spool).unwrap().count(), 0);
    let listed = away.dumps.list().await.unwrap();
    assert_eq!(listed[0].sha256, taken.sha256);
    assert!(!listed[0].spooled);
    let operation = new_id();
    away.dumps
        .prove(taken.id, operation, &|_| ())
        .await
        .unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    assert_eq!(away.dumps.deliver().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_spool_is_bounded_and_the_newest_stay() {
    let shelf = Shelf::new().await;
    let size = shelf.create().await.bytes;
    let tight = away(&shelf, size / 2);
    let error = tight.dumps.create(&scheduled(), &|_| ()).await.unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("had room for") && text.contains("mount"),
        "{text}"
    );
    assert_eq!(fs::read_dir(&tight.spool).unwrap().count(), 0);

    let away = away(&shelf, size * 5 / 2);
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(away.dumps.create(&scheduled(), &|_| ()).await.unwrap());
    }
    let waiting = away.dumps.spooled().await.unwrap();
    assert_eq!(waiting[0].id, taken[3].id);
    assert_eq!(waiting.len(), 2, "as many as there is room for");
    let used: u64 = waiting.iter().map(|waiting| waiting.bytes).sum();
    assert!(used <= size * 5 / 2);
}

/// The store went away in the middle, and what had been sent could not be removed any more.
#[tokio::test]
async fn what_is_left_of_a_snapshot_in_the_store_does_not_keep_it_in_the_spool() {
    let shelf = Shelf::new().await;
    let away = away(&shelf, 1 << 30);
    let taken = away.dumps.create(&scheduled(), &|_| ()).await.unwrap();
    let newer = away.dumps.create(&scheduled(), &|_| ()).await.unwrap();
    fs::remove_file(&away.file).unwrap();
    let folder = away.file.join("snapshots");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&taken.globals.name), "-- of another run").unwrap();
    fs::write(folder.join(&taken.dump), "PGDMP").unwrap();
    let delivered = away.dumps.deliver().await.unwrap();
    assert_eq!(delivered, [taken.dump.as_str(), &newer.dump]);
    for snapshot in [&taken, &newer] {
        let operation = new_id();
        let proven = away.dumps.prove(snapshot.id, operation, &|_| ()).await;
        proven.unwrap();
        shelf.postgres.drop_scratch(operation).await.unwrap();
    }
}

/// Killed between the manifest in the store and the clearing of the spool, which then rots.
#[tokio::test]
async fn what_was_delivered_already_is_not_sent_over_it_again() {
    let shelf = Shelf::new().await;
    let away = away(&shelf, 1 << 30);
    let taken = away.dumps.create(&scheduled(), &|_| ()).await.unwrap();
    let waiting = |name: &str| (name.to_owned(), fs::read(away.spool.join(name)).unwrap());
    let manifest = taken.dump.replace(".dump", ".manifest.json");
    let parts = [&taken.dump, &taken.globals.name, &manifest].map(|name| waiting(name));
    fs::remove_file(&away.file).unwrap();
    away.dumps.deliver().await.unwrap();
    for (name, mut bytes) in parts {
        let middle = bytes.len() / 2;
        if name.ends_with(".dump") {
            bytes[middle] ^= 1;
        }
        fs::write(away.spool.join(name), bytes).unwrap();
    }
    away.dumps.deliver().await.unwrap();
    assert_eq!(fs::read_dir(&away.spool).unwrap().count(), 0);
    let operation = new_id();
    let proven = away.dumps.prove(taken.id, operation, &|_| ()).await;
    proven.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
}

#[tokio::test]
async fn what_waits_in_the_spool_can_be_proven_and_restored_from_there() {
    let shelf = Shelf::new().await;
    let away = away(&shelf, 1 << 30);
    let taken = away.dumps.create(&scheduled(), &|_| ()).await.unwrap();
    for restore in [false, true] {
        let operation = new_id();
        let proven = match restore {
            true => {
                let restored = away.dumps.restore(None, taken.id, operation, &|_| ()).await;
                restored.map(|restored| restored.snapshot)
            }
            false => away.dumps.prove(taken.id, operation, &|_| ()).await,
        };
        assert!(proven.unwrap().verified_at.is_some());
        shelf.postgres.drop_scratch(operation).await.unwrap();
    }
    let waiting = away.dumps.spooled().await.unwrap();
    assert!(waiting[0].verified_at.is_some());
    fs::remove_file(&away.file).unwrap();
    away.dumps.deliver().await.unwrap();
    let stored = away.dumps.list().await.unwrap();
    assert!(stored[0].verified_at.is_some(), "the mark goes with it");
}

#[tokio::test]
async fn the_only_one_that_waits_is_not_given_up_for_one_that_is_not_there_yet() {
    let shelf = Shelf::new().await;
    let size = shelf.create().await.bytes;
    let away = away(&shelf, size * 3 / 2);
    let taken = away.dumps.create(&scheduled(), &|_| ()).await.unwrap();
    let second = away.dumps.create(&scheduled(), &|_| ()).await.unwrap_err();
    assert!(told(&second).contains("had room for"), "{second:?}");
    assert_eq!(away.dumps.spooled().await.unwrap(), [taken]);
}
