//! The base services: their networks, volumes and containers.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::{
        ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, NetworkCreateRequest,
        VolumeCreateRequest,
    },
    query_parameters::ListContainersOptionsBuilder,
};
use togather_compose::{PullPolicy, Resource, Service};
use tokio::time::{Instant, sleep};

use super::{
    super::ContainersError, Docker, PAUSE, connection::has_status, create::Extra, labels, refused,
};

/// How many of its last lines are shown of a service that did not come up.
const SHOWN_LINES: usize = 20;

/// How long a service without a health check may take to run.
const START: Duration = Duration::from_secs(30);

impl Docker {
    pub(super) async fn any_base_container(&self) -> Result<bool, ContainersError> {
        for service in &self.compose.base {
            if self.find(&service.name).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everything up, in order; a phrase for each thing that was done or is worth knowing.
    pub(super) async fn all_up(&self) -> Result<Vec<String>, ContainersError> {
        let mut said = Vec::new();
        for network in &self.compose.networks {
            if self.network_up(network).await? {
                said.push(format!("network {} created", network.name));
            }
        }
        for volume in &self.compose.volumes {
            if self.volume_up(volume).await? {
                said.push(format!("volume {} created", volume.name));
            }
        }
        for service in &self.compose.base {
            said.extend(self.service_up(service).await?);
        }
        Ok(said)
    }

    async fn network_up(&self, network: &Resource) -> Result<bool, ContainersError> {
        let client = self.client().await?;
        match client.inspect_network(&network.name, None).await {
            Ok(_) => return Ok(false),
            Err(error) if has_status(&error, 404) => {}
            Err(error) => {
                return Err(refused(
                    format!("look at the network {}", network.name),
                    error,
                ));
            }
        }
        if network.external {
            return Err(ContainersError::NotThere {
                kind: "network",
                name: network.name.clone(),
            });
        }
        let request = NetworkCreateRequest {
            name: network.name.clone(),
            driver: network.driver.clone(),
            options: Some(network.driver_opts.clone().into_iter().collect()),
            internal: network.internal.then_some(true),
            labels: Some(labels::of_resource(
                self.compose.project(),
                "network",
                &network.key,
            )),
            ..NetworkCreateRequest::default()
        };
        let created = client.create_network(request).await;
        created.map_err(|e| refused(format!("create the network {}", network.name), e))?;
        Ok(true)
    }

    async fn volume_up(&self, volume: &Resource) -> Result<bool, ContainersError> {
        let client = self.client().await?;
        match client.inspect_volume(&volume.name).await {
            Ok(_) => return Ok(false),
            Err(error) if has_status(&error, 404) => {}
            Err(error) => {
                return Err(refused(
                    format!("look at the volume {}", volume.name),
                    error,
                ));
            }
        }
        if volume.external {
            return Err(ContainersError::NotThere {
                kind: "volume",
                name: volume.name.clone(),
            });
        }
        let request = VolumeCreateRequest {
            name: Some(volume.name.clone()),
            driver: volume.driver.clone(),
            driver_opts: Some(volume.driver_opts.clone().into_iter().collect()),
            labels: Some(labels::of_resource(
                self.compose.project(),
                "volume",
                &volume.key,
            )),
            ..VolumeCreateRequest::default()
        };
        let created = client.create_volume(request).await;
        created.map_err(|e| refused(format!("create the volume {}", volume.name), e))?;
        Ok(true)
    }

    async fn service_up(&self, service: &Service) -> Result<Vec<String>, ContainersError> {
        let mut said = Vec::new();
        let container = match self.find_usable(service).await? {
            None => {
                let name = service.container(self.compose.project());
                self.create_base(&name, service).await?;
                said.push(format!("{} created and started", service.name));
                name
            }
            Some(found) => {
                said.extend(Self::difference(service, &found)?);
                let container = found.id.clone().unwrap_or_default();
                if !is_running(&found) {
                    self.start(&container).await?;
                    said.push(format!("{} started", service.name));
                }
                container
            }
        };
        self.await_up(service, &container).await?;
        Ok(said)
    }

    /// The service's container. One that the agent made and that never started is half made (a
    /// crash, a port that was taken): it is removed, to be made anew from the file.
    async fn find_usable(
        &self,
        service: &Service,
    ) -> Result<Option<ContainerInspectResponse>, ContainersError> {
        let Some(found) = self.find(&service.name).await? else {
            return Ok(None);
        };
        let state = found.state.as_ref().and_then(|state| state.status);
        let half_made = state == Some(ContainerStateStatusEnum::CREATED);
        if half_made && config_label(&found).is_some() {
            self.remove_container(&found.id.unwrap_or_default()).await?;
            return Ok(None);
        }
        Ok(Some(found))
    }

    /// A service that is there is never replaced: that is the operator's to decide.
    fn difference(
        service: &Service,
        found: &ContainerInspectResponse,
    ) -> Result<Option<String>, ContainersError> {
        let name = &service.name;
        Ok(match config_label(found) {
            Some(made_from) if made_from == labels::fingerprint(service)? => None,
            Some(_) => Some(format!(
                "{name} differs from the Compose file and was left as it is; to renew it, remove its container while the app may be down, and deploy again"
            )),
            None => Some(format!(
                "{name} was not made by the agent and was left as it is"
            )),
        })
    }

    async fn create_base(&self, name: &str, service: &Service) -> Result<(), ContainersError> {
        let image = service.image.clone().unwrap_or_default();
        match service.pull_policy {
            PullPolicy::Missing | PullPolicy::Always => {
                self.pull_if_missing(&service.name, &image).await?;
            }
            PullPolicy::Never if !self.has(&image).await? => {
                return Err(ContainersError::NeverPulled(image));
            }
            PullPolicy::Never => {}
        }
        let extra = Extra {
            image: &image,
            labels: labels::of_service(self.compose.project(), service)?,
            alias: &service.name,
            port: None,
            environment: &[],
        };
        self.create_and_start(name, service, extra).await
    }

    /// Waits until the service is healthy, or runs if nothing checks its health.
    async fn await_up(&self, service: &Service, container: &str) -> Result<(), ContainersError> {
        let began = Instant::now();
        loop {
            let Some(found) = self.inspect(container).await? else {
                return Err(self
                    .not_up(service, container, "its container is gone")
                    .await);
            };
            match look(&found) {
                Look::Up => return Ok(()),
                Look::Failed(why) => return Err(self.not_up(service, container, &why).await),
                Look::Coming if began.elapsed() < time_to_come_up(&found) => sleep(PAUSE).await,
                Look::Coming => {
                    let why = format!("not healthy after {} s", began.elapsed().as_secs());
                    return Err(self.not_up(service, container, &why).await);
                }
            }
        }
    }

    async fn not_up(&self, service: &Service, container: &str, why: &str) -> ContainersError {
        let logs = self.tail(container, SHOWN_LINES).await;
        ContainersError::NotUp {
            service: service.name.clone(),
            why: why.to_owned(),
            logs: logs.unwrap_or_else(|error| format!("(its log cannot be read: {error})")),
        }
    }

    /// The id of the container of this base service.
    pub(super) async fn container_of(&self, service: &str) -> Result<String, ContainersError> {
        let found = self.find(service).await?.and_then(|found| found.id);
        found.ok_or_else(|| ContainersError::NotThere {
            kind: "container of the service",
            name: service.to_owned(),
        })
    }

    /// The container of this base service, whoever made it; a running one rather than another.
    async fn find(
        &self,
        service: &str,
    ) -> Result<Option<ContainerInspectResponse>, ContainersError> {
        let filters = HashMap::from([(
            "label",
            vec![
                format!("{}={}", labels::COMPOSE_PROJECT, self.compose.project()),
                format!("{}={service}", labels::COMPOSE_SERVICE),
                format!("{}=False", labels::COMPOSE_ONE_OFF),
            ],
        )]);
        let options = ListContainersOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        let client = self.client().await?;
        let listed = client.list_containers(Some(options)).await;
        let listed = listed.map_err(|e| refused("list containers", e))?;
        let mut best = None;
        for id in listed.into_iter().filter_map(|container| container.id) {
            let Some(found) = self.inspect(&id).await? else {
                continue;
            };
            if is_running(&found) {
                return Ok(Some(found));
            }
            best.get_or_insert(found);
        }
        Ok(best)
    }
}

/// The fingerprint of the configuration that the agent made this container from.
fn config_label(found: &ContainerInspectResponse) -> Option<&str> {
    let labels = found.config.as_ref()?.labels.as_ref()?;
    labels.get(labels::CONFIG).map(String::as_str)
}

fn is_running(found: &ContainerInspectResponse) -> bool {
    let state = found.state.as_ref();
    state.and_then(|state| state.running).unwrap_or_default()
}

/// How a container that should come up looks.
enum Look {
    Up,
    Coming,
    Failed(String),
}

fn look(found: &ContainerInspectResponse) -> Look {
    let Some(state) = &found.state else {
        return Look::Coming;
    };
    let health = state.health.as_ref().and_then(|health| health.status);
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => match health {
            None
            | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY | HealthStatusEnum::HEALTHY) => {
                Look::Up
            }
            Some(HealthStatusEnum::STARTING) => Look::Coming,
            Some(HealthStatusEnum::UNHEALTHY) => Look::Failed(unhealthy(found)),
        },
        Some(ContainerStateStatusEnum::PAUSED) => {
            Look::Failed("its container is paused (`docker unpause`)".into())
        }
        Some(
            ContainerStateStatusEnum::EXITED
            | ContainerStateStatusEnum::DEAD
            | ContainerStateStatusEnum::REMOVING
            | ContainerStateStatusEnum::STOPPING,
        ) => Look::Failed(format!(
            "it ended with exit code {}",
            state.exit_code.unwrap_or_default()
        )),
        // Between two attempts: Docker starts it again.
        Some(
            ContainerStateStatusEnum::RESTARTING
            | ContainerStateStatusEnum::CREATED
            | ContainerStateStatusEnum::EMPTY,
        )
        | None => Look::Coming,
    }
}

/// What its health check last printed.
fn unhealthy(found: &ContainerInspectResponse) -> String {
    let state = found.state.as_ref();
    let log = state.and_then(|state| state.health.as_ref()?.log.as_ref()?.last());
    let output = log
        .and_then(|log| log.output.as_deref())
        .unwrap_or_default();
    match output.trim() {
        "" => "its health check fails".into(),
        output => format!("its health check fails: {output}"),
    }
}

/// The time in which Docker itself must have come to a judgement, and some more.
fn time_to_come_up(found: &ContainerInspectResponse) -> Duration {
    let check = found
        .config
        .as_ref()
        .and_then(|config| config.healthcheck.as_ref());
    let Some(check) = check else {
        return START;
    };
    // Zero or nothing means Docker's defaults.
    let or = |nanoseconds: Option<i64>, default: u64| {
        let given = nanoseconds
            .and_then(|n| u64::try_from(n).ok())
            .filter(|n| *n > 0);
        given.map_or(Duration::from_secs(default), Duration::from_nanos)
    };
    let retries = check.retries.filter(|n| *n > 0).unwrap_or(3);
    let retries = u32::try_from(retries).unwrap_or(u32::MAX);
    let attempt = or(check.interval, 30).saturating_add(or(check.timeout, 30));
    START
        .saturating_add(or(check.start_period, 0))
        .saturating_add(attempt.saturating_mul(retries.saturating_add(1)))
}
