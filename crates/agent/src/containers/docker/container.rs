//! What is done to any container, of a service or a slot.

use bollard::{
    models::{ContainerInspectResponse, NetworkConnectRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    },
};
use futures::StreamExt;
use togather_compose::Service;
use tokio::time::{Duration, Instant, sleep};

use super::{
    super::ContainersError,
    Docker, PAUSE,
    connection::has_status,
    create::{self, Extra},
    refused,
    tail::Tail,
};

/// The most that is kept of a container's log, in bytes.
const KEPT_LOG: usize = 256 * 1024;

/// How long Docker may take to clear a container away.
const REMOVAL: Duration = Duration::from_secs(60);

impl Docker {
    /// Creates a container, joins its networks and starts it.
    pub(super) async fn create_and_start(
        &self,
        name: &str,
        service: &Service,
        extra: Extra<'_>,
    ) -> Result<(), ContainersError> {
        self.create(name, service, extra).await?;
        self.start(name).await
    }

    /// Creates a container and joins its networks. Returns its id.
    pub(super) async fn create(
        &self,
        name: &str,
        service: &Service,
        extra: Extra<'_>,
    ) -> Result<String, ContainersError> {
        let client = self.client().await?;
        let alias = extra.alias.to_owned();
        let mut options = CreateContainerOptionsBuilder::new().name(name);
        if let Some(platform) = &service.platform {
            options = options.platform(platform);
        }
        let created = client
            .create_container(Some(options.build()), create::body(service, extra))
            .await;
        let created = created.map_err(|e| refused(format!("create the container {name}"), e))?;
        for network in service.networks.iter().skip(1) {
            let request = NetworkConnectRequest {
                container: name.to_owned(),
                endpoint_config: Some(create::endpoint(service, network, &alias)),
            };
            let joined = client.connect_network(network, request).await;
            joined.map_err(|e| refused(format!("join {name} to the network {network}"), e))?;
        }
        Ok(created.id)
    }

    /// Starts a container that is there; one that runs is fine.
    pub(super) async fn start(&self, container: &str) -> Result<(), ContainersError> {
        let client = self.client().await?;
        let started = client.start_container(container, None).await;
        started.map_err(|e| refused(format!("start the container {container}"), e))
    }

    /// Removes a container, running or not; one that is gone is fine.
    pub(super) async fn remove_container(&self, container: &str) -> Result<(), ContainersError> {
        let client = self.client().await?;
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        match client.remove_container(container, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if has_status(&error, 404) => Ok(()),
            // Somebody is at it already.
            Err(error) if has_status(&error, 409) => self.await_gone(container).await,
            Err(error) => Err(refused(format!("remove the container {container}"), error)),
        }
    }

    pub(super) async fn await_gone(&self, name: &str) -> Result<(), ContainersError> {
        let deadline = Instant::now() + REMOVAL;
        while self.inspect(name).await?.is_some() {
            if Instant::now() > deadline {
                return Err(ContainersError::NotRemoved(name.to_owned()));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The container, if there is one of this name or id.
    pub(super) async fn inspect(
        &self,
        container: &str,
    ) -> Result<Option<ContainerInspectResponse>, ContainersError> {
        let client = self.client().await?;
        match client.inspect_container(container, None).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if has_status(&error, 404) => Ok(None),
            Err(error) => Err(refused(format!("look at the container {container}"), error)),
        }
    }

    /// The last lines of a container's log, both streams.
    pub(super) async fn tail(
        &self,
        container: &str,
        lines: usize,
    ) -> Result<String, ContainersError> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let client = self.client().await?;
        let mut log = client.logs(container, Some(options));
        let mut tail = Tail::of(KEPT_LOG);
        while let Some(piece) = log.next().await {
            let piece = piece.map_err(|e| refused(format!("read the log of {container}"), e))?;
            tail.push(piece.as_ref());
        }
        Ok(tail.text())
    }
}
