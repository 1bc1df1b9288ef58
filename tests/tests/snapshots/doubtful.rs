//! What is called verified, and what is nobody's to touch: a mark must never outlive the doubt.

use std::{fs, sync::Arc};

use togather_agent::{
    database::Database,
    snapshots::{Dumps, Manifest, Origin, SnapshotError, SnapshotSettings, Snapshots, Wanted},
};
use togather_model::Timestamp;

use crate::{
    Shelf, new_id,
    postgres_server::{DockerExec, shared, told},
    settings, wanted,
};

/// A snapshot of this shelf that was proven.
async fn proven(shelf: &Shelf, dumps: &Dumps) -> Manifest {
    let taken = dumps.create(&wanted(), &|_| ()).await.unwrap();
    let operation = new_id();
    let proven = dumps.prove(taken.id, operation, &|_| ()).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    proven
}

/// A snapshot of this shelf that nothing asks to keep once a newer one is proven.
async fn long_ago(shelf: &Shelf) -> Manifest {
    let wanted = Wanted {
        at: "2020-01-01T00:00:00Z".parse().unwrap(),
        ..wanted()
    };
    shelf.dumps.create(&wanted, &|_| ()).await.unwrap()
}

fn flip(shelf: &Shelf, part: &str) {
    let path = shelf.folder.join(part);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_was_verified_and_then_rotted_is_not_verified_any_more() {
    let shelf = Shelf::new().await;
    let taken = proven(&shelf, &shelf.dumps).await;
    flip(&shelf, &taken.dump);
    let error = shelf.prove(&taken, new_id()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
    assert_eq!(shelf.dumps.list().await.unwrap()[0].verified_at, None);
}

#[tokio::test]
async fn a_restore_that_finds_damage_takes_the_mark_away_too() {
    let shelf = Shelf::new().await;
    let taken = proven(&shelf, &shelf.dumps).await;
    flip(&shelf, &taken.dump);
    let restored = shelf.dumps.restore(None, taken.id, new_id(), &|_| ()).await;
    let error = restored.unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
    assert_eq!(shelf.dumps.list().await.unwrap()[0].verified_at, None);
}

#[tokio::test]
async fn no_snapshot_is_verified_whose_roles_could_not_be_restored() {
    let shelf = Shelf::new().await;
    let (rotten, bare) = (shelf.create().await, shelf.create().await);
    flip(&shelf, &rotten.globals.name);
    let operation = new_id();
    let error = shelf.prove(&rotten, operation).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
    shelf.assert_no_scratch(operation).await;

    fs::remove_file(shelf.folder.join(&bare.globals.name)).unwrap();
    let error = told(&shelf.dumps.list().await.unwrap_err());
    assert!(error.contains("lacks its roles"), "{error}");
}

#[tokio::test]
async fn a_mark_that_makes_no_sense_costs_no_snapshot() {
    let shelf = Shelf::new().await;
    let taken = proven(&shelf, &shelf.dumps).await;
    let mark = shelf
        .folder
        .join(taken.dump.replace(".dump", ".verified.json"));
    fs::write(mark, "{").unwrap();
    let listed = shelf.dumps.list().await.unwrap();
    assert_eq!((listed[0].id, listed[0].verified_at), (taken.id, None));
    let operation = new_id();
    shelf.prove(&taken, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    let listed = shelf.dumps.list().await.unwrap();
    assert!(listed[0].verified_at.is_some(), "the mark was replaced");
}

/// The snapshots of a node, in a place that another one uses as well.
fn of_node(shelf: &Shelf, node: &str) -> Dumps {
    let settings = SnapshotSettings {
        origin: Some(Origin {
            fleet: new_id(),
            node: node.into(),
        }),
        ..settings(&shelf.folder)
    };
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    Dumps::new(settings, exec, Arc::clone(&shelf.postgres)).unwrap()
}

#[tokio::test]
async fn two_nodes_in_one_place_leave_each_others_alone() {
    let shelf = Shelf::new().await;
    let (mine, theirs) = (of_node(&shelf, "node-1"), of_node(&shelf, "node-2"));
    let of_theirs = proven(&shelf, &theirs).await;
    let of_nobody = long_ago(&shelf).await;
    let of_mine = proven(&shelf, &mine).await;

    let survey = mine.survey().await.unwrap();
    let ids: Vec<_> = survey.snapshots.iter().map(|s| s.id).collect();
    assert_eq!(ids, [of_mine.id, of_nobody.id], "what says nothing counts");
    let remark = survey.foreign_remark().unwrap();
    assert!(remark.contains("node-2"), "{remark}");
    let error = mine.prove(of_theirs.id, new_id(), &|_| ()).await;
    let error = told(&error.unwrap_err());
    assert!(
        error.contains("of node-2") && error.contains("--store"),
        "{error}"
    );

    let pruned = mine.prune(&[], Timestamp::MAX).await;
    assert!(pruned.failure.is_none(), "{pruned:?}");
    assert_eq!(pruned.forgotten, [of_nobody.dump]);
    assert_eq!(theirs.list().await.unwrap(), [of_theirs]);
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_not_filled() {
    let shelf = Shelf::new().await;
    let settings = SnapshotSettings {
        min_disk_free: u64::MAX,
        ..settings(&shelf.folder)
    };
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    let dumps = Dumps::new(settings, exec, Arc::clone(&shelf.postgres)).unwrap();
    let error = told(&dumps.create(&wanted(), &|_| ()).await.unwrap_err());
    assert!(error.contains("bytes free"), "{error}");
    assert_eq!(shelf.files(), [""; 0]);
}

#[tokio::test]
async fn what_a_pruning_forgot_is_said_even_if_it_stumbles() {
    let shelf = Shelf::new().await;
    let old = long_ago(&shelf).await;
    proven(&shelf, &shelf.dumps).await;
    fs::write(shelf.folder.join("odd.manifest.json"), "{}").unwrap();
    let pruned = shelf.dumps.prune(&[], Timestamp::MAX).await;
    assert_eq!(pruned.forgotten, [old.dump]);
    let failure = told(&pruned.failure.unwrap());
    assert!(failure.contains("odd.manifest.json"), "{failure}");
}

#[tokio::test]
async fn what_lies_deeper_in_the_place_is_not_looked_at() {
    let shelf = Shelf::new().await;
    let taken = shelf.create().await;
    let deeper = shelf.folder.join("lost+found");
    fs::create_dir(&deeper).unwrap();
    fs::write(deeper.join("odd.manifest.json"), "{}").unwrap();
    assert_eq!(shelf.dumps.list().await.unwrap(), [taken]);
}
