//! An agent killed in the middle of its work, and what the next one finds.
//!
//! A future that is forgotten stands for the agent that was killed: none of its own clearing up runs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use togather_agent::{
    containers::{ContainersError, Exec, Output, Process},
    database::{Database, scratch_name},
    snapshots::{Dumps, Programs, SnapshotError, SnapshotSettings, Snapshots},
};
use tokio::{net::TcpStream, sync::Notify, task::JoinHandle};

use crate::{
    NOISE, Shelf,
    bucket::{listen, objects, s3, unfinished},
    held::Held,
    new_id,
    postgres_server::{DockerExec, shared, until},
    settings, wanted,
};

/// Lets so much of a dump through, and nothing ever after.
struct Stuck {
    docker: DockerExec,
    reached: Arc<Notify>,
}

#[async_trait]
impl Exec for Stuck {
    async fn exec(
        &self,
        service: &str,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<Process, ContainersError> {
        let mut process = self.docker.exec(service, command, environment).await?;
        if command[0] != "pg_dump" {
            return Ok(process);
        }
        let (reached, mut seen) = (Arc::clone(&self.reached), 0);
        process.output = process
            .output
            .then(move |piece| {
                if let Ok(Output::Stdout(bytes)) = &piece {
                    seen += bytes.len();
                }
                let (stuck, reached) = (seen > 12 << 20, Arc::clone(&reached));
                async move {
                    if stuck {
                        reached.notify_one();
                        std::future::pending::<()>().await;
                    }
                    piece
                }
            })
            .boxed();
        Ok(process)
    }
}

/// The agent of this shelf's database, with its snapshots in a bucket.
fn agent(shelf: &Shelf, port: u16, programs: Programs) -> Dumps {
    let objects = objects(port, "hush", 1, Duration::from_secs(30));
    let settings = SnapshotSettings {
        store: "s3://bucket/node-1".parse().unwrap(),
        uploads: Some(shelf._keep.path().join("uploads")),
        ..settings(&shelf.folder)
    };
    let database = Arc::clone(&shelf.postgres);
    Dumps::over(settings, Arc::new(objects), programs, database).unwrap()
}

fn docker(shelf: &Shelf) -> DockerExec {
    DockerExec(shelf.database.server.container.clone())
}

#[tokio::test]
async fn killed_in_the_middle_of_a_dump_it_leaves_no_object_no_parts_and_no_program() {
    let mut shelf = Shelf::new().await;
    shelf.database.run(NOISE).await;
    let root = shelf._keep.path().join("s3");
    let port = s3(&root).await;
    let reached = Arc::new(Notify::new());
    let stuck = Stuck {
        docker: docker(&shelf),
        reached: Arc::clone(&reached),
    };
    let killed = agent(&shelf, port, shared(stuck));
    let wanted = wanted();
    let say = |_| ();
    let mut create = killed.create(&wanted, &say);
    tokio::select! {
        ended = &mut create => panic!("{ended:?}"),
        () = reached.notified() => {}
    }
    // The upload's own file and its two parts: one still on its way could come after the clearing up.
    until("both parts are on the server", || async {
        unfinished(&root) == 3
    })
    .await;
    std::mem::forget(create);

    let next = agent(&shelf, port, shared(docker(&shelf)));
    assert_eq!(
        next.list().await.unwrap(),
        [],
        "nothing half-made is listed"
    );
    next.end_programs(wanted.id).await.unwrap();
    assert_eq!(next.clear_away(wanted.id).await.unwrap(), None);
    assert_eq!(unfinished(&root), 0);
    let server = shelf.database.server;
    until("its programs have ended", || async {
        server.dumping(&shelf.database.name).await == 0
    })
    .await;
    let survey = next.survey().await.unwrap();
    assert!(survey.orphans.is_empty(), "{survey:?}");
    let taken = next.create(&wanted, &say).await.unwrap();
    assert_eq!(next.list().await.unwrap(), [taken]);
    assert_eq!(unfinished(&root), 0);
}

#[tokio::test]
async fn killed_in_the_middle_of_a_proof_it_leaves_no_scratch_no_file_and_the_mark() {
    let mut shelf = Shelf::new().await;
    let held = Held::table(&mut shelf).await;
    let taken = shelf.create().await;
    let before = new_id();
    let taken = shelf.prove(&taken, before).await.unwrap();
    shelf.postgres.drop_scratch(before).await.unwrap();
    let (operation, say) = (new_id(), |_| ());
    let server = shelf.database.server;
    held.hold();
    let programs = shared(docker(&shelf));
    let database = Arc::clone(&shelf.postgres);
    let killed = Dumps::new(settings(&shelf.folder), programs, database).unwrap();
    let mut prove = killed.prove(taken.id, operation, &say);
    tokio::select! {
        ended = &mut prove => panic!("{ended:?}"),
        () = until("pg_restore is at work", || server.restoring(operation)) => {}
    }
    std::mem::forget(prove);
    let path = format!(
        "/var/tmp/{}",
        scratch_name(operation).replace("togather_scratch", "togather_restore")
    );
    assert!(server.has_file(&path), "{path} is there to be left behind");
    let leftovers = shelf.dumps.leftovers().await.unwrap();
    assert!(leftovers.contains(&operation), "{leftovers:?}");

    shelf.dumps.end_programs(operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    shelf.assert_no_scratch(operation).await;
    assert!(!server.has_file(&path), "{path} is left behind");
    let leftovers = shelf.dumps.leftovers().await.unwrap();
    assert!(!leftovers.contains(&operation), "{leftovers:?}");
    assert_eq!(
        shelf.dumps.list().await.unwrap(),
        std::slice::from_ref(&taken),
        "as it was, the mark too"
    );
    held.let_go();
    shelf.prove(&taken, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
}

/// A way to this port that can be cut: aborted, it takes its connections with it.
async fn line_to(port: u16) -> (u16, JoinHandle<()>) {
    listen(0, move |mut near| async move {
        let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    })
    .await
}

#[tokio::test]
async fn a_store_lost_in_the_middle_of_a_dump_is_told_and_leaves_nothing_for_long() {
    let mut shelf = Shelf::new().await;
    shelf.database.run(NOISE).await;
    let root = shelf._keep.path().join("s3");
    let port = s3(&root).await;
    let (near, line) = line_to(port).await;
    let away = agent(&shelf, near, shared(docker(&shelf)));
    let cut = async {
        until("parts are on the server", || async {
            unfinished(&root) > 1
        })
        .await;
        line.abort();
    };
    let wanted = wanted();
    let (taken, ()) = tokio::join!(away.create(&wanted, &|_| ()), cut);
    let error = taken.unwrap_err();
    assert!(matches!(error, SnapshotError::Store { .. }), "{error:?}");
    assert!(unfinished(&root) > 0, "nobody could take them back");
    let server = shelf.database.server;
    until("its programs have ended", || async {
        server.dumping(&shelf.database.name).await == 0
    })
    .await;

    // The store is back: the next snapshot tidies up first.
    let back = agent(&shelf, port, shared(docker(&shelf)));
    let taken = back.create(&crate::wanted(), &|_| ()).await.unwrap();
    assert_eq!(unfinished(&root), 0);
    assert_eq!(back.list().await.unwrap(), [taken]);
}

/// An upload id that the store does not know as one: some answer 400, some 403.
#[tokio::test]
async fn an_upload_that_cannot_be_taken_back_keeps_no_other_from_being_taken() {
    let shelf = Shelf::new().await;
    let port = s3(&shelf._keep.path().join("s3")).await;
    let notes = shelf._keep.path().join("uploads");
    std::fs::create_dir_all(&notes).unwrap();
    std::fs::write(notes.join("old.dump"), "node-1/old.dump\nno upload's id").unwrap();
    let agent = agent(&shelf, port, shared(docker(&shelf)));
    let taken = agent.create(&wanted(), &|_| ()).await.unwrap();
    assert_eq!(agent.list().await.unwrap(), [taken]);
    assert!(notes.join("old.dump").exists(), "it is tried again");
}
