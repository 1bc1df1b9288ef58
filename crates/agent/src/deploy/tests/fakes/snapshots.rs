//! Snapshots of the fakes' world: each verb is one numbered call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use togather_model::{
    Digest, Timestamp, Ulid,
    retention::{Policy, RollbackTarget},
};
use url::Url;

use super::{Truth, outside::Outside};
use crate::snapshots::{
    ConditionalWrites, FORMAT, Globals, Manifest, Progress, Pruned, Reason, Restored, Say,
    SnapshotError, Snapshots, Survey, Wanted, reasons,
};

#[async_trait]
impl Snapshots for Outside {
    async fn create(&self, wanted: &Wanted, say: Say<'_>) -> Result<Manifest, SnapshotError> {
        say(Progress::stage("dumping"));
        let begun = self.call("snapshots.create", |truth| truth.parts.push(wanted.id));
        begun.await.map_err(SnapshotError::Other)?;
        let stored = self.call("snapshots.manifest", |truth| {
            truth.parts.retain(|id| *id != wanted.id);
            let manifest = manifest(wanted, truth.schema);
            truth.snapshots.push(manifest.clone());
            manifest
        });
        stored.await.map_err(|error| {
            self.0.truth().parts.retain(|id| *id != wanted.id);
            SnapshotError::Other(error)
        })
    }

    async fn prove(
        &self,
        snapshot: Ulid,
        operation: Ulid,
        _: Say<'_>,
    ) -> Result<Manifest, SnapshotError> {
        self.restored(snapshot, operation).await?;
        self.marked(snapshot).await.inspect_err(|_| {
            self.0.truth().scratch.retain(|id| *id != operation);
        })
    }

    async fn list(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let listed = self.call("snapshots.list", |truth| truth.snapshots.clone());
        listed.await.map_err(SnapshotError::Other)
    }

    async fn prune(&self, targets: &[RollbackTarget], now: Timestamp) -> Pruned {
        let mut pruned = Pruned::default();
        let forgotten = self.forget_into(&mut pruned.forgotten, targets, now).await;
        pruned.failure = forgotten.err().map(SnapshotError::Other);
        pruned
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
        _: Say<'_>,
    ) -> Result<Restored, SnapshotError> {
        let restored = self.restored(snapshot, operation).await?;
        // Restored it is all the same.
        let snapshot = self.marked(snapshot).await.unwrap_or(restored);
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
            truth.parts.retain(|id| *id != snapshot);
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

impl Outside {
    async fn restored(&self, snapshot: Ulid, operation: Ulid) -> Result<Manifest, SnapshotError> {
        let restored = self.call("snapshots.prove", |truth| {
            truth.scratch.push(operation);
            let mut taken = truth.snapshots.iter();
            taken.find(|taken| taken.id == snapshot).cloned()
        });
        let restored = restored.await.map_err(SnapshotError::Other)?;
        restored.ok_or_else(|| SnapshotError::Other("no such snapshot".into()))
    }

    async fn marked(&self, snapshot: Ulid) -> Result<Manifest, SnapshotError> {
        let marked = self.call("snapshots.mark", |truth| {
            let mut taken = truth.snapshots.iter_mut();
            let proven = taken.find(|taken| taken.id == snapshot)?;
            proven.verified_at = Some(Timestamp::UNIX_EPOCH);
            Some(proven.clone())
        });
        let marked = marked.await.map_err(SnapshotError::Other)?;
        marked.ok_or_else(|| SnapshotError::Other("no such snapshot".into()))
    }

    /// As the store does it: the manifest first, and what is no snapshot any more last.
    async fn forget_into(
        &self,
        forgotten: &mut Vec<String>,
        targets: &[RollbackTarget],
        now: Timestamp,
    ) -> Result<(), String> {
        let listed = self.call("snapshots.prune", |truth| {
            (truth.snapshots.clone(), truth.parts.clone())
        });
        let (snapshots, orphans) = listed.await?;
        let judged = reasons(&snapshots, &self.0.retention, targets, now);
        for (snapshot, reasons) in snapshots.iter().zip(judged) {
            if reasons.is_empty() {
                let unlisted = self.call("snapshots.forget", |truth| {
                    truth.snapshots.retain(|taken| taken.id != snapshot.id);
                    truth.parts.push(snapshot.id);
                });
                unlisted.await?;
                self.remove_parts(snapshot.id).await?;
                forgotten.push(snapshot.dump.clone());
            }
        }
        for orphan in orphans {
            self.remove_parts(orphan).await?;
        }
        Ok(())
    }

    async fn remove_parts(&self, of: Ulid) -> Result<(), String> {
        let removed = |truth: &mut Truth| truth.parts.retain(|id| *id != of);
        self.call("snapshots.remove_parts", removed).await
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
        other_lines: BTreeMap::new(),
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
