//! The agent's containers against a real Docker Engine: base services, slots, programs inside
//! containers, image archives. Each test has a Compose project of its own and removes it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic is the report, in its helpers as well"
)]

mod project;
mod registry;

use std::time::{Duration, Instant};

use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions};
use futures::{StreamExt, stream::BoxStream};
use togather_agent::containers::{
    Containers, ContainersError, Docker, Exec, OneShot, OneShotFile, OneShots, Output,
    SlotContainer,
};
use togather_model::{Digest, Image, Slot};
use tokio::io::AsyncWriteExt;

use project::Project;

/// A service that comes up healthy at once, and an app that says what it is told to stop with.
const FILE: &str = r#"
services:
  db:
    image: ${IMAGE}
    command: [sh, -c, "echo the base is up; exec sleep infinity"]
    environment:
      SECRET: ${SECRET}
    volumes: ["data:/data"]
    networks: [default, back]
    healthcheck: {test: [CMD, "true"], interval: 100ms}
    stop_grace_period: 0s
  app:
    image: set-by-the-release
    command: [sh, -c, "echo the app is up; trap 'echo stopping; exit 3' TERM; while :; do sleep 0.1; done"]
    environment: {GREETING: hello, PROXY: "${TOGATHER_PROXY_CIDRS}"}
    depends_on: [db]
    restart: unless-stopped
    stop_grace_period: 5s
volumes: {data: }
networks: {back: }
"#;

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|&word| word.to_owned()).collect()
}

#[tokio::test]
async fn base_services_come_up_once() {
    Project::run("fleet-tests-base", async |project| {
        let docker = project.docker(FILE, "one");
        assert!(!docker.base_exists().await.unwrap());
        let said = docker.base_up().await.unwrap();
        assert_eq!(
            said,
            [
                "network fleet-tests-base_back created",
                "network fleet-tests-base_default created",
                "volume fleet-tests-base_data created",
                "db created and started"
            ]
        );
        assert!(docker.base_exists().await.unwrap());
        assert_eq!(docker.base_up().await.unwrap(), [""; 0]);

        let db = "fleet-tests-base-db";
        project.client.stop_container(db, None).await.unwrap();
        assert_eq!(docker.base_up().await.unwrap(), ["db started"]);

        let before = project.client.inspect_container(db, None).await.unwrap();
        let said = project.docker(FILE, "two").base_up().await.unwrap();
        assert!(said[0].starts_with("db differs from the Compose file and was left as it is"));
        let after = project.client.inspect_container(db, None).await.unwrap();
        assert_eq!(before.id, after.id);
        for network in after.network_settings.unwrap().networks.unwrap().values() {
            assert!(network.aliases.as_ref().unwrap().contains(&"db".to_owned()));
        }
        let labels = after.config.unwrap().labels.unwrap();
        assert_eq!(labels["com.docker.compose.service"], "db");
        assert!(
            labels.values().all(|value| !value.contains("one")),
            "a label shows a secret"
        );
    })
    .await;
}

#[tokio::test]
async fn a_base_service_that_fails_says_why() {
    let file = r#"
services:
  db:
    image: ${IMAGE}
    command: [sh, -c, "echo disk on fire; exec sleep infinity"]
    healthcheck: {test: "echo no answer; exit 1", interval: 100ms, retries: 2}
    stop_grace_period: 0s
  app: {}
"#;
    Project::run("fleet-tests-sick", async |project| {
        let error = project.docker(file, "").base_up().await.unwrap_err();
        let ContainersError::NotUp { service, why, logs } = error else {
            panic!("{error}");
        };
        assert_eq!(
            (&*service, &*why),
            ("db", "its health check fails: no answer")
        );
        assert_eq!(logs, "disk on fire\n");
    })
    .await;
    let file = file.replace("exec sleep infinity", "exit 9");
    Project::run("fleet-tests-dead", async |project| {
        let error = project.docker(&file, "").base_up().await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("`db` did not come up: it ended with exit code 9"),
            "{error}"
        );
        assert!(error.contains("disk on fire"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_base_service_that_was_half_made_is_made_anew() {
    Project::run("fleet-tests-half", async |project| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = format!("    ports: ['127.0.0.1:{port}:80']\n    networks: [default, back]");
        let file = FILE.replace("    networks: [default, back]", &ports);
        let error = project.docker(&file, "").base_up().await.unwrap_err();
        let error = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(
            error.contains("start the container fleet-tests-half-db"),
            "{error}"
        );
        assert!(error.contains("already in use"), "{error}");

        let said = project.docker(FILE, "").base_up().await.unwrap();
        assert_eq!(said, ["db created and started"]);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_asked_for() {
    Project::run("fleet-tests-no-image", async |project| {
        let file = FILE.replace("${IMAGE}", "127.0.0.1:9/nowhere");
        let error = project.docker(&file, "").base_up().await.unwrap_err();
        assert!(matches!(error, ContainersError::NoImage { .. }), "{error}");
        assert!(
            error.to_string().contains("bring it with `docker pull`"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_slot_is_started_stopped_and_removed_and_each_twice() {
    Project::run("fleet-tests-blue", async |project| {
        let docker = project.docker(FILE, "");
        docker.base_up().await.unwrap();
        let slot = Slot::Blue;
        docker.remove_slot(slot).await.unwrap();
        docker.stop_slot(slot).await.unwrap();
        assert_eq!(docker.slot(slot).await.unwrap(), None);
        let error = docker.restart_slot(slot).await.unwrap_err();
        assert!(
            matches!(error, ContainersError::EmptySlot(Slot::Blue)),
            "{error}"
        );

        docker
            .start_slot(slot, &project.app("1.0.0").await)
            .await
            .unwrap();
        let two = project.app("2.0.0").await;
        docker.start_slot(slot, &two).await.unwrap();
        let held = SlotContainer {
            made_of: docker.made_of(),
            release: Some(two.release),
            version: "2.0.0".into(),
            running: true,
            exit_code: None,
        };
        assert_eq!(docker.slot(slot).await.unwrap(), Some(held.clone()));
        published_on_loopback_only(project).await;
        until_it_logs(&docker, slot, "the app is up\n").await;

        for _ in 0..2 {
            docker.stop_slot(slot).await.unwrap();
            let stopped = SlotContainer {
                made_of: docker.made_of(),
                running: false,
                exit_code: Some(3),
                ..held.clone()
            };
            assert_eq!(docker.slot(slot).await.unwrap(), Some(stopped));
        }
        assert_eq!(docker.logs(slot, 1).await.unwrap(), "stopping\n");
        for _ in 0..2 {
            docker.restart_slot(slot).await.unwrap();
            assert!(docker.slot(slot).await.unwrap().unwrap().running);
        }
        for _ in 0..2 {
            docker.remove_slot(slot).await.unwrap();
            assert_eq!(docker.slot(slot).await.unwrap(), None);
        }
    })
    .await;
}

async fn published_on_loopback_only(project: &Project) {
    let found = project
        .client
        .inspect_container("togather-blue", None)
        .await;
    let ports = found.unwrap().host_config.unwrap().port_bindings.unwrap();
    let bindings = ports["8080/tcp"].as_ref().unwrap();
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0].host_ip.as_deref(), Some("127.0.0.1"));
    assert_eq!(bindings[0].host_port.as_deref(), Some("8081"));
}

async fn until_it_logs(docker: &Docker, slot: Slot, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while docker.logs(slot, 5).await.unwrap() != expected {
        assert!(
            Instant::now() < deadline,
            "the app never printed {expected}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_command_runs_inside_a_slot_to_its_end_or_its_limit() {
    Project::run("fleet-tests-green", async |project| {
        let docker = project.docker(FILE, "");
        docker.base_up().await.unwrap();
        let slot = Slot::Green;
        docker
            .start_slot(slot, &project.app("1.0.0").await)
            .await
            .unwrap();
        let limit = Duration::from_secs(30);
        let run = async |command: &[&str]| docker.run_in_slot(slot, &words(command), limit).await;

        let finished = run(&["printenv", "DEPLOYMENT_SLOT", "SLOT", "GREETING"])
            .await
            .unwrap();
        assert_eq!(
            (finished.exit_code, &*finished.output),
            (0, "green\ngreen\nhello\n")
        );
        // The gateway as the kernel tells it, in hexadecimal digits and little-endian order.
        let routes = run(&["cat", "/proc/net/route"]).await.unwrap().output;
        let default = routes
            .lines()
            .map(str::split_whitespace)
            .find_map(|mut line| {
                (line.nth(1) == Some("00000000")).then(|| line.next().unwrap().to_owned())
            });
        let gateway = u32::from_str_radix(&default.unwrap(), 16).unwrap();
        let gateway = std::net::Ipv4Addr::from(gateway.swap_bytes());
        let proxy = run(&["printenv", "PROXY"]).await.unwrap();
        assert_eq!(proxy.output, format!("{gateway}/32\n"));
        let finished = run(&["sh", "-c", "echo $0; exit 7", "$HOME; x"])
            .await
            .unwrap();
        assert_eq!((finished.exit_code, &*finished.output), (7, "$HOME; x\n"));
        let finished = run(&["sh", "-c", "echo bad >&2"]).await.unwrap();
        assert_eq!((finished.exit_code, &*finished.output), (0, "bad\n"));
        let finished = run(&["seq", "100000"]).await.unwrap();
        assert_eq!(finished.output.len(), 4096);
        assert!(finished.output.ends_with("99999\n100000\n"));
        let finished = run(&["no-such-program"]).await;
        assert!(finished.is_err() || finished.unwrap().exit_code != 0);

        let limit = Duration::from_millis(500);
        let endless = words(&["sh", "-c", "echo began; sleep 60"]);
        let error = docker.run_in_slot(slot, &endless, limit).await.unwrap_err();
        let ContainersError::TookTooLong { output, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(output, "began\n");
        docker.remove_slot(slot).await.unwrap();
        assert!(run(&["true"]).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_program_beside_a_service_is_streamed_both_ways() {
    const PIECES: usize = 800;
    Project::run("fleet-tests-exec", async |project| {
        let docker = project.docker(FILE, "");
        docker.base_up().await.unwrap();
        let mut process = docker.exec("db", &words(&["cat"]), &[]).await.unwrap();
        // 50 MB, every piece different: much more than what sits in buffers on the way.
        let piece = |n: usize| vec![u8::try_from(n % 251).unwrap(); 64 * 1024];
        let mut stdin = process.stdin;
        let write = async {
            for n in 0..PIECES {
                stdin.write_all(&piece(n)).await.unwrap();
            }
            stdin.shutdown().await.unwrap();
        };
        let read = async {
            let mut came = Vec::new();
            while let Some(output) = process.output.next().await {
                match output.unwrap() {
                    Output::Stdout(bytes) => came.extend_from_slice(&bytes),
                    Output::Stderr(bytes) => panic!("{bytes:?}"),
                }
            }
            came
        };
        let ((), came) = tokio::join!(write, read);
        assert_eq!(came.len(), PIECES * 64 * 1024);
        let right = came
            .chunks(64 * 1024)
            .enumerate()
            .all(|(n, chunk)| chunk == piece(n));
        assert!(right, "the bytes that came are not those that went");
        assert_eq!(process.exit_code.await.unwrap(), 0);

        let command = words(&["sh", "-c", "echo $NAME; nice; echo bad >&2; exit 5"]);
        let environment = [("NAME".to_owned(), "a value".to_owned())];
        let mut process = docker.exec("db", &command, &environment).await.unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(output) = process.output.next().await {
            match output.unwrap() {
                Output::Stdout(bytes) => out.extend_from_slice(&bytes),
                Output::Stderr(bytes) => err.extend_from_slice(&bytes),
            }
        }
        assert_eq!((&*out, &*err), (&b"a value\n10\n"[..], &b"bad\n"[..]));
        assert_eq!(process.exit_code.await.unwrap(), 5);

        let error = docker.exec("cache", &words(&["true"]), &[]).await.err();
        assert!(matches!(error, Some(ContainersError::NotThere { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_program_in_a_container_of_its_own_is_streamed_both_ways_and_leaves_none() {
    const PIECES: usize = 800;
    Project::run("fleet-tests-one-shot", async |project| {
        let docker = project.docker(FILE, "");
        let one_shot = |command: &[&str]| OneShot {
            image: project.image.clone(),
            command: words(command),
            environment: vec![("NAME".into(), "a value".into())],
            files: vec![OneShotFile {
                name: "secret",
                content: b"hush".to_vec().into(),
            }],
            job: Some(ulid::Ulid::generate()),
        };
        let mut process = docker.run_once(&one_shot(&["cat"])).await.unwrap();
        // 50 MB, every piece different: much more than what sits in buffers on the way.
        let piece = |n: usize| vec![u8::try_from(n % 251).unwrap(); 64 * 1024];
        let mut stdin = process.stdin;
        let write = async {
            for n in 0..PIECES {
                stdin.write_all(&piece(n)).await.unwrap();
            }
            stdin.shutdown().await.unwrap();
        };
        let read = printed(&mut process.output);
        let ((), (came, _)) = tokio::join!(write, read);
        let expected: Vec<u8> = (0..PIECES).flat_map(piece).collect();
        assert!(
            came == expected,
            "the bytes that came are not those that went"
        );
        assert_eq!(process.exit_code.await.unwrap(), 0);

        let shell = "echo $NAME; cat /run/togather/secret >&2; id -u; exit 5";
        let mut process = docker
            .run_once(&one_shot(&["sh", "-c", shell]))
            .await
            .unwrap();
        let (out, err) = printed(&mut process.output).await;
        assert_eq!((&*out, &*err), (&b"a value\n65534\n"[..], &b"hush"[..]));
        assert_eq!(process.exit_code.await.unwrap(), 5);

        let error = docker.run_once(&one_shot(&["no-such-program"])).await.err();
        let error = error.unwrap().to_string();
        assert!(error.contains("start `no-such-program`"), "{error}");
        // It would run for ever; nobody waits for it any more.
        drop(
            docker
                .run_once(&one_shot(&["sleep", "infinity"]))
                .await
                .unwrap(),
        );
        let deadline = Instant::now() + Duration::from_secs(30);
        while project.holds_a_program().await {
            assert!(Instant::now() < deadline, "a container is left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// What a program prints, to its end.
async fn printed(
    output: &mut BoxStream<'static, Result<Output, ContainersError>>,
) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = output.next().await {
        match piece.unwrap() {
            Output::Stdout(bytes) => out.extend_from_slice(&bytes),
            Output::Stderr(bytes) => err.extend_from_slice(&bytes),
        }
    }
    (out, err)
}

#[tokio::test]
async fn an_archive_is_loaded_under_the_agents_name_and_pruned() {
    Project::run("fleet-tests-archive", async |project| {
        let docker = project.docker(FILE, "");
        let archive = archive_of_a_new_image(project).await;
        let bytes = std::fs::read(&archive).unwrap();
        let image = Image::Archive {
            digest: Digest::of(&bytes),
            bytes: bytes.len() as u64,
        };
        assert!(!docker.has_image(&image).await.unwrap());
        let error = docker.fetch(&image, &|_| {}).await.unwrap_err();
        assert!(matches!(error, ContainersError::NotLoaded(_)), "{error}");

        for _ in 0..2 {
            docker.load(&image, &archive).await.unwrap();
            assert!(docker.has_image(&image).await.unwrap());
        }
        docker.fetch(&image, &|_| {}).await.unwrap();
        let found = project.client.inspect_image(&image.reference()).await;
        assert_eq!(found.unwrap().repo_tags.unwrap(), [image.reference()]);

        let keep = std::slice::from_ref(&image);
        let removed = docker.prune_images(keep).await.unwrap();
        assert!(!removed.contains(&image.reference()));
        let removed = docker.prune_images(&[]).await.unwrap();
        assert!(removed.contains(&image.reference()), "{removed:?}");
        assert!(!docker.has_image(&image).await.unwrap());

        std::fs::write(&archive, "not an archive").unwrap();
        assert!(docker.load(&image, &archive).await.is_err());
    })
    .await;
}

/// What `docker save` writes of an image that is nowhere else.
async fn archive_of_a_new_image(project: &Project) -> std::path::PathBuf {
    let name = "fleet-tests-archive:1";
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo("fleet-tests-archive")
        .tag("1");
    // Two blocks of zeros are a tar archive without files.
    let nothing = bollard::body_full(vec![0; 1024].into());
    let options = Some(options.build());
    let mut made = project.client.create_image(options, Some(nothing), None);
    while let Some(progress) = made.next().await {
        progress.unwrap();
    }
    let path = project.folder.path().join("image.tar");
    let mut file = tokio::fs::File::create(&path).await.unwrap();
    let mut saved = project.client.export_image(name);
    while let Some(bytes) = saved.next().await {
        file.write_all(&bytes.unwrap()).await.unwrap();
    }
    file.flush().await.unwrap();
    let removed = project
        .client
        .remove_image(name, None::<RemoveImageOptions>, None);
    removed.await.unwrap();
    path
}
