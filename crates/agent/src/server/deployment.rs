//! Plans, deployments, their events and their history; image archives.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use togather_model::{Digest, Failure, FailureKind, Ulid};
use togather_proto::{
    WireError, method, time, to_failures, to_status,
    v1::{
        self, command::Body, deployment_service_server::DeploymentService,
        load_image_request::Part, plan_request, plan_response,
    },
};
use togather_trust::Refusal;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    Shared, ahead, misplaced, not_understood, peer_of, read_id, read_proof, too_large, unreadable,
};
use crate::{
    follow::follow,
    gate::Order,
    leases,
    operations::{Ordered, Wanted},
};

/// The operations that a history holds unless more are asked for, and at most.
const HISTORY: u32 = 20;
const MAX_HISTORY: u32 = 1000;

/// How long the command at the head of an image archive may take to arrive.
const ORDER: Duration = Duration::from_secs(30);

#[tonic::async_trait]
impl DeploymentService for Shared {
    type FollowStream = BoxStream<'static, Result<v1::Event, Status>>;
    type FetchImageStream = BoxStream<'static, Result<v1::FetchProgress, Status>>;

    async fn plan(
        &self,
        request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanResponse>, Status> {
        let request = request.into_inner();
        let wanted = match request.wanted {
            Some(plan_request::Wanted::Release(bytes)) => Wanted::Release(bytes),
            Some(plan_request::Wanted::RollbackTo(version)) => {
                Wanted::Back(Some(version).filter(|version| !version.is_empty()))
            }
            Some(plan_request::Wanted::Redeploy(_)) => Wanted::Again,
            None => return Err(not_understood(&WireError::missing("wanted"))),
        };
        let soak = time::read_optional_duration("soak", request.soak);
        let soak = soak.map_err(|e| not_understood(&e))?;
        let preview = self.0.operations.preview(&wanted, soak).await;
        let answer = match preview.plan {
            Ok(plan) => plan_response::Answer::Plan(plan.into()),
            Err(refusals) => plan_response::Answer::Refused(to_failures(refusals)),
        };
        Ok(Response::new(v1::PlanResponse {
            answer: Some(answer),
            image_missing: preview.image_missing,
        }))
    }

    async fn deploy(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let order = self.admit(request, method::DEPLOY).await?;
        let Body::Deploy(deploy) = &order.body else {
            return Err(misplaced());
        };
        let wanted = Wanted::Release(deploy.release.clone());
        let (soak, lease) = (deploy.soak, deploy.lease.clone());
        self.begin(order, wanted, soak, lease).await
    }

    async fn rollback(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let order = self.admit(request, method::ROLLBACK).await?;
        let Body::Rollback(rollback) = &order.body else {
            return Err(misplaced());
        };
        let wanted = Wanted::Back(rollback.version.clone());
        let (soak, lease) = (rollback.soak, rollback.lease.clone());
        self.begin(order, wanted, soak, lease).await
    }

    async fn redeploy(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let order = self.admit(request, method::REDEPLOY).await?;
        let Body::Redeploy(redeploy) = &order.body else {
            return Err(misplaced());
        };
        let (soak, lease) = (redeploy.soak, redeploy.lease.clone());
        self.begin(order, Wanted::Again, soak, lease).await
    }

    async fn follow(
        &self,
        request: Request<v1::FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let request = request.into_inner();
        let id: Ulid = read_id("operation_id", &request.operation_id)?;
        let state = &self.0.node.state;
        let operation = state.operation(id).await.map_err(|e| unreadable(&e))?;
        if operation.is_none() {
            let failure = Failure::new(
                FailureKind::Other,
                format!("this node knows no operation {id}"),
            );
            let failure = failure.next("see which it knows with `togather-ctl history`");
            return Err(to_status(&failure));
        }
        let events = follow(state, id, request.after_sequence, self.0.stopping.clone());
        let events = events.map(|event| event.map(Into::into).map_err(|e| unreadable(&e)));
        Ok(Response::new(events.boxed()))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let request = request.into_inner();
        let state = &self.0.node.state;
        let limit = match request.limit {
            0 => HISTORY,
            limit => limit.min(MAX_HISTORY),
        };
        let everything = request.operation_id.is_none() && request.rollout_id.is_none();
        let operations = if let Some(id) = request.operation_id {
            let operation = state.operation(read_id("operation_id", &id)?).await;
            operation.map(|operation| operation.into_iter().collect())
        } else {
            let rollout = request.rollout_id.as_deref();
            let rollout = rollout.map(|id| read_id("rollout_id", id)).transpose()?;
            state.operations(rollout, limit).await
        };
        let operations: Vec<_> = operations.map_err(|e| unreadable(&e))?;
        let snapshots = match everything {
            true => state.snapshot_events(limit).await,
            false => Ok(vec![]),
        };
        let snapshots = snapshots.map_err(|e| unreadable(&e))?;
        let schemas = match everything {
            true => state.schema_events(limit).await,
            false => Ok(vec![]),
        };
        let schemas = schemas.map_err(|e| unreadable(&e))?;
        Ok(Response::new(v1::HistoryResponse {
            operations: operations.into_iter().map(Into::into).collect(),
            snapshots: snapshots.into_iter().map(Into::into).collect(),
            schemas: schemas.into_iter().map(Into::into).collect(),
        }))
    }

    async fn fetch_image(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<Self::FetchImageStream>, Status> {
        let order = self.admit(request, method::FETCH_IMAGE).await?;
        let Body::FetchImage(wanted) = &order.body else {
            return Err(misplaced());
        };
        let stages = ahead::fetch(&self.0.node.in_force(), &wanted.release).await;
        let stages = stages.map_err(|failure| to_status(&failure))?;
        Ok(Response::new(stages.boxed()))
    }

    async fn load_image(
        &self,
        request: Request<Streaming<v1::LoadImageRequest>>,
    ) -> Result<Response<v1::LoadImageResponse>, Status> {
        let (order, parts) = self.admit_archive(request).await?;
        let Body::LoadImage(wanted) = order.body else {
            return Err(misplaced());
        };
        let lease = read_proof(wanted.lease)?;
        let digest: Digest = read_id("digest", &wanted.digest)?;
        let node = &self.0.node.in_force();
        let has_node = leases::check(node, &order.operator, lease).await;
        has_node.map_err(|failure| to_status(&failure))?;
        let chunks = parts.map(|part| match part {
            Ok(v1::LoadImageRequest {
                part: Some(Part::Chunk(chunk)),
            }) => Ok(chunk),
            Ok(_) => Err(Failure::new(
                FailureKind::Other,
                "the call was not understood",
            )),
            Err(broken) => Err(Failure::new(
                FailureKind::Other,
                format!("the image archive broke off: {}", broken.message()),
            )),
        });
        let taken = self.0.inbox.take(node, digest, wanted.bytes, chunks).await;
        taken.map_err(|failure| to_status(&failure))?;
        Ok(Response::new(v1::LoadImageResponse {}))
    }
}

impl Shared {
    async fn begin(
        &self,
        order: Order,
        wanted: Wanted,
        soak: Option<prost_types::Duration>,
        lease: Option<v1::LeaseProof>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let soak = time::read_optional_duration("soak", soak).map_err(|e| not_understood(&e))?;
        let ordered = Ordered {
            id: order.operation_id,
            operator: order.operator,
            wanted,
            soak,
            lease: read_proof(lease)?,
        };
        let operation = self.0.operations.begin(ordered).await;
        let operation = operation.map_err(|failure| to_status(&failure))?;
        Ok(Response::new(v1::OperationResponse {
            operation: Some(operation.into()),
        }))
    }

    /// The order at the head of a stream, and the rest of the stream.
    async fn admit_archive(
        &self,
        request: Request<Streaming<v1::LoadImageRequest>>,
    ) -> Result<(Order, Streaming<v1::LoadImageRequest>), Status> {
        let peer = peer_of(request.extensions());
        let mut parts = request.into_inner();
        let gate = &self.0.gate;
        let Ok(head) = timeout(ORDER, parts.message()).await else {
            return Err(Status::deadline_exceeded(
                "the call began without a command",
            ));
        };
        let admitted = match head {
            Ok(Some(v1::LoadImageRequest {
                part: Some(Part::Command(signed)),
            })) => gate.admit(&peer, method::LOAD_IMAGE, &signed).await,
            Ok(_) => {
                let unsigned = Refusal::Unsigned;
                gate.refuse_unread(&peer, method::LOAD_IMAGE, unsigned)
                    .await
            }
            Err(status) if status.code() == Code::OutOfRange => {
                let refusal = too_large(&status);
                gate.refuse_unread(&peer, method::LOAD_IMAGE, refusal).await
            }
            Err(broken) => return Err(broken),
        };
        let order = admitted.map_err(|failure| to_status(&failure))?;
        Ok((order, parts))
    }
}
