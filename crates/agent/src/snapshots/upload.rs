//! One large object on its way into the store: in parts, in constant memory, counted and hashed.

use std::{collections::VecDeque, path::PathBuf};

use bytes::{Bytes, BytesMut};
use object_store::{MultipartUpload, WriteMultipart};
use sha2::{Digest as _, Sha256};
use togather_model::Digest;

use super::error::SnapshotError;

/// The smallest part S3 allows but for the last one.
const PART: usize = 5 << 20;
/// S3 counts parts up to 10,000; a dump of this database gets larger ones in time.
const MOST_PARTS: u64 = 9_000;
/// Parts on their way at once, while the next is filled. More would only take memory: a part takes
/// many times as long as a store takes to answer.
const IN_FLIGHT: usize = 1;
/// How many bytes are written between two looks at how full the disk is.
const LOOK: u64 = 16 << 20;

/// The local disk an object is written to: it may be the one the live database writes to.
struct Disk {
    folder: PathBuf,
    min_free: u64,
    /// After so many bytes it is looked at again.
    next_look: u64,
}

impl Disk {
    /// Refuses to fill it.
    fn look(&mut self, written: u64) -> Result<(), SnapshotError> {
        if written < self.next_look {
            return Ok(());
        }
        self.next_look = written + LOOK;
        let stat = nix::sys::statvfs::statvfs(&self.folder);
        let stat = stat.map_err(|e| SnapshotError::Store {
            doing: format!("say how full {} is", self.folder.display()),
            why: e.to_string(),
        })?;
        let free = stat.blocks_available() * stat.fragment_size();
        match free >= self.min_free {
            true => Ok(()),
            false => Err(SnapshotError::DiskFull {
                folder: self.folder.clone(),
                free,
                wanted: self.min_free,
            }),
        }
    }
}

/// The part that is filled now. The memory of one that was stored is filled again: however long the
/// object is, it takes no more than the parts on their way and the next.
struct Part {
    size: usize,
    filled: BytesMut,
    sent: VecDeque<Bytes>,
}

impl Part {
    fn of(size: usize) -> Self {
        Self {
            size,
            filled: BytesMut::new(),
            sent: VecDeque::new(),
        }
    }

    /// Takes as much as fits; returns the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.filled.capacity() == 0 {
            let stored = self.stored();
            self.filled = stored.unwrap_or_else(|| BytesMut::with_capacity(self.size));
        }
        let (fits, rest) = bytes.split_at(bytes.len().min(self.size - self.filled.len()));
        self.filled.extend_from_slice(fits);
        rest
    }

    fn is_full(&self) -> bool {
        self.filled.len() == self.size
    }

    /// What it was filled with. The next one begins.
    fn take(&mut self) -> Bytes {
        let filled = std::mem::take(&mut self.filled).freeze();
        self.sent.push_back(filled.clone());
        filled
    }

    /// The memory of a part that nobody sends any more.
    fn stored(&mut self) -> Option<BytesMut> {
        for _ in 0..self.sent.len() {
            match self.sent.pop_front()?.try_into_mut() {
                Ok(mut stored) => {
                    stored.clear();
                    return Some(stored);
                }
                Err(under_way) => self.sent.push_back(under_way),
            }
        }
        None
    }
}

/// An object under way. If it is let go of before its end, what was sent of it is taken back.
pub(super) struct Upload {
    name: String,
    /// How many bytes it may have.
    room: u64,
    /// Where it is written, if that is a local disk.
    disk: Option<Disk>,
    part: Part,
    parts: Option<WriteMultipart>,
    sha256: Sha256,
    bytes: u64,
}

impl Upload {
    /// An object of at most so many bytes, told as `name`.
    pub(super) fn of(name: String, begun: Box<dyn MultipartUpload>, at_most: u64) -> Self {
        let part = usize::try_from(at_most / MOST_PARTS)
            .unwrap_or(PART)
            .max(PART);
        Self {
            room: u64::MAX,
            disk: None,
            name,
            part: Part::of(part),
            parts: Some(WriteMultipart::new_with_chunk_size(begun, part)),
            sha256: Sha256::new(),
            bytes: 0,
        }
    }

    /// The same, refusing more than this many bytes.
    pub(super) fn within(mut self, room: u64) -> Self {
        self.room = room;
        self
    }

    /// The same, leaving so many bytes free on the disk of this folder, which it is written to.
    pub(super) fn leaving_free(mut self, folder: PathBuf, min_free: u64) -> Self {
        self.disk = Some(Disk {
            folder,
            min_free,
            next_look: 0,
        });
        self
    }

    /// How much was written.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes; waits while enough parts are on their way.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.bytes + bytes.len() as u64 > self.room {
            return Err(SnapshotError::SpoolFull { room: self.room });
        }
        if let Some(disk) = &mut self.disk {
            disk.look(self.bytes)?;
        }
        let mut rest = self.part.fill(bytes);
        while self.part.is_full() {
            self.send().await?;
            rest = self.part.fill(rest);
        }
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Sends what the part was filled with, once few enough are on their way.
    async fn send(&mut self) -> Result<(), SnapshotError> {
        if let Some(parts) = &mut self.parts {
            let room = parts.wait_for_capacity(IN_FLIGHT).await;
            room.map_err(|e| SnapshotError::store(format!("take {}", self.name), &e))?;
            parts.put(self.part.take());
        }
        Ok(())
    }

    /// Makes the object visible. Returns its size and SHA-256.
    pub(super) async fn finish(mut self) -> Result<(u64, Digest), SnapshotError> {
        if let Some(mut parts) = self.parts.take() {
            parts.put(self.part.take());
            let finished = parts.finish().await;
            finished.map_err(|e| SnapshotError::store(format!("take {}", self.name), &e))?;
        }
        let sha256 = std::mem::take(&mut self.sha256).finalize();
        Ok((self.bytes, Digest::from_bytes(sha256.into())))
    }

    /// Takes back what was sent.
    pub(super) async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            take_back(parts, &self.name).await;
        }
    }
}

async fn take_back(parts: WriteMultipart, name: &str) {
    if let Err(error) = parts.abort().await {
        tracing::warn!(
            %error,
            "what was sent of {name} could not be taken back; a lifecycle rule for unfinished uploads removes it"
        );
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(parts), Ok(runtime)) =
            (self.parts.take(), tokio::runtime::Handle::try_current())
        {
            let name = std::mem::take(&mut self.name);
            runtime.spawn(async move { take_back(parts, &name).await });
        }
    }
}
