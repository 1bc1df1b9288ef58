//! From what is written to what is meant: values filled in, notations read, names checked.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use crate::{
    ComposeError,
    document::{
        HealthcheckEntry, ListOrMap, LoggingEntry, OneOrMany, ResourceEntry, ServiceEntry, Text,
    },
    reader::Reader,
    service::{Healthcheck, Logging, Resource, Service},
    values,
};

/// The network of a service that names none, as Compose calls it.
pub(crate) const DEFAULT_NETWORK: &str = "default";

/// A network or a volume. Its name in Docker is its own, or the key after the project's name.
pub(crate) fn resource(
    reader: &Reader<'_>,
    project: &str,
    key: &str,
    entry: Option<&ResourceEntry>,
) -> Result<Resource, ComposeError> {
    let nothing = ResourceEntry::default();
    let entry = entry.unwrap_or(&nothing);
    let external = entry.external.as_ref();
    let external = reader.parsed_optional("external", external, values::SWITCH, values::switch)?;
    let external = external.unwrap_or(false);
    let name = reader.optional("name", entry.name.as_ref())?;
    let name = name.unwrap_or_else(|| {
        if external {
            key.to_owned()
        } else {
            format!("{project}_{key}")
        }
    });
    let driver_opts = entry.driver_opts.iter().flatten();
    let driver_opts = driver_opts.map(|(option, value)| {
        let value = reader.text("driver_opts", value)?;
        Ok((option.clone(), value))
    });
    Ok(Resource {
        key: key.to_owned(),
        name,
        driver: reader.optional("driver", entry.driver.as_ref())?,
        driver_opts: driver_opts.collect::<Result<_, _>>()?,
        external,
    })
}

/// What a service may refer to: networks and volumes with their names in Docker, and services.
pub(crate) struct Declared {
    pub(crate) networks: BTreeMap<String, String>,
    pub(crate) volumes: BTreeMap<String, String>,
    pub(crate) services: BTreeSet<String>,
}

/// A service of this name.
pub(crate) fn service(
    reader: &Reader<'_>,
    name: &str,
    entry: &ServiceEntry,
    declared: &Declared,
) -> Result<Service, ComposeError> {
    let ports = entry.ports.iter().flatten();
    let ports = ports.map(|port| reader.parsed("ports", port, values::PORT, values::port));
    let size = |key, text: &Option<Text>| {
        reader.parsed_optional(key, text.as_ref(), values::SIZE, values::size)
    };
    let switch = |key, text: &Option<Text>| {
        reader.parsed_optional(key, text.as_ref(), values::SWITCH, values::switch)
    };
    Ok(Service {
        name: name.to_owned(),
        image: reader.optional("image", entry.image.as_ref())?,
        command: reader.command("command", entry.command.as_ref())?,
        entrypoint: reader.command("entrypoint", entry.entrypoint.as_ref())?,
        environment: reader.variables("environment", entry.environment.as_ref())?,
        mounts: mounts(reader, entry, declared)?,
        ports: ports.collect::<Result<_, _>>()?,
        networks: networks(reader, entry, declared)?,
        depends_on: dependencies(reader, entry, declared)?,
        healthcheck: entry
            .healthcheck
            .as_ref()
            .map(|entry| healthcheck(reader, entry))
            .transpose()?,
        restart: reader
            .parsed_optional(
                "restart",
                entry.restart.as_ref(),
                values::RESTART,
                values::restart,
            )?
            .unwrap_or_default(),
        shm_size: size("shm_size", &entry.shm_size)?,
        mem_limit: size("mem_limit", &entry.mem_limit)?,
        nano_cpus: reader.parsed_optional(
            "cpus",
            entry.cpus.as_ref(),
            values::CPUS,
            values::nano_cpus,
        )?,
        stop_grace_period: reader.parsed_optional(
            "stop_grace_period",
            entry.stop_grace_period.as_ref(),
            values::DURATION,
            values::duration,
        )?,
        stop_signal: reader.optional("stop_signal", entry.stop_signal.as_ref())?,
        user: reader.optional("user", entry.user.as_ref())?,
        working_dir: reader.optional("working_dir", entry.working_dir.as_ref())?,
        logging: entry
            .logging
            .as_ref()
            .map(|entry| logging(reader, entry))
            .transpose()?,
        labels: reader.labels("labels", entry.labels.as_ref())?,
        read_only: switch("read_only", &entry.read_only)?.unwrap_or(false),
        tmpfs: tmpfs(reader, entry.tmpfs.as_ref())?,
        cap_add: reader.list("cap_add", entry.cap_add.as_ref())?,
        cap_drop: reader.list("cap_drop", entry.cap_drop.as_ref())?,
        security_opt: reader.list("security_opt", entry.security_opt.as_ref())?,
        extra_hosts: extra_hosts(reader, entry.extra_hosts.as_ref())?,
        init: switch("init", &entry.init)?,
    })
}

fn mounts(
    reader: &Reader<'_>,
    entry: &ServiceEntry,
    declared: &Declared,
) -> Result<Vec<String>, ComposeError> {
    let written = entry.volumes.iter().flatten();
    let resolved = written.map(|text| {
        let filled = reader.text("volumes", text)?;
        let line = text.referenced.line();
        let Some(mount) = values::mount(&filled) else {
            let problem = format!("`{}` is not valid; expected {}", text.value, values::MOUNT);
            return Err(reader.wrong(line, "volumes", problem));
        };
        let source = if mount.source.starts_with('/') {
            mount.source
        } else {
            declared.volumes.get(mount.source).ok_or_else(|| {
                let problem = format!(
                    "the volume `{}` is not declared; add it under the top level's `volumes`",
                    mount.source
                );
                reader.wrong(line, "volumes", problem)
            })?
        };
        let mode = if mount.read_only { ":ro" } else { "" };
        Ok(format!("{source}:{}{mode}", mount.target))
    });
    resolved.collect()
}

fn networks(
    reader: &Reader<'_>,
    entry: &ServiceEntry,
    declared: &Declared,
) -> Result<Vec<String>, ComposeError> {
    let Some(written) = &entry.networks else {
        return Ok(declared
            .networks
            .get(DEFAULT_NETWORK)
            .cloned()
            .into_iter()
            .collect());
    };
    let named = written.iter().map(|text| {
        let key = reader.text("networks", text)?;
        declared.networks.get(&key).cloned().ok_or_else(|| {
            let problem = format!(
                "the network `{key}` is not declared; add it under the top level's `networks`"
            );
            reader.wrong(text.referenced.line(), "networks", problem)
        })
    });
    named.collect()
}

fn dependencies(
    reader: &Reader<'_>,
    entry: &ServiceEntry,
    declared: &Declared,
) -> Result<BTreeSet<String>, ComposeError> {
    let known = |name: String, line: u64| {
        if declared.services.contains(&name) {
            return Ok(name);
        }
        let problem = format!("there is no service `{name}`");
        Err(reader.wrong(line, "depends_on", problem))
    };
    match &entry.depends_on {
        None => Ok(BTreeSet::new()),
        Some(ListOrMap::List(names)) => names
            .iter()
            .map(|name| known(reader.text("depends_on", name)?, name.referenced.line()))
            .collect(),
        Some(ListOrMap::Map(entries)) => entries
            .iter()
            .map(|(name, dependency)| {
                // Every base service is up before the next is started, so both conditions hold.
                reader.parsed_optional(
                    "depends_on",
                    dependency.condition.as_ref(),
                    "`service_started` or `service_healthy`",
                    |text| matches!(text, "service_started" | "service_healthy").then_some(()),
                )?;
                known(name.value.clone(), name.referenced.line())
            })
            .collect(),
    }
}

fn healthcheck(reader: &Reader<'_>, entry: &HealthcheckEntry) -> Result<Healthcheck, ComposeError> {
    let duration = |key, text: &Option<Text>| {
        reader.parsed_optional(key, text.as_ref(), values::DURATION, values::duration)
    };
    let disable = entry.disable.as_ref();
    let disable = reader.parsed_optional("disable", disable, values::SWITCH, values::switch)?;
    if disable == Some(true) {
        return Ok(Healthcheck {
            test: Some(vec!["NONE".into()]),
            ..Healthcheck::default()
        });
    }
    Ok(Healthcheck {
        test: entry
            .test
            .as_ref()
            .map(|test| health_test(reader, test))
            .transpose()?,
        interval: duration("interval", &entry.interval)?,
        timeout: duration("timeout", &entry.timeout)?,
        retries: reader.parsed_optional(
            "retries",
            entry.retries.as_ref(),
            "a whole number",
            |text| text.parse().ok(),
        )?,
        start_period: duration("start_period", &entry.start_period)?,
    })
}

fn health_test(
    reader: &Reader<'_>,
    test: &Spanned<OneOrMany>,
) -> Result<Vec<String>, ComposeError> {
    let mut words = reader.one_or_many("test", test)?;
    match &test.value {
        OneOrMany::One(_) => words.insert(0, "CMD-SHELL".into()),
        OneOrMany::Many(_) => {
            let form = words.first().map(String::as_str);
            let fits = match form {
                Some("NONE") => words.len() == 1,
                Some("CMD-SHELL") => words.len() == 2,
                Some("CMD") => words.len() > 1,
                _ => false,
            };
            if !fits {
                return Err(reader.wrong(
                    test.referenced.line(),
                    "test",
                    "a list begins with `CMD` and a program, with `CMD-SHELL` and one text, or is `NONE` alone",
                ));
            }
        }
    }
    Ok(words)
}

fn logging(reader: &Reader<'_>, entry: &LoggingEntry) -> Result<Logging, ComposeError> {
    let options = entry.options.iter().flatten();
    let options = options.map(|(option, value)| {
        let value = reader.text("logging", value)?;
        Ok((option.clone(), value))
    });
    Ok(Logging {
        driver: reader.optional("logging", entry.driver.as_ref())?,
        options: options.collect::<Result<_, _>>()?,
    })
}

fn tmpfs(
    reader: &Reader<'_>,
    entry: Option<&Spanned<OneOrMany>>,
) -> Result<BTreeMap<String, String>, ComposeError> {
    let Some(entry) = entry else {
        return Ok(BTreeMap::new());
    };
    let paths = reader.one_or_many("tmpfs", entry)?;
    let split = |text: String| {
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        (path.to_owned(), options.to_owned())
    };
    Ok(paths.into_iter().map(split).collect())
}

/// `name:address`, `name=address`, or a mapping.
fn extra_hosts(
    reader: &Reader<'_>,
    entry: Option<&ListOrMap<Option<Text>>>,
) -> Result<Vec<String>, ComposeError> {
    const EXPECTED: &str = "`NAME:ADDRESS`";
    match entry {
        None => Ok(Vec::new()),
        Some(ListOrMap::List(hosts)) => {
            let hosts = hosts.iter();
            let hosts = hosts.map(|host| {
                reader.parsed("extra_hosts", host, EXPECTED, |text| {
                    let (name, address) = text.split_once(['=', ':'])?;
                    Some(format!("{name}:{address}"))
                })
            });
            hosts.collect()
        }
        Some(ListOrMap::Map(entries)) => {
            let hosts = entries.iter().map(|(name, address)| match address {
                Some(address) => Ok(format!(
                    "{}:{}",
                    name.value,
                    reader.text("extra_hosts", address)?
                )),
                None => {
                    let problem = format!("`{}` has no address", name.value);
                    Err(reader.wrong(name.referenced.line(), "extra_hosts", problem))
                }
            });
            hosts.collect()
        }
    }
}
