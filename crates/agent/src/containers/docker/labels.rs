//! The labels by which containers, networks and volumes are known again.
//!
//! Base services, networks and volumes also carry Compose's own, and base services are found by
//! them: those that an operator started with `docker compose up` are recognised, and
//! `docker compose ps` shows those that the agent started. Slots do not carry them, because Compose
//! would take two containers of one service for one too many and remove it.

use std::collections::HashMap;

use togather_compose::{Compose, Service};
use togather_model::{Digest, Slot, Ulid};

use super::super::{App, ContainersError};

pub(super) const PROJECT: &str = "togather.project";
pub(super) const SERVICE: &str = "togather.service";
pub(super) const SLOT: &str = "togather.slot";
pub(super) const RELEASE: &str = "togather.release";
pub(super) const VERSION: &str = "togather.version";
/// On the container of a program that runs once: which program.
pub(super) const PROGRAM: &str = "togather.program";
/// The job it belongs to.
pub(super) const JOB: &str = "togather.job";
pub(super) const CONFIG: &str = "togather.config";
/// On a slot's container: what it was made from.
pub(super) const MADE_OF: &str = "togather.made-of";
pub(super) const COMPOSE_PROJECT: &str = "com.docker.compose.project";
pub(super) const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// `True` on what `docker compose run` starts: not the service itself.
pub(super) const COMPOSE_ONE_OFF: &str = "com.docker.compose.oneoff";

pub(super) fn of_slot(
    compose: &Compose,
    port: u16,
    slot: Slot,
    app: &App,
) -> Result<HashMap<String, String>, ContainersError> {
    Ok(owned([
        (PROJECT, compose.project.clone()),
        (SLOT, slot.to_string()),
        (RELEASE, app.release.to_string()),
        (VERSION, app.version.clone()),
        (MADE_OF, made_of(compose, port)?.to_string()),
    ]))
}

/// What the app's container is made from besides its release; its port is no part of its service.
pub(super) fn made_of(compose: &Compose, port: u16) -> Result<Digest, ContainersError> {
    let service = fingerprint(&compose.app)?;
    Ok(Digest::of(format!("{service}\n{port}").as_bytes()))
}

pub(super) fn of_service(
    project: &str,
    service: &Service,
) -> Result<HashMap<String, String>, ContainersError> {
    Ok(owned([
        (PROJECT, project.to_owned()),
        (SERVICE, service.name.clone()),
        (CONFIG, fingerprint(service)?),
        (COMPOSE_PROJECT, project.to_owned()),
        (COMPOSE_SERVICE, service.name.clone()),
        ("com.docker.compose.container-number", "1".into()),
        (COMPOSE_ONE_OFF, "False".into()),
    ]))
}

/// Without Compose's own: it would take the container for a service that is no longer in its file.
pub(super) fn of_program(
    project: &str,
    program: &str,
    job: Option<Ulid>,
) -> HashMap<String, String> {
    let mut labels = owned([(PROJECT, project.to_owned()), (PROGRAM, program.to_owned())]);
    labels.extend(job.map(|job| (JOB.to_owned(), job.to_string())));
    labels
}

/// `kind` is `network` or `volume`.
pub(super) fn of_resource(project: &str, kind: &str, key: &str) -> HashMap<String, String> {
    let mut labels = owned([
        (PROJECT, project.to_owned()),
        (COMPOSE_PROJECT, project.to_owned()),
    ]);
    labels.insert(format!("com.docker.compose.{kind}"), key.to_owned());
    labels
}

/// What a service's configuration comes to, secrets hashed with the rest.
pub(super) fn fingerprint(service: &Service) -> Result<String, ContainersError> {
    let fingerprint = service.fingerprint();
    fingerprint
        .map(|digest| digest.to_string())
        .map_err(|source| ContainersError::Engine {
            what: format!("label the service {}", service.name),
            source: source.into(),
        })
}

fn owned<const N: usize>(labels: [(&str, String); N]) -> HashMap<String, String> {
    labels.map(|(name, value)| (name.to_owned(), value)).into()
}
