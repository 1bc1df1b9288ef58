//! Disks that are full: the node's own under a store or a spool, and the database server's.

use std::{env, path::Path, process::Command, sync::Arc};

use togather_agent::{
    database::Database,
    snapshots::{Dumps, Reason, SnapshotError, SnapshotSettings, Snapshots, Spool, Wanted},
};

use crate::{
    NOISE, Shelf, new_id,
    postgres_server::{DockerExec, Server, docker, shared, told, until},
    settings, wanted,
};

/// Set in a run of this program that may mount what it likes, and nobody else sees it.
const MAY_MOUNT: &str = "TOGATHER_TESTS_MAY_MOUNT";

/// Runs one of these tests again where it may mount; returns whether this is that run.
fn may_mount(test: &str) -> bool {
    if env::var_os(MAY_MOUNT).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    // Who is not root is root in a namespace of its own.
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let again = unshare
        .arg(env::current_exe().unwrap())
        .args(["--exact", test])
        .env(MAY_MOUNT, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    let complained = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
    false
}

/// Makes this folder a file system of so many MiB.
fn mount(folder: &Path, mebibytes: u32) {
    std::fs::create_dir_all(folder).unwrap();
    let size = format!("size={mebibytes}m,mode=700");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
        .arg(folder)
        .output()
        .unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_store_or_a_spool_on_a_full_disk_keeps_nothing_half_made() {
    if !may_mount("full::a_store_or_a_spool_on_a_full_disk_keeps_nothing_half_made") {
        return;
    }
    let mut shelf = Shelf::new().await;
    mount(&shelf.folder, 6);
    let small = shelf.create().await;
    shelf.database.run(NOISE).await;
    let before = names(&shelf.folder);

    let error = shelf.dumps.create(&wanted(), &|_| ()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Store { .. }), "{error:?}");
    let text = told(&error);
    let folder = shelf.folder.to_str().unwrap();
    assert!(
        text.contains("No space left on device") && text.contains(folder),
        "{text}"
    );
    until("nothing half-made is left", || async {
        names(&shelf.folder) == before
    })
    .await;
    let listed = shelf.dumps.list().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&small));

    // The store is away, and the node's own disk is full as well.
    let spool = shelf._keep.path().join("spool");
    mount(&spool, 2);
    let away = shelf._keep.path().join("a file");
    std::fs::write(&away, "").unwrap();
    let with_spool = SnapshotSettings {
        spool: Some(Spool {
            folder: spool.clone(),
            at_most: 1 << 30,
        }),
        ..settings(&away.join("below it"))
    };
    let exec = shared(DockerExec(shelf.database.server.container.clone()));
    let dumps = Dumps::new(with_spool, exec, Arc::clone(&shelf.postgres)).unwrap();
    let scheduled = Wanted {
        reason: Reason::Scheduled,
        ..wanted()
    };
    let error = dumps.create(&scheduled, &|_| ()).await.unwrap_err();
    assert!(
        matches!(error, SnapshotError::NotSpooled { .. }),
        "{error:?}"
    );
    let text = told(&error);
    for part in ["a file", "No space left on device", "spool"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    until("the spool is empty", || async { names(&spool).is_empty() }).await;

    // There is room again.
    shelf.database.run("DROP TABLE noise").await;
    let next = shelf.create().await;
    assert_eq!(shelf.dumps.list().await.unwrap(), [next, small]);
    let taken = dumps.create(&scheduled, &|_| ()).await.unwrap();
    assert!(taken.spooled);
}

/// Where the database image has its data.
const DATA: &str = "/var/lib/postgresql/data";
const BALLAST: &str = "/var/lib/postgresql/data/ballast";

/// Leaves so many MiB of the folder's file system free.
fn fill(server: &Server, folder: &str, ballast: &str, free: u64) {
    let measured = docker(&[
        "exec",
        &server.container,
        "df",
        "--output=avail",
        "--block-size=1M",
        folder,
    ]);
    let measured = measured.unwrap();
    let available: u64 = measured.lines().last().unwrap().trim().parse().unwrap();
    let count = format!("count={}", available.checked_sub(free).unwrap());
    let output = format!("of={ballast}");
    let dd = ["dd", "if=/dev/zero", &output, "bs=1M", &count];
    docker(&[&["exec", &server.container], &dd[..]].concat()).unwrap();
}

#[tokio::test]
async fn a_database_server_whose_disk_is_full_says_so_and_proves_once_there_is_room() {
    let data = format!("{DATA}:size=400m");
    let options = ["--tmpfs", &data, "--tmpfs", "/var/tmp:size=40m"];
    // Its log takes little, so that it is not what runs out of room: that would end the server.
    let settings = ["wal_level=minimal", "max_wal_senders=0"];
    let server = Server::own("-full", &options, &settings).await;
    let mut shelf = Shelf::on(server, |exec| exec).await;
    shelf.database.run(NOISE).await;
    let taken = shelf.create().await;
    // No room for the dump beside the database: it is streamed.
    fill(server, "/var/tmp", "/var/tmp/ballast", 2);
    let operation = new_id();
    shelf.prove(&taken, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    until("only the ballast is left", || async {
        let left = docker(&["exec", &server.container, "ls", "/var/tmp"]);
        left.unwrap() == "ballast"
    })
    .await;
    docker(&["exec", &server.container, "rm", "/var/tmp/ballast"]).unwrap();

    // No room for the copy of the database.
    fill(server, DATA, BALLAST, 20);
    let verified_before = shelf.dumps.list().await.unwrap()[0].verified_at;
    let operation = new_id();
    let error = shelf.prove(&taken, operation).await.unwrap_err();
    let text = told(&error);
    assert!(text.contains("No space left on device"), "{text}");
    shelf.assert_no_scratch(operation).await;
    let listed = shelf.dumps.list().await.unwrap();
    assert_eq!(listed[0].verified_at, verified_before, "no newer mark");

    docker(&["exec", &server.container, "rm", BALLAST]).unwrap();
    let proven = shelf.prove(&taken, operation).await.unwrap();
    shelf.postgres.drop_scratch(operation).await.unwrap();
    assert!(proven.verified_at > verified_before);
}
