//! A node that does as the test says: leases and signatures are checked as a real one checks them,
//! deployments are only told about.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use prost::Message as _;
use serde::Deserialize;
use togather_model::{
    Digest, Event, EventKind, Failure, FailureKind, Lease, Live, Operation, OperationKind,
    OperationState, Release, Schema, Slot, Step, Timestamp, Ulid,
};
use togather_proto::v1;
use togather_trust::{NAMESPACE, Signers, tls};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// What becomes of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Succeed,
    /// The new version is not healthy, and the node goes back.
    Fail,
    /// Not even the undo works.
    GetStuck,
    /// Waits until the test lets it go on.
    Wait,
    /// Takes the order and is never heard of again.
    Vanish,
}

/// What becomes of a stream of events, before its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The connection breaks.
    Broken,
    /// It ends as if all had been said.
    Silent,
}

/// The tick after which there are no more.
const VANISHED: u64 = u64::MAX;

/// A node with its script.
pub(crate) struct FakeNode {
    pub(crate) inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) id: Ulid,
    fleet: Ulid,
    signers: Signers,
    state: Mutex<State>,
    /// Moves with everything that happens.
    pub(crate) ticks: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) live: Option<Live>,
    /// What the node's files would make its container from.
    pub(crate) files: Option<Digest>,
    before: Option<Live>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) events: Vec<Event>,
    pub(crate) lease: Option<Lease>,
    pub(crate) rollouts: Vec<v1::RolloutRecord>,
    pub(crate) script: Option<Script>,
    pub(crate) refuses: Option<Failure>,
    pub(crate) cuts: VecDeque<Cut>,
    pub(crate) lacks_image: bool,
    /// How often it was told to fetch an image, and why it cannot.
    pub(crate) fetches: usize,
    pub(crate) cannot_fetch: Option<Failure>,
    /// Whether a fetch that has begun never ends.
    pub(crate) fetches_for_ever: bool,
    pub(crate) image: Vec<u8>,
    /// Newest first.
    pub(crate) snapshots: Vec<v1::Snapshot>,
    pub(crate) orphans: Vec<String>,
    pub(crate) jobs: Vec<v1::Job>,
    /// The jobs that somebody has seen near their end.
    pub(crate) seen: Vec<String>,
    /// The orders for jobs, as often as they came.
    pub(crate) orders: Vec<v1::command::Body>,
    /// What becomes of the answers to these orders.
    pub(crate) lost_answers: VecDeque<Cut>,
    pub(crate) snapshot_overdue: String,
    pub(crate) replaced_databases: Vec<String>,
    pub(crate) stuck_job: Option<v1::Job>,
    /// `None`: the database does not answer.
    pub(crate) schema: Option<Schema>,
    /// Newest first.
    pub(crate) snapshot_events: Vec<v1::Event>,
}

#[derive(Deserialize)]
struct AgentFile {
    node: NodeOfFile,
    fleet: Ulid,
}

#[derive(Deserialize)]
struct NodeOfFile {
    name: String,
    id: Ulid,
}

impl FakeNode {
    /// Starts a node out of the bundle that `node add` made for it.
    pub(crate) fn start(bundle: &Path, listener: TcpListener) -> Self {
        let read = |name: &str| std::fs::read_to_string(bundle.join(name)).unwrap();
        let file: AgentFile = serde_saphyr::from_str(&read("agent.yml")).unwrap();
        let inner = Arc::new(Inner {
            name: file.node.name,
            id: file.node.id,
            fleet: file.fleet,
            signers: Signers::load(&bundle.join("allowed_signers"), None).unwrap(),
            state: Mutex::new(State {
                live: Some(live("1.0.0", Digest::of(b"1.0.0"))),
                ..State::default()
            }),
            ticks: watch::Sender::new(0),
        });
        let (certificate, key) = (read("tls/node.crt"), read("tls/node.key"));
        let config = tls::server_config(&certificate, &key, &read("tls/ca.crt"), None).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = tokio::spawn(serve(Arc::clone(&inner), listener, acceptor));
        Self { inner, serving }
    }

    /// Cuts all its connections and takes no more.
    pub(crate) fn vanish(&self) {
        self.serving.abort();
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    pub(crate) fn version(&self) -> String {
        self.state().live.clone().unwrap().version
    }

    pub(crate) fn operations(&self) -> usize {
        self.state().operations.len()
    }

    /// Says what becomes of deployments from now on; one that waits goes on.
    pub(crate) fn script(&self, script: Script) {
        self.state().script = Some(script);
        self.inner.tick();
    }

    /// Lets somebody else hold the node.
    pub(crate) fn held_by(&self, operator: &str) {
        let now = Timestamp::now();
        self.state().lease = Some(Lease {
            holder: Ulid::generate(),
            operator: operator.to_owned(),
            fencing: 7,
            acquired_at: now,
            expires_at: now + Duration::from_secs(60),
        });
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(node: Arc<Inner>, listener: TcpListener, acceptor: TlsAcceptor) {
    // Dropped with this task, and its connections with it.
    let mut connections = tokio::task::JoinSet::new();
    let mut ticks = node.ticks.subscribe();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = ticks.wait_for(|ticks| *ticks == VANISHED) => return,
        };
        let (acceptor, routes) = (acceptor.clone(), super::services::routes(&node));
        connections.spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let service = TowerToHyperService::new(routes);
                let server = auto::Builder::new(TokioExecutor::new());
                // However it ends, the test looks at what came of it elsewhere.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}

pub(crate) fn live(version: &str, release: Digest) -> Live {
    Live {
        slot: Slot::Blue,
        release,
        version: version.to_owned(),
        git_commit: "c".repeat(40),
        schema: 0,
        other_lines: [].into(),
        made_of: Some(Digest::of(b"as it was")),
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tick(&self) {
        self.ticks
            .send_modify(|ticks| *ticks = ticks.saturating_add(1));
    }

    /// Reads a signed command as a real node does, as far as a test can be wrong about it.
    pub(crate) fn read(&self, signed: &v1::SignedCommand, method: &str) -> v1::Command {
        let now = Timestamp::now();
        let principal = self
            .signers
            .verify(NAMESPACE, &signed.payload, &signed.signature, now)
            .expect("a command that is signed");
        let command = v1::Command::decode(signed.payload.clone()).unwrap();
        assert_eq!(command.operator, principal.operator.as_str());
        assert_eq!(command.node_id, self.id.to_string());
        assert_eq!(command.fleet_id, self.fleet.to_string());
        assert_eq!(command.method, method);
        command
    }

    /// Begins an operation, unless it is known.
    pub(crate) fn begin(
        self: &Arc<Self>,
        command: &v1::Command,
        kind: OperationKind,
        to: Live,
        rollout: Ulid,
    ) -> Operation {
        let id: Ulid = command.operation_id.parse().unwrap();
        let mut state = self.state();
        if let Some(known) = state.operations.iter().find(|known| known.id == id) {
            return known.clone();
        }
        let operation = Operation {
            id,
            kind,
            operator: command.operator.clone(),
            rollout: Some(rollout),
            release: to.release,
            version: to.version.clone(),
            state: OperationState::Running,
            started_at: Timestamp::now(),
            ended_at: None,
            failure: None,
        };
        state.operations.push(operation.clone());
        drop(state);
        tokio::spawn(Arc::clone(self).carry_out(operation.clone(), to));
        operation
    }

    async fn carry_out(self: Arc<Self>, operation: Operation, to: Live) {
        let took = Duration::from_millis(5);
        self.tell(
            &operation,
            EventKind::Started {
                kind: operation.kind,
            },
        );
        let step = Step::StartSlot;
        self.tell(&operation, EventKind::StepStarted { step });
        let mut ticks = self.ticks.subscribe();
        let waits = |script: Option<Script>| script == Some(Script::Wait);
        let script = loop {
            let script = self.state().script;
            if !waits(script) {
                break script.unwrap_or(Script::Succeed);
            }
            ticks.changed().await.unwrap();
        };
        let note = String::new();
        self.tell(&operation, EventKind::StepDone { step, took, note });
        let unhealthy =
            Failure::new(FailureKind::Unhealthy, "2.0.0 never got healthy").next("look at its log");
        match script {
            Script::Succeed | Script::Wait => self.end(&operation, to, None),
            Script::Fail => self.end(&operation, to, Some((OperationState::Undone, unhealthy))),
            Script::GetStuck => {
                let stuck = Failure::new(FailureKind::Stuck, "the old slot does not start");
                self.end(&operation, to, Some((OperationState::Stuck, stuck)));
            }
            Script::Vanish => self.vanish(),
        }
    }

    /// Is never heard of again.
    pub(crate) fn vanish(&self) {
        self.ticks.send_replace(VANISHED);
    }

    /// Changes a job, and lets those who watch it know.
    pub(crate) fn change_job(&self, id: &str, change: impl FnOnce(&mut v1::Job)) {
        let mut state = self.state();
        change(state.jobs.iter_mut().find(|job| job.id == id).unwrap());
        drop(state);
        self.tick();
    }

    /// Somebody has seen this job near its end.
    pub(crate) fn saw_job(&self, id: String) {
        self.state().seen.push(id);
        self.tick();
    }

    fn end(&self, operation: &Operation, to: Live, failed: Option<(OperationState, Failure)>) {
        let took = Duration::from_millis(1234);
        let mut state = self.state();
        let ended = state
            .operations
            .iter_mut()
            .find(|known| known.id == operation.id)
            .unwrap();
        ended.ended_at = Some(operation.started_at + took);
        ended.state = OperationState::Done;
        let event = match failed {
            None => {
                state.before = state.live.replace(to);
                EventKind::Completed { took }
            }
            Some((ending, failure)) => {
                ended.state = ending;
                ended.failure = Some(failure.clone());
                match ending {
                    OperationState::Stuck => EventKind::Stuck { took, failure },
                    OperationState::Running | OperationState::Done | OperationState::Undone => {
                        EventKind::Undone { took, failure }
                    }
                }
            }
        };
        drop(state);
        self.tell(operation, event);
    }

    fn tell(&self, operation: &Operation, kind: EventKind) {
        let mut state = self.state();
        let of_operation = |event: &&Event| event.operation_id == operation.id;
        let earlier = state.events.iter().filter(of_operation).count();
        state.events.push(Event {
            id: Ulid::generate(),
            operation_id: operation.id,
            sequence: earlier as u64 + 1,
            node: self.name.clone(),
            operator: operation.operator.clone(),
            version: operation.version.clone(),
            at: Timestamp::now(),
            kind,
        });
        drop(state);
        self.tick();
    }

    /// The release that a rollback goes back to.
    pub(crate) fn previous(&self) -> Option<Live> {
        self.state().before.clone()
    }

    /// The live form of a release file.
    pub(crate) fn live_of(bytes: &[u8]) -> Live {
        let release = Release::from_bytes(bytes).unwrap();
        live(&release.version, Digest::of(bytes))
    }
}
