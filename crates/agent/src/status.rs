//! What is true on the node now, asked of everything at once and within a few seconds: what cannot
//! be asked is told as such, and never holds up the rest.

mod drift;
pub(crate) mod overdue;

use std::{collections::BTreeMap, future::Future, time::Duration};

use togather_model::{
    Digest, Failure, FailureKind, Lease, Line, Live, Operation, OperationState, Schema, Timestamp,
};
use tokio::time::timeout;

use crate::{
    config::Environment,
    containers::SlotContainer,
    health::{Answer, Place},
    jobs::{Job, Jobs},
    lookout::Lookout,
    node::Node,
    operations::Operations,
    snapshots::{ConditionalWrites, Manifest, Survey},
    state::StateError,
};

/// How long each thing may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is true on the node.
#[derive(Debug)]
pub struct Status {
    /// When, by the node's clock.
    pub at: Timestamp,
    /// What the node is for.
    pub environment: Environment,
    /// The release it means to serve; `None` on an empty node.
    pub live: Option<Live>,
    /// What answers in the live slot; `None` where nothing should.
    pub health: Option<Result<Answer, Silence>>,
    /// The database's schema; `None` when it could not be asked.
    pub schema: Option<Schema>,
    /// Where the lines of migrations are that are not the app's own; `None`: none of it ran.
    pub other_lines: BTreeMap<Line, Option<u64>>,
    /// The newest snapshot.
    pub last_snapshot: Option<Manifest>,
    /// The newest snapshot that was found whole.
    pub last_verified: Option<Manifest>,
    /// The last job of each kind, and the one under way.
    pub jobs: Vec<Job>,
    /// Why the age of the last verified snapshot is too high; empty: it is not.
    pub snapshot_overdue: String,
    /// Databases that restores replaced, newest first.
    pub replaced_databases: Vec<String>,
    /// A restore, or its undo, that could not be taken back and that nothing has settled since.
    pub stuck: Option<Job>,
    /// Where snapshots are kept, and whether that place keeps one from being replaced.
    pub store: (String, ConditionalWrites),
    /// The lease, while it lives.
    pub lease: Option<Lease>,
    /// The operation under way.
    pub running: Option<Operation>,
    /// The last operation that ended.
    pub last: Option<Operation>,
    /// What differs from what the node means to be, a sentence each.
    pub drift: Vec<String>,
}

/// Why there was no answer, causes and all.
pub type Silence = String;

/// What the outside answered.
struct Seen {
    live: Result<Option<Live>, Silence>,
    live_slot: Option<togather_model::Slot>,
    /// A version has served here, and none gets traffic now.
    is_unserved: bool,
    slots: [Result<Option<SlotContainer>, Silence>; 2],
    public: Result<Answer, Silence>,
    schema: Result<Schema, Silence>,
    /// Where the lines of migrations are that are not the app's own.
    other_lines: Result<BTreeMap<Line, Option<u64>>, Silence>,
    /// A deployment has brought the schema to where it is.
    is_schema_ours: bool,
    switchable: Result<(), Silence>,
    snapshots: Result<Survey, Silence>,
    spooled: Result<Vec<Manifest>, Silence>,
    replaced: Result<Vec<String>, Silence>,
    /// What the files would make the app's container from; `None`: they cannot be used.
    made_of: Option<Digest>,
    node: String,
}

/// Asks everything.
///
/// # Errors
/// The agent's own state cannot be read.
pub async fn status(
    node: &Node,
    operations: &Operations,
    jobs: &Jobs,
    lookout: &Lookout,
) -> Result<Status, StateError> {
    // A broken file keeps nothing from being told, but is told itself.
    let (node, broken) = match node.as_configured_now() {
        Ok(node) => (node, None),
        Err(failure) => (node.in_force(), Some(failure)),
    };
    let node = &node;
    let running = node.state.running().await?.map(|(operation, _)| operation);
    let recent = node.state.operations(None, 2).await?;
    let last = recent
        .into_iter()
        .find(|operation| operation.state != OperationState::Running);
    let now = node.host.now();
    let lease = node.state.lease().await?.filter(|lease| lease.is_live(now));

    let job = jobs.running();
    let mut last_jobs = node.state.last_jobs().await?;
    let stuck = node.state.stuck_job().await?.map(|stuck| stuck.job);

    let has_served = !node.state.served_releases().await?.is_empty();
    let mut seen = look(node, has_served).await;
    if broken.is_some() {
        seen.made_of = None;
    }
    let health = match seen.live_slot {
        Some(slot) => Some(
            within(
                "the app does not answer",
                node.health.glance(Place::Slot(slot)),
            )
            .await,
        ),
        None => None,
    };
    // While an operation or a restore is under way, the node is between what it was and what it will
    // be; while one that was interrupted is being put in order, it may stay there.
    let restoring = !jobs.is_settling() && job.as_ref().is_some_and(Job::swaps);
    let mut drift = match running.is_some() || restoring {
        true => Vec::new(),
        false => drift::find(&seen, health.as_ref(), node.strategy.retire),
    };
    drift.extend(broken.map(|failure| {
        format!("nothing can be deployed, and the files are used as they were before: {failure}")
    }));
    drift.extend(jobs.not_in_order());
    drift.extend(operations.not_taken_up());
    last_jobs.splice(0..0, job);
    let snapshots = seen.snapshots.map(|survey| survey.snapshots);
    let may_be_overdue = match seen.schema {
        Ok(schema) => schema != Schema::NoDatabase,
        // Whether there is anything to take a snapshot of is not known: as it was.
        Err(_) => lookout.known().is_overdue,
    };
    let verified = match &snapshots {
        Ok(snapshots) => overdue::last_verified(snapshots, now).map(|verified| verified.taken_at),
        // While the store is away, snapshots grow old all the same.
        Err(_) => lookout.known().last_verified.map(|sight| sight.taken_at),
    };
    let (since, limit) = (lookout.since().await?, lookout.overdue_after());
    let snapshot_overdue = match may_be_overdue {
        true => overdue::find(verified, since, limit, now),
        false => String::new(),
    };
    let snapshots = snapshots.unwrap_or_default();
    Ok(Status {
        at: now,
        environment: node.environment,
        health,
        last_verified: overdue::last_verified(&snapshots, now).cloned(),
        last_snapshot: snapshots.into_iter().next(),
        jobs: last_jobs,
        snapshot_overdue,
        replaced_databases: seen.replaced.unwrap_or_default(),
        stuck,
        store: (node.snapshots.address(), lookout.store()),
        schema: seen.schema.ok(),
        other_lines: seen.other_lines.unwrap_or_default(),
        live: seen.live.ok().flatten(),
        lease,
        running,
        last,
        drift,
    })
}

async fn look(node: &Node, has_served: bool) -> Seen {
    let [blue, green] = togather_model::Slot::ALL;
    let (
        live,
        live_slot,
        blue,
        green,
        public,
        schema,
        other_lines,
        switchable,
        snapshots,
        spooled,
        replaced,
    ) = tokio::join!(
        within("the live version is not known", node.live()),
        within("the live slot is not known", node.traffic.live()),
        within("Docker does not answer", node.containers.slot(blue)),
        within("Docker does not answer", node.containers.slot(green)),
        within(
            "the public path does not answer",
            node.health.glance(Place::Public)
        ),
        within("the schema is not known", schema(node)),
        within("River's schema is not known", other_lines(node)),
        within("a traffic switch would not work", node.traffic.ready()),
        within("the snapshots are not known", node.snapshots.survey(None)),
        within("the spool is not known", node.snapshots.spooled()),
        within(
            "the replaced databases are not known",
            node.database.replaced()
        ),
    );
    let is_schema_ours = match schema {
        Ok(Schema::At { version, .. }) => node.state.has_migrated_to(version).await,
        Ok(Schema::NoDatabase | Schema::Empty | Schema::Unversioned) | Err(_) => Ok(true),
    };
    Seen {
        live,
        other_lines,
        // Doubt is no drift.
        is_schema_ours: is_schema_ours.unwrap_or(true),
        is_unserved: has_served && matches!(live_slot, Ok(None)),
        live_slot: live_slot.ok().flatten(),
        slots: [blue, green],
        public,
        schema,
        switchable,
        snapshots,
        spooled,
        replaced,
        made_of: node.containers.made_of(),
        node: node.name.clone(),
    }
}

/// The schema; before the first deployment there is no database to ask.
pub(crate) async fn schema(node: &Node) -> Result<Schema, Failure> {
    let exists = node
        .has_database()
        .await
        .map_err(|e| Failure::caused_by(FailureKind::Other, "Docker does not answer", &e))?;
    if !exists {
        return Ok(Schema::NoDatabase);
    }
    node.database
        .schema()
        .await
        .map_err(|e| Failure::caused_by(FailureKind::Other, "the database does not answer", &e))
}

/// Where the lines of migrations are that are not the app's own.
async fn other_lines(node: &Node) -> Result<BTreeMap<Line, Option<u64>>, Failure> {
    let failed = |e: &dyn std::error::Error| Failure::caused_by(FailureKind::Other, "no answer", e);
    if !node.has_database().await.map_err(|e| failed(&e))? {
        return Ok(BTreeMap::new());
    }
    let lines = node.database.other_lines().await.map_err(|e| failed(&e))?;
    let newest = |(line, ran): (Line, Vec<u64>)| (line, ran.into_iter().max());
    Ok(lines.into_iter().map(newest).collect())
}

/// An answer, or what is not so without it, and why.
pub(crate) async fn within<T, E: std::error::Error>(
    otherwise: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Silence> {
    match timeout(PATIENCE, answer).await {
        Ok(answer) => answer
            .map_err(|error| Failure::caused_by(FailureKind::Other, otherwise, &error).to_string()),
        Err(_) => Err(format!("{otherwise}: no answer within {PATIENCE:?}")),
    }
}
