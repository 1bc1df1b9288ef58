//! Pulls from a real registry that asks for a login, and from none.

use std::{
    collections::{BTreeMap, HashMap},
    os::unix::fs::OpenOptionsExt,
    sync::Mutex,
    time::Duration,
};

use bollard::{
    auth::DockerCredentials,
    models::{ContainerCreateBody, HostConfig, PortBinding},
    query_parameters::{
        CreateContainerOptionsBuilder, ImportImageOptionsBuilder, PushImageOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
        UploadToContainerOptionsBuilder,
    },
};
use futures::StreamExt;
use togather_agent::{
    config::{Login, RegistrySettings},
    containers::{Containers, ContainersError, Docker, PullError, PullFailure, Registries},
};
use togather_model::{Digest, Image};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{FILE, project::Project};

/// The development fleet's registry; `make fleet-up` builds it.
const IMAGE: &str = "togather-devfleet-registry";

/// Two users: one whose password comes through only in the alphabet that Docker reads, and one for the
/// test's own client, which writes the other.
const USERS: &str = "\
agent:$2b$04$U3YCQGPuGX7X3X/4nYY94.zeXMZNh.nP2904BOPJkil6pmIO5FWM6
tests:$2b$04$iTd.Pu/hIIlsvRc9pNfNFOrovt4b7mBKOTlbZZfhzJkfJLmGY1Mh6
";
const PASSWORD: &str = "???>>>~~~";

#[tokio::test]
async fn an_image_is_pulled_with_a_login_and_each_failure_says_what_it_is() {
    Project::run("fleet-tests-registry", async |project| {
        let registry = Registry::start(project).await;
        let image = registry.push(project, &project.image).await;
        let foreign = import_for_other_machines(project).await;
        let foreign = registry.push(project, &foreign).await;
        let fetch = async |registries: Option<Registries>, image: &Image| {
            let docker = project.docker(FILE, "");
            let docker = docker.with_registries(registries.unwrap_or_default());
            fetched(&docker, image).await
        };

        let error = failed(fetch(None, &image).await);
        assert_eq!(
            (error.kind, error.tries),
            (PullFailure::Denied, 1),
            "{error}"
        );
        assert!(error.to_string().contains("requires a login"), "{error}");
        let wrong = registry.login(project, "wrong");
        let error = failed(fetch(Some(wrong), &image).await);
        assert_eq!(
            (error.kind, error.tries),
            (PullFailure::Denied, 1),
            "{error}"
        );
        assert!(error.to_string().contains("the user `agent`"), "{error}");

        let nothing = Image::Registry {
            repository: registry.repository.clone(),
            digest: Digest::of(b"nothing"),
        };
        let login = registry.login(project, PASSWORD);
        let error = failed(fetch(Some(login), &nothing).await);
        assert_eq!(
            (error.kind, error.tries),
            (PullFailure::Missing, 1),
            "{error}"
        );

        let login = registry.login(project, PASSWORD);
        let stages = fetch(Some(login), &image).await.unwrap();
        assert!(
            stages.contains(&"downloading the image".to_owned()),
            "{stages:?}"
        );
        let docker = project.docker(FILE, "");
        docker.fits(&image).await.unwrap();
        let docker = docker.with_registries(registry.login(project, PASSWORD));
        for refused in [
            docker.fits(&foreign).await,
            fetched(&docker, &foreign).await.map(drop),
        ] {
            let error = refused.unwrap_err();
            let is_it = matches!(error, ContainersError::OtherPlatform { .. });
            assert!(
                is_it && error.to_string().contains("made for linux/s390x"),
                "{error}"
            );
        }
        assert!(!docker.has_image(&foreign).await.unwrap(), "it was pulled");

        let name = image.reference();
        let removed = project
            .client
            .remove_image(&name, None::<RemoveImageOptions>, None);
        removed.await.unwrap();
        let removed =
            project
                .client
                .remove_image("fleet-tests-foreign:1", None::<RemoveImageOptions>, None);
        removed.await.unwrap();
        registry.remove(project).await;
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_nobody_answers_for_is_asked_again_and_then_told() {
    Project::run("fleet-tests-no-registry", async |project| {
        let image = Image::Registry {
            repository: "127.0.0.1:9/nowhere".into(),
            digest: Digest::of(b"nothing"),
        };
        let error = failed(fetched(&project.docker(FILE, ""), &image).await);
        assert_eq!(
            (error.kind, error.tries),
            (PullFailure::NoAnswer, 5),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("`127.0.0.1:9` cannot be reached"),
            "{error}"
        );
    })
    .await;
}

/// The stages that a fetch told of.
async fn fetched(docker: &Docker, image: &Image) -> Result<Vec<String>, ContainersError> {
    let stages = Mutex::new(Vec::new());
    let say = |progress: togather_agent::progress::Progress| {
        stages.lock().unwrap().push(progress.message);
    };
    docker.fetch(image, &say).await?;
    Ok(stages.into_inner().unwrap())
}

#[track_caller]
fn failed(outcome: Result<Vec<String>, ContainersError>) -> Box<PullError> {
    let error = outcome.expect_err("it was pulled");
    let text = error.to_string();
    if let ContainersError::Pull(error) = error {
        return error;
    }
    unreachable!("{text}")
}

/// A registry with a password, on a port of its own.
struct Registry {
    container: String,
    repository: String,
}

impl Registry {
    async fn start(project: &Project) -> Self {
        let name = "fleet-tests-registry-itself".to_owned();
        let body = ContainerCreateBody {
            image: Some(IMAGE.into()),
            env: Some(vec![
                "REGISTRY_AUTH=htpasswd".into(),
                "REGISTRY_AUTH_HTPASSWD_REALM=tests".into(),
                "REGISTRY_AUTH_HTPASSWD_PATH=/etc/docker/registry/users".into(),
            ]),
            labels: Some(HashMap::from([(
                "togather.project".to_owned(),
                "fleet-tests-registry".to_owned(),
            )])),
            exposed_ports: Some(vec!["5000/tcp".into()]),
            host_config: Some(HostConfig {
                port_bindings: Some(HashMap::from([(
                    "5000/tcp".to_owned(),
                    Some(vec![PortBinding {
                        host_ip: Some("127.0.0.1".into()),
                        host_port: Some("0".into()),
                    }]),
                )])),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let client = &project.client;
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let created = client.create_container(Some(options), body).await;
        let container = created.expect("`make fleet-up` builds its image").id;
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(USERS.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, "users", USERS.as_bytes())
            .unwrap();
        let options = UploadToContainerOptionsBuilder::new().path("/etc/docker/registry");
        let files = bollard::body_full(archive.into_inner().unwrap().into());
        let given = client.upload_to_container(&container, Some(options.build()), files);
        given.await.unwrap();
        client.start_container(&container, None).await.unwrap();

        let found = client.inspect_container(&container, None).await.unwrap();
        let ports = found.network_settings.unwrap().ports.unwrap();
        let port = ports["5000/tcp"].as_ref().unwrap()[0].host_port.clone();
        let host = format!("127.0.0.1:{}", port.unwrap());
        let until_it_answers = async {
            while !answers(&host).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answering = tokio::time::timeout(Duration::from_secs(30), until_it_answers).await;
        answering.expect("the registry does not answer");
        // Docker keeps manifests by where they came from, and asks nobody for one that it has: an earlier
        // run's registry may have had the same port.
        let run = ulid::Ulid::generate().to_string().to_lowercase();
        let repository = format!("{host}/tests/server-{run}");
        Self {
            container,
            repository,
        }
    }

    /// Pushes an image, and leaves nothing of that on this machine's Docker.
    async fn push(&self, project: &Project, image: &str) -> Image {
        let client = &project.client;
        let options = TagImageOptionsBuilder::new()
            .repo(&self.repository)
            .tag("1");
        let tagged = client.tag_image(image, Some(options.build()));
        tagged.await.unwrap();
        let login = DockerCredentials {
            username: Some("tests".into()),
            password: Some("plain".into()),
            ..DockerCredentials::default()
        };
        let options = PushImageOptionsBuilder::new().tag("1").build();
        let mut pushed = client.push_image(&self.repository, Some(options), Some(login));
        while let Some(told) = pushed.next().await {
            told.unwrap();
        }
        let name = format!("{}:1", self.repository);
        let found = client.inspect_image(&name).await.unwrap();
        let digests = found.repo_digests.unwrap();
        let prefix = format!("{}@", self.repository);
        let mut digests = digests.iter();
        let digest = digests.find_map(|known| known.strip_prefix(&prefix));
        let digest = digest.unwrap().parse().unwrap();
        let removed = client.remove_image(&name, None::<RemoveImageOptions>, None);
        removed.await.unwrap();
        Image::Registry {
            repository: self.repository.clone(),
            digest,
        }
    }

    fn login(&self, project: &Project, password: &str) -> Registries {
        let password_file = project.folder.path().join("password");
        let _ = std::fs::remove_file(&password_file);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let mut file = file.open(&password_file).unwrap();
        std::io::Write::write_all(&mut file, password.as_bytes()).unwrap();
        let (host, _) = self.repository.split_once('/').unwrap();
        let login = Login {
            user: "agent".into(),
            password_file,
        };
        Registries::new(RegistrySettings {
            docker_config: None,
            logins: BTreeMap::from([(host.to_owned(), login)]),
        })
    }

    async fn remove(&self, project: &Project) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = project
            .client
            .remove_container(&self.container, Some(options.build()));
        removed.await.unwrap();
    }
}

/// An image for a processor that no node has, as `docker save` would write it; its name.
async fn import_for_other_machines(project: &Project) -> String {
    let name = "fleet-tests-foreign:1";
    // Two blocks of zeros are a tar archive without files.
    let layer = vec![0; 1024];
    let config = serde_json::json!({
        "architecture": "s390x", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}
    ]);
    let mut archive = tar::Builder::new(Vec::new());
    for (file, content) in [
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", layer),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, file, content.as_slice())
            .unwrap();
    }
    let archive = bollard::body_full(archive.into_inner().unwrap().into());
    let options = ImportImageOptionsBuilder::new().build();
    let mut loaded = project.client.import_image(options, archive, None);
    while let Some(told) = loaded.next().await {
        told.unwrap();
    }
    name.to_owned()
}

/// Whether somebody answers there. That the port is open proves nothing: Docker opens it by itself.
async fn answers(host: &str) -> bool {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(host).await?;
        stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").await?;
        stream.read(&mut [0; 16]).await
    };
    asked.await.is_ok_and(|read| read > 0)
}
