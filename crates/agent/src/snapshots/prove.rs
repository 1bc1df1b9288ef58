//! Restoring a snapshot beside the live database: read back, restored, compared, marked as proven.

use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use togather_model::{Digest, Timestamp, Ulid};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::{
    Dumps,
    contents::Contents,
    dump::conninfo,
    error::SnapshotError,
    manifest::{Manifest, Names, Verified},
    program::{Meter, Progress, Say, Sink, Stdin},
    store::Store,
};
use crate::database::{Database, scratch_name};

/// What a restored copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be looked at: it belongs to nobody else and talks to nobody else.
    Proof,
    /// To become the live database: owners and privileges are its own.
    Use,
}

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
    ) -> Result<Manifest, SnapshotError> {
        let manifest = store.find(snapshot).await?;
        if purpose == Purpose::Use {
            self.make_roles(store, &manifest).await?;
        }
        self.database.create_scratch(operation).await?;
        let proven = async {
            self.restore(store, &manifest, operation, purpose, say)
                .await?;
            say(Progress::stage("comparing what was restored"));
            self.compare(&manifest, operation).await
        };
        if let Err(e) = proven.await {
            self.drop_copy(operation).await;
            return Err(e);
        }
        Ok(manifest)
    }

    /// Drops the scratch database of something that failed already.
    pub(super) async fn drop_copy(&self, operation: Ulid) {
        if let Err(error) = self.database.drop_scratch(operation).await {
            tracing::warn!(%error, "the scratch database of {operation} is left behind");
        }
    }

    /// Streams the dump from the store through SHA-256 into `pg_restore`.
    async fn restore(
        &self,
        store: &Store,
        manifest: &Manifest,
        operation: Ulid,
        purpose: Purpose,
        say: Say<'_>,
    ) -> Result<(), SnapshotError> {
        let scratch = format!("--dbname={}", conninfo(&scratch_name(operation)));
        let mut arguments = vec!["--format=custom", "--exit-on-error", "--no-subscriptions"];
        match purpose {
            Purpose::Proof => {
                arguments.extend(["--no-owner", "--no-privileges", "--no-publications"]);
            }
            // Who is no superuser cannot give things to others; they are its own then.
            Purpose::Use if !self.database.is_superuser().await? => arguments.push("--no-owner"),
            Purpose::Use => {}
        }
        arguments.push(&scratch);
        let (stdin, program) = self.start("pg_restore", operation, &arguments).await?;
        let ended = CancellationToken::new();
        let followed = async {
            let followed = program.follow(Sink::Nowhere).await;
            ended.cancel();
            followed
        };
        let progress = Meter::new("restored", Some(manifest.bytes), say);
        let fed = self.feed(store, manifest, stdin, &ended, progress);
        let (followed, fed) = tokio::join!(followed, fed);
        // Said first: damage explains whatever pg_restore made of it.
        fed?;
        followed
    }

    /// Feeds the dump to `pg_restore`. Reads it to its end even if nobody takes it any more, to tell
    /// a damaged dump from one that cannot be restored.
    async fn feed(
        &self,
        store: &Store,
        manifest: &Manifest,
        stdin: Stdin,
        ended: &CancellationToken,
        mut progress: Meter<'_>,
    ) -> Result<(), SnapshotError> {
        let mut stdin = Some(stdin);
        let mut sha256 = Sha256::new();
        let mut bytes = 0;
        let mut pieces = store.pieces(&manifest.dump, manifest.bytes);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            sha256.update(&piece);
            bytes += piece.len() as u64;
            let taken = match &mut stdin {
                Some(stdin) => tokio::select! {
                    written = stdin.write_all(&piece) => written.is_ok(),
                    () = ended.cancelled() => false,
                },
                None => false,
            };
            if !taken {
                stdin = None;
            }
            progress.tell(bytes);
        }
        let found = Digest::from_bytes(sha256.finalize().into());
        if bytes != manifest.bytes || found != manifest.sha256 {
            return Err(SnapshotError::Damaged {
                dump: manifest.dump.clone(),
                why: format!(
                    "{bytes} bytes with {found} were read, {} bytes with {} were stored",
                    manifest.bytes, manifest.sha256
                ),
            });
        }
        if let Some(mut stdin) = stdin {
            // How it ended is for pg_restore's exit code to say.
            let _ = stdin.shutdown().await;
        }
        Ok(())
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

    pub(super) async fn mark_verified(&self, manifest: &mut Manifest) -> Result<(), SnapshotError> {
        let verified_at = Timestamp::now();
        let mark = Verified {
            id: manifest.id,
            sha256: manifest.sha256,
            verified_at,
        };
        let names = Names::of_part(&manifest.dump).ok_or(SnapshotError::Unknown(manifest.id))?;
        self.store.replace(&names.verified(), &mark).await?;
        manifest.verified_at = Some(verified_at);
        Ok(())
    }
}
