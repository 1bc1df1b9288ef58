//! The two containers of the app.

use std::{net::Ipv4Addr, time::Duration};

use bollard::{models::ContainerInspectResponse, query_parameters::StopContainerOptionsBuilder};
use togather_compose::Port;
use togather_model::{Digest, Slot};

use super::{
    super::{App, ContainersError, SlotContainer},
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
        let service = &self.compose.app;
        let name = name(slot);
        // Not the service's own name: that would reach either version at random.
        let alias = format!("{}-{slot}", service.name);
        let extra = Extra {
            image: &app.image.reference(),
            labels: labels::of_slot(&self.compose, slot, app)?,
            alias: &alias,
            port: Some(Port {
                ip: Some(Ipv4Addr::LOCALHOST.into()),
                host: slot.port(),
                container: format!("{}/tcp", self.app_port),
            }),
            // The server shows one in its answers, and labels its metrics with the other.
            environment: &[("DEPLOYMENT_SLOT", slot.as_str()), ("SLOT", slot.as_str())],
        };
        self.create_and_start(&name, service, extra).await
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
