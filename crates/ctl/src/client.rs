//! The connection to one node: what can be asked of it and ordered from it.
//!
//! Questions are asked again for a moment when the connection fails; orders never are by
//! themselves, because only the caller knows whether the order may have arrived.

mod connect;
mod fetch;
mod image;
mod snapshots;
mod status;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use togather_model::{Event, Failure, Lease, Line, Operation, Plan, lease};
use togather_proto::{
    MAX_MESSAGE_BYTES, failures_of, time,
    v1::{
        self, command::Body, deployment_service_client::DeploymentServiceClient,
        node_service_client::NodeServiceClient,
    },
};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::{Request, Response, Status, Streaming, transport::Channel};
use ulid::Ulid;

pub use self::{
    connect::ConnectError,
    fetch::{Fetch, Fetched, Fetching, Told},
    image::Archive,
    snapshots::{Job, Jobs, Order, Replaced, Shelf, Snapshot},
    status::{Check, Health, ImageFetch, NodeStatus, RolloutRecord, SnapshotStore},
};
use crate::{
    error::{Error, Result, not_understood},
    fleet::Node,
    session::Keys,
};

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take. A plan looks at Docker, disk and database of the node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// For how long a question whose connection failed at once is asked again.
const RETRY_WITHIN: Duration = Duration::from_secs(1);

/// What a node answers when it is asked for a plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What would be done, or everything that stands in the way.
    pub plan: Result<Plan, Vec<Failure>>,
    /// The release's image comes as an archive, and the node does not have it yet.
    pub image_missing: bool,
}

/// What a node has been through.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Its operations, newest first.
    pub operations: Vec<Operation>,
    /// What happened to its snapshots, newest first.
    pub snapshots: Vec<Event>,
    /// What operators said of its schema, newest first.
    pub schemas: Vec<Event>,
}

/// What is wanted of a node.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// This release file.
    Release(Bytes),
    /// A version it has run before; `None`: the one before the live one.
    Back(Option<String>),
    /// The live release once more, from the node's files as they are now.
    Again,
}

/// A connection to one node.
#[derive(Clone)]
pub struct Client {
    node: Node,
    keys: Arc<Keys>,
    channel: Channel,
}

impl Client {
    pub(crate) fn new(node: Node, tls: TlsConnector, keys: Arc<Keys>) -> Result<Self> {
        let channel = connect::channel(&node, tls)?;
        Ok(Self {
            node,
            keys,
            channel,
        })
    }

    /// The node this speaks to.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.name.as_str()
    }

    /// What is true on the node now.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn status(&self) -> Result<NodeStatus> {
        let wire =
            self.ask(|mut client: Nodes| async move {
                client.status(request(v1::StatusRequest {})).await
            })
            .await?;
        self.understand(NodeStatus::try_from(wire))
    }

    /// Whether the node can be reached and lets us in; it is asked for next to nothing.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn reach(&self) -> Result<()> {
        self.history(1, None).await.map(drop)
    }

    /// The rollouts the node remembers, newest first; or only this one.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn rollouts(&self, id: Option<Ulid>) -> Result<Vec<RolloutRecord>> {
        let wanted = v1::RolloutsRequest {
            rollout_id: id.map(|id| id.to_string()),
        };
        let wire = self
            .ask(|mut client: Nodes| {
                let wanted = wanted.clone();
                async move { client.rollouts(request(wanted)).await }
            })
            .await?;
        let records = wire
            .rollouts
            .into_iter()
            .map(RolloutRecord::try_from)
            .collect();
        self.understand(records)
    }

    /// The node's operations, newest first.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn history(&self, limit: u32, rollout: Option<Ulid>) -> Result<Vec<Operation>> {
        self.operations(v1::HistoryRequest {
            limit,
            rollout_id: rollout.map(|id| id.to_string()),
            operation_id: None,
        })
        .await
    }

    /// One operation as the node remembers it.
    ///
    /// # Errors
    /// The node could not be reached, or does not know it.
    pub async fn operation(&self, id: Ulid) -> Result<Operation> {
        let found = self
            .operations(v1::HistoryRequest {
                limit: 1,
                rollout_id: None,
                operation_id: Some(id.to_string()),
            })
            .await?;
        found.into_iter().next().ok_or_else(|| {
            Error::other(format!("{} does not know the operation {id}", self.name()))
                .next("look at what it knows: `togather-ctl history`")
        })
    }

    /// What the node has been through: at most so many operations, and so many events of snapshots.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn everything(&self, limit: u32) -> Result<History> {
        self.ask_history(v1::HistoryRequest {
            limit,
            ..v1::HistoryRequest::default()
        })
        .await
    }

    async fn operations(&self, wanted: v1::HistoryRequest) -> Result<Vec<Operation>> {
        Ok(self.ask_history(wanted).await?.operations)
    }

    async fn ask_history(&self, wanted: v1::HistoryRequest) -> Result<History> {
        let wire = self
            .ask(|mut client: Deployments| {
                let wanted = wanted.clone();
                async move { client.history(request(wanted)).await }
            })
            .await?;
        let operations = wire.operations.into_iter().map(Operation::try_from);
        let snapshots = wire.snapshots.into_iter().map(Event::try_from);
        let schemas = wire.schemas.into_iter().map(Event::try_from);
        Ok(History {
            operations: self.understand(operations.collect())?,
            snapshots: self.understand(snapshots.collect())?,
            schemas: self.understand(schemas.collect())?,
        })
    }

    /// What the node would do. Changes nothing.
    ///
    /// # Errors
    /// The node could not be reached, or refuses to answer.
    pub async fn plan(&self, wanted: &Wanted, soak: Option<Duration>) -> Result<Planned> {
        let wanted = v1::PlanRequest {
            wanted: Some(match wanted {
                Wanted::Release(bytes) => v1::plan_request::Wanted::Release(bytes.clone()),
                Wanted::Back(version) => {
                    v1::plan_request::Wanted::RollbackTo(version.clone().unwrap_or_default())
                }
                Wanted::Again => v1::plan_request::Wanted::Redeploy(v1::RedeployWanted {}),
            }),
            soak: soak.map(time::duration),
        };
        let wire = self
            .ask(|mut client: Deployments| {
                let wanted = wanted.clone();
                async move { client.plan(request(wanted)).await }
            })
            .await?;
        let plan = match wire.answer {
            Some(v1::plan_response::Answer::Plan(plan)) => Ok(self.understand(plan.try_into())?),
            Some(v1::plan_response::Answer::Refused(failures)) => {
                Err(self.understand(failures_of(failures))?)
            }
            None => self.understand(Err(togather_proto::WireError::missing("answer")))?,
        };
        Ok(Planned {
            plan,
            image_missing: wire.image_missing,
        })
    }

    /// Orders an operation. The same `id` may be sent again: it never runs twice.
    ///
    /// # Errors
    /// The node refuses, or it is not known whether the order arrived.
    pub async fn begin(
        &self,
        id: Ulid,
        wanted: &Wanted,
        soak: Option<Duration>,
        lease: v1::LeaseProof,
    ) -> Result<Operation> {
        let (soak, lease) = (soak.map(time::duration), Some(lease));
        let answer = match wanted {
            Wanted::Release(release) => {
                let release = release.clone();
                let body = Body::Deploy(v1::Deploy {
                    release,
                    soak,
                    lease,
                });
                let command = self.sign(id, body).await?;
                self.deployments().deploy(request(command)).await
            }
            Wanted::Back(version) => {
                let version = version.clone();
                let body = Body::Rollback(v1::Rollback {
                    version,
                    soak,
                    lease,
                });
                let command = self.sign(id, body).await?;
                self.deployments().rollback(request(command)).await
            }
            Wanted::Again => {
                let body = Body::Redeploy(v1::Redeploy { soak, lease });
                let command = self.sign(id, body).await?;
                self.deployments().redeploy(request(command)).await
            }
        };
        let operation = self.answered(answer)?.operation;
        let read = operation.ok_or_else(|| togather_proto::WireError::missing("operation"));
        self.understand(read.and_then(Operation::try_from))
    }

    /// The events of an operation after the given one, until its ending; the stream may break off
    /// before that.
    ///
    /// # Errors
    /// The node could not be reached, or does not know the operation.
    pub async fn follow(&self, id: Ulid, after_sequence: u64) -> Result<Events> {
        let wanted = v1::FollowRequest {
            operation_id: id.to_string(),
            after_sequence,
        };
        // A deadline on the request would be one on the whole stream.
        let mut client = self.deployments();
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, client.follow(wanted)).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        Ok(Events {
            client: self.clone(),
            stream: self.answered(answer)?,
        })
    }

    /// Takes the node's lease for this rollout or rollback, and leaves the rollout with it.
    ///
    /// # Errors
    /// Somebody else has it, or the node could not be reached.
    pub async fn acquire_lease(
        &self,
        holder: Ulid,
        rollout: Option<v1::StoredRollout>,
    ) -> Result<Lease> {
        let body = Body::AcquireLease(v1::AcquireLease {
            holder: holder.to_string(),
            lifetime: Some(time::duration(lease::LIFETIME)),
            rollout,
        });
        let command = self.sign(Ulid::generate(), body).await?;
        let answer = self.nodes().acquire_lease(request(command)).await;
        self.lease_of(answer)
    }

    /// Moves the lease's end.
    ///
    /// # Errors
    /// The lease was lost, or the node could not be reached.
    pub async fn renew_lease(&self, lease: v1::LeaseProof) -> Result<Lease> {
        let body = Body::RenewLease(v1::RenewLease {
            lease: Some(lease),
            lifetime: Some(time::duration(lease::LIFETIME)),
        });
        let command = self.sign(Ulid::generate(), body).await?;
        let answer = self.nodes().renew_lease(request(command)).await;
        self.lease_of(answer)
    }

    /// Ends the lease; with `force` whoever holds it, for which the role admin is needed.
    ///
    /// # Errors
    /// It is not ours, or the node could not be reached.
    pub async fn release_lease(&self, lease: v1::LeaseProof, force: bool) -> Result<()> {
        let body = Body::ReleaseLease(v1::ReleaseLease {
            lease: Some(lease),
            force,
        });
        let command = self.sign(Ulid::generate(), body).await?;
        let answer = self.nodes().release_lease(request(command)).await;
        self.answered(answer).map(drop)
    }

    /// Says that a rollout is over, and how it ended.
    ///
    /// # Errors
    /// The node could not be reached, or refuses.
    pub async fn end_rollout(&self, rollout: Ulid, ending: &str) -> Result<()> {
        let body = Body::EndRollout(v1::EndRollout {
            rollout_id: rollout.to_string(),
            ending: ending.to_owned(),
        });
        let command = self.sign(Ulid::generate(), body).await?;
        let answer = self.nodes().end_rollout(request(command)).await;
        self.answered(answer).map(drop)
    }

    /// Says what the schema of a line is; `None`: no migration ran. Returns what its bookkeeping said
    /// before.
    ///
    /// # Errors
    /// The node is another than was typed, is busy, or could not be reached.
    pub async fn set_schema(
        &self,
        line: Line,
        version: Option<u64>,
        typed: String,
    ) -> Result<String> {
        let body = Body::SetSchema(v1::SetSchema {
            line: line.to_string(),
            version,
            node: typed,
        });
        let command = self.sign(Ulid::generate(), body).await?;
        let answer = self.nodes().set_schema(request(command)).await;
        Ok(self.answered(answer)?.before)
    }

    async fn sign(&self, operation_id: Ulid, body: Body) -> Result<v1::SignedCommand> {
        self.keys.sign(self.node.id, operation_id, body).await
    }

    fn nodes(&self) -> Nodes {
        Nodes::over(self.channel.clone())
    }

    fn deployments(&self) -> Deployments {
        Deployments::over(self.channel.clone())
    }

    /// The one retry policy: a question that failed at once, for want of a connection, is asked
    /// again for about a second, so that an agent that is just being restarted is not "unreachable".
    async fn ask<C, T, F, Fut>(&self, question: F) -> Result<T>
    where
        C: Over,
        F: Fn(C) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            let answer = self.answered(question(C::over(self.channel.clone())).await);
            match answer {
                Err(error) if error.is_unreachable() && begun.elapsed() + pause < RETRY_WITHIN => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
    }

    fn answered<T>(&self, answer: Result<Response<T>, Status>) -> Result<T> {
        answer
            .map(Response::into_inner)
            .map_err(|status| Error::of_call(self.name(), &self.node.address, &status))
    }

    fn lease_of(&self, answer: Result<Response<v1::LeaseResponse>, Status>) -> Result<Lease> {
        let lease = self.answered(answer)?.lease;
        let read = lease.ok_or_else(|| togather_proto::WireError::missing("lease"));
        self.understand(read.and_then(Lease::try_from))
    }

    fn understand<T>(&self, read: Result<T, togather_proto::WireError>) -> Result<T> {
        read.map_err(|error| not_understood(self.name(), &error))
    }
}

/// The events of an operation, as they come in.
pub struct Events {
    client: Client,
    stream: Streaming<v1::Event>,
}

impl Events {
    /// The next event; `None` when the stream is over, which means nothing about the operation.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        let answer = self.stream.message().await.map(Response::new);
        let event = self.client.answered(answer)?;
        self.client
            .understand(event.map(Event::try_from).transpose())
    }
}

type Nodes = NodeServiceClient<Channel>;
type Deployments = DeploymentServiceClient<Channel>;

/// A service's client over a channel, with our limit on messages both ways.
trait Over: Sized {
    fn over(channel: Channel) -> Self;
}

impl Over for Nodes {
    fn over(channel: Channel) -> Self {
        Self::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

impl Over for Deployments {
    fn over(channel: Channel) -> Self {
        Self::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}
