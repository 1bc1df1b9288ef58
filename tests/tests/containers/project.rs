//! A Compose project for one test, removed with all that is in it.

use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, resume_unwind},
    path::Path,
};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions, TagImageOptionsBuilder,
};
use futures::FutureExt;
use tempfile::TempDir;
use togather_agent::containers::{App, Docker, compose};
use togather_model::{Digest, Image};

const SOCKET: &str = "/var/run/docker.sock";

/// A Compose project on the machine's Docker.
pub(crate) struct Project {
    name: &'static str,
    pub(crate) image: String,
    /// For the test's files.
    pub(crate) folder: TempDir,
    /// Docker without the agent in between.
    pub(crate) client: bollard::Docker,
}

impl Project {
    /// Gives the test a project, and removes all of it afterwards, whatever happens.
    pub(crate) async fn run(name: &'static str, test: impl AsyncFnOnce(&Project)) {
        let client = bollard::Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION);
        let client = client.unwrap().negotiate_version().await.unwrap();
        let mut image = None;
        for candidate in ["debian:bookworm-slim", "togather-base:bookworm"] {
            if client.inspect_image(candidate).await.is_ok() {
                image.get_or_insert(candidate.to_owned());
            }
        }
        let project = Project {
            name,
            image: image.expect("neither debian:bookworm-slim nor togather-base:bookworm is on this machine; `make fleet-up` makes the latter"),
            folder: tempfile::tempdir().unwrap(),
            client,
        };
        project.remove().await;
        let outcome = AssertUnwindSafe(test(&project)).catch_unwind().await;
        project.remove().await;
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }

    /// The agent's view of Docker with this Compose file, which may name `IMAGE` and `SECRET`.
    pub(crate) fn docker(&self, file: &str, secret: &str) -> Docker {
        let path = self.folder.path().join("docker-compose.yml");
        std::fs::write(&path, format!("name: {}\n{file}", self.name)).unwrap();
        let environment = BTreeMap::from([
            ("IMAGE".to_owned(), self.image.clone()),
            ("SECRET".to_owned(), secret.to_owned()),
        ]);
        let compose = compose::load(&path, &environment, "app").unwrap();
        Docker::new(Path::new(SOCKET), compose, 8080).unwrap()
    }

    /// An app whose image is tagged as if its archive had been loaded.
    pub(crate) async fn app(&self, version: &str) -> App {
        let image = Image::Archive {
            digest: Digest::of(self.name.as_bytes()),
            bytes: 1,
        };
        let reference = image.reference();
        let (repo, tag) = reference.rsplit_once(':').unwrap();
        let options = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
        let tagged = self.client.tag_image(&self.image, Some(options)).await;
        tagged.unwrap();
        App {
            release: Digest::of(version.as_bytes()),
            version: version.to_owned(),
            image,
        }
    }

    /// Whether a container of a program that runs once is there.
    pub(crate) async fn holds_a_program(&self) -> bool {
        let project = format!("togather.project={}", self.name);
        let filters = HashMap::from([("label", vec![project, "togather.program".into()])]);
        let options = ListContainersOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        let listed = self.client.list_containers(Some(options)).await.unwrap();
        !listed.is_empty()
    }

    async fn remove(&self) {
        let filters = HashMap::from([("label", vec![format!("togather.project={}", self.name)])]);
        let options = ListContainersOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        for container in self.client.list_containers(Some(options)).await.unwrap() {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
            let id = container.id.unwrap();
            let removed = self.client.remove_container(&id, Some(options.build()));
            removed.await.unwrap();
        }
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        for network in self.client.list_networks(Some(options)).await.unwrap() {
            let name = network.name.unwrap();
            self.client.remove_network(&name).await.unwrap();
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = self.client.list_volumes(Some(options)).await.unwrap();
        for volume in volumes.volumes.unwrap_or_default() {
            let removed = self
                .client
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>);
            removed.await.unwrap();
        }
        // The name of `app`; most tests have none.
        let image = Image::Archive {
            digest: Digest::of(self.name.as_bytes()),
            bytes: 1,
        };
        let image = image.reference();
        let removed = self
            .client
            .remove_image(&image, None::<RemoveImageOptions>, None);
        let _ = removed.await;
    }
}
