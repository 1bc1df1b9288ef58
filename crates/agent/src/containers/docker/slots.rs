//! The two containers of the app.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bollard::{models::ContainerInspectResponse, query_parameters::StopContainerOptionsBuilder};
use togather_compose::{Port, Service};
use togather_model::{Digest, Slot};

use super::{
    super::{App, ContainersError, SlotContainer, compose::PROXY_CIDRS},
    Docker,
    connection::{PATIENCE, has_status},
    create::{Extra, whole_seconds},
    labels, refused,
};

pub(super) fn name(slot: Slot) -> String {
    format!("togather-{slot}")
}

impl Docker {
    pub(super) async fn start_app(&self, slot: Slot, app: &App) -> Result<(), ContainersError> {
        self.remove(slot).await?;
        let mut service = self.compose.app.clone();
        self.supply(&mut service).await?;
        let name = name(slot);
        // Not the service's own name: that would reach either version at random.
        let alias = format!("{}-{slot}", service.name);
        let extra = Extra {
            image: &app.image.reference(),
            labels: labels::of_slot(&self.compose, self.app_port, slot, app)?,
            alias: &alias,
            port: Some(Port {
                ip: Some(Ipv4Addr::LOCALHOST.into()),
                host: slot.port(),
                container: format!("{}/tcp", self.app_port),
            }),
            // The server shows one in its answers, and labels its metrics with the other.
            environment: &[("DEPLOYMENT_SLOT", slot.as_str()), ("SLOT", slot.as_str())],
        };
        self.create_and_start(&name, &service, extra).await
    }

    /// Fills in what the app's environment names and is known only now.
    pub(super) async fn supply(&self, service: &mut Service) -> Result<(), ContainersError> {
        if service.awaits().contains(PROXY_CIDRS) {
            let cidrs = self.proxy_cidrs(service).await?;
            service.fill_in(PROXY_CIDRS, &cidrs);
        }
        Ok(())
    }

    /// From where the proxy's requests reach the app: through a published port Docker makes them come
    /// from the gateway of the app's first network. Its addresses alone, not their whole network, so
    /// that no container can pass for the proxy.
    async fn proxy_cidrs(&self, service: &Service) -> Result<String, ContainersError> {
        let no_gateway = || ContainersError::NoGateway(service.networks.first().cloned());
        let network = service.networks.first().ok_or_else(no_gateway)?;
        let client = self.client().await?;
        let found = client.inspect_network(network, None).await;
        let found = found.map_err(|e| refused(format!("look at the network {network}"), e))?;
        let ranges = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let gateways = ranges.iter().filter_map(|range| range.gateway.as_deref());
        let cidrs: Vec<_> = gateways.filter_map(alone).collect();
        if cidrs.is_empty() {
            return Err(no_gateway());
        }
        Ok(cidrs.join(","))
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
        self.remove_container(&name(slot)).await
    }

    pub(super) async fn held(&self, slot: Slot) -> Result<Option<SlotContainer>, ContainersError> {
        let found = self.inspect(&name(slot)).await?;
        Ok(found.map(|found| slot_container(&found)))
    }
}

/// The network that is this address alone.
fn alone(gateway: &str) -> Option<String> {
    // Some versions of Docker write the network's length after it.
    let address = gateway.split('/').next()?;
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    })
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
        made_of: label(labels::MADE_OF).and_then(|text| text.parse().ok()),
        running,
        exit_code: state.and_then(|state| state.exit_code).filter(|_| !running),
    }
}
