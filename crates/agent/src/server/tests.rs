//! The agent as clients meet it: real TLS on loopback, real state, and fakes outside.

mod admission;
mod ahead;
mod archives;
mod connections;
mod replay;
mod snapshots;
mod story;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use secrecy::ExposeSecret;
use togather_model::{Failure, Timestamp, Ulid};
use togather_proto::{
    failure_of, method, time,
    v1::{
        command::Body, deployment_service_client::DeploymentServiceClient,
        node_service_client::NodeServiceClient, snapshot_service_client::SnapshotServiceClient,
    },
};
use togather_trust::{
    Header, NAMESPACE, Role, Roles, Signer, Signers,
    signers::Entry,
    signing::generate_identity,
    tls::{self as trust_tls, Authority, Identity},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::{
    config::TlsFiles,
    deploy::tests::fakes::{World, release},
    gate::Keys,
    host::Host,
    state::State,
};

const NODE: &str = "01JZZZZZZZZZZZZZZZZZZZZZZZ";
const FLEET: &str = "01JYYYYYYYYYYYYYYYYYYYYYYY";

/// A clock that stands still until it is set.
struct Clock(Mutex<Timestamp>);

impl Clock {
    fn move_by(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = Timestamp::from_second(now.as_second() + seconds).unwrap();
    }
}

impl Host for Clock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn disk_free(&self) -> std::io::Result<u64> {
        Ok(1 << 40)
    }

    fn memory_available(&self) -> std::io::Result<u64> {
        Ok(1 << 40)
    }
}

/// An operator: the SSH key that signs, and the certificate that connects.
struct Operator {
    name: &'static str,
    signer: Signer,
    certificate: Identity,
}

/// One node under test, and the operators who talk to it.
struct Bench {
    folder: tempfile::TempDir,
    root: Identity,
    authority: Authority,
    clock: Arc<Clock>,
    world: Arc<World>,
    node: Node,
    address: SocketAddr,
    stopping: CancellationToken,
    serving: Option<JoinHandle<Result<(), tonic::transport::Error>>>,
}

impl Bench {
    /// A node with version 1.0.0 live, and nobody admitted yet.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let root = Authority::create("test", now).unwrap();
        let authority = Authority::open(&root).unwrap();
        let own = authority.issue_node(NODE, now).unwrap();
        own.write(
            &folder.path().join("node.crt"),
            &folder.path().join("node.key"),
        )
        .unwrap();
        std::fs::write(folder.path().join("ca.crt"), &root.certificate).unwrap();
        let list = authority.revocation_list(&[], 1, now).unwrap();
        std::fs::write(folder.path().join("revoked.crl"), list).unwrap();
        std::fs::write(folder.path().join("revoked_keys"), "").unwrap();
        let clock = Arc::new(Clock(Mutex::new(
            Timestamp::from_second(1_800_000_000).unwrap(),
        )));
        let world = World::with_one_version_live("1.0.0").await;
        let node = world.node();
        let mut bench = Self {
            folder,
            root,
            authority,
            clock,
            world,
            node,
            address: ([127, 0, 0, 1], 0).into(),
            stopping: CancellationToken::new(),
            serving: None,
        };
        bench.serve().await;
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn serve(&mut self) {
        let state = State::open(&self.path("state.db"), self.clock.now())
            .await
            .unwrap();
        let live = release("1.0.0", 1).to_bytes().unwrap();
        state.keep_release(&live).await.unwrap();
        let host: Arc<dyn Host> = self.clock.clone();
        self.node = Node {
            state,
            host: Arc::clone(&host),
            ..self.world.node()
        };
        let keys = Keys::new(
            self.path("signers"),
            Some(self.path("revoked_keys")),
            self.path("roles.yml"),
            Arc::clone(&host),
        );
        let gate = Gate::new(
            FLEET.into(),
            NODE.into(),
            Arc::new(keys),
            self.node.state.clone(),
            host,
        );
        let operations = Operations::new(self.node.clone());
        operations.resume().await.unwrap();
        let jobs = Jobs::new(self.node.clone());
        jobs.resume().await.unwrap();
        let lookout = Lookout::open(self.node.clone(), Duration::from_hours(48));
        let lookout = lookout.await.unwrap();
        self.stopping = CancellationToken::new();
        let services = Services {
            gate,
            node: self.node.clone(),
            node_id: NODE.into(),
            operations,
            jobs,
            lookout,
            inbox: Inbox::open(self.folder.path().into()).unwrap(),
            stopping: self.stopping.clone(),
        };
        let tls = Tls::of(TlsFiles {
            authority: self.path("ca.crt"),
            certificate: self.path("node.crt"),
            key: Some(self.path("node.key")),
            revocation_list: Some(self.path("revoked.crl")),
        });
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let serving = serve(listener, Arc::new(tls.unwrap()), services);
        self.serving = Some(tokio::spawn(serving));
    }

    async fn stop(&mut self) {
        self.stopping.cancel();
        self.serving.take().unwrap().await.unwrap().unwrap();
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.serve().await;
    }

    /// Makes an operator whom the node does not know yet.
    fn stranger(&self, name: &'static str) -> Operator {
        let key = self.path(&format!("{name}-{}", Ulid::generate()));
        generate_identity(&key, name).unwrap();
        let certificate = self
            .authority
            .issue_operator(&name.parse().unwrap(), Timestamp::now());
        Operator {
            name,
            signer: Signer::open(&key, None, None).unwrap(),
            certificate: certificate.unwrap(),
        }
    }

    /// Makes an operator and writes them into the node's files.
    fn admit(&self, name: &'static str, role: Role) -> Operator {
        let operator = self.stranger(name);
        let key = operator.signer.public_key().clone();
        let entry = Entry::new(name.parse().unwrap(), &[NAMESPACE], key);
        let before = Signers::load(&self.path("signers"), None).unwrap();
        std::fs::write(self.path("signers"), format!("{before}{entry}\n")).unwrap();
        let mut roles = Roles::load(&self.path("roles.yml")).unwrap();
        roles.set(name.parse().unwrap(), role);
        std::fs::write(self.path("roles.yml"), roles.to_yaml()).unwrap();
        operator
    }

    fn client(&self, operator: &Operator) -> Client {
        self.client_with(&operator.certificate)
    }

    fn client_with(&self, identity: &Identity) -> Client {
        let key = identity.key.expose_secret();
        let config = trust_tls::client_config(&self.root.certificate, &identity.certificate, key);
        Client::new(self.address, TlsConnector::from(Arc::new(config.unwrap())))
    }

    fn command(&self, operator: &Operator, body: Body) -> v1::Command {
        let name = operator.name.parse().unwrap();
        let (id, now) = (Ulid::generate(), self.clock.now());
        let header = Header::new(FLEET, NODE, body.method(), &name, id, now);
        v1::Command {
            version: header.version,
            fleet_id: header.fleet_id,
            node_id: header.node_id,
            method: header.method,
            operator: header.operator,
            nonce: header.nonce.to_vec().into(),
            issued_at: Some(time::timestamp(header.issued_at)),
            expires_at: Some(time::timestamp(header.expires_at)),
            operation_id: header.operation_id.to_string(),
            body: Some(body),
        }
    }

    fn signed(&self, operator: &Operator, body: Body) -> v1::SignedCommand {
        sign(
            operator,
            NAMESPACE,
            &self.command(operator, body).encode_to_vec(),
        )
    }

    /// Takes the lease for this holder.
    async fn lease(&self, operator: &Operator, holder: Ulid) -> v1::LeaseProof {
        let signed = self.signed(operator, acquire(holder));
        let lease = self.client(operator).nodes.acquire_lease(signed).await;
        let lease = lease.unwrap().into_inner().lease.unwrap();
        v1::LeaseProof {
            holder: lease.holder,
            fencing: lease.fencing,
        }
    }

    /// What the audit trail says, without who and which call.
    async fn audited(&self) -> Vec<String> {
        let rows = self.node.state.audit_outcomes().await.unwrap();
        rows.into_iter().map(|(_, _, outcome)| outcome).collect()
    }

    /// Refused with this code, audited as that, and nothing outside was called.
    #[track_caller]
    fn assert_refused<'a, T: std::fmt::Debug>(
        &'a self,
        answer: Result<T, Status>,
        code: &'a str,
    ) -> impl Future<Output = ()> + use<'a, T> {
        let failure = failure(answer.expect_err("it was let through"));
        assert_eq!(failure.kind, FailureKind::NotAllowed, "{failure}");
        assert!(
            failure.what.starts_with(&format!("refused ({code}): ")),
            "expected {code}: {failure}"
        );
        assert_eq!(
            self.world.calls_since_restart(),
            0,
            "something outside was called"
        );
        async move {
            assert_eq!(self.audited().await.last().map(String::as_str), Some(code));
        }
    }
}

#[track_caller]
fn failure(status: Status) -> Failure {
    failure_of(&status).unwrap_or_else(|| panic!("no failure inside {status:?}"))
}

fn sign(operator: &Operator, namespace: &str, payload: &[u8]) -> v1::SignedCommand {
    v1::SignedCommand {
        payload: payload.to_vec().into(),
        signature: operator.signer.sign(namespace, payload).unwrap(),
    }
}

fn acquire(holder: Ulid) -> Body {
    Body::AcquireLease(v1::AcquireLease {
        holder: holder.to_string(),
        lifetime: None,
        rollout: None,
    })
}

fn deploy(version: &str, soak: Duration, lease: &v1::LeaseProof) -> Body {
    Body::Deploy(v1::Deploy {
        release: release(version, 2).to_bytes().unwrap().into(),
        soak: Some(time::duration(soak)),
        lease: Some(lease.clone()),
    })
}

/// Every body a command can have, each under a lease that nobody gave out.
fn every_body() -> Vec<Body> {
    let lease = v1::LeaseProof {
        holder: Ulid::generate().to_string(),
        fencing: 7,
    };
    vec![
        deploy("2.0.0", Duration::ZERO, &lease),
        Body::Rollback(v1::Rollback::default()),
        Body::LoadImage(v1::LoadImage::default()),
        Body::FetchImage(v1::FetchImage::default()),
        Body::SetSchema(v1::SetSchema::default()),
        Body::Redeploy(v1::Redeploy::default()),
        acquire(Ulid::generate()),
        Body::RenewLease(v1::RenewLease::default()),
        Body::ReleaseLease(v1::ReleaseLease::default()),
        Body::EndRollout(v1::EndRollout::default()),
        Body::CreateSnapshot(v1::CreateSnapshot::default()),
        Body::VerifySnapshot(v1::VerifySnapshot::default()),
        Body::RestoreSnapshot(v1::RestoreSnapshot::default()),
        Body::UndoRestore(v1::UndoRestore::default()),
        Body::PruneSnapshots(v1::PruneSnapshots::default()),
    ]
}

/// A connection to the node.
#[derive(Clone)]
struct Client {
    nodes: NodeServiceClient<Channel>,
    deployments: DeploymentServiceClient<Channel>,
    snapshots: SnapshotServiceClient<Channel>,
}

impl Client {
    fn new(address: SocketAddr, connector: TlsConnector) -> Self {
        let name = trust_tls::node_server_name(NODE).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", name.to_str())).unwrap();
        let channel =
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
                let (connector, name) = (connector.clone(), name.clone());
                async move {
                    let stream = TcpStream::connect(address).await?;
                    connector.connect(name, stream).await.map(TokioIo::new)
                }
            }));
        Self {
            nodes: NodeServiceClient::new(channel.clone()),
            deployments: DeploymentServiceClient::new(channel.clone()),
            snapshots: SnapshotServiceClient::new(channel),
        }
    }

    /// Sends a signed command to the call with this path.
    async fn send(&self, path: &str, signed: v1::SignedCommand) -> Result<(), Status> {
        let (mut nodes, mut deployments) = (self.nodes.clone(), self.deployments.clone());
        let mut snapshots = self.snapshots.clone();
        match path {
            method::CREATE_SNAPSHOT => snapshots.create(signed).await.map(drop),
            method::VERIFY_SNAPSHOT => snapshots.verify(signed).await.map(drop),
            method::RESTORE_SNAPSHOT => snapshots.restore(signed).await.map(drop),
            method::UNDO_RESTORE => snapshots.undo_restore(signed).await.map(drop),
            method::PRUNE_SNAPSHOTS => snapshots.prune(signed).await.map(drop),
            method::DEPLOY => deployments.deploy(signed).await.map(drop),
            method::ROLLBACK => deployments.rollback(signed).await.map(drop),
            method::REDEPLOY => deployments.redeploy(signed).await.map(drop),
            method::LOAD_IMAGE => {
                let part = v1::load_image_request::Part::Command(signed);
                let parts = [v1::LoadImageRequest { part: Some(part) }];
                deployments
                    .load_image(tokio_stream::iter(parts))
                    .await
                    .map(drop)
            }
            method::FETCH_IMAGE => deployments.fetch_image(signed).await.map(drop),
            method::ACQUIRE_LEASE => nodes.acquire_lease(signed).await.map(drop),
            method::RENEW_LEASE => nodes.renew_lease(signed).await.map(drop),
            method::RELEASE_LEASE => nodes.release_lease(signed).await.map(drop),
            method::END_ROLLOUT => nodes.end_rollout(signed).await.map(drop),
            method::SET_SCHEMA => nodes.set_schema(signed).await.map(drop),
            other => panic!("{other} takes no command"),
        }
    }

    /// Asks the question with this path.
    async fn ask(&self, path: &str) -> Result<(), Status> {
        let (mut nodes, mut deployments) = (self.nodes.clone(), self.deployments.clone());
        match path {
            method::PLAN => deployments.plan(v1::PlanRequest::default()).await.map(drop),
            method::FOLLOW => deployments
                .follow(v1::FollowRequest::default())
                .await
                .map(drop),
            method::HISTORY => deployments
                .history(v1::HistoryRequest::default())
                .await
                .map(drop),
            method::LIST_SNAPSHOTS => {
                let mut snapshots = self.snapshots.clone();
                let wanted = v1::ListSnapshotsRequest::default();
                snapshots.list(wanted).await.map(drop)
            }
            method::WATCH_JOB => {
                let mut snapshots = self.snapshots.clone();
                let wanted = v1::WatchJobRequest::default();
                snapshots.watch(wanted).await.map(drop)
            }
            method::STATUS => nodes.status(v1::StatusRequest {}).await.map(drop),
            method::ROLLOUTS => nodes
                .rollouts(v1::RolloutsRequest::default())
                .await
                .map(drop),
            other => panic!("{other} is no question"),
        }
    }

    /// All events after this one, until the stream is over.
    async fn follow(&self, operation: &str, after: u64) -> Vec<togather_model::Event> {
        let wanted = v1::FollowRequest {
            operation_id: operation.into(),
            after_sequence: after,
        };
        let events = self
            .deployments
            .clone()
            .follow(wanted)
            .await
            .unwrap()
            .into_inner();
        events
            .map(|event| event.unwrap().try_into().unwrap())
            .collect()
            .await
    }
}
