//! The wire of a scripted node.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use togather_model::{
    Digest, Event, Failure, Lease, Live, OperationKind, OperationState, Plan, PlannedStep, Schema,
    Slot, Step, Timestamp, Ulid, lease,
};
use togather_proto::{
    method, time, to_failures, to_status,
    v1::{
        self,
        command::Body,
        deployment_service_server::{DeploymentService, DeploymentServiceServer},
        load_image_request::Part,
        node_service_server::{NodeService, NodeServiceServer},
        plan_request::Wanted,
        plan_response,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use super::{
    jobs,
    node::{Cut, Inner},
};

type Answer<T> = Result<Response<T>, Status>;

pub(super) fn routes(node: &Arc<Inner>) -> Routes {
    Routes::new(DeploymentServiceServer::new(Service(Arc::clone(node))))
        .add_service(NodeServiceServer::new(Service(Arc::clone(node))))
        .add_service(jobs::service(node))
        .prepare()
}

struct Service(Arc<Inner>);

impl Service {
    fn plan_to(&self, to: &Live) -> Plan {
        let from = self.0.state().live.clone();
        let there = from
            .as_ref()
            .is_some_and(|live| live.is(to.release, to.made_of));
        let step = |&step: &Step| PlannedStep {
            step,
            skip: there.then(|| "it is live already".to_owned()),
            note: None,
        };
        Plan {
            operation_id: Ulid::nil(),
            kind: OperationKind::Deploy,
            node: self.0.name.clone(),
            release: to.release,
            version: to.version.clone(),
            git_commit: to.git_commit.clone(),
            from,
            live_verdict: None,
            to: Slot::Green,
            schema_before: None,
            migrations: Vec::new(),
            other_lines: Vec::new(),
            steps: Step::ALL.iter().map(step).collect(),
            soak: std::time::Duration::from_secs(30),
            warnings: Vec::new(),
            configuration: None,
            app_configuration: None,
            made_of: None,
        }
    }

    /// The live release, made from the node's files as they are now.
    fn again(&self) -> Live {
        let state = self.0.state();
        let live = state.live.clone().expect("something is live");
        let made_of = state.files.or(live.made_of);
        Live { made_of, ..live }
    }

    fn begin(
        &self,
        command: &v1::Command,
        kind: OperationKind,
        to: Live,
        proof: Option<v1::LeaseProof>,
    ) -> Answer<v1::OperationResponse> {
        let rollout = self.check(proof)?;
        let operation = self.0.begin(command, kind, to, rollout);
        Ok(Response::new(v1::OperationResponse {
            operation: Some(operation.into()),
        }))
    }

    /// The holder of the lease that this proves.
    fn check(&self, proof: Option<v1::LeaseProof>) -> Result<Ulid, Status> {
        let proof = proof.expect("an order comes with its lease");
        let holder: Ulid = proof.holder.parse().unwrap();
        let current = self.0.state().lease.clone();
        lease::check(current.as_ref(), holder, proof.fencing, Timestamp::now())
            .map(|_| holder)
            .map_err(|failure| to_status(&failure))
    }

    fn change_lease(
        &self,
        decide: impl FnOnce(Option<&Lease>) -> Result<Lease, Failure>,
    ) -> Answer<v1::LeaseResponse> {
        let mut state = self.0.state();
        let lease = decide(state.lease.as_ref()).map_err(|failure| to_status(&failure))?;
        state.lease = Some(lease.clone());
        Ok(Response::new(v1::LeaseResponse {
            lease: Some(lease.into()),
        }))
    }
}

#[tonic::async_trait]
impl DeploymentService for Service {
    async fn plan(&self, request: Request<v1::PlanRequest>) -> Answer<v1::PlanResponse> {
        let refusal = self.0.state().refuses.clone();
        let to = match request.into_inner().wanted.unwrap() {
            Wanted::Release(bytes) => Inner::live_of(&bytes),
            Wanted::RollbackTo(_) => self.0.previous().expect("something to go back to"),
            Wanted::Redeploy(_) => self.again(),
        };
        let answer = match refusal {
            Some(failure) => plan_response::Answer::Refused(to_failures(vec![failure])),
            None => plan_response::Answer::Plan(self.plan_to(&to).into()),
        };
        Ok(Response::new(v1::PlanResponse {
            answer: Some(answer),
            image_missing: self.0.state().lacks_image,
        }))
    }

    async fn deploy(&self, request: Request<v1::SignedCommand>) -> Answer<v1::OperationResponse> {
        let command = self.0.read(&request.into_inner(), method::DEPLOY);
        let Some(Body::Deploy(body)) = command.body.clone() else {
            panic!("not a Deploy")
        };
        let to = Inner::live_of(&body.release);
        self.begin(&command, OperationKind::Deploy, to, body.lease)
    }

    async fn rollback(&self, request: Request<v1::SignedCommand>) -> Answer<v1::OperationResponse> {
        let command = self.0.read(&request.into_inner(), method::ROLLBACK);
        let Some(Body::Rollback(body)) = command.body.clone() else {
            panic!("not a Rollback")
        };
        let to = self.0.previous().unwrap();
        self.begin(&command, OperationKind::Rollback, to, body.lease)
    }

    async fn redeploy(&self, request: Request<v1::SignedCommand>) -> Answer<v1::OperationResponse> {
        let command = self.0.read(&request.into_inner(), method::REDEPLOY);
        let Some(Body::Redeploy(body)) = command.body.clone() else {
            panic!("not a Redeploy")
        };
        let to = self.again();
        self.begin(&command, OperationKind::Redeploy, to, body.lease)
    }

    type FollowStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn follow(&self, request: Request<v1::FollowRequest>) -> Answer<Self::FollowStream> {
        let wanted = request.into_inner();
        let (to_client, events) = mpsc::channel(16);
        let node = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut ticks = node.ticks.subscribe();
            let mut seen = wanted.after_sequence;
            loop {
                let is_next = |event: &&Event| {
                    event.operation_id.to_string() == wanted.operation_id && event.sequence > seen
                };
                let event = node.state().events.iter().find(is_next).cloned();
                let Some(event) = event else {
                    if ticks.changed().await.is_err() || to_client.is_closed() {
                        return;
                    }
                    continue;
                };
                let ends = event.kind.is_ending();
                let cut = if ends {
                    node.state().cuts.pop_front()
                } else {
                    None
                };
                if let Some(cut) = cut {
                    if cut == Cut::Broken {
                        let _ = to_client.send(Err(Status::unavailable("cut off"))).await;
                    }
                    return;
                }
                seen = event.sequence;
                if to_client.send(Ok(event.into())).await.is_err() || ends {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }

    async fn history(&self, request: Request<v1::HistoryRequest>) -> Answer<v1::HistoryResponse> {
        let wanted = request.into_inner();
        let state = self.0.state();
        let operations = state.operations.iter().rev().filter(|operation| {
            let rollout = operation.rollout.map(|id| id.to_string());
            let of_rollout = wanted.rollout_id.is_none() || wanted.rollout_id == rollout;
            let id = Some(operation.id.to_string());
            of_rollout && (wanted.operation_id.is_none() || wanted.operation_id == id)
        });
        Ok(Response::new(v1::HistoryResponse {
            operations: operations.cloned().map(Into::into).collect(),
            snapshots: state.snapshot_events.clone(),
            schemas: Vec::new(),
        }))
    }

    type FetchImageStream = Pin<Box<dyn Stream<Item = Result<v1::FetchProgress, Status>> + Send>>;

    async fn fetch_image(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Answer<Self::FetchImageStream> {
        self.0.read(&request.into_inner(), method::FETCH_IMAGE);
        let mut state = self.0.state();
        if let Some(failure) = state.cannot_fetch.clone() {
            return Err(to_status(&failure));
        }
        state.fetches += 1;
        let for_ever = state.fetches_for_ever;
        drop(state);
        let going = v1::FetchProgress {
            message: "downloading the image".into(),
            bytes_done: 10_000_000,
            bytes_total: 40_000_000,
            fetched: None,
            elapsed: None,
        };
        let ended = v1::FetchProgress {
            fetched: Some(v1::Fetched {
                was_here: false,
                bytes: 120_000_000,
                kept_until: Some(time::timestamp(Timestamp::now())),
            }),
            ..going.clone()
        };
        if for_ever {
            let told = tokio_stream::once(Ok(going));
            return Ok(Response::new(Box::pin(tokio_stream::StreamExt::chain(
                told,
                tokio_stream::pending(),
            ))));
        }
        let told = [Ok(going), Ok(ended)];
        Ok(Response::new(Box::pin(tokio_stream::iter(told))))
    }

    async fn load_image(
        &self,
        request: Request<Streaming<v1::LoadImageRequest>>,
    ) -> Answer<v1::LoadImageResponse> {
        let mut parts = request.into_inner();
        let (mut digest, mut image) = (String::new(), Vec::new());
        while let Some(message) = parts.message().await? {
            match message.part.unwrap() {
                Part::Command(signed) => {
                    let command = self.0.read(&signed, method::LOAD_IMAGE);
                    let Some(Body::LoadImage(body)) = command.body else {
                        panic!("not a LoadImage")
                    };
                    self.check(body.lease)?;
                    digest = body.digest;
                }
                Part::Chunk(chunk) => image.extend_from_slice(&chunk),
            }
        }
        assert_eq!(Digest::of(&image).to_string(), digest);
        let mut state = self.0.state();
        state.image = image;
        state.lacks_image = false;
        Ok(Response::new(v1::LoadImageResponse {}))
    }
}

#[tonic::async_trait]
impl NodeService for Service {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::NodeStatus> {
        let now = Timestamp::now();
        let state = self.0.state();
        let running = |state| state == OperationState::Running;
        let find = |wanted: bool| {
            let mut newest_first = state.operations.iter().rev();
            newest_first
                .find(|operation| running(operation.state) == wanted)
                .cloned()
        };
        let is_verified = |snapshot: &&v1::Snapshot| snapshot.verified_at.is_some();
        let verified = state.snapshots.iter().find(is_verified);
        Ok(Response::new(v1::NodeStatus {
            node: self.0.name.clone(),
            node_id: self.0.id.to_string(),
            agent_version: "0.0.0-fake".into(),
            environment: "production".into(),
            at: Some(time::timestamp(now)),
            live: state.live.clone().map(Into::into),
            health: Some(v1::Health {
                status: "healthy".into(),
                ..v1::Health::default()
            }),
            schema: Some(state.schema.into()),
            last_snapshot: state.snapshots.first().cloned(),
            lease: state
                .lease
                .clone()
                .filter(|lease| lease.is_live(now))
                .map(Into::into),
            running: find(true).map(Into::into),
            last: find(false).map(Into::into),
            drift: Vec::new(),
            last_verified: verified.cloned(),
            jobs: state.jobs.clone(),
            snapshot_overdue: state.snapshot_overdue.clone(),
            replaced_databases: state.replaced_databases.clone(),
            stuck_job: state.stuck_job.clone(),
            snapshot_store: None,
            fetches: vec![],
            other_lines: vec![],
        }))
    }

    async fn rollouts(
        &self,
        request: Request<v1::RolloutsRequest>,
    ) -> Answer<v1::RolloutsResponse> {
        let wanted = request.into_inner().rollout_id;
        let state = self.0.state();
        let is_wanted =
            |record: &&v1::RolloutRecord| wanted.as_ref().is_none_or(|id| *id == record.rollout_id);
        Ok(Response::new(v1::RolloutsResponse {
            rollouts: state
                .rollouts
                .iter()
                .rev()
                .filter(is_wanted)
                .cloned()
                .collect(),
        }))
    }

    async fn acquire_lease(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Answer<v1::LeaseResponse> {
        let command = self.0.read(&request.into_inner(), method::ACQUIRE_LEASE);
        let Some(Body::AcquireLease(body)) = command.body else {
            panic!("not an AcquireLease")
        };
        let holder: Ulid = body.holder.parse().unwrap();
        let now = Timestamp::now();
        let answer = self.change_lease(|current| {
            lease::acquire(current, holder, &command.operator, lease::LIFETIME, now)
        })?;
        let mut state = self.0.state();
        let known = state
            .rollouts
            .iter_mut()
            .find(|record| record.rollout_id == body.holder);
        match (known, body.rollout) {
            (Some(known), Some(_)) => known.ending.clear(),
            (None, Some(rollout)) => state.rollouts.push(v1::RolloutRecord {
                rollout_id: body.holder,
                operator: command.operator,
                rollout: Some(rollout),
                created_at: Some(time::timestamp(now)),
                ending: String::new(),
            }),
            (_, None) => {}
        }
        Ok(answer)
    }

    async fn renew_lease(&self, request: Request<v1::SignedCommand>) -> Answer<v1::LeaseResponse> {
        let command = self.0.read(&request.into_inner(), method::RENEW_LEASE);
        let Some(Body::RenewLease(body)) = command.body else {
            panic!("not a RenewLease")
        };
        let proof = body.lease.unwrap();
        let (holder, now) = (proof.holder.parse().unwrap(), Timestamp::now());
        self.change_lease(|current| {
            lease::renew(current, holder, proof.fencing, lease::LIFETIME, now)
        })
    }

    async fn release_lease(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Answer<v1::LeaseResponse> {
        let command = self.0.read(&request.into_inner(), method::RELEASE_LEASE);
        let Some(Body::ReleaseLease(body)) = command.body else {
            panic!("not a ReleaseLease")
        };
        if !body.force {
            self.check(body.lease)?;
        }
        let mut state = self.0.state();
        if let Some(lease) = &mut state.lease {
            lease.expires_at = Timestamp::now();
        }
        Ok(Response::new(v1::LeaseResponse { lease: None }))
    }

    async fn set_schema(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Answer<v1::SetSchemaResponse> {
        let command = self.0.read(&request.into_inner(), method::SET_SCHEMA);
        let Some(Body::SetSchema(body)) = command.body else {
            panic!("not a SetSchema")
        };
        assert_eq!(body.node, self.0.name);
        assert_eq!(body.line, "app");
        let set = body.version.map_or(Schema::Empty, |version| Schema::At {
            version,
            dirty: false,
        });
        let before = self.0.state().schema.replace(set);
        Ok(Response::new(v1::SetSchemaResponse {
            before: format!("{before:?}"),
        }))
    }

    async fn end_rollout(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Answer<v1::EndRolloutResponse> {
        let command = self.0.read(&request.into_inner(), method::END_ROLLOUT);
        let Some(Body::EndRollout(body)) = command.body else {
            panic!("not an EndRollout")
        };
        let mut state = self.0.state();
        let known = state
            .rollouts
            .iter_mut()
            .find(|record| record.rollout_id == body.rollout_id);
        known.expect("a rollout that is known").ending = body.ending;
        Ok(Response::new(v1::EndRolloutResponse {}))
    }
}
