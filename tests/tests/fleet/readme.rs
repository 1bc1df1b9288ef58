//! Every command of the README, run as it stands there.

use std::os::unix::fs::symlink;

use fleet_tests::{
    Fleet,
    fleet::BASE,
    program::{Program, checkout, programs},
};
use serde_json::Value;

/// Commands that are run elsewhere, and where.
const ELSEWHERE: [(&str, &str); 4] = [
    ("make ", "the Makefile is asked whether it knows the target"),
    (
        "deploy/packaging/install.sh ",
        "devfleet runs it in every node",
    ),
    ("togather-agent check ", "run in a node, below"),
    (
        "docker build --tag togather-database:17 deploy/docker/database",
        "devfleet builds it for every node",
    ),
];

/// The commands in the README's `sh` blocks, continued lines joined.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let blocks = readme.split("```").skip(1).step_by(2);
    let lines = blocks
        .filter_map(|block| block.strip_prefix("sh\n"))
        .map(|block| block.replace("\\\n", " "))
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| !line.trim().is_empty()).collect()
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    let fleet = Fleet::take().await;
    let release = fleet.release("1.1.0-test", &[]).await;
    // There is a version to go back from, as after the demo.
    fleet
        .roll_out(&release, &["--nodes", "all"])
        .run()
        .await
        .ended_with(0);
    let release: Value = serde_json::from_str(&std::fs::read_to_string(release).unwrap()).unwrap();
    let image = &release["image"]["registry"];
    let image = format!(
        "{}@{}",
        image["repository"].as_str().unwrap(),
        image["digest"].as_str().unwrap()
    );

    // An operator's folder in which the README's paths exist.
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("target")).unwrap();
    std::fs::create_dir_all(at("internal/storage/postgres")).unwrap();
    symlink(programs(), at("target/release")).unwrap();
    symlink(checkout().join(".devfleet"), at(".devfleet")).unwrap();
    std::fs::create_dir_all(at("db")).unwrap();
    let line = |name: &str| checkout().join("crates/sample-server").join(name);
    symlink(
        line("migrations"),
        at("internal/storage/postgres/migrations"),
    )
    .unwrap();
    symlink(line("migrations-river"), at("db/river")).unwrap();
    let path = format!(
        "{}:{}",
        programs().display(),
        std::env::var("PATH").unwrap()
    );

    let commands = commands();
    assert!(
        commands.len() > 8,
        "the README's commands are found: {commands:?}"
    );
    for command in commands {
        if let Some(target) = command.strip_prefix("make ") {
            let known = Program::at("make")
                .folder(&checkout())
                .args(["--dry-run", target]);
            known.run().await.ended_with(0);
            continue;
        }
        if ELSEWHERE
            .iter()
            .any(|(begins, _)| command.starts_with(begins))
        {
            continue;
        }
        let about_one_fleet =
            command.starts_with("togather-ctl init") || command.contains(" node add ");
        let mut line = command
            .replace(
                "\"$(git rev-parse HEAD)\"",
                release["git_commit"].as_str().unwrap(),
            )
            .replace("registry.example.org/togather/server@sha256:…", &image);
        if line.contains(" rollout ") || line.contains(" rollback ") {
            line.push_str(" --soak 0s");
            if !line.contains(" --yes") {
                line.push_str(" --yes");
            }
        }
        let fleet_file = if about_one_fleet {
            at("fleet.yml")
        } else {
            at(".devfleet/fleet.yml")
        };
        let ran = Program::at("sh")
            .args(["-c", &line])
            .folder(folder.path())
            .env("PATH", &path)
            .env("TOGATHER_FLEET", fleet_file)
            .run()
            .await;
        ran.ended_with(0);
    }
    let check = [
        "togather-agent",
        "check",
        "--config",
        "/etc/togather/agent.yml",
    ];
    fleet.on_node("node-1", &check).run().await.ended_with(0);
    let status = fleet.status().await;
    assert_eq!(
        status["node-1"]["version"], BASE,
        "the last of them went back"
    );
}
