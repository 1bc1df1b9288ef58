//! What no single service can tell: the order in which services start, what two of them both want,
//! and what the app's service must and must not say, because the agent runs it twice.

use std::{collections::BTreeMap, net::IpAddr};

use togather_model::Slot;

use crate::{
    reader::Section,
    service::{Port, PullPolicy, Restart, Service},
    services::Read,
};

/// Sorts services so that each comes after its dependencies; otherwise by name.
pub(crate) fn in_order<'a>(mut waiting: Vec<Read<'a>>) -> Vec<Read<'a>> {
    let mut ordered: Vec<Read<'a>> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let waits = |name: &String| waiting.iter().any(|other| other.service.name == *name);
        let ready = |read: &Read<'a>| !read.service.depends_on.iter().any(waits);
        let Some(ready) = waiting.iter().position(ready) else {
            let names: Vec<_> = waiting.iter().map(|read| &*read.service.name).collect();
            if let Some(at) = waiting
                .first()
                .and_then(|read| read.section.get("depends_on"))
            {
                at.wrong(format!(
                    "the services {} wait for each other",
                    names.join(", ")
                ));
            }
            break;
        };
        ordered.push(waiting.remove(ready));
    }
    ordered
}

/// Whether the app's service can be run in two slots.
pub(crate) fn app(read: &Read<'_>) {
    let (app, section) = (&read.service, &read.section);
    if let Some(ports) = section.get("ports").filter(|ports| !ports.is_empty()) {
        ports.wrong(format!(
            "the app must not publish ports: the agent publishes its slots, on 127.0.0.1:{} and 127.0.0.1:{}; remove the key",
            Slot::Blue.port(),
            Slot::Green.port()
        ));
    }
    if app.depends_on.contains(&app.name)
        && let Some(at) = section.get("depends_on")
    {
        at.wrong("the app cannot wait for itself");
    }
    if let Some(name) = section.get("container_name") {
        name.wrong("the agent names the app's two containers, `togather-blue` and `togather-green`; remove the key");
    }
    // Docker starts `always`, and `on-failure` after a kill, again at boot, even when the container
    // was stopped on purpose: the retired version would come back beside the new one.
    if matches!(app.restart, Restart::Always | Restart::OnFailure { .. })
        && let Some(restart) = section.get("restart")
    {
        restart.wrong(
            "Docker would start a retired slot again at boot; expected `unless-stopped` or `no`",
        );
    }
    if !app.aliases.is_empty()
        && let Some(networks) = section.get("networks")
    {
        networks.warn("both slots answer to an alias while they overlap; `SERVICE-blue` and `SERVICE-green` are one each");
    }
    if app.pull_policy != PullPolicy::Missing
        && let Some(policy) = section.get("pull_policy")
    {
        policy.warn("has no effect on the app: its image is the release's, by digest");
    }
}

/// What must hold for every other service.
pub(crate) fn base(read: &Read<'_>, project: &str, app: &Service) {
    let (service, section) = (&read.service, &read.section);
    // With `build`, which is refused, what to do is told already.
    if !section.has("image") && !section.has("build") {
        section.missing("image", "the key is missing");
    }
    if service.depends_on.contains(&app.name)
        && let Some(at) = section.get("depends_on")
    {
        at.wrong(format!(
            "the app `{}` starts after all others, so nothing can wait for it",
            app.name
        ));
    }
    let name = service.container(project);
    if Slot::ALL
        .iter()
        .any(|slot| name == format!("togather-{slot}"))
    {
        section.missing(
            "container_name",
            &format!("its container would be called `{name}`, as a slot of the app is"),
        );
    }
    let of_a_slot = |port: &&Port| port.is_tcp() && port.meets_loopback();
    for port in service.ports.iter().filter(of_a_slot) {
        if Slot::ALL.iter().any(|slot| slot.port() == port.host) {
            told_of_ports(
                section,
                format!(
                    "{} is the port of a slot of the app; publish the service on another",
                    port.host
                ),
            );
        }
    }
}

/// What two base services cannot both have: a container's name, a port of the host.
pub(crate) fn apart(services: &[Read<'_>], project: &str) {
    let mut names = BTreeMap::new();
    let mut ports: Vec<(&Port, &str)> = Vec::new();
    for Read {
        service, section, ..
    } in services
    {
        let name = service.container(project);
        if let Some(other) = names.insert(name.clone(), &service.name) {
            section.missing(
                "container_name",
                &format!("the container of the service `{other}` is called `{name}` as well"),
            );
        }
        for port in &service.ports {
            if let Some((_, other)) = ports.iter().find(|(taken, _)| taken.meets(port)) {
                told_of_ports(
                    section,
                    format!(
                        "the host's port {} is published by the service `{other}` already",
                        port.host
                    ),
                );
            }
            ports.push((port, &service.name));
        }
    }
}

fn told_of_ports(section: &Section<'_>, problem: String) {
    if let Some(ports) = section.get("ports") {
        ports.wrong(problem);
    }
}

impl Port {
    fn is_tcp(&self) -> bool {
        self.container.ends_with("/tcp")
    }

    fn meets_loopback(&self) -> bool {
        self.ip
            .is_none_or(|ip| ip.is_loopback() || ip.is_unspecified())
    }

    /// Whether both cannot be published on one host.
    fn meets(&self, other: &Self) -> bool {
        let anywhere = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
        let protocol = |port: &Self| port.container.rsplit('/').next().map(str::to_owned);
        self.host == other.host
            && protocol(self) == protocol(other)
            && (self.ip == other.ip || anywhere(self.ip) || anywhere(other.ip))
    }
}
