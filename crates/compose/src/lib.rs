//! The node's `docker-compose.yml`: a documented subset, read whole and checked before anything
//! starts. Text in, a checked model or errors with their places out: no I/O, no Docker.
//!
//! | where | keys |
//! | --- | --- |
//! | top level | `name` (needed), `services` (needed), `networks`, `volumes` |
//! | a network or volume | nothing, or `name`, `driver`, `driver_opts`, `external` |
//! | a service | `image`, `command`, `entrypoint`, `environment`, `volumes`, `ports`, `networks`, `depends_on`, `healthcheck`, `restart`, `shm_size`, `mem_limit`, `cpus`, `stop_grace_period`, `stop_signal`, `user`, `working_dir`, `logging`, `labels`, `read_only`, `tmpfs`, `cap_add`, `cap_drop`, `security_opt`, `extra_hosts`, `init` |
//!
//! Any other key is an error with its line: nothing that an operator wrote is silently left out.
//! `${NAME}` is filled in after the YAML is read, so a value cannot change the file's shape; see
//! `docs/compose.md` for what an operator needs to know.

pub mod address;
mod check;
mod document;
pub mod env;
mod interpolate;
mod problem;
mod reader;
mod resolve;
mod service;
#[cfg(test)]
mod tests;
mod values;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use interpolate::{InterpolateError, Lookup};
pub use problem::Problem;
pub use service::{Healthcheck, Logging, Port, Resource, Restart, Service};

use self::{
    check::{app_service, base_service, in_order},
    document::{Document, Outline, ResourceEntry},
    reader::Reader,
    resolve::{DEFAULT_NETWORK, Declared},
};

/// The base services and the app service, with every `${VALUE}` filled in. Its `Debug` shows no
/// environment.
#[derive(Debug, Clone)]
pub struct Compose {
    /// The first part of what its containers, networks and volumes are called.
    pub project: String,
    /// The service that runs in the slots.
    pub app: Service,
    /// In the order in which they start.
    pub base: Vec<Service>,
    /// Every declared network, and the default one if a service uses it.
    pub networks: Vec<Resource>,
    /// Every declared volume.
    pub volumes: Vec<Resource>,
}

/// What is wrong with a Compose file.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Not YAML, a key outside the subset, a value that is missing or means nothing.
    #[error("{}, line {line}: {place}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The service or section, and the key.
        place: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

impl Compose {
    /// The names of the base services.
    pub fn base_services(&self) -> impl Iterator<Item = &str> {
        self.base.iter().map(|service| service.name.as_str())
    }

    /// Reads the text of a Compose file. `${VALUES}` come from `environment` (the node's
    /// `.env.production`); `path` is only for errors. `app` is the service that runs in the slots;
    /// all others are base services.
    ///
    /// # Errors
    /// The text has a key outside the subset, or a value is missing; with the line.
    pub fn parse(
        path: &Path,
        text: &str,
        environment: &BTreeMap<String, String>,
        app: &str,
    ) -> Result<Self, ComposeError> {
        let document = read(path, text)?;
        let top = Reader {
            path,
            environment,
            place: "top level".into(),
        };
        let project = top.parsed(
            "name",
            &document.name,
            "lower-case letters, digits, `-` and `_`, beginning with a letter or digit",
            |text| is_a_project(text).then(|| text.to_owned()),
        )?;
        let networks = networks(&top, &project, &document)?;
        let volumes = resources(&top, &project, "volumes", document.volumes.as_ref())?;
        let declared = Declared {
            networks: names(&networks),
            volumes: names(&volumes),
            services: document.services.keys().cloned().collect(),
        };
        let mut services = Vec::with_capacity(document.services.len());
        for (name, entry) in &document.services {
            services.push(resolve::service(
                &top.of(name),
                name,
                &entry.value,
                &declared,
            )?);
        }
        let mut base = in_order(&top, &document, services)?;
        let app = app_service(&top, &document, &mut base, app)?;
        for service in &base {
            if let Some(entry) = document.services.get(&service.name) {
                base_service(&top.of(&service.name), entry, service, &project, &app)?;
            }
        }
        Ok(Self {
            project,
            app,
            base,
            networks,
            volumes,
        })
    }

    /// The project's name: the first part of what its containers, networks and volumes are called.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }
}

/// Reads the YAML. The error is said in our words where the parser's would not name the place.
fn read(path: &Path, text: &str) -> Result<Document, ComposeError> {
    // Without its excerpt: the lines around a mistake may hold a secret.
    let options = || serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        let outline = serde_saphyr::from_str_with_options::<Outline>(text, options());
        ComposeError::Invalid {
            path: path.to_owned(),
            line,
            place: outline.map_or_else(|_| "top level".into(), |outline| outline.place(line)),
            problem: said(&error),
        }
    })
}

fn said(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    if let Error::SerdeUnknownField {
        field, expected, ..
    } = error
    {
        return format!(
            "the key `{field}` is not one this agent knows, and nothing is left out silently{}; it knows {}",
            instead(field),
            expected.join(", ")
        );
    }
    if let Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("the key `{key}` is there twice");
    }
    let text = error.to_string();
    match error.location() {
        // The line is said already, before the place.
        Some(at) => {
            let location = format!(" at line {}, column {}", at.line(), at.column());
            text.replace(&location, "")
        }
        None => text,
    }
}

/// What to do without a key that many files have.
fn instead(key: &str) -> &'static str {
    match key {
        "env_file" => {
            ". Name each variable under `environment`; `NAME:` alone takes its value from .env.production"
        }
        "build" => ". Build the image before, and name it under `image`",
        "container_name" => ". The agent names containers: `project-service`",
        "version" => ". Compose ignores it as well: remove it",
        _ => "",
    }
}

fn is_a_project(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(allowed) && text.chars().all(|c| allowed(c) || matches!(c, '-' | '_'))
}

/// The networks of the file, and the default one if a service uses it.
fn networks(
    top: &Reader<'_>,
    project: &str,
    document: &Document,
) -> Result<Vec<Resource>, ComposeError> {
    let mut networks = resources(top, project, "networks", document.networks.as_ref())?;
    let declared = networks
        .iter()
        .any(|network| network.key == DEFAULT_NETWORK);
    let mut services = document.services.values();
    if !declared && services.any(|service| service.value.networks.is_none()) {
        networks.push(resolve::resource(top, project, DEFAULT_NETWORK, None)?);
    }
    Ok(networks)
}

fn resources(
    top: &Reader<'_>,
    project: &str,
    section: &str,
    entries: Option<&BTreeMap<String, Option<ResourceEntry>>>,
) -> Result<Vec<Resource>, ComposeError> {
    let entries = entries.into_iter().flatten();
    let resources = entries.map(|(key, entry)| {
        let reader = Reader {
            place: format!("{section}, `{key}`"),
            ..*top
        };
        resolve::resource(&reader, project, key, entry.as_ref())
    });
    resources.collect()
}

fn names(resources: &[Resource]) -> BTreeMap<String, String> {
    let resources = resources.iter();
    resources
        .map(|resource| (resource.key.clone(), resource.name.clone()))
        .collect()
}
