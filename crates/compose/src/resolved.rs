//! The model as it will be run, for people to look at: what `docker compose config` is for Compose.

use serde::Serialize;

use crate::{Compose, ComposeError, Source, reader::MASK, service::Service};

/// Parts of a variable's name that tell of a secret.
const SECRETS: [&str; 7] = [
    "PASS",
    "SECRET",
    "TOKEN",
    "KEY",
    "CREDENTIAL",
    "PRIVATE",
    "DSN",
];

impl Compose {
    /// The whole file as it will be run, as YAML. Masked is every value that comes from the environment
    /// file or an `env_file` (in environments, commands, labels, health checks and options of
    /// drivers), every variable whose name tells of a secret, and every password in an address.
    ///
    /// # Errors
    /// As [`Compose::parse`].
    pub fn resolved(source: &Source<'_>) -> Result<String, ComposeError> {
        // What cannot be run is not shown either.
        Self::parse(source)?;
        let mut shown = Self::read(source, true)?;
        for service in shown.base.iter_mut().chain([&mut shown.app]) {
            mask(service);
        }
        Ok(shown.to_yaml())
    }

    fn to_yaml(&self) -> String {
        #[derive(Serialize)]
        struct Shown<'a> {
            name: &'a str,
            app: &'a Service,
            base: &'a [Service],
            networks: &'a [crate::Resource],
            volumes: &'a [crate::Resource],
        }
        let shown = Shown {
            name: &self.project,
            app: &self.app,
            base: &self.base,
            networks: &self.networks,
            volumes: &self.volumes,
        };
        serde_saphyr::to_string(&shown).unwrap_or_default()
    }
}

fn mask(service: &mut Service) {
    for (name, value) in &mut service.environment {
        let name = name.to_ascii_uppercase();
        if !value.is_empty() && SECRETS.iter().any(|part| name.contains(part)) {
            MASK.clone_into(value);
        } else {
            *value = without_password(value);
        }
    }
    for name in service
        .awaits()
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>()
    {
        service.fill_in(&name, &format!("${{{name}}}"));
    }
}

/// An address without the password that is written in it.
fn without_password(value: &str) -> String {
    let split = value.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (who, place) = authority.rsplit_once('@')?;
        let (user, _) = who.split_once(':')?;
        Some(format!("{scheme}://{user}:{MASK}@{place}{path}"))
    });
    split.unwrap_or_else(|| value.to_owned())
}
