//! Forgetting snapshots, by policy and by name.

use std::time::Duration;

use togather_model::{
    Timestamp, Ulid,
    retention::{Facts, Policy, Reason, RollbackTarget, judge},
};

use super::{
    Dumps, Pruned, Snapshots,
    error::SnapshotError,
    manifest::{Manifest, Names},
    shelf::Orphan,
};

/// Parts without a manifest are left alone for as long as a snapshot under way could take.
const UNDER_WAY: Duration = Duration::from_secs(24 * 3600);

impl Orphan {
    /// Whether it can be of no snapshot under way any more, so that the next prune removes it.
    #[must_use]
    pub fn is_left_over(&self, now: Timestamp) -> bool {
        let age = self.stored_at.duration_until(now);
        age.is_positive() && age.unsigned_abs() > UNDER_WAY
    }
}

impl Dumps {
    /// Forgets what nothing asks to keep.
    pub(super) async fn forget_by_policy(
        &self,
        rollback_targets: &[RollbackTarget],
        now: Timestamp,
    ) -> Pruned {
        let mut forgotten = Vec::new();
        let pruned = self.forget_into(&mut forgotten, rollback_targets, now);
        let failure = pruned.await.err();
        Pruned { forgotten, failure }
    }

    async fn forget_into(
        &self,
        forgotten: &mut Vec<String>,
        rollback_targets: &[RollbackTarget],
        now: Timestamp,
    ) -> Result<(), SnapshotError> {
        let survey = self.survey().await?;
        let judged = reasons(&survey.snapshots, &self.retention, rollback_targets, now);
        for (snapshot, reasons) in survey.snapshots.iter().zip(judged) {
            if reasons.is_empty() {
                self.remove(snapshot).await?;
                forgotten.push(snapshot.dump.clone());
            }
        }
        let arriving = self.spooled().await?;
        for orphan in survey.orphans {
            let is_arriving = |names: Names| arriving.iter().any(|s| names.are_of(s.id));
            if orphan.is_left_over(now) && !Names::of_part(&orphan.name).is_some_and(is_arriving) {
                self.store.remove(&orphan.name).await?;
                forgotten.push(orphan.name);
            }
        }
        match survey.unreadable.is_empty() {
            true => Ok(()),
            // Everything else is done; this has to be looked at by somebody.
            false => Err(SnapshotError::Unreadable(survey.unreadable)),
        }
    }

    /// Forgets this snapshot, whatever the policy says.
    ///
    /// # Errors
    /// There is no such snapshot, or the store does not do it.
    pub async fn forget(&self, id: Ulid) -> Result<(), SnapshotError> {
        let manifest = self.store.find(id).await?;
        self.remove(&manifest).await
    }

    async fn remove(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let names = Names::of_part(&manifest.dump).ok_or(SnapshotError::Unknown(manifest.id))?;
        self.store.remove_parts(&names).await
    }
}

/// Why each of these is kept, in the order given; no reason means that it is not.
#[must_use]
pub fn reasons(
    snapshots: &[Manifest],
    retention: &Policy,
    rollback_targets: &[RollbackTarget],
    now: Timestamp,
) -> Vec<Vec<Reason>> {
    let facts: Vec<Facts> = snapshots.iter().map(facts).collect();
    let judged = judge(&facts, retention, rollback_targets, now);
    judged.into_iter().map(|(_, reasons)| reasons).collect()
}

fn facts(manifest: &Manifest) -> Facts {
    Facts {
        id: manifest.id,
        taken_at: manifest.taken_at,
        verified: manifest.verified_at.is_some(),
        schema: manifest.schema,
    }
}
