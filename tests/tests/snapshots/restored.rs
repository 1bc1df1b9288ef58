//! A snapshot in the live database's place, and back.

use std::{fs, sync::Arc};

use sqlx::{AssertSqlSafe, PgConnection};
use togather_agent::{
    database::{Database, DatabaseError, replaced_name, scratch_name},
    snapshots::{Dumps, SnapshotError, Snapshots},
};
use togather_model::Ulid;
use url::Url;

use crate::{
    Shelf, new_id,
    postgres_server::{DockerExec, shared, told},
    settings, wanted,
};

/// Everything in these tables, row for row, as one text.
async fn rows(connection: &mut PgConnection) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["places", "events", "days", "schema_migrations"] {
        let every = format!("SELECT t::text FROM {table} t ORDER BY 1");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(every))
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{table}");
        all.extend(rows);
    }
    all
}

impl Shelf {
    async fn live_rows(&self) -> Vec<String> {
        rows(&mut self.database.server.connect(&self.database.name).await).await
    }

    fn replaced(&self, job: Ulid) -> String {
        replaced_name(&self.database.name, job)
    }
}

#[tokio::test]
async fn a_restore_is_row_for_row_and_so_is_the_way_back() {
    let mut shelf = Shelf::new().await;
    let before = shelf.live_rows().await;
    let taken = shelf.create().await;
    shelf
        .database
        .run("UPDATE places SET name = 'renamed' WHERE id < 50; DELETE FROM events WHERE id > 7")
        .await;
    let after = shelf.live_rows().await;

    let job = new_id();
    let restored = shelf.dumps.restore(None, taken.id, job, &|_| ()).await;
    assert!(restored.unwrap().snapshot.verified_at.is_some());
    assert_eq!(shelf.live_rows().await, after, "restored beside");
    let (beside, aside) = (scratch_name(job), shelf.replaced(job));
    // A session of somebody's is open all the while, and asked for twice it is done once.
    shelf.postgres.swap(&beside, &aside).await.unwrap();
    shelf.postgres.swap(&beside, &aside).await.unwrap();
    assert_eq!(shelf.live_rows().await, before);
    assert_eq!(
        shelf.postgres.replaced().await.unwrap(),
        std::slice::from_ref(&aside)
    );
    // What the agent itself had open is open again.
    shelf.postgres.schema().await.unwrap();

    let undo = new_id();
    let aside_again = shelf.replaced(undo);
    shelf.postgres.swap(&aside, &aside_again).await.unwrap();
    assert_eq!(shelf.live_rows().await, after);
    let kept = shelf.postgres.replaced().await.unwrap();
    assert_eq!(kept, std::slice::from_ref(&aside_again));

    let error = shelf.postgres.drop_replaced(&shelf.database.name).await;
    assert!(told(&error.unwrap_err()).contains("not one that was replaced"));
    shelf.postgres.drop_replaced(&aside_again).await.unwrap();
    shelf.postgres.drop_replaced(&aside_again).await.unwrap();
    assert_eq!(shelf.postgres.replaced().await.unwrap(), [""; 0]);
    assert_eq!(shelf.live_rows().await, after);
}

#[tokio::test]
async fn owners_and_privileges_come_back_with_roles_that_were_gone() {
    let mut shelf = Shelf::new().await;
    shelf
        .database
        .run(
            "CREATE ROLE \"cura-tor\" NOLOGIN; ALTER TABLE days OWNER TO \"cura-tor\"; \
              CREATE ROLE guest LOGIN PASSWORD 'hush'; GRANT SELECT ON events TO guest",
        )
        .await;
    let taken = shelf.create().await;
    // As on a new machine: nobody by these names.
    shelf
        .database
        .run("ALTER ROLE \"cura-tor\" RENAME TO curator_before; ALTER ROLE guest RENAME TO guest_before")
        .await;
    let job = new_id();
    let restored = shelf.dumps.restore(None, taken.id, job, &|_| ()).await;
    let notes = restored.unwrap().notes;
    let needs_password = notes
        .iter()
        .any(|note| note.contains("without a password") && note.contains("\"guest\""));
    assert!(needs_password, "{notes:?}");
    let mut copy = shelf.database.server.connect(&scratch_name(job)).await;
    let owner: String =
        sqlx::query_scalar("SELECT tableowner::text FROM pg_tables WHERE tablename = 'days'")
            .fetch_one(&mut copy)
            .await
            .unwrap();
    assert_eq!(owner, "cura-tor");
    let may: bool = sqlx::query_scalar(
        "SELECT has_table_privilege('guest', 'events', 'SELECT') AND rolcanlogin FROM pg_roles WHERE rolname = 'guest'",
    )
    .fetch_one(&mut copy)
    .await
    .unwrap();
    assert!(may);
    drop(copy);
    shelf.postgres.drop_scratch(job).await.unwrap();
}

#[tokio::test]
async fn another_nodes_place_can_be_restored_from_and_is_left_as_it_is() {
    let shelf = Shelf::new().await;
    let taken = shelf.create().await;
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    let own = shelf._keep.path().join("own");
    let dumps = Dumps::new(settings(&own), exec, Arc::clone(&shelf.postgres)).unwrap();
    let (job, files) = (new_id(), shelf.files());
    let error = dumps.restore(None, taken.id, job, &|_| ()).await;
    assert!(error.is_err(), "not in its own place");
    let place = Url::from_directory_path(&shelf.folder).unwrap();
    assert_eq!(
        Snapshots::survey(&dumps, Some(&place))
            .await
            .unwrap()
            .snapshots,
        std::slice::from_ref(&taken)
    );
    let restored = dumps.restore(Some(&place), taken.id, job, &|_| ()).await;
    assert_eq!(restored.unwrap().snapshot.rows, taken.rows);
    assert_eq!(shelf.files(), files);
    shelf.postgres.drop_scratch(job).await.unwrap();
}

#[tokio::test]
async fn what_is_damaged_never_comes_near_the_live_database() {
    let shelf = Shelf::new().await;
    let taken = shelf.create().await;
    let dump = shelf.folder.join(&taken.dump);
    let whole = fs::read(&dump).unwrap();
    let before = shelf.live_rows().await;
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 4;
    for bytes in [&flipped[..], &whole[..whole.len() - 1]] {
        fs::write(&dump, bytes).unwrap();
        let job = new_id();
        let error = shelf.dumps.restore(None, taken.id, job, &|_| ()).await;
        let error = error.unwrap_err();
        let told_apart = matches!(
            error,
            SnapshotError::Damaged { .. } | SnapshotError::Unreadable(_)
        );
        assert!(told_apart, "{error:?}");
        shelf.assert_no_scratch(job).await;
    }
    assert_eq!(shelf.live_rows().await, before);
    let error = shelf
        .postgres
        .swap("nobody", &shelf.replaced(new_id()))
        .await;
    assert!(matches!(error, Err(DatabaseError::Broken { .. })));
    assert_eq!(shelf.live_rows().await, before);
}

#[tokio::test]
async fn what_an_interruption_left_of_a_snapshot_is_cleared_away() {
    let shelf = Shelf::new().await;
    let other = shelf.create().await;
    let wanted = wanted();
    let whole = shelf.dumps.create(&wanted, &|_| ()).await.unwrap();
    assert_eq!(
        shelf.dumps.clear_away(wanted.id).await.unwrap(),
        Some(whole.clone())
    );

    // The agent was killed before the manifest, in the middle of the dump.
    let manifest = whole.dump.replace(".dump", ".manifest.json");
    fs::remove_file(shelf.folder.join(manifest)).unwrap();
    fs::write(shelf.folder.join(format!("{}#1", whole.dump)), "PGDMP").unwrap();
    assert_eq!(shelf.dumps.clear_away(wanted.id).await.unwrap(), None);
    assert_eq!(shelf.dumps.clear_away(wanted.id).await.unwrap(), None);
    let left = shelf.files();
    assert!(
        left.iter().all(|name| !name.starts_with(&whole.dump)),
        "{left:?}"
    );
    assert_eq!(left.len(), 3, "the other one is whole: {left:?}");
    assert_eq!(shelf.dumps.list().await.unwrap(), [other]);
}
