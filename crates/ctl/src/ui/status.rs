//! The fleet at a glance: a row a node, whether or not it answers.

mod check;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use togather_model::{FailureKind, Lease, Line, Operation, Schema, Timestamp};

use super::{follow, stages, table};
use crate::{
    client::{Health, ImageFetch, Job, NodeStatus, Snapshot, SnapshotStore},
    error::{Error, Kind, Result},
    fleet::Node,
};

/// The `schema` field of a status.
pub const SCHEMA: &str = "togather.fleet/status/v1";

/// The fleet's state.
#[derive(Debug, Serialize)]
pub struct FleetStatus {
    schema: &'static str,
    fleet: String,
    at: Timestamp,
    nodes: Vec<Row>,
}

/// One node's state. What is not known is `null`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: String,
    address: String,
    reachable: bool,
    error: Option<String>,
    agent_version: Option<String>,
    environment: Option<String>,
    version: Option<String>,
    commit: Option<String>,
    slot: Option<String>,
    health: Option<Health>,
    schema_version: Option<u64>,
    /// What `schema_version` alone does not say: that there is no database, that it is empty or
    /// somebody else's.
    database: Option<String>,
    dirty: bool,
    /// The schema that the live version was built for.
    expected_schema: Option<u64>,
    /// Where the lines of migrations are that are not the app's own.
    other_lines: BTreeMap<Line, Option<u64>>,
    last_snapshot: Option<Snapshot>,
    lease: Option<Lease>,
    running: Option<Operation>,
    last: Option<Operation>,
    drift: Vec<String>,
    last_verified: Option<Snapshot>,
    jobs: Vec<Job>,
    snapshot_overdue: Option<String>,
    replaced_databases: Vec<String>,
    stuck_job: Option<Job>,
    snapshot_store: Option<SnapshotStore>,
    fetches: Vec<ImageFetch>,
    #[serde(skip)]
    failed: Option<Error>,
}

impl FleetStatus {
    /// Brings the nodes' answers together.
    #[must_use]
    pub fn of(fleet: &str, answers: Vec<(Node, Result<NodeStatus>)>, at: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            fleet: fleet.to_owned(),
            at,
            nodes: answers
                .into_iter()
                .map(|(node, answer)| row(&node, answer))
                .collect(),
        }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = table::table([
            "NODE", "VERSION", "COMMIT", "SLOT", "HEALTH", "SCHEMA", "SNAPSHOT", "LEASE", "NOW",
        ]);
        for row in &self.nodes {
            table.add_row(row.cells(self.at));
        }
        let mut text = table::text(table);
        let notes: Vec<String> = self.nodes.iter().flat_map(Row::notes).collect();
        if !notes.is_empty() {
            text.push('\n');
            notes.iter().for_each(|note| {
                text.push_str(note);
                text.push('\n');
            });
        }
        text
    }

    /// The error this status ends with: nodes that did not answer always count, and with `check`
    /// everything that is not as it should be.
    #[must_use]
    pub fn error(&self, check: bool) -> Option<Error> {
        let mut errors: Vec<Error> = self
            .nodes
            .iter()
            .filter_map(|row| row.failed.clone())
            .collect();
        if check {
            errors.extend(self.nodes.iter().filter_map(Row::complaint));
        }
        // A node that needs a human matters most, then those nobody can see, then the rest.
        errors.sort_by_key(|error| match error.kind {
            Kind::Failed(FailureKind::Stuck) => 0,
            Kind::Failed(FailureKind::Unreachable) => 1,
            Kind::Failed(FailureKind::Migration) => 2,
            Kind::Failed(FailureKind::Unhealthy) => 3,
            Kind::Failed(_) | Kind::Usage | Kind::Interrupted => 4,
        });
        Error::several(errors)
    }
}

fn row(node: &Node, answer: Result<NodeStatus>) -> Row {
    let mut row = Row {
        name: node.name.to_string(),
        id: node.id.to_string(),
        address: node.address.clone(),
        reachable: true,
        error: None,
        agent_version: None,
        environment: None,
        version: None,
        commit: None,
        slot: None,
        health: None,
        schema_version: None,
        dirty: false,
        expected_schema: None,
        other_lines: BTreeMap::new(),
        last_snapshot: None,
        lease: None,
        running: None,
        last: None,
        drift: Vec::new(),
        last_verified: None,
        jobs: Vec::new(),
        snapshot_overdue: None,
        replaced_databases: Vec::new(),
        stuck_job: None,
        snapshot_store: None,
        fetches: Vec::new(),
        database: None,
        failed: None,
    };
    let status = match answer {
        Ok(status) => status,
        Err(error) => {
            row.reachable = !error.is_unreachable();
            row.error = Some(error.to_string());
            row.failed = Some(error);
            return row;
        }
    };
    row.agent_version = Some(status.agent_version);
    row.environment = status.environment;
    if let Some(live) = status.live {
        row.version = Some(live.version);
        row.commit = Some(live.git_commit);
        row.slot = Some(live.slot.to_string());
        row.expected_schema = Some(live.schema);
    }
    row.health = status.health;
    row.schema_version = status.schema.and_then(Schema::version);
    row.dirty = matches!(status.schema, Some(Schema::At { dirty: true, .. }));
    row.database = status.schema.map(|schema| schema.to_string());
    row.other_lines = status.other_lines;
    row.last_snapshot = status.last_snapshot;
    row.lease = status.lease;
    row.running = status.running;
    row.last = status.last;
    row.drift = status.drift;
    row.last_verified = status.last_verified;
    row.jobs = status.jobs;
    row.snapshot_overdue = status.snapshot_overdue;
    row.replaced_databases = status.replaced_databases;
    row.stuck_job = status.stuck_job;
    row.snapshot_store = status.snapshot_store;
    row.fetches = status.fetches;
    row
}

impl Row {
    fn cells(&self, now: Timestamp) -> [String; 9] {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        if self.error.is_some() {
            let what = if self.reachable {
                "refused"
            } else {
                "unreachable"
            };
            let mut cells: [String; 9] = std::array::from_fn(|_| "?".to_owned());
            cells[0].clone_from(&self.name);
            what.clone_into(&mut cells[4]);
            return cells;
        }
        let health = self.health.as_ref().map(|health| health.status.clone());
        let commit = self
            .commit
            .as_deref()
            .map(|full| table::commit(full).to_owned());
        let snapshot = self.snapshot(now);
        let lease = self.lease.as_ref().map(|lease| lease.operator.clone());
        [
            self.name_and_environment(),
            or_dash(&self.version),
            or_dash(&commit),
            or_dash(&self.slot),
            or_dash(&health),
            self.schemas(),
            or_dash(&snapshot),
            or_dash(&lease),
            self.now(now),
        ]
    }

    /// What a node is for is told where it is not for the public.
    fn name_and_environment(&self) -> String {
        match self.environment.as_deref() {
            None | Some("production") => self.name.clone(),
            Some(other) => format!("{} ({other})", self.name),
        }
    }

    /// Where each line is; and what the live version was built for, where that is something else.
    fn schemas(&self) -> String {
        let mut text = self.database.clone().unwrap_or_else(|| "?".to_owned());
        if let (Some(expected), Some(have)) = (self.expected_schema, self.schema_version)
            && expected > 0
            && expected != have
        {
            text.push_str(&format!(" (built for {expected})"));
        }
        for (line, version) in &self.other_lines {
            let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            text.push_str(&format!(", {line} {version}"));
        }
        text
    }

    /// The age of the newest snapshot that is known to be good; of another only where none is.
    fn snapshot(&self, now: Timestamp) -> Option<String> {
        let newest = self
            .last_verified
            .as_ref()
            .or(self.last_snapshot.as_ref())?;
        let age = table::ago(newest.taken_at, now);
        Some(match newest.verified_at {
            Some(_) => age,
            None => format!("{age} (unproven)"),
        })
    }

    fn now(&self, now: Timestamp) -> String {
        let job = self.jobs.iter().find(|job| job.ended_at.is_none());
        if let (None, None, Some(stuck)) = (&self.running, job, &self.stuck_job) {
            return format!("{} stuck", stuck.kind.words());
        }
        match (&self.running, job, &self.last) {
            (Some(running), _, _) => format!("deploying {}", running.version),
            (None, Some(job), _) => format!("{}: {}", job.kind.words(), job.message),
            (None, None, Some(last)) => {
                let when = last.ended_at.unwrap_or(last.started_at);
                format!("{} {} {}", last.version, last.state, table::ago(when, now))
            }
            (None, None, None) => "-".to_owned(),
        }
    }

    /// What does not fit a cell.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.error.iter().cloned().collect();
        let health = self
            .health
            .as_ref()
            .filter(|health| health.status != "healthy");
        notes.extend(
            health.map(|health| format!("{}: {}: {}", self.name, health.status, why(health))),
        );
        // What it says to do next is as much of it as what it says.
        let stuck = self.stuck_job.iter().flat_map(|stuck| {
            let next = stuck.failure.iter().flat_map(|failure| &failure.next);
            std::iter::once(check::stuck(stuck)).chain(next.cloned())
        });
        let stuck: Vec<String> = stuck.collect();
        let drift = self.drift.iter().chain(&self.snapshot_overdue).cloned();
        let failed = self.failed_jobs().map(check::said);
        let replaced = self.replaced_databases.iter();
        let replaced = replaced.map(|name| format!("{name} is kept since a restore replaced it"));
        let store = self.snapshot_store.iter().filter_map(unconditional);
        let fetches = self.fetches.iter().map(fetching);
        let more = stuck.into_iter().chain(drift).chain(failed);
        let more = more.chain(replaced).chain(store).chain(fetches);
        notes.extend(more.map(|note| format!("{}: {note}", self.name)));
        notes
    }
}

/// How far an image is on its way, how fast it comes and how long the rest takes.
fn fetching(fetch: &ImageFetch) -> String {
    let elapsed = Duration::from_millis(fetch.progress.elapsed_ms);
    let progress = stages::since_it_began(follow::now(&fetch.progress), elapsed);
    format!("{}: {progress}", fetch.image)
}

/// What is to be known of a store that does not see to it itself that nothing is replaced.
fn unconditional(store: &SnapshotStore) -> Option<String> {
    (store.conditional_writes == "no").then(|| {
        let SnapshotStore {
            address, reason, ..
        } = store;
        format!(
            "{address}: {reason}; each snapshot has a name of its own, so none replaces another"
        )
    })
}

/// Why a service is not healthy, in its own words.
fn why(health: &Health) -> String {
    let failing = health.checks.iter().filter(|check| check.status != "pass");
    let mut reasons: Vec<String> = failing
        .map(|check| {
            format!("{} {}", check.name, check.message)
                .trim_end()
                .to_owned()
        })
        .collect();
    if !health.message.is_empty() {
        reasons.insert(0, health.message.clone());
    }
    if reasons.is_empty() {
        reasons.push("it does not say why".to_owned());
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests;
