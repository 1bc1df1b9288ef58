//! What needs no node: the fleet's files, release files, and every way to get the line wrong.

use std::{fs, os::unix::fs::PermissionsExt as _};

use assert_cmd::Command;
use predicates::{prelude::PredicateBooleanExt, str::contains};

use crate::support::PROGRAM;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A place with a fleet of one node that nobody listens for.
    fn with_fleet() -> Self {
        let place = Self::new();
        place
            .ctl(&["init", "--operator", "alice"])
            .assert()
            .success();
        let node = ["node", "add", "node-1", "--address", "127.0.0.1:1"];
        place.ctl(&node).assert().success();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = names.map(|e| name(e).into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn ctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.0.path()).args(arguments);
        for variable in ["TOGATHER_FLEET", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK"] {
            command.env_remove(variable);
        }
        command
    }

    fn release(&self, more: &[&str]) -> Command {
        let commit = "c".repeat(40);
        let base = [
            "release",
            "create",
            "--version",
            "1.0.0",
            "--commit",
            &commit,
        ];
        let out = ["--out", "release.json"];
        self.ctl(&[&base[..], more, &out[..]].concat())
    }
}

fn image() -> String {
    format!("registry.example/app@sha256:{}", "a".repeat(64))
}

#[test]
fn init_makes_everything_an_operator_needs_and_keeps_secrets_secret() {
    let place = Place::new();
    place
        .ctl(&["init", "--name", "harbour", "--operator", "alice"])
        .assert()
        .success()
        .stdout("");
    let made = [
        "allowed_signers",
        "ca.crt",
        "ca.key",
        "fleet.yml",
        "id_ed25519",
        "id_ed25519.pub",
        "operator.crt",
        "operator.key",
        "roles.yml",
    ];
    assert_eq!(place.names(), made);
    for secret in ["ca.key", "id_ed25519", "operator.key"] {
        assert_eq!(place.mode(secret), 0o600, "{secret}");
    }
    assert!(
        place
            .read("allowed_signers")
            .starts_with("alice namespaces=\"command@fleet.togather\" ssh-ed25519 ")
    );
    assert_eq!(place.read("roles.yml"), "operators:\n  \"alice\": admin\n");
}

#[test]
fn init_overwrites_nothing_and_leaves_nothing_half_made() {
    let place = Place::new();
    fs::write(place.path("roles.yml"), "mine").unwrap();
    place
        .ctl(&["init", "--operator", "alice"])
        .assert()
        .code(2)
        .stderr(contains("roles.yml is there already"));
    assert_eq!(place.names(), ["roles.yml"]);
    assert_eq!(place.read("roles.yml"), "mine");

    let missing = [
        "--fleet",
        "new/fleet.yml",
        "init",
        "--operator",
        "alice",
        "--identity",
        "no-key",
    ];
    place
        .ctl(&missing)
        .assert()
        .code(2)
        .stderr(contains("no-key"));
    assert_eq!(place.names(), ["roles.yml"]);
}

#[test]
fn init_takes_the_key_an_operator_has() {
    let place = Place::new();
    place
        .ctl(&["--fleet", "theirs/fleet.yml", "init", "--operator", "bob"])
        .assert()
        .success();
    let key = place.path("theirs/id_ed25519.pub");
    let arguments = [
        "--fleet",
        "f/fleet.yml",
        "--identity",
        key.to_str().unwrap(),
        "init",
        "--operator",
        "alice",
    ];
    place.ctl(&arguments).assert().success();
    let public = place.read("theirs/id_ed25519.pub");
    let signers = place.read("f/allowed_signers");
    assert!(
        signers.contains(public.split(' ').nth(1).unwrap()),
        "{signers}"
    );
    assert!(!place.path("f/id_ed25519").exists());
    assert!(place.read("f/fleet.yml").contains(key.to_str().unwrap()));
}

#[test]
fn a_node_gets_a_bundle_that_install_sh_takes() {
    let place = Place::with_fleet();
    for file in [
        "agent.yml",
        "deployment.yml",
        "allowed_signers",
        "roles.yml",
        "tls/ca.crt",
        "tls/node.crt",
        "tls/node.key",
    ] {
        assert!(place.path("nodes/node-1").join(file).is_file(), "{file}");
    }
    assert_eq!(place.mode("nodes/node-1/tls/node.key"), 0o600);
    assert_eq!(
        place.read("nodes/node-1/roles.yml"),
        place.read("roles.yml")
    );
    let keys: Vec<String> = place
        .read("nodes/node-1/agent.yml")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["node", "  name", "  id", "fleet", "environment"]);
    assert!(
        place
            .read("nodes/node-1/agent.yml")
            .contains("\nenvironment: production\n")
    );
    place
        .ctl(&["node", "list"])
        .assert()
        .success()
        .stdout(contains("127.0.0.1:1"));
}

#[test]
fn a_node_for_staging_is_told_so() {
    let place = Place::with_fleet();
    let add = ["node", "add", "attic", "--address", "127.0.0.1:2"];
    let add = add.into_iter().chain(["--environment", "staging"]);
    place
        .ctl(&add.collect::<Vec<_>>())
        .assert()
        .success()
        .stderr(contains("environments/staging.env.example").and(contains("--env .env.staging")));
    assert!(
        place
            .read("nodes/attic/agent.yml")
            .contains("\nenvironment: staging\n")
    );
}

#[test]
fn a_node_is_added_once_and_removed_with_its_key() {
    let place = Place::with_fleet();
    let again = ["node", "add", "node-1", "--address", "127.0.0.1:2"];
    place
        .ctl(&again)
        .assert()
        .code(2)
        .stderr(contains("has a node `node-1` already"));
    place
        .ctl(&["node", "remove", "node-1"])
        .assert()
        .success()
        .stderr(contains("removed nodes/node-1 with its key"))
        .stderr(contains("The machine itself was not touched"));
    assert!(!place.path("nodes/node-1").exists());
    place
        .ctl(&["node", "remove", "node-1"])
        .assert()
        .code(2)
        .stderr(contains("no node `node-1`"));
}

#[test]
fn without_the_authoritys_key_no_node_is_enrolled_and_nothing_is_left() {
    let place = Place::with_fleet();
    fs::set_permissions(place.path("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let add = ["node", "add", "node-2", "--address", "host"];
    place
        .ctl(&add)
        .assert()
        .code(10)
        .stderr(contains("chmod 600"));
    fs::remove_file(place.path("ca.key")).unwrap();
    place
        .ctl(&add)
        .assert()
        .code(10)
        .stderr(contains("where it is kept"));
    assert!(!place.path("nodes/node-2").exists());
    assert!(!place.read("fleet.yml").contains("node-2"));
}

#[test]
fn a_release_file_says_what_went_in() {
    let place = Place::new();
    fs::create_dir(place.path("migrations")).unwrap();
    fs::write(
        place.path("migrations/000007_events.up.sql"),
        "CREATE TABLE events ();",
    )
    .unwrap();
    fs::write(
        place.path("migrations/000007_events.down.sql"),
        "DROP TABLE events;",
    )
    .unwrap();
    fs::write(place.path("migrations/embed.go"), "package migrations").unwrap();
    let more = [
        "--image",
        &image(),
        "--migrations",
        "migrations",
        "--hook",
        "server scrape 'all of it'",
        "--built-at",
        "2026-01-01T00:00:00Z",
    ];
    place.release(&more).assert().success();
    let answer = place
        .ctl(&["release", "inspect", "release.json", "--output", "json"])
        .output()
        .unwrap();
    let info: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(info["schema"], "togather.fleet/release-info/v1");
    assert_eq!(info["schema_version"], 7);
    assert_eq!(
        info["release"]["hooks"][0]["command"],
        serde_json::json!(["server", "scrape", "all of it"])
    );
    let answer = place
        .ctl(&["release", "inspect", "release.json"])
        .output()
        .unwrap();
    insta::assert_snapshot!(String::from_utf8(answer.stdout).unwrap());
}

#[test]
fn what_makes_no_release_is_refused_and_nothing_is_written() {
    let place = Place::new();
    fs::create_dir(place.path("wrong")).unwrap();
    fs::write(place.path("wrong/first.sql"), "").unwrap();
    fs::write(place.path("text"), "no signature").unwrap();
    let digest = image();
    let web = format!("https://{digest}");
    for (arguments, words) in [
        (
            vec!["--image", "registry.example/app:1.0"],
            "docker image inspect",
        ),
        (vec![], "--image"),
        (
            vec!["--image", &digest, "--archive", "text"],
            "cannot be used with",
        ),
        (
            vec!["--image", &digest, "--migrations", "wrong"],
            "first.sql is not a migration",
        ),
        (
            vec!["--image", &digest, "--migrations", "nowhere"],
            "nowhere",
        ),
        (
            vec!["--image", &digest, "--attestation", "text"],
            "text is not a signature",
        ),
        (
            vec!["--image", &digest, "--hook", "it's"],
            "missing closing quote",
        ),
        (vec!["--image", &web], "leave `https://` out"),
        (
            vec!["--image", &digest, "--hook", "sync", "--hook-timeout", "0s"],
            "nothing can be done in no time",
        ),
        (
            vec!["--image", &digest, "--oldest-schema", "1"],
            "--oldest-schema 1 is above the release's schema, which is 0",
        ),
        (vec!["--archive", "nothing.tar"], "nothing.tar"),
    ] {
        place
            .release(&arguments)
            .assert()
            .code(2)
            .stderr(contains(words));
    }
    let short = [
        "release",
        "create",
        "--version",
        "1",
        "--commit",
        "abc",
        "--image",
        &digest,
        "--out",
        "release.json",
    ];
    place
        .ctl(&short)
        .assert()
        .code(2)
        .stderr(contains("40 lower-case hexadecimal digits"));
    assert!(!place.path("release.json").exists());
}

#[test]
fn a_wrong_line_ends_with_two() {
    let place = Place::with_fleet();
    for (arguments, words) in [
        (vec!["status", "--frobnicate"], "--frobnicate"),
        (vec!["frobnicate"], "frobnicate"),
        (vec!["rollout"], "--nodes"),
        (vec!["rollout", "--nodes", "all"], "--release"),
        (
            vec![
                "rollout",
                "--nodes",
                "all",
                "--release",
                "x",
                "--soak",
                "soon",
            ],
            "90s or 5m",
        ),
        (
            vec!["rollout", "--nodes", "all", "--release", "nowhere.json"],
            "nowhere.json",
        ),
        (vec!["rollout", "resume", "not-an-id"], "not-an-id"),
        (vec!["status", "--nodes", "node-9"], "it has: node-1"),
        (vec!["rollback"], "--nodes"),
        (
            vec!["node", "add", "Node_1", "--address", "host"],
            "is not a name",
        ),
        (vec!["node", "add", "x", "--address", "a b"], "HOST:PORT"),
        (
            vec!["node", "add", "x", "--address", "h", "--label", "a"],
            "LABEL=VALUE",
        ),
        (vec!["release", "inspect", "nowhere.json"], "nowhere.json"),
    ] {
        place
            .ctl(&arguments)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(words));
    }
}

#[test]
fn a_wrong_file_ends_with_ten_and_says_where_it_is_wrong() {
    let place = Place::with_fleet();
    place
        .ctl(&["--fleet", "nowhere.yml", "status"])
        .assert()
        .code(10)
        .stderr(contains("nowhere.yml"))
        .stderr(contains("togather-ctl init"));
    fs::set_permissions(
        place.path("operator.key"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    place
        .ctl(&["status"])
        .assert()
        .code(10)
        .stderr(contains("chmod 600"));

    fs::write(place.path("release.json"), "{\n  \"schema\": 1").unwrap();
    place
        .ctl(&["release", "inspect", "release.json"])
        .assert()
        .code(10)
        .stderr(contains("line 2"));

    let broken = place.read("fleet.yml").replace("nodes:", "nodse:");
    fs::write(place.path("fleet.yml"), broken).unwrap();
    place
        .ctl(&["status"])
        .assert()
        .code(10)
        .stderr(contains("nodse"))
        .stderr(contains("line"));
}

#[test]
fn nobody_there_means_a_row_and_six() {
    let place = Place::with_fleet();
    let answer = place
        .ctl(&["status", "--output", "json"])
        .assert()
        .code(6)
        .get_output()
        .clone();
    let status: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(status["schema"], "togather.fleet/status/v1");
    assert_eq!(status["nodes"][0]["reachable"], false);
    place
        .ctl(&["history", "--nodes", "all"])
        .assert()
        .code(6)
        .stderr(contains("Connection refused"));
}

#[test]
fn help_is_the_documentation() {
    let place = Place::new();
    place
        .ctl(&["--help"])
        .assert()
        .success()
        .stdout(contains("a migration failed"))
        .stdout(contains("TOGATHER_FLEET"));
}
