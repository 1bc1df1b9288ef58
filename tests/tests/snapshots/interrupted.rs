//! Snapshots that are interrupted in the middle of the dump.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use togather_agent::{
    containers::{ContainersError, Exec, Output, Process},
    snapshots::{SnapshotError, Snapshots},
};
use togather_model::Timestamp;
use tokio::sync::Notify;

use crate::{
    NOISE, Shelf,
    postgres_server::{DockerExec, until},
    wanted,
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

async fn assert_nothing_left(shelf: &Shelf) {
    let server = shelf.database.server;
    until("nothing of the snapshot is left", || async {
        shelf.files().is_empty()
    })
    .await;
    until("its programs have ended", || async {
        server.dumping(&shelf.database.name).await == 0
    })
    .await;
    assert_eq!(shelf.dumps.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_pg_dump_killed_midway_leaves_nothing() {
    let (shelf, gate) = gated().await;
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
    let error = created.unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::Program {
                program: "pg_dump",
                exit_code: 137,
                ..
            }
        ),
        "{error:?}"
    );
    assert_nothing_left(&shelf).await;
}

#[tokio::test]
async fn a_snapshot_given_up_midway_leaves_nothing() {
    let (shelf, gate) = gated().await;
    let wanted = wanted();
    tokio::select! {
        created = shelf.dumps.create(&wanted, &|_| ()) => panic!("{created:?}"),
        () = gate.reached.notified() => {}
    }
    // The roles may have been stored by then; without a manifest they are leftovers.
    let server = shelf.database.server;
    until("the dump is taken back", || async {
        shelf
            .files()
            .iter()
            .all(|name| name.ends_with(".globals.sql"))
    })
    .await;
    until("pg_dump has ended", || async {
        server.dumping(&shelf.database.name).await == 0
    })
    .await;
    assert_eq!(shelf.dumps.list().await.unwrap(), []);
    let later = Timestamp::now() + Duration::from_secs(2 * 86_400);
    let left = shelf.files();
    let pruned = shelf.dumps.prune(&[], later).await.unwrap();
    assert_eq!(pruned, left);
    assert_eq!(shelf.files(), [""; 0]);
}
