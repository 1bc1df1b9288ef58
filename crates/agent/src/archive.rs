//! An image archive on its way in: into a temporary file, counted and hashed, then into Docker.
//! Whatever goes wrong, nothing of it stays.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use togather_model::{Digest, Failure, FailureKind, Image};
use tokio::{fs::File, io::AsyncWriteExt, sync::Mutex, time::timeout};

use crate::{containers::ContainersError, fetches::BUILD_FOR_BOTH, node::Node};

/// The largest archive that is taken, in bytes.
pub const MAX_ARCHIVE_BYTES: u64 = 16 << 30;

/// How long the next piece may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// What temporary files' names begin with, so that those of an interrupted agent are found.
const PREFIX: &str = "incoming-";

/// Where archives come in; one at a time.
pub struct Inbox {
    folder: PathBuf,
    busy: Mutex<()>,
}

impl Inbox {
    /// An inbox in this folder. Leftovers of an interrupted agent are removed.
    ///
    /// # Errors
    /// The folder cannot be read, or a leftover cannot be removed.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            folder,
            busy: Mutex::default(),
        })
    }

    /// Takes an archive in and hands it to Docker, if it is the one that was announced.
    ///
    /// # Errors
    /// It is not: too long, too short, of another digest, or it broke off; or there is no room, or
    /// Docker does not take it.
    pub async fn take(
        &self,
        node: &Node,
        digest: Digest,
        bytes: u64,
        chunks: impl Stream<Item = Result<Bytes, Failure>> + Unpin,
    ) -> Result<(), Failure> {
        let Ok(_alone) = self.busy.try_lock() else {
            return Err(Failure::new(
                FailureKind::Held,
                "another image archive is being sent to this node",
            )
            .next("wait for it to end, then run the command again"));
        };
        refuse_without_room(node, bytes)?;
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempfile_in(&self.folder)
            .map_err(|e| not_written(&e))?;
        receive(&file, digest, bytes, chunks).await?;
        load(node, Image::Archive { digest, bytes }, file.path()).await
    }
}

/// Docker unpacks the archive beside it, so it takes its size twice.
fn refuse_without_room(node: &Node, bytes: u64) -> Result<(), Failure> {
    if bytes > MAX_ARCHIVE_BYTES {
        return Err(Failure::new(
            FailureKind::Other,
            format!(
                "the image archive has {bytes} bytes, and at most {MAX_ARCHIVE_BYTES} are taken"
            ),
        )
        .next("use an image from a registry, or a smaller one"));
    }
    let needed = node.strategy.min_disk_free.saturating_add(2 * bytes);
    let free = node.host.disk_free().map_err(|e| {
        Failure::caused_by(
            FailureKind::Other,
            "the free disk could not be measured",
            &e,
        )
        .next("look at `df -h` on the node")
    })?;
    if free < needed {
        return Err(Failure::new(
            FailureKind::Other,
            format!(
                "the disk has {} MiB free; this image archive needs {} MiB",
                free >> 20,
                needed >> 20
            ),
        )
        .next("free some room: `docker image prune`, old logs, old snapshots"));
    }
    Ok(())
}

async fn receive(
    file: &NamedTempFile,
    digest: Digest,
    bytes: u64,
    mut chunks: impl Stream<Item = Result<Bytes, Failure>> + Unpin,
) -> Result<(), Failure> {
    let wrong = |what: String| {
        Err(Failure::new(FailureKind::Other, what)
            .next("nothing of it was kept; run the command again"))
    };
    let mut to_disk = File::from_std(file.reopen().map_err(|e| not_written(&e))?);
    let (mut hash, mut received) = (Sha256::new(), 0_u64);
    loop {
        let Ok(chunk) = timeout(PATIENCE, chunks.next()).await else {
            return wrong(format!("the image archive stood still for {PATIENCE:?}"));
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk?;
        received += chunk.len() as u64;
        if received > bytes {
            return wrong(format!(
                "the image archive is longer than the {bytes} bytes announced"
            ));
        }
        hash.update(&chunk);
        to_disk
            .write_all(&chunk)
            .await
            .map_err(|e| not_written(&e))?;
    }
    to_disk.flush().await.map_err(|e| not_written(&e))?;
    let found = Digest::from_bytes(hash.finalize().into());
    if received < bytes {
        return wrong(format!(
            "the image archive broke off after {received} of {bytes} bytes"
        ));
    }
    if found != digest {
        return wrong(format!("the image archive is {found}, not {digest}"));
    }
    Ok(())
}

async fn load(node: &Node, image: Image, archive: &Path) -> Result<(), Failure> {
    let refused = |what: &str, e: &ContainersError| {
        let failure = Failure::caused_by(FailureKind::Other, what, e);
        failure.next("make it with `docker save IMAGE > FILE`")
    };
    let loaded = node.containers.load(&image, archive).await;
    loaded.map_err(|e| refused("Docker did not take the image archive", &e))?;
    let fits = node.containers.fits(&image).await;
    fits.map_err(|e| refused("the image archive is of no use here", &e).next(BUILD_FOR_BOTH))
}

fn not_written(error: &io::Error) -> Failure {
    Failure::caused_by(
        FailureKind::Other,
        "the image archive could not be kept",
        error,
    )
    .next("look at `df -h` on the node")
}
