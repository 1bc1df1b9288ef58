//! The node's status, its lease, and the rollouts it remembers.

use std::time::Duration;

use togather_model::{Digest, Line, Slot, lease};
use togather_proto::{
    WireError, method, time, to_status,
    v1::{self, command::Body, node_service_server::NodeService},
};
use tonic::{Request, Response, Status};

use super::{Shared, ahead, misplaced, not_understood, read_id, read_proof, snapshot, unreadable};
use crate::{
    fetches::prune::prune_between_deployments,
    health::{Answer, Check},
    leases,
    operations::Said,
    progress::Progress,
    snapshots::ConditionalWrites,
    state::RolloutRecord,
    status::{self, Silence},
};

/// How a rollout can end, as `EndRollout` may say.
const ENDINGS: [&str; 6] = ["done", "behind", "halted", "undone", "stuck", "aborted"];

#[tonic::async_trait]
impl NodeService for Shared {
    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::NodeStatus>, Status> {
        let services = &self.0;
        let status = status::status(
            &services.node,
            &services.operations,
            &services.jobs,
            &services.lookout,
        );
        let status = status.await;
        let status = status.map_err(|e| unreadable(&e))?;
        Ok(Response::new(v1::NodeStatus {
            node: self.0.node.name.clone(),
            node_id: self.0.node_id.clone(),
            environment: status.environment.as_str().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Some(time::timestamp(status.at)),
            live: status.live.map(Into::into),
            health: status.health.map(health),
            schema: Some(status.schema.into()),
            last_snapshot: status.last_snapshot.map(snapshot::to_wire),
            lease: status.lease.map(Into::into),
            running: status.running.map(Into::into),
            last: status.last.map(Into::into),
            drift: status.drift,
            last_verified: status.last_verified.map(snapshot::to_wire),
            jobs: status.jobs.into_iter().map(snapshot::job_to_wire).collect(),
            snapshot_overdue: status.snapshot_overdue,
            replaced_databases: status.replaced_databases,
            stuck_job: status.stuck.map(snapshot::job_to_wire),
            snapshot_store: Some(store(status.store)),
            fetches: services
                .node
                .fetches
                .progress()
                .into_iter()
                .map(fetch)
                .collect(),
            other_lines: status.other_lines.into_iter().map(line).collect(),
        }))
    }

    async fn rollouts(
        &self,
        request: Request<v1::RolloutsRequest>,
    ) -> Result<Response<v1::RolloutsResponse>, Status> {
        let id = request.into_inner().rollout_id;
        let id = id.map(|id| read_id("rollout_id", &id)).transpose()?;
        let rollouts = self.0.node.state.rollouts(id).await;
        let rollouts = rollouts.map_err(|e| unreadable(&e))?;
        Ok(Response::new(v1::RolloutsResponse {
            rollouts: rollouts.into_iter().map(record).collect(),
        }))
    }

    async fn acquire_lease(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::LeaseResponse>, Status> {
        let order = self.admit(request, method::ACQUIRE_LEASE).await?;
        let Body::AcquireLease(wanted) = order.body else {
            return Err(misplaced());
        };
        let holder = read_id("holder", &wanted.holder)?;
        let lifetime = read_lifetime(wanted.lifetime)?;
        let rollout = wanted.rollout;
        let rollout = rollout.map(|stored| (stored.rollout.into(), stored.release.into()));
        let node = &self.0.node;
        let lease = leases::acquire(node, &order.operator, holder, lifetime, rollout).await;
        lease_is(Some(lease.map_err(|failure| to_status(&failure))?))
    }

    async fn renew_lease(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::LeaseResponse>, Status> {
        let order = self.admit(request, method::RENEW_LEASE).await?;
        let Body::RenewLease(wanted) = order.body else {
            return Err(misplaced());
        };
        let proof = read_proof(wanted.lease)?;
        let lifetime = read_lifetime(wanted.lifetime)?;
        let lease = leases::renew(&self.0.node, &order.operator, proof, lifetime).await;
        lease_is(Some(lease.map_err(|failure| to_status(&failure))?))
    }

    async fn release_lease(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::LeaseResponse>, Status> {
        let order = self.admit(request, method::RELEASE_LEASE).await?;
        let Body::ReleaseLease(wanted) = order.body else {
            return Err(misplaced());
        };
        let proof = read_proof(wanted.lease)?;
        let released = leases::release(&self.0.node, &order.operator, proof, wanted.force).await;
        released.map_err(|failure| to_status(&failure))?;
        lease_is(None)
    }

    async fn end_rollout(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::EndRolloutResponse>, Status> {
        let order = self.admit(request, method::END_ROLLOUT).await?;
        let Body::EndRollout(end) = order.body else {
            return Err(misplaced());
        };
        let id = read_id("rollout_id", &end.rollout_id)?;
        if !ENDINGS.contains(&end.ending.as_str()) {
            let why = format!("expected one of {}", ENDINGS.join(", "));
            return Err(not_understood(&WireError::invalid("ending", why)));
        }
        let state = &self.0.node.state;
        let ended = state.end_rollout(id, &end.ending).await;
        ended.map_err(|e| unreadable(&e))?;
        for record in state.rollouts(Some(id)).await.map_err(|e| unreadable(&e))? {
            // What serves, or may be gone back to, is kept for that; the rest is tidied away.
            let release = Digest::of(&record.release);
            let let_go = state.let_image_go(release).await;
            let_go.map_err(|e| unreadable(&e))?;
        }
        // Nobody waits for that: an image of some gigabytes takes Docker a while.
        let node = self.0.node.in_force();
        tokio::spawn(async move {
            if let Err(failure) = prune_between_deployments(&node, Some(id)).await {
                tracing::warn!(rollout = %id, %failure, "the rollout's image may still be here");
            }
        });
        Ok(Response::new(v1::EndRolloutResponse {}))
    }

    async fn set_schema(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::SetSchemaResponse>, Status> {
        let order = self.admit(request, method::SET_SCHEMA).await?;
        let Body::SetSchema(wanted) = order.body else {
            return Err(misplaced());
        };
        let said = Said {
            id: order.operation_id,
            operator: order.operator,
            line: read_id("line", &wanted.line)?,
            version: wanted.version,
            node: wanted.node,
        };
        let before = self.0.operations.set_schema(said).await;
        let before = before.map_err(|failure| to_status(&failure))?;
        Ok(Response::new(v1::SetSchemaResponse { before }))
    }
}

fn fetch((image, progress): (String, Progress)) -> v1::ImageFetch {
    v1::ImageFetch {
        image,
        progress: Some(ahead::under_way(progress)),
    }
}

fn lease_is(lease: Option<togather_model::Lease>) -> Result<Response<v1::LeaseResponse>, Status> {
    let lease = lease.map(Into::into);
    Ok(Response::new(v1::LeaseResponse { lease }))
}

fn read_lifetime(wire: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let lifetime = time::read_optional_duration("lifetime", wire);
    let lifetime = lifetime.map_err(|e| not_understood(&e))?;
    Ok(lifetime.unwrap_or(lease::LIFETIME))
}

fn record(record: RolloutRecord) -> v1::RolloutRecord {
    v1::RolloutRecord {
        rollout_id: record.id.to_string(),
        operator: record.operator,
        rollout: Some(v1::StoredRollout {
            rollout: record.rollout.into(),
            release: record.release.into(),
        }),
        created_at: Some(time::timestamp(record.created_at)),
        ending: record.ending,
    }
}

fn line((line, version): (Line, Option<u64>)) -> v1::LineSchema {
    v1::LineSchema {
        line: line.to_string(),
        version,
    }
}

fn store((address, writes): (String, ConditionalWrites)) -> v1::SnapshotStore {
    v1::SnapshotStore {
        address,
        conditional_writes: writes.answer.as_str().to_owned(),
        reason: writes.reason,
    }
}

fn health(answer: Result<Answer, Silence>) -> v1::Health {
    let answer = match answer {
        Ok(answer) => answer,
        Err(silence) => {
            return v1::Health {
                status: "unreachable".to_owned(),
                message: silence,
                ..v1::Health::default()
            };
        }
    };
    let status = match answer.status.as_deref() {
        _ if answer.is_healthy() => "healthy",
        Some("degraded") => "degraded",
        // It takes requests; what else there is to say may be asked again in a moment.
        Some("ready") if answer.is_ready() => "ready",
        Some(_) | None => "unhealthy",
    };
    let message = if status == "healthy" {
        String::new()
    } else {
        answer.why()
    };
    v1::Health {
        status: status.to_owned(),
        message,
        version: answer.version.unwrap_or_default(),
        git_commit: answer.git_commit.unwrap_or_default(),
        slot: answer.slot.map_or("", Slot::as_str).to_owned(),
        checks: answer.checks.into_iter().map(check).collect(),
    }
}

fn check(check: Check) -> v1::health::Check {
    v1::health::Check {
        name: check.name,
        status: check.status,
        message: check.message,
    }
}

#[cfg(test)]
mod tests {
    use super::health;
    use crate::health::fake::said;

    #[test]
    fn what_was_asked_no_more_than_whether_it_is_ready_is_told_so() {
        for (http_status, status, told) in [
            (200, Some("healthy"), "healthy"),
            (200, None, "healthy"),
            (200, Some("degraded"), "degraded"),
            (200, Some("ready"), "ready"),
            (503, Some("ready"), "unhealthy"),
            (503, Some("unhealthy"), "unhealthy"),
        ] {
            let health = health(Ok(said(http_status, status, &[])));
            assert_eq!(health.status, told, "{http_status} {status:?}");
        }
        assert_eq!(health(Err("nobody".into())).status, "unreachable");
    }
}
