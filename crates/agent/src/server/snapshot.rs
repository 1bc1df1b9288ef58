//! Snapshots.

use togather_model::{Failure, FailureKind};
use togather_proto::{
    time, to_status,
    v1::{self, snapshot_service_server::SnapshotService},
};
use tonic::{Request, Response, Status};

use super::Shared;
use crate::snapshots::{Manifest, Reason};

#[tonic::async_trait]
impl SnapshotService for Shared {
    async fn list(
        &self,
        _: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let snapshots = self.0.node.snapshots.list().await.map_err(|e| {
            let what = "the snapshot store could not be read";
            let failure = Failure::caused_by(FailureKind::Other, what, &e);
            to_status(&failure.next("look at `snapshots` in the node's agent.yml"))
        })?;
        Ok(Response::new(v1::ListSnapshotsResponse {
            snapshots: snapshots.into_iter().map(to_wire).collect(),
        }))
    }
}

/// A snapshot as the wire writes it.
pub(super) fn to_wire(manifest: Manifest) -> v1::Snapshot {
    let reason = match manifest.reason {
        Reason::Scheduled => "scheduled",
        Reason::PreMigration => "pre-migration",
        Reason::Manual => "manual",
    };
    v1::Snapshot {
        id: manifest.id.to_string(),
        name: manifest.dump,
        taken_at: Some(time::timestamp(manifest.taken_at)),
        bytes: manifest.bytes,
        schema: manifest.schema,
        reason: reason.to_owned(),
        verified_at: manifest.verified_at.map(time::timestamp),
    }
}
