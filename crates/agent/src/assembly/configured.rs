//! The parts of a node that its operator's files make, and that are made anew when these change.

use std::sync::Arc;

use togather_compose::Resource;
use togather_model::{Acceptance, Digest, Pages, Strategy, retention::Policy};

use super::{AssemblyError, QUESTION};
use crate::{
    config::{Config, DatabaseSection, Environment},
    containers::{Compose, Docker, Registries, compose},
    database::{DatabaseSettings, Postgres},
    health::{Asker, Http, HttpSettings},
    node::Node,
    snapshots::{Dumps, Origin, Programs, SnapshotSettings, Spool},
    traffic::Caddy,
};

/// Each part as one state of the files makes it.
#[derive(Clone)]
pub struct Configured {
    pub(super) environment: Environment,
    pub(super) strategy: Strategy,
    pub(super) docker: Arc<Docker>,
    pub(super) caddy: Arc<Caddy>,
    pub(super) asker: Arc<Asker>,
    pub(super) acceptance: Acceptance,
    pub(super) expect: Pages,
    pub(super) warnings: Arc<[String]>,
    pub(super) database: Arc<Postgres>,
    pub(super) dumps: Arc<Dumps>,
}

impl Configured {
    /// Makes each part. Nothing is asked of the outside, and nothing is changed. What is known of the
    /// outside, and who is at work there, is shared with the parts that were `before`.
    ///
    /// # Errors
    /// The first part that cannot be made.
    pub fn of(config: &Config, before: Option<&Self>) -> Result<Self, AssemblyError> {
        Self::with_app_of(config, config, before)
    }

    /// The same, but for the app: its service, its environment and how it is asked are those of another
    /// state of the files.
    ///
    /// # Errors
    /// The first part that cannot be made.
    pub fn with_app_of(
        app: &Config,
        config: &Config,
        before: Option<&Self>,
    ) -> Result<Self, AssemblyError> {
        let (deployment, section) = (&config.deployment, &config.deployment.database);
        let compose = with_app_of(read_compose(app)?, read_compose(config)?);
        let in_compose = compose.warnings.iter();
        let in_compose = in_compose.map(|warning| format!("docker-compose.yml, {warning}"));
        let warnings = config.warnings.iter().cloned().chain(in_compose).collect();
        let services: Vec<_> = compose.base_services().map(str::to_owned).collect();
        let docker = Arc::new(docker(app, config, compose, before)?);
        let database = Arc::new(database(config)?);
        let programs = programs(section, &services, &docker, &database)?;
        let dumps = dumps(config, programs, &database, before)?;
        Ok(Self {
            environment: config.agent.environment,
            strategy: deployment.strategy.clone(),
            docker,
            caddy: Arc::new(caddy(config)),
            asker: Arc::new(asker(app, config, before)?),
            acceptance: app.deployment.app.acceptance(),
            expect: app.deployment.app.expect.clone(),
            warnings,
            database,
            dumps: Arc::new(dumps),
        })
    }

    /// This node, made of these parts, which the files in the state `id` made.
    #[must_use]
    pub fn applied_to(self, node: &Node, id: Digest) -> Node {
        Node {
            environment: self.environment,
            strategy: self.strategy,
            containers: self.docker,
            traffic: self.caddy,
            health: self.asker,
            acceptance: self.acceptance,
            expect: self.expect,
            warnings: self.warnings,
            database: self.database,
            snapshots: self.dumps,
            configured: Some(id),
            app_configured: None,
            ..node.clone()
        }
    }
}

fn read_compose(config: &Config) -> Result<Compose, AssemblyError> {
    let app = &config.deployment.app.service;
    Ok(compose::load(&config.compose, &config.environment, app)?)
}

/// The second of them with the app of the first, and with the networks and volumes that it needs.
fn with_app_of(earlier: Compose, now: Compose) -> Compose {
    fn joined(mut these: Vec<Resource>, those: Vec<Resource>) -> Vec<Resource> {
        let is_new = |one: &Resource| these.iter().all(|other| other.name != one.name);
        let new: Vec<_> = those.into_iter().filter(is_new).collect();
        these.extend(new);
        these
    }
    Compose {
        app: earlier.app,
        networks: joined(now.networks, earlier.networks),
        volumes: joined(now.volumes, earlier.volumes),
        ..now
    }
}

fn docker(
    app: &Config,
    config: &Config,
    compose: Compose,
    before: Option<&Configured>,
) -> Result<Docker, AssemblyError> {
    let port = app.deployment.app.port.get();
    match before {
        Some(before) => Ok(before.docker.with(compose, port)),
        None => {
            let docker = Docker::new(&config.deployment.docker.socket, compose, port);
            let registries = Registries::new(config.agent.registries.clone());
            docker
                .map(|docker| docker.with_registries(registries))
                .map_err(AssemblyError::Docker)
        }
    }
}

fn caddy(config: &Config) -> Caddy {
    let proxy = &config.deployment.proxy;
    Caddy::new(
        proxy.admin.clone(),
        proxy.caddyfile.clone(),
        proxy.snippet.clone(),
    )
}

fn asker(
    app: &Config,
    config: &Config,
    before: Option<&Configured>,
) -> Result<Asker, AssemblyError> {
    let (app, deployment) = (&app.deployment.app, &config.deployment);
    let http = Arc::new(Http::new(HttpSettings {
        public_url: deployment.proxy.public_url.clone(),
        health_path: app.health_path.clone(),
        ready_path: app.ready_path.clone(),
        metrics_path: app.metrics_path.clone(),
        requests_metric: app.requests_metric.clone(),
        timeout: QUESTION.max(deployment.strategy.soak_latency * 2),
    })?);
    Ok(match before {
        Some(before) => before.asker.with(http),
        None => Asker::new(http),
    })
}

fn database(config: &Config) -> Result<Postgres, AssemblyError> {
    let (section, strategy) = (&config.deployment.database, &config.deployment.strategy);
    let database = Postgres::new(DatabaseSettings {
        url: config.database_url.clone(),
        extensions: section.extensions.clone(),
        elsewhere: section.service.is_none(),
        lock_timeout: strategy.lock_timeout,
        lock_retries: strategy.lock_retries,
    });
    database.map_err(|e| AssemblyError::Database(Box::new(e)))
}

fn dumps(
    config: &Config,
    programs: Programs,
    database: &Arc<Postgres>,
    before: Option<&Configured>,
) -> Result<Dumps, AssemblyError> {
    let kept = &config.deployment.database.snapshots;
    let retention = Policy {
        keep_for: kept.keep_for,
        min_verified: kept.min_verified,
        daily: kept.daily,
        weekly: kept.weekly,
        monthly: kept.monthly,
    };
    let (agent, database) = (&config.agent, Arc::clone(database));
    let min_disk_free = config.deployment.strategy.min_disk_free;
    if let Some(before) = before {
        let before = &before.dumps;
        return Ok(before.with(retention, min_disk_free, programs, database));
    }
    let settings = SnapshotSettings {
        store: agent.snapshots.store.clone(),
        retention,
        origin: Some(Origin {
            fleet: agent.fleet,
            node: agent.node.name.to_string(),
        }),
        uploads: Some(agent.state.join("uploads")),
        // A store on this very disk is never away.
        spool: (agent.snapshots.store.scheme() != "file").then(|| Spool {
            folder: agent.state.join("spool"),
            at_most: agent.snapshots.spool,
        }),
        min_disk_free,
    };
    Dumps::new(settings, programs, database).map_err(|e| AssemblyError::Snapshots(Box::new(e)))
}

/// Where PostgreSQL's programs run.
fn programs(
    section: &DatabaseSection,
    services: &[String],
    docker: &Arc<Docker>,
    database: &Postgres,
) -> Result<Programs, AssemblyError> {
    match (section.service.clone(), section.client_image.clone()) {
        (Some(service), _) if services.contains(&service) => Ok(Programs::InService {
            exec: docker.clone(),
            service,
        }),
        (Some(service), _) => Err(AssemblyError::NoSuchService {
            service,
            there: match services {
                [] => "none".into(),
                there => there.join(", "),
            },
        }),
        (None, Some(image)) => {
            // What cannot be handed to them is found out now, not in the night.
            let login = database.login();
            login.map_err(|e| AssemblyError::Database(Box::new(e)))?;
            Ok(Programs::OneShot {
                containers: docker.clone(),
                image,
            })
        }
        (None, None) => Err(AssemblyError::NoPrograms),
    }
}
