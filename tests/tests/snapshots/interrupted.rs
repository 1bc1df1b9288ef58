//! Snapshots that are interrupted in the middle of the dump.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use togather_agent::{
    containers::{ContainersError, Exec, Output, Process},
    database::Database,
    snapshots::{Dumps, Manifest, SnapshotError, Snapshots},
};
use tokio::sync::Notify;

use crate::{
    NOISE, Shelf,
    held::Held,
    new_id,
    postgres_server::{DockerExec, Server, shared, until},
    settings, wanted,
};

/// Lets so much of a dump through, then waits for leave to go on.
pub(crate) struct Gated {
    pub(crate) docker: DockerExec,
    pub(crate) gate: Arc<Gate>,
}

#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) reached: Notify,
    open: Notify,
}

impl Gate {
    /// Lets everything pass from now on.
    pub(crate) async fn stays_open(&self) -> ! {
        loop {
            self.open.notify_one();
            self.reached.notified().await;
        }
    }
}

#[async_trait]
impl Exec for Gated {
    async fn exec(
        &self,
        service: &str,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<Process, ContainersError> {
        let mut process = self.docker.exec(service, command, environment).await?;
        if command[0] == "pg_dump" {
            let gate = Arc::clone(&self.gate);
            let mut seen = 0;
            process.output = process
                .output
                .then(move |piece| {
                    if let Ok(Output::Stdout(bytes)) = &piece {
                        seen += bytes.len();
                    }
                    let wait = seen > 1 << 20;
                    seen = if wait { 0 } else { seen };
                    let gate = Arc::clone(&gate);
                    async move {
                        if wait {
                            gate.reached.notify_one();
                            gate.open.notified().await;
                        }
                        piece
                    }
                })
                .boxed();
        }
        Ok(process)
    }
}

async fn gated() -> (Shelf, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let mut shelf = Shelf::with_exec(|docker| Gated {
        docker,
        gate: Arc::clone(&gate),
    })
    .await;
    shelf.database.run(NOISE).await;
    (shelf, gate)
}

/// A snapshot with nothing in the way.
pub(crate) async fn create(shelf: &Shelf, gate: &Gate) -> Manifest {
    tokio::select! {
        taken = shelf.create() => taken,
        never = gate.stays_open() => never,
    }
}

/// One that is there to be lost.
async fn proven(shelf: &Shelf, gate: &Gate) -> Manifest {
    let taken = create(shelf, gate).await;
    let operation = new_id();
    let proven = shelf.prove(&taken, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    proven
}

/// Of the interrupted snapshot nothing is left, what was verified is so still, and the next succeeds.
async fn assert_only(shelf: &Shelf, first: &Manifest, gate: &Gate) {
    let server = shelf.database.server;
    until("nothing of the snapshot is left", || async {
        shelf.files().len() == 4
    })
    .await;
    until("its programs have ended", || async {
        server.dumping(&shelf.database.name).await == 0
    })
    .await;
    let listed = shelf.dumps.list().await.unwrap();
    assert_eq!(&listed[..], std::slice::from_ref(first));
    let next = create(shelf, gate).await;
    let listed = shelf.dumps.list().await.unwrap();
    assert_eq!(listed, [next, first.clone()]);
}

#[tokio::test]
async fn a_pg_dump_killed_midway_leaves_nothing_and_the_next_one_succeeds() {
    let (shelf, gate) = gated().await;
    let first = proven(&shelf, &gate).await;
    let wanted = wanted();
    let application = format!("togather-pg_dump-{}", wanted.id.to_string().to_lowercase());
    let create = shelf.dumps.create(&wanted, &|_| ());
    let kill = async {
        gate.reached.notified().await;
        let server = shelf.database.server;
        let _killing = server.kill(&application);
        let gone = || async { server.dumping(&shelf.database.name).await == 0 };
        until("pg_dump is killed", gone).await;
        // What was in the pipes still comes.
        gate.stays_open().await
    };
    let created = tokio::select! {
        created = create => created,
        never = kill => never,
    };
    assert_killed(&created.unwrap_err(), "pg_dump");
    assert_only(&shelf, &first, &gate).await;
}

fn assert_killed(error: &SnapshotError, killed: &str) {
    let was_killed = matches!(
        error,
        SnapshotError::Program { program, exit_code: 137, .. } if *program == killed
    );
    assert!(was_killed, "{error:?}");
}

#[tokio::test]
async fn a_snapshot_given_up_midway_leaves_nothing_and_the_next_one_succeeds() {
    let (shelf, gate) = gated().await;
    let first = proven(&shelf, &gate).await;
    let wanted = wanted();
    tokio::select! {
        created = shelf.dumps.create(&wanted, &|_| ()) => panic!("{created:?}"),
        () = gate.reached.notified() => {}
    }
    assert_only(&shelf, &first, &gate).await;
}

/// Ends this program as a want of memory does, once it has printed a little.
struct Killed {
    docker: DockerExec,
    program: &'static str,
}

#[async_trait]
impl Exec for Killed {
    async fn exec(
        &self,
        service: &str,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<Process, ContainersError> {
        if command[0] != self.program {
            return self.docker.exec(service, command, environment).await;
        }
        let killed = ["sh", "-c", "\"$@\" | head -c 100; kill -KILL $$", "sh"];
        let command: Vec<String> = killed
            .map(str::to_owned)
            .into_iter()
            .chain(command.to_vec())
            .collect();
        self.docker.exec(service, &command, environment).await
    }
}

#[tokio::test]
async fn a_pg_dumpall_killed_midway_leaves_nothing_and_the_next_one_succeeds() {
    let shelf = Shelf::new().await;
    let gate = Gate::default();
    let first = proven(&shelf, &gate).await;
    let killed = shared(Killed {
        docker: DockerExec(shelf.database.server.container.clone()),
        program: "pg_dumpall",
    });
    let database = Arc::clone(&shelf.postgres);
    let dumps = Dumps::new(settings(&shelf.folder), killed, database).unwrap();
    let created = dumps.create(&wanted(), &|_| ()).await;
    assert_killed(&created.unwrap_err(), "pg_dumpall");
    assert_only(&shelf, &first, &gate).await;
}

#[tokio::test]
async fn a_pg_restore_killed_midway_proves_nothing_takes_no_mark_away_and_the_next_one_succeeds() {
    // Without an init, PostgreSQL itself gets the orphaned workers of the killed program, takes one
    // that a signal ended for its own, and restarts.
    let server = Server::own("-killed-restore", &["--init"], &[]).await;
    let mut shelf = Shelf::on(server, |docker| docker).await;
    let held = Held::table(&mut shelf).await;
    let (unproven, first) = (shelf.create().await, proven(&shelf, &Gate::default()).await);
    for snapshot in [&unproven, &first] {
        let before = shelf.dumps.list().await.unwrap();
        held.hold();
        let job = new_id();
        let application = format!("togather-pg_restore-{}", job.to_string().to_lowercase());
        let kill = async {
            until("pg_restore is at work", || server.restoring(job)).await;
            let killed = server.kill(&application).wait().await;
            assert!(killed.unwrap().success());
        };
        let (proven, ()) = tokio::join!(shelf.prove(snapshot, job), kill);
        assert_killed(&proven.unwrap_err(), "pg_restore");
        shelf.assert_no_scratch(job).await;
        let listed = shelf.dumps.list().await.unwrap();
        assert_eq!(listed, before, "marked as before");
        until("the file beside the database is gone", || async {
            !shelf.dumps.leftovers().await.unwrap().contains(&job)
        })
        .await;
        held.let_go();
        let next = new_id();
        let whole = shelf.dumps.prove(snapshot.id, next, &|_| ()).await.unwrap();
        assert!(whole.verified_at > snapshot.verified_at);
        shelf.postgres.drop_scratch(next).await.unwrap();
    }
}
