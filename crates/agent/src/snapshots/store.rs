//! The store, and the constant memory with which large objects go into and come out of it.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path as FolderPath, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::{
    BackoffConfig, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, ObjectStoreScheme,
    PutMode, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, local::LocalFileSystem, multipart::MultipartStore, path::Path,
};
use serde::{Serialize, de::DeserializeOwned};
use togather_model::Ulid;
use url::Url;

use super::{
    Spool,
    address::named,
    error::SnapshotError,
    manifest::{Manifest, Names, Origin},
    probe::{Answer, ConditionalWrites, is_refused},
    upload::Upload,
    uploads::Uploads,
};

/// How much is asked for at once when reading. Ranges, so that no request takes long.
const PIECE: u64 = 4 << 20;
/// How many are asked for at once, the next while one is taken.
const AHEAD: usize = 2;

/// How often one request is repeated, and for how long at most: a dump waits meanwhile.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 8,
        retry_timeout: Duration::from_secs(120),
        backoff: BackoffConfig::default(),
    }
}

/// A place for snapshots in an object store.
#[derive(Clone)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Large uploads, where the store takes them in parts.
    uploads: Option<Uploads>,
    prefix: Path,
    /// The folder, if it is a local one.
    folder: Option<PathBuf>,
    /// What a spool may hold, in bytes; `None`: it is none.
    at_most: Option<u64>,
    /// What must stay free on a local disk, in bytes.
    min_free: u64,
    /// Whose it is.
    origin: Option<Origin>,
    /// The small objects as they were last read: status asks for all of them each time.
    small: Arc<Mutex<BTreeMap<String, Small>>>,
    /// What it makes of writes that may only create, once that is known.
    conditional: Arc<Mutex<Option<ConditionalWrites>>>,
}

/// A small object, and what the listing said of it when it was read.
struct Small {
    listed: ObjectMeta,
    bytes: Bytes,
}

impl Store {
    /// Reads the address and the environment; nothing is asked of the store yet.
    ///
    /// `notes` is a folder of the node's own in which uploads are noted.
    pub(super) fn at(url: &Url, notes: Option<&FolderPath>) -> Result<Self, SnapshotError> {
        let refused = |why: String| SnapshotError::Address {
            address: named(url),
            why,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(
                "credentials belong into the environment, not into the address".into(),
            ));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|e| refused(e.to_string()))?;
        if scheme == ObjectStoreScheme::Local {
            let folder = url
                .to_file_path()
                .map_err(|()| refused("expected `file:///` and an absolute path".into()))?;
            return Ok(Self {
                // What is said to be stored must survive a power cut.
                objects: Arc::new(LocalFileSystem::new().with_fsync(true)),
                prefix,
                folder: Some(folder),
                uploads: None,
                at_most: None,
                min_free: 0,
                origin: None,
                small: Arc::default(),
                conditional: Arc::default(),
            });
        }
        // By prefix: object_store would take a mere `TIMEOUT` or `REGION` for its own as well.
        let ours = |(name, _): &(String, String)| {
            ["AWS_", "GOOGLE_", "AZURE_"]
                .iter()
                .any(|p| name.starts_with(p))
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        // Its own limit of 30 s for a request is too short for a slow line.
        let options: Vec<(String, String)> = std::iter::once(("timeout".into(), "120s".into()))
            .chain(variables.filter(ours))
            .map(|(name, value): (String, String)| (name.to_lowercase(), value))
            .collect();
        // Each kind of store has a builder of its own kind, with keys of its own kind.
        macro_rules! built {
            ($builder:ty) => {{
                let mut builder = <$builder>::new()
                    .with_url(url.as_str())
                    .with_retry(retries());
                for (key, value) in options {
                    if let Ok(key) = key.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                let built = builder.build().map_err(|e| refused(e.to_string()))?;
                Ok(Self::remote(Arc::new(built), prefix, notes))
            }};
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "object_store's enum is open"
        )]
        match scheme {
            ObjectStoreScheme::AmazonS3 => built!(AmazonS3Builder),
            ObjectStoreScheme::GoogleCloudStorage => built!(GoogleCloudStorageBuilder),
            ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder),
            _ => Err(refused(
                "expected `file:///`, `s3://`, `gs://` or `az://`".into(),
            )),
        }
    }

    fn remote<T: ObjectStore + MultipartStore>(
        objects: Arc<T>,
        prefix: Path,
        notes: Option<&FolderPath>,
    ) -> Self {
        let uploads = notes.map(|notes| Uploads::noted_in(notes.to_owned(), Arc::clone(&objects)));
        Self {
            objects,
            uploads,
            prefix,
            folder: None,
            at_most: None,
            min_free: 0,
            origin: None,
            small: Arc::default(),
            conditional: Arc::default(),
        }
    }

    /// A store that was made elsewhere.
    pub(super) fn over<T: ObjectStore + MultipartStore>(
        objects: Arc<T>,
        url: &Url,
        notes: Option<&FolderPath>,
    ) -> Self {
        Self::remote(objects, Path::from(url.path()), notes)
    }

    /// The place on the node's own disk where snapshots wait.
    pub(super) fn spool(spool: &Spool) -> Result<Self, SnapshotError> {
        let refused = || SnapshotError::Address {
            address: spool.folder.display().to_string(),
            why: "expected an absolute path".into(),
        };
        let url = Url::from_directory_path(&spool.folder).map_err(|()| refused())?;
        Ok(Self {
            at_most: Some(spool.at_most),
            ..Self::at(&url, None)?
        })
    }

    /// The same, told whose it is.
    pub(super) fn of(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    /// The same, leaving so many bytes of a local disk free.
    pub(super) fn leaving_free(self, min_free: u64) -> Self {
        Self { min_free, ..self }
    }

    /// Whether this snapshot is of whoever the place belongs to. One that does not say counts.
    pub(super) fn is_own(&self, manifest: &Manifest) -> bool {
        match (&self.origin, &manifest.origin) {
            (Some(own), Some(origin)) => own == origin,
            _ => true,
        }
    }

    /// What a spool may hold, in bytes; `None`: it is none.
    pub(super) const fn at_most(&self) -> Option<u64> {
        self.at_most
    }

    /// The object's name for people: in a local folder, which file it is.
    fn shown(&self, name: &str) -> String {
        match &self.folder {
            Some(folder) => folder.join(name).display().to_string(),
            None => name.to_owned(),
        }
    }

    pub(super) fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    pub(super) fn objects(&self) -> &dyn ObjectStore {
        &*self.objects
    }

    /// Whether it is a local folder that nothing was put into yet.
    pub(super) fn is_folder_to_be_made(&self) -> bool {
        let is_missing = |folder: &PathBuf| match std::fs::metadata(folder) {
            Ok(_) => false,
            // Anything else (a file in its place, say) shows when it is tried out.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        self.folder.as_ref().is_some_and(is_missing)
    }

    /// What is known of writes that may only create, for all who share this place.
    pub(super) fn conditional(&self) -> MutexGuard<'_, Option<ConditionalWrites>> {
        let conditional = self.conditional.lock();
        conditional.unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a local folder that nobody else may look into, if it is not there.
    pub(super) async fn prepare(&self) -> Result<(), SnapshotError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let doing = format!("make the folder {}", folder.display());
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let made = tokio::task::spawn_blocking(move || builder.create(folder)).await;
        made.unwrap_or_else(|e| Err(e.into()))
            .map_err(|e| SnapshotError::Store {
                doing,
                why: e.to_string(),
            })
    }

    /// Begins an object that is written bit by bit. Nothing of it can be seen before it is finished.
    pub(super) async fn upload(&self, name: &str, at_most: u64) -> Result<Upload, SnapshotError> {
        let room = match self.at_most {
            Some(all) => all.saturating_sub(self.used().await?),
            None => u64::MAX,
        };
        let path = self.path(name);
        let begun: Box<dyn MultipartUpload> = match &self.uploads {
            Some(uploads) => Box::new(uploads.begin(name, &path).await?),
            None => {
                let begun = self.objects.put_multipart(&path).await;
                begun
                    .map_err(|e| SnapshotError::store(format!("begin {}", self.shown(name)), &e))?
            }
        };
        let name = self.shown(name);
        let upload = Upload::of(name, begun, at_most).within(room);
        Ok(match self.folder.clone() {
            Some(folder) => upload.leaving_free(folder, self.min_free),
            None => upload,
        })
    }

    /// How much everything in this place takes, in bytes.
    pub(super) async fn used(&self) -> Result<u64, SnapshotError> {
        let names = self.names().await?;
        Ok(names.iter().map(|(_, meta)| meta.size).sum())
    }

    /// Stores a small object that must not be there yet. One with the very same bytes is this one:
    /// an answer got lost and the request was repeated.
    pub(super) async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<(), SnapshotError> {
        let path = self.path(name);
        let failed =
            |e: object_store::Error| SnapshotError::store(format!("take {}", self.shown(name)), &e);
        let bytes = Bytes::from(bytes);
        if self.known().is_some_and(|known| known.answer == Answer::No) {
            return self.create_if_absent(name, bytes).await;
        }
        let put = self
            .objects
            .put_opts(&path, bytes.clone().into(), PutMode::Create.into());
        match put.await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let found = self.objects.get(&path).await.map_err(failed)?;
                match found.bytes().await.map_err(failed)? == bytes {
                    true => Ok(()),
                    false => Err(SnapshotError::Taken(name.to_owned())),
                }
            }
            // The id in the name makes it unique all the same.
            Err(e) if is_refused(&e) && self.is_unconditional().await => {
                self.create_if_absent(name, bytes).await
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// Stores a small object in place of the one there may be.
    pub(super) async fn replace(
        &self,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), SnapshotError> {
        let path = self.path(name);
        let put = self.objects.put(&path, json(name, value)?.into()).await;
        put.map(|_| ())
            .map_err(|e| SnapshotError::store(format!("take {}", self.shown(name)), &e))
    }

    /// Reads a small object that was listed, unless it is the same as last time; the inner error
    /// says why it makes no sense.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        name: &str,
        listed: &ObjectMeta,
    ) -> Result<Result<T, serde_json::Error>, SnapshotError> {
        let known = self.small().get(name).and_then(|small| {
            (small.listed == *listed).then(|| serde_json::from_slice(&small.bytes))
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let failed = |e: object_store::Error| SnapshotError::store(format!("give {name}"), &e);
        let found = self.objects.get(&self.path(name)).await.map_err(failed)?;
        let bytes = found.bytes().await.map_err(failed)?;
        let read = serde_json::from_slice(&bytes);
        let listed = listed.clone();
        self.small()
            .insert(name.to_owned(), Small { listed, bytes });
        Ok(read)
    }

    /// Keeps in memory only what is still there.
    pub(super) fn keep_small(&self, there: impl Fn(&str) -> bool) {
        self.small().retain(|name, _| there(name));
    }

    /// A poisoned lock means a panic elsewhere; the map is whole.
    fn small(&self) -> MutexGuard<'_, BTreeMap<String, Small>> {
        self.small.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a small object of this size as it is.
    pub(super) async fn bytes(&self, name: &str, size: u64) -> Result<Vec<u8>, SnapshotError> {
        let pieces: Vec<Bytes> = self.pieces(name, size).try_collect().await?;
        Ok(pieces.concat())
    }

    /// Reads a large object of this size from beginning to end.
    pub(super) fn pieces(
        &self,
        name: &str,
        size: u64,
    ) -> impl Stream<Item = Result<Bytes, SnapshotError>> + Send + use<> {
        let (objects, path, name) = (Arc::clone(&self.objects), self.path(name), name.to_owned());
        let begins = (0..size.div_ceil(PIECE)).map(|piece| piece * PIECE);
        stream::iter(begins)
            .map(move |begin| {
                let (objects, path, name) = (Arc::clone(&objects), path.clone(), name.clone());
                async move {
                    let range = begin..(begin + PIECE).min(size);
                    let piece = objects.get_range(&path, range).await;
                    piece.map_err(|e| SnapshotError::store(format!("give {name}"), &e))
                }
            })
            .buffered(AHEAD)
    }

    /// What the place holds, by name.
    pub(super) async fn names(&self) -> Result<Vec<(String, ObjectMeta)>, SnapshotError> {
        if let Some(folder) = &self.folder
            && tokio::fs::metadata(folder)
                .await
                .is_ok_and(|found| !found.is_dir())
        {
            // To object_store a file is a folder with nothing in it.
            return Err(SnapshotError::Store {
                doing: "say which snapshots it holds".into(),
                why: format!("{} is no folder", folder.display()),
            });
        }
        // What lies deeper is not ours, and there may be much of it.
        let listed = self.objects.list_with_delimiter(Some(&self.prefix)).await;
        let listed =
            listed.map_err(|e| SnapshotError::store("say which snapshots it holds", &e))?;
        let name = |meta: ObjectMeta| Some((meta.location.filename()?.to_owned(), meta));
        Ok(listed.objects.into_iter().filter_map(name).collect())
    }

    /// Removes an object. One that is gone is fine.
    pub(super) async fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        match self.objects.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(SnapshotError::store(format!("remove {name}"), &e)),
        }
    }

    /// Removes what there may be of a snapshot. The manifest goes first: from then on it is no
    /// snapshot, so that an interruption leaves none that could not be restored, only leftovers
    /// that the next pruning finds.
    pub(super) async fn remove_parts(&self, names: &Names) -> Result<(), SnapshotError> {
        for name in names.all() {
            self.remove(&name).await?;
        }
        Ok(())
    }

    /// Takes back the uploads that an interruption cut off. What cannot be taken back costs room,
    /// but must not keep the next snapshot from being taken; it is tried again with the next one.
    pub(super) async fn take_uploads_back(&self) {
        if let Some(uploads) = &self.uploads
            && let Err(error) = uploads.take_back().await
        {
            tracing::warn!(
                %error,
                "parts of an unfinished upload stay in the store; a lifecycle rule for unfinished uploads removes them"
            );
        }
    }

    /// Removes what there is of the snapshot with this id, whole or not.
    pub(super) async fn remove_parts_of(&self, id: Ulid) -> Result<(), SnapshotError> {
        let listed = self.names().await?;
        let parts = listed.iter().filter_map(|(name, _)| Names::of_part(name));
        for names in parts.filter(|names| names.are_of(id)) {
            self.remove_parts(&names).await?;
        }
        Ok(())
    }

    /// Removes what an interrupted write of this snapshot left in a local folder: files that no
    /// listing shows, because object_store stages them by the name of the object and `#`.
    pub(super) async fn remove_unfinished(&self, id: Ulid) -> Result<(), SnapshotError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let failed = |e: io::Error| SnapshotError::Store {
            doing: format!("remove what is unfinished of {id}"),
            why: e.to_string(),
        };
        let mut entries = match tokio::fs::read_dir(folder).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let staged = entry.file_name();
            let object = staged.to_str().and_then(|name| name.split_once('#'));
            let names = object.and_then(|(name, _)| Names::of_part(name));
            if names.is_some_and(|names| names.are_of(id)) {
                tokio::fs::remove_file(entry.path()).await.map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Bytes as JSON, for people to read as well.
pub(super) fn json(name: &str, value: &impl Serialize) -> Result<Vec<u8>, SnapshotError> {
    serde_json::to_vec_pretty(value).map_err(|e| SnapshotError::Store {
        doing: format!("take {name}"),
        why: e.to_string(),
    })
}
