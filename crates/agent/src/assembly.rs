//! From the configuration to the node: each outside thing made and checked, none of them asked yet.

mod configured;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use togather_model::{Failure, FailureKind, Timestamp};
use tokio::time::timeout;

pub use self::configured::Configured;
use crate::{
    config::Config,
    configuration::Configuration,
    containers::{Containers, ContainersError, RegistryError, compose},
    database::DatabaseError,
    fetches::Fetches,
    gate::Keys,
    health::HealthError,
    host::{Host, Machine},
    node::Node,
    reload::Reloaded,
    server::{Tls, TlsFilesError},
    snapshots::{Answer, ConditionalWrites, SnapshotError, Snapshots},
    state::{State, StateError},
    traffic::Caddy,
};

/// The longest one question to the app may take; longer if the soak tolerates more.
const QUESTION: Duration = Duration::from_secs(5);

/// Where Docker keeps its data unless it says otherwise.
const DOCKER_DATA: &str = "/var/lib/docker";

/// Everything outside that a node is made of.
pub struct Parts {
    /// What the node shows and whom it lets connect.
    pub tls: Reloaded<Tls>,
    /// Whose signatures count.
    pub keys: Arc<Keys>,
    configured: Configured,
}

#[derive(Serialize)]
struct Looked {
    snapshot_store: Store,
}

/// What a snapshot store is like.
#[derive(Serialize)]
struct Store {
    address: String,
    snapshots: usize,
    #[serde(flatten)]
    writes: ConditionalWrites,
}

/// What of the configuration cannot be used. The program ends with exit code 10.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// Certificates or key.
    #[error("the files under `tls` in agent.yml cannot be used")]
    Tls(#[from] TlsFilesError),
    /// Signers or roles.
    #[error("the files under `signers`, `revoked_keys` or `roles` in agent.yml cannot be used: {}", .0.join("; "))]
    Keys(Vec<String>),
    /// The Compose file.
    #[error("docker-compose.yml cannot be used")]
    Compose(#[from] compose::ComposeError),
    /// Docker.
    #[error("`docker` in deployment.yml cannot be used")]
    Docker(#[source] ContainersError),
    /// The app's addresses.
    #[error("`app` or `proxy` in deployment.yml cannot be used")]
    Health(#[from] HealthError),
    /// The database.
    #[error("`database` in deployment.yml cannot be used")]
    Database(#[source] Box<DatabaseError>),
    /// The Compose service of the database is not there.
    #[error(
        "`database.service` in deployment.yml is `{service}`, which is no base service in docker-compose.yml (there are: {there}); name the database's, or write `service: null` if the database is elsewhere"
    )]
    NoSuchService {
        /// The service.
        service: String,
        /// Those that are there.
        there: String,
    },
    /// Nothing says where PostgreSQL's programs are to run.
    #[error(
        "`database` in deployment.yml has neither `service` nor `client_image`, so pg_dump can run nowhere; name the Compose service of the database, or for a database elsewhere an image such as `postgres:17`"
    )]
    NoPrograms,
    /// The snapshot store.
    #[error("`snapshots.store` in agent.yml cannot be used")]
    Snapshots(#[source] Box<SnapshotError>),
}

impl Parts {
    /// Makes each part. Nothing is asked of the outside, and nothing is changed.
    ///
    /// # Errors
    /// The first part that cannot be made.
    pub fn of(config: &Config) -> Result<Self, AssemblyError> {
        let agent = &config.agent;
        let tls = Tls::of(agent.tls.clone())?;
        let keys = Keys::new(
            agent.signers.clone(),
            agent.revoked_keys.clone(),
            agent.roles.clone(),
            Arc::new(Machine::new(vec![])),
        );
        let problems = keys.current().problems.clone();
        if !problems.is_empty() {
            return Err(AssemblyError::Keys(problems));
        }
        Ok(Self {
            tls,
            keys: Arc::new(keys),
            configured: Configured::of(config, None)?,
        })
    }

    /// Caddy, which is to be reloaded at the start.
    #[must_use]
    pub fn caddy(&self) -> Arc<Caddy> {
        Arc::clone(&self.configured.caddy)
    }

    /// What of it the operator's files make anew when they change.
    #[must_use]
    pub fn configured(&self) -> Configured {
        self.configured.clone()
    }

    /// Where PostgreSQL's programs run, for people.
    #[must_use]
    pub fn place_of_programs(&self) -> String {
        self.configured.dumps.place_of_programs()
    }

    /// Whether the files with the logins for registries can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check_registries(&self) -> Result<(), RegistryError> {
        self.configured.docker.registries().check()
    }

    /// Asks the snapshot store what it lets the agent do, and says so as YAML.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub async fn look_at_store(&self) -> Result<String, Failure> {
        let unusable = |e: &dyn std::error::Error| {
            Failure::caused_by(FailureKind::Other, "the snapshot store cannot be used", e)
                .next("look at `snapshots.store` in agent.yml, and at the credentials in the environment (on a node: /etc/togather/agent.env)")
        };
        let held = Snapshots::survey(&*self.configured.dumps, None).await;
        let snapshots = held.map_err(|e| unusable(&e))?.snapshots.len();
        let writes = self.configured.dumps.conditional_writes().await;
        if writes.answer == Answer::Unknown {
            return Err(unusable(&SnapshotError::Other(writes.reason)));
        }
        let address = self.configured.dumps.address();
        let looked = Looked {
            snapshot_store: Store {
                address,
                snapshots,
                writes,
            },
        };
        serde_saphyr::to_string(&looked).map_err(|e| unusable(&e))
    }

    /// The node that these parts make, with its memory opened, or begun if there is none. What the
    /// files make of it comes from there when they change.
    ///
    /// # Errors
    /// The state cannot be opened.
    pub async fn into_node(
        self,
        config: &Config,
        configuration: Arc<dyn Configuration>,
    ) -> Result<(Node, Reloaded<Tls>), StateError> {
        let state = State::open(&config.agent.state.join("state.db"), Timestamp::now()).await?;
        let parts = self.configured;
        let host = Machine::new(written_to(config, &*parts.docker).await);
        let node = Node {
            name: config.agent.node.name.to_string(),
            environment: config.agent.environment,
            strategy: parts.strategy,
            attesters: self.keys,
            containers: parts.docker,
            traffic: parts.caddy,
            health: parts.asker,
            acceptance: parts.acceptance,
            expect: parts.expect,
            warnings: parts.warnings,
            database: parts.database,
            snapshots: parts.dumps,
            host: Arc::new(host) as Arc<dyn Host>,
            fetches: Fetches::default(),
            state,
            configuration,
            configured: None,
            app_configured: None,
        };
        Ok((node, self.tls))
    }
}

/// The folders whose file systems a deployment fills: the agent's own, local snapshots, Docker's.
async fn written_to(config: &Config, docker: &dyn Containers) -> Vec<PathBuf> {
    let engine = timeout(QUESTION, docker.engine()).await;
    let docker_data = match engine {
        Ok(Ok(engine)) => engine.data_root.into(),
        // Docker comes up after us; then it is where it usually is.
        Ok(Err(_)) | Err(_) => PathBuf::from(DOCKER_DATA),
    };
    let snapshots = config.agent.snapshots.store.to_file_path().ok();
    [
        Some(config.agent.state.clone()),
        snapshots,
        Some(docker_data),
    ]
    .into_iter()
    .flatten()
    .filter_map(|folder| {
        folder
            .ancestors()
            .find(|above| above.exists())
            .map(Path::to_owned)
    })
    .collect()
}
