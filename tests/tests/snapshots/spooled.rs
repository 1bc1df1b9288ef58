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
    assert!(waiting.len() < 3, "{}", waiting.len());
    let used: u64 = waiting.iter().map(|waiting| waiting.bytes).sum();
    assert!(used <= size * 5 / 2);
}
