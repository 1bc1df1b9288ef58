//! From the store into a scratch database.
//!
//! `pg_restore` works in parallel only from a file. So the dump is first copied beside the database,
//! into the container's own `/var/tmp`, which checks its SHA-256 before anything is made of it.
//! Where that cannot be, for want of room or because the container is read-only, it is streamed into
//! a single `pg_restore`, in constant space. So it always is into a database elsewhere: that may be
//! larger than all of this machine's disk, and a file would have to be handed from container to
//! container.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use togather_model::{Digest, Ulid};
use tokio::{io::AsyncWriteExt, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Dumps, Say,
    dump::{conninfo, quoted_value},
    error::SnapshotError,
    manifest::Manifest,
    program::{Meter, Sink, Stdin},
    programs::Programs,
    prove::Purpose,
    store::Store,
};
use crate::{containers::Exec, database::scratch_name};

/// How many tables and indexes are restored at once: more would starve the live database.
const JOBS: &str = "--jobs=2";
/// Where dumps lie beside the database, in its container, and how their names begin.
pub(super) const FOLDER: &str = "/var/tmp";
pub(super) const BESIDE: &str = "togather_restore_";
/// Nor does one index get processes of its own: two at work are two, and leave the rest to the live
/// database. Tried on two cores with a million rows and five indexes, it took no longer (21 s).
const UNAIDED: &str = "-cmax_parallel_maintenance_workers=0";
/// The stage, for people.
const RESTORING: &str = "restoring it beside the live database";
/// How often the growing database is measured.
const PACE: Duration = Duration::from_secs(2);

/// The dump as a file in the database's container; let go of, the file is removed.
pub(super) struct Beside {
    exec: Arc<dyn Exec>,
    service: String,
    path: String,
}

impl Drop for Beside {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let exec = Arc::clone(&self.exec);
        let (service, path) = (
            std::mem::take(&mut self.service),
            std::mem::take(&mut self.path),
        );
        runtime.spawn(async move { remove(&*exec, &service, &path).await });
    }
}

async fn remove(exec: &dyn Exec, service: &str, path: &str) {
    let command = ["rm", "-f", path].map(str::to_owned);
    let removed = async {
        let mut process = exec.exec(service, &command, &[]).await?;
        while process.output.next().await.transpose()?.is_some() {}
        process.exit_code.await
    };
    if let Err(error) = removed.await {
        tracing::warn!(%error, "{path} in the container of {service} may be left behind");
    }
}

fn path_beside(operation: Ulid) -> String {
    let id = operation.to_string().to_lowercase();
    format!("{FOLDER}/{BESIDE}{id}")
}

impl Dumps {
    /// Copies the dump beside the database, checking it on the way; `None`: that cannot be.
    pub(super) async fn copy_beside(
        &self,
        store: &Store,
        manifest: &Manifest,
        operation: Ulid,
        say: Say<'_>,
    ) -> Result<Option<Beside>, SnapshotError> {
        let Programs::InService { exec, service } = &self.programs else {
            return Ok(None);
        };
        let beside = Beside {
            exec: Arc::clone(exec),
            service: service.clone(),
            path: path_beside(operation),
        };
        let output = format!("of={}", beside.path);
        let command = ["dd", &output, "bs=1M"].map(str::to_owned);
        let (stdin, program) = match self.launch("dd", &command, operation).await {
            Ok(started) => started,
            Err(error) => {
                tracing::warn!(%error, "the dump is streamed instead of copied");
                return Ok(None);
            }
        };
        let ended = CancellationToken::new();
        let followed = async {
            let followed = program.follow(Sink::Nowhere).await;
            ended.cancel();
            followed
        };
        let progress = Meter::new("reading the snapshot back", Some(manifest.bytes), say);
        let fed = self.feed(store, manifest, stdin, &ended, progress);
        let (followed, fed) = tokio::join!(followed, fed);
        fed?;
        if let Err(error) = followed {
            tracing::warn!(%error, "the dump is streamed instead of copied");
            return Ok(None);
        }
        Ok(Some(beside))
    }

    /// Removes what an interruption left beside the database.
    pub(super) async fn remove_beside(&self, operation: Ulid) {
        if let Programs::InService { exec, service } = &self.programs {
            remove(&**exec, service, &path_beside(operation)).await;
        }
    }

    /// Runs `pg_restore`, from the file beside or from the store.
    pub(super) async fn load(
        &self,
        store: &Store,
        manifest: &Manifest,
        operation: Ulid,
        purpose: Purpose,
        from_file: bool,
        say: Say<'_>,
    ) -> Result<(), SnapshotError> {
        let scratch = conninfo(&scratch_name(operation));
        // Said here, it takes the place of what a program elsewhere is told by its environment.
        let options = match &self.programs {
            Programs::OneShot { .. } => self.database.session_options(),
            Programs::InService { .. } => "",
        };
        let options = quoted_value(&format!("{options} {UNAIDED}"));
        let scratch = format!("--dbname={scratch} options={options}");
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
        let path = path_beside(operation);
        if from_file {
            arguments.extend([JOBS, &path]);
        }
        let (stdin, program) = self.start("pg_restore", operation, &arguments).await?;
        if from_file {
            let size = manifest.database_bytes;
            return tokio::select! {
                ended = program.follow(Sink::Nowhere) => ended,
                never = self.tell_growth(operation, size, say) => match never {},
            };
        }
        let ended = CancellationToken::new();
        let followed = async {
            let followed = program.follow(Sink::Nowhere).await;
            ended.cancel();
            followed
        };
        let progress = Meter::new(RESTORING, Some(manifest.bytes), say);
        let fed = self.feed(store, manifest, stdin, &ended, progress);
        let (followed, fed) = tokio::join!(followed, fed);
        // Said first: damage explains whatever pg_restore made of it.
        fed?;
        followed
    }

    /// Tells how large the scratch database has become, for as long as anybody listens.
    async fn tell_growth(
        &self,
        operation: Ulid,
        size: u64,
        say: Say<'_>,
    ) -> std::convert::Infallible {
        let mut progress = Meter::new(RESTORING, (size > 0).then_some(size), say);
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.database.size_of(&scratch_name(operation)).await {
                Ok(grown) => progress.tell(grown),
                Err(error) => tracing::debug!(%error, "the scratch database was not measured"),
            }
        }
    }

    /// Feeds the dump to a program. Reads it to its end even if nobody takes it any more, to tell a
    /// damaged dump from one that cannot be restored.
    async fn feed(
        &self,
        store: &Store,
        manifest: &Manifest,
        mut stdin: Stdin,
        ended: &CancellationToken,
        progress: Meter<'_>,
    ) -> Result<(), SnapshotError> {
        let poured = self.pour(store, manifest, &mut stdin, ended, progress);
        let poured = poured.await;
        // Whatever came of it: left open, the program would wait for more for ever. How it ends is
        // for its exit code to say.
        tokio::select! {
            _ = stdin.shutdown() => {}
            () = ended.cancelled() => {}
        }
        poured
    }

    async fn pour(
        &self,
        store: &Store,
        manifest: &Manifest,
        stdin: &mut Stdin,
        ended: &CancellationToken,
        mut progress: Meter<'_>,
    ) -> Result<(), SnapshotError> {
        let mut is_taken = true;
        let mut sha256 = Sha256::new();
        let mut bytes = 0;
        let mut pieces = store.pieces(&manifest.dump, manifest.bytes);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            sha256.update(&piece);
            bytes += piece.len() as u64;
            if is_taken {
                is_taken = tokio::select! {
                    written = stdin.write_all(&piece) => written.is_ok(),
                    () = ended.cancelled() => false,
                };
            }
            progress.tell(bytes);
        }
        let found = Digest::from_bytes(sha256.finalize().into());
        if bytes == manifest.bytes && found == manifest.sha256 {
            return Ok(());
        }
        Err(SnapshotError::Damaged {
            dump: manifest.dump.clone(),
            why: format!(
                "{bytes} bytes with {found} were read, {} bytes with {} were stored",
                manifest.bytes, manifest.sha256
            ),
        })
    }
}
