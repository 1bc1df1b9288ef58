//! A damaged dump on its way back, with PostgreSQL's programs run as a node runs them: by the Docker
//! Engine, in the container of a Compose service.

use std::{fs, path::Path, sync::Arc};

use togather_agent::{
    containers::{Docker, compose},
    database::Database,
    snapshots::{Dumps, Manifest, Programs, SnapshotError, Snapshots},
};

use crate::{
    NOISE, Shelf, new_id,
    postgres_server::{Server, in_time, until},
    settings,
};

const PROJECT: &str = "fleet-tests-damaged";
const SOCKET: &str = "/var/run/docker.sock";

/// A server that is a service of a Compose project.
async fn server() -> &'static Server {
    let project = format!("com.docker.compose.project={PROJECT}");
    let labels = [
        "--label",
        &project,
        "--label",
        "com.docker.compose.service=database",
        "--label",
        "com.docker.compose.oneoff=False",
    ];
    Server::own("-damaged", &labels, &[]).await
}

/// A large snapshot, proven, and the agent as a node has it.
async fn proven() -> (Shelf, Dumps, Manifest) {
    let mut shelf = Shelf::on(server().await, |docker| docker).await;
    shelf.database.run(NOISE).await;
    let file = shelf._keep.path().join("docker-compose.yml");
    let services = "services:\n  app: {}\n  database: {image: none}\n";
    fs::write(&file, format!("name: {PROJECT}\n{services}")).unwrap();
    let compose = compose::load(&file, &Default::default(), "app").unwrap();
    let programs = Programs::InService {
        exec: Arc::new(Docker::new(Path::new(SOCKET), compose, 8080).unwrap()),
        service: "database".into(),
    };
    let database = Arc::clone(&shelf.postgres);
    let dumps = Dumps::new(settings(&shelf.folder), programs, database).unwrap();
    let taken = shelf.create().await;
    let operation = new_id();
    let proven = dumps.prove(taken.id, operation, &|_| ());
    let proven = in_time("a proof", proven).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    (shelf, dumps, proven)
}

#[tokio::test]
async fn damage_ends_the_proof_takes_the_mark_away_and_the_next_job_runs() {
    let (shelf, dumps, damaged) = proven().await;
    let path = shelf.folder.join(&damaged.dump);
    let whole = fs::read(&path).unwrap();
    let (mut flipped, mut short) = (whole.clone(), whole.clone());
    flipped[whole.len() / 2] ^= 1;
    short.truncate(whole.len() / 2);
    short.resize(whole.len(), 0);
    for bytes in [flipped, short] {
        fs::write(&path, bytes).unwrap();
        for restore in [false, true] {
            let operation = new_id();
            let ended = async {
                match restore {
                    true => dumps
                        .restore(None, damaged.id, operation, &|_| ())
                        .await
                        .map(|restored| restored.snapshot),
                    false => dumps.prove(damaged.id, operation, &|_| ()).await,
                }
            };
            let error = in_time("a damaged dump", ended).await.unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{error:?}");
            shelf.assert_no_scratch(operation).await;
            let listed = dumps.list().await.unwrap();
            assert_eq!(listed[0].verified_at, None, "the mark is gone");
            until("neither database nor file is left", || async {
                dumps.leftovers().await.unwrap().is_empty()
            })
            .await;
        }
        fs::write(&path, &whole).unwrap();
        let operation = new_id();
        let next = dumps.prove(damaged.id, operation, &|_| ());
        let next = in_time("the next proof", next).await.unwrap();
        assert!(next.verified_at > damaged.verified_at);
        shelf.postgres.drop_scratch(operation).await.unwrap();
    }
}
