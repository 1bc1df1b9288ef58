//! What is accepted, what is refused and with which words, and that the samples tell the truth.

use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;
use serde_json::Value;
use togather_model::{Acceptable, Page, Pages};

use super::*;

const AGENT: &str =
    "node: {name: node-1, id: 01JZZZZZZZZZZZZZZZZZZZZZZZ}\nfleet: 01JYYYYYYYYYYYYYYYYYYYYYYY\n";
const ENVIRONMENT: &str = "POSTGRES_USER=togather\nPOSTGRES_PASSWORD=hunter2\nPOSTGRES_DB=events\n";

/// A node's folder with the fewest files that make a configuration.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let least = [
        ("agent.yml", AGENT),
        ("deployment.yml", "# all as it is by default\n"),
        (".env.production", ENVIRONMENT),
    ];
    for (name, text) in least.iter().chain(files) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Result<Config, String> {
    let folder = folder(files);
    Config::load(&folder.path().join("agent.yml")).map_err(|error| {
        let place = format!("{}/", folder.path().display());
        error.to_string().replace(&place, "")
    })
}

#[test]
fn two_keys_are_enough() {
    let config = load(&[]).unwrap();
    assert_eq!(config.deployment, DeploymentFile::default());
    assert_eq!(config.agent.listen.to_string(), "0.0.0.0:7443");
    assert_eq!(
        config.database_url.expose_secret(),
        "postgres://togather:hunter2@127.0.0.1:5432/events"
    );
}

#[test]
fn paths_are_relative_to_the_folder_of_agent_yml() {
    let folder = folder(&[]);
    let agent = Config::load(&folder.path().join("agent.yml"))
        .unwrap()
        .agent;
    assert_eq!(agent.signers, folder.path().join("allowed_signers"));
    assert_eq!(agent.tls.authority, folder.path().join("tls/ca.crt"));
    assert_eq!(agent.tls.key(), folder.path().join("tls/node.key"));
    assert_eq!(agent.state, Path::new("/var/lib/togather"));
}

#[test]
fn the_environment_chooses_the_file_of_its_values() {
    for (environment, file) in [
        ("development", ".env.development"),
        ("staging", ".env.staging"),
        ("production", ".env.production"),
    ] {
        let agent = format!("{AGENT}environment: {environment}\n");
        let variables = format!("{ENVIRONMENT}ONLY_HERE={environment}\n");
        let config = load(&[("agent.yml", &agent), (file, &variables)]).unwrap();
        assert_eq!(config.environment["ONLY_HERE"], environment);
        assert_eq!(config.agent.environment.as_str(), environment);
        assert!(config.files.contains(&PathBuf::from(file)));
        assert!(config.effective().unwrap().contains("\nvariables:\n"));
    }
    let told = load(&[("agent.yml", &format!("{AGENT}environment: test\n"))]);
    let told = told.err().unwrap();
    assert!(
        told.contains("agent.yml:3: `environment`") && told.contains("staging"),
        "{told}"
    );
    let told = load(&[("agent.yml", &format!("{AGENT}environment: staging\n"))]);
    assert!(told.err().unwrap().contains("cannot read .env.staging"));
}

#[test]
fn caddys_admin_endpoint_is_named_as_its_caddyfile_does_and_as_before() {
    let admin = |deployment: &str, overlay: &str| {
        let files = [
            ("deployment.yml", deployment),
            ("providers/docker.yml", overlay),
        ];
        load(&files).map(|config| config.deployment.proxy.admin.to_string())
    };
    let socket = "unix//run/caddy/admin.sock";
    assert_eq!(admin("", "").unwrap(), socket);
    for (said, read) in [
        ("admin: localhost:2019", "localhost:2019"),
        ("admin: unix//run/x.sock|0660", "unix//run/x.sock"),
        ("admin_socket: /run/x.sock", "unix//run/x.sock"),
    ] {
        let said = format!("proxy: {{{said}}}\n");
        assert_eq!(admin(&said, "").unwrap(), read);
        assert_eq!(admin("proxy: {admin: /other.sock}\n", &said).unwrap(), read);
    }
    let refused = admin("proxy:\n  admin: 0.0.0.0:2019\n", "").unwrap_err();
    assert!(refused.contains("deployment.yml:2"), "{refused}");
    assert!(refused.contains("found `0.0.0.0:2019`"), "{refused}");
    admin(
        "proxy: {admin: localhost:2019, admin_socket: /run/x.sock}\n",
        "",
    )
    .unwrap_err();
}

#[test]
fn an_overlay_changes_what_it_names_and_nothing_else() {
    let config = load(&[
        ("agent.yml", &format!("{AGENT}provider: aws\n")),
        ("deployment.yml", "strategy: {soak: 5s, drain: 1s}\napp: {port: 9000}\n"),
        (
            "providers/aws.yml",
            "snapshots: {store: s3://bucket/node-1}\nstrategy: {soak: 30s}\ndatabase: {extensions: [postgis]}\n",
        ),
    ])
    .unwrap();
    assert_eq!(config.agent.snapshots.store.as_str(), "s3://bucket/node-1");
    let strategy = &config.deployment.strategy;
    assert_eq!((strategy.soak.as_secs(), strategy.drain.as_secs()), (30, 1));
    assert_eq!(config.deployment.app.port.get(), 9000);
    assert_eq!(config.deployment.database.extensions, ["postgis"]);
    assert_eq!(config.deployment.database.service.as_deref(), Some("db"));
}

#[test]
fn a_database_elsewhere_is_one_without_a_service() {
    let config = load(&[
        ("agent.yml", &format!("{AGENT}provider: aws\n")),
        (
            "providers/aws.yml",
            "database: {service: null, client_image: 'postgres:16'}\n",
        ),
    ])
    .unwrap();
    let database = &config.deployment.database;
    assert_eq!(database.service, None);
    assert_eq!(database.client_image.as_deref(), Some("postgres:16"));
    assert!(config.effective().unwrap().contains("service: null"));
}

/// Each mistake with file, line, key, and what was expected.
#[test]
fn mistakes_are_told_with_file_line_and_key() {
    let agent = |more: &str| ("agent.yml", format!("{AGENT}{more}"));
    let deployment = |text: &str| ("deployment.yml", text.to_owned());
    for (file, expected) in [
        (
            ("agent.yml", "fleet: x\n".to_owned()),
            "agent.yml:1: `fleet`: ",
        ),
        (
            (
                "agent.yml",
                "node: {name: a, id: 01JZZZZZZZZZZZZZZZZZZZZZZZ}\n".to_owned(),
            ),
            "missing",
        ),
        (agent("listen: 7443\n"), "agent.yml:3: `listen`: "),
        (
            agent("lisen: 0.0.0.0:7443\n"),
            "agent.yml:3: `lisen`: unknown field",
        ),
        (
            agent("tls:\n  ca: x\n"),
            "agent.yml:4: `tls.ca`: unknown field",
        ),
        (
            agent("provider: ../../etc/shadow\n"),
            "agent.yml:3: `provider`: ",
        ),
        (
            agent("snapshots:\n  # where\n  store: snapshots\n"),
            "agent.yml:5: `snapshots.store`: ",
        ),
        (
            agent("snapshots:\n  overdue_after: 0s\n"),
            "agent.yml: `snapshots.overdue_after`: expected a span of time such as `48h`",
        ),
        (
            agent("snapshots:\n  schedule: '*/15 * * * *'\n"),
            "agent.yml: `snapshots.jitter`: expected less than passes from one run to the next",
        ),
        (
            agent("metrics:\n  listen: 9464\n"),
            "agent.yml:4: `metrics.listen`: ",
        ),
        (agent("provider: aws\n"), "cannot read providers/aws.yml"),
        (
            deployment("strategy:\n  soak: soon\n"),
            "deployment.yml:2: `strategy.soak`: expected a span of time such as `30s`",
        ),
        (
            deployment("strategy:\n  soak_error_rate: 5\n"),
            "deployment.yml:2: `strategy.soak_error_rate`: expected a share from 0 to 1 such as `0.05`",
        ),
        (
            deployment("strategy:\n  soak_error_rate: -1\n"),
            "`strategy.soak_error_rate`: expected a share",
        ),
        (
            deployment("strategy:\n  soak_error_rate: .inf\n"),
            "`strategy.soak_error_rate`: expected a share",
        ),
        (
            deployment("database:\n  snapshots:\n    keep_for: 7\n"),
            "deployment.yml:3: `database.snapshots.keep_for`: expected a span of time such as `30s`",
        ),
        (
            deployment("app:\n  port: 0\n"),
            "deployment.yml:2: `app.port`: ",
        ),
        (
            deployment(
                "app:\n  port: 80\n  expect:\n    - path: version\n    - {path: /x, status: 99}\n",
            ),
            "deployment.yml:4: `app.expect`: page 1, `path`: expected a path that begins with `/`, found \
             `version`; page 2, `status`: expected an HTTP status from 100 to 599, found 99",
        ),
        (
            deployment("app:\n  expect:\n    - path: /x\n      state: 200\n"),
            "deployment.yml:4: `app.expect.state`: unknown field",
        ),
        (deployment("app: [\n"), "deployment.yml:"),
        (
            deployment("strategy:\n  soak: 1s\n  soak: 2s\n"),
            "deployment.yml:3: `strategy.soak`: ",
        ),
        (
            ("providers/docker.yml", "\nnode: {}\n".to_owned()),
            "providers/docker.yml:2: `node`: unknown field",
        ),
        (
            deployment("database: {url: 'postgres://${WHO}@db/x'}\n"),
            "deployment.yml: `database.url` refers to ${WHO}, which .env.production does not set; add a line `WHO=…` to it",
        ),
        (
            (
                ".env.production",
                "A=b\n\nthis is no assignment\n".to_owned(),
            ),
            ".env.production:3: expected `NAME=value`",
        ),
    ] {
        let told = load(&[(file.0, &file.1)]).err().expect(expected);
        assert!(
            told.contains(expected),
            "expected `{expected}`, got `{told}`"
        );
    }
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    let folder = folder(&[]);
    let secrets = folder.path().join(".env.production");
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o640)).unwrap();
    let told = Config::load(&folder.path().join("agent.yml"))
        .err()
        .unwrap()
        .to_string();
    assert!(told.contains("chmod 600"), "{told}");
}

#[test]
fn what_is_shown_has_every_value_and_no_secret() {
    let literal = "database: {url: 'postgres://bob:s3cret@127.0.0.1/x'}\n";
    for (deployment, url) in [
        (
            "",
            "postgres://${POSTGRES_USER}:${POSTGRES_PASSWORD}@127.0.0.1",
        ),
        (literal, "postgres://bob:***@127.0.0.1/x"),
    ] {
        let shown = load(&[("deployment.yml", deployment)])
            .unwrap()
            .effective()
            .unwrap();
        assert!(shown.contains(url), "{shown}");
        assert!(
            shown.contains("keep_for: 7d") && shown.contains("soak: 30s"),
            "{shown}"
        );
        assert!(shown.contains("POSTGRES_PASSWORD"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}

#[test]
fn every_problem_of_the_environment_is_told_at_once() {
    let told = load(&[(
        ".env.production",
        "POSTGRES_USER=togather\nPOSTGRES_PASSWORD=CHANGE_ME\n\nBARE\nA=${NOWHERE}\n",
    )]);
    let told = told.err().unwrap();
    let places: Vec<_> = told
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        places,
        [
            ".env.production:2: `POSTGRES_PASSWORD`",
            ".env.production:4: `BARE`",
            ".env.production:5: `A`",
        ],
        "{told}"
    );
}

/// Whatever the password is, it leads to the same place, and is the one that the database has.
#[test]
fn a_password_changes_nothing_but_itself() {
    for (password, encoded) in [
        ("ab/cd==", "ab%2Fcd%3D%3D"),
        ("'?sslmode=maybe'", "%3Fsslmode%3Dmaybe"),
        ("p%41ss", "p%2541ss"),
        ("x@evil.org:1/", "x%40evil.org%3A1%2F"),
    ] {
        let environment =
            format!("POSTGRES_USER=togather\nPOSTGRES_PASSWORD={password}\nPOSTGRES_DB=events\n");
        let config = load(&[(".env.production", &environment)]).unwrap();
        assert_eq!(
            config.database_url.expose_secret(),
            format!("postgres://togather:{encoded}@127.0.0.1:5432/events")
        );
        // It may well be meant as it is, so it is taken; but a doubt is told, without the value.
        let told = config.warnings.join("\n");
        assert_eq!(
            told.contains("`POSTGRES_PASSWORD` looks percent-encoded"),
            password == "p%41ss"
        );
        assert!(!told.contains(password), "{told}");
    }
}

/// A broken line is told by its number: its text may be half a password.
#[test]
fn an_error_in_the_environment_does_not_quote_it() {
    let told = load(&[(".env.production", "PASSWORD='hunter2\n")])
        .err()
        .unwrap();
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn the_documented_defaults_are_the_coded_ones() {
    let agent = include_str!("../../../../deploy/config/agent.yml");
    let coded: AgentFile = serde_saphyr::from_str(AGENT).unwrap();
    let documented: AgentFile = serde_saphyr::from_str(agent).unwrap();
    assert_eq!(documented, coded);
    assert_states_every_key(agent, &serde_json::to_value(&coded).unwrap());

    let deployment = include_str!("../../../../deploy/config/deployment.yml");
    let documented: DeploymentFile = serde_saphyr::from_str(deployment).unwrap();
    // What is better for the Togather server than what older files, which do not say it, go by.
    let mut coded = DeploymentFile::default();
    coded.app.ready_path = Some("/readyz".into());
    coded.app.accept = vec![Acceptable::Healthy, Acceptable::Degraded];
    let page = |path: &str, contains: Option<&str>| Page {
        path: path.into(),
        status: 200,
        contains: contains.map(Into::into),
    };
    coded.app.expect = Pages::try_from(vec![
        page("/version", Some("git_commit")),
        page("/api/v1/openapi.json", Some("openapi")),
        page("/api/v1/events", None),
    ])
    .unwrap();
    assert_eq!(documented, coded);
    assert_states_every_key(deployment, &serde_json::to_value(&documented).unwrap());
}

/// Every key is written in the file; one without a default, as a comment.
fn assert_states_every_key(text: &str, coded: &Value) {
    fn walk(path: &str, text: &str, written: &Value, coded: &Value) {
        let Value::Object(coded) = coded else { return };
        for (key, value) in coded {
            match written.get(key) {
                Some(written) => walk(&format!("{path}{key}."), text, written, value),
                None => assert!(
                    text.contains(&format!("# {key}:")),
                    "{path}{key} is not stated"
                ),
            }
        }
    }
    walk("", text, &serde_saphyr::from_str(text).unwrap(), coded);
}

#[test]
fn the_sample_overlays_are_taken() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config/providers");
    for provider in ["docker", "aws", "gcp"] {
        let overlay = std::fs::read_to_string(samples.join(format!("{provider}.yml"))).unwrap();
        let config = load(&[
            ("agent.yml", &format!("{AGENT}provider: {provider}\n")),
            (&format!("providers/{provider}.yml"), &overlay),
            (
                ".env.production",
                &format!("{ENVIRONMENT}DATABASE_HOST=db.internal\n"),
            ),
        ]);
        assert!(config.is_ok(), "{provider}: {:?}", config.err());
    }
}
