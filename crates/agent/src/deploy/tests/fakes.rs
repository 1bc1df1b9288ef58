//! A world of fakes that fails and loses power on demand. Its facts outlive the agent, as Docker's
//! and PostgreSQL's do; the journal is a real one.

mod files;
mod outside;
mod snapshots;

pub(crate) use self::snapshots::manifest;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use files::Files;
use outside::Outside;
use togather_model::{
    Acceptance, Digest, Event, Failure, Hook, Image, Line, Migration, Operation, OperationKind,
    OperationState, Page, Plan, Release, Schema, Series, Slot, Step, Strategy, Timestamp, Ulid,
    Undo,
    planner::{self, Request},
    release::{OtherLine, Prepare, SCHEMA},
    retention::Policy,
};
use tokio::sync::Notify;

use crate::{
    containers::SlotContainer,
    database::{DatabaseError, scratch_name},
    deploy::Deployment,
    fetches::Fetches,
    health::{Asker, fake::Time},
    node::Node,
    progress::Progress,
    snapshots::{ConditionalWrites, Manifest},
    state::State,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call has no effect and an error.
    Fail,
    /// The power goes before the call took effect.
    CrashBefore,
    /// The power goes after it took effect, before the agent heard of it.
    CrashAfter,
}

/// What the live database holds at first, and what one holds that was restored.
pub(crate) const ORIGINAL: &str = "what it held";
pub(crate) const RESTORED: &str = "what the snapshot holds";

/// The page that every version must answer.
const PAGE: &str = "/page";

/// The name of a call that was never made.
pub(crate) const NOT_REACHED: &str = "not reached";

/// What is true outside the agent.
#[derive(Debug, Default)]
struct Truth {
    /// What the files would make the app's container from.
    files: Option<Digest>,
    slots: BTreeMap<Slot, SlotContainer>,
    snippet: Option<Slot>,
    base: bool,
    /// The database is none of the base services.
    elsewhere: bool,
    schema: Option<u64>,
    /// Where River's line is.
    river: Option<u64>,
    /// What no image has.
    missing_programs: Vec<&'static str>,
    scratch: Vec<Ulid>,
    /// What the live database holds; and what databases do that restores replaced, by name.
    live_database: &'static str,
    replaced: Vec<(String, &'static str)>,
    /// There is no live database.
    live_is_gone: bool,
    /// On a live database that holds one of these, the app is not healthy.
    bad_databases: Vec<&'static str>,
    /// Transactions that were prepared in the live database and never ended.
    prepared: Vec<String>,
    memory_available: Option<u64>,
    disk_free: Option<u64>,
    /// A pull says this, and goes on once it is told to.
    pull: Option<(Progress, Arc<Notify>)>,
    snapshots: Vec<Manifest>,
    /// Of these the store has parts, and no manifest.
    parts: Vec<Ulid>,
    /// The dumps that wait for the store, the oldest last.
    spooled: Vec<String>,
    /// What the agent said it knows of the store.
    recalled: Option<ConditionalWrites>,
    calls: Vec<&'static str>,
    calls_before_restart: usize,
    /// From where the call is counted at which something was made to happen.
    counted_from: usize,
    fault: Option<(When, Fault)>,
    /// Which calls of this name fail, counted from 1.
    broken: Option<(&'static str, Range<usize>)>,
    bad_new_version: Option<Bad>,
    /// The new version lacks its page there.
    lacks_page: Option<Lacking>,
    /// Nothing answers for the public address.
    unproven: bool,
    /// Whether each state of the files has another health path, which only what is made from it knows.
    health_moves: bool,
}

/// Where the new version lacks its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lacking {
    InItsSlot,
    ThroughTheProxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Call(usize),
    Named(&'static str),
    StepDone(Step),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    Always,
    OnPublicPath,
    OnceOldIsStopped,
}

/// What the tests look at.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) serving: Option<String>,
    pub(crate) running: Vec<String>,
    pub(crate) containers: usize,
    pub(crate) scratch_databases: usize,
}

pub(crate) struct World {
    truth: Mutex<Truth>,
    power_cut: Notify,
    /// Passes when somebody waits, and at once: a busy machine makes nobody late.
    time: Time,
    pub(crate) state: State,
    pub(crate) release: Release,
    release_id: Digest,
    retention: Policy,
    // Keeps the state file's folder for as long as the world.
    _folder: tempfile::TempDir,
}

pub(crate) fn release(version: &str, migrations: u64) -> Release {
    Release {
        schema: SCHEMA.into(),
        version: version.into(),
        git_commit: format!("{:a<40}", version.replace('.', "")),
        image: Image::Registry {
            repository: "registry:5000/app".into(),
            digest: Digest::of(version.as_bytes()),
        },
        migrations: (1..=migrations)
            .map(|version| Migration {
                version,
                file: format!("{version:06}_x.up.sql"),
                sql: "SELECT 1".into(),
            })
            .collect(),
        oldest_schema: None,
        other_lines: vec![],
        prepare: None,
        hooks: vec![Hook {
            command: vec!["sync".into()],
            timeout: Duration::from_secs(1),
        }],
        built_at: Timestamp::UNIX_EPOCH,
        attestation: None,
    }
}

/// The server went down: it may be back when it is asked again.
fn away(what: String) -> DatabaseError {
    DatabaseError::Broken {
        doing: "the session ended",
        source: what.into(),
    }
}

impl World {
    pub(crate) async fn empty() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("state.db"), Timestamp::UNIX_EPOCH)
            .await
            .unwrap();
        let release = Release {
            other_lines: vec![OtherLine {
                line: Line::River,
                before_app: true,
                migrations: release("river", 1).migrations,
                oldest_schema: None,
            }],
            prepare: Some(Prepare {
                command: vec!["sync".into(), "--json".into()],
                timeout: Duration::from_secs(1),
                expect: vec!["errors=0".parse().unwrap()],
            }),
            ..release(super::NEW, 2)
        };
        let release_id = state
            .keep_release(&release.to_bytes().unwrap())
            .await
            .unwrap();
        Arc::new(Self {
            truth: Mutex::new(Truth {
                live_database: ORIGINAL,
                ..Truth::default()
            }),
            power_cut: Notify::new(),
            time: Time::new(),
            state,
            release,
            release_id,
            retention: Policy::default(),
            _folder: folder,
        })
    }

    pub(crate) async fn with_one_version_live(version: &str) -> Arc<Self> {
        let world = Self::empty().await;
        let old = release(version, 1);
        let id = world
            .state
            .keep_release(&old.to_bytes().unwrap())
            .await
            .unwrap();
        let mut truth = world.truth();
        truth.base = true;
        truth.schema = Some(1);
        truth.snippet = Some(Slot::Blue);
        truth.slots.insert(
            Slot::Blue,
            SlotContainer {
                release: Some(id),
                version: version.into(),
                made_of: None,
                running: true,
                exit_code: None,
            },
        );
        drop(truth);
        world
    }

    /// How many calls an undisturbed deployment makes.
    pub(super) async fn count_calls(version: &str) -> usize {
        let world = Self::with_one_version_live(version).await;
        world.deploy().await.unwrap();
        world.truth().calls.len()
    }

    pub(crate) fn databases(&self) -> (&'static str, Vec<&'static str>) {
        let truth = self.truth();
        let replaced = truth.replaced.iter().map(|(_, holds)| *holds).collect();
        (truth.live_database, replaced)
    }

    pub(crate) fn spoil_on(&self, database: &'static str) {
        self.truth().bad_databases.push(database);
    }

    /// Edits the node's files.
    pub(crate) fn edit(&self, files: &str) {
        self.truth().files = Some(Digest::of(files.as_bytes()));
    }

    /// The live version's process has ended.
    pub(crate) fn end_the_app(&self) {
        let mut truth = self.truth();
        truth
            .slots
            .values_mut()
            .for_each(|held| held.running = false);
    }

    /// Nothing was ever written to the live database.
    pub(crate) fn empty_the_database(&self) {
        self.truth().schema = None;
    }

    pub(crate) fn lose_the_database(&self) {
        self.truth().live_is_gone = true;
    }

    /// As `docker compose down` does it.
    pub(crate) fn remove_the_base(&self) {
        self.truth().base = false;
    }

    pub(crate) fn prepare_a_transaction(&self) {
        self.truth().prepared.push("left open".into());
    }

    pub(crate) fn leave_memory(&self, bytes: u64) {
        self.truth().memory_available = Some(bytes);
    }

    pub(crate) fn leave_disk(&self, bytes: u64) {
        self.truth().disk_free = Some(bytes);
    }

    /// Has pulls say this and wait until they are told to go on.
    pub(crate) fn hold_pulls(&self, progress: Progress) -> Arc<Notify> {
        let go_on = Arc::new(Notify::new());
        self.truth().pull = Some((progress, Arc::clone(&go_on)));
        go_on
    }

    /// How many calls there were since the start.
    pub(crate) fn calls(&self) -> usize {
        self.truth().calls.len()
    }

    /// Returns once the power went.
    pub(crate) async fn power_cut(&self) {
        self.power_cut.notified().await;
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    pub(crate) fn inject(&self, call: usize, fault: Fault) {
        let mut truth = self.truth();
        truth.counted_from = truth.calls_before_restart;
        let call = truth.counted_from + call;
        truth.fault = Some((When::Call(call), fault));
    }

    pub(crate) fn inject_at(&self, name: &'static str, fault: Fault) {
        self.truth().fault = Some((When::Named(name), fault));
    }

    pub(super) fn inject_after_step(&self, step: Step) {
        self.truth().fault = Some((When::StepDone(step), Fault::CrashAfter));
    }

    pub(crate) fn end_of_fault(&self) {
        let mut truth = self.truth();
        truth.fault = None;
        truth.calls_before_restart = truth.calls.len();
    }

    /// As a node is on which nothing was started yet, but whose database is there.
    pub(crate) fn put_the_database_elsewhere(&self) {
        let mut truth = self.truth();
        (truth.base, truth.elsewhere) = (false, true);
    }

    pub(super) fn lose_the_program(&self, program: &'static str) {
        self.truth().missing_programs.push(program);
    }

    pub(crate) fn spoil_new_version(&self) {
        self.truth().bad_new_version = Some(Bad::Always);
    }

    pub(super) fn spoil_new_version_on_the_public_path(&self) {
        self.truth().bad_new_version = Some(Bad::OnPublicPath);
    }

    pub(crate) fn spoil_new_version_in_the_soak(&self) {
        self.truth().bad_new_version = Some(Bad::OnceOldIsStopped);
    }

    pub(crate) fn move_health_with_the_files(&self) {
        self.truth().health_moves = true;
    }

    pub(crate) fn hide_the_public_address(&self) {
        self.truth().unproven = true;
    }

    pub(super) fn take_the_page_away(&self, place: Lacking) {
        self.truth().lacks_page = Some(place);
    }

    /// Lets this call succeed so many times and fail ever after.
    pub(crate) fn break_for_good(&self, name: &'static str, after: usize) {
        self.truth().broken = Some((name, after + 1..usize::MAX));
    }

    /// Lets the next so many of these calls fail.
    pub(crate) fn break_for(&self, name: &'static str, times: usize) {
        let mut truth = self.truth();
        let next = truth.calls.iter().filter(|called| **called == name).count() + 1;
        truth.broken = Some((name, next..next + times));
    }

    /// Leaves the scratch database of an operation behind.
    pub(crate) fn leave_scratch(&self, operation: Ulid) {
        self.truth().scratch.push(operation);
    }

    /// What was broken for good works again.
    pub(crate) fn repair(&self) {
        self.truth().broken = None;
    }

    /// Has the newest snapshot be verified, or not any more.
    pub(crate) fn prove_newest(&self, at: Option<Timestamp>) {
        if let Some(newest) = self.truth().snapshots.last_mut() {
            newest.taken_at = at.unwrap_or(newest.taken_at);
            newest.verified_at = at;
        }
    }

    /// Has a dump wait for the store.
    pub(crate) fn spool(&self, dump: &str) {
        self.truth().spooled.push(dump.to_owned());
    }

    /// What the agent said it knows of the store.
    pub(crate) fn recalled(&self) -> Option<ConditionalWrites> {
        self.truth().recalled.clone()
    }

    /// The snapshots in the store, and whether they are verified.
    pub(crate) fn snapshots(&self) -> Vec<(Ulid, bool)> {
        let truth = self.truth();
        let snapshots = truth.snapshots.iter();
        snapshots
            .map(|taken| (taken.id, taken.verified_at.is_some()))
            .collect()
    }

    /// What the store has parts of that are no snapshot.
    pub(crate) fn parts(&self) -> Vec<Ulid> {
        self.truth().parts.clone()
    }

    /// The call at which something was made to happen.
    pub(crate) fn name_of(&self, call: usize) -> &'static str {
        let truth = self.truth();
        let named = truth.calls.get(truth.counted_from + call);
        named.copied().unwrap_or(NOT_REACHED)
    }

    pub(crate) fn times_called(&self, name: &str) -> usize {
        let truth = self.truth();
        truth.calls.iter().filter(|called| **called == name).count()
    }

    pub(crate) fn was_called(&self, name: &str) -> bool {
        self.truth().calls.contains(&name)
    }

    pub(crate) fn calls_since_restart(&self) -> usize {
        let truth = self.truth();
        truth.calls.len() - truth.calls_before_restart
    }

    pub(crate) fn facts(&self) -> Facts {
        let truth = self.truth();
        let running = |slot: &Slot| truth.slots.get(slot).filter(|held| held.running);
        Facts {
            serving: truth
                .snippet
                .as_ref()
                .and_then(running)
                .map(|held| held.version.clone()),
            running: Slot::ALL
                .iter()
                .filter_map(running)
                .map(|held| held.version.clone())
                .collect(),
            containers: truth.slots.len(),
            scratch_databases: truth.scratch.len(),
        }
    }

    pub(crate) fn node(self: &Arc<Self>) -> Node {
        let outside = Outside(Arc::clone(self), None);
        Node {
            name: "node-1".into(),
            environment: crate::config::Environment::Production,
            strategy: Strategy {
                health_timeout: Duration::from_secs(20),
                health_interval: Duration::from_secs(1),
                ..Strategy::default()
            },
            attesters: Arc::new(outside.clone()),
            containers: Arc::new(outside.clone()),
            traffic: Arc::new(outside.clone()),
            health: Arc::new(Asker::by(
                Arc::new(outside.clone()),
                Arc::new(self.time.clone()),
            )),
            acceptance: Acceptance::default(),
            expect: vec![Page {
                path: PAGE.into(),
                status: 200,
                contains: Some("it is there".into()),
            }]
            .try_into()
            .unwrap(),
            warnings: Arc::default(),
            database: Arc::new(outside.clone()),
            snapshots: Arc::new(outside.clone()),
            host: Arc::new(outside),
            fetches: Fetches::default(),
            state: self.state.clone(),
            configuration: Arc::new(Files(Arc::clone(self))),
            configured: None,
            app_configured: None,
        }
    }

    /// A deployment that could be carried out.
    pub(crate) fn deployment(&self) -> (Operation, Plan) {
        let plan = self.plan();
        let operation = Operation {
            id: plan.operation_id,
            kind: OperationKind::Deploy,
            operator: "alice".into(),
            rollout: None,
            release: self.release_id,
            version: self.release.version.clone(),
            state: OperationState::Running,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            failure: None,
        };
        (operation, plan)
    }

    /// Plans and carries a deployment out; `None`: the power went.
    pub(super) async fn deploy(self: &Arc<Self>) -> Option<OperationState> {
        let node = self.node();
        let (operation, plan) = self.deployment();
        self.state.begin_operation(&operation, &plan).await.unwrap();
        let deployment = Deployment::new(&node, &operation, &plan, &self.release);
        tokio::select! {
            ending = deployment.carry_out() => Some(ending),
            () = self.power_cut.notified() => None,
        }
    }

    /// Starts the agent again: it takes up what it finds; `None`: the power went once more, or
    /// there was nothing to take up.
    pub(super) async fn restart(self: &Arc<Self>) -> Option<OperationState> {
        let node = self.node();
        let (operation, plan) = self.state.running().await.unwrap()?;
        let deployment = Deployment::new(&node, &operation, &plan, &self.release);
        tokio::select! {
            ending = deployment.resume() => Some(ending.unwrap()),
            () = self.power_cut.notified() => None,
        }
    }

    pub(super) async fn take_back(self: &Arc<Self>, undo: Undo) -> Result<String, Failure> {
        let node = self.node();
        let (operation, plan) = self.state.running().await.unwrap().unwrap();
        Deployment::new(&node, &operation, &plan, &self.release)
            .take_back(undo)
            .await
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        let operation = self.state.operations(None, 1).await.unwrap().remove(0);
        self.state.events(operation.id, 0).await.unwrap()
    }

    /// The plan that the planner makes of an undisturbed world.
    fn plan(&self) -> Plan {
        let truth = self.truth();
        let live = truth.snippet.map(|slot| togather_model::Live {
            slot,
            release: truth.slots[&slot].release.unwrap(),
            version: truth.slots[&slot].version.clone(),
            git_commit: release(&truth.slots[&slot].version, 1).git_commit,
            schema: 1,
            other_lines: BTreeMap::new(),
            made_of: truth.slots[&slot].made_of,
        });
        let observed = togather_model::Observed {
            node: "node-1".into(),
            live_healthy: live.is_some(),
            live_verdict: None,
            live,
            schema: truth.schema(),
            ran: vec![],
            other_lines: truth.other_lines(),
            database_bytes: 1,
            snapshot_disk: 2,
            no_snapshot: None,
            disk_free: u64::MAX,
            series: Series::Unknown,
            connections: None,
            doubts: vec![],
            problems: vec![],
        };
        let request = Request {
            operation_id: Ulid::from_parts(7, 7),
            kind: OperationKind::Deploy,
            release_id: self.release_id,
            made_of: truth.files,
            soak: Some(Duration::from_secs(2)),
            pages: vec![],
            compares_with_live: false,
        };
        planner::plan(&observed, &self.release, &Strategy::default(), &request).unwrap()
    }
}

impl Truth {
    fn other_lines(&self) -> BTreeMap<Line, Vec<u64>> {
        let ran = self.river.map(|newest| (1..=newest).collect());
        ran.map(|ran| (Line::River, ran)).into_iter().collect()
    }

    fn schema(&self) -> Schema {
        match (self.base || self.elsewhere, self.schema) {
            (false, _) => Schema::NoDatabase,
            (true, None) => Schema::Empty,
            (true, Some(version)) => Schema::At {
                version,
                dirty: false,
            },
        }
    }

    fn is_bad(&self, slot: Slot, public: bool) -> bool {
        let is_new = self
            .slots
            .get(&slot)
            .is_some_and(|held| held.version == super::NEW);
        let hates_its_database = self.bad_databases.contains(&self.live_database);
        hates_its_database
            || is_new
                && match self.bad_new_version {
                    None => false,
                    Some(Bad::Always) => true,
                    Some(Bad::OnPublicPath) => public,
                    Some(Bad::OnceOldIsStopped) => self
                        .slots
                        .get(&slot.other())
                        .is_some_and(|old| !old.running),
                }
    }
}

impl Truth {
    fn has_database(&self, name: &str) -> bool {
        self.replaced.iter().any(|(held, _)| held == name)
            || self.scratch.iter().any(|id| scratch_name(*id) == name)
    }

    /// As PostgreSQL does it: both names change, or neither.
    fn swap_databases(&mut self, incoming: &str, outgoing: &str) {
        let scratch = self
            .scratch
            .iter()
            .position(|id| scratch_name(*id) == incoming);
        let replaced = self.replaced.iter().position(|(name, _)| name == incoming);
        let becomes_live = match (scratch, replaced) {
            (Some(at), _) => {
                self.scratch.remove(at);
                RESTORED
            }
            (None, Some(at)) => self.replaced.remove(at).1,
            // It was done already.
            (None, None) => return,
        };
        let was_live = std::mem::replace(&mut self.live_database, becomes_live);
        if std::mem::take(&mut self.live_is_gone) {
            return;
        }
        match outgoing.strip_prefix("togather_scratch_") {
            Some(id) => self.scratch.push(id.parse().unwrap()),
            None => self.replaced.push((outgoing.to_owned(), was_live)),
        }
    }
}
