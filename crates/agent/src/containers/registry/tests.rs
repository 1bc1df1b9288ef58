//! Whom the agent is to a registry, by each way there is to say so.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::config::Login;

/// Docker's `config.json` and helpers in a folder of their own.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        secret_file::write_new(&path, text).unwrap();
        path
    }

    /// Put there by another process: a file that this one has open for writing could not be run, and
    /// a fork of another test's may have it a moment longer.
    fn helper(&self, name: &str, script: &str) {
        let source = self.folder.path().join(name);
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        let program = self.folder.path().join(format!("docker-credential-{name}"));
        let mut install = std::process::Command::new("install");
        let installed = install
            .args(["-m", "0755"])
            .args([source, program])
            .status();
        assert!(installed.unwrap().success());
    }

    fn with_config(&self, json: &str) -> Registries {
        Registries {
            settings: RegistrySettings {
                docker_config: Some(self.secret("config.json", json)),
                ..RegistrySettings::default()
            },
            helpers: Some(self.folder.path().to_owned()),
        }
    }
}

async fn found(registries: &Registries, image: &str) -> Option<(String, String)> {
    let credential = registries.credential(image).await.unwrap();
    let shown = format!("{credential:?}");
    credential.map(|credential| {
        let (user, secret) = match credential {
            Credential::Password { user, password } => (user, password),
            Credential::IdentityToken(token) => ("a token".to_owned(), token),
        };
        let secret = secret.expose_secret().to_owned();
        assert!(!shown.contains(&secret), "{shown}");
        (user, secret)
    })
}

fn pair(user: &str, secret: &str) -> Option<(String, String)> {
    Some((user.to_owned(), secret.to_owned()))
}

#[test]
fn the_registry_of_an_image_is_found_as_docker_finds_it() {
    for (image, expected) in [
        ("postgres:17", "docker.io"),
        ("togather/server", "docker.io"),
        ("docker.io/library/postgres", "docker.io"),
        ("index.docker.io/library/postgres", "docker.io"),
        ("localhost/server", "localhost"),
        ("127.0.0.1:5000/server@sha256:00", "127.0.0.1:5000"),
        ("registry.example.org/a/b:1", "registry.example.org"),
    ] {
        assert_eq!(host(image), expected, "{image}");
    }
}

#[tokio::test]
async fn a_login_of_agent_yml_comes_first_and_its_password_is_read_each_time() {
    let machine = Machine::new();
    let mut registries = machine.with_config(r#"{"auths":{"r.example.org":{"auth":"dTpodXNo"}}}"#);
    let password_file = machine.secret("password", "hush: hush\n");
    let login = Login {
        user: "togather".into(),
        password_file: password_file.clone(),
    };
    assert_eq!(
        found(&registries, "r.example.org/a").await,
        pair("u", "hush")
    );
    registries.settings.logins = BTreeMap::from([("r.example.org".into(), login)]);
    let image = "r.example.org/a@sha256:00";
    assert_eq!(
        found(&registries, image).await,
        pair("togather", "hush: hush")
    );
    fs::write(&password_file, "renewed").unwrap();
    assert_eq!(found(&registries, image).await, pair("togather", "renewed"));
    assert_eq!(found(&registries, "other.example.org/a").await, None);

    fs::set_permissions(&password_file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = registries.credential(image).await.unwrap_err();
    assert!(matches!(error, RegistryError::Password { .. }), "{error}");
    assert!(registries.check().is_err());
}

#[tokio::test]
async fn dockers_own_file_is_understood_as_docker_writes_it() {
    let machine = Machine::new();
    let registries = machine.with_config(
        r#"{
            "auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOmh1OnNo"},
                "https://token.example.org": {"auth": "MDAwMDA6", "identitytoken": "given out"},
                "plain.example.org:5000": {"username": "u", "password": "hush"},
                "empty.example.org": {},
                "broken.example.org": {"auth": "hush"}
            },
            "HttpHeaders": {"User-Agent": "Docker-Client/19.03.5 (linux)"},
            "psFormat": "table"
        }"#,
    );
    registries.check().unwrap();
    assert_eq!(
        found(&registries, "postgres:17").await,
        pair("hub", "hu:sh")
    );
    let token = found(&registries, "token.example.org/a").await;
    assert_eq!(token, pair("a token", "given out"));
    let plain = found(&registries, "plain.example.org:5000/a").await;
    assert_eq!(plain, pair("u", "hush"));
    assert_eq!(found(&registries, "empty.example.org/a").await, None);
    let error = registries.credential("broken.example.org/a").await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`docker login broken.example.org` again"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_dockers_is_refused_without_quoting_it() {
    for text in [
        "hush",
        r#"{"auths": {"a": "hush"}}"#,
        r#"{"auths": ["hush"]}"#,
    ] {
        let machine = Machine::new();
        let registries = machine.with_config(text);
        let error = registries.check().unwrap_err();
        let error = format!("{error} {error:?}");
        assert!(error.contains("config.json:1:"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn a_helper_is_asked_as_docker_asks_it_the_registrys_own_before_everybodys() {
    let machine = Machine::new();
    machine.helper(
        "all",
        r#"read -r asked; printf '{"ServerURL":"","Username":"%s","Secret":"from %s"}' "$1" "$asked""#,
    );
    machine.helper(
        "ecr-login",
        r#"echo '{"Username":"<token>","Secret":"its own"}'"#,
    );
    machine.helper(
        "nothing",
        "echo 'credentials not found in native keychain'; exit 1",
    );
    let registries = machine.with_config(
        r#"{"credsStore": "all", "credHelpers": {
            "own.example.org": "ecr-login", "none.example.org": "nothing"
        }, "auths": {"own.example.org": {"auth": "dTpodXNo"}}}"#,
    );
    let hub = found(&registries, "postgres").await;
    assert_eq!(hub, pair("get", "from https://index.docker.io/v1/"));
    let other = found(&registries, "other.example.org:5000/a").await;
    assert_eq!(other, pair("get", "from other.example.org:5000"));
    let own = found(&registries, "own.example.org/a").await;
    assert_eq!(own, pair("a token", "its own"));
    assert_eq!(found(&registries, "none.example.org/a").await, None);
}

#[tokio::test]
async fn a_helper_that_gives_nothing_says_why_and_never_shows_a_secret() {
    let machine = Machine::new();
    machine.helper("says", "echo 'no credentials in the environment'; exit 1");
    machine.helper(
        "leaks",
        r#"echo '{"Username":"u","Secret":"hush"}'; exit 1"#,
    );
    machine.helper("garbles", r#"echo '{"Username":"u","Secret":["hush"]}'"#);
    let registries = machine.with_config(
        r#"{"credHelpers": {
            "says.example.org": "says", "leaks.example.org": "leaks",
            "garbles.example.org": "garbles", "missing.example.org": "missing",
            "session.example.org": "secretservice", "path.example.org": "../../bin/sh"
        }}"#,
    );
    for (host, expected) in [
        ("says", "it says: no credentials in the environment"),
        ("leaks", "did not answer as docker's credential helpers do"),
        (
            "garbles",
            "did not answer as docker's credential helpers do",
        ),
        (
            "missing",
            "docker-credential-missing; helpers must be in /usr/bin",
        ),
        ("session", "and the agent has none"),
        ("path", "that is no helper's name"),
    ] {
        let image = format!("{host}.example.org/a");
        let error = registries.credential(&image).await.unwrap_err();
        let whole = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(whole.contains(expected), "{whole}");
        assert!(whole.contains(&format!("`{host}.example.org`")), "{whole}");
        assert!(!format!("{whole} {error:?}").contains("hush"), "{whole}");
    }
}
