//! Restoring a snapshot beside the live database: read back, restored, compared, marked as proven.

use togather_model::{Timestamp, Ulid};

use super::{
    Dumps, Progress, Restored, Say,
    contents::Contents,
    error::SnapshotError,
    manifest::{Manifest, Names, Verified},
    store::Store,
};
use crate::database::{Database, Properties, major_of, scratch_name, version};

/// What a restored copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be looked at: it belongs to nobody else and talks to nobody else.
    Proof,
    /// To become the live database: owners and privileges are its own.
    Use,
}

/// How PostgreSQL says that somebody may not do something (SQLSTATE 42501).
const REFUSED: [&str; 3] = ["permission denied", "must be superuser", "must be owner"];

impl Dumps {
    /// Restores a snapshot into the scratch database of this operation, and compares. The scratch
    /// database stays if, and only if, it is what the manifest says.
    pub(super) async fn restore_and_compare(
        &self,
        store: &Store,
        snapshot: Ulid,
        operation: Ulid,
        purpose: Purpose,
        say: Say<'_>,
    ) -> Result<Restored, SnapshotError> {
        let snapshot = store.find(snapshot).await?;
        self.must_be_new_enough_for(&snapshot).await?;
        self.must_fit(true).await?;
        // First: what turns out to be damaged touches nothing. A dump without its roles cannot take
        // the live database's place, so nothing is proven without them.
        let globals = store.globals(&snapshot).await?;
        let beside = self.copy_beside(store, &snapshot, operation, say).await?;
        let proven = async {
            let mut notes = self.make_roles(&globals, purpose, operation).await?;
            let original = snapshot.properties.as_ref();
            notes.extend(self.database.create_scratch(operation, original).await?);
            let from_file = beside.is_some();
            let loaded = self.load(store, &snapshot, operation, purpose, from_file, say);
            if let Err(first) = loaded.await {
                let Some(note) = self.without_privileges(purpose, &first).await else {
                    return Err(first);
                };
                notes.push(note);
                self.database.drop_scratch(operation).await?;
                self.database.create_scratch(operation, original).await?;
                let proof = Purpose::Proof;
                let again = self.load(store, &snapshot, operation, proof, from_file, say);
                again.await.map_err(|_| first)?;
            }
            // Of a snapshot that does not know them, those of the live database.
            let wanted = match original {
                Some(original) => Some(original.clone()),
                None => self.database.live_properties().await?,
            };
            if let Some(wanted) = &wanted {
                notes.extend(self.database.give_settings(operation, wanted).await?);
            }
            say(Progress::stage("comparing what was restored"));
            self.compare(&snapshot, operation).await?;
            if let (Purpose::Use, Some(wanted)) = (purpose, &wanted) {
                notes.extend(self.database.give_properties(operation, wanted).await?);
            }
            notes.extend(original.and_then(without_subscriptions));
            Ok(notes)
        };
        let proven = proven.await;
        drop(beside);
        match proven {
            Ok(notes) => Ok(Restored { snapshot, notes }),
            Err(e) => {
                self.drop_copy(operation).await;
                Err(e)
            }
        }
    }

    /// Who is no superuser may not be able to grant what others granted, or to publish all tables;
    /// the data, which is what was proven, comes back all the same. What to say of that; `None`: it
    /// is something else.
    async fn without_privileges(&self, purpose: Purpose, error: &SnapshotError) -> Option<String> {
        let SnapshotError::Program { said, .. } = error else {
            return None;
        };
        let is_refused = REFUSED.iter().any(|refused| said.contains(refused));
        let is_superuser = self.database.is_superuser().await;
        if purpose == Purpose::Proof || !is_refused || is_superuser.unwrap_or(true) {
            return None;
        }
        Some(format!(
            "privileges and publications were not restored, because {} may not make them all: {error}; make them by hand",
            self.database.user()
        ))
    }

    /// A server reads what older ones wrote, and no newer one's: refused before anything is made.
    async fn must_be_new_enough_for(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        // The live database may be gone: that is what restores are for.
        let mut session = self.database.aside().await?;
        let server = version(&mut session).await?;
        if major_of(&server) >= major_of(&manifest.server_version) {
            return Ok(());
        }
        Err(SnapshotError::TooNew {
            dump: manifest.dump.clone(),
            taken_of: manifest.server_version.clone(),
            server,
        })
    }

    /// Drops the scratch database of something that failed already.
    pub(super) async fn drop_copy(&self, operation: Ulid) {
        if let Err(error) = self.database.drop_scratch(operation).await {
            tracing::warn!(%error, "the scratch database of {operation} is left behind");
        }
    }

    async fn compare(&self, manifest: &Manifest, operation: Ulid) -> Result<(), SnapshotError> {
        let scratch = scratch_name(operation);
        let mut copy = self.database.session_in(&scratch, "togather-agent").await?;
        let differences = Contents::count(&mut copy).await?.differences(manifest);
        if differences.is_empty() {
            return Ok(());
        }
        Err(SnapshotError::Differs {
            dump: manifest.dump.clone(),
            differences,
        })
    }

    /// Takes back that this snapshot was verified, if the error says that it is not whole.
    pub(super) async fn doubt(store: &Store, snapshot: Ulid, error: &SnapshotError) {
        if !matches!(
            error,
            SnapshotError::Damaged { .. } | SnapshotError::Differs { .. }
        ) {
            return;
        }
        let unmarked = async {
            let manifest = store.find(snapshot).await?;
            let names =
                Names::of_part(&manifest.dump).ok_or(SnapshotError::Unknown(manifest.id))?;
            store.remove(&names.verified()).await
        };
        if let Err(error) = unmarked.await {
            tracing::error!(%error, %snapshot, "it is not whole, but still marked as verified");
        }
    }

    pub(super) async fn mark_verified(
        store: &Store,
        manifest: &mut Manifest,
    ) -> Result<(), SnapshotError> {
        let verified_at = Timestamp::now();
        let mark = Verified {
            id: manifest.id,
            sha256: manifest.sha256,
            verified_at,
        };
        let names = Names::of_part(&manifest.dump).ok_or(SnapshotError::Unknown(manifest.id))?;
        store.replace(&names.verified(), &mark).await?;
        manifest.verified_at = Some(verified_at);
        Ok(())
    }
}

fn without_subscriptions(original: &Properties) -> Option<String> {
    let subscriptions = original.subscriptions.join(", ");
    (!subscriptions.is_empty()).then(|| {
        format!(
            "the subscription {subscriptions} was not restored: two databases would both take what it brings"
        )
    })
}
