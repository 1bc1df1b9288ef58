//! From what is written of a service to what is meant: values filled in, notations read, names checked.

use std::collections::{BTreeMap, BTreeSet};

use togather_model::image_reference::ImageReference;

use crate::{
    mounts::mounts,
    networks::joined,
    ports::{limit, ports},
    reader::{Section, Value},
    service::{Healthcheck, Logging, Service, Ulimit},
    values::{self, DURATION, NUMBER, SIZE, SWITCH, duration, number, size, switch},
    variables::{demands, environment, labels, options},
    words,
};

/// What a service may refer to.
pub(crate) struct Declared {
    /// Names to names in Docker.
    pub(crate) networks: BTreeMap<String, String>,
    /// Names to names in Docker.
    pub(crate) volumes: BTreeMap<String, String>,
    /// Those that run.
    pub(crate) services: BTreeSet<String>,
    /// Those whose profile nobody asked for.
    pub(crate) off: BTreeSet<String>,
}

/// A service, and where it stands.
pub(crate) struct Read<'a> {
    pub(crate) section: Section<'a>,
    pub(crate) service: Service,
    pub(crate) uses_default_network: bool,
}

/// Reads a service of this name.
pub(crate) fn service<'a>(
    name: &str,
    section: Section<'a>,
    declared: &Declared,
    is_app: bool,
) -> Read<'a> {
    let mounts = mounts(&section, &declared.volumes);
    let joined = joined(&section, &declared.networks);
    let ports = section.get("ports").map(|list| ports(&list));
    let span = |key| section.parsed_text(key, DURATION, duration);
    let bytes = |key| section.parsed(key, SIZE, size);
    let on = |key| section.parsed(key, SWITCH, switch);
    let service = Service {
        name: name.to_owned(),
        image: section.get("image").and_then(|value| image(&value, is_app)),
        command: section.get("command").and_then(|value| command(&value)),
        entrypoint: section.get("entrypoint").and_then(|value| command(&value)),
        environment: environment(&section, is_app),
        mounts: mounts.binds,
        tmpfs: mounts.tmpfs,
        ports: ports.unwrap_or_default(),
        networks: joined.networks,
        aliases: joined.aliases,
        depends_on: dependencies(&section, declared),
        healthcheck: section.get("healthcheck").map(|value| healthcheck(&value)),
        restart: section
            .parsed_text("restart", values::RESTART, values::restart)
            .unwrap_or_default(),
        shm_size: bytes("shm_size"),
        mem_limit: bytes("mem_limit"),
        nano_cpus: section.parsed("cpus", values::CPUS, values::nano_cpus),
        stop_grace_period: span("stop_grace_period"),
        stop_signal: section.text("stop_signal"),
        user: section.text("user"),
        working_dir: section.text("working_dir"),
        logging: section.get("logging").map(|value| logging(&value)),
        labels: labels(&section),
        read_only: on("read_only").unwrap_or(false),
        cap_add: section.texts("cap_add"),
        cap_drop: section.texts("cap_drop"),
        security_opt: security_opt(&section),
        extra_hosts: extra_hosts(&section),
        init: on("init"),
        container_name: section.parsed_text(
            "container_name",
            values::CONTAINER_NAME,
            values::container_name,
        ),
        hostname: section.text("hostname"),
        ulimits: ulimits(&section),
        pids_limit: section.get("pids_limit").and_then(|value| limit(&value)),
        // Empty, as `${PLATFORM:-}` is where nobody sets it: Docker's own choice, as in Compose.
        platform: section
            .parsed_text("platform", values::PLATFORM, |text| match text {
                "" => Some(None),
                text => values::platform(text).map(Some),
            })
            .flatten(),
        pull_policy: section
            .parsed_text("pull_policy", values::PULL_POLICY, values::pull_policy)
            .unwrap_or_default(),
    };
    if !section.value().context.masked {
        demands(&section, &|name| service.environment.get(name).cloned());
    }
    // `expose` only describes; `profiles` were asked for before.
    section.ignore(&["expose", "profiles", "x-togather"]);
    section.finish();
    Read {
        section,
        service,
        uses_default_network: joined.is_default,
    }
}

/// The app's image comes with its release, so what stands in the file is for Compose alone.
fn image(value: &Value<'_>, is_app: bool) -> Option<String> {
    let text = value.must_be_text().text()?;
    if !is_app && let Err(error) = text.parse::<ImageReference>() {
        match value.as_written() {
            Some(written) if written == text => value.wrong(error.to_string()),
            // What was filled in is not shown.
            Some(_) | None => value
                .invalid("an image such as `postgres:17` or `registry.example.org/team/app:1.0`"),
        }
        return None;
    }
    Some(text)
}

/// A program and its arguments: a list, or one text that is split as Compose splits it.
fn command(value: &Value<'_>) -> Option<Vec<String>> {
    if !value.is_text() {
        let items = value.items("a text or a list of texts");
        return Some(words_of(&items));
    }
    match words::split(&value.must_be_text().private_text()?) {
        Ok(words) => Some(words),
        Err(error) => {
            value.wrong(error.to_string());
            None
        }
    }
}

fn words_of(items: &[Value<'_>]) -> Vec<String> {
    let words = items.iter().map(Value::must_be_text);
    words.filter_map(Value::private_text).collect()
}

fn security_opt(service: &Section<'_>) -> Vec<String> {
    let Some(value) = service.get("security_opt") else {
        return Vec::new();
    };
    once_each(&value.items("a list of texts"));
    value.texts()
}

/// Notes what stands in a list twice, where Compose does not take that.
fn once_each(items: &[Value<'_>]) {
    let mut seen = BTreeSet::new();
    for item in items {
        if item
            .as_written()
            .is_some_and(|written| !seen.insert(written))
        {
            item.wrong("stands in this list twice");
        }
    }
}

fn dependencies(service: &Section<'_>, declared: &Declared) -> BTreeSet<String> {
    let Some(value) = service.get("depends_on") else {
        return BTreeSet::new();
    };
    let named = if value.is_map() {
        let entries = value.entries("a list or a mapping").into_iter();
        entries
            .filter(|(name, entry)| {
                let section = entry.section("a mapping with `condition`");
                if !section.has("condition") {
                    entry.wrong("the key `condition` is missing: `service_started` or `service_healthy`");
                }
                // Every base service is up before the next is started, so both conditions hold.
                section.parsed(
                    "condition",
                    "`service_started` or `service_healthy`: each service is awaited until it runs and is healthy",
                    |text| matches!(text, "service_started" | "service_healthy").then_some(()),
                );
                let required = section.parsed("required", SWITCH, switch).unwrap_or(true);
                // What it is for, a dependency that is replaced, the agent never does.
                section.parsed("restart", SWITCH, switch);
                section.finish();
                required || !declared.off.contains(name)
            })
            .collect()
    } else {
        let items = value.items("a list or a mapping");
        once_each(&items);
        items
            .into_iter()
            .filter_map(|item| Some((item.must_be_text().text()?, item)))
            .collect::<Vec<_>>()
    };
    let known = named.into_iter().filter_map(|(name, at)| {
        if declared.services.contains(&name) {
            return Some(name);
        }
        // As it is written: what was filled in is not shown.
        let shown = at.as_written().unwrap_or(&name);
        at.wrong(if declared.off.contains(&name) {
            format!("the service `{shown}` is off, because nobody asked for its profile")
        } else {
            format!("there is no service `{shown}`")
        });
        None
    });
    known.collect()
}

fn healthcheck(value: &Value<'_>) -> Healthcheck {
    let section = value.section("a mapping with `test`");
    let span = |key| section.parsed_text(key, DURATION, duration);
    let mut check = Healthcheck {
        test: section.get("test").and_then(|test| health_test(&test)),
        interval: span("interval"),
        timeout: span("timeout"),
        retries: section.parsed("retries", NUMBER, number),
        start_period: span("start_period"),
    };
    if section.parsed("disable", SWITCH, switch) == Some(true) {
        check = Healthcheck {
            test: Some(vec!["NONE".into()]),
            ..Healthcheck::default()
        };
    }
    section.finish();
    check
}

/// A list in Docker's words, or one text for the container's shell.
fn health_test(value: &Value<'_>) -> Option<Vec<String>> {
    if value.is_text() {
        let text = value.must_be_text().private_text()?;
        return Some(vec!["CMD-SHELL".into(), text]);
    }
    let items = value.items("a text or a list of texts");
    let words = words_of(&items);
    let fits = match words.first().map(String::as_str) {
        Some("NONE") => words.len() == 1,
        Some("CMD-SHELL") => words.len() == 2,
        Some("CMD") => words.len() > 1,
        Some(_) | None => false,
    };
    if !fits {
        value.wrong("a list begins with `CMD` and a program, with `CMD-SHELL` and one text, or is `NONE` alone");
    }
    fits.then_some(words)
}

fn logging(value: &Value<'_>) -> Logging {
    let section = value.section("a mapping with `driver`");
    let logging = Logging {
        driver: section.text("driver"),
        options: section
            .get("options")
            .map(|value| options(&value))
            .unwrap_or_default(),
    };
    section.finish();
    logging
}

/// `nofile: 65536`, or a mapping with `soft` and `hard`.
fn ulimits(service: &Section<'_>) -> BTreeMap<String, Ulimit> {
    let value = service.get("ulimits");
    let entries = value.map(|value| value.entries("a mapping such as `nofile: 65536`"));
    let limits = entries.into_iter().flatten().filter_map(|(name, value)| {
        let name = name.to_lowercase();
        if !value.is_map() {
            let both = limit(&value)?;
            return Some((
                name,
                Ulimit {
                    soft: both,
                    hard: both,
                },
            ));
        }
        let section = value.section("a number, or a mapping with `soft` and `hard`");
        let [soft, hard] = ["soft", "hard"].map(|key| {
            if !section.has(key) {
                section.missing(key, "the key is missing; a limit has `soft` and `hard`");
            }
            section.get(key).and_then(|value| limit(&value))
        });
        section.finish();
        Some((
            name,
            Ulimit {
                soft: soft?,
                hard: hard?,
            },
        ))
    });
    limits.collect()
}

/// `name:address`, `name=address`, or a mapping.
fn extra_hosts(service: &Section<'_>) -> Vec<String> {
    const EXPECTED: &str = "`NAME:ADDRESS`";
    let Some(value) = service.get("extra_hosts") else {
        return Vec::new();
    };
    if value.is_map() {
        let entries = value.entries("a list or a mapping").into_iter();
        let hosts = entries.flat_map(|(name, value)| {
            let addresses = if value.is_text() || value.is_nothing() {
                vec![value.clone()]
            } else {
                value.items("an address, or a list of them")
            };
            let hosts = addresses.into_iter().filter_map(|address| {
                let address = address.must_be_text().text()?;
                Some(format!("{name}:{}", unbracketed(&address)))
            });
            if name.is_empty() {
                value.wrong("an address is here, and no name for it");
            }
            hosts.collect::<Vec<_>>()
        });
        return hosts.collect();
    }
    let items = value.items("a list or a mapping");
    once_each(&items);
    let hosts = items.iter().filter_map(|item| {
        item.must_be_text().parsed(EXPECTED, |text| {
            // A `=` comes before the colons of an IPv6 address.
            let split = text.split_once('=').or_else(|| text.split_once(':'));
            let (name, address) = split.filter(|(name, _)| !name.is_empty())?;
            Some(format!("{name}:{}", unbracketed(address)))
        })
    });
    hosts.collect()
}

fn unbracketed(address: &str) -> String {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(address).to_owned()
}
