//! What an edit does and when, what a broken one does not, and what is kept for whom.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    time::Duration,
};

use super::*;
use crate::deploy::tests::fakes::World;

const AGENT: &str = "node: {name: node-1, id: 01JZZZZZZZZZZZZZZZZZZZZZZZ}\nfleet: 01JYYYYYYYYYYYYYYYYYYYYYYY\nstate: state\nsnapshots: {store: \"file:///nowhere\"}\n";
const ENVIRONMENT: &str = "POSTGRES_USER=togather\nPOSTGRES_PASSWORD=hunter2\nPOSTGRES_DB=events\n";
const COMPOSE: &str =
    "name: togather\nservices:\n  app: {restart: unless-stopped}\n  db: {image: postgres}\n";

/// A node whose files lie in a folder.
struct Edited {
    folder: tempfile::TempDir,
    files: Files,
    node: Node,
}

impl Edited {
    async fn node() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("agent.yml", AGENT),
            ("deployment.yml", "strategy: {soak: 1s}\n"),
            ("docker-compose.yml", COMPOSE),
            (".env.production", ENVIRONMENT),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.path().join(".env.production"), private).unwrap();
        let agent_yml = folder.path().join("agent.yml");
        let (config, texts) = read(&agent_yml).unwrap();
        let kept = Kept::at(folder.path().join("state/configurations"));
        kept.keep(&texts).unwrap();
        let files = Files {
            agent_yml,
            kept,
            current: Mutex::new(Current {
                id: texts.id(),
                configured: Configured::of(&config, None).unwrap(),
                names: config.files,
            }),
        };
        let node = World::with_one_version_live("1.0.0").await.node();
        Self {
            folder,
            files,
            node,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn now(&self) -> Result<Node, Failure> {
        self.files.now(&self.node)
    }

    fn kept(&self) -> Vec<PathBuf> {
        let kept = fs::read_dir(self.folder.path().join("state/configurations")).unwrap();
        let kept = kept.map(|entry| entry.unwrap().path());
        kept.filter(|path| !path.is_symlink()).collect()
    }
}

/// What `check` warns of, a plan does too.
#[tokio::test]
async fn what_is_perhaps_not_meant_comes_with_the_node() {
    let edited = Edited::node().await;
    assert!(edited.now().unwrap().warnings.is_empty());
    edited.write(".env.production", &ENVIRONMENT.replace("hunter2", "p%41ss"));
    edited.write(
        "docker-compose.yml",
        &COMPOSE.replace(
            "app: {restart",
            "app: {environment: [\"A=x://u:${POSTGRES_PASSWORD}@h\"], restart",
        ),
    );
    edited.write("deployment.yml", "app: {expect: [{path: /version}]}\n");
    let node = edited.now().unwrap();
    let told = node.warnings.join("\n");
    assert!(told.contains("where `database.url` refers to it"), "{told}");
    assert!(told.contains("docker-compose.yml, line 3: "), "{told}");
    assert!(!told.contains("p%41ss"), "{told}");
    assert_eq!(node.expect.as_slice()[0].path, "/version");
}

const fn soak(node: &Node) -> Duration {
    node.strategy.soak
}

#[tokio::test]
async fn an_edit_counts_as_soon_as_it_is_made() {
    let edited = Edited::node().await;
    let before = edited.now().unwrap();
    assert_eq!(soak(&before), Duration::from_secs(1));
    edited.write("deployment.yml", "strategy: {soak: 2s}\n");
    let after = edited.now().unwrap();
    assert_eq!(soak(&after), Duration::from_secs(2));
    assert_ne!(before.configured, after.configured);
    edited.write("deployment.yml", "strategy: {soak: 1s}\n");
    assert_eq!(edited.now().unwrap().configured, before.configured);
}

#[tokio::test]
async fn every_file_counts_also_one_that_was_not_there() {
    let edited = Edited::node().await;
    let mut seen = vec![edited.now().unwrap().configured];
    fs::create_dir(edited.folder.path().join("providers")).unwrap();
    for (file, text) in [
        ("providers/docker.yml", "strategy: {soak: 3s}\n".to_owned()),
        (".env.production", format!("{ENVIRONMENT}MORE=1\n")),
        (
            "docker-compose.yml",
            COMPOSE.replace("unless-stopped", "\"no\""),
        ),
        ("agent.yml", format!("{AGENT}listen: 127.0.0.1:1\n")),
    ] {
        edited.write(file, &text);
        let id = edited.now().unwrap().configured;
        assert!(!seen.contains(&id), "{file}");
        seen.push(id);
    }
    assert_eq!(soak(&edited.now().unwrap()), Duration::from_secs(3));
}

#[tokio::test]
async fn a_broken_edit_refuses_what_is_made_from_it_and_nothing_else() {
    let edited = Edited::node().await;
    let before = edited.now().unwrap();
    for (file, text, told) in [
        (
            "deployment.yml",
            "strategy: {soak: soon}\n",
            "deployment.yml:1",
        ),
        (
            "deployment.yml",
            "database: {service: pg}\n",
            "no base service",
        ),
        ("docker-compose.yml", "name: togather\n", "services"),
        (".env.production", "nonsense\n", ".env.production:1"),
    ] {
        let right = fs::read_to_string(edited.folder.path().join(file)).unwrap();
        edited.write(file, text);
        let failure = edited.now().err().unwrap();
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert!(failure.to_string().contains(told), "{failure}");
        let in_force = edited.files.in_force(&edited.node);
        assert_eq!(in_force.configured, before.configured, "{file}");
        edited.write(file, &right);
        assert_eq!(
            edited.now().unwrap().configured,
            before.configured,
            "{file}"
        );
    }
}

#[tokio::test]
async fn what_a_deployment_was_begun_with_is_there_until_nothing_needs_it() {
    let edited = Edited::node().await;
    let begun_with = edited.now().unwrap().configured.unwrap();
    edited.write("deployment.yml", "strategy: {soak: 2s}\n");
    edited.now().unwrap();
    edited.write("deployment.yml", "broken: true\n");
    let earlier = edited.files.earlier(&edited.node, begun_with).unwrap();
    assert_eq!(soak(&earlier), Duration::from_secs(1));
    assert_eq!(earlier.configured, Some(begun_with));

    edited.files.forget_all_but(&[begun_with]);
    assert_eq!(edited.kept().len(), 2);
    edited.files.forget_all_but(&[]);
    assert_eq!(edited.kept().len(), 1, "what is in force stays");
    let gone = edited.files.earlier(&edited.node, begun_with);
    assert_eq!(gone.err().unwrap().kind, FailureKind::Configuration);
    assert_eq!(
        soak(&edited.files.in_force(&edited.node)),
        Duration::from_secs(2)
    );
}

#[tokio::test]
async fn going_back_takes_the_app_from_an_earlier_state_and_all_else_from_now() {
    let edited = Edited::node().await;
    let app = |restart: &str| COMPOSE.replace("unless-stopped", restart);
    let before = edited.now().unwrap();
    edited.write("docker-compose.yml", &app("\"no\""));
    edited.write("deployment.yml", "strategy: {soak: 2s}\n");
    let after = edited.now().unwrap();
    assert_ne!(before.containers.made_of(), after.containers.made_of());

    let back = edited.files.with_app_of(&after, before.configured.unwrap());
    let back = back.unwrap();
    assert_eq!(back.containers.made_of(), before.containers.made_of());
    assert_eq!(soak(&back), Duration::from_secs(2));
    assert_eq!(back.configured, after.configured);
    assert_eq!(back.app_configured, before.configured);

    edited.write("docker-compose.yml", "name: togather\n");
    let in_force = edited.files.in_force(&edited.node);
    let back = edited
        .files
        .with_app_of(&in_force, before.configured.unwrap());
    assert_eq!(
        back.unwrap().containers.made_of(),
        before.containers.made_of()
    );
}

#[tokio::test]
async fn another_port_of_the_app_makes_another_container_and_another_patience_does_not() {
    let edited = Edited::node().await;
    let before = edited.now().unwrap().containers.made_of();
    assert!(before.is_some());
    edited.write("deployment.yml", "strategy: {soak: 9s}\n");
    assert_eq!(edited.now().unwrap().containers.made_of(), before);
    edited.write("deployment.yml", "app: {port: 9000}\n");
    assert_ne!(edited.now().unwrap().containers.made_of(), before);
}

#[tokio::test]
async fn only_the_agent_can_read_what_is_kept() {
    let edited = Edited::node().await;
    let [state] = edited.kept().try_into().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&state).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert_eq!(files, 4);
}
