//! Uploads in parts, each noted on the node's own disk before its first part is sent.
//!
//! A store keeps the parts of an upload that was never finished, unseen and paid for. The note says
//! what to take back when an interruption left no other trace of it.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use object_store::{
    MultipartId, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutResult, UploadPart,
    multipart::{MultipartStore, PartId},
    path::Path,
};

use super::error::SnapshotError;

/// The uploads to one place.
#[derive(Clone)]
pub(super) struct Uploads {
    store: Arc<dyn MultipartStore>,
    /// The same store, to see what has become of an upload.
    objects: Arc<dyn ObjectStore>,
    notes: PathBuf,
    /// Those that this very agent has under way.
    active: Arc<Mutex<BTreeSet<String>>>,
}

impl Uploads {
    /// Uploads to this store, noted in this folder.
    pub(super) fn noted_in<T: ObjectStore + MultipartStore>(notes: PathBuf, store: Arc<T>) -> Self {
        Self {
            objects: Arc::clone(&store) as _,
            store,
            notes,
            active: Arc::default(),
        }
    }

    /// Begins the upload of this object, whose last segment is `name`.
    pub(super) async fn begin(&self, name: &str, path: &Path) -> Result<Noted, SnapshotError> {
        let begun = self.store.create_multipart(path).await;
        let id = begun.map_err(|e| SnapshotError::store(format!("begin {name}"), &e))?;
        self.active().insert(name.to_owned());
        let noted = Noted {
            uploads: self.clone(),
            name: name.to_owned(),
            path: path.clone(),
            id,
            parts: Arc::default(),
            begun: 0,
            sent: 0,
        };
        let note = format!("{path}\n{}", noted.id);
        let written = async {
            tokio::fs::create_dir_all(&self.notes).await?;
            tokio::fs::write(self.notes.join(name), note).await
        };
        match written.await {
            Ok(()) => Ok(noted),
            Err(error) => {
                let mut noted = noted;
                let _ = noted.abort().await;
                Err(unnoted(name, &error))
            }
        }
    }

    /// Takes back what interrupted uploads left in the store.
    pub(super) async fn take_back(&self) -> Result<(), SnapshotError> {
        let mut entries = match tokio::fs::read_dir(&self.notes).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|e| unnoted("uploads", &e))?,
        };
        let broken = |e: io::Error| unnoted("uploads", &e);
        let mut first = None;
        while let Some(entry) = entries.next_entry().await.map_err(broken)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.active().contains(&name) {
                continue;
            }
            let note = match tokio::fs::read_to_string(entry.path()).await {
                // Somebody else has just taken it back.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                note => note.map_err(broken)?,
            };
            if let Some((path, id)) = note.split_once('\n') {
                // As it was noted: made anew, what is escaped in it would be escaped once more.
                let path = Path::parse(path).map_err(|e| SnapshotError::Store {
                    doing: format!("take back what was sent of {name}"),
                    why: e.to_string(),
                })?;
                let id = id.to_owned();
                match self.store.abort_multipart(&path, &id).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    // One that cannot be taken back must not keep the others.
                    Err(e) => {
                        let doing = format!("take back what was sent of {name}");
                        first.get_or_insert(SnapshotError::store(doing, &e));
                        continue;
                    }
                }
            }
            match tokio::fs::remove_file(entry.path()).await {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(broken(e)),
                _ => {}
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn active(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is_over(&self, name: &str) {
        if let Err(error) = tokio::fs::remove_file(self.notes.join(name)).await {
            tracing::debug!(%error, "the note of the upload of {name} stays");
        }
        self.active().remove(name);
    }
}

fn unnoted(name: &str, error: &io::Error) -> SnapshotError {
    SnapshotError::Store {
        doing: format!("begin {name}, because it could not be noted on the node's own disk"),
        why: error.to_string(),
    }
}

/// An upload under way.
pub(super) struct Noted {
    uploads: Uploads,
    name: String,
    path: Path,
    id: MultipartId,
    parts: Arc<Mutex<Vec<(usize, PartId)>>>,
    begun: usize,
    /// How many bytes all its parts have.
    sent: u64,
}

impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Noted").field(&self.name).finish()
    }
}

impl Drop for Noted {
    /// However it ended: what is still noted is there to be taken back.
    fn drop(&mut self) {
        self.uploads.active().remove(&self.name);
    }
}

#[async_trait]
impl MultipartUpload for Noted {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let index = self.begun;
        self.begun += 1;
        self.sent += data.content_length() as u64;
        let (store, parts) = (Arc::clone(&self.uploads.store), Arc::clone(&self.parts));
        let (path, id) = (self.path.clone(), self.id.clone());
        Box::pin(async move {
            let part = store.put_part(&path, &id, index, data).await?;
            let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.push((index, part));
            Ok(())
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let mut parts = {
            let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *parts)
        };
        parts.sort_by_key(|(index, _)| *index);
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        let store = &self.uploads.store;
        let completed = match store.complete_multipart(&self.path, &self.id, parts).await {
            Ok(completed) => completed,
            Err(error) => self.completed_unheard().await.ok_or(error)?,
        };
        self.uploads.is_over(&self.name).await;
        Ok(completed)
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        let store = &self.uploads.store;
        match store.abort_multipart(&self.path, &self.id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                self.uploads.is_over(&self.name).await;
            }
            Err(error) => {
                let name = &self.name;
                tracing::warn!(%error, "what was sent of {name} stays noted, to be taken back later");
            }
        }
        // An error here would hide the one because of which it is taken back.
        Ok(())
    }
}

impl Noted {
    /// The object, if the upload was completed and only the store's answer got lost: the repeated
    /// request finds no upload any more, but an object that is as large as what was sent.
    async fn completed_unheard(&self) -> Option<PutResult> {
        let found = self.uploads.objects.head(&self.path).await.ok()?;
        (found.size == self.sent).then(|| PutResult {
            e_tag: found.e_tag,
            version: found.version,
            extensions: http::Extensions::new(),
        })
    }
}
