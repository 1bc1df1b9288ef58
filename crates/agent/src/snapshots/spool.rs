//! The spool: where a scheduled snapshot waits on the node's own disk while the store takes none.
//!
//! It is a place like any other, so what waits there is a whole snapshot. It is brought to the store
//! part by part with the manifest last, and only then removed here: an interruption at any instant
//! loses nothing and leaves no half of one in the store.

use futures::StreamExt;
use togather_model::Ulid;

use super::{
    Dumps,
    error::SnapshotError,
    manifest::{Manifest, Names, Verified, Wanted},
    program::{Progress, Say},
    store::{Store, json},
};

impl Dumps {
    /// Takes a snapshot into the spool, because the store did not take it.
    pub(super) async fn take_aside(
        &self,
        spool: &Store,
        wanted: &Wanted,
        say: Say<'_>,
        first: SnapshotError,
    ) -> Result<Manifest, SnapshotError> {
        tracing::warn!(error = %first, "the snapshot goes into the spool");
        say(Progress::stage(format!("spooling, because {first}")));
        let taken = async {
            spool.make_room().await?;
            self.take_into(spool, wanted, say).await
        };
        let mut taken = taken.await.map_err(|second| SnapshotError::NotSpooled {
            first: Box::new(first),
            source: Box::new(second),
        })?;
        taken.spooled = true;
        Ok(taken)
    }

    /// Brings the oldest that is spooled to the store.
    pub(super) async fn deliver_oldest(&self) -> Result<Option<String>, SnapshotError> {
        let _alone = self.delivering.lock().await;
        self.store.take_uploads_back().await;
        let Some(spool) = &self.spool else {
            return Ok(None);
        };
        let waiting = spool.survey().await?.snapshots;
        if waiting.is_empty() {
            return Ok(None);
        }
        self.store.prepare().await?;
        let mut first = None;
        for manifest in waiting.into_iter().rev() {
            match self.deliver_one(spool, &manifest).await {
                Ok(()) => return Ok(Some(manifest.dump)),
                Err(error @ SnapshotError::Store { .. }) => return Err(first.unwrap_or(error)),
                // One that cannot be delivered must not keep the newer ones from it.
                Err(error) => {
                    tracing::warn!(%error, dump = manifest.dump, "it waits on in the spool");
                    first = first.or(Some(error));
                }
            }
        }
        first.map_or(Ok(None), Err)
    }

    async fn deliver_one(&self, spool: &Store, manifest: &Manifest) -> Result<(), SnapshotError> {
        let names = Names::of_part(&manifest.dump).ok_or(SnapshotError::Unknown(manifest.id))?;
        match self.store.find(manifest.id).await {
            // An interruption came between its delivery and the clearing of the spool; or the store
            // had taken it after all, and only the answer was lost. What is whole there stays.
            Ok(_) => {}
            Err(SnapshotError::Unknown(_) | SnapshotError::Unreadable(_)) => {
                // What is there of it is left over from when the store went away.
                self.store.remove_parts(&names).await?;
                self.bring(spool, manifest, &names).await?;
            }
            Err(error) => return Err(error),
        }
        spool.remove_parts(&names).await
    }

    async fn bring(
        &self,
        spool: &Store,
        manifest: &Manifest,
        names: &Names,
    ) -> Result<(), SnapshotError> {
        match self.store.find(manifest.id).await {
            // It took the snapshot after all, and only its answer was lost.
            Ok(_) => return Ok(()),
            // Parts of an earlier try would be in the way.
            Err(SnapshotError::Unknown(_) | SnapshotError::Unreadable(_)) => {
                self.store.remove_parts(names).await?;
            }
            Err(error) => return Err(error),
        }
        let globals = &manifest.globals;
        let sql = spool.bytes(&globals.name, globals.bytes).await?;
        self.store.create(&globals.name, sql).await?;
        let mut upload = self.store.upload(&names.dump(), manifest.bytes).await?;
        let mut pieces = std::pin::pin!(spool.pieces(&manifest.dump, manifest.bytes));
        while let Some(piece) = pieces.next().await {
            let written = match piece {
                Ok(piece) => upload.write(&piece).await,
                Err(e) => Err(e),
            };
            if let Err(e) = written {
                upload.abort().await;
                return Err(e);
            }
        }
        let (bytes, sha256) = upload.finish().await?;
        if (bytes, sha256) != (manifest.bytes, manifest.sha256) {
            self.store.remove_parts(names).await?;
            return Err(SnapshotError::Damaged {
                dump: manifest.dump.clone(),
                why: "what lay in the spool is not what was stored there".into(),
            });
        }
        if let Some(verified_at) = manifest.verified_at {
            let mark = Verified {
                id: manifest.id,
                sha256: manifest.sha256,
                verified_at,
            };
            self.store.replace(&names.verified(), &mark).await?;
        }
        let stored = Manifest {
            verified_at: None,
            spooled: false,
            ..manifest.clone()
        };
        let name = names.manifest();
        self.store.create(&name, json(&name, &stored)?).await
    }

    /// Clears away what an interruption left of a snapshot, in the spool and in the store.
    pub(super) async fn clear_away_interrupted(
        &self,
        id: Ulid,
    ) -> Result<Option<Manifest>, SnapshotError> {
        // What is being delivered is not left over.
        let _alone = self.delivering.lock().await;
        self.store.take_uploads_back().await;
        // The spool first: what is whole there is no leftover in the store either.
        let places = self.spool.iter().chain(std::iter::once(&self.store));
        let mut first = None;
        for place in places {
            match place.find(id).await {
                Ok(whole) => return Ok(Some(whole)),
                Err(SnapshotError::Unknown(_) | SnapshotError::Unreadable(_)) => {
                    place.remove_unfinished(id).await?;
                    place.remove_parts_of(id).await?;
                }
                // The store may be away, which must not keep the spool from being looked at.
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(None), Err)
    }
}

impl Store {
    /// Lets go of the oldest that wait here until half of the room is free: the newest tell more.
    /// The last one stays: nothing is there yet to take its place.
    async fn make_room(&self) -> Result<(), SnapshotError> {
        let Some(at_most) = self.at_most() else {
            return Ok(());
        };
        self.prepare().await?;
        let mut waiting = self.survey().await?.snapshots;
        while waiting.len() > 1
            && self.used().await? > at_most / 2
            && let Some(oldest) = waiting.pop()
        {
            let names = Names::of_part(&oldest.dump).ok_or(SnapshotError::Unknown(oldest.id))?;
            tracing::warn!(
                dump = oldest.dump,
                "the spool is full; its oldest snapshot goes"
            );
            self.remove_parts(&names).await?;
        }
        Ok(())
    }
}
