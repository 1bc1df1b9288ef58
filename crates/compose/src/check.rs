//! What no single service can tell: the order in which services start, and what the app's service
//! must and must not say, because the agent runs it twice.

use serde_saphyr::Spanned;
use togather_model::Slot;

use crate::{
    ComposeError,
    document::{Document, ListOrMap, ServiceEntry, Text},
    reader::Reader,
    service::{Restart, Service},
};

/// Sorts services so that each comes after its dependencies; otherwise by name.
pub(crate) fn in_order(
    top: &Reader<'_>,
    document: &Document,
    mut waiting: Vec<Service>,
) -> Result<Vec<Service>, ComposeError> {
    let mut ordered: Vec<Service> = Vec::with_capacity(waiting.len());
    while let Some(first) = waiting.first() {
        let started = |name: &String| ordered.iter().any(|service| service.name == *name);
        let ready = |service: &Service| service.depends_on.iter().all(started);
        let Some(ready) = waiting.iter().position(ready) else {
            let entry = document.services.get(&first.name);
            let line = entry.map_or(1, |entry| line_of_dependencies(&entry.value));
            let names: Vec<_> = waiting.iter().map(|service| &*service.name).collect();
            let problem = format!("the services {} wait for each other", names.join(", "));
            return Err(top.of(&first.name).wrong(line, "depends_on", problem));
        };
        ordered.push(waiting.remove(ready));
    }
    Ok(ordered)
}

/// Takes the app's service out of all others, if it can be run in two slots.
pub(crate) fn app_service(
    top: &Reader<'_>,
    document: &Document,
    services: &mut Vec<Service>,
    name: &str,
) -> Result<Service, ComposeError> {
    let at = services.iter().position(|service| service.name == name);
    let (Some(at), Some(entry)) = (at, document.services.get(name)) else {
        let line = line_of(&document.name);
        let problem = format!("the app's service `{name}` is not there; deployment.yml names it");
        return Err(top.wrong(line, "services", problem));
    };
    let (app, entry, reader) = (services.remove(at), &entry.value, top.of(name));
    if let Some(port) = entry.ports.iter().flatten().next() {
        return Err(reader.wrong(
            port.referenced.line(),
            "ports",
            format!(
                "the app must not publish ports: the agent publishes its slots, on 127.0.0.1:{} and 127.0.0.1:{}; remove the key",
                Slot::Blue.port(),
                Slot::Green.port()
            ),
        ));
    }
    // Docker starts `always`, and `on-failure` after a kill, again at boot, even when the container
    // was stopped on purpose: the retired version would come back beside the new one.
    if matches!(app.restart, Restart::Always | Restart::OnFailure { .. }) {
        let line = entry.restart.as_ref().map_or(1, line_of);
        return Err(reader.wrong(
            line,
            "restart",
            "Docker would start a retired slot again at boot; expected `unless-stopped` or `no`",
        ));
    }
    Ok(app)
}

/// What must hold for every other service.
pub(crate) fn base_service(
    reader: &Reader<'_>,
    entry: &Spanned<ServiceEntry>,
    service: &Service,
    project: &str,
    app: &Service,
) -> Result<(), ComposeError> {
    let line = entry.referenced.line();
    if service.image.is_none() {
        return Err(reader.wrong(line, "image", "the key is missing"));
    }
    if service.depends_on.contains(&app.name) {
        let problem = format!(
            "the app `{}` starts after all others, so nothing can wait for it",
            app.name
        );
        return Err(reader.wrong(line_of_dependencies(&entry.value), "depends_on", problem));
    }
    let name = format!("{project}-{}", service.name);
    if Slot::ALL
        .iter()
        .any(|slot| name == format!("togather-{slot}"))
    {
        let problem = format!("its container would be called `{name}`, as a slot of the app is");
        return Err(reader.wrong(line, "name", problem));
    }
    Ok(())
}

fn line_of(text: &Text) -> u64 {
    text.referenced.line()
}

fn line_of_dependencies(entry: &ServiceEntry) -> u64 {
    let first = match &entry.depends_on {
        None => None,
        Some(ListOrMap::List(names)) => names.first(),
        Some(ListOrMap::Map(entries)) => entries.first().map(|(name, _)| name),
    };
    first.map_or(1, line_of)
}
