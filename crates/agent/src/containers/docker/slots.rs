//! The two containers of the app.

use bollard::{
    models::ContainerInspectResponse,
    query_parameters::{
        CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StopContainerOptionsBuilder,
    },
};
use futures::StreamExt;
use togather_model::{Digest, Slot};
use tokio::time::{Duration, Instant, sleep};

use super::{
    super::{App, ContainersError, SlotContainer, compose::Port},
    Docker,
    connection::{PATIENCE, has_status},
    create::{self, Extra, whole_seconds},
    labels, refused,
    tail::Tail,
};

/// The most that is kept of a container's log, in bytes.
const KEPT_LOG: usize = 256 * 1024;

/// How long Docker may take to clear a container away.
const REMOVAL: Duration = Duration::from_secs(60);

pub(super) fn name(slot: Slot) -> String {
    format!("togather-{slot}")
}

impl Docker {
    pub(super) async fn start_app(&self, slot: Slot, app: &App) -> Result<(), ContainersError> {
        self.remove(slot).await?;
        let service = &self.compose.app;
        let name = name(slot);
        // Not the service's own name: that would reach either version at random.
        let alias = format!("{}-{slot}", service.name);
        let extra = Extra {
            image: &app.image.reference(),
            labels: labels::of_slot(&self.compose, slot, app)?,
            alias: &alias,
            port: Some(Port {
                ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
                host: slot.port(),
                container: format!("{}/tcp", self.app_port),
            }),
            environment: Some(("DEPLOYMENT_SLOT", slot.as_str())),
        };
        self.create_and_start(&name, service, extra).await
    }

    /// Creates a container, joins its networks and starts it.
    pub(super) async fn create_and_start(
        &self,
        name: &str,
        service: &super::super::compose::Service,
        extra: Extra<'_>,
    ) -> Result<(), ContainersError> {
        let client = self.client().await?;
        let alias = extra.alias.to_owned();
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = client
            .create_container(Some(options), create::body(service, extra))
            .await;
        created.map_err(|e| refused(format!("create the container {name}"), e))?;
        for network in service.networks.iter().skip(1) {
            let request = bollard::models::NetworkConnectRequest {
                container: name.to_owned(),
                endpoint_config: Some(create::endpoint(&alias)),
            };
            let joined = client.connect_network(network, request).await;
            joined.map_err(|e| refused(format!("join {name} to the network {network}"), e))?;
        }
        self.start(name).await
    }

    /// Starts a container that is there; one that runs is fine.
    pub(super) async fn start(&self, container: &str) -> Result<(), ContainersError> {
        let client = self.client().await?;
        let started = client.start_container(container, None).await;
        started.map_err(|e| refused(format!("start the container {container}"), e))
    }

    pub(super) async fn restart(&self, slot: Slot) -> Result<(), ContainersError> {
        if self.inspect(&name(slot)).await?.is_none() {
            return Err(ContainersError::EmptySlot(slot));
        }
        self.start(&name(slot)).await
    }

    pub(super) async fn stop(&self, slot: Slot) -> Result<(), ContainersError> {
        let grace = whole_seconds(self.compose.app.grace());
        let grace = i32::try_from(grace).unwrap_or(i32::MAX);
        let patience = Duration::from_secs(PATIENCE + u64::from(grace.unsigned_abs()));
        let client = self.client().await?.with_timeout(patience);
        let options = StopContainerOptionsBuilder::new().t(grace).build();
        match client.stop_container(&name(slot), Some(options)).await {
            Err(error) if has_status(&error, 404) => Ok(()),
            stopped => stopped.map_err(|e| refused(format!("stop {}", name(slot)), e)),
        }
    }

    /// Asks the app to stop first: a version with background workers must not be cut off.
    pub(super) async fn remove(&self, slot: Slot) -> Result<(), ContainersError> {
        self.stop(slot).await?;
        let client = self.client().await?;
        let name = name(slot);
        let options = || RemoveContainerOptionsBuilder::new().force(true).build();
        match client.remove_container(&name, Some(options())).await {
            Ok(()) => Ok(()),
            Err(error) if has_status(&error, 404) => Ok(()),
            // Somebody is at it already.
            Err(error) if has_status(&error, 409) => self.await_gone(&name).await,
            Err(error) => Err(refused(format!("remove {name}"), error)),
        }
    }

    async fn await_gone(&self, name: &str) -> Result<(), ContainersError> {
        let deadline = Instant::now() + REMOVAL;
        while self.inspect(name).await?.is_some() {
            if Instant::now() > deadline {
                return Err(ContainersError::NotRemoved(name.to_owned()));
            }
            sleep(super::PAUSE).await;
        }
        Ok(())
    }

    pub(super) async fn held(&self, slot: Slot) -> Result<Option<SlotContainer>, ContainersError> {
        let found = self.inspect(&name(slot)).await?;
        Ok(found.map(|found| slot_container(&found)))
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

fn slot_container(found: &ContainerInspectResponse) -> SlotContainer {
    let label = |name: &str| {
        let labels = found.config.as_ref()?.labels.as_ref()?;
        labels.get(name).cloned()
    };
    let state = found.state.as_ref();
    // Between two attempts of a crash loop Docker says "running" as well.
    let running = state.is_some_and(|state| {
        state.running.unwrap_or_default() && !state.restarting.unwrap_or_default()
    });
    let release: Option<Digest> = label(labels::RELEASE).and_then(|text| text.parse().ok());
    SlotContainer {
        release,
        version: label(labels::VERSION).unwrap_or_default(),
        running,
        exit_code: state.and_then(|state| state.exit_code).filter(|_| !running),
    }
}
