//! Snapshots of the fakes' world: each verb is one numbered call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use togather_model::{
    Digest, Timestamp, Ulid,
    retention::{Policy, RollbackTarget},
};
use url::Url;

use super::outside::Outside;
use crate::snapshots::{
    ConditionalWrites, FORMAT, Globals, Manifest, Progress, Pruned, Reason, Restored, Say,
    SnapshotError, Snapshots, Survey, Wanted,
};

#[async_trait]
impl Snapshots for Outside {
    async fn create(&self, wanted: &Wanted, say: Say<'_>) -> Result<Manifest, SnapshotError> {
        say(Progress::stage("dumping"));
        let created = self.call("snapshots.create", |truth| {
            let manifest = manifest(wanted, truth.schema);
            truth.snapshots.push(manifest.clone());
            manifest
        });
        created.await.map_err(SnapshotError::Other)
    }

    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        _: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        let proven = self.call("snapshots.prove", |truth| {
            truth.scratch.push(operation);
            let mut taken = truth.snapshots.iter();
            taken.find(|taken| taken.id == snapshot).cloned()
        });
        let proven = proven.await.map_err(SnapshotError::Other)?;
        proven.ok_or_else(|| SnapshotError::Other("no such snapshot".into()))
    }

    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let listed = self.call("snapshots.list", |truth| truth.snapshots.clone());
        listed.await.map_err(SnapshotError::Other)
    }

    async fn prune(&self, _: &[RollbackTarget], _: Timestamp) -> Pruned {
        let pruned = self.call("snapshots.prune", |_| ()).await;
        Pruned {
            forgotten: vec![],
            failure: pruned.err().map(SnapshotError::Other),
        }
    }

    async fn survey(&self, _: Option<&Url>) -> Result<Survey, SnapshotError> {
        let snapshots = self.list().await?;
        Ok(Survey {
            snapshots,
            ..Survey::default()
        })
    }

    fn retention(&self) -> &Policy {
        &self.0.retention
    }

    async fn restore(
        &self,
        _: Option<&Url>,
        snapshot: Ulid,
        operation: Ulid,
        say: Say<'_>,
    ) -> Result<Restored, SnapshotError> {
        let snapshot = self.prove(snapshot, operation, say).await?;
        Ok(Restored {
            snapshot,
            notes: vec!["ada needs a password".into()],
        })
    }

    fn place_of_programs(&self) -> String {
        "pg_dump runs in a world of fakes".into()
    }

    fn disk_needed(&self, database_bytes: u64) -> u64 {
        database_bytes * 2
    }

    async fn check_programs(&self, _: bool) -> Result<(), SnapshotError> {
        self.call("snapshots.check_programs", |_| ())
            .await
            .map_err(SnapshotError::Other)
    }

    async fn remove_left_overs(&self) -> Result<(), SnapshotError> {
        Ok(())
    }

    async fn end_programs(&self, _: Ulid) -> Result<(), SnapshotError> {
        self.call("snapshots.end_programs", |_| ())
            .await
            .map_err(SnapshotError::Other)
    }

    async fn leftovers(&self) -> Result<Vec<Ulid>, SnapshotError> {
        let left = self.call("snapshots.leftovers", |truth| truth.scratch.clone());
        left.await.map_err(SnapshotError::Other)
    }

    async fn clear_away(&self, snapshot: Ulid) -> Result<Option<Manifest>, SnapshotError> {
        let whole = self.call("snapshots.clear_away", |truth| {
            let mut taken = truth.snapshots.iter();
            taken.find(|taken| taken.id == snapshot).cloned()
        });
        whole.await.map_err(SnapshotError::Other)
    }

    async fn spooled(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let truth = self.0.truth();
        let wanted = Wanted {
            id: Ulid::nil(),
            at: Timestamp::UNIX_EPOCH,
            reason: Reason::Scheduled,
            git_commit: String::new(),
        };
        let spooled = |dump: &String| Manifest {
            dump: dump.clone(),
            spooled: true,
            ..manifest(&wanted, None)
        };
        Ok(truth.spooled.iter().map(spooled).collect())
    }

    async fn deliver_next(&self) -> Result<Option<String>, SnapshotError> {
        Ok(self.0.truth().spooled.pop())
    }

    fn address(&self) -> String {
        "s3://bucket/node-1".into()
    }

    async fn conditional_writes(&self) -> ConditionalWrites {
        let asked = self.call("snapshots.conditional_writes", |_| ConditionalWrites::yes());
        asked.await.unwrap_or_else(ConditionalWrites::unknown)
    }

    fn recall(&self, known: ConditionalWrites) {
        self.0.truth().recalled = Some(known);
    }
}

pub(crate) fn manifest(wanted: &Wanted, schema: Option<u64>) -> Manifest {
    Manifest {
        format: FORMAT.into(),
        id: wanted.id,
        origin: None,
        database: "togather".into(),
        dump: "togather.dump".into(),
        taken_at: wanted.at,
        reason: wanted.reason,
        git_commit: wanted.git_commit.clone(),
        schema,
        bytes: 1,
        sha256: Digest::of(b"dump"),
        server_version: "17.5".into(),
        extensions: BTreeMap::new(),
        rows: BTreeMap::new(),
        fingerprint: Digest::of(b"catalogue"),
        globals: Globals {
            name: "togather.globals.sql".into(),
            bytes: 0,
            sha256: Digest::of(b""),
        },
        properties: None,
        verified_at: None,
        spooled: false,
        database_bytes: 1,
    }
}
