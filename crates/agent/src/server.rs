//! What the agent answers over gRPC: decode, call, encode, nothing more. Who may call is decided
//! before, by the gate.

mod ahead;
mod connections;
mod deployment;
mod door;
mod node;
mod snapshot;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use togather_model::{Failure, FailureKind};
use togather_proto::{
    MAX_MESSAGE_BYTES, WireError, to_status,
    v1::{
        self, deployment_service_server::DeploymentServiceServer,
        node_service_server::NodeServiceServer, snapshot_service_server::SnapshotServiceServer,
    },
};
use togather_trust::Refusal;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::Routes, transport::Server};

pub use connections::{Tls, TlsFilesError};
use door::Door;

use crate::{
    archive::Inbox,
    gate::{Gate, Order, Peer},
    jobs::Jobs,
    leases::Proof,
    lookout::Lookout,
    node::Node,
    operations::Operations,
    reload::Reloaded,
    state::StateError,
};

/// Calls that one connection may have under way.
const MAX_STREAMS: u32 = 32;

/// How often a silent connection is asked whether it still lives, and how long it may take to say.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The largest headers of a call, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// How much of an image archive may be on its way at once: enough for a distant node.
const WINDOW: u32 = 1024 * 1024;

/// Everything that calls are answered with.
pub struct Services {
    /// Who may call.
    pub gate: Gate,
    /// The node.
    pub node: Node,
    /// Its id.
    pub node_id: String,
    /// Its deployments.
    pub operations: Operations,
    /// Its jobs on snapshots.
    pub jobs: Jobs,
    /// Who keeps watch over its snapshots.
    pub lookout: Lookout,
    /// Where image archives come in.
    pub inbox: Inbox,
    /// Cancelled when the agent stops; streams end then.
    pub stopping: CancellationToken,
}

/// The services, shared by all calls.
#[derive(Clone)]
struct Shared(Arc<Services>);

/// Answers calls until the agent stops, and the calls under way then have been answered.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<Reloaded<Tls>>,
    services: Services,
) -> Result<(), tonic::transport::Error> {
    let stopping = services.stopping.clone();
    let shared = Shared(Arc::new(services));
    let incoming = connections::incoming(listener, tls, stopping.clone());
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .http2_max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .layer(tower::layer::layer_fn({
            let services = Arc::clone(&shared.0);
            move |routes| Door::new(routes, Arc::clone(&services))
        }))
        .add_routes(routes(shared))
        .serve_with_incoming_shutdown(incoming, stopping.cancelled_owned())
        .await
}

fn routes(shared: Shared) -> Routes {
    let deployments = DeploymentServiceServer::new(shared.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let snapshots = SnapshotServiceServer::new(shared.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let nodes = NodeServiceServer::new(shared)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Routes::new(deployments)
        .add_service(snapshots)
        .add_service(nodes)
}

impl Shared {
    /// The order in a call that changes something, once it was let through.
    async fn admit(
        &self,
        request: Request<v1::SignedCommand>,
        method: &'static str,
    ) -> Result<Order, Status> {
        let peer = peer_of(request.extensions());
        let order = self.0.gate.admit(&peer, method, request.get_ref()).await;
        order.map_err(|failure| to_status(&failure))
    }
}

/// Who calls. A call without a connection's certificate is nobody's.
fn peer_of(extensions: &http::Extensions) -> Peer {
    let nobody = Refusal::WrongCertificate {
        why: "there is none",
    };
    extensions.get().cloned().unwrap_or(Peer(Err(nobody)))
}

fn read_proof(wire: Option<v1::LeaseProof>) -> Result<Proof, Status> {
    let wire = wire.ok_or_else(|| not_understood(&WireError::missing("lease")))?;
    Ok(Proof {
        holder: read_id("lease.holder", &wire.holder)?,
        fencing: wire.fencing,
    })
}

fn read_id<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<T, Status> {
    text.parse()
        .map_err(|error| not_understood(&WireError::invalid(field, error)))
}

/// The refusal of a message over the limit, which is made by its announced length alone. tonic tells
/// that length in words only.
fn too_large(status: &Status) -> Refusal {
    let announced = status.message().split_once("found ").map(|(_, rest)| rest);
    let digits = announced.and_then(|rest| rest.split(' ').next());
    Refusal::TooLarge {
        what: "message",
        size: digits
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(usize::MAX),
        limit: MAX_MESSAGE_BYTES,
    }
}

/// A message that is not as it must be.
fn not_understood(error: &WireError) -> Status {
    let failure = Failure::caused_by(FailureKind::Other, "the call was not understood", error)
        .next("use a togather-ctl of the same version as the node's agent");
    to_status(&failure)
}

/// A command whose body belongs to another call; the gate has refused those already.
fn misplaced() -> Status {
    not_understood(&WireError::invalid("body", "it belongs to another call"))
}

fn unreadable(error: &StateError) -> Status {
    let failure = Failure::caused_by(FailureKind::Other, "the node could not look it up", error)
        .next("look at the agent's journal on the node");
    to_status(&failure)
}
