//! The spool: where a scheduled snapshot waits on the node's own disk while the store takes none.
//!
//! It is a place like any other, so what waits there is a whole snapshot. It is brought to the store
//! part by part with the manifest last, and only then removed here: an interruption at any instant
//! loses nothing and leaves no half of one in the store.

use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use togather_model::{Digest, Timestamp, Ulid};

use super::{
    Dumps, Progress, Say,
    error::SnapshotError,
    manifest::{Manifest, Names, Verified, Wanted},
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
        let there = spool.survey().await?;
        // Left over from when one was removed and the power went, it would take room for ever.
        for orphan in there.orphans {
            if orphan.is_left_over(Timestamp::now()) {
                spool.remove(&orphan.name).await?;
            }
        }
        let waiting = there.snapshots;
        if waiting.is_empty() {
            return Ok(None);
        }
        self.store.prepare().await?;
        let mut first = None;
        for manifest in waiting.into_iter().rev() {
            match self.deliver_one(spool, &manifest).await {
                Ok(true) => return Ok(Some(manifest.dump)),
                Ok(false) => {}
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

    /// Returns whether it has left the spool.
    async fn deliver_one(&self, spool: &Store, manifest: &Manifest) -> Result<bool, SnapshotError> {
        let names = Names::of_part(&manifest.dump).ok_or(SnapshotError::Unknown(manifest.id))?;
        let delivered = match self.store.find(manifest.id).await {
            // An interruption came between its delivery and the clearing of the spool; or the store
            // had taken it after all, and only the answer was lost. What is whole there stays.
            Ok(whole) => whole,
            Err(SnapshotError::Unknown(_) | SnapshotError::Unreadable(_)) => {
                Self::must_be_whole(spool, manifest).await?;
                // What is there of it is left over from when the store went away.
                self.store.remove_parts(&names).await?;
                self.bring(spool, manifest, &names).await?;
                // It may have taken days: only what is whole in the store now is delivered.
                self.store.find(manifest.id).await?
            }
            Err(error) => return Err(error),
        };
        // Asked again: it may have been proven here meanwhile.
        let here = spool.find(manifest.id).await?;
        if let (Some(verified_at), None) = (here.verified_at, delivered.verified_at) {
            let mark = Verified {
                id: manifest.id,
                sha256: manifest.sha256,
                verified_at,
            };
            self.store.replace(&names.verified(), &mark).await?;
        }
        if self.is_in_use(manifest.id) {
            // Whoever reads it here reads it to its end. The next delivery clears it away.
            return Ok(false);
        }
        spool.remove_parts(&names).await?;
        Ok(true)
    }

    /// What rotted in the spool is not sent, not even once: it would be again and again.
    async fn must_be_whole(spool: &Store, manifest: &Manifest) -> Result<(), SnapshotError> {
        spool.globals(manifest).await?;
        let mut sha256 = Sha256::new();
        let mut pieces = std::pin::pin!(spool.pieces(&manifest.dump, manifest.bytes));
        while let Some(piece) = pieces.next().await {
            sha256.update(&piece?);
        }
        if Digest::from_bytes(sha256.finalize().into()) == manifest.sha256 {
            return Ok(());
        }
        Err(SnapshotError::Damaged {
            dump: manifest.dump.clone(),
            why: "what lies in the spool is not what was stored there; remove its files there by hand"
                .into(),
        })
    }

    async fn bring(
        &self,
        spool: &Store,
        manifest: &Manifest,
        names: &Names,
    ) -> Result<(), SnapshotError> {
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
        let sql = spool.globals(manifest).await?;
        self.store.create(&manifest.globals.name, sql).await?;
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
        self.store.take_uploads_back().await;
        // The spool first: what is whole there is no leftover in the store either, but perhaps on its
        // way into it. That may take hours, and is not waited for.
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
    /// The last one stays, and the last that is verified: nothing is there yet to take its place.
    async fn make_room(&self) -> Result<(), SnapshotError> {
        let Some(at_most) = self.at_most() else {
            return Ok(());
        };
        self.prepare().await?;
        let waiting = self.survey().await?.snapshots;
        let verified = waiting.iter().find(|s| s.verified_at.is_some());
        let stays = [waiting.first(), verified].map(|s| s.map(|s| s.id));
        for oldest in waiting.iter().rev() {
            if stays.contains(&Some(oldest.id)) {
                continue;
            }
            if self.used().await? <= at_most / 2 {
                break;
            }
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
