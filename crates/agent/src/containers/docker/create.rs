//! From a service to the words the Engine creates a container with.

use std::{collections::HashMap, time::Duration};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    NetworkingConfig, PortBinding, PortMap, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use togather_compose::{Healthcheck, Logging, Port, Restart, Service};

/// What a container has besides what its service says.
pub(super) struct Extra<'a> {
    pub(super) image: &'a str,
    pub(super) labels: HashMap<String, String>,
    /// Its name inside its networks.
    pub(super) alias: &'a str,
    /// Published besides the service's own ports.
    pub(super) port: Option<Port>,
    /// Set besides the service's own environment.
    pub(super) environment: &'a [(&'static str, &'a str)],
}

/// The whole body of a request for a container. Only the first network is in it: older Engines take
/// no more than one, the others are joined before the start.
pub(super) fn body(service: &Service, extra: Extra<'_>) -> ContainerCreateBody {
    let mut environment = service.environment.clone();
    let besides = extra.environment.iter();
    environment.extend(besides.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let environment = environment.into_iter();
    let environment = environment.map(|(name, value)| format!("{name}={value}"));
    let mut labels: HashMap<_, _> = service.labels.clone().into_iter().collect();
    labels.extend(extra.labels);
    let ports: Vec<_> = service.ports.iter().chain(&extra.port).collect();
    let network = service.networks.first();
    ContainerCreateBody {
        image: Some(extra.image.to_owned()),
        cmd: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        env: Some(environment.collect()),
        labels: Some(labels),
        user: service.user.clone(),
        hostname: service.hostname.clone(),
        working_dir: service.working_dir.clone(),
        stop_signal: service.stop_signal.clone(),
        stop_timeout: Some(whole_seconds(service.grace())),
        healthcheck: service.healthcheck.as_ref().map(health_config),
        exposed_ports: Some(ports.iter().map(|port| port.container.clone()).collect()),
        networking_config: network.map(|network| NetworkingConfig {
            endpoints_config: Some(
                [(network.clone(), endpoint(service, network, extra.alias))].into(),
            ),
        }),
        host_config: Some(HostConfig {
            port_bindings: Some(port_map(&ports)),
            network_mode: Some(network.cloned().unwrap_or_else(|| "none".into())),
            ..host_config(service)
        }),
        ..ContainerCreateBody::default()
    }
}

/// How a container is known inside one of its networks: by its own alias, and those of the file.
pub(super) fn endpoint(service: &Service, network: &str, alias: &str) -> EndpointSettings {
    let aliases = service.aliases.get(network).into_iter().flatten();
    EndpointSettings {
        aliases: Some(aliases.cloned().chain([alias.to_owned()]).collect()),
        ..EndpointSettings::default()
    }
}

fn host_config(service: &Service) -> HostConfig {
    let some_of = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    HostConfig {
        binds: some_of(&service.mounts),
        restart_policy: Some(restart_policy(service.restart)),
        shm_size: service.shm_size,
        memory: service.mem_limit,
        nano_cpus: service.nano_cpus,
        pids_limit: service.pids_limit,
        ulimits: some_of_ulimits(service),
        log_config: service.logging.as_ref().map(log_config),
        readonly_rootfs: Some(service.read_only),
        tmpfs: (!service.tmpfs.is_empty()).then(|| service.tmpfs.clone().into_iter().collect()),
        cap_add: some_of(&service.cap_add),
        cap_drop: some_of(&service.cap_drop),
        security_opt: some_of(&service.security_opt),
        extra_hosts: some_of(&service.extra_hosts),
        init: service.init,
        ..HostConfig::default()
    }
}

fn some_of_ulimits(service: &Service) -> Option<Vec<ResourcesUlimits>> {
    let limits = service.ulimits.iter();
    let limits = limits.map(|(name, limit)| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    });
    (!service.ulimits.is_empty()).then(|| limits.collect())
}

fn restart_policy(restart: Restart) -> RestartPolicy {
    let (name, retries) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::OnFailure { retries } => (RestartPolicyNameEnum::ON_FAILURE, Some(retries.into())),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: retries,
    }
}

fn log_config(logging: &Logging) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: logging.driver.clone(),
        config: Some(logging.options.clone().into_iter().collect()),
    }
}

fn health_config(check: &Healthcheck) -> HealthConfig {
    let nanoseconds = |duration: Option<Duration>| {
        duration.map(|duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    };
    HealthConfig {
        test: check.test.clone(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        retries: check.retries.map(Into::into),
        start_period: nanoseconds(check.start_period),
        start_interval: None,
    }
}

fn port_map(ports: &[&Port]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        let bindings = map.entry(port.container.clone()).or_default();
        bindings.get_or_insert_default().push(PortBinding {
            host_ip: port.ip.map(|ip| ip.to_string()),
            host_port: Some(port.host.to_string()),
        });
    }
    map
}

/// Docker counts grace periods in whole seconds; a part of one counts as one.
pub(super) fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
