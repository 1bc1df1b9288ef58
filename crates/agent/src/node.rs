//! A node: the outside things it is made of, each behind the verbs the domain needs.

use std::{collections::BTreeMap, sync::Arc};

use togather_model::{
    Acceptance, Connections, Digest, Failure, FailureKind, Line, Live, Observed, Pages, Release,
    Schema, Series, Slot, Strategy, release::Migrations, retention::RollbackTarget,
};

use crate::{
    config::Environment,
    configuration::Configuration,
    containers::{Containers, ContainersError},
    database::Database,
    fetches::Fetches,
    health::{Asker, Condition},
    host::Host,
    jobs,
    snapshots::Snapshots,
    state::{Served, State, StateError},
    traffic::Traffic,
};

/// What restoring a snapshot takes beside the memory for building two indexes at once: its programs
/// and their sessions.
const RESTORE_MEMORY: u64 = 128 << 20;

/// Everything a deployment touches.
#[derive(Clone)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// What it is for.
    pub environment: Environment,
    /// How it wants to be deployed to.
    pub strategy: Strategy,
    /// Who may attest releases.
    pub attesters: Arc<dyn Attesters>,
    /// Docker.
    pub containers: Arc<dyn Containers>,
    /// Caddy.
    pub traffic: Arc<dyn Traffic>,
    /// The app, over HTTP.
    pub health: Arc<Asker>,
    /// What an app must say of itself to serve.
    pub acceptance: Acceptance,
    /// Pages that it must answer as expected.
    pub expect: Pages,
    /// What its files say and perhaps do not mean, a sentence each.
    pub warnings: Arc<[String]>,
    /// PostgreSQL.
    pub database: Arc<dyn Database>,
    /// The snapshot store.
    pub snapshots: Arc<dyn Snapshots>,
    /// Clock, disk and memory.
    pub host: Arc<dyn Host>,
    /// Images on their way here.
    pub fetches: Fetches,
    /// What the node remembers.
    pub state: State,
    /// Where those of the above come from that the operator's files make.
    pub configuration: Arc<dyn Configuration>,
    /// The state of the files that made them; `None`: none did.
    pub configured: Option<Digest>,
    /// The earlier state of the files that the app alone is made from; `None`: the same.
    pub app_configured: Option<Digest>,
}

/// Who may say that a release passed the tests.
pub trait Attesters: Send + Sync {
    /// Checks a signature in the attestation namespace over these bytes.
    ///
    /// # Errors
    /// It is not by anyone this node trusts.
    fn check(&self, attested: &[u8], signature: &str) -> Result<(), Failure>;
}

impl Node {
    /// The same node, as its files make it now.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn as_configured_now(&self) -> Result<Self, Failure> {
        self.configuration.now(self)
    }

    /// The same node, as its files make it now; if they cannot be used, as they made it last. For
    /// everything that is no deployment.
    #[must_use]
    pub fn in_force(&self) -> Self {
        self.configuration.in_force(self)
    }

    /// The node with the app as it was when the container of this live version was made: where it is asked,
    /// and how it is judged, is as the files said then. Where that is not known, or not kept any more, the
    /// files of this node have to do.
    pub async fn that_made(&self, live: &Live) -> Self {
        let served = self.state.served().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what the live version was made from could not be read");
            vec![]
        });
        let made_it =
            |served: &Served| served.release == live.release && served.made_of == live.made_of;
        let Some(id) = served
            .into_iter()
            .find(made_it)
            .and_then(|served| served.configuration)
        else {
            return self.clone();
        };
        self.configuration
            .with_app_of(self, id)
            .unwrap_or_else(|failure| {
                tracing::warn!(%failure, "the live version is asked as the files say now");
                self.clone()
            })
    }

    /// Looks at everything a deployment relies on, changing nothing. What is wrong is a problem in
    /// the answer, never an error: all of it is found in one go.
    pub async fn observe(&self) -> Observed {
        let mut problems = Vec::new();
        let mut note = |failure: Failure| problems.push(failure);

        let has_database = match self.containers.engine().await {
            Ok(_) => self.has_database().await.map_err(|e| {
                Failure::caused_by(
                    FailureKind::Other,
                    "the base services could not be looked at",
                    &e,
                )
                .next("look at `systemctl status docker` on the node")
            }),
            Err(e) => Err(
                Failure::caused_by(FailureKind::Other, "Docker does not answer", &e)
                    .next("look at `systemctl status docker` on the node"),
            ),
        };
        let has_database = has_database.map_err(&mut note).unwrap_or(true);

        if let Ok(Some(running)) = self.state.running_job().await
            && running.job.swaps()
        {
            note(jobs::held_by(&running.job));
        }
        if let Err(e) = self.traffic.ready().await {
            note(
                Failure::caused_by(FailureKind::Other, "a traffic switch would not work", &e)
                    .next("look at `systemctl status caddy` and the Caddyfile on the node"),
            );
        }
        let disk_free = self.host.disk_free().unwrap_or_else(|e| {
            note(
                Failure::caused_by(
                    FailureKind::Other,
                    "the free disk could not be measured",
                    &e,
                )
                .next("look at `df -h` on the node"),
            );
            u64::MAX
        });
        let (mut schema, mut database_bytes, mut no_snapshot) = (Schema::NoDatabase, 0, None);
        let (mut other_lines, mut connections) = (BTreeMap::new(), None);
        if has_database {
            match self.observe_database().await {
                Ok(observed) => {
                    (schema, other_lines, database_bytes) = observed;
                    connections = self.connections().await;
                    no_snapshot = self.why_no_snapshot().await;
                }
                Err(failure) => note(failure),
            }
        }
        let live = self.live().await.unwrap_or_else(|failure| {
            note(failure);
            None
        });
        let (mut condition, mut live_healthy, mut series) = (None, false, Series::Unknown);
        if let Some(live) = &live {
            let made_it = self.that_made(live).await;
            let found = made_it.health.condition(live.slot, &live.git_commit).await;
            live_healthy = made_it.is_fit(&found);
            condition = Some(found);
            series = made_it.health.series(live.slot).await;
        }
        let reach = self.health.reach(live.as_ref().map(|live| live.slot)).await;
        let mut doubts = reach.doubts;
        match (reach.unproven, &live) {
            // It would be migrated and switched, and then taken back.
            (Some(unproven), Some(_)) => note(unproven),
            // On a new node Caddy may still be waiting for its certificate.
            (Some(unproven), None) => doubts.push(format!(
                "{unproven}: unless that changes until the switch, the deployment is taken back then; {}",
                unproven.next.join("; ")
            )),
            (None, _) => {}
        }
        let ran = self.ran(schema).await.unwrap_or_else(|e| {
            let what = "the releases that served here could not be read";
            note(
                Failure::caused_by(FailureKind::Other, what, &e)
                    .next("look at the agent's journal on the node"),
            );
            vec![]
        });
        Observed {
            node: self.name.clone(),
            live,
            live_healthy,
            live_verdict: condition.and_then(|live| live.verdict),
            schema,
            ran,
            other_lines,
            database_bytes,
            snapshot_disk: self.snapshots.disk_needed(database_bytes),
            no_snapshot,
            disk_free,
            series,
            connections,
            doubts,
            problems,
        }
    }

    /// The migrations of the newest release that served here and was built for this schema. After a
    /// rollback that is not the live one.
    async fn ran(&self, schema: Schema) -> Result<Vec<u64>, StateError> {
        let Some(have) = schema.version() else {
            return Ok(vec![]);
        };
        for id in self.state.served_releases().await? {
            if let Some(release) = self.state.release(id).await?
                && release.schema_version() == have
            {
                return Ok(release.migrations.iter().map(|m| m.version).collect());
            }
        }
        Ok(vec![])
    }

    /// Whether there is a database yet. One elsewhere is there before the node has any service.
    ///
    /// # Errors
    /// Docker could not be asked.
    pub async fn has_database(&self) -> Result<bool, ContainersError> {
        if self.database.is_elsewhere() {
            return Ok(true);
        }
        self.containers.base_exists().await
    }

    /// What cannot be asked here is told elsewhere, or stands in no deployment's way.
    async fn connections(&self) -> Option<Connections> {
        Some(Connections {
            app: self.containers.app_connections()?,
            server: self.database.connections().await.ok()?,
        })
    }

    async fn why_no_snapshot(&self) -> Option<Failure> {
        let error = self.snapshots.check_programs(false).await.err()?;
        let what = "no snapshot of the database could be taken";
        Some(
            Failure::caused_by(FailureKind::Other, what, &error)
                .next("look at `database` in deployment.yml on the node"),
        )
    }

    async fn observe_database(&self) -> Result<(Schema, BTreeMap<Line, Vec<u64>>, u64), Failure> {
        let next = match self.database.is_elsewhere() {
            true => {
                "look at `database.url` in deployment.yml, and whether the node reaches that host"
            }
            false => "look at `docker ps` and the database's logs on the node",
        };
        let down = |e: crate::database::DatabaseError| {
            Failure::caused_by(FailureKind::Other, "the database does not answer", &e).next(next)
        };
        let missing = self.database.missing_extensions().await.map_err(down)?;
        if !missing.is_empty() {
            return Err(Failure::new(
                FailureKind::Other,
                format!(
                    "the database server lacks these extensions: {}",
                    missing.join(", ")
                ),
            )
            .next("use an image or server that has them; deploy/docker/database builds one"));
        }
        Ok((
            self.database.schema().await.map_err(down)?,
            self.database.other_lines().await.map_err(down)?,
            self.database.bytes().await.map_err(down)?,
        ))
    }

    /// The release that gets the traffic: the slot as the proxy's snippet says, the release as the
    /// slot's container says. Neither is remembered elsewhere, so neither can be out of date.
    ///
    /// # Errors
    /// The proxy or Docker could not be asked.
    pub async fn live(&self) -> Result<Option<Live>, Failure> {
        let Some(slot) = self.traffic.live().await.map_err(|e| {
            Failure::caused_by(
                FailureKind::Other,
                "the traffic snippet could not be read",
                &e,
            )
            .next("look at the snippet's mode and content on the node")
        })?
        else {
            return Ok(None);
        };
        let container = self.containers.slot(slot).await.map_err(|e| {
            Failure::caused_by(
                FailureKind::Other,
                format!("the {slot} slot could not be looked at"),
                &e,
            )
            .next("look at `systemctl status docker` on the node")
        })?;
        let Some(container) = container else {
            return Ok(None);
        };
        let Some(release_id) = container.release else {
            return Ok(None);
        };
        let release = self.state.release(release_id).await.map_err(|e| {
            Failure::caused_by(FailureKind::Other, "the live release could not be read", &e)
                .next("look at the agent's journal on the node")
        })?;
        Ok(release.map(|release| Live {
            slot,
            release: release_id,
            schema: release.schema_version(),
            other_lines: release
                .other_lines
                .iter()
                .map(|other| (other.line, Migrations::from(other).schema_version()))
                .collect(),
            version: release.version,
            git_commit: release.git_commit,
            made_of: container.made_of,
        }))
    }

    /// The releases the node can be rolled back to, and the schemas they were built for.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn rollback_targets(&self) -> Result<Vec<RollbackTarget>, StateError> {
        let kept = self.kept_releases(None).await?;
        Ok(kept.iter().map(target).collect())
    }

    /// The live release and those before it that are kept to go back to, newest first. One that is
    /// about to be the live one counts as such already.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn kept_releases(
        &self,
        about_to_serve: Option<Digest>,
    ) -> Result<Vec<Release>, StateError> {
        let mut served = self.state.served_releases().await?;
        if let Some(next) = about_to_serve {
            served.retain(|id| *id != next);
            served.insert(0, next);
        }
        let mut kept = Vec::new();
        for id in served
            .into_iter()
            .take(1 + self.strategy.keep_releases as usize)
        {
            kept.extend(self.state.release(id).await?);
        }
        Ok(kept)
    }

    /// Refuses to restore a snapshot, to prove it or to use it, where that would push the live
    /// service out of memory.
    ///
    /// # Errors
    /// There is too little, or it could not be measured.
    pub async fn must_have_memory(&self) -> Result<(), Failure> {
        let failed = |what: &str, e: &dyn std::error::Error| {
            Failure::caused_by(FailureKind::Other, what, e)
                .next("look at `free -m` and the database's logs on the node")
        };
        let index = self.database.maintenance_memory().await;
        let index = index.map_err(|e| failed("the database's settings could not be read", &e))?;
        let available = self.host.memory_available();
        let available =
            available.map_err(|e| failed("the free memory could not be measured", &e))?;
        let needed = 2 * index + RESTORE_MEMORY;
        if available >= needed {
            return Ok(());
        }
        let what = format!(
            "there is too little memory to restore a snapshot beside the live database: {} MiB are available, {} MiB are needed",
            available >> 20,
            needed >> 20
        );
        Err(Failure::new(FailureKind::Other, what).next(format!(
            "stop what else takes memory, or lower PostgreSQL's `maintenance_work_mem`, which is {} MiB",
            index >> 20
        )))
    }

    /// Whether the app in this slot is fit to serve, as this commit.
    pub async fn is_healthy(&self, slot: Slot, git_commit: &str) -> bool {
        self.is_fit(&self.health.condition(slot, git_commit).await)
    }

    /// One that could not be asked because it was asked too often is not held to be unfit.
    fn is_fit(&self, app: &Condition) -> bool {
        let said = app.verdict.as_ref();
        app.answers && said.is_none_or(|said| self.acceptance.judge(said, None).is_ok())
    }
}

/// What going back to a release asks of the snapshots.
pub(crate) fn target(release: &Release) -> RollbackTarget {
    RollbackTarget {
        version: release.version.clone(),
        schema: release.schema_version(),
    }
}
