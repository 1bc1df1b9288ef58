//! The database server killed in the middle of a dump, a proof, a restore and a swap, as a power cut
//! or the kernel's want of memory does it; and what is there when it is back.

use std::sync::Arc;

use sqlx::Connection;
use togather_agent::{
    database::{Database, replaced_name, scratch_name},
    snapshots::{SnapshotError, Snapshots},
};

use crate::{
    NOISE, Shelf,
    held::Held,
    interrupted::{Gate, Gated, create},
    new_id,
    postgres_server::{Server, until},
    wanted,
};

async fn shelf(server: &'static Server) -> (Shelf, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let mut shelf = Shelf::on(server, |docker| Gated {
        docker,
        gate: Arc::clone(&gate),
    })
    .await;
    shelf.database.run(NOISE).await;
    (shelf, gate)
}

#[tokio::test]
async fn killed_in_the_middle_of_a_dump_it_leaves_nothing() {
    let server = Server::own("-crashed-dump", &[], &[]).await;
    let (shelf, gate) = shelf(server).await;
    let first = create(&shelf, &gate).await;
    let before = new_id();
    let first = shelf.prove(&first, before).await.unwrap();
    shelf.postgres.drop_scratch(before).await.unwrap();
    let files = shelf.files();
    let wanted = wanted();
    let say = |_| ();
    let mut crash = None;
    let crashing = async {
        gate.reached.notified().await;
        crash = Some(server.crash());
        // What was in the pipes still comes.
        gate.stays_open().await
    };
    let created = tokio::select! {
        created = shelf.dumps.create(&wanted, &say) => created,
        never = crashing => never,
    };
    let error = created.unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::Program { .. }
                | SnapshotError::Container { .. }
                | SnapshotError::Database(_)
        ),
        "{error:?}"
    );
    until("nothing of it is left", || async { shelf.files() == files }).await;

    server.come_back(crash.unwrap()).await;
    assert_eq!(server.dumping(&shelf.database.name).await, 0);
    let taken = create(&shelf, &gate).await;
    assert_eq!(shelf.dumps.list().await.unwrap(), [taken, first]);
}

#[tokio::test]
async fn killed_in_the_middle_of_a_restore_it_leaves_what_the_next_job_clears_away() {
    let server = Server::own("-crashed-restore", &[], &[]).await;
    let (mut shelf, gate) = shelf(server).await;
    let held = Held::table(&mut shelf).await;
    let taken = create(&shelf, &gate).await;
    let before = new_id();
    let taken = shelf.prove(&taken, before).await.unwrap();
    shelf.postgres.drop_scratch(before).await.unwrap();
    let say = |_| ();
    for live in [false, true] {
        let job = new_id();
        held.hold();
        let restore = async {
            match live {
                true => {
                    let restored = shelf.dumps.restore(None, taken.id, job, &say).await;
                    restored.map(|restored| restored.snapshot)
                }
                false => shelf.dumps.prove(taken.id, job, &say).await,
            }
        };
        let crash = async {
            until("pg_restore is at work", || server.restoring(job)).await;
            server.crash()
        };
        let (restored, crash) = tokio::join!(restore, crash);
        let error = restored.unwrap_err();
        assert!(
            matches!(
                error,
                SnapshotError::Program { .. } | SnapshotError::Container { .. }
            ),
            "{error:?}"
        );

        server.come_back(crash).await;
        let listed = shelf.dumps.list().await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&taken), "verified as before");
        assert_eq!(shelf.dumps.leftovers().await.unwrap(), [job]);
        let file = format!(
            "/var/tmp/togather_restore_{}",
            job.to_string().to_lowercase()
        );
        assert!(server.has_file(&file), "it could not be removed");
        shelf.dumps.end_programs(job).await.unwrap();
        shelf.postgres.drop_scratch(job).await.unwrap();
        assert_eq!(shelf.dumps.leftovers().await.unwrap(), []);
        assert!(!server.has_file(&file));
        shelf.assert_no_scratch(job).await;
    }
    held.let_go();
    let job = new_id();
    shelf.prove(&taken, job).await.unwrap();
    shelf.postgres.drop_scratch(job).await.unwrap();
    assert_eq!(shelf.dumps.leftovers().await.unwrap(), []);
}

#[tokio::test]
async fn killed_in_the_middle_of_a_swap_it_has_swapped_nothing_and_does_when_asked_again() {
    let server = Server::own("-crashed-swap", &[], &[]).await;
    let (mut shelf, gate) = shelf(server).await;
    let taken = create(&shelf, &gate).await;
    shelf.database.run("DELETE FROM events").await;
    let job = new_id();
    let restored = shelf.dumps.restore(None, taken.id, job, &|_| ()).await;
    restored.unwrap();
    let (incoming, outgoing) = (scratch_name(job), replaced_name(&shelf.database.name, job));
    // Looking at the databases is fine, but nobody gives them other names for now.
    let mut holder = server.connect("postgres").await;
    let mut holding = holder.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE pg_database IN SHARE MODE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let crash = async {
        until("the swap waits for its lock", || async {
            let mut admin = server.connect("togather").await;
            let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity \
                           WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER DATABASE%')";
            let waiting = sqlx::query_scalar(waiting).fetch_one(&mut admin);
            waiting.await.unwrap()
        })
        .await;
        server.crash()
    };
    let (swapped, crash) = tokio::join!(shelf.postgres.swap(&incoming, &outgoing), crash);
    let error = swapped.unwrap_err();
    assert!(error.is_away(), "{error:?}");
    assert!(
        shelf
            .postgres
            .exists(&incoming)
            .await
            .unwrap_err()
            .is_away()
    );

    server.come_back(crash).await;
    assert!(!shelf.postgres.exists(&outgoing).await.unwrap());
    assert_eq!(events(server, &shelf.database.name).await, 0, "as it was");
    shelf.postgres.swap(&incoming, &outgoing).await.unwrap();
    assert_eq!(events(server, &shelf.database.name).await, 3000);
    assert_eq!(events(server, &outgoing).await, 0);
}

async fn events(server: &Server, database: &str) -> i64 {
    let mut session = server.connect(database).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM events");
    count.fetch_one(&mut session).await.unwrap()
}
